// Proves that what is selected and not here yet is fetched once, while clients wait for it, and that nothing else is.

import DistributionAPI
import Gateway
import GatewayProtocol
import HTTPServing
import HTTPTypes
import NIOCore
import OCI
import Persistence
import RegistryCore
import Synchronization
import TestSupport
import Testing

@testable import SyncAgent

/// A connected registry that serves clients, whose synchronisation is kept busy with something else.
private struct Busy: Sendable {
    let family: Family
    let agent: SyncAgent
    let plane: DataPlane
    let reader: HTTPFields
    /// Lets the synchronisation go on.
    let gate = Gate()
    private let baseline = Count()
    private let blocker = TestImage("blocker", layers: [Fixture.layer(bytes: 50_000, seed: 99)])

    init(
        mode: ConnectedRegistryMode = .readOnly, repositories: [String] = ["*"], onDemand: Bool? = true, schedule: String = "* * * * *",
        window: String? = nil, budget: ByteBudget? = nil
    ) async throws {
        let family = try await Family(mode: mode, repositories: repositories, schedule: schedule, window: window)
        self.family = family
        try await family.parent.configure(
            family.name, mode: mode, schedule: schedule, window: window, budget: budget, onDemand: onDemand)
        try await family.introduce()
        let agent = try await family.agent()
        self.agent = agent
        self.plane = try await DataPlane(
            family.child, audience: "connected-registry/\(family.name)", writeRefusal: mode == .readOnly ? "ReadOnly" : nil,
            owner: family.name, missing: agent.onDemand)
        self.reader = try await self.plane.credentials("reader", actions: ["repositories/*/content/read"])
    }

    /// Runs the agent; `body` begins once its synchronisation waits for something that it cannot have yet.
    func running(_ body: @Sendable @escaping () async throws -> Void) async throws {
        let reached = Gate()
        self.family.transport.hold(self.gate, reached: reached, of: self.blocker.layers[0].digest)
        try await self.family.parent.site.push(self.blocker, tags: [tag("v1")], to: repository("blocker"))
        try await self.family.following(self.agent) {
            await reached.wait()
            let config = self.blocker.config.digest
            #expect(try await eventually { try await self.family.child.store.content(config) != nil })
            self.family.transport.forget()
            self.baseline.value.store(self.family.transport.blobBytes, ordering: .relaxed)
            do {
                try await body()
            } catch {
                self.gate.open()
                throw error
            }
            self.gate.open()
        }
    }

    /// Bytes of blobs that have come since the synchronisation waits.
    var cost: Int { self.family.transport.blobBytes - self.baseline.value.load(ordering: .relaxed) }

    private final class Count: Sendable {
        let value = Atomic<Int>(0)
    }

    func get(_ path: String) async throws -> Answer { try await self.plane.send(.get, path, headers: self.reader) }
    func head(_ path: String) async throws -> Answer { try await self.plane.send(.head, path, headers: self.reader) }

    func manifest(_ reference: String, _ name: String = "app") async throws -> Answer {
        try await self.get("/v2/\(name)/manifests/\(reference)")
    }

    /// The reader of a blob as the listener gets it.
    func open(_ content: Content, _ name: String = "app") async throws -> any BlobReader {
        let response = try #require(
            try await self.plane.respond(.get, "/v2/\(name)/blobs/\(content.digest)", headers: self.reader))
        #expect(response.status == .ok)
        guard case .blob(let reader, let range) = response.body, range == 0..<Int64(content.bytes.count) else {
            throw Unexpected(what: "\(response.body)")
        }
        return reader
    }

    struct Unexpected: Error { let what: String }

    /// Pulls an image as clients do: what the tag names, then what that needs.
    func pull(_ image: TestImage, _ reference: String, _ name: String = "app") async throws {
        let manifest = try await self.manifest(reference, name)
        #expect(manifest.status == 200, "\(manifest.text)")
        #expect(manifest.body == image.manifest.bytes)
        for blob in image.blobs {
            let answer = try await self.get("/v2/\(name)/blobs/\(blob.digest)")
            #expect(answer.status == 200 && answer.body == blob.bytes, "\(answer.status)")
        }
    }

    /// Requests for content of the parent.
    var questions: [LoopbackTransport.Request] { self.family.transport.requests.filter { $0.target.hasPrefix("/v2/") } }
}

@Suite struct OnDemandTests {
    private let app = repository("app")
    private let image = TestImage(
        "wanted", layers: [Fixture.layer(bytes: 300_000, seed: 1), Fixture.layer(bytes: 90_000, seed: 2), Fixture.layer("small")])

