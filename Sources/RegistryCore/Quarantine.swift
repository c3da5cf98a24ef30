// Takes damaged content out of service without destroying it, so that a push or a synchronisation brings it back.

internal import OCI
package import Persistence

extension ContentVerifier {
    /// Removes the rows of what is damaged, then moves the files aside.
    ///
    /// Rows go first: what the database names exists on disk at every moment, and what a crash leaves behind is a file nobody names.
    /// Nothing is written to the change log: replicas that hold good copies are not told to delete them.
    ///
    /// - Parameters:
    ///   - setAside: moves a blob's file; returns where it is now, or `nil` when there was none.
    ///   - keep: keeps the bytes of a damaged manifest under a name; returns where.
    package func quarantine(
        _ report: inout VerificationReport, setAside: @Sendable (StoredBlob) async throws -> String?,
        keep: @Sendable (_ name: String, _ bytes: [UInt8]) async throws -> String
    ) async throws {
        var seen: Set<String> = []
        for damage in report.damage {
            switch damage.problem {
            case .fileMissing, .wrongSize, .wrongDigest, .unreadable:
                guard seen.insert(damage.subject).inserted else { continue }
                // What lies in a row goes with it: it is kept first.
                if let (digest, content) = try await self.smallContent(damage.subject) {
                    report.quarantined.append(try await keep("\(digest.algorithm.rawValue)-\(digest.hex)", content))
                }
                guard let blob = try await self.removeBlob(damage.subject) else { continue }
                self.store.versions.contentRemoved()
                if !blob.isInRow, let place = try await setAside(blob) { report.quarantined.append(place) }
            case .manifestDamaged, .manifestEntries:
                guard seen.insert("manifest \(damage.subject)").inserted else { continue }
                if let bytes = try await self.manifestBytes(damage.subject), !bytes.isEmpty {
                    let name = damage.subject.filter { $0.isASCII && ($0.isLetter || $0.isNumber) }
                    report.quarantined.append(try await keep(String(name.prefix(160)), bytes))
                }
                try await self.removeManifest(damage.subject)
                self.store.versions.contentRemoved()
            case .linkWithoutBlob:
                try await self.store.database.write {
                    _ = try $0.execute("DELETE FROM repository_blob WHERE digest = ?", .text(damage.subject))
                }
            case .tagWithoutManifest:
                try await self.store.database.write { session in
                    _ = try session.execute(
                        """
                        DELETE FROM tag WHERE name = ? AND NOT EXISTS (SELECT 1 FROM manifest
                            WHERE manifest.repository = tag.repository AND manifest.digest = tag.digest)
                        """, .text(damage.subject))
                }
                self.store.versions.tagsMoved()
            case .deletedManifest:
                if let bytes = try await self.removeDeleted(damage.subject, in: damage.repository), !bytes.isEmpty {
                    let name = damage.subject.filter { $0.isASCII && ($0.isLetter || $0.isNumber) }
                    report.quarantined.append(try await keep("deleted-" + String(name.prefix(150)), bytes))
                }
            case .blobNotLinked, .deletedContent, .database:
                // The first two end with the next push of that blob; the third is for a copy from a backup.
                continue
            }
        }
        // What a manifest pointed at that is gone itself.
        try await self.store.database.write { session in
            _ = try session.execute(
                """
                DELETE FROM manifest_entry WHERE NOT EXISTS (SELECT 1 FROM manifest
                    WHERE manifest.repository = manifest_entry.repository AND manifest.digest = manifest_entry.manifest)
                """)
        }
    }

    /// The bytes of a blob that lie in its row, whatever they are.
    private func smallContent(_ digest: String) async throws -> (digest: Digest, content: [UInt8])? {
        try await self.store.database.read { session in
            try session.row(
                "SELECT bytes FROM blob JOIN small_content ON small_content.id = blob.small WHERE digest = ? AND generation = ?",
                .text(digest), .text(StoredBlob.inRow)
            ).map { (try Digest(digest), $0.blob(0)) }
        }
    }

    private func removeBlob(_ digest: String) async throws -> StoredBlob? {
        try await self.store.database.write { session -> StoredBlob? in
            guard let row = try session.row("SELECT size, generation FROM blob WHERE digest = ?", .text(digest)) else { return nil }
            try session.execute("DELETE FROM repository_blob WHERE digest = ?", .text(digest))
            try session.execute("DELETE FROM blob WHERE digest = ?", .text(digest))
            return StoredBlob(digest: try Digest(digest), size: row.integer(0), generation: row.text(1))
        }
    }

    private func manifestBytes(_ digest: String) async throws -> [UInt8]? {
        try await self.store.database.read { try $0.row("SELECT bytes FROM manifest_content WHERE digest = ?", .text(digest))?.blob(0) }
    }

    /// Takes the manifest out of every repository, with the tags that name it.
    private func removeManifest(_ digest: String) async throws {
        try await self.store.database.write { session in
            try session.execute("DELETE FROM tag WHERE digest = ?", .text(digest))
            try session.execute("DELETE FROM manifest WHERE digest = ?", .text(digest))
            _ = try session.execute("DELETE FROM manifest_content WHERE digest = ?", .text(digest))
        }
    }
}
