// Scope maps, tokens and passwords.

import HTTPTypes
import JSON
import Persistence
import Testing

@Suite struct TokenTests {
    @Test("I1 scope maps: system ones, created, changed, sorted, deleted")
    func scopeMaps() async throws {
        let world = try await World().withRegistry()
        let maps = world.registry() + "/scopeMaps"
        #expect(
            try await world.send(.get, maps).names == [
                "_repositories_admin", "_repositories_pull", "_repositories_pull_metadata_read", "_repositories_push",
                "_repositories_push_metadata_write",
            ])
        let actions: JSONValue = ["repositories/web/content/read", "gateway/Store/config/read", "repositories/*/metadata/read"]
        let created = try await world.send(.put, maps + "/readers", ["properties": ["description": "d", "actions": actions]])
        #expect(created.status == 201)
        #expect(created.body["id"]?.stringValue == maps + "/readers")
        #expect(created.body[path: "properties", "type"] == "UserDefined")
        #expect(
            created.body[path: "properties", "actions"] == [
                "gateway/store/config/read", "repositories/*/metadata/read", "repositories/web/content/read",
            ])
        let patched = try await world.send(.patch, maps + "/READERS", ["properties": ["actions": ["repositories/web/content/read"]]])
        #expect(patched.body[path: "properties", "actions"] == ["repositories/web/content/read"])
        #expect(patched.body[path: "properties", "description"] == "d")
        #expect(patched.body["name"] == "readers")
        #expect(try await world.send(.patch, maps + "/_repositories_pull", ["properties": ["description": "x"]]).status == 400)
        #expect(try await world.send(.delete, maps + "/_repositories_pull").status == 409)
        try await world.withToken("client1")
        _ = try await world.send(.patch, world.registry() + "/tokens/client1", ["properties": ["scopeMapId": .string(maps + "/readers")]])
        let inUse = try await world.send(.delete, maps + "/readers")
        #expect(inUse.status == 409)
        #expect(inUse.message?.contains("client1") == true)
        #expect(try await world.send(.delete, world.registry() + "/tokens/client1").status == 200)
        #expect(try await world.send(.delete, maps + "/readers").status == 200)
        #expect(try await world.send(.delete, maps + "/readers").status == 204)
        #expect(try await world.send(.get, maps + "/readers").code == "ResourceNotFound")
    }

    @Test(
        "I1 scope maps: each field wrong in turn",
        arguments: [
            ("readers", [:], "properties"), ("readers", ["properties": []], "properties"),
            ("readers", ["properties": [:]], "properties.actions"),
            ("readers", ["properties": ["actions": "x"]], "properties.actions"),
            ("readers", ["properties": ["actions": [1]]], "properties.actions[0]"),
            ("readers", ["properties": ["actions": ["repositories/web/content/eat"]]], "properties.actions[0]"),
            ("readers", ["properties": ["actions": ["repositories/../content/read"]]], "properties.actions[0]"),
            ("readers", ["properties": ["actions": [], "description": 5]], "properties.description"),
            ("tiny", ["properties": ["actions": []]], "name"),
            ("_mine_", ["properties": ["actions": []]], "name"),
        ] as [(String, JSONValue, String)])
    func badScopeMaps(name: String, body: JSONValue, field: String) async throws {
        let world = try await World().withRegistry()
        let answer = try await world.send(.put, "\(world.registry())/scopeMaps/\(name)", body)
        #expect(answer.status == 400)
        #expect(answer.target == field)
        #expect(try await world.send(.get, world.registry() + "/scopeMaps").values.count == 5)
    }

    @Test("I1 tokens: created, shown without values, disabled, deleted")
    func tokens() async throws {
        let world = try await World().withRegistry()
        try await world.withToken("Client-1")
        let path = world.registry() + "/tokens/client-1"
        let shown = try await world.send(.get, path).body
        #expect(shown["id"]?.stringValue == world.registry() + "/tokens/Client-1")
        #expect(shown["id"]?.stringValue?.split(separator: "/").count == 10)
        #expect(shown[path: "properties", "status"] == "enabled")
        #expect(shown[path: "properties", "credentials", "passwords"] == [])
        #expect(try await world.send(.patch, path, ["properties": ["status": "disabled"]]).body[path: "properties", "status"] == "disabled")
        #expect(try await world.send(.get, world.registry() + "/tokens").values.count == 1)
        #expect(try await world.send(.delete, path).status == 200)
        #expect(try await world.send(.get, path).status == 404)
    }

    @Test("I1 two password slots, each with its own expiry, shown once")
    func passwords() async throws {
        let world = try await World().withRegistry()
        try await world.withToken("client1")
        let lookup = try #require(world.lookup.registry(named: "harbour"))
        // Ids that clients compose themselves come in other letter cases.
        let id = JSONValue.string((world.registry() + "/tokens/client1").replacing("/Edge/", with: "/edge/"))
        let both = try await world.send(.post, world.registry() + "/generateCredentials", ["tokenId": id])
        #expect(both.status == 200)
        #expect(both.body["username"] == "client1")
        let passwords = try #require(both.body["passwords"]?.arrayValue)
        #expect(passwords.map { $0["name"] } == ["password1", "password2"])
        let values = passwords.compactMap { $0["value"]?.stringValue }
        #expect(Set(values).count == 2)
        #expect(values.allSatisfy { !$0.contains(";") && !$0.contains(".") })
        let expiry = "2027-12-31T12:59:59Z"
        let second = try await world.send(
            .post, world.registry() + "/generateCredentials", ["tokenId": id, "name": "password2", "expiry": .string(expiry)])
        #expect(second.body["passwords"]?.arrayValue?.count == 1)
        #expect(second.body["passwords"]?[0]?["name"] == "password2")
        #expect(second.body["passwords"]?[0]?["expiry"]?.stringValue.flatMap { Timestamp.parse($0) } == Timestamp.parse(expiry))
        let shown = try await world.send(.get, world.registry() + "/tokens/client1").body
        #expect(!shown.serialized().contains("value"))
        let identities = world.services.identities
        #expect(try await identities.authenticate(token: "client1", password: values[0], in: lookup.id) != nil)
        #expect(try await identities.authenticate(token: "client1", password: values[1], in: lookup.id) == nil)
        let kept: JSONValue = ["properties": ["credentials": ["passwords": [["name": "password2"]]]]]
        let patched = try await world.send(.patch, world.registry() + "/tokens/client1", kept)
        #expect(patched.body[path: "properties", "credentials", "passwords"]?.arrayValue?.map { $0["name"] } == ["password2"])
        #expect(try await identities.authenticate(token: "client1", password: values[0], in: lookup.id) == nil)
    }

    @Test("I1 tokens and passwords: each field wrong in turn, nothing changed")
    func badTokens() async throws {
        let world = try await World().withRegistry()
        try await world.withToken("client1")
        let map = JSONValue.string(world.registry() + "/scopeMaps/_repositories_pull")
        let before = try await world.send(.get, world.registry() + "/tokens").body
        for (name, body, field) in [
            ("client2", [:], "properties"), ("client2", ["properties": [:]], "properties.scopeMapId"),
            ("client2", ["properties": ["scopeMapId": 3]], "properties.scopeMapId"),
            ("client2", ["properties": ["scopeMapId": "_repositories_pull"]], "properties.scopeMapId"),
            ("client2", ["properties": ["scopeMapId": .string(world.registry() + "/scopeMaps/nobody")]], "properties.scopeMapId"),
            (
                "client2", ["properties": ["scopeMapId": .string(world.registry("other") + "/scopeMaps/_repositories_pull")]],
                "properties.scopeMapId"
            ),
            ("client2", ["properties": ["scopeMapId": map, "status": "off"]], "properties.status"),
            ("client2", ["properties": ["scopeMapId": map, "status": true]], "properties.status"),
            ("client2", ["properties": ["scopeMapId": map, "credentials": []]], "properties.credentials"),
            (
                "client2", ["properties": ["scopeMapId": map, "credentials": ["passwords": [["name": "p"]]]]],
                "properties.credentials.passwords[0].name"
            ),
            (
                "client2", ["properties": ["scopeMapId": map, "credentials": ["certificates": [["name": "c"]]]]],
                "properties.credentials.certificates"
            ),
            ("bad%20name", ["properties": ["scopeMapId": map]], "name"),
        ] as [(String, JSONValue, String)] {
            let answer = try await world.send(.put, "\(world.registry())/tokens/\(name)", body)
            #expect(answer.status == 400, "\(body)")
            #expect(answer.target == field)
        }
        let id = JSONValue.string(world.registry() + "/tokens/client1")
        for (body, field) in [
            ([:], "tokenId"), (["tokenId": 1], "tokenId"), (["tokenId": "client1"], "tokenId"),
            (["tokenId": .string(world.registry() + "/tokens/nobody")], "tokenId"), (["tokenId": id, "name": "password3"], "name"),
            (["tokenId": id, "expiry": "tomorrow"], "expiry"), (["tokenId": id, "expiry": "2001-01-01T00:00:00Z"], "expiry"),
            (["tokenId": id, "expiry": 5], "expiry"),
        ] as [(JSONValue, String)] {
            let answer = try await world.send(.post, world.registry() + "/generateCredentials", body)
            #expect(answer.status == 400, "\(body)")
            #expect(answer.target == field)
        }
        #expect(try await world.send(.get, world.registry() + "/tokens").body == before)
    }
}
