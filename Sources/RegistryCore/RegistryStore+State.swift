// What a registry holds, as hashes: two ends compare one hash, then those of repositories, then of buckets, and list only
// the buckets that differ.
//
// A repository's entries are its tags and its referrers, divided into 1,024 buckets by the SHA-256 of kind and name. The
// value of an entry is the digest it stands for and what is absent below it (an index may be sparse): two ends with equal
// hashes hold the same manifests, those of indexes included.

package import OCI
package import Persistence

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// One tag or referrer.
package struct StateEntry: Sendable, Hashable {
    package enum Kind: Int64, Sendable {
        case tag = 0
        case referrer = 1
    }

    package let kind: Kind
    /// The tag, or the digest of the referrer.
    package let name: String
    package let digest: Digest
    /// Manifests that are listed below the digest and not here.
    package let absent: [Digest]
}

/// A registry's state at one moment.
package struct RegistryStateSummary: Sendable, Hashable {
    package struct Repository: Sendable, Hashable {
        package let name: RepositoryName
        /// SHA-256 in hexadecimal; `nil` without entries.
        package let hash: String?
        package let entries: Int
    }

    /// Equal roots mean equal content.
    package let root: String
    /// Selected repositories that hold a manifest, by name.
    package let repositories: [Repository]
    /// The head of the log at that moment.
    package let head: ChangeCursor
}

extension RegistryStore {
    /// Buckets of a repository.
    package static let stateBuckets = 1024
    /// Names looked at in one transaction.
    private static let namesAtOnce = 20_000
    private static let bucketsAtOnce = 256

    /// The state of the repositories that are selected.
    package func stateSummary(
        of registry: RegistryID, isSelected: @escaping @Sendable (RepositoryName) -> Bool
    ) async throws -> RegistryStateSummary {
        try await self.settled { try Self.summary(of: registry, isSelected: isSelected, $0) }
    }

    /// Rows of the log after `cursor`, and the root where they reach the head: both of one moment.
    ///
    /// - Throws: ``CursorProblem``.
    package func changesAndRoot(
        of registry: RegistryID, after cursor: ChangeCursor, limit: Int, isSelected: @escaping @Sendable (RepositoryName) -> Bool
    ) async throws -> (page: ChangePage, root: String?) {
        try await self.settled { session in
            let page = try ChangeLog.page(of: registry, after: cursor, limit: limit, isSelected: isSelected, in: session)
            return (page, page.isAtHead ? try Self.summary(of: registry, isSelected: isSelected, session).root : nil)
        }
    }

    /// The hashes of a repository's buckets, 32 bytes each, zeros for one without entries.
    package func bucketHashes(of name: RepositoryName, in registry: RegistryID) async throws -> [UInt8] {
        try await self.settled { session in
            var hashes = [UInt8](repeating: 0, count: Self.stateBuckets * 32)
            guard let repository = try Self.repository(name, in: registry, session) else { return hashes }
            for row in try session.rows("SELECT bucket, hash FROM state_bucket WHERE repository = ?", .integer(repository)) {
                let start = Int(row.integer(0)) * 32
                hashes.replaceSubrange(start..<start + 32, with: row.blob(1))
            }
            return hashes
        }
    }

    /// The entries of some buckets of a repository.
    package func stateEntries(of name: RepositoryName, in registry: RegistryID, buckets: [Int]) async throws -> [StateEntry] {
        try await self.settled { session in
            guard let repository = try Self.repository(name, in: registry, session) else { return [] }
            return try buckets.flatMap { bucket in
                try session.rows(
                    "SELECT kind, name, value FROM state_entry WHERE repository = ? AND bucket = ? AND kind < 2 ORDER BY kind, name",
                    .integer(repository), .integer(Int64(bucket))
                ).compactMap { row in
                    let digests = try row.text(2).split(separator: " ").map { try Digest($0) }
                    guard let kind = StateEntry.Kind(rawValue: row.integer(0)), let digest = digests.first else { return nil }
                    return StateEntry(kind: kind, name: row.text(1), digest: digest, absent: Array(digests.dropFirst()))
                }
            }
        }
    }

