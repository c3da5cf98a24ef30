// Proves names and configuration of connected registries, their activation, and the state derived from their reports.

import Gateway
import GatewayProtocol
import Identity
import RegistryCore
import TestSupport
import Testing

@Suite struct ConnectedRegistryStoreTests {
    private func server() async throws -> DataPlane { try await DataPlane(Site()) }

    private func refusal(_ body: @Sendable () async throws -> Void) async -> ConnectedRegistryError? {
        await #expect(throws: ConnectedRegistryError.self) { try await body() }
    }

    private func leaseRefusal(_ body: @Sendable () async throws -> Void) async -> LeaseRefusal? {
        await #expect(throws: LeaseRefusal.self) { try await body() }
    }

    private func activate(_ server: DataPlane, _ instance: String, nonce: String? = nil) async throws -> (epoch: Int64, nonce: String) {
        let (connectedRegistry, nonce) = try await server.connectedRegistries.activate(
            "site1", instance: instance, nonce: nonce, version: "test", loginServer: "child.test", in: server.site.registry)
        return (connectedRegistry.epoch, nonce)
    }

    private func report(_ server: DataPlane, _ report: StatusReport, instance: String = "first", epoch: Int64 = 1) async throws -> String {
        try await server.connectedRegistries.report(
            report, lease: SyncLease(connectedRegistry: "site1", instance: instance, epoch: epoch), in: server.site.registry)
    }

    // MARK: Configuration

    @Test(
        "C2 names",
        arguments: [
            ("site1", true), ("Site_1-x", true), ("abcde", true), (String(repeating: "a", count: 40), true), ("abcd", false),
            (String(repeating: "a", count: 41), false),
            ("1site", false), ("-site", false), ("_site", false), ("site.1", false), ("site 1", false), ("site/1", false), ("sité1", false),
            ("", false), ("../..", false),
        ])
    func names(name: String, isValid: Bool) async throws {
        #expect(ConnectedRegistry.isValidName(name) == isValid)
        let server = try await self.server()
        _ = try await server.client("sync-token")
        if isValid {
            try await server.configure(name, syncToken: "sync-token")
        } else {
            let error = await self.refusal { try await server.configure(name, syncToken: "sync-token") }
            #expect(error?.code == .invalidName)
        }
    }

    @Test("C2 names are one in any letter case")
    func letterCase() async throws {
        let server = try await self.server()
        try await server.connectedRegistry("Site1")
        #expect(try await server.connectedRegistries.find("sITE1", in: server.site.registry)?.name == "Site1")
        _ = try await server.client("other-sync")
        let error = await self.refusal { try await server.configure("SITE1", syncToken: "other-sync") }
        #expect(error?.code == .conflict)
        #expect(try await server.connectedRegistries.list(in: server.site.registry).count == 1)
    }

