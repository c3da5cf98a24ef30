// What a connected registry remembers when its parent does not let it in any more, why it compares, and how long the parent waits for it.

import Gateway
import GatewayProtocol
import OCI
import RegistryCore
import TestSupport
import Testing

@testable import SyncAgent

@Suite struct LifeTests {
    private let app = repository("app")

    @Test("C18 since when a site is locked out is remembered, and until when it serves; who is let in again serves on")
    func lockedOut() async throws {
        let family = try await Family()
        let parent = family.parent
        try await parent.configure(family.name, serveAfterRemoval: "P1D")
        let image = TestImage("one")
        try await parent.site.push(image, tags: [tag("v1")], to: self.app)
        try await family.introduce()
        let memory = try await family.memory()
        #expect(await memory.memory.servesUntil == nil)
        @Sendable func enable(_ isEnabled: Bool) async throws {
            try await parent.site.identities.putToken("site1-sync", scopeMap: "map-site1", isEnabled: isEnabled, in: parent.site.registry)
        }
        try await enable(false)
        let began = family.child.clock.wall.seconds
        try await family.following(family.agent(memory: memory)) { () async throws in
            #expect(try await eventually { await memory.memory.lockedOut == began })
            #expect(await memory.memory.servesUntil == began + 86_400)
            try await enable(true)
            #expect(try await eventually { await memory.memory.lockedOut == nil })
        }
        // Deleted while nobody is there: it counts from when the site is told, through restarts.
        try await parent.connectedRegistries.delete(family.name, in: parent.site.registry)
        for _ in 0..<2 {
            family.child.clock.advance(seconds: 100)
            let memory = try await family.memory()
            let agent = try await family.agent(memory: memory)
            let stop = await agent.run()
            #expect(stop?.error.code == .notFound || stop?.error.code == .deactivated)
            #expect(await memory.memory.lockedOut == began + 100)
            #expect(await memory.memory.stopped != nil)
        }
        #expect(try await family.isWhole(image, in: self.app))
    }

    @Test("C16 C10 a selection that is changed while the site follows is a synchronisation of its own, and is named so")
    func selection() async throws {
        let family = try await Family(repositories: ["app"])
        let (one, two) = (TestImage("one"), TestImage("two"))
        try await family.parent.site.push(one, tags: [tag("v1")], to: self.app)
        try await family.parent.site.push(two, tags: [tag("v1")], to: repository("team/tools"))
        try await family.following { () async throws in
            #expect(try await family.until { try await family.childHas(tag("v1"), at: one.manifest, in: self.app) })
            #expect(try await eventually { try await family.parentState?.report?.history?.first?.trigger == "InitialSync" })
            try await family.parent.select(["team/*"], for: family.name)
            family.parent.connectedRegistries.settingsChanged()
            #expect(try await family.until { try await family.childHas(tag("v1"), at: two.manifest, in: repository("team/tools")) })
            #expect(try await family.until { try await family.childHas(tag("v1"), at: nil, in: self.app) })
            #expect(
                try await eventually {
                    let first = try await family.parentState?.report?.history?.first
                    return first?.trigger == "SyncTokenUpdate" && first?.state == "Succeeded"
                })
        }
    }

    @Test("C12 a log that has grown to its limit is cut, whatever the TTL; who is behind that compares state and ends identical")
    func logLimit() async throws {
        let family = try await Family()
        let (parent, image) = (family.parent.site, TestImage("one"))
        try await parent.push(image, tags: [tag("v1")], to: self.app)
        try await family.introduce()
        try await parent.push(image, tags: (0..<100).map { tag("t\($0)") }, to: self.app)
        try await parent.store.delete(tag("v1"), from: self.app, of: parent.registry, origin: "test")
        let head = try await parent.store.head()
        #expect(try await parent.store.trimLog(before: 0, keeping: .max) == 0)
        #expect(try await parent.store.trimLog(before: 0, keeping: 40) == Int(head.sequence) - 40)
        #expect(try await parent.changes(after: head.sequence - 40).count == 40)
        // Who reads along and must miss nothing is waited for.
        #expect(try await parent.store.trimLog(before: 0, keeping: 10, readTo: head.sequence - 30) == 10)
        family.transport.forget()
        try await family.following { () async throws in
            #expect(try await family.until { try await family.childHas(tag("t99"), at: image.manifest, in: self.app) })
            #expect(try await eventually { try await family.parentState?.inStep ?? false })
        }
        #expect(try await family.childHas(tag("v1"), at: nil, in: self.app))
        #expect(family.transport.requests.contains { $0.target.contains("/state") })
    }

    @Test("C19 a parent that was restored from a backup is noticed: nobody is taken for a copy, whole state is compared, the backup stands")
    func restored() async throws {
        let family = try await Family()
        let (parent, image) = (family.parent.site, TestImage("one"))
        try await parent.push(image, tags: [tag("v1")], to: self.app)
        try await family.introduce()
        let backup = try await parent.database.read {
            try $0.row("SELECT nonce, offered_nonce, earlier_nonces, report FROM connected_registry")
        }
        let head = try await parent.store.head()
        try await parent.push(TestImage("two"), tags: [tag("v2")], to: self.app)
        try await family.introduce()
        try await family.following { () async throws in
            #expect(try await family.until { try await family.atChild(tag("v2"), in: self.app) != nil })
            #expect(try await eventually { try await family.parentState?.report?.status?.cursor?.sequence ?? 0 > head.sequence })
        }
        let kept = try #require(backup)
        // As the database was then.
        try await parent.database.write { session in
            try session.execute("DELETE FROM tag WHERE name = 'v2'")
            try session.execute("DELETE FROM change WHERE sequence > ?", .integer(head.sequence))
            try session.execute("UPDATE change_log SET head = ?", .integer(head.sequence))
            _ = try session.execute(
                "UPDATE connected_registry SET nonce = ?, offered_nonce = ?, earlier_nonces = ?, report = ?", kept[0], kept[1], kept[2],
                kept[3])
        }
        let memory = try await family.memory()
        try await family.following(family.agent(memory: memory)) { () async throws in
            #expect(try await family.until { try await family.atChild(tag("v2"), in: self.app) == nil })
            #expect(try await eventually { try await family.parentState?.inStep ?? false })
        }
        #expect(await memory.memory.stopped == nil)
        #expect(try await family.childHas(tag("v1"), at: image.manifest, in: self.app))
    }
}
