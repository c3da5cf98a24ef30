// How SQLite goes about what requests ask: by what is asked for, not through everything a repository holds.

import OCI
import Persistence
import Synchronization
import TestSupport
import Testing

@testable import RegistryCore

/// A database that notes how each statement is carried out.
private final class PlannedDatabase: Database {
    /// The steps of each statement.
    private final class Plans: Sendable {
        let steps = Mutex<[String: [String]]>([:])

        func note(_ sql: String, _ arguments: [SQLValue], _ session: any SQLReader) throws {
            let steps = try session.rows("EXPLAIN QUERY PLAN \(sql)", arguments).map { $0.text(3) }
            self.steps.withLock { $0[sql] = steps }
        }
    }

    private struct Reader: SQLReader {
        let base: any SQLReader
        let plans: Plans

        func rows(_ sql: String, _ arguments: [SQLValue]) throws -> [SQLRow] {
            try self.plans.note(sql, arguments, self.base)
            return try self.base.rows(sql, arguments)
        }
    }

    private struct Writer: SQLWriter {
        let base: any SQLWriter
        let plans: Plans

        func rows(_ sql: String, _ arguments: [SQLValue]) throws -> [SQLRow] {
            try self.plans.note(sql, arguments, self.base)
            return try self.base.rows(sql, arguments)
        }

        func execute(_ sql: String, _ arguments: [SQLValue]) throws -> Int {
            try self.plans.note(sql, arguments, self.base)
            return try self.base.execute(sql, arguments)
        }
    }

    private let base: any Database
    private let plans = Plans()

    init(_ base: any Database) { self.base = base }

    func read<Value: Sendable>(_ body: @escaping @Sendable (any SQLReader) throws -> Value) async throws -> Value {
        try await self.base.read { [plans] in try body(Reader(base: $0, plans: plans)) }
    }

    func write<Value: Sendable>(_ body: @escaping @Sendable (any SQLWriter) throws -> Value) async throws -> Value {
        try await self.base.write { [plans] in try body(Writer(base: $0, plans: plans)) }
    }

    func close() async throws { try await self.base.close() }

    private static let parts = ["(repository=?)", "(registry=?)", "(registry=? AND repository=?)"]

    /// Statements that go through all of a repository, of a registry or of a table, with the step that does.
    ///
    /// A page that is walked in the order in which it is given ends with the page, and is none of them; unless it looks for what has a digest.
    var growing: [String] {
        self.plans.steps.withLock { $0 }.compactMap { sql, steps in
            let isPage = sql.contains("LIMIT") && !sql.contains("digest = ?") && !steps.contains { $0.contains("TEMP B-TREE") }
            let step = steps.first { step in
                step.hasPrefix("SCAN ") && !step.hasPrefix("SCAN CONSTANT") || Self.parts.contains { step.hasSuffix($0) }
            }
            return isPage ? nil : step.map { "\($0): \(sql)" }
        }.sorted()
    }

    var count: Int { self.plans.steps.withLock { $0.count } }
}

@Suite(.serialized) struct PlanTests {
    private let app = repository("app")

    private func page(_ last: Digest? = nil, limit: Int = 2) -> MetadataPage {
        MetadataPage(order: .name, last: last?.description, lastTime: nil, limit: limit)
    }

