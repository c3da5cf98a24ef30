// Proves what an operator is told of traffic before it is spent, and that no more is spent than allowed: by a transport that counts.

import Gateway
import GatewayProtocol
import Identity
import OCI
import Persistence
import RegistryCore
import TestSupport
import Testing

@testable import SyncAgent

@Suite struct TrafficTests {
    private let app = repository("app")
    private let mebibyte: Int64 = 1 << 20

    /// Bytes of content that have reached the child: blobs and manifests.
    private func content(_ family: Family) -> Int64 {
        Int64(family.transport.blobBytes + family.transport.bytes { $0.contains("/manifests/") })
    }

    private func plan(_ family: Family) async throws -> SyncPlan? {
        let parent = family.parent
        let order = try await parent.connectedRegistries.orderPlan(family.name, in: parent.site.registry)?.plan
        let before = self.content(family)
        try await family.following { () async throws in
            #expect(try await eventually { try await family.parentState?.isPlanPending == false })
        }
        // Outside of the window: the question itself moves no content.
        #expect(self.content(family) == before)
        let plan = try await family.parentState?.report?.plan
        #expect(plan?.order == order)
        return plan
    }

    @Test(
        "B3 the plan tells, to the byte, what the next synchronisation moves: shared blobs, nested indexes, what is here, what has half arrived"
    )
    func exactPlan() async throws {
        // The clock of the tests stands at 14:13 UTC; the window opens at 22.
        let family = try await Family(schedule: "0 22 * * *", window: "PT6H")
        let (parent, clock) = (family.parent.site, family.child.clock)
        let shared = Fixture.layer(bytes: 120_000, seed: 1)
        let (one, two) = (TestImage("one", layers: [shared, Fixture.layer(bytes: 50_000, seed: 2)]), TestImage("two", layers: [shared]))
        try await parent.push(one, tags: [tag("v1")], to: self.app)
        // The first plan is one of a comparison.
        let first = try #require(try await self.plan(family))
        clock.advance(seconds: 8 * 3600)
        try await family.following { () async throws in
            #expect(try await family.until { try await family.childHas(tag("v1"), at: one.manifest, in: self.app) })
        }
        #expect(first.bytes == self.content(family))
        #expect(first.images.map(\.tags) == [[tag("v1")]])
        // Back outside of it: the second is one of the log.
        clock.advance(seconds: 16 * 3600)
        let index = Fixture.index([two.manifest.descriptor, one.manifest.descriptor])
        try await parent.push(two, tags: [tag("v2"), tag("latest")], to: self.app)
        try await parent.put(index, tags: [tag("all")], to: self.app)
        try await parent.push(two, tags: [tag("v2")], to: repository("other"))
        let big = TestImage("big", layers: [Fixture.layer(bytes: 300_000, seed: 3)])
        try await parent.push(big, tags: [tag("v3")], to: self.app)
        // Foreign layers and build caches count as far as they are there.
        try await OptionalContent(unowned: [shared]).push(to: parent, repository("other"))
        try await parent.delete(tag("latest"), from: self.app)
        let before = self.content(family)
        let staged = try await family.child.blobs.stage(.transfer(big.layers[0].digest))
        try await staged.append(.init(bytes: big.layers[0].bytes[..<100_000]))
        let second = try #require(try await self.plan(family))
        #expect(second.bytes > 200_000)
        #expect(second.images.allSatisfy { $0.bytes > 0 })
        #expect(second.images.reduce(0) { $0 + $1.bytes } == second.bytes)
        clock.advance(seconds: 8 * 3600)
        try await family.following { () async throws in
            #expect(try await family.until { try await family.childHas(tag("v3"), at: big.manifest, in: self.app) })
            #expect(try await eventually { try await family.parentState?.report?.inStepSince != nil })
        }
        #expect(self.content(family) - before == second.bytes)
        // With nothing to move there is nothing in the plan.
        let third = try #require(try await self.plan(family))
        #expect(third.bytes == 0 && third.images.isEmpty)
    }

