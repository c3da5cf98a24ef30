// Connected registries as resources of their registry.

import GatewayProtocol
import HTTPTypes
import JSON
import Testing

@Suite struct ConnectedRegistryTests {
    @Test("C1 create, show, list, update, delete, in the forms az sends")
    func life() async throws {
        let world = try await World().withRegistry()
        try await world.withConnectedRegistry("Store1", mode: "readwrite")
        try await world.withConnectedRegistry("till1", parent: "STORE1")
        let list = world.registry() + "/connectedRegistries"
        let shown = try await world.send(.get, list + "/store1").body
        #expect(shown["id"]?.stringValue == list + "/Store1")
        #expect(shown[path: "properties", "mode"] == "ReadWrite")
        #expect(shown[path: "properties", "connectionState"] == "Offline")
        #expect(shown[path: "properties", "activation", "status"] == "Inactive")
        #expect(shown[path: "properties", "parent", "id"] == .null)
        #expect(shown[path: "properties", "garbageCollection", "enabled"] == true)
        let sync = try #require(shown[path: "properties", "parent", "syncProperties"])
        #expect(sync["gatewayEndpoint"] == "harbour.eastus.data.registry.test:8443")
        #expect(sync["tokenId"]?.stringValue == world.registry() + "/tokens/Store1")
        #expect(sync["messageTtl"] == "P2D")
        let all = try await world.send(.get, list).values
        #expect(all.count == 2)
        // The parent's id is the listed id, byte for byte.
        #expect(all[1][path: "properties", "parent", "id"] == all[0]["id"])
        #expect(all[1][path: "properties", "parent", "syncProperties", "gatewayEndpoint"] == .null)

        try await world.withToken("client1")
        let client = JSONValue.string(world.registry() + "/tokens/client1")
        let updated = try await world.send(
            .patch, list + "/till1",
            [
                "properties": [
                    "syncProperties": ["schedule": "0 22 * * *", "syncWindow": "PT6H", "messageTtl": "P7D"],
                    "logging": ["logLevel": "debug", "auditLogStatus": true], "garbageCollection": ["enabled": false],
                    "clientTokenIds": [client, client], "notificationsList": ["hello-world:tag:*"],
                ]
            ]
        ).body
        #expect(updated[path: "properties", "parent", "syncProperties", "syncWindow"] == "PT6H")
        #expect(updated[path: "properties", "logging"] == ["logLevel": "Debug", "auditLogStatus": "Enabled"])
        #expect(updated[path: "properties", "clientTokenIds"] == [client])
        #expect(updated[path: "properties", "garbageCollection"] == ["enabled": false, "schedule": "0 0 * * *"])
        let unchanged = try await world.send(
            .patch, list + "/till1", ["properties": ["syncProperties": [:], "logging": [:], "garbageCollection": [:]]])
        #expect(unchanged.body == updated)
        // Continuous synchronisation has no window.
        let continuous = try await world.send(
            .patch, list + "/till1",
            ["properties": ["syncProperties": ["schedule": "* * * * *"], "clientTokenIds": [], "notificationsList": []]])
        #expect(continuous.body[path: "properties", "parent", "syncProperties", "syncWindow"] == .null)
        #expect(continuous.body[path: "properties", "clientTokenIds"] == [])

        let refused = try await world.send(.delete, list + "/Store1")
        #expect(refused.status == 409)
        #expect(refused.message?.contains("till1") == true)
        #expect(try await world.send(.delete, list + "/till1").status == 200)
        #expect(try await world.send(.delete, list + "/Store1").status == 200)
        #expect(try await world.send(.delete, list + "/Store1").status == 204)
        // Token and scope map stay for whoever asks for them.
        #expect(try await world.send(.get, world.registry() + "/tokens/Store1").status == 200)
    }

