// Proves what a comparison of whole state costs, and that it finds every difference and ends alike.

import Gateway
import GatewayProtocol
import OCI
import Persistence
import RegistryCore
import TestSupport
import Testing

@testable import SyncAgent

@Suite struct ComparisonTests {
    private let app = repository("app")

    /// Waits until the parent has seen the child in step at the head of its log.
    private func inStep(_ family: Family) async throws -> Bool {
        let parent = family.parent.site
        return try await eventually {
            let head = try await parent.store.head().sequence
            let report = try await family.parentState?.report
            return report?.status?.cursor?.sequence == head && report?.inStepSince != nil
        }
    }

    /// Many tags of one image, written at once as no client could.
    private func addTags(_ count: Int, to digest: Digest, at site: Site) async throws {
        _ = try await site.database.write { session in
            try session.execute(
                """
                WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < ?1)
                INSERT INTO tag (repository, name, digest, created, updated) SELECT repository.id, 'build-' || n, ?2, 0, 0 FROM number JOIN repository ON name = 'app'
                """, .integer(Int64(count)), SQLValue(digest))
        }
    }

    private func summary(_ site: Site) async throws -> RegistryStateSummary {
        try await site.store.stateSummary(of: site.registry) { _ in true }
    }

    @Test("C12 B5 2,000 tags that have not changed cost one request, however long the child was away")
    func nothingChanged() async throws {
        let family = try await Family()
        let one = TestImage("one")
        try await family.parent.site.push(one, tags: [tag("v1")], to: self.app)
        try await self.addTags(2000, to: one.manifest.digest, at: family.parent.site)
        try await family.following { () async throws in #expect(try await self.inStep(family)) }
        #expect(try await self.summary(family.child).root == self.summary(family.parent.site).root)
        #expect(try await self.summary(family.child).repositories.first?.entries == 2001)
        try await SyncMemoryStore.forgetCursor(in: family.child.database)
        let moved = family.transport.bodyBytes
        family.transport.forget()
        try await family.following { () async throws in
            #expect(try await eventually { family.transport.requests.contains { $0.target.contains("/changes") } })
        }
        let compared = family.transport.requests.filter { $0.target.contains("/state") || $0.target.contains("/v2/") }
        #expect(compared.count == 1)
        #expect(family.transport.bodyBytes - moved < 8 << 10)
    }

    @Test("C12 B5 one tag of 100,000 that has changed costs at most four requests and 64 KiB")
    func oneOfMany() async throws {
        let family = try await Family()
        let (one, two) = (TestImage("one"), TestImage("two"))
        for site in [family.parent.site, family.child] {
            try await site.push(one, tags: [tag("v1")], to: self.app)
            try await site.push(two, tags: [tag("v2")], to: self.app)
            try await self.addTags(100_000, to: one.manifest.digest, at: site)
            _ = try await self.summary(site)
        }
        try await family.parent.site.put(two.manifest, tags: [tag("build-4711")], to: self.app)
        _ = try await self.summary(family.parent.site)
        try await family.following { () async throws in
            #expect(try await family.until { try await family.childHas(tag("build-4711"), at: two.manifest, in: self.app) })
            #expect(try await self.inStep(family))
        }
        let compared = family.transport.requests.filter { $0.target.contains("/state") || $0.target.contains("/v2/") }
        #expect(compared.count <= 4)
        let bytes = family.transport.bytes { $0.contains("/state") || $0.contains("/v2/") }
        #expect(bytes <= 64 << 10, "\(bytes) bytes")
        #expect(bytes > 0)
        #expect(try await self.summary(family.child).root == self.summary(family.parent.site).root)
    }

    @Test("C12 what an index lists and what came or went after it is found by a comparison", arguments: [3, 400])
    func lateChildren(tags: Int) async throws {
        let family = try await Family()
        let parent = family.parent.site
        let (one, two, three) = (TestImage("one"), TestImage("two"), TestImage("three"))
        let index = Fixture.index([one.manifest.descriptor, two.manifest.descriptor])
        let outer = Fixture.index([index.descriptor])
        for image in [one, three] { try await parent.push(image, to: self.app) }
        try await parent.put(index, to: self.app)
        try await parent.put(outer, tags: [tag("all")], to: self.app)
        try await parent.put(three.manifest, tags: [tag("v3")], to: self.app)
        try await self.addTags(tags, to: three.manifest.digest, at: parent)
        try await family.following { () async throws in #expect(try await self.inStep(family)) }
        #expect(try await !family.child.store.holds(two.manifest.digest, in: self.app, of: family.child.registry))
        // The second image comes and the first goes while the child is away for longer than the log reaches back.
        try await parent.push(two, to: self.app)
        try await parent.store.delete(one.manifest.digest, from: self.app, of: parent.registry, origin: "test")
        _ = try await parent.database.write { try $0.execute("UPDATE change_log SET tail = head") }
        try await family.following { () async throws in #expect(try await self.inStep(family)) }
        #expect(try await family.isWhole(two, in: self.app))
        #expect(try await !family.child.store.holds(one.manifest.digest, in: self.app, of: family.child.registry))
        #expect(try await self.summary(family.child).root == self.summary(parent).root)
    }

    @Test("C12 away for twice the TTL with 100 tags changed: the log is trimmed, state is compared, both ends are alike")
    func awayTooLong() async throws {
        let family = try await Family()
        let parent = family.parent.site
        let (one, two) = (TestImage("one"), TestImage("two"))
        for image in [one, two] { try await parent.push(image, to: self.app) }
        for number in 0..<100 { try await parent.put(one.manifest, tags: [tag("t\(number)")], to: self.app) }
        try await family.following { () async throws in #expect(try await self.inStep(family)) }
        let before = try await parent.store.head().sequence
        for number in 0..<100 { try await parent.put(two.manifest, tags: [tag("t\(number)")], to: self.app) }
        let ttl = try await family.parent.connectedRegistries.longestMessageTTL()
        #expect(ttl == 2 * 86_400)
        parent.clock.advance(seconds: 2 * ttl)
        try await parent.push(TestImage("today"), tags: [tag("today")], to: self.app)
        let (old, all) = (Int(before) + 100, try await parent.store.head().sequence)
        #expect(try await parent.store.trimLog(before: parent.clock.milliseconds - ttl * 1000) == old)
        #expect(try await parent.store.trimLog(before: parent.clock.milliseconds - ttl * 1000) == 0)
        let log = try await parent.store.head().log
        let rest = try await parent.store.changes(
            of: parent.registry, after: ChangeCursor(log: log, sequence: Int64(old)), limit: 100, isSelected: { _ in true })
        #expect(rest.changes.count == Int(all) - old)
        await #expect(throws: CursorProblem.trimmed) {
            _ = try await parent.store.changes(
                of: parent.registry, after: ChangeCursor(log: log, sequence: before), limit: 100, isSelected: { _ in true })
        }
        family.transport.forget()
        try await family.following { () async throws in #expect(try await self.inStep(family)) }
        #expect(family.transport.requests.contains { $0.target.contains("/state?root=") })
        for number in 0..<100 { #expect(try await family.childHas(tag("t\(number)"), at: two.manifest, in: self.app)) }
        #expect(try await self.summary(family.child).root == self.summary(parent).root)
    }

    @Test("C12 after random changes both ends have one root, which is that of an end filled anew")
    func randomChanges() async throws {
        let family = try await Family()
        let parent = family.parent.site
        var generator = SeededGenerator(seed: 12)
        let images = (0..<5).map { TestImage("image \($0)") }
        for image in images { try await parent.push(image, to: self.app) }
        for round in 0..<6 {
            for _ in 0..<12 {
                let image = images[Int.random(in: 0..<5, using: &generator)]
                let name = tag("t\(Int.random(in: 0..<8, using: &generator))")
                switch Int.random(in: 0..<5, using: &generator) {
                case 0: try? await parent.store.delete(name, from: self.app, of: parent.registry, origin: "test")
                case 1:
                    try? await parent.store.delete(image.manifest.digest, from: self.app, of: parent.registry, origin: "test")
                    try await parent.push(image, to: self.app)
                case 2: try await parent.push(TestImage("signature \(round)", subject: image.manifest), to: self.app)
                default: try await parent.put(image.manifest, tags: [name], to: self.app)
                }
            }
            if round % 2 == 1 { _ = try await parent.database.write { try $0.execute("UPDATE change_log SET tail = head") } }
            try await family.following { () async throws in #expect(try await self.inStep(family)) }
            #expect(try await self.summary(family.child).root == self.summary(parent).root)
        }
        // What is kept from change to change is what would be computed from nothing.
        let kept = try await self.summary(parent)
        try await parent.database.write { session in
            for table in ["state_entry", "state_bucket", "state_root"] { try session.execute("DELETE FROM \(table)") }
            try session.execute("INSERT INTO state_dirty SELECT repository, 0, name FROM tag")
            try session.execute("INSERT INTO state_dirty SELECT repository, 1, digest FROM manifest WHERE subject IS NOT NULL")
        }
        #expect(try await self.summary(parent) == kept)
    }

    @Test("C13 C16 an image that is damaged at the parent is told, keeps nothing else waiting, and comes once it is mended")
    func damagedAtTheParent() async throws {
        let family = try await Family()
        let parent = family.parent.site
        let (bad, good, other) = (TestImage("bad"), TestImage("good"), TestImage("other"))
        try await parent.push(bad, tags: [tag("bad"), tag("moved")], to: self.app)
        // The blob is lost: its row and its link are gone, the manifest still names it.
        let lost = bad.layers[0].digest
        try await parent.database.write { session in
            try session.execute("DELETE FROM repository_blob WHERE digest = ?", SQLValue(lost))
            try session.execute("DELETE FROM blob WHERE digest = ?", SQLValue(lost))
        }
        try await parent.push(good, tags: [tag("good")], to: self.app)
        try await family.following { () async throws in
            #expect(try await family.until { try await family.childHas(tag("good"), at: good.manifest, in: self.app) })
            #expect(
                try await eventually {
                    let status = try await family.parentState?.report?.status
                    let head = try await parent.store.head().sequence
                    return status?.cursor?.sequence == head && status?.details.map(\.code) == ["ContentError"]
                })
            #expect(
                try await eventually {
                    try await family.parentState?.connectionState(now: family.child.clock.milliseconds) == .unhealthy
                })
            #expect(try await family.parentState?.report?.inStepSince == nil)
            #expect(try await family.childHas(tag("bad"), at: nil, in: self.app))
            // One of its tags moves on meanwhile: that must stay so.
            try await parent.push(other, tags: [tag("moved")], to: self.app)
            #expect(try await family.until { try await family.childHas(tag("moved"), at: other.manifest, in: self.app) })
            try await parent.push(bad.layers[0], to: self.app)
            family.child.clock.advance(seconds: 3600)
            // Any change wakes the long poll; the retry comes with it.
            try await parent.put(good.manifest, tags: [tag("wake")], to: self.app)
            #expect(try await family.until { try await family.childHas(tag("bad"), at: bad.manifest, in: self.app) })
            #expect(try await self.inStep(family))
            #expect(try await eventually { try await family.parentState?.report?.status?.details == [] })
        }
        #expect(try await family.childHas(tag("moved"), at: other.manifest, in: self.app))
    }
}
