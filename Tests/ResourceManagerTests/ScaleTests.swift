// Limits reached through the resource manager, and what that costs those who come later. At a tenth of their size, so that every run
// has it; `OUTPORT_FULL_LIMITS=1 swift test --filter ResourceManagerTests.ScaleTests` makes all 20,000, which takes a minute.

import HTTPTypes
import Identity
import JSON
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

    /// What the fastest quarter takes at most.
    private func quick(_ times: [Duration]) -> Duration { times.sorted()[times.count / 4] }

    private func median(_ times: [Duration]) -> Duration { times.sorted()[times.count / 2] }

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

        // Both in turn, so that whatever else the machine does falls on both.
        var shows: [String: [Duration]] = [:]
        var signIns: [String: [Duration]] = [:]
        var registries: [Duration] = []
        var passwords: [String: String] = [:]
        for registry in ["fewtokens", "manytokens"] {
            let path = world.registry(registry)
            let made = try await world.send(
                .post, path + "/generateCredentials", ["tokenId": .string(path + "/tokens/token10007"), "name": "password1"])
            passwords[registry] = made.body["passwords"]?[0]?["value"]?.stringValue
        }
        for _ in 0..<121 {
            for registry in ["fewtokens", "manytokens"] {
                let path = world.registry(registry)
                var start = ContinuousClock.now
                #expect(try await world.send(.get, path + "/tokens/token10007").status == 200)
                shows[registry, default: []].append(ContinuousClock.now - start)
                start = ContinuousClock.now
                #expect(try await world.send(.get, path).status == 200)
                registries.append(ContinuousClock.now - start)
                let content = try #require(world.lookup.registry(named: registry)).id
                start = ContinuousClock.now
                let found = try await world.services.identities.authenticate(
                    token: "token10007", password: try #require(passwords[registry]), in: content)
                signIns[registry, default: []].append(ContinuousClock.now - start)
                #expect(found != nil)
            }
        }
        let (show, showAmongMany) = (self.median(shows["fewtokens"] ?? []), self.median(shows["manytokens"] ?? []))
        let (sign, signAmongMany) = (self.median(signIns["fewtokens"] ?? []), self.median(signIns["manytokens"] ?? []))
        let registry = self.median(registries)
        print(
            "I2: made in \(made); token show \(show) among 20, \(showAmongMany) among \(limit); sign-in \(sign) and \(signAmongMany); "
                + "registry show \(registry)")
        // Other tests run beside this one and disturb single answers, so the fastest quarter is compared: it is what the number costs.
        for (times, what) in [(shows, "token show"), (signIns, "sign-in")] {
            let (few, many) = (self.quick(times["fewtokens"] ?? []), self.quick(times["manytokens"] ?? []))
            #expect(many < few * 1.5, "\(what): \(few) among 20, \(many) among \(limit)")
        }
        #expect(registry < .milliseconds(150))
    }
}