    @Test("R3 R4 lists, pulls, pushes, deletions and restores look up what they need and go through nothing else")
    func plans() async throws {
        let site = try await Site()
        try await site.database.write { try SoftDelete.set(isOn: true, age: 86_400_000, of: site.registry, $0) }
        let database = PlannedDatabase(site.database)
        let store = RegistryStore(database: database, blobs: site.blobs, activity: site.activity, clock: site.clock.wall)
        let (registry, image) = (site.registry, TestImage("one"))
        let signature = TestImage("signature", subject: image.manifest, artifactType: "application/signature")
        for blob in image.blobs + signature.blobs { try await site.push(blob, to: self.app) }
        for (content, tags) in [(image.manifest, ["v1", "v2", "v3"]), (signature.manifest, [])] {
            let new = try NewManifest(content.bytes, declared: content.mediaType, expected: content.digest)
            try await store.put(new, tags: tags.map { tag($0) }, into: self.app, of: registry, origin: "test")
        }
        let digest = image.manifest.digest
        for last in [nil, digest] {
            _ = try await store.manifestMetadata(of: self.app, in: registry, page: self.page(last))
            for filter in [nil, digest] {
                let page = MetadataPage(order: .name, last: last == nil ? nil : "v1", lastTime: nil, limit: 1)
                _ = try await store.tagMetadata(of: self.app, in: registry, page: page, digest: filter)
            }
        }
        let newest = MetadataPage(order: .newestFirst, last: nil, lastTime: nil, limit: 1)
        #expect(try await store.tagMetadata(of: self.app, in: registry, page: newest, digest: digest).count == 2)
        _ = try await store.metadata(of: digest, in: self.app, of: registry)
        _ = try await store.metadata(of: tag("v1"), in: self.app, of: registry)
        _ = try await store.manifest(.tag(tag("v1")), in: self.app, of: registry)
        _ = try await store.blob(image.config.digest, in: self.app, of: registry)
        _ = try await store.tags(of: self.app, in: registry, after: "v1", limit: 2)
        _ = try await store.repositories(in: registry, after: nil, limit: 2)
        for type in [nil, "application/signature"] {
            for position in [nil, ReferrerPosition("0-\(digest)")] {
                let found = try await store.referrers(
                    of: digest, in: self.app, of: registry, artifactType: type, after: position, limit: 2)
                #expect(found.descriptors.map(\.digest) == [signature.manifest.digest])
            }
        }
        #expect(try await store.state(of: self.app, in: registry, after: nil, limit: 10).state.referrers == [signature.manifest.digest])
        _ = try await store.stateSummary(of: registry) { _ in true }
        try await store.delete(tag("v3"), from: self.app, of: registry, origin: "test")
        try await store.delete(digest, from: self.app, of: registry, origin: "test")
        #expect(try await store.deletedManifests(of: self.app, in: registry, after: 0, limit: 2).map(\.tags.count) == [3])
        #expect(try await store.deletedTags(of: self.app, in: registry, after: 0, limit: 9).count == 3)
        _ = try await store.restore(digest, tag: nil, replacing: false, in: self.app, of: registry, origin: "test")
        _ = try await store.restore(digest, tag: tag("v3"), replacing: true, in: self.app, of: registry, origin: "test")
        try await store.trimLog(before: 0)
        #expect(database.count > 40)
        let settled = ["state_dirty", "state_bucket", "state_root", "json_each", "FROM state_", "SELECT name, hash, entries"]
        let growing = database.growing.filter { step in !settled.contains { step.contains($0) } }
        #expect(growing.isEmpty, "\(growing.joined(separator: "\n"))")
    }

    @Test("R3 R4 pages of manifests, referrers and deletions take as long in a repository of 100,000 tags as in a small one")
    func largeRepository() async throws {
        let site = try await Site()
        let image = TestImage("one")
        let names = [repository("few"), repository("many")]
        for (name, count) in zip(names, [50, 100_000]) {
            try await site.push(image, tags: [tag("first")], to: name)
            // A hundred manifests have the tags, the others none.
            try await site.database.write { session in
                let numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?2)"
                let (id, digest) = ("(SELECT id FROM repository WHERE name = ?1)", "'sha256:' || printf('%064x', i)")
                let arguments = [SQLValue(name), .integer(Int64(max(count / 5, 200)))]
                try session.execute(
                    "\(numbers) INSERT INTO manifest_content SELECT \(digest), x'7b7d' FROM n WHERE ?1 != '' ON CONFLICT DO NOTHING",
                    arguments)
                try session.execute(
                    """
                    \(numbers) INSERT INTO manifest (repository, digest, media_type, size, created)
                    SELECT \(id), \(digest), 'application/vnd.oci.image.manifest.v1+json', 2, 0 FROM n
                    """, arguments)
                try session.execute(
                    """
                    \(numbers) INSERT INTO tag (repository, name, digest, created, updated)
                    SELECT \(id), printf('t%06d', i), 'sha256:' || printf('%064x', 1 + i % 100), 0, 0 FROM n
                    """, [SQLValue(name), .integer(Int64(count))])
            }
        }
        // Behind the hundred that have the tags, which would be part of the answer.
        let last = try Digest("sha256:" + String(repeating: "0", count: 62) + "64")
        let unknown = Digest.of("unknown".utf8)
        let pages = names.map { name in
            {
                let page = try await site.store.manifestMetadata(of: name, in: site.registry, page: self.page(last, limit: 100))
                #expect(page.manifests.count == 100 && page.manifests.allSatisfy(\.tags.isEmpty))
            }
        }
        let referrers = names.map { name in
            {
                let found = try await site.store.referrers(of: unknown, in: name, of: site.registry, artifactType: nil, limit: 100)
                #expect(found.descriptors.isEmpty)
            }
        }
        let deletions = names.map { name in
            {
                try await site.put(image.manifest, to: name)
                try await site.store.delete(image.manifest.digest, from: name, of: site.registry, origin: "test")
            }
        }
        for (what, bodies) in [("a page of manifests", pages), ("referrers", referrers), ("a deletion", deletions)] {
            let holds = { (times: [Duration]) in times[1] < times[0] * 10 }
            let times = try await quickest(bodies, until: holds)
            print("R3: \(what) in 50 tags \(times[0]), in 100,000 tags \(times[1])")
            #expect(holds(times), "\(what): \(times)")
        }
    }
}
