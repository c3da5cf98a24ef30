// Connected registries below connected registries: the same protocol at every level, and everything an operator sets or sees through the
// levels between.

import Gateway
import GatewayProtocol
import Identity
import Logging
import OCI
import RegistryClient
import RegistryCore
import TestSupport
import Testing

@testable import SyncAgent

/// A connected registry that is a parent itself.
final class Link: Sendable {
    let name: String
    let site: Site
    let plane: DataPlane
    let memory: SyncMemoryStore
    let transport: LoopbackTransport
    let connection: ConnectionString

    init(_ name: String, below parent: DataPlane, password: String, site: Site) async throws {
        self.name = name
        self.site = site
        self.connection = try ConnectionString(
            parsing: ConnectionStringTests.text(
                name: name, token: "\(name)-sync", password: password, endpoint: "harbour.test", scheme: "http"))
        let memory = try await SyncMemoryStore(database: site.database, connection: self.connection)
        self.memory = memory
        self.plane = try await DataPlane(site, audience: "connected-registry/\(name)", owner: name) {
            await memory.memory.result?.lastSuccess != nil
        }
        self.transport = LoopbackTransport(parent)
    }

    func agent() -> SyncAgent {
        let (transport, store, registry) = (self.transport, self.plane.connectedRegistries, self.site.registry)
        return SyncAgent(
            connection: self.connection, memory: self.memory, store: self.site.store, identities: self.site.identities, registry: registry,
            folder: self.site.folder, transport: transport, makeUntrusted: { transport }, version: "test", loginServer: "\(self.name).test",
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }, clock: self.site.clock.wall,
            caPin: String(repeating: "a", count: 64),
            descendants: DescendantPort(
                apply: { try await store.replace(descendants: $0, in: registry) },
                statuses: { try await store.descendantStatuses(in: registry) }, reports: store.reports))
    }

    func digest(_ tag: OCI.Tag, in name: RepositoryName) async throws -> Digest? {
        try await self.site.store.resolve(tag, in: name, of: self.site.registry)
    }
}

/// A root and connected registries, each below the one before.
final class Chain: Sendable {
    let root: DataPlane
    let links: [Link]

    init(_ names: [String], mode: ConnectedRegistryMode, clientTokens: [String] = []) async throws {
        let root = try await DataPlane(Site())
        self.root = root
        for token in clientTokens { _ = try await root.client(token) }
        var links: [Link] = []
        for (level, name) in names.enumerated() {
            let password = try await root.connectedRegistry(
                name, mode: mode, parent: level == 0 ? nil : names[level - 1], clientTokens: level == names.count - 1 ? clientTokens : [])
            try await Self.allow(name, for: Array(names[level...]), mode, at: root)
            links.append(
                try await Link(
                    name, below: links.last?.plane ?? root, password: password, site: try await Site(clock: root.site.clock)))
        }
        self.links = links
    }

    /// A scope map as `connected-registry create` leaves it: the repositories, and the gateways of itself and of those below.
    static func allow(_ name: String, for gateways: [String], _ mode: ConnectedRegistryMode, at root: DataPlane) async throws {
        let permissions = RepositoryPermission.allCases.filter { mode == .readWrite || $0 == .contentRead || $0 == .metadataRead }
        let actions =
            permissions.map { "repositories/*/\($0.rawValue)" }
            + gateways.flatMap { gateway in GatewayPermission.allCases.map { "gateway/\(gateway)/\($0.rawValue)" } }
        try await root.site.identities.put(
            ScopeMap(name: "map-\(name)", text: nil, actions: try actions.map { try ScopeMapAction($0) }, created: 0),
            in: root.site.registry)
    }

    /// Runs the agents of some links while `body` looks on.
    func running(_ links: [Link]? = nil, _ body: @Sendable @escaping () async throws -> Void) async throws {
        let tasks = (links ?? self.links).map { link in
            let agent = link.agent()
            return Task { _ = await agent.run() }
        }
        let result: Result<Void, any Error>
        do {
            try await body()
            result = .success(())
        } catch {
            result = .failure(error)
        }
        for task in tasks { task.cancel() }
        for task in tasks { await task.value }
        try result.get()
    }

    func atRoot(_ name: String) async throws -> ConnectedRegistry? {
        try await self.root.connectedRegistries.find(name, in: self.root.site.registry)
    }
}

@Suite(.serialized) struct HierarchyTests {
    private let app = repository("app")