    @Test(
        "C2 names",
        arguments: [
            ("store", true), ("s-_12", true), (String(repeating: "a", count: 40), true), ("STORE1", true), ("stor", false),
            ("1store", false),
            ("_store", false), ("st%20ore", false), ("st.ore", false), (String(repeating: "a", count: 41), false),
        ])
    func names(name: String, isGood: Bool) async throws {
        let world = try await World().withRegistry()
        try await world.withToken("token1")
        let answer = try await world.send(.put, world.registry() + "/connectedRegistries/\(name)", world.connectedRegistryBody("token1"))
        #expect(answer.status == (isGood ? 201 : 400))
        if !isGood { #expect(answer.code == "InvalidResourceName") }
        let other = try await world.send(
            .put, world.registry() + "/connectedRegistries/\(name.uppercased())", world.connectedRegistryBody("token1"))
        #expect(other.status == (isGood ? 200 : 400))
        #expect(try await world.send(.get, world.registry() + "/connectedRegistries").values.count == (isGood ? 1 : 0))
    }

    @Test("C3 the data endpoint is needed and stays on while connected registries exist")
    func dataEndpoint() async throws {
        let world = try await World().withRegistry(dataEndpoint: false)
        try await world.withToken("store1")
        let path = world.registry() + "/connectedRegistries/store1"
        let refused = try await world.send(.put, path, world.connectedRegistryBody("store1"))
        #expect(refused.status == 400)
        #expect(refused.code == "DataEndpointRequired")
        // az turns it on by sending the whole registry back.
        var whole = try await world.send(.get, world.registry()).body
        whole[path: "properties", "dataEndpointEnabled"] = true
        #expect(try await world.send(.patch, world.registry(), whole).status == 200)
        #expect(try await world.send(.put, path, world.connectedRegistryBody("store1")).status == 201)
        let before = try await world.send(.get, world.registry()).body
        for body in [
            ["properties": ["dataEndpointEnabled": false]], ["sku": ["name": "Standard"], "properties": ["dataEndpointEnabled": false]],
        ] as [JSONValue] {
            let answer = try await world.send(.patch, world.registry(), body)
            #expect(answer.status == 409)
            #expect(answer.message?.contains("store1") == true)
        }
        #expect(try await world.send(.put, world.registry(), ["location": "eastus", "sku": ["name": "Premium"]]).status == 409)
        #expect(try await world.send(.get, world.registry()).body == before)
        #expect(try await world.send(.delete, path).status == 200)
        #expect(
            try await world.send(.patch, world.registry(), ["sku": ["name": "Basic"], "properties": ["dataEndpointEnabled": false]]).status
                == 200)
        #expect(try await world.send(.put, path, world.connectedRegistryBody("store1")).code == "SkuNotSupported")
    }

    @Test("C4 the sync password carries the pin of the server's CA, client passwords do not")
    func pin() async throws {
        let world = try await World().withRegistry()
        try await world.withConnectedRegistry("store1")
        try await world.withToken("client1")
        func value(_ token: String) async throws -> String {
            let answer = try await world.send(
                .post, world.registry() + "/generateCredentials",
                ["tokenId": .string(world.registry() + "/tokens/\(token)"), "name": "password1"])
            return try #require(answer.body["passwords"]?[0]?["value"]?.stringValue)
        }
        let sync = try await value("STORE1")
        #expect(sync.hasSuffix("." + World.pin))
        let id = try #require(world.lookup.registry(named: "harbour")?.id)
        #expect(try await world.services.identities.authenticate(token: "store1", password: sync, in: id) != nil)
        #expect(try await !value("client1").contains("."))

        let trusted = try await World(pin: nil).withRegistry()
        try await trusted.withConnectedRegistry("store1")
        let answer = try await trusted.send(
            .post, trusted.registry() + "/generateCredentials", ["tokenId": .string(trusted.registry() + "/tokens/store1")])
        #expect(answer.body["passwords"]?[0]?["value"]?.stringValue?.contains(".") == false)
    }

