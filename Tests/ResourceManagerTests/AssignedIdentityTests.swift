// Proves identities of registries, and connected registries that are to sign in with one.

import HTTPTypes
import Identity
import JSON
import Testing

@testable import ResourceManager

@Suite struct AssignedIdentityTests {
    private func world() async throws -> (world: World, identity: String) {
        let world = try await World().withRegistry()
        let identity = "\(world.group)/providers/Microsoft.ManagedIdentity/userAssignedIdentities/puller"
        #expect(try await world.send(.put, identity, ["location": "eastus"]).status == 201)
        return (world, identity)
    }

    @Test("A3 I7 a registry gets an identity of its own and assigned ones, which may have roles and go with it")
    func registry() async throws {
        let (world, identity) = try await self.world()
        let r = world.registry()
        #expect(try await world.send(.get, r).body["identity"]?.isNull == true)
        let own = try await world.send(.patch, r, ["identity": ["type": "systemassigned"]])
        #expect(own.body[path: "identity", "type"] == "SystemAssigned")
        let principal = try #require(own.body[path: "identity", "principalId"]?.stringValue)
        #expect(own.body[path: "identity", "tenantId"]?.stringValue == world.services.authority.tenantID)
        // As az sends it: the whole registry back, with one more.
        var whole = own.body
        whole["identity"] = [
            "type": "SystemAssigned, UserAssigned", "principalId": .string(principal),
            "userAssignedIdentities": .object([identity.lowercased(): [:]]),
        ]
        let both = try await world.send(.patch, r, whole)
        #expect(both.status == 200, "\(both.body)")
        #expect(both.body[path: "identity", "principalId"]?.stringValue == principal)
        let known = try await world.send(.get, identity).body["properties"]
        #expect(both.body[path: "identity", "userAssignedIdentities", identity, "clientId"] == known?["clientId"])
        // It is somebody, who may have roles.
        let assignments = "\(r)/providers/Microsoft.Authorization/roleAssignments/33333333-3333-4333-8333-333333333333"
        let role = "/providers/Microsoft.Authorization/roleDefinitions/7f951dda-4ed3-4680-a7ca-43fe172d538d"
        let given = try await world.send(
            .put, assignments, ["properties": ["roleDefinitionId": .string(role), "principalId": .string(principal)]])
        #expect(given.status == 201, "\(given.body)")
        // One that is assigned stays.
        let kept = try await world.send(.delete, identity)
        #expect(kept.status == 409 && kept.message?.contains("acr identity remove") == true, "\(kept.body)")
        let less = try await world.send(
            .patch, r, ["identity": ["type": "SystemAssigned, UserAssigned", "userAssignedIdentities": .object([identity: nil])]])
        #expect(less.target == "identity.userAssignedIdentities", "\(less.body)")
        let users = try await world.send(.patch, r, ["identity": ["type": "UserAssigned"]])
        #expect(users.body[path: "identity", "type"] == "UserAssigned" && users.body[path: "identity", "principalId"] == nil)
        // Its own principal has gone with its role.
        #expect(try await world.send(.get, assignments).status == 404)
        #expect(try await world.send(.patch, r, ["identity": ["type": "None"]]).body["identity"]?.isNull == true)
        #expect(try await world.send(.delete, identity).status == 200)
        let unknown = try await world.send(
            .patch, r, ["identity": ["type": "UserAssigned", "userAssignedIdentities": .object([identity: [:]])]])
        #expect(unknown.status == 400 && unknown.target == "identity.userAssignedIdentities.\(identity)", "\(unknown.body)")
    }

    @Test("A3 K6 an identity that something in another subscription or group uses is not deleted, nor the group that it is in")
    func usedElsewhere() async throws {
        let (world, identity) = try await self.world()
        // An identity of another subscription, assigned to the registry of this one.
        let alias = try await world.send(
            .put, "/providers/Microsoft.Subscription/aliases/plants", ["properties": ["displayName": "Plants", "workload": "Production"]])
        let id = try #require(alias.body[path: "properties", "subscriptionId"]?.stringValue)
        let group = "/subscriptions/\(id)/resourceGroups/Plants"
        #expect(try await world.send(.put, group, ["location": "eastus"]).status == 201)
        let other = "\(group)/providers/Microsoft.ManagedIdentity/userAssignedIdentities/other"
        #expect(try await world.send(.put, other, ["location": "eastus"]).status == 201)
        let assigned: JSONValue = [
            "identity": ["type": "UserAssigned", "userAssignedIdentities": .object([identity: [:], other: [:]])]
        ]
        #expect(try await world.send(.patch, world.registry(), assigned).status == 200)
        #expect(try await world.send(.delete, other).status == 409)
        let refused = try await world.send(.delete, group)
        #expect(refused.status == 409 && refused.message?.contains("'other'") == true, "\(refused.body)")
        #expect(try await world.send(.get, other).status == 200)
        // What is used only within a group goes with it.
        #expect(try await world.send(.delete, world.group).status == 200)
        #expect(try await world.send(.delete, group).status == 200)
    }