    @Test("C9 five levels: content down, content up, settings, client tokens and status through every level")
    func depthFive() async throws {
        let chain = try await Chain((1...5).map { "level\($0)" }, mode: .readWrite, clientTokens: ["reader"])
        let last = try #require(chain.links.last)
        let (down, up) = (TestImage("down"), TestImage("up"))
        try await chain.root.site.push(down, tags: [tag("down")], to: self.app)
        try await chain.running { () async throws in
            #expect(try await eventually { try await last.digest(tag("down"), in: self.app) == down.manifest.digest })
            // Each level fetched it once, from the level above.
            for link in chain.links { #expect(link.transport.blobBytes == down.blobs.reduce(0) { $0 + $1.bytes.count }) }
            #expect(try await last.site.store.holdsWhole(down.manifest.digest, in: self.app, of: last.site.registry))
            try await last.site.push(up, tags: [tag("up")], to: self.app)
            #expect(
                try await eventually {
                    try await chain.root.site.store.resolve(tag("up"), in: self.app, of: chain.root.site.registry) == up.manifest.digest
                })
            // Status of the last at the root.
            #expect(
                try await eventually {
                    let seen = try await chain.atRoot("level5")
                    return seen?.isActive == true && seen?.report?.loginServer == "level5.test" && seen?.inStep == true
                })
            #expect(
                try await eventually {
                    try await chain.atRoot("level5")?.connectionState(now: chain.root.site.clock.milliseconds) == .online
                })
            #expect(try await chain.atRoot("level4")?.report?.caPin == String(repeating: "a", count: 64))
            // Its client's token works there and nowhere between.
            let password = try #require(
                try await chain.root.site.identities.generatePasswords(
                    [.password1], expiry: nil, token: "reader", in: chain.root.site.registry
                ).values[.password1])
            #expect(
                try await eventually {
                    try await last.site.identities.authenticate(token: "reader", password: password, in: last.site.registry) != nil
                })
            for link in chain.links.dropLast() {
                #expect(try await link.site.identities.token("reader", in: link.site.registry) != nil)
                #expect(try await link.site.identities.authenticate(token: "reader", password: password, in: link.site.registry) == nil)
            }
            // An order travels down, its execution up.
            _ = try await chain.root.connectedRegistries.resync("level5", in: chain.root.site.registry)
            #expect(try await eventually { try await chain.atRoot("level5")?.isResyncPending == false })
        }
    }

    @Test("C9 a middle away for a while: those below serve, take writes and catch up; one with an empty folder costs its children nothing")
    func middle() async throws {
        let chain = try await Chain(["region1", "factory1"], mode: .readWrite)
        let (region, factory) = (chain.links[0], chain.links[1])
        let (one, two, three) = (TestImage("one"), TestImage("two"), TestImage("three"))
        try await chain.root.site.push(one, tags: [tag("v1")], to: self.app)
        try await chain.running { () async throws in
            #expect(try await eventually { try await factory.digest(tag("v1"), in: self.app) == one.manifest.digest })
            #expect(try await eventually { try await chain.atRoot("factory1")?.isActive == true })
        }
        // The middle is away: its child writes, the root goes on.
        try await factory.site.push(two, tags: [tag("v2")], to: self.app)
        try await chain.root.site.push(three, tags: [tag("v3")], to: self.app)
        try await chain.running([factory]) { () async throws in
            // Its gateway still answers in this test; what it cannot do is pass anything on.
            #expect(try await eventually { try await region.digest(tag("v2"), in: self.app) == two.manifest.digest })
            #expect(try await factory.digest(tag("v3"), in: self.app) == nil)
        }
        try await chain.running { () async throws in
            #expect(
                try await eventually {
                    try await chain.root.site.store.resolve(tag("v2"), in: self.app, of: chain.root.site.registry) == two.manifest.digest
                })
            #expect(try await eventually { try await factory.digest(tag("v3"), in: self.app) == three.manifest.digest })
        }
        // A new instance of the middle, with nothing.
        let registry = chain.root.site.registry
        try await chain.root.connectedRegistries.deactivate("region1", in: registry)
        let password = try #require(
            try await chain.root.site.identities.generatePasswords([.password1], expiry: nil, token: "region1-sync", in: registry)
                .values[.password1])
        let renewed = try await Link("region1", below: chain.root, password: password, site: try await Site(clock: chain.root.site.clock))
        let orphan = try await Link("factory1", below: renewed.plane, password: factory.connection.password, site: factory.site)
        let moved = orphan.transport.blobBytes
        try await chain.running([orphan]) { () async throws in
            // Before the new middle knows anything its child is neither sent away for good nor told to delete.
            #expect(try await eventually { orphan.transport.requests.count > 3 })
            #expect(try await factory.digest(tag("v1"), in: self.app) == one.manifest.digest)
        }
        try await chain.running([renewed, orphan]) { () async throws in
            #expect(try await eventually { try await renewed.digest(tag("v3"), in: self.app) == three.manifest.digest })
            #expect(try await eventually { try await chain.atRoot("factory1")?.inStep == true })
        }
        #expect(await orphan.memory.memory.stopped == nil)
        #expect(try await factory.digest(tag("v1"), in: self.app) == one.manifest.digest)
        #expect(orphan.transport.blobBytes == moved)
    }

    @Test("C9 C18 deactivated or deleted at the root, a connected registry at the end of the tree learns it; nobody skips a level")
    func orders() async throws {
        let chain = try await Chain(["region1", "factory1"], mode: .readOnly)
        let factory = chain.links[1]
        let registry = chain.root.site.registry
        try await chain.running { () async throws in
            #expect(try await eventually { try await chain.atRoot("factory1")?.isActive == true })
            try await chain.root.connectedRegistries.deactivate("factory1", in: registry)
            #expect(try await eventually { await factory.memory.memory.stopped?.contains("deactivated") == true })
            // What is told from below afterwards does not bring it back: a heartbeat that is made after this push.
            try await chain.root.site.push(TestImage("later"), tags: [tag("later")], to: self.app)
            let head = try await chain.root.site.store.head().sequence
            #expect(
                try await eventually { try await chain.atRoot("region1")?.report?.status?.cursor?.sequence ?? 0 >= head })
            #expect(try await chain.atRoot("factory1")?.isActive == false)
        }
        // Straight to the root, with a string that names the wrong parent.
        let shortcut = try await Link(
            "factory1", below: chain.root, password: factory.connection.password, site: try await Site(clock: chain.root.site.clock))
        try await chain.running([shortcut]) { () async throws in
            #expect(try await eventually { await shortcut.memory.memory.stopped?.contains("region1") == true })
        }
        try await chain.root.connectedRegistries.delete("factory1", in: registry)
        let region = chain.links[0]
        try await chain.running([region]) { () async throws in
            #expect(try await eventually { try await region.plane.connectedRegistries.list(in: region.site.registry).isEmpty })
            // It goes after what signs in with it.
            #expect(try await eventually { try await region.site.identities.token("factory1-sync", in: region.site.registry) == nil })
        }
    }
}