    /// Manifests that are listed below an entry and are not here.
    package func absentManifests(of name: RepositoryName, in registry: RegistryID) async throws -> [Digest] {
        try await self.settled { session in
            guard let repository = try Self.repository(name, in: registry, session) else { return [] }
            let rows = try session.rows(
                "SELECT value FROM state_entry WHERE repository = ? AND instr(value, ' ') > 0", .integer(repository))
            return try Set(rows.flatMap { try $0.text(0).split(separator: " ").dropFirst().map { try Digest($0) } }).sorted()
        }
    }

    /// Manifests in use that need a blob their repository does not hold any more: damage that was taken out of service.
    package func incompleteManifests(in registry: RegistryID) async throws -> [(repository: RepositoryName, digest: Digest)] {
        try await self.database.read { session in
            try session.rows(
                """
                SELECT DISTINCT repository.name, entry.manifest FROM manifest_entry AS entry JOIN repository ON repository.id = entry.repository
                WHERE registry = ? AND entry.kind = 0
                    AND NOT EXISTS (SELECT 1 FROM repository_blob AS link
                        WHERE link.repository = entry.repository AND link.digest = entry.digest)
                    AND (EXISTS (SELECT 1 FROM tag WHERE tag.repository = entry.repository AND tag.digest = entry.manifest)
                        OR EXISTS (SELECT 1 FROM manifest_entry AS list
                            WHERE list.repository = entry.repository AND list.digest = entry.manifest AND list.kind = 1)
                        OR EXISTS (SELECT 1 FROM manifest
                            WHERE manifest.repository = entry.repository AND manifest.digest = entry.manifest AND subject IS NOT NULL))
                """, .integer(registry.value)
            ).map { (try RepositoryName($0.text(0)), try Digest($0.text(1))) }
        }
    }

    private static func summary(
        of registry: RegistryID, isSelected: (RepositoryName) -> Bool, _ session: any SQLReader
    ) throws -> RegistryStateSummary {
        var repositories: [RegistryStateSummary.Repository] = []
        var hasher = Digest.Hasher(.sha256)
        for row in try session.rows(
            """
            SELECT name, hash, entries FROM repository LEFT JOIN state_root ON state_root.repository = repository.id
            WHERE registry = ? AND EXISTS (SELECT 1 FROM manifest WHERE manifest.repository = repository.id) ORDER BY name
            """, .integer(registry.value))
        {
            let name = try RepositoryName(row.text(0))
            guard isSelected(name) else { continue }
            let hash = row[1] == .null ? nil : ASCII.hex(row.blob(1))
            if let hash { hasher.update(text: "\(name) \(hash)\n") }
            repositories.append(.init(name: name, hash: hash, entries: Int(row.integer(2))))
        }
        return RegistryStateSummary(root: hasher.finish().hex, repositories: repositories, head: try ChangeLog.head(in: session))
    }

    // MARK: Keeping hashes up to date

    /// Reads where every hash is up to date: at once, or in the transaction that has computed the last of them.
    func settled<Value: Sendable>(_ body: @escaping @Sendable (any SQLReader) throws -> Value) async throws -> Value {
        if let value = try await self.database.read({ try Self.isSettled($0) ? try body($0) : nil }) { return value }
        while true {
            let value = try await self.database.write { session in
                try Self.settle(session)
                return try Self.isSettled(session) ? try body(session) : nil
            }
            if let value { return value }
            try Task.checkCancellation()
        }
    }

    private static func isSettled(_ session: any SQLReader) throws -> Bool {
        try session.row(
            """
            SELECT 1 WHERE EXISTS (SELECT 1 FROM state_dirty) OR EXISTS (SELECT 1 FROM state_bucket WHERE hash IS NULL)
                OR EXISTS (SELECT 1 FROM state_root WHERE hash IS NULL)
            """) == nil
    }

    /// A bounded amount of work: names first, then buckets, then roots.
    private static func settle(_ session: any SQLWriter) throws {
        try self.spreadChildren(session)
        guard try self.settleNames(session) else { return }
        guard try self.settleBuckets(session) else { return }
        try self.settleRoots(session)
    }

