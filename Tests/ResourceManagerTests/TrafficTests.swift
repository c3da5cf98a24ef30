// Budgets, priorities and plans of connected registries as resources.

import GatewayProtocol
import JSON
import Testing

@Suite struct TrafficTests {
    @Test("B3 budgets and priorities are set, shown, changed and ended; what is too small or no pattern is refused naming the field")
    func settings() async throws {
        let world = try await World().withRegistry()
        try await world.withConnectedRegistry("store1")
        let path = world.registry() + "/connectedRegistries/store1"
        let plain = try await world.send(.get, path).body
        #expect(plain[path: "properties", "byteBudget"] == .null)
        let set = try await world.send(
            .patch, path, ["properties": ["byteBudget": ["hour": 5_000_000, "month": 900_000_000], "syncPriorities": ["base", "app/*"]]])
        #expect(set.body[path: "properties", "byteBudget", "hour"] == 5_000_000)
        #expect(set.body[path: "properties", "byteBudget", "day"] == .null)
        #expect(set.body[path: "properties", "syncPriorities"] == ["base", "app/*"])
        // What az sends when it changes something else leaves them as they are.
        let other = try await world.send(.patch, path, ["properties": ["syncProperties": [:], "logging": [:], "garbageCollection": [:]]])
        #expect(other.body == set.body)
        let changed = try await world.send(.patch, path, ["properties": ["byteBudget": ["hour": nil, "day": 9_000_000]]])
        #expect(changed.body[path: "properties", "byteBudget", "hour"] == .null)
        #expect(changed.body[path: "properties", "byteBudget", "month"] == 900_000_000)
        for (body, field) in [
            (["byteBudget": ["hour": 1000]], "properties.byteBudget.hour"), (["byteBudget": 5], "properties.byteBudget"),
            (["byteBudget": ["day": "1GB"]], "properties.byteBudget.day"), (["syncPriorities": ["No*no"]], "properties.syncPriorities"),
        ] as [(JSONValue, String)] {
            let refused = try await world.send(.patch, path, ["properties": body])
            #expect(refused.status == 400)
            #expect(refused.target == field)
        }
        let ended = try await world.send(
            .patch, path, ["properties": ["byteBudget": ["day": nil, "month": nil], "syncPriorities": []]])
        #expect(ended.body == plain)
    }

    @Test("B3 a plan is asked for, waits for a connected registry that is away, and is shown once it is told")
    func plan() async throws {
        let world = try await World().withRegistry()
        try await world.withConnectedRegistry("store1")
        let id = try #require(world.lookup.registry(named: "harbour")?.id)
        let path = world.registry() + "/connectedRegistries/store1/plan"
        #expect(try await world.send(.get, path).body["state"] == "NotAsked")
        #expect(try await world.send(.post, path).body["state"] == "Pending")
        let store = world.services.connectedRegistries
        let order = try #require(try await store.find("store1", in: id)?.plan)
        let nonce = try await store.activate("store1", instance: "i1", nonce: nil, version: "0.1", loginServer: nil, in: id).nonce
        func tell(_ plan: SyncPlan?, _ nonce: String) async throws -> String {
            try await store.report(
                StatusReport(
                    nonce: nonce, phase: .idle, version: "0.1", cursor: nil, result: nil, details: [], bytesReceived: 0, diskFree: nil,
                    diskTotal: nil, plan: plan),
                lease: .init(connectedRegistry: "store1", instance: "i1", epoch: 1), in: id)
        }
        let next = try await tell(SyncPlan(order: order, computed: 1_790_000_000_000, bytes: 77, imageCount: 3, bytesUp: 5), nonce)
        // Later heartbeats say nothing of it.
        let last = try await tell(nil, next)
        let ready = try await world.send(.get, path).body
        #expect(ready["state"] == "Ready" && ready["bytes"] == 77 && ready["imageCount"] == 3 && ready["bytesUpAtMost"] == 5)
        // Asked again, the last answer is shown while the next one is awaited.
        let again = try await world.send(.post, path).body
        #expect(again["state"] == "Pending" && again["bytes"] == 77)
        _ = try await tell(SyncPlan(order: order + 1_000_000_000_000, computed: 0, problem: "it cannot be told"), last)
        #expect(try await world.send(.get, path).body["state"] == "Pending")
        #expect(try await world.send(.post, world.registry() + "/connectedRegistries/nobody/plan").status == 404)
    }
}
