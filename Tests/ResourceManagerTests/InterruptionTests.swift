// The process ends between two transactions, at each in turn: what the next one finds is whole, and the same call makes it as it should be.

import HTTPTypes
import Identity
import JSON
import Persistence
import RegistryCore
import Synchronization
import Testing

@testable import ResourceManager

/// A database that ends at a chosen transaction, as the process would: nothing is read or written any more.
private final class MortalDatabase: Database {
    private struct Ended: Error {}

    private let inner: any Database
    /// Transactions left; `nil` for no end.
    private let left = Mutex<Int?>(nil)

    init(_ inner: any Database) { self.inner = inner }

    func end(after writes: Int?) { self.left.withLock { $0 = writes } }

    var hasEnded: Bool { self.left.withLock { $0 == -1 } }

    func read<Value: Sendable>(_ body: @escaping @Sendable (any SQLReader) throws -> Value) async throws -> Value {
        if self.hasEnded { throw Ended() }
        return try await self.inner.read(body)
    }

    func write<Value: Sendable>(_ body: @escaping @Sendable (any SQLWriter) throws -> Value) async throws -> Value {
        try self.left.withLock { left in
            guard let count = left else { return }
            left = max(count - 1, -1)
            if count <= 0 { throw Ended() }
        }
        return try await self.inner.write(body)
    }

    func close() async throws { try await self.inner.close() }
}