    @Test("C6 deactivate frees the activation")
    func deactivate() async throws {
        let world = try await World().withRegistry()
        try await world.withConnectedRegistry("store1")
        let id = try #require(world.lookup.registry(named: "harbour")?.id)
        let path = world.registry() + "/connectedRegistries/store1"
        let (_, nonce) = try await world.services.connectedRegistries.activate(
            "store1", instance: "i1", nonce: nil, version: "0.1", loginServer: "10.0.0.1", in: id)
        _ = try await world.services.connectedRegistries.report(
            StatusReport(
                nonce: nonce, phase: .syncing, version: "0.1", cursor: nil,
                result: SyncResult(trigger: "InitialSync", state: "Syncing", started: 1_790_000_000_000, ended: nil, lastSuccess: nil),
                details: [], bytesReceived: 0, diskFree: nil, diskTotal: nil),
            lease: .init(connectedRegistry: "store1", instance: "i1", epoch: 1), in: id)
        let active = try await world.send(.get, path).body
        #expect(active[path: "properties", "activation", "status"] == "Active")
        #expect(active[path: "properties", "connectionState"] == "Syncing")
        #expect(active[path: "properties", "loginServer", "host"] == "10.0.0.1")
        #expect(active[path: "properties", "registrySyncResult", "syncTrigger"] == "InitialSync")
        #expect(try await world.send(.post, path + "/deactivate").status == 200)
        let freed = try await world.send(.get, path).body
        #expect(freed[path: "properties", "activation", "status"] == "Inactive")
        #expect(freed[path: "properties", "connectionState"] == "Offline")
        #expect(try await world.send(.post, world.registry() + "/connectedRegistries/nobody/deactivate").status == 404)
    }

    @Test("C17 a resynchronisation by hand is queued for a connected registry that is away")
    func resync() async throws {
        let world = try await World().withRegistry()
        try await world.withConnectedRegistry("store1")
        let path = world.registry() + "/connectedRegistries/store1"
        let answer = try await world.send(.post, path + "/resync")
        #expect(answer.status == 200)
        for document in [answer.body, try await world.send(.get, path).body] {
            #expect(document[path: "properties", "registrySyncResult", "syncTrigger"] == "ManualResync")
            #expect(document[path: "properties", "registrySyncResult", "syncState"] == "Pending")
        }
        #expect(try await world.send(.post, world.registry() + "/connectedRegistries/nobody/resync").status == 404)
    }

    @Test("C18 a token in use by a connected registry is not deleted")
    func tokensInUse() async throws {
        let world = try await World().withRegistry()
        try await world.withConnectedRegistry("store1")
        try await world.withToken("client1")
        let client = JSONValue.string(world.registry() + "/tokens/client1")
        _ = try await world.send(.patch, world.registry() + "/connectedRegistries/store1", ["properties": ["clientTokenIds": [client]]])
        for token in ["store1", "CLIENT1"] {
            let answer = try await world.send(.delete, world.registry() + "/tokens/\(token)")
            #expect(answer.status == 409)
            #expect(answer.code == "Conflict")
        }
        #expect(try await world.send(.get, world.registry() + "/tokens").values.count == 2)
    }

