// Subscriptions, groups, routes and bodies that are wrong as a whole.

import HTTPTypes
import JSON
import Testing

@Suite struct ResourceTests {
    @Test("A2 subscriptions, tenants, locations and providers")
    func subscriptions() async throws {
        let world = try await World()
        let list = try await world.send(.get, "/subscriptions?api-version=2022-12-01")
        #expect(list.values.count == 1)
        #expect(list.values[0]["state"] == "Enabled")
        #expect(list.values[0]["id"]?.stringValue == world.subscription)
        #expect(list.values[0]["tenantId"]?.stringValue == world.installation.tenantID)
        #expect(
            try await world.send(.get, world.subscription.uppercased()).body["subscriptionId"]?.stringValue
                == world.installation.subscriptionID)
        #expect(try await world.send(.get, "/tenants").values[0]["tenantId"]?.stringValue == world.installation.tenantID)
        #expect(try await world.send(.get, world.subscription + "/locations").names == ["eastus"])
        for namespace in ["Microsoft.ContainerRegistry", "microsoft.kubernetes", "Microsoft.KubernetesConfiguration"] {
            let answer = try await world.send(.post, "\(world.subscription)/providers/\(namespace)/register")
            #expect(answer.status == 200)
            #expect(answer.body["registrationState"] == "Registered")
        }
        #expect(try await world.send(.get, world.subscription + "/providers").values.count > 3)
        #expect(try await world.send(.get, world.subscription + "/providers/Nobody.Knows").code == "InvalidResourceNamespace")
        #expect(try await world.send(.get, "/subscriptions/00000000-0000-0000-0000-000000000000").code == "SubscriptionNotFound")
    }

    @Test("A2 resource groups in any letter case, one canonical id")
    func groups() async throws {
        let world = try await World()
        let lower = "\(world.subscription)/resourcegroups/EDGE"
        #expect(try await world.send(.head, world.group).status == 404)
        let created = try await world.send(.put, world.group, ["location": "East US", "tags": ["a": "b"]])
        #expect(created.status == 201)
        #expect(created.body["location"] == "eastus")
        let again = try await world.send(.put, lower, ["location": "eastus"])
        #expect(again.status == 200)
        #expect(again.body["id"]?.stringValue == world.group)
        #expect(again.body["tags"] == [:])
        #expect(try await world.send(.patch, lower, ["tags": ["c": "d"]]).body["tags"] == ["c": "d"])
        #expect(try await world.send(.head, lower).status == 204)
        #expect(try await world.send(.get, world.subscription + "//resourceGroups/").names == ["Edge"])
        #expect(try await world.send(.put, lower, ["location": "westus"]).code == "InvalidResourceLocation")
        #expect(try await world.send(.delete, lower).status == 200)
        #expect(try await world.send(.delete, lower).code == "ResourceGroupNotFound")
    }

    @Test("A2 deleting a group deletes the registries in it")
    func deleteGroup() async throws {
        let world = try await World().withRegistry()
        #expect(world.lookup.registry(named: "harbour") != nil)
        #expect(try await world.send(.delete, world.group).status == 200)
        #expect(world.lookup.registry(named: "harbour") == nil)
        #expect(try await world.send(.get, world.subscription + "/resources").values == [])
        // Nothing of the first comes back with the second.
        try await world.withRegistry()
        #expect(try await world.send(.get, world.registry() + "/scopeMaps").values.count == 5)
    }

    @Test(
        "A2 the generic list understands the filters clients send",
        arguments: [
            ("$filter=resourceType%20eq%20%27Microsoft.ContainerRegistry%2Fregistries%27", ["alpha", "bravo"]),
            ("$filter=resourceType eq 'microsoft.containerregistry/REGISTRIES' and name eq 'bravo'", ["bravo"]),
            ("$filter=resourceGroup eq 'edge'", ["alpha", "bravo"]), ("$filter=resourceGroup eq 'other'", []),
            ("$filter=resourceType eq 'Microsoft.Kubernetes/connectedClusters'", []), ("$filter=tagName eq 'x'", []),
            ("$filter=name eq 'o''and and'", []), ("$filter='''", ["alpha", "bravo"]), ("$top=5", ["alpha", "bravo"]),
        ] as [(String, [String])])
    func filters(query: String, names: [String]) async throws {
        let world = try await World().withRegistry("alpha").withRegistry("bravo")
        #expect(try await world.send(.get, "\(world.subscription)/resources?\(query)").names == names)
    }

    @Test(
        "unknown routes are refused in ARM's form",
        arguments: [
            (.get, "/subscriptions/x/nonsense", 404), (.delete, "/subscriptions", 405), (.get, "/metadata/other", 404),
            (.get, "/v1.0/applications", 401),
            (.get, "/graph/v1.0/me", 401), (.get, "/graph/beta/me", 404), (.get, "/subscriptions/%zz", 400),
            (.get, "/subscriptions/a%2Fb", 400),
            (.get, "/adfs/other", 404),
            (.get, "/providers/Nobody.Knows/things", 404),
        ] as [(HTTPRequest.Method, String, Int)])
    func unknownRoutes(method: HTTPRequest.Method, path: String, status: Int) async throws {
        let world = try await World()
        let answer = try await world.send(method, path)
        #expect(answer.status == status)
        #expect(answer.code != nil)
        #expect(answer.message?.isEmpty == false)
        #expect(answer.headers[.retryAfter] == nil)
    }

    @Test(
        "bodies that are no JSON object are refused",
        arguments: [
            ("", 400), ("{", 400), ("[]", 400), ("\"text\"", 400), ("{\"location\":}", 400), (String(repeating: "[", count: 100_000), 400),
            ("{\"location\":\"" + String(repeating: "x", count: 4 << 20) + "\"}", 413),
        ])
    func malformed(text: String, status: Int) async throws {
        let world = try await World()
        let answer = try await world.send(.put, world.group, text: text)
        #expect(answer.status == status)
        #expect(answer.code == (status == 413 ? "RequestEntityTooLarge" : "InvalidRequestContent"))
        #expect(try await world.send(.head, world.group).status == 404)
    }

    @Test(
        "group names and fields: each one wrong",
        arguments: [
            ("Edge", ["location": 5], "location"), ("Edge", [:], "location"), ("Edge", ["location": "bad/region"], "location"),
            ("Edge", ["location": "-x"], "location"), ("Edge", ["location": "eastus", "tags": []], "tags"),
            ("Edge", ["location": "eastus", "tags": ["a": 1]], "tags.a"),
            ("Edge", ["location": "eastus", "managedBy": false], "managedBy"),
            ("ends.", ["location": "eastus"], "name"), ("sp%20ace", ["location": "eastus"], "name"),
        ] as [(String, JSONValue, String)])
    func badGroups(name: String, body: JSONValue, field: String) async throws {
        let world = try await World()
        let answer = try await world.send(.put, "\(world.subscription)/resourceGroups/\(name)", body)
        #expect(answer.status == 400)
        #expect(answer.target == field)
        #expect(try await world.send(.get, world.subscription + "/resourceGroups").values == [])
    }

    @Test("what this version has not is refused with a sentence, never pretended")
    func later() async throws {
        let world = try await World().withRegistry()
        for (method, path) in [(.post, "/importImage")] as [(HTTPRequest.Method, String)] {
            let answer = try await world.send(method, world.registry() + path)
            #expect(answer.status == 400)
            #expect(answer.code == "FeatureNotAvailable")
        }
    }
}