    /// A manifest that came or went below an index concerns whatever reaches that index.
    private static func spreadChildren(_ session: any SQLWriter) throws {
        let rows = try session.rows("SELECT repository, name FROM state_dirty WHERE kind = 2 LIMIT ?", .integer(Int64(self.namesAtOnce)))
        for row in rows {
            try session.execute(
                """
                INSERT INTO state_dirty
                WITH RECURSIVE above (digest) AS (
                    SELECT ?2 UNION SELECT entry.manifest FROM above
                        JOIN manifest_entry AS entry ON entry.repository = ?1 AND entry.digest = above.digest AND entry.kind = 1)
                SELECT repository, 0, name FROM tag WHERE repository = ?1 AND digest IN (SELECT digest FROM above)
                UNION SELECT repository, 1, digest FROM manifest
                    WHERE repository = ?1 AND subject IS NOT NULL AND digest IN (SELECT digest FROM above)
                ON CONFLICT DO NOTHING
                """, row[0], row[1])
            try session.execute("DELETE FROM state_dirty WHERE repository = ? AND kind = 2 AND name = ?", row[0], row[1])
        }
    }

    private struct EntryChange: Encodable {
        let repository: Int64
        let bucket: Int
        let kind: Int64
        let name: String
        let value: String?
    }

    /// - Returns: whether no names are left.
    private static func settleNames(_ session: any SQLWriter) throws -> Bool {
        let rows = try session.rows(
            """
            SELECT dirty.repository, dirty.kind, dirty.name, coalesce(tag.digest, manifest.digest),
                EXISTS (SELECT 1 FROM manifest_entry AS entry WHERE entry.repository = dirty.repository
                    AND entry.manifest = coalesce(tag.digest, manifest.digest) AND entry.kind = 1),
                CASE dirty.kind
                    WHEN 3 THEN (SELECT nullif(locks, 0) FROM repository WHERE id = dirty.repository)
                    WHEN 4 THEN (SELECT nullif(locks, 0) FROM manifest WHERE repository = dirty.repository AND digest = dirty.name)
                    WHEN 5 THEN (SELECT nullif(locks, 0) FROM tag WHERE repository = dirty.repository AND name = dirty.name) END
            FROM state_dirty AS dirty
            LEFT JOIN tag ON dirty.kind = 0 AND tag.repository = dirty.repository AND tag.name = dirty.name
            LEFT JOIN manifest ON dirty.kind = 1 AND manifest.repository = dirty.repository AND manifest.digest = dirty.name
            WHERE dirty.kind != 2 ORDER BY dirty.repository, dirty.kind, dirty.name LIMIT ?
            """, .integer(Int64(self.namesAtOnce)))
        guard let last = rows.last else { return true }
        let changes = try rows.map { row in
            // What is kept of a conflict is each end's own.
            let isTag = row.integer(1) == 0 || row.integer(1) == 5
            var value = isTag && ConflictTag.isReserved(row.text(2)) ? nil : row.optionalText(3)
            if row.integer(1) > 2 { value = isTag && ConflictTag.isReserved(row.text(2)) ? nil : row.optionalInteger(5).map(String.init) }
            if let digest = value, row.flag(4) {
                value = try ([digest] + self.absent(below: digest, in: row.integer(0), session)).joined(separator: " ")
            }
            return EntryChange(
                repository: row.integer(0), bucket: self.bucket(of: row.text(2), kind: row.integer(1)), kind: row.integer(1),
                name: row.text(2), value: value)
        }
        // One statement for all of them: after an upgrade there are as many as there are tags.
        let json = SQLValue.text(String(decoding: try JSONEncoder().encode(changes), as: UTF8.self))
        let columns = "value ->> 'repository', value ->> 'bucket', value ->> 'kind', value ->> 'name'"
        try session.execute("DELETE FROM state_entry WHERE (repository, bucket, kind, name) IN (SELECT \(columns) FROM json_each(?))", json)
        try session.execute(
            "INSERT INTO state_entry SELECT \(columns), value ->> 'value' FROM json_each(?) WHERE value ->> 'value' IS NOT NULL", json)
        try session.execute(
            """
            INSERT INTO state_bucket (repository, bucket)
            SELECT DISTINCT value ->> 'repository', value ->> 'bucket' FROM json_each(?) WHERE true
            ON CONFLICT DO UPDATE SET hash = NULL
            """, json)
        try session.execute(
            """
            INSERT INTO state_root (repository) SELECT DISTINCT value ->> 'repository' FROM json_each(?) WHERE true
            ON CONFLICT DO UPDATE SET hash = NULL
            """, json)
        try session.execute(
            "DELETE FROM state_dirty WHERE kind != 2 AND (repository, kind, name) <= (?, ?, ?)", last[0], last[1], last[2])
        return rows.count < self.namesAtOnce
    }

