// Proves ETags with their conditions, and pages of long lists.

import HTTPTypes
import JSON
import Testing

@testable import ResourceManager

@Suite struct ConditionTests {
    @Test("A2 a resource has an ETag; a change that expects another state is refused, a reader who has it gets nothing")
    func conditions() async throws {
        let world = try await World().withRegistry()
        let path = "\(world.registry())/scopeMaps/mapone"
        func send(_ method: HTTPRequest.Method, _ actions: JSONValue? = nil, _ name: HTTPField.Name? = nil, _ value: String = "")
            async throws
            -> Answer
        {
            let body: JSONValue? = actions.map { ["properties": ["actions": $0]] }
            return try await world.send(method, path, text: body?.serialized() ?? "", headers: world.headers(name, value))
        }
        let read: JSONValue = ["repositories/app/content/read"]
        #expect(try await send(.put, read, .ifMatch, "*").status == 412)
        let made = try await send(.put, read, .ifNoneMatch, "*")
        #expect(made.status == 201, "\(made.body)")
        let first = try #require(made.headers[.eTag])
        #expect(try await send(.put, read, .ifNoneMatch, "*").code == "PreconditionFailed")
        #expect(try await send(.get).headers[.eTag] == first)
        let unchanged = try await send(.get, nil, .ifNoneMatch, "\"other\", W/\(first)")
        #expect(unchanged.status == 304 && unchanged.body.isNull)
        let changed = try await send(.patch, ["repositories/app/content/write"], .ifMatch, first)
        #expect(changed.status == 200)
        let second = try #require(changed.headers[.eTag])
        #expect(first != second)
        // Whoever read it before that is refused, and changes nothing.
        let late = try await send(.patch, ["repositories/late/content/read"], .ifMatch, first)
        #expect(late.status == 412 && late.message?.contains("Read it again") == true, "\(late.body)")
        #expect(try await send(.delete, nil, .ifMatch, first).status == 412)
        #expect(try await send(.get).headers[.eTag] == second)
        #expect(try await send(.delete, nil, .ifMatch, second).status == 200)
        #expect(try await send(.get).status == 404)
        // Lists and actions have none.
        #expect(try await world.send(.get, "\(world.registry())/scopeMaps").headers[.eTag] == nil)
    }

    @Test("A2 C16 what a connected registry tells of itself is no change of what was set: If-Match holds, and readers see it")
    func observed() async throws {
        let world = try await World().withRegistry()
        try await world.withConnectedRegistry("factory")
        let path = "\(world.registry())/connectedRegistries/factory"
        let before = try await world.send(.get, path)
        let tag = try #require(before.headers[.eTag])
        let registry = try #require(world.lookup.registry(named: "harbour")).id
        _ = try await world.services.connectedRegistries.activate(
            "factory", instance: "one", nonce: nil, version: "1", loginServer: "factory.test", in: registry)
        world.clock.advance(seconds: 60)
        let after = try await world.send(.get, path, text: "", headers: world.headers(.ifNoneMatch, tag))
        #expect(after.status == 200 && after.headers[.eTag] == tag)
        #expect(after.body[path: "properties", "activation", "status"] == "Active")
        let change: JSONValue = ["properties": ["logging": ["logLevel": "Debug"]]]
        let changed = try await world.send(.patch, path, text: change.serialized(), headers: world.headers(.ifMatch, tag))
        #expect(changed.status == 200, "\(changed.body)")
        #expect(changed.headers[.eTag] != tag)
        #expect(try await world.send(.patch, path, text: change.serialized(), headers: world.headers(.ifMatch, tag)).status == 412)
    }

    @Test("A2 a list of more than a thousand has pages, which what happens meanwhile does not shift")
    func pages() async throws {
        let world = try await World().withRegistry()
        let list = "\(world.registry())/tokens"
        let names = (0..<1203).map { "token\(10_000 + $0)" }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for name in names { group.addTask { try await world.withToken(name) } }
            try await group.waitForAll()
        }
        let first = try await world.send(.get, list + "?api-version=2026-01-01")
        #expect(first.names == Array(names.prefix(1000)))
        let link = try #require(first.body["nextLink"]?.stringValue)
        #expect(link.hasPrefix("https://localhost:8443/subscriptions/") && link.contains("api-version=2026-01-01"))
        let next = String(link.dropFirst("https://localhost:8443".count))
        // The one that ended the page goes, and one before it comes.
        #expect(try await world.send(.delete, "\(list)/\(names[999])").status == 200)
        try await world.withToken("token00001")
        let second = try await world.send(.get, next)
        #expect(second.names == Array(names.dropFirst(1000)))
        #expect(second.body["nextLink"] == nil)
        let wrong = try await world.send(.get, list + "?$skipToken=x")
        #expect(wrong.status == 400 && wrong.target == "$skipToken", "\(wrong.body)")
    }
}