    @Test("C1 what a configuration may not say is refused, naming the field")
    func configuration() async throws {
        let server = try await self.server()
        try await server.connectedRegistry("site1")
        for token in ["client1", "site2-sync"] { _ = try await server.client(token) }
        func field(_ body: @Sendable () async throws -> Void) async -> String? { await self.refusal(body)?.field }
        #expect(await field { try await server.configure("site2", syncToken: "nobody") } == "properties.parent.syncProperties.tokenId")
        #expect(await field { try await server.configure("site2", syncToken: "SITE1-sync") } == "properties.parent.syncProperties.tokenId")
        #expect(await field { try await server.configure("site1", syncToken: "site2-sync") } == "properties.parent.syncProperties.tokenId")
        #expect(await field { try await server.configure("site1", mode: .readWrite) } == "properties.mode")
        #expect(await field { try await server.configure("site2", parent: "nowhere") } == "properties.parent.id")
        #expect(await field { try await server.configure("site2", parent: "site2") } == "properties.parent.id")
        #expect(await field { try await server.configure("site2", clientTokens: ["nobody"]) } == "properties.clientTokenIds")
        #expect(await field { try await server.configure("site2", clientTokens: ["Site2-sync"]) } == "properties.clientTokenIds")
        #expect(
            await field { try await server.configure("site2", clientTokens: Array(repeating: "client1", count: 21)) }
                == "properties.clientTokenIds")
        #expect(await field { try await server.configure("site2", schedule: "0 1 * * *") } == "properties.parent.syncProperties.syncWindow")
        #expect(await field { try await server.configure("site2", window: "PT2H") } == "properties.parent.syncProperties.syncWindow")
        #expect(try await server.connectedRegistries.list(in: server.site.registry).map(\.name) == ["site1"])
    }

    @Test("C9 ReadWrite below ReadOnly is refused, the other three are accepted; a parent is not deleted before its children")
    func modes() async throws {
        let server = try await self.server()
        try await server.connectedRegistry("reader")
        try await server.connectedRegistry("writer", mode: .readWrite)
        let error = await self.refusal { try await server.connectedRegistry("child1", mode: .readWrite, parent: "READER") }
        #expect(error?.field == "properties.mode")
        try await server.connectedRegistry("child2", mode: .readOnly, parent: "reader")
        try await server.connectedRegistry("child3", mode: .readWrite, parent: "writer")
        try await server.connectedRegistry("child4", mode: .readOnly, parent: "writer")
        let inUse = await self.refusal { try await server.connectedRegistries.delete("Reader", in: server.site.registry) }
        #expect(inUse?.code == .conflict)
        #expect(try await server.connectedRegistries.delete("child2", in: server.site.registry))
        #expect(try await server.connectedRegistries.delete("reader", in: server.site.registry))
        #expect(try await !server.connectedRegistries.delete("reader", in: server.site.registry))
    }

    // MARK: Activation

    @Test("C6 a second instance is refused with a stable code and what to do, and nothing changes")
    func secondInstance() async throws {
        let server = try await self.server()
        try await server.connectedRegistry("site1")
        let first = try await self.activate(server, "first")
        #expect(first.epoch == 1)
        let error = await self.leaseRefusal { _ = try await self.activate(server, "second") }
        #expect(error?.code.rawValue == "ALREADY_ACTIVATED")
        #expect(error?.message.contains("deactivate --name site1") == true)
        _ = try await self.report(server, DataPlane.heartbeat(first.nonce))
        let unknown = await self.leaseRefusal {
            _ = try await server.connectedRegistries.activate(
                "nobody", instance: "x", nonce: nil, version: "", loginServer: nil, in: server.site.registry)
        }
        #expect(unknown?.code == .notFound)
    }

    @Test("C6 an answer that was lost locks nobody out, at activation and at every heartbeat")
    func lostAnswers() async throws {
        let server = try await self.server()
        try await server.connectedRegistry("site1")
        // The answer to the first activation is lost: the instance knows no nonce yet.
        _ = try await self.activate(server, "first")
        let second = try await self.activate(server, "first")
        #expect(second.epoch == 1)
        // It restarts before its first heartbeat.
        let third = try await self.activate(server, "first", nonce: second.nonce)
        let fourth = try await self.report(server, DataPlane.heartbeat(third.nonce))
        // The heartbeat's answer is lost: the same nonce comes again, by heartbeat or by activation.
        let fifth = try await self.report(server, DataPlane.heartbeat(third.nonce))
        #expect(fifth != fourth)
        let sixth = try await self.activate(server, "first", nonce: third.nonce)
        #expect(sixth.epoch == 1)
        _ = try await self.report(server, DataPlane.heartbeat(sixth.nonce))
    }

    @Test("C12 after the parent was restored from a backup the instance goes on, and a copy of it does not")
    func restored() async throws {
        let server = try await self.server()
        try await server.connectedRegistry("site1")
        var nonces = [try await self.activate(server, "first").nonce]
        for _ in 0..<3 { nonces.append(try await self.report(server, DataPlane.heartbeat(nonces[nonces.count - 1]))) }
        let before = try await server.site.store.head()
        // The child is ahead of anything a backup knows.
        try await server.connectedRegistries.forgetNonces()
        try await server.site.store.renewLogIdentity()
        #expect(try await server.site.store.head().log != before.log)
        await #expect(throws: CursorProblem.unknownLog) {
            _ = try await server.site.store.changes(of: server.site.registry, after: before, limit: 10) { _ in true }
        }
        let next = try await self.report(server, DataPlane.heartbeat("from a time the backup does not know"))
        _ = try await self.report(server, DataPlane.heartbeat(next))
        let old = nonces[0]
        let copy = await self.leaseRefusal { _ = try await self.activate(server, "first", nonce: old) }
        #expect(copy?.code == .alreadyActivated)
    }

    @Test("C6 a copied data folder gives itself away by its old nonce")
    func copiedFolder() async throws {
        let server = try await self.server()
        try await server.connectedRegistry("site1")
        let activation = try await self.activate(server, "first")
        var nonces = [activation.nonce]
        for _ in 0..<3 { nonces.append(try await self.report(server, DataPlane.heartbeat(nonces[nonces.count - 1]))) }
        #expect(Set(nonces).count == 4)
        for old in [nonces[0], nonces[1]] {
            let report = await self.leaseRefusal { _ = try await self.report(server, DataPlane.heartbeat(old)) }
            #expect(report?.code == .alreadyActivated)
            #expect(report?.message.contains("copy") == true)
            let activation = await self.leaseRefusal { _ = try await self.activate(server, "first", nonce: old) }
            #expect(activation?.code == .alreadyActivated)
        }
        let none = await self.leaseRefusal { _ = try await self.activate(server, "first", nonce: nil) }
        #expect(none?.code == .alreadyActivated)
        // The original goes on.
        _ = try await self.report(server, DataPlane.heartbeat(nonces[3]))
    }

    @Test("C6 a heartbeat that arrives behind the one sent after it locks nobody out, and a copy still gives itself away")
    func lateHeartbeat() async throws {
        let server = try await self.server()
        try await server.connectedRegistry("site1")
        let first = try await self.activate(server, "first").nonce
        let known = try await self.report(server, DataPlane.heartbeat(first))
        // The instance has given up a heartbeat with the nonce it knows, sent another with the same, and got the answer to that.
        let answered = try await self.report(server, DataPlane.heartbeat(known))
        let unread = try await self.report(server, DataPlane.heartbeat(known, phase: .syncing))
        let next = try await self.report(server, DataPlane.heartbeat(answered))
        // With one that came back the others are over.
        for old in [first, known, unread] {
            let error = await self.leaseRefusal { _ = try await self.report(server, DataPlane.heartbeat(old)) }
            #expect(error?.code == .alreadyActivated)
        }
        // The same before it is started again.
        let last = try await self.report(server, DataPlane.heartbeat(next))
        _ = try await self.report(server, DataPlane.heartbeat(next))
        let again = try await self.activate(server, "first", nonce: last)
        #expect(again.epoch == 1)
        // Only so many are remembered: the oldest goes.
        _ = try await self.report(server, DataPlane.heartbeat(again.nonce))
        var offered: [String] = []
        for _ in 0..<9 { offered.append(try await self.report(server, DataPlane.heartbeat(again.nonce))) }
        let oldest = offered[0]
        let forgotten = await self.leaseRefusal { _ = try await self.report(server, DataPlane.heartbeat(oldest)) }
        #expect(forgotten?.code == .alreadyActivated)
        _ = try await self.report(server, DataPlane.heartbeat(offered[1]))
        // A restored parent has forgotten all of them.
        _ = try await self.report(server, DataPlane.heartbeat(offered[1]))
        try await server.connectedRegistries.forgetNonces()
        _ = try await self.report(server, DataPlane.heartbeat("from a time the backup does not know"))
    }

    @Test("C6 deactivation frees the activation and fences the instance that had it")
    func deactivation() async throws {
        let server = try await self.server()
        try await server.connectedRegistry("site1")
        let store = server.connectedRegistries
        let registry = server.site.registry
        let first = try await self.activate(server, "first")
        let lease = try await store.lease(connectedRegistry: "site1", token: "site1-sync", instance: "first", epoch: 1, registry: registry)
        #expect(try await store.isCurrent(lease, registry: registry))
        let freed = try #require(try await store.deactivate("SITE1", in: registry))
        #expect(!freed.isActive)
        #expect(try await !store.isCurrent(lease, registry: registry))
        for body in [
            { @Sendable in _ = try await self.report(server, DataPlane.heartbeat(first.nonce)) },
            { @Sendable in _ = try await self.activate(server, "first", nonce: first.nonce) },
            { @Sendable in
                _ = try await store.lease(connectedRegistry: "site1", token: "site1-sync", instance: "first", epoch: 1, registry: registry)
            },
        ] {
            #expect(await self.leaseRefusal(body)?.code == .deactivated)
        }
        let second = try await self.activate(server, "second")
        #expect(second.epoch > first.epoch)
        #expect(await self.leaseRefusal { _ = try await self.activate(server, "first", nonce: first.nonce) }?.code == .deactivated)
        let old = await self.leaseRefusal {
            _ = try await store.lease(connectedRegistry: "site1", token: "site1-sync", instance: "first", epoch: 1, registry: registry)
        }
        #expect(old?.code == .alreadyActivated)
        #expect(try await store.deactivate("nobody", in: registry) == nil)
    }

    @Test("C6 a sync token has a lease for its own connected registry only")
    func foreignLease() async throws {
        let server = try await self.server()
        try await server.connectedRegistry("site1")
        try await server.connectedRegistry("site2")
        for (name, token) in [("site1", "site2-sync"), ("nobody", "site1-sync")] {
            let error = await self.leaseRefusal {
                _ = try await server.connectedRegistries.lease(
                    connectedRegistry: name, token: token, instance: nil, epoch: nil, registry: server.site.registry)
            }
            #expect(error?.code == .notFound)
        }
        let lease = try await server.connectedRegistries.lease(
            connectedRegistry: "SITE1", token: "Site1-Sync", instance: nil, epoch: nil, registry: server.site.registry)
        #expect(lease == SyncLease(connectedRegistry: "site1", instance: nil, epoch: nil))
        #expect(try await !server.connectedRegistries.isCurrent(lease, registry: server.site.registry))
    }

    // MARK: State

    private func state(_ server: DataPlane) async throws -> ConnectedRegistry.ConnectionState? {
        try await server.connectedRegistries.find("site1", in: server.site.registry)?.connectionState(now: server.site.clock.milliseconds)
    }

    @Test("C16 the connection state follows from what was reported and when")
    func connectionState() async throws {
        let server = try await self.server()
        try await server.connectedRegistry("site1")
        #expect(try await self.state(server) == .offline)
        var nonce = try await self.activate(server, "first").nonce
        #expect(try await self.state(server) == .offline)
        func heartbeat(_ phase: StatusReport.Phase, _ details: [StatusDetail] = []) async throws {
            nonce = try await self.report(server, DataPlane.heartbeat(nonce, phase: phase, details: details))
        }
        try await heartbeat(.idle)
        #expect(try await self.state(server) == .online)
        try await heartbeat(.syncing)
        #expect(try await self.state(server) == .syncing)
        let full = StatusDetail(type: "Error", code: "DiskError", description: "no space", timestamp: 0)
        try await heartbeat(.syncing, [full])
        #expect(try await self.state(server) == .unhealthy)
        try await heartbeat(.idle, [StatusDetail(type: "Warning", code: "x", description: "", timestamp: 0)])
        #expect(try await self.state(server) == .online)
        server.site.clock.advance(seconds: 90)
        #expect(try await self.state(server) == .online)
        server.site.clock.advance(seconds: 1)
        #expect(try await self.state(server) == .offline)
        server.connectedRegistries.touch("site1", in: server.site.registry)
        #expect(try await self.state(server) == .online)
        try await heartbeat(.stopping)
        #expect(try await self.state(server) == .offline)
        try await heartbeat(.idle)
        try await server.connectedRegistries.deactivate("site1", in: server.site.registry)
        #expect(try await self.state(server) == .offline)
    }

    @Test("C16 a connected registry that rests between windows is online as long as its heartbeats come")
    func resting() async throws {
        let server = try await self.server()
        try await server.connectedRegistry("site1", schedule: "0 1 * * *", window: "PT2H")
        let nonce = try await self.activate(server, "first").nonce
        _ = try await self.report(server, DataPlane.heartbeat(nonce))
        server.site.clock.advance(seconds: 301)
        #expect(try await self.state(server) == .online)
        server.site.clock.advance(seconds: 600)
        #expect(try await self.state(server) == .offline)
    }
}
