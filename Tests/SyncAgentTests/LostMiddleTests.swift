// Proves that a connected registry goes on when the one above it is lost before anybody further up has heard of it.

import Gateway
import Identity
import Logging
import OCI
import RegistryCore
import Synchronization
import TestSupport
import Testing

@testable import RegistryClient
@testable import SyncAgent

@Suite struct LostMiddleTests {
    private let app = repository("app")

    /// A way that leads to another server from one moment to the next.
    private final class Junction: TrustingTransport {
        private let way: Mutex<LoopbackTransport>

        init(_ way: LoopbackTransport) { self.way = Mutex(way) }

        func lead(to way: LoopbackTransport) { self.way.withLock { $0 = way } }
        func setTrust(_ trust: TrustPolicy) {}
        func send(_ request: ClientRequest) async throws -> ClientResponse { try await self.way.withLock { $0 }.send(request) }
    }

    @Test("C9 C6 a child that was activated at a middle of which nothing is left is activated again by the next one, and not ended")
    func lostMiddle() async throws {
        let chain = try await Chain(["middle", "leaf1"], mode: .readWrite)
        let (middle, leaf) = (chain.links[0], chain.links[1])
        let root = chain.root
        // The middle has its settings, and no word of it goes up any more.
        try await chain.running([middle]) { () async throws in
            #expect(try await eventually { await middle.memory.memory.result?.lastSuccess != nil })
        }
        let junction = Junction(leaf.transport)
        let agent = SyncAgent(
            connection: leaf.connection, memory: leaf.memory, store: leaf.site.store, identities: leaf.site.identities,
            registry: leaf.site.registry, folder: leaf.site.folder, transport: junction, makeUntrusted: { junction }, version: "test",
            loginServer: "leaf1.test", logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }, clock: leaf.site.clock.wall)
        let running = Task { await agent.run() }
        defer { running.cancel() }
        #expect(try await eventually { await leaf.memory.memory.cursor != nil })
        #expect(try await chain.atRoot("leaf1")?.isActive == false)
        // The middle burns down; the operator starts another.
        leaf.transport.setOnline(false)
        try await root.connectedRegistries.deactivate("middle", in: root.site.registry)
        let next = try await Link(
            "middle", below: root, password: middle.connection.password, site: try await Site(clock: root.site.clock))
        let image = TestImage("one")
        try await root.site.push(image, tags: [tag("v1")], to: self.app)
        try await chain.running([next]) { () async throws in
            #expect(try await eventually { await next.memory.memory.result?.lastSuccess != nil })
            junction.lead(to: LoopbackTransport(next.plane))
            #expect(try await eventually { try await leaf.digest(tag("v1"), in: self.app) == image.manifest.digest })
            #expect(try await eventually { try await chain.atRoot("leaf1")?.isActive == true })
        }
        #expect(await leaf.memory.memory.stopped == nil)
    }

    @Test("C6 who has been deactivated stays so, whether the lease is known or not")
    func deactivated() async throws {
        let plane = try await DataPlane(Site())
        try await plane.connectedRegistry("site1")
        let (store, registry) = (plane.connectedRegistries, plane.site.registry)
        func ask() async throws {
            _ = try await store.lease(connectedRegistry: "site1", token: "site1-sync", instance: "instance-1", epoch: 1, registry: registry)
        }
        await #expect(throws: IdentityError.self) { try await ask() }
        _ = try await store.activate("site1", instance: "instance-1", nonce: nil, version: "test", loginServer: nil, in: registry)
        try await ask()
        try await store.deactivate("site1", in: registry)
        await #expect(throws: LeaseRefusal.self) { try await ask() }
    }
}
