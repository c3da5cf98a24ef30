// What the gateway remembers of its children between two calls: it must never be older than what an operator has set.

import Identity
import RegistryCore
import Synchronization
import TestSupport
import Testing

@testable import Gateway

@Suite struct KnownChildrenTests {
    private func child(_ site: DataPlane, _ generation: UInt64?) async throws -> KnownChildren.Child? {
        try await site.connectedRegistries.find("site1", in: site.site.registry).map {
            KnownChildren.Child(connectedRegistry: $0, token: nil, map: nil, generation: generation)
        }
    }

    @Test(
        "C15 B7 what was read of a child counts until settings change, and not when they changed while it was read; nobody counts, nothing is kept"
    )
    func generations() async throws {
        let server = try await DataPlane(Site())
        try await server.connectedRegistry("site1")
        let settings = Activity()
        let reads = Mutex(0)
        let known = KnownChildren { settings.count }
        let registry = server.site.registry
        @Sendable func ask(_ name: String = "site1", meanwhile: @Sendable () -> Void = {}) async throws {
            let found = try await known.child(name, in: registry) { generation in
                reads.withLock { $0 += 1 }
                let found = try await self.child(server, generation)
                meanwhile()
                return found
            }
            #expect(found?.connectedRegistry.name == "site1")
        }
        for _ in 0..<3 { try await ask() }
        try await ask("SITE1")
        #expect(reads.withLock { $0 } == 1)
        settings.signal()
        try await ask { settings.signal() }
        try await ask()
        #expect(reads.withLock { $0 } == 3)
        try await ask()
        #expect(reads.withLock { $0 } == 3)
        // Settings are told apart by the address they were asked for under.
        let made = Mutex(0)
        func tag(_ endpoints: [String], _ generation: UInt64? = nil) async throws -> String {
            try await known.settingsTag(of: "site1", in: registry, endpoints: endpoints, generation: generation ?? settings.count) {
                made.withLock { made in
                    made += 1
                    return "\(made)"
                }
            }
        }
        #expect(try await tag(["one"]) == "1")
        #expect(try await tag(["two"]) == "2")
        #expect(try await tag(["one"]) == "1")
        settings.signal()
        #expect(try await tag(["one"]) == "3")
        // One that is made from what was read before a change is given to nobody who comes after it, nor does it displace what is newer.
        let before = settings.count
        settings.signal()
        #expect(try await tag(["one"], before) == "3")
        #expect(try await tag(["one"]) == "4")
        #expect(try await tag(["one"], before) == "5")
        #expect(try await tag(["one"]) == "4")
        let forgetful = KnownChildren { nil }
        for _ in 0..<2 {
            _ = try await forgetful.child("site1", in: registry) { generation in
                reads.withLock { $0 += 1 }
                return try await self.child(server, generation)
            }
        }
        #expect(reads.withLock { $0 } == 5)
    }
}