    /// The first ten bits of the hash of kind and name.
    private static func bucket(of name: String, kind: Int64) -> Int {
        var hasher = Digest.Hasher(.sha256)
        hasher.update(text: "\(kind) \(name)")
        return (Int(hasher.finish().hex.prefix(4), radix: 16) ?? 0) >> 6
    }

    private static func absent(below digest: String, in repository: Int64, _ session: any SQLReader) throws -> [String] {
        try session.rows(
            """
            WITH RECURSIVE reached (digest) AS (
                SELECT ?2 UNION SELECT entry.digest FROM reached
                    JOIN manifest_entry AS entry ON entry.repository = ?1 AND entry.manifest = reached.digest AND entry.kind = 1)
            SELECT digest FROM reached WHERE NOT EXISTS (
                SELECT 1 FROM manifest WHERE manifest.repository = ?1 AND manifest.digest = reached.digest) ORDER BY digest
            """, .integer(repository), .text(digest)
        ).map { $0.text(0) }
    }

    private static func settleBuckets(_ session: any SQLWriter) throws -> Bool {
        let open = try session.rows(
            "SELECT repository, bucket FROM state_bucket WHERE hash IS NULL LIMIT ?", .integer(Int64(self.bucketsAtOnce)))
        for row in open {
            let entries = try session.rows(
                "SELECT kind, name, value FROM state_entry WHERE repository = ? AND bucket = ? ORDER BY kind, name", row[0], row[1])
            guard !entries.isEmpty else {
                try session.execute("DELETE FROM state_bucket WHERE repository = ? AND bucket = ?", row[0], row[1])
                continue
            }
            var hasher = Digest.Hasher(.sha256)
            for entry in entries { hasher.update(text: "\(entry.integer(0)) \(entry.text(1)) \(entry.text(2))\n") }
            try session.execute(
                "UPDATE state_bucket SET hash = ?, entries = ? WHERE repository = ? AND bucket = ?", .blob(hasher.finish().bytes),
                .integer(Int64(entries.count)), row[0], row[1])
        }
        return open.count < self.bucketsAtOnce
    }

    private static func settleRoots(_ session: any SQLWriter) throws {
        for row in try session.rows("SELECT repository FROM state_root WHERE hash IS NULL") {
            let buckets = try session.rows(
                "SELECT bucket, hash, entries FROM state_bucket WHERE repository = ? ORDER BY bucket", row[0])
            guard !buckets.isEmpty else {
                try session.execute("DELETE FROM state_root WHERE repository = ?", row[0])
                continue
            }
            var hasher = Digest.Hasher(.sha256)
            for bucket in buckets { hasher.update(text: "\(bucket.integer(0)) \(ASCII.hex(bucket.blob(1)))\n") }
            try session.execute(
                "UPDATE state_root SET hash = ?, entries = ? WHERE repository = ?", .blob(hasher.finish().bytes),
                .integer(buckets.reduce(0) { $0 + $1.integer(2) }), row[0])
        }
    }
}

extension Digest.Hasher {
    fileprivate mutating func update(text: String) {
        var text = text
        text.withUTF8 { self.update(UnsafeRawBufferPointer($0)) }
    }
}

extension Digest {
    /// The hash itself.
    fileprivate var bytes: [UInt8] {
        var result: [UInt8] = []
        var rest = Substring(self.hex)
        while !rest.isEmpty {
            result.append(UInt8(rest.prefix(2), radix: 16) ?? 0)
            rest = rest.dropFirst(2)
        }
        return result
    }
}
