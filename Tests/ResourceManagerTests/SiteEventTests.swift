// What has happened at connected registries, as resources list it.

import JSON
import RegistryCore
import Testing

@Suite struct SiteEventTests {
    @Test("C17 C19 events and audit records of a connected registry are listed, the newest first, with what had to go unread")
    func lists() async throws {
        let world = try await World().withRegistry()
        try await world.withConnectedRegistry("store1")
        let id = try #require(world.lookup.registry(named: "harbour")?.id)
        let events = SiteEvents(database: world.services.registries.database, registry: id)
        try await events.add(
            [
                .init(id: "one", site: "store1", kind: .audit, time: 1_790_000_000_000, body: #"{"event":"SignIn","user":"token:t"}"#),
                .init(id: "two", site: "store1", kind: .audit, time: 1_790_000_001_000, body: #"{"event":"Push"}"#),
                .init(id: "three", site: "store1", kind: .notification, time: 1_790_000_002_000, body: #"{"action":"push"}"#),
            ], dropped: [.init(site: "store1", kind: .audit, count: 9)])
        let path = world.registry() + "/connectedRegistries/Store1"
        let logs = try await world.send(.get, path + "/logs").body
        #expect(logs["value"]?.arrayValue?.map { $0["event"] } == ["Push", "SignIn"])
        #expect(logs["value"]?[1]?["time"] == "2026-09-21T14:13:20.000Z")
        #expect(logs["dropped"] == 9)
        let told = try await world.send(.get, path + "/events").body
        #expect(told["value"]?.arrayValue?.map { $0["id"] } == ["three"])
        #expect(try await world.send(.get, world.registry() + "/connectedRegistries/nobody/logs").status == 404)
        // Deleted, nothing of it is left.
        #expect(try await world.send(.delete, path).status == 200)
        #expect(try await events.waiting(limit: 10).isEmpty)
        #expect(try await events.dropped().isEmpty)
    }

    @Test("C17 a notification that is no pattern is refused naming the field")
    func badPattern() async throws {
        let world = try await World().withRegistry()
        try await world.withConnectedRegistry("store1")
        let refused = try await world.send(
            .patch, world.registry() + "/connectedRegistries/store1", ["properties": ["notificationsList": ["app:tag:pull"]]])
        #expect(refused.status == 400)
        #expect(refused.target == "properties.notificationsList")
    }
}
