// What was deleted and is kept must be as whole as what was not: it is promised back.

internal import OCI
internal import Persistence

extension ContentVerifier {
    /// Hashes kept manifests, compares what the database says they need with their bytes, and looks for the blobs among it.
    func verifyDeleted(_ report: inout VerificationReport) async throws {
        var last: Int64 = 0
        while true {
            let after = last
            // One at a time: each may have four megabytes.
            let found = try await self.store.database.read { session in
                try session.row(
                    "SELECT id, repository, digest, media_type, bytes FROM deleted_manifest WHERE id > ? ORDER BY id LIMIT 1",
                    .integer(after)
                ).map { row in
                    (
                        row: row,
                        entries: try session.rows(
                            """
                            SELECT kind, digest, EXISTS (SELECT 1 FROM blob WHERE blob.digest = deleted_entry.digest) FROM deleted_entry
                            WHERE manifest = ? AND kind < 2
                            """, row[0])
                    )
                }
            }
            guard let (row, entries) = found else { return }
            last = row.integer(0)
            let (repository, digest, bytes) = (row.text(1), row.text(2), row.blob(4))
            report.manifests += 1
            report.bytes += Int64(bytes.count)
            try await self.onBytes(Int64(bytes.count))
            func note(_ problem: Damage.Problem, _ subject: String, _ message: String) {
                report.damage.append(Damage(problem: problem, subject: subject, repository: repository, message: message))
            }
            if let problem = Self.problem(of: bytes, digest) {
                note(.deletedManifest, digest, "deleted and kept: \(problem)")
                continue
            }
            guard let type = try? MediaType(row.text(3)), let manifest = try? Manifest(parsing: bytes, declared: type) else {
                note(.deletedManifest, digest, "deleted and kept: its bytes are no manifest of type \(row.text(3))")
                continue
            }
            let wanted = Set(manifest.requiredBlobs.map { "0 \($0.digest)" } + manifest.manifests.map { "1 \($0.digest)" })
            if wanted != Set(entries.map { "\($0.integer(0)) \($0.text(1))" }) {
                note(.deletedManifest, digest, "deleted and kept: the database lists other content than its bytes name")
                continue
            }
            for entry in entries where entry.integer(0) == 0 && !entry.flag(2) {
                note(.deletedContent, entry.text(1), "the deleted manifest \(digest) needs it to be restored; push it again")
            }
        }
    }

    /// Takes a damaged kept manifest away; its bytes, if it has any.
    func removeDeleted(_ digest: String, in repository: String?) async throws -> [UInt8]? {
        try await self.store.database.write { session in
            let bytes = try session.row(
                "SELECT bytes FROM deleted_manifest WHERE digest = ? AND repository = ?", .text(digest), .text(repository ?? ""))?.blob(0)
            try session.execute("DELETE FROM deleted_manifest WHERE digest = ? AND repository = ?", .text(digest), .text(repository ?? ""))
            return bytes
        }
    }
}
