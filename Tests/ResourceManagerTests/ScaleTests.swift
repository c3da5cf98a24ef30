// Limits reached through the resource manager, and what that costs those who come later. At a tenth of their size, so that every run
// has it; `OUTPORT_FULL_LIMITS=1 swift test --filter ResourceManagerTests.ScaleTests` makes all 20,000, which takes a minute.

import HTTPTypes
import Identity
import JSON
import TestSupport
import Testing

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

@Suite(.serialized) struct ScaleTests {
    private static let limit =
        ProcessInfo.processInfo.environment["OUTPORT_FULL_LIMITS"] == "1" ? IdentityStore.maximumTokens : IdentityStore.maximumTokens / 10

    private struct Refused: Error { let status: Int }

    /// Sends PUTs at once, as a script with many connections would.
    private func make(_ world: World, _ paths: [String], _ body: JSONValue) async throws {
        let text = body.serialized()
        try await withThrowingTaskGroup(of: Int.self) { group in
            var waiting = paths.makeIterator()
            func next() {
                guard let path = waiting.next() else { return }
                group.addTask { try await world.send(.put, path, text: text).status }
            }
            for _ in 0..<64 { next() }
            while let status = try await group.next() {
                guard status == 201 else { throw Refused(status: status) }
                next()
            }
        }
    }

    @Test(
        "I2 A3: as many tokens and scope maps as there may be, through the resource manager; the next is refused; nothing gets slower")
    func full() async throws {
        let limit = Self.limit
        let world = try await World(limits: (limit, limit))
        let begun = ContinuousClock.now
        try await world.withRegistry("fewtokens", dataEndpoint: false)
        try await world.withRegistry("manytokens", dataEndpoint: false)
        let map: JSONValue = ["properties": ["actions": ["repositories/app/content/read"]]]
        func token(_ registry: String) -> JSONValue {
            ["properties": ["scopeMapId": .string("\(world.registry(registry))/scopeMaps/_repositories_pull")]]
        }
        // Five maps are the system's.
        for (registry, count) in [("fewtokens", 20), ("manytokens", Self.limit)] {
            let path = world.registry(registry)
            try await self.make(world, (0..<count).map { "\(path)/tokens/token\($0 + 10_000)" }, token(registry))
            try await self.make(world, (0..<(count - 5)).map { "\(path)/scopeMaps/map\($0 + 10_000)" }, map)
        }
        let made = ContinuousClock.now - begun
        for (path, body, what) in [("/tokens/onemore", token("manytokens"), "tokens"), ("/scopeMaps/onemore", map, "scope maps")] {
            let refused = try await world.send(.put, world.registry("manytokens") + path, body)
            #expect(refused.status == 400)
            #expect(refused.code == "LimitExceeded")
            #expect(refused.message?.contains("\(limit) \(what); the limit is \(limit)") == true, "\(refused.body)")
        }
        // One that is there may be changed all the same.
        #expect(try await world.send(.patch, world.registry("manytokens") + "/tokens/token10000", ["properties": [:]]).status == 200)

        var passwords: [String: String] = [:]
        for registry in ["fewtokens", "manytokens"] {
            let path = world.registry(registry)
            let made = try await world.send(
                .post, path + "/generateCredentials", ["tokenId": .string(path + "/tokens/token10007"), "name": "password1"])
            passwords[registry] = made.body["passwords"]?[0]?["value"]?.stringValue
        }
        func show(_ registry: String) async throws {
            #expect(try await world.send(.get, world.registry(registry) + "/tokens/token10007").status == 200)
        }
        func showRegistry() async throws {
            #expect(try await world.send(.get, world.registry("manytokens")).status == 200)
        }
        func signIn(_ registry: String) async throws {
            let content = try #require(world.lookup.registry(named: registry)).id
            let password = try #require(passwords[registry])
            #expect(try await world.services.identities.authenticate(token: "token10007", password: password, in: content) != nil)
        }
        let holds = { (times: [Duration]) in
            times[1] < times[0] * 1.5 && times[3] < times[2] * 1.5 && (times[4] < .milliseconds(150) || times[4] < times[0] * 10)
        }
        let times = try await quickest(
            [
                { try await show("fewtokens") }, { try await show("manytokens") }, { try await signIn("fewtokens") },
                { try await signIn("manytokens") },
                showRegistry,
            ], until: holds)
        print(
            "I2: made in \(made); token show \(times[0]) among 20, \(times[1]) among \(limit); sign-in \(times[2]) and \(times[3]); "
                + "registry show \(times[4])")
        #expect(holds(times), "\(times)")
    }
}