    @Test("B3 C7 the plan of a ReadWrite connected registry tells what would go up, at most")
    func planUpward() async throws {
        let family = try await Family(mode: .readWrite)
        try await family.introduce()
        let (one, two) = (TestImage("one"), TestImage("two", layers: [Fixture.layer("layer of one"), Fixture.layer("more")]))
        try await family.parent.site.push(one, tags: [tag("v1")], to: self.app)
        // Windows are closed from here on: nothing moves before the plan is told.
        try await family.parent.configure("site1", mode: .readWrite, schedule: "0 22 * * *", window: "PT1H")
        try await family.child.push(two, tags: [tag("v2")], to: self.app)
        let plan = try #require(try await self.plan(family))
        // The layer of both is here, whoever brought it.
        #expect(plan.bytes == Int64(one.config.bytes.count + one.manifest.bytes.count))
        let missing = [two.config, two.layers[1], two.manifest].reduce(0) { $0 + $1.bytes.count }
        #expect(plan.bytesUp == Int64(missing))
    }

    @Test("B3 C14 a transfer stops where the budget ends and goes on at the same byte in the next hour; the reason is visible")
    func budget() async throws {
        let family = try await Family(budget: ByteBudget(hour: self.mebibyte))
        let (parent, clock) = (family.parent.site, family.child.clock)
        let image = TestImage("big", layers: [Fixture.layer(bytes: 3_500_000, seed: 1)])
        try await parent.push(image, tags: [tag("v1")], to: self.app)
        let total = Int64(image.blobs.reduce(0) { $0 + $1.bytes.count } + image.manifest.bytes.count)
        var hours = 0
        while self.content(family) < total, hours < 10 {
            let before = self.content(family)
            let renews = 1_790_002_800 + Int64(hours) * 3600
            try await family.following { () async throws in
                #expect(
                    try await eventually {
                        let status = try await family.parentState?.report?.status
                        guard status?.budget?.first?.renews == renews else { return false }
                        if try await family.childHas(tag("v1"), at: image.manifest, in: self.app) {
                            return status?.result?.state == "Succeeded"
                        }
                        // A report on the way still tells of the hour before, and of bytes that were granted and have not come.
                        return status?.details.first?.code == "BudgetExhausted" && status?.budget?.first?.used == self.mebibyte
                            && self.content(family) - before == self.mebibyte
                    })
            }
            let spent = self.content(family) - before
            #expect(spent <= self.mebibyte)
            if self.content(family) < total {
                #expect(spent == self.mebibyte)
                let status = try #require(try await family.parentState?.report?.status)
                #expect(status.budget?.first == BudgetUse(period: "hour", limit: self.mebibyte, used: self.mebibyte, renews: renews))
                let why = try await PullDiagnostician(
                    connectedRegistries: family.parent.connectedRegistries, registries: parent.store, identities: parent.identities,
                    clock: clock.wall
                ).why("site1", self.app, tag: tag("v1"), in: parent.registry)
                #expect(why?.code == .budget)
                clock.advance(seconds: 3600)
                hours += 1
            }
        }
        #expect(hours == 3)
        #expect(try await family.isWhole(image, in: self.app))
        // No byte twice, but for the manifest, which is asked for by each attempt.
        #expect(family.transport.blobBytes == image.blobs.reduce(0) { $0 + $1.bytes.count })
    }

    @Test("B3 what waits for the budget keeps deletions, locks and tags that cost nothing from waiting; a larger budget ends the wait")
    func cheapThings() async throws {
        let family = try await Family(budget: ByteBudget(hour: self.mebibyte))
        let parent = family.parent.site
        let small = TestImage("small")
        try await parent.push(small, tags: [tag("v1"), tag("old")], to: self.app)
        try await family.following { () async throws in
            #expect(try await family.until { try await family.childHas(tag("old"), at: small.manifest, in: self.app) })
            let big = TestImage("big", layers: [Fixture.layer(bytes: 2_000_000, seed: 1)])
            try await parent.push(big, tags: [tag("v2")], to: self.app)
            try await parent.delete(tag("old"), from: self.app)
            try await parent.put(small.manifest, tags: [tag("new")], to: self.app)
            #expect(try await family.until { try await family.childHas(tag("new"), at: small.manifest, in: self.app) })
            #expect(try await family.until { try await family.childHas(tag("old"), at: nil, in: self.app) })
            #expect(
                try await eventually {
                    try await family.parentState?.report?.status?.details.first?.description.contains("app@\(big.manifest.digest)") ?? false
                })
            #expect(try await family.childHas(tag("v2"), at: nil, in: self.app))
            // Online, not unhealthy: nothing is wrong. The detail may be told before the synchronisation is over.
            #expect(try await eventually { try await family.parentState?.connectionState(now: parent.clock.milliseconds) == .online })
            try await family.parent.configure("site1", budget: ByteBudget(hour: 8 * self.mebibyte))
            #expect(try await family.until { try await family.childHas(tag("v2"), at: big.manifest, in: self.app) })
            #expect(try await eventually { try await family.parentState?.report?.inStepSince != nil })
        }
    }

    @Test(
        "B3 bytes that were granted stay spent after a kill; a clock that is set back or comes from a far year gives nothing back and locks nobody out"
    )
    func durable() async throws {
        let site = try await Site()
        func budget() -> TransferBudget {
            let budget = TransferBudget(database: site.database, clock: site.clock.wall)
            _ = budget.setLimits(ByteBudget(hour: self.mebibyte, day: 4 * self.mebibyte))
            return budget
        }
        let first = budget()
        let grant = try #require(try await first.take(600_000, whole: true))
        // Killed here: the grant was never settled.
        let second = budget()
        #expect(try await second.uses().map(\.used) == [600_000, 600_000])
        await #expect(throws: SyncError.self) { _ = try await second.take(600_000, whole: true) }
        #expect(throws: SyncError.self) { try second.pass() }
        // What was not received comes back where the process lives.
        try await first.settle(grant, received: 100_000)
        #expect(try await budget().uses().map(\.used) == [100_000, 100_000])
        // An hour later the hour is whole, the day is not.
        site.clock.advance(seconds: 3600)
        #expect(try await budget().take(1000, whole: true)?.bytes == 1000)
        let third = budget()
        _ = try await third.take(self.mebibyte - 1000, whole: true)
        #expect(try await third.uses().map(\.used) == [self.mebibyte, 100_000 + self.mebibyte])
        // Set back by an hour: what was used counts there, too.
        site.clock.advance(seconds: -3600)
        await #expect(throws: SyncError.self) { _ = try await budget().take(1000, whole: true) }
        // From the year 2099 and back again: that hour is over when the next one begins.
        site.clock.advance(seconds: 73 * 365 * 86_400)
        _ = try await budget().take(self.mebibyte, whole: true)
        site.clock.advance(seconds: -73 * 365 * 86_400)
        await #expect(throws: SyncError.self) { _ = try await budget().take(1000, whole: true) }
        site.clock.advance(seconds: 86_400)
        #expect(try await budget().take(1000, whole: true)?.bytes == 1000)
    }

    @Test("B3 repositories of the first patterns are fetched first")
    func priorities() async throws {
        let family = try await Family(priorities: ["zeta", "mid/*"])
        let parent = family.parent.site
        // What is small comes together.
        @Sendable func image(_ name: String, _ round: UInt64) -> TestImage {
            TestImage("\(round) \(name)", layers: [Fixture.layer(bytes: 40_000, seed: 10 * round + UInt64(name.utf8.count))])
        }
        for name in ["alpha", "mid/one", "zeta"] { try await parent.push(image(name, 1), tags: [tag("v1")], to: repository(name)) }
        func order() -> [String] {
            family.transport.requests.filter { $0.target.contains("/blobs/sha256") && $0.method == "GET" }.map {
                $0.target.split(separator: "/blobs").first.map { String($0.dropFirst(4)) } ?? ""
            }
        }
        try await family.following { () async throws in
            #expect(try await eventually { try await family.parentState?.report?.inStepSince != nil })
        }
        #expect(order() == ["zeta", "mid/one", "alpha"])
        family.transport.forget()
        for name in ["alpha", "mid/one", "zeta"] { try await parent.push(image(name, 2), tags: [tag("v2")], to: repository(name)) }
        try await family.following { () async throws in
            #expect(try await eventually { try await family.parentState?.report?.inStepSince != nil })
            #expect(
                try await family.until { try await family.childHas(tag("v2"), at: image("alpha", 2).manifest, in: repository("alpha")) })
        }
        #expect(order() == ["zeta", "mid/one", "alpha"])
    }
}

extension Site {
    fileprivate func delete(_ tag: OCI.Tag, from name: RepositoryName) async throws {
        try await self.store.delete(tag, from: name, of: self.registry, origin: "test")
    }
}