    private var size: Int { self.image.blobs.reduce(0) { $0 + $1.bytes.count } }

    @Test("B6 what is selected and not here streams through while it is stored: the first bytes are there before the last have left")
    func streams() async throws {
        let busy = try await Busy()
        let layer = self.image.layers[0]
        let (gate, reached) = (Gate(), Gate())
        busy.family.transport.hold(gate, reached: reached, of: layer.digest, at: 100_000)
        try await busy.running { () async throws in
            try await busy.family.parent.site.push(self.image, tags: [tag("v1")], to: self.app)
            let manifest = try await busy.manifest("v1")
            #expect(manifest.status == 200 && manifest.body == self.image.manifest.bytes)
            #expect(manifest.header("Docker-Content-Digest") == self.image.manifest.digest.description)
            let reader = try await busy.open(layer)
            await reached.wait()
            // The rest cannot come before this test lets it.
            var bytes: [UInt8] = []
            while bytes.count < 100_000 {
                bytes += try await reader.readSome(at: Int64(bytes.count), count: 1 << 20).readableBytesView
            }
            #expect(bytes == Array(layer.bytes[..<bytes.count]) && bytes.count == 100_000)
            #expect(try await busy.family.child.store.content(layer.digest) == nil)
            gate.open()
            #expect(try await Array(reader.read(at: 100_000, count: 200_000).readableBytesView) == Array(layer.bytes[100_000...]))
            // Nobody asks for the others; the image becomes whole all the same, and is no tag before the synchronisation says so.
            #expect(
                try await eventually {
                    try await busy.family.child.store.holdsWhole(
                        self.image.manifest.digest, in: self.app, of: busy.family.child.registry)
                })
            #expect(try await busy.family.childHas(tag("v1"), at: nil, in: self.app))
            #expect(busy.cost == self.size)
        }
    }

    @Test("B6 C14 twenty clients at once, and the synchronisation beside them, cost the bytes of one")
    func shared() async throws {
        let busy = try await Busy()
        try await busy.running { () async throws in
            try await busy.family.parent.site.push(self.image, tags: [tag("v1")], to: self.app)
            try await withThrowingTaskGroup(of: Void.self) { group in
                for number in 0..<20 {
                    group.addTask { try await busy.pull(self.image, number % 2 == 0 ? "v1" : self.image.manifest.digest.description) }
                }
                // Half way through, the synchronisation wants the same.
                busy.gate.open()
                try await group.waitForAll()
            }
            #expect(try await busy.family.until { try await busy.family.childHas(tag("v1"), at: self.image.manifest, in: self.app) })
        }
        let transport = busy.family.transport
        #expect(transport.blobBytes == self.size + 50_000 + Fixture.config("blocker").bytes.count)
        // The manifest came once for all of them, and at most once more for the synchronisation.
        let path = "/v2/app/manifests/\(self.image.manifest.digest)"
        #expect(transport.requests.filter { $0.method == "GET" && $0.target == path }.count <= 2)
        #expect(try await busy.family.isWhole(self.image, in: self.app))
    }

    @Test("B6 who goes away ends nothing for the others, nor for the site")
    func clientLeaves() async throws {
        let busy = try await Busy()
        let layer = self.image.layers[0]
        let (gate, reached) = (Gate(), Gate())
        busy.family.transport.hold(gate, reached: reached, of: layer.digest, at: 100_000)
        try await busy.running { () async throws in
            try await busy.family.parent.site.push(self.image, tags: [tag("v1")], to: self.app)
            let leaving = Task { try await busy.get("/v2/app/blobs/\(layer.digest)") }
            await reached.wait()
            let staying = try await busy.open(layer)
            leaving.cancel()
            _ = try? await leaving.value
            gate.open()
            #expect(try await Array(staying.read(at: 0, count: layer.bytes.count).readableBytesView) == layer.bytes)
            #expect(busy.cost == layer.bytes.count)
        }
    }

    @Test("B6 a transfer that breaks cuts the client off and goes on at the same byte when somebody asks again")
    func broken() async throws {
        let busy = try await Busy()
        let layer = self.image.layers[0]
        let (gate, reached) = (Gate(), Gate())
        busy.family.transport.hold(gate, reached: reached, of: layer.digest, at: 100_000)
        try await busy.running { () async throws in
            try await busy.family.parent.site.push(self.image, tags: [tag("v1")], to: self.app)
            let reader = try await busy.open(layer)
            await reached.wait()
            busy.family.transport.cut(afterBlobBytes: 60_000)
            gate.open()
            // An error, and never a shorter body.
            await #expect(throws: (any Error).self) { try await reader.read(at: 0, count: layer.bytes.count) }
            #expect(try await busy.family.child.store.content(layer.digest) == nil)
            busy.family.transport.heal()
            // The loop has seen nothing of it: it waits for its own transfer.
            let again = try await busy.get("/v2/app/blobs/\(layer.digest)")
            #expect(again.body == layer.bytes)
            #expect(busy.cost == layer.bytes.count)
            #expect(busy.questions.last { $0.isBlob && $0.method == "GET" }?.range == "bytes=160000-")
        }
    }

    @Test("B6 content that is damaged at the parent is never stored, and no client gets the last of it")
    func damaged() async throws {
        let busy = try await Busy()
        let layer = self.image.layers[0]
        let parent = busy.family.parent.site
        try await busy.running { () async throws in
            try await parent.push(self.image, tags: [tag("v1")], to: self.app)
            let stored = try await parent.store.blob(layer.digest, in: self.app, of: parent.registry)
            let path = "\(parent.folder.path)/blobs/sha256/\(layer.digest.hex.prefix(2))/\(layer.digest.hex).\(stored.generation)"
            let file = try File(path, .readWriteExisting)
            try [UInt8](repeating: 7, count: 10).withUnsafeBytes { try file.write($0, at: 250_000) }
            await #expect(throws: (any Error).self) {
                let reader = try await busy.open(layer)
                _ = try await reader.read(at: 0, count: layer.bytes.count)
            }
            #expect(try await busy.family.child.store.content(layer.digest) == nil)
            let refused = try await busy.get("/v2/app/blobs/\(Digest.of("nothing".utf8))")
            #expect(refused.status == 404 && refused.code == "BLOB_UNKNOWN")
            #expect(refused.message?.contains("its parent does not have it either") == true)
        }
    }

    @Test("B6 off unless it is set, and only for what is selected: the parent is not even asked")
    func notAsked() async throws {
        let off = try await Busy(onDemand: nil)
        try await off.running { () async throws in
            try await off.family.parent.site.push(self.image, tags: [tag("v1")], to: self.app)
            let answer = try await off.manifest("v1")
            #expect(answer.status == 404 && answer.message?.contains("parent") == false)
            #expect(off.questions.isEmpty)
        }
        let other = try await Busy(repositories: ["blocker"])
        try await other.running { () async throws in
            try await other.family.parent.site.push(self.image, tags: [tag("v1")], to: self.app)
            #expect(try await other.manifest("v1").status == 404)
            #expect(try await other.get("/v2/app/blobs/\(self.image.layers[0].digest)").status == 404)
            // Selected, but nobody who has signed in.
            #expect(try await other.plane.send(.get, "/v2/blocker/manifests/v9").status == 401)
            #expect(other.questions.isEmpty)
            #expect(try await other.manifest("v9", "blocker").message?.contains("its parent does not have it either") == true)
        }
    }

    @Test("B6 with the parent away it is an ordinary 404 that names the cause; what was pulled before is there")
    func parentAway() async throws {
        let busy = try await Busy()
        let child = busy.family.child
        try await busy.running { () async throws in
            try await busy.family.parent.site.push(self.image, tags: [tag("v1")], to: self.app)
            try await busy.pull(self.image, "v1")
            #expect(
                try await eventually { try await child.store.provisional(tag("v1"), in: self.app, of: child.registry) != nil })
            busy.family.transport.setOnline(false)
            let away = try await busy.manifest("v2")
            #expect(away.status == 404 && away.code == "MANIFEST_UNKNOWN")
            #expect(away.message?.contains("cannot be fetched from the parent now: the link is cut") == true)
            // By tag, too: but that is no tag of this registry, and part of no state.
            try await busy.pull(self.image, "v1")
            #expect(try await busy.head("/v2/app/manifests/v1").status == 200)
            #expect(try await busy.get("/v2/app/tags/list").text.contains("v1") == false)
            let state = try await child.store.stateSummary(of: child.registry) { $0 == self.app }
            #expect(state.repositories.allSatisfy { $0.entries == 0 })
            // The collector leaves it alone, as long as that goes on.
            child.clock.advance(seconds: 30 * 86_400)
            _ = try await GarbageCollector(store: child.store, uploads: child.uploads).collect(
                GarbagePolicy(untaggedAge: GarbagePolicy.day))
            try await busy.pull(self.image, "v1")
        }
        busy.family.transport.heal()
        let cost = busy.family.transport.blobBytes
        try await busy.family.parent.site.push(self.image, tags: [tag("v3")], to: self.app)
        try await busy.family.parent.site.store.delete(tag("v1"), from: self.app, of: busy.family.parent.site.registry, origin: "test")
        try await busy.family.following { () async throws in
            #expect(try await busy.family.until { try await busy.family.childHas(tag("v3"), at: self.image.manifest, in: self.app) })
            #expect(try await eventually { try await child.store.provisional(tag("v1"), in: self.app, of: child.registry) == nil })
        }
        // Only the blocker was missing.
        #expect(busy.family.transport.blobBytes - cost <= 50_000 + Fixture.config("blocker").bytes.count)
    }

    @Test("B6 what a tag names is known with the parent away, also to clients that then took the digest or came while it was on its way")
    func tagsSeen() async throws {
        let busy = try await Busy()
        let child = busy.family.child
        let digest = self.image.manifest.digest.description
        try await busy.running { () async throws in
            try await busy.family.parent.site.push(self.image, tags: [tag("v1"), tag("v2"), tag("v3"), tag("v4")], to: self.app)
            let (gate, reached) = (Gate(), Gate())
            busy.family.transport.hold(gate, reached: reached, of: self.image.layers[0].digest)
            // As containerd does it: what the tag names, then that.
            #expect(try await busy.head("/v2/app/manifests/v1").status == 200)
            let pulling = Task { try await busy.pull(self.image, digest) }
            await reached.wait()
            // The image is on its way for somebody who named no tag.
            #expect(try await busy.head("/v2/app/manifests/v2").status == 200)
            #expect(try await busy.manifest("v3").body == self.image.manifest.bytes)
            #expect(try await child.store.provisional(tag("v3"), in: self.app, of: child.registry) == nil)
            gate.open()
            try await pulling.value
            for name in ["v1", "v2", "v3"] {
                #expect(try await eventually { try await child.store.provisional(tag(name), in: self.app, of: child.registry) != nil })
            }
            // It is here.
            #expect(try await busy.head("/v2/app/manifests/v4").status == 200)
            busy.family.transport.setOnline(false)
            for name in ["v1", "v2", "v3", "v4"] { try await busy.pull(self.image, name) }
            #expect(try await busy.manifest("v5").status == 404)
            busy.family.transport.heal()
        }
    }

    @Test("B6 C11 B3 not outside of the window, and not beyond the budget")
    func window() async throws {
        // The test clock stands at 14:13 UTC.
        let closed = try await Busy(schedule: "0 14 * * *", window: "PT1H")
        try await closed.running { () async throws in
            try await closed.family.parent.site.push(self.image, tags: [tag("v1")], to: self.app)
            closed.family.child.clock.advance(seconds: 3600)
            let answer = try await closed.manifest("v1")
            #expect(answer.status == 404)
            #expect(answer.message?.contains("the synchronisation window is closed and opens at 2026-09-22T14:00:00") == true)
            #expect(closed.questions.isEmpty)
        }
        let poor = try await Busy(budget: ByteBudget(hour: 1 << 20))
        let large = TestImage("large", layers: [Fixture.layer(bytes: 2 << 20, seed: 3)])
        try await poor.running { () async throws in
            try await poor.family.parent.site.push(large, tags: [tag("v1")], to: self.app)
            #expect(try await poor.manifest("v1").status == 200)
            await #expect(throws: (any Error).self) {
                let reader = try await poor.open(large.layers[0])
                _ = try await reader.read(at: 0, count: 2 << 20)
            }
            #expect(try await poor.manifest("v1").message?.contains("the budget for content from the parent is spent") == true)
            #expect(try await poor.get("/v2/app/blobs/\(large.layers[0].digest)").message?.contains("budget") == true)
            #expect(poor.cost <= 1 << 20)
        }
    }

    @Test("B6 an index comes alone, and of its images the one that is pulled")
    func index() async throws {
        let busy = try await Busy()
        let other = TestImage("other platform", layers: [Fixture.layer(bytes: 200_000, seed: 5)])
        let index = Fixture.index([self.image.manifest.descriptor, other.manifest.descriptor])
        try await busy.running { () async throws in
            for image in [self.image, other] { try await busy.family.parent.site.push(image, to: self.app) }
            try await busy.family.parent.site.put(index, tags: [tag("v1")], to: self.app)
            #expect(try await busy.head("/v2/app/manifests/v1").header("Docker-Content-Digest") == index.digest.description)
            #expect(busy.cost == 0)
            #expect(try await busy.manifest("v1").body == index.bytes)
            try await busy.pull(self.image, self.image.manifest.digest.description)
            #expect(
                try await eventually {
                    try await busy.family.child.store.holdsWhole(
                        self.image.manifest.digest, in: self.app, of: busy.family.child.registry)
                })
            #expect(busy.cost == self.size)
        }
        try await busy.family.following { () async throws in
            #expect(try await busy.family.until { try await busy.family.childHas(tag("v1"), at: index, in: self.app) })
            #expect(try await eventually { try await busy.family.parentState?.report?.inStepSince != nil })
        }
        #expect(try await busy.family.isWhole(other, in: self.app))
    }

    @Test("B6 C7 where clients may push, what they have deleted does not come back, and who pushes is told what is here")
    func readWrite() async throws {
        let busy = try await Busy(mode: .readWrite)
        let child = busy.family.child
        try await busy.family.parent.site.push(self.image, tags: [tag("v1"), tag("v2")], to: self.app)
        try await busy.family.following(busy.agent) { () async throws in
            #expect(try await busy.family.until { try await busy.family.childHas(tag("v2"), at: self.image.manifest, in: self.app) })
        }
        try await busy.running { () async throws in
            try await child.store.delete(tag("v1"), from: self.app, of: child.registry, origin: "test")
            #expect(try await busy.family.unsent == 1)
            #expect(try await busy.manifest("v1").status == 404)
            let other = TestImage("other", layers: [Fixture.layer(bytes: 70_000, seed: 6)])
            try await busy.family.parent.site.push(other, tags: [tag("v3")], to: self.app)
            let writer = try await busy.plane.credentials(
                "writer", actions: ["repositories/*/content/read", "repositories/*/content/write"])
            // It would not send what it takes to be here.
            #expect(try await busy.plane.send(.head, "/v2/app/blobs/\(other.layers[0].digest)", headers: writer).status == 404)
            #expect(try await busy.plane.send(.head, "/v2/app/manifests/v3", headers: writer).status == 404)
            #expect(try await busy.head("/v2/app/manifests/v3").status == 200)
            try await busy.pull(other, "v3")
        }
    }

    @Test("B6 C9 a connected registry in the middle fetches for those below it what it does not have itself")
    func chain() async throws {
        let chain = try await Chain(["region1", "factory1"], mode: .readOnly)
        let (region, factory) = (chain.links[0], chain.links[1])
        for (name, parent) in [("region1", nil), ("factory1", "region1")] {
            try await chain.root.configure(name, parent: parent, onDemand: true)
        }
        try await chain.running { () async throws in
            #expect(try await eventually { try await chain.atRoot("factory1")?.inStep == true })
        }
        // New processes, in which the one in the middle fetches for those below it.
        let agents = chain.links.map { $0.agent() }
        let middle = try await DataPlane(
            region.site, audience: "connected-registry/region1", writeRefusal: "ReadOnly", owner: "region1", missing: agents[0].onDemand)
        factory.transport.redirect(to: middle)
        let edge = try await DataPlane(
            factory.site, audience: "connected-registry/factory1", writeRefusal: "ReadOnly", owner: "factory1", missing: agents[1].onDemand)
        let reader = try await edge.credentials("reader", actions: ["repositories/*/content/read"])
        let blocker = TestImage("blocker")
        let (gate, reached) = (Gate(), Gate())
        region.transport.hold(gate, reached: reached, of: blocker.layers[0].digest)
        try await chain.root.site.push(blocker, tags: [tag("v1")], to: repository("blocker"))
        let tasks = agents.map { agent in Task { _ = await agent.run() } }
        await reached.wait()
        try await chain.root.site.push(self.image, tags: [tag("v1")], to: self.app)
        #expect(
            try await eventually { try await edge.send(.head, "/v2/app/manifests/v1", headers: reader).status == 200 })
        let manifest = try await edge.send(.get, "/v2/app/manifests/v1", headers: reader)
        #expect(manifest.body == self.image.manifest.bytes, "\(manifest.text)")
        for blob in self.image.blobs {
            let answer = try await edge.send(.get, "/v2/app/blobs/\(blob.digest)", headers: reader)
            #expect(answer.body == blob.bytes, "\(answer.status)")
        }
        for link in chain.links {
            #expect(
                try await eventually {
                    try await link.site.store.holdsWhole(self.image.manifest.digest, in: self.app, of: link.site.registry)
                })
        }
        // Each level has fetched it once.
        #expect(factory.transport.blobBytes == self.size)
        // The configuration of the blocker travels beside the layer that is held.
        #expect(try await eventually { region.transport.blobBytes >= self.size + blocker.config.bytes.count })
        #expect(region.transport.blobBytes == self.size + blocker.config.bytes.count)
        gate.open()
        for task in tasks { task.cancel() }
        for task in tasks { await task.value }
    }
}
