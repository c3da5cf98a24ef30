// Proves that what the database names is what lies on disk: every byte is read and hashed again, every reference followed.

internal import NIOCore
internal import OCI
internal import Persistence

/// Something that is not as it was acknowledged.
package struct Damage: Sendable, Hashable {
    /// Kinds of damage, as they are printed.
    package enum Problem: String, Sendable, CaseIterable {
        case fileMissing = "file-missing"
        case wrongSize = "wrong-size"
        case wrongDigest = "wrong-digest"
        case unreadable = "unreadable"
        case manifestDamaged = "manifest-damaged"
        case manifestEntries = "manifest-entries"
        case blobNotLinked = "blob-not-linked"
        case linkWithoutBlob = "link-without-blob"
        case tagWithoutManifest = "tag-without-manifest"
        case deletedManifest = "deleted-manifest-damaged"
        case deletedContent = "deleted-content-missing"
        case database = "database"
    }

    package let problem: Problem
    /// What is damaged: a digest, a tag, a table.
    package let subject: String
    /// Where it is linked; `nil` for content that is shared.
    package let repository: String?
    package let message: String
}

/// What was looked at and what was found.
package struct VerificationReport: Sendable, Equatable {
    package var blobs = 0
    package var manifests = 0
    package var tags = 0
    /// Bytes read and hashed.
    package var bytes: Int64 = 0
    /// Files no row names: garbage, and no damage.
    package var strayFiles = 0
    package var damage: [Damage] = []
    /// What was moved aside, as paths in the data folder or as digests.
    package var quarantined: [String] = []

    package init() {}
}

