// Webhooks as clients of the resource manager see them.

import JSON
import Testing

@Suite struct WebhookRouteTests {
    private let body: JSONValue = [
        "location": "eastus",
        "properties": [
            "actions": ["push", "delete"], "serviceUri": "https://receiver.test/hook?code=secret", "customHeaders": ["X-Key": "secret"],
            "status": "enabled", "scope": "app:*",
        ],
    ]

    @Test("R9 create, show, list, update, get-config, ping, events and delete, in the forms az sends; secrets only where asked for")
    func life() async throws {
        let world = try await World().withRegistry()
        let path = "\(world.registry())/webhooks/hook1"
        let made = try await world.send(.put, path, self.body)
        #expect(made.status == 201)
        #expect(made.body[path: "properties", "scope"] == "app:*")
        #expect(!made.body.serialized().contains("secret"))
        #expect(try await world.send(.put, path, self.body).status == 200)
        #expect(try await world.send(.get, "\(world.registry())/webhooks").names == ["hook1"])

        let changed = try await world.send(.patch, path, ["properties": ["status": "disabled", "actions": ["delete"]]])
        #expect(changed.body[path: "properties", "status"] == "disabled")
        #expect(changed.body[path: "properties", "actions"] == ["delete"])
        #expect(changed.body[path: "properties", "scope"] == "app:*")
        let target = try await world.send(.post, path + "/getCallbackConfig")
        #expect(target.body == ["serviceUri": "https://receiver.test/hook?code=secret", "customHeaders": ["X-Key": "secret"]])
        _ = try await world.send(.patch, path, ["properties": ["serviceUri": "https://receiver.test/other", "customHeaders": [:]]])
        #expect(try await world.send(.post, path + "/getCallbackConfig").body["customHeaders"] == [:])

        // Every action that az offers is kept as it was asked for.
        let all: JSONValue = ["push", "delete", "quarantine", "chart_push", "chart_delete"]
        let every = try await world.send(.patch, path, ["properties": ["actions": all]])
        #expect(every.body[path: "properties", "actions"] == all, "\(every.body)")
        _ = try await world.send(.patch, path, ["properties": ["actions": ["delete"]]])

        let ping = try await world.send(.post, path + "/ping")
        let events = try await world.send(.post, path + "/listEvents")
        #expect(events.values.first?["id"] == ping.body["id"])
        #expect(events.values.first?[path: "eventRequestMessage", "content", "action"] == "ping")
        let usage = try await world.send(.get, "\(world.registry())/listUsages").values.first { $0["name"] == "Webhooks" }
        #expect(usage?["currentValue"] == 1 && usage?["limit"] == 500)
        #expect(try await world.send(.delete, path).status == 200)
        #expect(try await world.send(.delete, path).status == 204)
        #expect(try await world.send(.get, path).status == 404)
    }

    @Test("R9 each field wrong in turn is refused with its name, and nothing is made")
    func badFields() async throws {
        let world = try await World().withRegistry()
        let path = "\(world.registry())/webhooks/hook1"
        let cases: [(patch: JSONValue, target: String)] = [
            (["location": nil], "location"), (["location": "mars"], "location"), (["properties": ["actions": nil]], "properties.actions"),
            (["properties": ["actions": []]], "properties.actions"), (["properties": ["actions": ["pull"]]], "properties.actions[0]"),
            (["properties": ["serviceUri": nil]], "properties.serviceUri"),
            (["properties": ["serviceUri": "ftp://x/"]], "properties.serviceUri"),
            (["properties": ["serviceUri": "https://me:secret@x/"]], "properties.serviceUri"),
            (["properties": ["customHeaders": ["Host": "x"]]], "properties.customHeaders"),
            (["properties": ["customHeaders": ["a b": "x"]]], "properties.customHeaders"),
            (["properties": ["customHeaders": ["X": "a\r\nb"]]], "properties.customHeaders.X"),
            (["properties": ["scope": "a*b"]], "properties.scope"), (["properties": ["status": "perhaps"]], "properties.status"),
            (["tags": ["a": 1]], "tags.a"),
        ]
        for (patch, target) in cases {
            let answer = try await world.send(.put, path, self.body.mergePatch(patch))
            #expect(answer.status == 400, "\(patch)")
            #expect(answer.target == target, "\(patch): \(answer.body)")
        }
        for name in ["abcd", "a-b-c", String(repeating: "a", count: 51)] {
            #expect(try await world.send(.put, "\(world.registry())/webhooks/\(name)", self.body).target == "name")
        }
        #expect(try await world.send(.get, "\(world.registry())/webhooks").values.isEmpty)
    }

    @Test("R9 a tier's number of webhooks is its limit")
    func limit() async throws {
        let world = try await World().withRegistry(sku: "Basic", dataEndpoint: false)
        for index in 0..<2 {
            #expect(try await world.send(.put, "\(world.registry())/webhooks/hook\(index)", self.body).status == 201)
        }
        let refused = try await world.send(.put, "\(world.registry())/webhooks/hook2", self.body)
        #expect(refused.status == 409 && refused.code == "LimitExceeded")
        #expect(refused.message?.contains("2 webhooks") == true)
    }
}
