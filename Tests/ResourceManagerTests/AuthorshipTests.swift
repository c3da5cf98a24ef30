// Who made what and who changed it last, on everything that has an id.

import HTTPTypes
import Identity
import JSON
import Persistence
import Testing

@testable import ResourceManager

@Suite struct AuthorshipTests {
    /// Something that is made with one body and changed with another.
    private struct Thing {
        let path: String
        let made: JSONValue
        let changed: JSONValue
        var changes: HTTPRequest.Method = .patch
    }

    private func things(_ world: World) async throws -> [Thing] {
        let registry = world.registry()
        let all: JSONValue = .string(registry + "/scopeMaps/_repositories_pull")
        let provider = world.group + "/providers/"
        try await world.withToken("synctoken")
        var set: JSONValue = ["name": "Credential1"]
        for secret in ["username", "password"] {
            set["\(secret)SecretIdentifier"] = .string("https://myvault.vault.azure.net/secrets/\(secret)")
        }
        return [
            Thing(
                path: registry + "/tokens/reader", made: ["properties": ["scopeMapId": all]],
                changed: ["properties": ["status": "disabled"]]),
            Thing(
                path: registry + "/scopeMaps/somemap", made: ["properties": ["actions": ["repositories/a/content/read"]]],
                changed: ["properties": ["description": "x"]]),
            Thing(
                path: registry + "/connectedRegistries/factory", made: world.connectedRegistryBody("synctoken"),
                changed: ["properties": ["logging": ["logLevel": "Debug"]]]),
            Thing(
                path: registry + "/webhooks/somehook",
                made: ["location": "eastus", "properties": ["serviceUri": "https://example.com/x", "actions": ["push"]]],
                changed: ["properties": ["status": "disabled"]]),
            Thing(
                path: registry + "/cacheRules/somerule",
                made: ["properties": ["sourceRepository": "docker.io/a/b", "targetRepository": "b"]], changed: ["properties": [:]]),
            Thing(
                path: registry + "/credentialSets/someset",
                made: ["properties": ["loginServer": "docker.io", "authCredentials": [set]]], changed: ["properties": [:]]),
            Thing(
                path: provider + "Microsoft.ManagedIdentity/userAssignedIdentities/someone", made: ["location": "eastus"],
                changed: ["tags": ["a": "b"]]),
            Thing(
                path: provider + "Microsoft.Kubernetes/connectedClusters/edge",
                made: ["location": "eastus", "identity": ["type": "SystemAssigned"], "properties": ["agentPublicKeyCertificate": ""]],
                changed: ["tags": ["a": "b"]]),
            Thing(
                path: provider + "Microsoft.ContainerService/managedClusters/aks", made: ["location": "eastus", "properties": [:]],
                changed: ["tags": ["a": "b"]]),
        ]
    }

    @Test("A2 every resource tells who made it and who changed it last; what is made anew has another maker")
    func authors() async throws {
        let world = try await World().withRegistry()
        let owner = try await world.actor("owner", role: "Owner")
        let bootstrap = world.installation.clientID
        for thing in try await self.things(world) {
            let made = try await world.send(.put, thing.path, thing.made)
            #expect(made.status == 201, "\(thing.path) \(made.body)")
            let first = try #require(made.body["systemData"], "\(thing.path)")
            #expect(first["createdBy"]?.stringValue == bootstrap, "\(thing.path)")
            #expect(first["createdByType"] == "Application" && first["lastModifiedByType"] == "Application")
            #expect(first["lastModifiedBy"]?.stringValue == bootstrap)
            #expect(first["createdAt"]?.stringValue != nil && first["createdAt"] == first["lastModifiedAt"], "\(thing.path)")
            world.clock.advance(seconds: 60)
            let changed = try await world.send(thing.changes, thing.path, thing.changed, as: owner)
            #expect(changed.status == 200, "\(thing.path) \(changed.body)")
            let second = try #require(changed.body["systemData"])
            #expect(second["createdBy"]?.stringValue == bootstrap && second["createdAt"] == first["createdAt"], "\(thing.path)")
            #expect(second["lastModifiedBy"]?.stringValue == owner.appID, "\(thing.path)")
            #expect(second["lastModifiedAt"] != first["lastModifiedAt"], "\(thing.path)")
            // The same wherever it is shown.
            #expect(try await world.send(.get, thing.path).body["systemData"] == second, "\(thing.path)")
            let parent = thing.path.split(separator: "/").dropLast().joined(separator: "/")
            let listed = try await world.send(.get, "/" + parent).values.first { $0["id"] == made.body["id"] }
            #expect(listed?["systemData"] == second, "\(thing.path)")
            #expect([200, 204].contains(try await world.send(.delete, thing.path).status), "\(thing.path)")
            let again = try await world.send(.put, thing.path, thing.made, as: owner)
            #expect(again.body[path: "systemData", "createdBy"]?.stringValue == owner.appID, "\(thing.path) \(again.body)")
        }
    }