    @Test("C1 a connected registry with a managed identity is a record without a token; one that is away may change to it, not back")
    func site() async throws {
        let (world, identity) = try await self.world()
        let r = world.registry()
        let assigned: JSONValue = ["type": "UserAssigned", "userAssignedIdentities": .object([identity: [:]])]
        let body: JSONValue = [
            "identity": assigned,
            "properties": [
                "mode": "readonly",
                "parent": ["syncProperties": ["schedule": "* * * * *", "messageTtl": "P2D", "authType": "ManagedIdentity"]],
            ],
        ]
        let path = "\(r)/connectedRegistries/factory"
        let made = try await world.send(.put, path, body)
        #expect(made.status == 201, "\(made.body)")
        let sync = made.body[path: "properties", "parent", "syncProperties"]
        #expect(sync?["authType"] == "ManagedIdentity" && sync?["tokenId"]?.isNull == true)
        #expect(sync?["gatewayEndpoint"]?.stringValue == "harbour.eastus.data.registry.test:8443")
        let client = try await world.send(.get, identity).body[path: "properties", "clientId"]
        #expect(made.body[path: "identity", "userAssignedIdentities", identity, "clientId"] == client)
        #expect(try await world.send(.delete, identity).status == 409)
        let cases: [(JSONValue, String)] = [
            (["identity": nil], "properties.parent.syncProperties.authType"),
            (["identity": ["type": "SystemAssigned"]], "identity.type"),
            (["identity": ["userAssignedIdentities": .object([identity: nil])]], "identity.userAssignedIdentities"),
            (["properties": ["parent": ["syncProperties": ["authType": "SyncToken"]]]], "identity"),
            (
                ["properties": ["parent": ["syncProperties": ["tokenId": .string("\(r)/tokens/x")]]]],
                "properties.parent.syncProperties.tokenId"
            ),
            (["properties": ["parent": ["id": .string(path)]]], "properties.parent.id"),
        ]
        for (patch, target) in cases {
            var wrong = body
            wrong.apply(mergePatch: patch)
            let answer = try await world.send(.put, "\(r)/connectedRegistries/other", wrong)
            #expect(answer.status == 400 && answer.target == target, "\(patch): \(answer.body)")
        }
        // It has no children.
        try await world.withToken("child")
        let child = try await world.send(
            .put, "\(r)/connectedRegistries/child", world.connectedRegistryBody("child", parent: "factory"))
        #expect(child.target == "properties.parent.id", "\(child.body)")

        try await world.withConnectedRegistry("second")
        let change: JSONValue = ["identity": assigned, "properties": ["syncProperties": ["authType": "ManagedIdentity"]]]
        let second = "\(r)/connectedRegistries/second"
        let changed = try await world.send(.patch, second, change)
        #expect(changed.body[path: "properties", "parent", "syncProperties", "authType"] == "ManagedIdentity", "\(changed.body)")
        let back = try await world.send(.patch, second, ["properties": ["syncProperties": ["authType": "SyncToken"]]])
        #expect(back.status == 400 && back.target == "properties.syncProperties.authType")
        // Its token is free now.
        #expect(try await world.send(.delete, "\(r)/tokens/second").status == 200)
        // One that has children or is active is not changed.
        try await world.withConnectedRegistry("upper", mode: "readwrite")
        try await world.withConnectedRegistry("lower", parent: "upper")
        #expect(try await world.send(.patch, "\(r)/connectedRegistries/upper", change).status == 409)
        var whole = world.connectedRegistryBody("upper", mode: "readwrite")
        whole.apply(
            mergePatch: [
                "identity": assigned, "properties": ["parent": ["syncProperties": ["authType": "ManagedIdentity", "tokenId": nil]]],
            ])
        #expect(try await world.send(.put, "\(r)/connectedRegistries/upper", whole).status == 409)
        let registry = try #require(world.lookup.registry(named: "harbour")).id
        _ = try await world.services.connectedRegistries.activate(
            "lower", instance: "one", nonce: nil, version: "1", loginServer: nil, in: registry)
        #expect(try await world.send(.patch, "\(r)/connectedRegistries/lower", change).status == 409)
        try await world.withConnectedRegistry("third")
        _ = try await world.services.connectedRegistries.activate(
            "third", instance: "one", nonce: nil, version: "1", loginServer: nil, in: registry)
        var third = world.connectedRegistryBody("third")
        third.apply(
            mergePatch: [
                "identity": assigned, "properties": ["parent": ["syncProperties": ["authType": "ManagedIdentity", "tokenId": nil]]],
            ])
        let active = try await world.send(.put, "\(r)/connectedRegistries/third", third)
        #expect(active.status == 409, "\(active.body)")
        #expect(
            try await world.send(.get, "\(r)/connectedRegistries/third").body[
                path: "properties", "parent", "syncProperties", "authType"] == "SyncToken")
        for name in ["factory", "second"] { #expect(try await world.send(.delete, "\(r)/connectedRegistries/\(name)").status == 200) }
        #expect(try await world.send(.delete, identity).status == 200)
    }
}