    @Test("C1 each field wrong in turn: 400 naming the field, nothing changed")
    func badFields() async throws {
        let world = try await World().withRegistry()
        try await world.withConnectedRegistry("store1")
        try await world.withToken("token2")
        let before = try await world.send(.get, world.registry() + "/connectedRegistries").body
        let sync = ["properties", "parent", "syncProperties"]
        let other = JSONValue.string(world.registry("other") + "/tokens/token2")
        let cases: [([String], JSONValue, String)] = [
            (["properties"], 1, "properties"), (["properties", "mode"], "WriteOnly", "properties.mode"),
            (["properties", "mode"], 1, "properties.mode"),
            (["properties", "mode"], "ReadWrite", ""), (["properties", "parent"], nil, "properties.parent"),
            (["properties", "parent", "id"], "store1", "properties.parent.id"),
            (["properties", "parent", "id"], 5, "properties.parent.id"),
            (["properties", "parent", "id"], .string(world.registry() + "/connectedRegistries/nobody"), "properties.parent.id"),
            (sync, nil, "properties.parent.syncProperties"), (sync + ["tokenId"], nil, "properties.parent.syncProperties.tokenId"),
            (sync + ["tokenId"], "token2", "properties.parent.syncProperties.tokenId"),
            (sync + ["tokenId"], other, "properties.parent.syncProperties.tokenId"),
            (sync + ["tokenId"], .string(world.registry() + "/tokens/nobody"), "properties.parent.syncProperties.tokenId"),
            (sync + ["schedule"], "often", "properties.parent.syncProperties.schedule"),
            (sync + ["schedule"], 5, "properties.parent.syncProperties.schedule"),
            (sync + ["schedule"], "0 22 * * *", "properties.parent.syncProperties.syncWindow"),
            (sync + ["syncWindow"], "PT4H", "properties.parent.syncProperties.syncWindow"),
            (sync + ["syncWindow"], "4 hours", "properties.parent.syncProperties.syncWindow"),
            (sync + ["messageTtl"], "P91D", "properties.parent.syncProperties.messageTtl"),
            (sync + ["messageTtl"], true, "properties.parent.syncProperties.messageTtl"),
            (sync + ["authType"], "None", "properties.parent.syncProperties.authType"),
            (sync + ["authType"], "ManagedIdentity", "properties.parent.syncProperties.authType"),
            (["properties", "clientTokenIds"], "token2", "properties.clientTokenIds"),
            (["properties", "clientTokenIds"], ["token2"], "properties.clientTokenIds[0]"),
            (["properties", "clientTokenIds"], [.string(world.registry() + "/tokens/nobody")], "properties.clientTokenIds"),
            (["properties", "clientTokenIds"], [.string(world.registry() + "/tokens/token2")], "properties.clientTokenIds"),
            (["properties", "logging", "logLevel"], "Loud", "properties.logging.logLevel"),
            (["properties", "logging", "auditLogStatus"], "On", "properties.logging.auditLogStatus"),
            (["properties", "garbageCollection", "enabled"], "yes", "properties.garbageCollection.enabled"),
            (["properties", "garbageCollection", "schedule"], "daily", "properties.garbageCollection.schedule"),
            (["properties", "notificationsList"], [""], "properties.notificationsList[0]"),
            (["identity"], ["type": "UserAssigned"], "identity.userAssignedIdentities"),
        ]
        for (path, value, field) in cases where !field.isEmpty {
            var body = world.connectedRegistryBody("token2")
            // `nil` in a merge patch removes the member.
            var patch = value
            for key in path.reversed() { patch = [key: patch] }
            body.apply(mergePatch: patch)
            let answer = try await world.send(.put, world.registry() + "/connectedRegistries/store2", body)
            #expect(answer.status == 400, "\(path) \(value): \(answer.body)")
            #expect(answer.target == field)
        }
        // Settled at creation.
        #expect(
            try await world.send(
                .put, world.registry() + "/connectedRegistries/store1", world.connectedRegistryBody("store1", mode: "readwrite")
            ).status == 409)
        #expect(
            try await world.send(.put, world.registry() + "/connectedRegistries/store1", world.connectedRegistryBody("token2")).status
                == 409)
        // One sync token for each; no ReadWrite child of a ReadOnly parent.
        #expect(
            try await world.send(.put, world.registry() + "/connectedRegistries/store2", world.connectedRegistryBody("store1")).status
                == 409)
        let child = world.connectedRegistryBody("token2", parent: "store1", mode: "readwrite")
        #expect(try await world.send(.put, world.registry() + "/connectedRegistries/store2", child).target == "properties.mode")
        #expect(try await world.send(.get, world.registry() + "/connectedRegistries").body == before)
    }

    @Test("C18 deleting a registry takes its connected registries along")
    func deleteRegistry() async throws {
        let world = try await World().withRegistry()
        try await world.withConnectedRegistry("store1")
        #expect(try await world.send(.delete, world.registry()).status == 200)
        try await world.withRegistry()
        #expect(try await world.send(.get, world.registry() + "/connectedRegistries").values == [])
        #expect(try await world.send(.get, world.registry() + "/tokens").values == [])
    }
}
