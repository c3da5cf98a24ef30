// Proves that what does not fit into a budget, or spends it for nothing, keeps nothing waiting that does fit.

import Gateway
import GatewayProtocol
import OCI
import Persistence
import RegistryCore
import TestSupport
import Testing

@testable import RegistryClient
@testable import SyncAgent

@Suite struct BudgetTests {
    private let app = repository("app")
    private let mebibyte: Int64 = 1 << 20

    @Test("B3 a wrong size in an index and a manifest larger than the whole budget keep nothing else waiting", arguments: [true, false])
    func sizes(isFirst: Bool) async throws {
        let family = try await Family(budget: ByteBudget(hour: self.mebibyte))
        let parent = family.parent.site
        let (one, two, good) = (TestImage("one"), TestImage("two"), TestImage("good"))
        let wrong = [(one, Int64(1 << 52)), (two, 0)].map { image, size in
            Fixture.index([Descriptor(mediaType: image.manifest.mediaType, digest: image.manifest.digest, size: size)])
        }
        let config = Fixture.config("large")
        let large = Fixture.image(config: config.descriptor, layers: [], annotations: ["text": String(repeating: "x", count: 1_500_000)])
        @Sendable func push() async throws {
            for image in [one, two] { try await parent.push(image, to: self.app) }
            for (number, index) in wrong.enumerated() { try await parent.put(index, tags: [tag("a\(number)")], to: self.app) }
            try await parent.push(config, to: self.app)
            try await parent.put(large, tags: [tag("b")], to: self.app)
            try await parent.push(good, tags: [tag("c")], to: self.app)
        }
        // Found by the first comparison, or told by the log.
        if isFirst { try await push() } else { try await family.introduce() }
        try await family.following { () async throws in
            if !isFirst { try await push() }
            #expect(try await family.until { try await family.childHas(tag("c"), at: good.manifest, in: self.app) })
            for (number, index) in wrong.enumerated() {
                #expect(try await family.until { try await family.childHas(tag("a\(number)"), at: index, in: self.app) })
            }
            #expect(
                try await eventually {
                    let status = try await family.parentState?.report?.status
                    return status?.result?.state == "Succeeded" && status?.details.map(\.code) == ["ContentError"]
                        && status?.details.first?.description.contains("\(self.mebibyte) in a whole hour") == true
                })
            #expect(try await family.childHas(tag("b"), at: nil, in: self.app))
        }
        let used = try #require(try await family.parentState?.report?.status?.budget?.first?.used)
        #expect(used < 10_000)
    }

    @Test("B3 what a clock that was ahead took for spent is not, once the clock is right")
    func clockAhead() async throws {
        let site = try await Site()
        let budget = TransferBudget(database: site.database, clock: site.clock.wall)
        _ = budget.setLimits(ByteBudget(hour: self.mebibyte, day: 4 * self.mebibyte))
        site.clock.advance(seconds: 5 * 86_400)
        _ = try await budget.take(self.mebibyte, whole: true)
        await #expect(throws: SyncError.self) { _ = try await budget.take(1000) }
        #expect(budget.spentUntil != nil)
        // Within the hour it stays so, also where the clock is set by a little.
        site.clock.advance(seconds: 10)
        #expect(throws: SyncError.self) { try budget.pass() }
        site.clock.advance(seconds: -5 * 86_400 - 10)
        try budget.pass()
        // The count of the wrong time is that of the right one, until its next hour begins.
        await #expect(throws: SyncError.self) { _ = try await budget.take(1000, whole: true) }
        let now = Int(site.clock.wall.seconds)
        #expect(budget.spentUntil.map { $0 - now } ?? .max <= 3600)
        site.clock.advance(seconds: 3600)
        #expect(try await budget.take(1000, whole: true)?.bytes == 1000)
    }

    /// Has the child spend this hour's budget on the half of an image.
    private func spend(_ family: Family) async throws {
        let big = TestImage("big", layers: [Fixture.layer(bytes: 3_500_000, seed: 9)])
        try await family.parent.site.push(big, tags: [tag("big")], to: repository("big"))
        try await family.following { () async throws in
            #expect(
                try await eventually {
                    let status = try await family.parentState?.report?.status
                    return status?.details.first?.code == "BudgetExhausted" && status?.budget?.first?.used == self.mebibyte
                        && status?.result?.state == "Succeeded"
                })
        }
    }

    @Test("B3 C7 C8 a conflict whose other side the budget does not allow yet keeps nothing else waiting, up or down")
    func conflict() async throws {
        let family = try await Family(mode: .readWrite, budget: ByteBudget(hour: self.mebibyte))
        let (parent, child) = (family.parent.site, family.child)
        let old = TestImage("old")
        try await parent.push(old, tags: [tag("v1"), tag("gone")], to: self.app)
        try await family.introduce()
        try await self.spend(family)
        let (ours, theirs, other) = (TestImage("ours"), TestImage("theirs"), TestImage("other"))
        try await child.push(ours, tags: [tag("v1")], to: self.app)
        try await child.push(other, tags: [tag("v2")], to: self.app)
        try await parent.push(theirs, tags: [tag("v1")], to: self.app)
        try await parent.store.delete(tag("gone"), from: self.app, of: parent.registry, origin: "test")
        try await family.following { () async throws in
            #expect(try await eventually { try await family.atParent(tag("v2"), in: self.app) == other.manifest.digest })
            #expect(try await family.until { try await family.atChild(tag("gone"), in: self.app) == nil })
            #expect(
                try await eventually {
                    try await family.parentState?.report?.status?.details.contains {
                        $0.code == "OutboxRefused" && $0.type == "Warning" && $0.description.contains("tag v1")
                    } ?? false
                })
            #expect(try await eventually { try await family.unsent == 1 })
            #expect(try await family.atChild(tag("v1"), in: self.app) == ours.manifest.digest)
            child.clock.advance(seconds: 3600)
            try await parent.put(old.manifest, tags: [tag("wake")], to: self.app)
            #expect(try await family.until { try await family.atChild(tag("v1"), in: self.app) == theirs.manifest.digest })
            #expect(try await eventually { try await family.unsent == 0 })
        }
    }

    @Test("B3 C12 a selection that changes while the budget is spent is taken over as far as it costs nothing, and the log is followed")
    func selection() async throws {
        let family = try await Family(repositories: ["app", "big", "old"], budget: ByteBudget(hour: self.mebibyte))
        let (parent, child) = (family.parent.site, family.child)
        let (one, two) = (TestImage("one"), TestImage("two"))
        for name in [self.app, repository("old")] { try await parent.push(one, tags: [tag("v1"), tag("gone")], to: name) }
        try await parent.push(two, tags: [tag("v1")], to: repository("new"))
        try await family.introduce()
        try await self.spend(family)
        try await family.parent.select(["app", "big", "new"], for: "site1")
        try await family.following { () async throws in
            #expect(
                try await family.until { try await child.store.resolve(tag("v1"), in: repository("old"), of: child.registry) == nil })
            try await parent.store.delete(tag("gone"), from: self.app, of: parent.registry, origin: "test")
            #expect(try await family.until { try await family.atChild(tag("gone"), in: self.app) == nil })
            #expect(
                try await eventually {
                    let status = try await family.parentState?.report?.status
                    return status?.result?.state == "Succeeded" && status?.details.first?.code == "BudgetExhausted"
                        && status?.details.first?.description.contains("new@\(two.manifest.digest)") == true
                })
            try await family.parent.configure("site1", budget: ByteBudget(hour: 8 * self.mebibyte))
            #expect(try await family.until { try await family.atChild(tag("v1"), in: repository("new")) == two.manifest.digest })
            #expect(try await eventually { try await family.parentState?.inStep ?? false })
        }
    }

    /// Answers as the parent does, but for ranges of blobs, which it takes off.
    private struct WithoutRanges: Transport {
        let transport: LoopbackTransport

        func send(_ request: ClientRequest) async throws -> ClientResponse {
            var request = request
            request.headers.removeAll { $0.name == "Range" }
            return try await self.transport.send(request)
        }
    }

    @Test("B3 where ranges do not get through, a large blob fails for itself, with the reason, and takes no more than its first range")
    func withoutRanges() async throws {
        let family = try await Family()
        let parent = family.parent.site
        let (large, small) = (TestImage("large", layers: [Fixture.layer(bytes: 400_000, seed: 1)]), TestImage("small"))
        try await parent.push(large, tags: [tag("v1")], to: self.app)
        try await parent.push(small, tags: [tag("v2")], to: self.app)
        try await family.introduce()
        // Another copy of the same, without what came to the first.
        let child = try await Site(clock: parent.clock)
        let gateway = GatewayClient(transport: family.transport, connection: family.connection)
        let memory = await (try family.memory()).memory
        await gateway.setLease(instance: memory.instance, epoch: memory.epoch)
        let client = RegistryClient(transport: WithoutRanges(transport: family.transport), endpoint: family.connection.parent) {
            try await gateway.bearer()
        }
        let budget = TransferBudget(database: child.database, clock: child.clock.wall)
        _ = budget.setLimits(ByteBudget(hour: self.mebibyte))
        let engine = TransferEngine(
            client: client, store: child.store, registry: child.registry, gate: TransferGate(clock: child.clock.wall, budget: budget))
        for _ in 0..<3 {
            let error = await #expect(throws: SyncError.self) {
                try await engine.replicate(large.manifest.digest, tags: [tag("v1")], in: self.app)
            }
            #expect(error?.code == .content)
            #expect(error?.message.contains("Range") == true)
        }
        try await engine.replicate(small.manifest.digest, tags: [tag("v2")], in: self.app)
        // The first range, which is whole reads long, and manifests.
        let used = try await budget.uses().first?.used ?? 0
        #expect(used < 100_000)
    }
}