    @Test("A2 users are named by their accounts, identities as what they are; new passwords are a change of their token")
    func kinds() async throws {
        let world = try await World().withRegistry()
        try await world.withToken("reader")
        let path = world.registry() + "/tokens/reader"
        let identity = try await world.send(
            .put, world.group + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/someone", ["location": "eastus"])
        let object = try #require(identity.body[path: "properties", "principalId"]?.stringValue)
        func sign(_ principal: Principal) async throws {
            try await world.database.write { try Authorship.sign(path.lowercased(), by: principal, isNew: false, now: 1, $0) }
        }
        try await sign(
            Principal(objectID: object, kind: .servicePrincipal, name: "client", displayName: "someone", isDirectoryAdministrator: false))
        #expect(try await world.send(.get, path).body[path: "systemData", "lastModifiedByType"] == "ManagedIdentity")
        try await sign(
            Principal(objectID: "x", kind: .user, name: "ada@edge.test", displayName: "Ada", isDirectoryAdministrator: false))
        let byUser = try await world.send(.get, path)
        #expect(byUser.body[path: "systemData", "lastModifiedByType"] == "User")
        #expect(byUser.body[path: "systemData", "lastModifiedBy"] == "ada@edge.test")
        let generated = try await world.send(
            .post, world.registry() + "/generateCredentials", ["tokenId": .string(path), "name": "password1"])
        #expect(generated.status == 200)
        #expect(
            try await world.send(.get, path).body[path: "systemData", "lastModifiedBy"]?.stringValue == world.installation.clientID)
    }

    @Test("A2 of what was made before this was kept only what is known is told, and nothing goes with a registry but its own")
    func before() async throws {
        let world = try await World().withRegistry()
        try await world.withToken("reader")
        try await world.withRegistry("harbour2")
        try await world.withToken("reader", registry: "harbour2")
        let path = world.registry() + "/tokens/reader"
        _ = try await world.database.write { try $0.execute("DELETE FROM authorship WHERE key = ?", SQLValue(path.lowercased())) }
        let old = try #require(try await world.send(.get, path).body["systemData"]?.objectValue)
        #expect(old.keys.sorted() == ["createdAt"])
        world.clock.advance(seconds: 60)
        let changed = try await world.send(.patch, path, ["properties": ["status": "disabled"]]).body["systemData"]
        #expect(changed?["createdBy"] == nil && changed?["lastModifiedBy"]?.stringValue == world.installation.clientID)
        #expect(changed?["createdAt"] == old["createdAt"])
        func rows() async throws -> [String] {
            try await world.database.read { try $0.rows("SELECT key FROM authorship ORDER BY key").map { $0.text(0) } }
        }
        #expect(try await rows().count == 2)
        #expect(try await world.send(.delete, world.registry()).status == 200)
        #expect(try await rows() == [(world.registry("harbour2") + "/tokens/reader").lowercased()])
        // A replication of a registry is as old as that.
        let home = try await world.send(.get, world.registry("harbour2") + "/replications/eastus")
        #expect(home.body[path: "systemData", "createdBy"]?.stringValue == world.installation.clientID)
    }
}