/// Looks through everything a registry holds, in bounded memory.
package struct ContentVerifier: Sendable {
    /// Rows looked at in one read of the database.
    static let page = 200
    /// Bytes read at a time.
    private static let segment = 1 << 20

    let store: RegistryStore
    /// Called with each number of bytes that has been read: to show progress, and to wait where the disk is wanted for something else.
    let onBytes: @Sendable (Int64) async throws -> Void

    package init(store: RegistryStore, onBytes: @escaping @Sendable (Int64) async throws -> Void = { _ in }) {
        self.store = store
        self.onBytes = onBytes
    }

    /// Bytes that ``verify()`` will read.
    package func size() async throws -> Int64 {
        try await self.store.database.read { session in
            try session.row(
                """
                SELECT (SELECT coalesce(sum(size), 0) FROM blob) + (SELECT coalesce(sum(length(bytes)), 0) FROM manifest_content)
                    + (SELECT coalesce(sum(length(bytes)), 0) FROM deleted_manifest)
                """)?.integer(0) ?? 0
        }
    }

    package func verify() async throws -> VerificationReport {
        var report = VerificationReport()
        try await self.verifyDatabase(&report)
        try await self.verifyBlobs(&report)
        try await self.verifyManifests(&report)
        try await self.verifyReferences(&report)
        try await self.verifyDeleted(&report)
        try await self.countStrayFiles(&report)
        return report
    }

    private func verifyDatabase(_ report: inout VerificationReport) async throws {
        let (integrity, keys) = try await self.store.database.read { session in
            (
                try session.rows("PRAGMA integrity_check(100)").map { $0.text(0) },
                try session.rows("PRAGMA foreign_key_check").map { $0.text(0) }
            )
        }
        for line in integrity where line != "ok" {
            report.damage.append(Damage(problem: .database, subject: "outport.db", repository: nil, message: line))
        }
        for table in keys {
            report.damage.append(
                Damage(problem: .database, subject: table, repository: nil, message: "a row of \(table) points at a row that is not there"))
        }
    }

    // MARK: Blobs

    private func verifyBlobs(_ report: inout VerificationReport) async throws {
        var last = ""
        while true {
            let after = last
            let rows = try await self.store.database.read {
                try $0.rows(
                    "SELECT digest, size, generation FROM blob WHERE digest > ? ORDER BY digest LIMIT ?", .text(after),
                    .integer(Int64(Self.page)))
            }
            for row in rows {
                report.blobs += 1
                guard let digest = try? Digest(row.text(0)) else {
                    report.damage.append(
                        Damage(problem: .database, subject: row.text(0), repository: nil, message: "a row of blob has no valid digest"))
                    continue
                }
                let blob = StoredBlob(digest: digest, size: row.integer(1), generation: row.text(2))
                if let (problem, message) = try await self.problem(of: blob, &report.bytes) {
                    report.damage.append(Damage(problem: problem, subject: digest.description, repository: nil, message: message))
                }
            }
            guard rows.count == Self.page, let end = rows.last else { return }
            last = end.text(0)
        }
    }

    private func problem(of blob: StoredBlob, _ bytes: inout Int64) async throws -> (Damage.Problem, String)? {
        let reader: any BlobReader
        do {
            reader = try await self.store.open(blob)
        } catch let error as PersistenceError {
            return error.code == .notFound ? (.fileMissing, "its file is not there") : (.unreadable, error.description)
        }
        if let file = reader.file {
            do {
                let size = try file.size()
                guard size == blob.size else { return (.wrongSize, "its file has \(size) bytes, the database says \(blob.size)") }
            } catch { return (.unreadable, error.description) }
        }
        var hasher = Digest.Hasher(blob.digest.algorithm)
        var offset: Int64 = 0
        while offset < blob.size {
            let part: ByteBuffer
            do {
                part = try await reader.read(at: offset, count: Self.segment)
            } catch let error as PersistenceError { return (.unreadable, error.description) }
            guard part.readableBytes > 0 else { return (.wrongSize, "its content ends after \(offset) of \(blob.size) bytes") }
            part.withUnsafeReadableBytes { hasher.update($0) }
            offset += Int64(part.readableBytes)
            bytes += Int64(part.readableBytes)
            try await self.onBytes(Int64(part.readableBytes))
        }
        let actual = hasher.finish()
        return actual == blob.digest ? nil : (.wrongDigest, "its content has digest \(actual)")
    }

    private func countStrayFiles(_ report: inout VerificationReport) async throws {
        for shelf in try await self.store.blobs.shelves() {
            let stored = try await self.store.blobs.stored(on: shelf).map(\.blob)
            guard !stored.isEmpty else { continue }
            report.strayFiles += try await self.store.database.read { session in
                try stored.count { blob in
                    try session.row("SELECT generation FROM blob WHERE digest = ?", SQLValue(blob.digest))?.text(0) != blob.generation
                }
            }
        }
    }

    // MARK: Manifests

    private func verifyManifests(_ report: inout VerificationReport) async throws {
        var last: Int64 = 0
        while true {
            let after = last
            // One at a time: each may have four megabytes.
            let row = try await self.store.database.read {
                try $0.row("SELECT rowid, digest, bytes FROM manifest_content WHERE rowid > ? ORDER BY rowid LIMIT 1", .integer(after))
            }
            guard let row else { return }
            last = row.integer(0)
            let (digest, bytes) = (row.text(1), row.blob(2))
            report.manifests += 1
            report.bytes += Int64(bytes.count)
            try await self.onBytes(Int64(bytes.count))
            if let problem = Self.problem(of: bytes, digest) {
                report.damage.append(Damage(problem: .manifestDamaged, subject: digest, repository: nil, message: problem))
            } else {
                try await self.verifyEntries(of: digest, bytes, &report)
            }
        }
    }

    static func problem(of bytes: [UInt8], _ digest: String) -> String? {
        guard let expected = try? Digest(digest) else { return "its digest is not well formed" }
        let actual = Digest.of(bytes, algorithm: expected.algorithm)
        return actual == expected ? nil : bytes.isEmpty ? "it has no bytes" : "its bytes have digest \(actual)"
    }

    /// What the database says a manifest points at must be what its bytes say: the collector believes the database.
    private func verifyEntries(of digest: String, _ bytes: [UInt8], _ report: inout VerificationReport) async throws {
        let rows = try await self.store.database.read { session in
            try session.rows(
                """
                SELECT repository.id, repository.name, media_type, size FROM manifest JOIN repository ON repository.id = manifest.repository
                WHERE digest = ?
                """, .text(digest)
            ).map { row in
                let entries = try session.rows(
                    "SELECT kind, digest FROM manifest_entry WHERE repository = ? AND manifest = ? AND kind < 2", row[0], .text(digest))
                return (row, Set(entries.map { "\($0.integer(0)) \($0.text(1))" }))
            }
        }
        var found: [Damage] = []
        for (row, entries) in rows {
            func note(_ message: String) {
                found.append(Damage(problem: .manifestEntries, subject: digest, repository: row.text(1), message: message))
            }
            guard let type = try? MediaType(row.text(2)), let manifest = try? Manifest(parsing: bytes, declared: type) else {
                note("its bytes are no manifest of type \(row.text(2))")
                continue
            }
            let wanted = Set(manifest.requiredBlobs.map { "0 \($0.digest)" } + manifest.manifests.map { "1 \($0.digest)" })
            if wanted != entries { note("the database lists other content than its bytes name") }
            if row.integer(3) != Int64(bytes.count) { note("it has \(bytes.count) bytes, the database says \(row.integer(3))") }
        }
        report.damage += found
    }

    // MARK: References

    private func verifyReferences(_ report: inout VerificationReport) async throws {
        let (tags, found) = try await self.store.database.read { session in
            var found: [Damage] = []
            func look(_ problem: Damage.Problem, _ message: String, _ sql: String) throws {
                for row in try session.rows(sql) {
                    found.append(Damage(problem: problem, subject: row.text(1), repository: row.optionalText(0), message: message))
                }
            }
            try look(
                .tagWithoutManifest, "the manifest it names is not in the repository",
                """
                SELECT repository.name, tag.name FROM tag LEFT JOIN repository ON repository.id = tag.repository
                WHERE NOT EXISTS (SELECT 1 FROM manifest WHERE manifest.repository = tag.repository AND manifest.digest = tag.digest)
                """)
            try look(
                .manifestDamaged, "its bytes are not in the database",
                """
                SELECT repository.name, manifest.digest FROM manifest LEFT JOIN repository ON repository.id = manifest.repository
                WHERE NOT EXISTS (SELECT 1 FROM manifest_content WHERE manifest_content.digest = manifest.digest)
                """)
            try look(
                .linkWithoutBlob, "the repository links to it but there is no such blob",
                """
                SELECT repository.name, link.digest FROM repository_blob AS link LEFT JOIN repository ON repository.id = link.repository
                WHERE NOT EXISTS (SELECT 1 FROM blob WHERE blob.digest = link.digest)
                """)
            try look(
                .blobNotLinked, "a manifest of the repository needs it; push it again",
                """
                SELECT DISTINCT repository.name, entry.digest FROM manifest_entry AS entry
                    LEFT JOIN repository ON repository.id = entry.repository
                WHERE entry.kind = 0 AND NOT EXISTS (SELECT 1 FROM repository_blob AS link
                    WHERE link.repository = entry.repository AND link.digest = entry.digest)
                """)
            return (Int(try session.row("SELECT count(*) FROM tag")?.integer(0) ?? 0), found)
        }
        report.tags = tags
        report.damage += found
    }
}