@Suite struct InterruptionTests {
    /// A change, and what it needs before.
    private struct Change: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let method: HTTPRequest.Method
        let path: @Sendable (World) async throws -> String
        var body: @Sendable (World) async throws -> JSONValue? = { _ in nil }
        /// What must hold wherever it ended.
        var holds: @Sendable (World) async throws -> Void = { _ in }
    }

    private static let cluster = "/providers/Microsoft.ContainerService/managedClusters/nodes"
    private static let identity = "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/puller"

    private static let changes: [Change] = [
        Change(testDescription: "a registry goes with all that is in it", method: .delete, path: { $0.registry() }),
        Change(testDescription: "a group goes with all that is in it", method: .delete, path: { $0.group }),
        Change(
            testDescription: "a registry comes with its own identity", method: .put, path: { $0.registry("another") },
            body: { _ in ["location": "eastus", "sku": ["name": "Premium"], "identity": ["type": "SystemAssigned"]] }),
        Change(
            testDescription: "a registry loses its own identity", method: .patch, path: { $0.registry() },
            body: { _ in ["identity": ["type": "None"], "properties": ["policies": ["softDeletePolicy": ["status": "enabled"]]]] }),
        Change(testDescription: "an identity goes with its roles", method: .delete, path: { $0.group + Self.identity }),
        Change(testDescription: "a cluster goes with its identities", method: .delete, path: { $0.group + Self.cluster }),
        Change(
            testDescription: "a cluster comes with its identities", method: .put, path: { $0.group + Self.cluster + "2" },
            body: { _ in ["location": "eastus", "properties": [:]] }),
        Change(
            testDescription: "a token is disabled and loses its passwords", method: .patch, path: { $0.registry() + "/tokens/reader" },
            body: { _ in ["properties": ["status": "disabled", "credentials": ["passwords": []]]] },
            holds: { world in
                let token = try await world.send(.get, world.registry() + "/tokens/reader").body["properties"]
                let passwords = token?[path: "credentials", "passwords"]?.arrayValue?.count
                #expect((token?["status"] == "disabled") == (passwords == 0), "\(String(describing: token))")
            }),
        Change(
            testDescription: "an application goes with its principal and that one's roles", method: .delete,
            path: { world in
                let found = try await world.graph(.get, "/applications?$filter=" + World.encoded("displayName eq 'ci'"))
                return "/graph/v1.0/applications/\(found.values.first?["id"]?.stringValue ?? "11111111-1111-1111-1111-111111111111")"
            }),
        Change(
            testDescription: "a connected registry goes", method: .delete, path: { $0.registry() + "/connectedRegistries/factory" }),
        Change(testDescription: "a webhook goes", method: .delete, path: { $0.registry() + "/webhooks/somehook" }),
    ]

    /// A registry in which there is one of each, and records beside it, with roles for whatever can have one.
    private func setUp(_ world: World) async throws {
        try await world.withRegistry()
        func make(_ path: String, _ body: JSONValue) async throws -> JSONValue {
            let made = try await world.send(.put, path, body)
            #expect(made.status == 201, "\(path) \(made.body)")
            return made.body
        }
        try await world.withToken("reader")
        _ = try await world.send(
            .post, world.registry() + "/generateCredentials", ["tokenId": .string(world.registry() + "/tokens/reader")])
        try await world.withConnectedRegistry("factory")
        _ = try await make(
            world.registry() + "/webhooks/somehook",
            ["location": "eastus", "properties": ["serviceUri": "https://example.com/x", "actions": ["push"]]])
        _ = try await make(
            world.registry() + "/cacheRules/somerule",
            ["properties": ["sourceRepository": "docker.io/a/b", "targetRepository": "b"]])
        let identity = try await make(world.group + Self.identity, ["location": "eastus"])
        let nodes = try await make(world.group + Self.cluster, ["location": "eastus", "properties": [:]])
        let registry = try await world.send(.patch, world.registry(), ["identity": ["type": "SystemAssigned"]]).body
        let ci = try await world.actor("ci")
        let principals = [
            identity[path: "properties", "principalId"], nodes[path: "properties", "identityProfile", "kubeletidentity", "objectId"],
            registry[path: "identity", "principalId"], .string(ci.objectID),
        ]
        let role = try #require(RoleDefinition.all.first { $0.name == "AcrPull" })
        for principal in principals {
            let id = try #require(principal?.stringValue)
            for scope in [world.registry(), world.subscription] {
                _ = try await world.roles.assign(role, to: id, at: scope, name: Directory.identifier(), text: nil, by: "test")
            }
        }
    }

    /// What is left behind by nobody, whatever happened.
    private static let orphans = [
        "content without a registry":
            "SELECT name FROM registry WHERE id NOT IN (SELECT registry FROM resource WHERE registry IS NOT NULL)",
        "registries without content": "SELECT key FROM resource WHERE type = 'Microsoft.ContainerRegistry/registries' AND registry IS NULL",
        "identities of nothing": """
        SELECT display_name FROM service_principal WHERE kind = 'ManagedIdentity'
            AND lower(resource) NOT IN (SELECT key FROM resource)
        """,
        "roles of nobody": "SELECT principal FROM role_assignment WHERE principal NOT IN (SELECT object_id FROM service_principal)",
        "parts of nothing": "SELECT key FROM resource WHERE parent != '' AND parent NOT IN (SELECT key FROM resource)",
        "secrets of nothing": "SELECT key FROM resource_secret WHERE key NOT IN (SELECT key FROM resource)",
        "makers of nothing": """
        SELECT key FROM authorship WHERE key NOT IN (SELECT key FROM resource)
            AND NOT EXISTS (SELECT 1 FROM resource WHERE authorship.key > resource.key || '/' AND authorship.key < resource.key || '0'
                AND type NOT IN ('Microsoft.Resources/subscriptions', 'Microsoft.Resources/resourceGroups'))
        """,
    ]

    @Test(
        "R7 A3 I4 a change that is cut off between any two transactions leaves nothing half, and is made by calling again",
        arguments: changes)
    private func cutOff(change: Change) async throws {
        var writes = 0
        while writes < 50 {
            let box = Mutex<MortalDatabase?>(nil)
            let world = try await World(through: { inner in
                let mortal = MortalDatabase(inner)
                box.withLock { $0 = mortal }
                return mortal
            })
            let database = try #require(box.withLock { $0 })
            try await self.setUp(world)
            let (path, body) = (try await change.path(world), try await change.body(world))
            let administrator = try await world.administrator()
            database.end(after: writes)
            let cut = try await world.send(change.method, path, body, as: administrator)
            let ended = database.hasEnded
            database.end(after: nil)
            // The next process begins.
            try await world.services.resources.load()
            #expect(ended ? cut.status >= 500 : cut.status < 300, "after \(writes): \(cut.status) \(cut.body)")
            for (what, query) in Self.orphans {
                // A registry that is being made begins with the place of its content, which a later one of the name takes away.
                if what == "content without a registry", change.method == .put { continue }
                let found = try await world.database.read { try $0.rows(query).map { $0.text(0) } }
                #expect(found == [], "\(change.testDescription) after \(writes): \(what)")
            }
            try await change.holds(world)
            let again = try await world.send(change.method, path, body, as: administrator)
            #expect(again.status < 300 || change.method == .delete && again.status == 404, "again: \(again.status) \(again.body)")
            try await change.holds(world)
            if !ended { break }
            writes += 1
        }
        #expect((1..<50).contains(writes), "it was cut off \(writes) times")
    }
}
