// Registries: life, names, settings, and every field wrong in turn.

import HTTPServing
import HTTPTypes
import JSON
import Persistence
import ResourceManager
import Testing

@Suite struct RegistryTests {
    @Test("A3 create, show, list, update, delete")
    func life() async throws {
        let world = try await World()
        #expect(
            try await world.send(.put, world.registry(), ["location": "eastus", "sku": ["name": "Basic"]]).code == "ResourceGroupNotFound")
        _ = try await world.send(.put, world.group, ["location": "eastus"])
        #expect(try await world.send(.get, world.registry()).code == "ResourceNotFound")
        let created = try await world.send(
            .put, world.registry(),
            ["location": "East US", "sku": ["name": "premium"], "properties": ["adminUserEnabled": false], "tags": ["team": "a"]])
        #expect(created.status == 201)
        #expect(created.body["id"]?.stringValue == world.registry())
        #expect(created.body[path: "sku", "name"] == "Premium")
        #expect(created.body[path: "properties", "loginServer"] == "harbour.registry.test:8443")
        #expect(created.body[path: "properties", "provisioningState"] == "Succeeded")
        #expect(created.body[path: "properties", "dataEndpointHostNames"] == [])
        #expect(created.body[path: "properties", "policies", "retentionPolicy", "days"] == 7)
        #expect(created.body[path: "systemData", "createdBy"]?.stringValue == world.installation.clientID)
        let path = world.registry().lowercased().replacing("microsoft.containerregistry/", with: "Microsoft.ContainerRegistry//")
        let updated = try await world.send(.patch, path, ["properties": ["dataEndpointEnabled": true]])
        #expect(updated.status == 200)
        #expect(updated.body["id"]?.stringValue == world.registry())
        #expect(updated.body["tags"] == ["team": "a"])
        #expect(updated.body[path: "properties", "dataEndpointHostNames"] == ["harbour.eastus.data.registry.test:8443"])
        #expect(try await world.send(.get, path).body == updated.body)
        #expect(
            try await world.send(.get, world.subscription + "/providers/Microsoft.ContainerRegistry/registries").values == [updated.body])
        #expect(try await world.send(.get, world.group + "/providers/Microsoft.ContainerRegistry/registries").values == [updated.body])
        #expect(try await world.send(.delete, path).status == 200)
        #expect(try await world.send(.delete, path).status == 204)
        #expect(try await world.send(.get, path).status == 404)
    }

    @Test("A3 the whole resource may be sent back, as PATCH and as PUT")
    func echo() async throws {
        let world = try await World().withRegistry()
        var whole = try await world.send(.get, world.registry()).body
        whole["tags"] = ["x": "y"]
        for method in [HTTPRequest.Method.patch, .put] {
            let answer = try await world.send(method, world.registry(), whole)
            #expect(answer.status == 200)
            #expect(answer.body["properties"] == whole["properties"])
            #expect(answer.body["tags"] == ["x": "y"])
        }
        // Null is no change.
        let answer = try await world.send(.patch, world.registry(), ["tags": nil, "sku": nil, "properties": ["dataEndpointEnabled": nil]])
        #expect(answer.body["tags"] == ["x": "y"])
        #expect(answer.body[path: "properties", "dataEndpointEnabled"] == true)
    }

    @Test(
        "A3 names: 5 to 50 lower-case letters and digits",
        arguments: ["abcd", "Harbour", "har-bour", "har_bour", "hafenö", "x.y.z", String(repeating: "a", count: 51)])
    func badNames(name: String) async throws {
        let world = try await World()
        _ = try await world.send(.put, world.group, ["location": "eastus"])
        let answer = try await world.send(.put, world.registry(name), ["location": "eastus", "sku": ["name": "Basic"]])
        #expect(answer.status == 400)
        #expect(answer.code == "InvalidResourceName")
        let check = try await world.send(
            .post, world.subscription + "/providers/Microsoft.ContainerRegistry/checkNameAvailability",
            ["name": .string(name), "type": "Microsoft.ContainerRegistry/registries"])
        #expect(check.body["nameAvailable"] == false)
        #expect(check.body["reason"] == "Invalid")
        #expect(world.lookup.all.isEmpty)
    }

    @Test("A3 names are unique over the server, whatever the group")
    func uniqueNames() async throws {
        let world = try await World().withRegistry()
        _ = try await world.send(.put, world.subscription + "/resourceGroups/other", ["location": "eastus"])
        let path = world.subscription + "/resourceGroups/other/providers/Microsoft.ContainerRegistry/registries/harbour"
        let answer = try await world.send(.put, path, ["location": "eastus", "sku": ["name": "Basic"]])
        #expect(answer.status == 409)
        #expect(answer.code == "AlreadyInUse")
        let check = try await world.send(
            .post, world.subscription + "/providers/Microsoft.ContainerRegistry/checkNameAvailability",
            ["name": "harbour", "type": "Microsoft.ContainerRegistry/registries", "autoGeneratedDomainNameLabelScope": "Unsecure"])
        #expect(check.body["reason"] == "AlreadyExists")
        let free = try await world.send(
            .post, world.subscription + "/providers/microsoft.containerregistry/checknameavailability",
            ["name": "harbour2", "type": "Microsoft.ContainerRegistry/registries"])
        #expect(free.body["nameAvailable"] == true)
    }

    @Test("A6 without a suffix there is one registry, on the bare address")
    func withoutSuffix() async throws {
        let world = try await World(suffix: nil).withRegistry()
        #expect(try await world.send(.get, world.registry()).body[path: "properties", "loginServer"] == "127.0.0.1:8443")
        #expect(world.lookup.onlyRegistry()?.loginServer == "127.0.0.1:8443")
        let second = try await world.send(.put, world.registry("second"), ["location": "eastus", "sku": ["name": "Basic"]])
        #expect(second.status == 409)
        #expect(second.message?.contains("--suffix") == true)
        #expect(world.lookup.all.count == 1)
        #expect(try await world.send(.delete, world.registry()).status == 200)
        try await world.withRegistry("second")
    }

    @Test("R7 the data plane's lookup follows every change and survives a restart")
    func lookup() async throws {
        let world = try await World().withRegistry(sku: "Premium", dataEndpoint: false)
        let entry = try #require(world.lookup.registry(named: "HARBOUR"))
        #expect(entry.audience == "registry/harbour")
        #expect(entry.dataEndpointEnabled == false)
        #expect(world.lookup.onlyRegistry() == entry)
        _ = try await world.send(.patch, world.registry(), ["properties": ["dataEndpointEnabled": true]])
        #expect(world.lookup.registry(named: "harbour")?.dataEndpointEnabled == true)
        try await world.withRegistry("second")
        #expect(world.lookup.onlyRegistry() == nil)
        let fresh = RegistryLookup(names: world.services.names)
        let store = ResourceStore(
            database: world.database, registries: world.services.registries, identities: world.services.identities, lookup: fresh,
            clock: world.clock.wall)
        try await store.load()
        #expect(fresh.all == world.lookup.all)
        #expect(fresh.registry(named: "harbour")?.id == entry.id)
    }

    @Test("A3 usage counts tokens and scope maps")
    func usage() async throws {
        let world = try await World().withRegistry()
        try await world.withToken("client1")
        let usages = try await world.send(.get, world.registry() + "/listUsages").values
        func value(_ name: String) -> Int? { usages.first { $0["name"]?.stringValue == name }?["currentValue"]?.intValue }
        #expect(value("Size") == 0)
        #expect(value("Tokens") == 1)
        #expect(value("ScopeMaps") == 5)
        #expect(value("Webhooks") == 0)
    }

    static let wrongFields: [(JSONValue, String)] = [
        (["location": 7], "location"), (["location": "a b/c"], "location"), (["sku": "Premium"], "sku"),
        (["sku": ["name": "Free"]], "sku.name"),
        (["sku": ["name": 1]], "sku.name"), (["tags": "x"], "tags"), (["tags": ["a": ["b"]]], "tags.a"),
        (["identity": ["type": "Somebody"]], "identity.type"),
        (["identity": [:]], "identity.type"),
        (["identity": ["type": "UserAssigned"]], "identity.userAssignedIdentities"),
        (["properties": []], "properties"), (["properties": ["adminUserEnabled": "yes"]], "properties.adminUserEnabled"),
        (["properties": ["dataEndpointEnabled": 1]], "properties.dataEndpointEnabled"),
        (["properties": ["anonymousPullEnabled": "yes"]], "properties.anonymousPullEnabled"),
        (["properties": ["storageQuota": -1]], "properties.storageQuota"), (["properties": ["readOnly": 1]], "properties.readOnly"),
        (["properties": ["publicNetworkAccess": "Closed"]], "properties.publicNetworkAccess"),
        (["properties": ["networkRuleSet": ["defaultAction": "Perhaps"]]], "properties.networkRuleSet.defaultAction"),
        (["properties": ["networkRuleSet": ["ipRules": [["value": "1.2.3"]]]]], "properties.networkRuleSet.ipRules[0].value"),
        (["properties": ["policies": 3]], "properties.policies"),
        (["properties": ["policies": ["retentionPolicy": ["days": 366]]]], "properties.policies.retentionPolicy.days"),
        (["properties": ["policies": ["retentionPolicy": ["days": "7"]]]], "properties.policies.retentionPolicy.days"),
        (["properties": ["policies": ["retentionPolicy": ["status": "on"]]]], "properties.policies.retentionPolicy.status"),
        (["properties": ["policies": ["exportPolicy": ["status": "disabled"]]]], "properties.policies.exportPolicy.status"),
        (["properties": ["encryption": ["keyVaultProperties": ["keyIdentifier": "x"]]]], "properties.encryption.keyVaultProperties"),
        (["properties": ["zoneRedundancy": "Enabled"]], "properties.zoneRedundancy"),
        (["properties": ["roleAssignmentMode": "AbacRepositoryPermissions"]], "properties.roleAssignmentMode"),
    ]

    @Test("A3 each field wrong in turn: 400 naming the field, nothing changed", arguments: wrongFields)
    func badFields(patch: JSONValue, field: String) async throws {
        let world = try await World().withRegistry()
        let before = try await world.send(.get, world.registry()).body
        let answer = try await world.send(.patch, world.registry(), patch)
        #expect(answer.status == 400)
        #expect(answer.target == field)
        #expect(answer.message?.isEmpty == false)
        var whole: JSONValue = ["location": "eastus", "sku": ["name": "Premium"], "properties": ["dataEndpointEnabled": true]]
        whole.apply(mergePatch: patch)
        let put = try await world.send(.put, world.registry(), whole)
        #expect(put.status == 400)
        #expect(put.target == field)
        #expect(try await world.send(.get, world.registry()).body == before)
    }

    @Test("A3 a registry needs a region and an SKU, and keeps its region")
    func required() async throws {
        let world = try await World().withRegistry()
        #expect(try await world.send(.put, world.registry("other"), ["sku": ["name": "Basic"]]).target == "location")
        #expect(try await world.send(.put, world.registry("other"), ["location": "eastus"]).target == "sku.name")
        #expect(try await world.send(.patch, world.registry(), ["location": "westus"]).code == "InvalidResourceLocation")
    }

    @Test("C3 the data endpoint needs Premium")
    func dataEndpoint() async throws {
        let world = try await World().withRegistry(sku: "Basic", dataEndpoint: false)
        let refused = try await world.send(.patch, world.registry(), ["properties": ["dataEndpointEnabled": true]])
        #expect(refused.status == 400)
        #expect(refused.target == "properties.dataEndpointEnabled")
        let both = try await world.send(
            .patch, world.registry(), ["sku": ["name": "Premium"], "properties": ["dataEndpointEnabled": true]])
        #expect(both.status == 200)
        #expect(try await world.send(.patch, world.registry(), ["sku": ["name": "Standard"]]).status == 400)
    }

    @Test("A6 of many creations at once without a suffix one succeeds")
    func concurrentCreation() async throws {
        let world = try await World(suffix: nil)
        _ = try await world.send(.put, world.group, ["location": "eastus"])
        let statuses = try await withThrowingTaskGroup { group in
            for index in 0..<20 {
                group.addTask {
                    try await world.send(.put, world.registry("registry\(index)"), ["location": "eastus", "sku": ["name": "Basic"]]).status
                }
            }
            return try await group.reduce(into: [:]) { $0[$1, default: 0] += 1 }
        }
        #expect(statuses == [201: 1, 409: 19])
        #expect(world.lookup.all.count == 1)
    }

    @Test("R7 what an interrupted creation or deletion left does not come back")
    func leftovers() async throws {
        let world = try await World()
        let left = try await world.services.registries.registry(named: "harbour")
        try await world.services.identities.createSystemScopeMaps(in: left)
        try await world.services.identities.putToken("intruder", scopeMap: "_repositories_admin", isEnabled: true, in: left)
        try await world.withRegistry()
        #expect(world.lookup.registry(named: "harbour")?.id != left)
        #expect(try await world.send(.get, world.registry() + "/tokens").values == [])
    }
}
