// What a collection would remove, found by the very statements that remove it.

internal import OCI
internal import Persistence

/// Something that would go, and why.
package struct GarbageItem: Sendable, Hashable {
    /// What it is.
    package enum Kind: String, Sendable, CaseIterable {
        case upload, manifest, link, blob, file
        /// A manifest that was deleted and kept.
        case deleted
    }

    package let kind: Kind
    /// A digest, or the name of an upload.
    package let subject: String
    package let repository: String?
    /// Bytes that would be free afterwards.
    package let bytes: Int64
    package let reason: String
}

extension GarbageCollector {
    /// Ends a transaction without applying it.
    private struct Undo: Error { let items: [GarbageItem] }

    /// What ``collect(_:)`` would do now. Nothing is changed.
    ///
    /// The rows are removed in an operation that is undone at its end: one removal makes the next thing unreached, and only the
    /// database knows it all. The writer is held meanwhile, so this is for a registry at rest.
    package func survey(_ policy: GarbagePolicy) async throws -> [GarbageItem] {
        let now = self.store.clock.milliseconds()
        var items: [GarbageItem] = []
        for (name, modified) in try await self.store.blobs.staged(in: .uploads) where modified < now - policy.uploadAge {
            items.append(
                GarbageItem(
                    kind: .upload, subject: name.text, repository: nil, bytes: 0,
                    reason: "no byte has arrived since \(Timestamp.text(milliseconds: modified))"))
        }
        for (name, modified) in try await self.staleTransfers(policy) {
            items.append(
                GarbageItem(
                    kind: .upload, subject: name.text, repository: nil, bytes: 0,
                    reason: "no byte has come from the parent since \(Timestamp.text(milliseconds: modified))"))
        }
        for (name, begun) in self.uploads.empty(since: now - policy.uploadAge) {
            items.append(
                GarbageItem(
                    kind: .upload, subject: name.text, repository: nil, bytes: 0,
                    reason: "no byte has arrived since it began at \(Timestamp.text(milliseconds: begun))"))
        }
        let rows: [GarbageItem]
        do {
            rows = try await self.store.database.write { session in throw Undo(items: try Self.remove(policy, now, session)) }
        } catch let undo as Undo {
            rows = undo.items
        }
        items += rows
        items += try await self.strayFiles(before: now - policy.blobAge, besides: rows)
        return items
    }

    private static func remove(_ policy: GarbagePolicy, _ now: Int64, _ session: any SQLWriter) throws -> [GarbageItem] {
        var items: [GarbageItem] = []
        func each(_ sql: String, _ arguments: [SQLValue], _ remove: (SQLRow) throws -> GarbageItem) throws {
            while true {
                let rows = try session.rows(sql, arguments + [200])
                guard !rows.isEmpty else { return }
                for row in rows { items.append(try remove(row)) }
            }
        }
        for (registry, age) in policy.untaggedAges {
            try each(Self.unreachedManifests.all, [SQLValue(registry?.value), .integer(now - age), .integer(now)]) { row in
                let size = try session.row("SELECT size FROM manifest WHERE repository = ? AND digest = ?", row[2], row[3])?.integer(0)
                _ = try RegistryStore.remove(
                    Digest(row.text(3)), repository: row.integer(2), name: RepositoryName(row.text(1)),
                    registry: RegistryID(row.integer(0)), origin: "gc", now: now, purging: true, session)
                return GarbageItem(
                    kind: .manifest, subject: row.text(3), repository: row.text(1), bytes: size ?? 0,
                    reason: "no tag, no index and no subject reaches it")
            }
        }
        try each(SoftDelete.expiredManifests, [.integer(now)]) { row in
            try SoftDelete.purge([row], session)
            return GarbageItem(
                kind: .deleted, subject: row.text(2), repository: row.text(1), bytes: row.integer(3),
                reason: "it was deleted, and the days of the registry's soft-delete policy are over")
        }
        try each(Self.unneededLinks.all, [.integer(now - policy.blobAge), .integer(now), .null]) { row in
            let name = try session.row("SELECT name FROM repository WHERE id = ?", row[0])?.text(0)
            try session.execute("DELETE FROM repository_blob WHERE repository = ? AND digest = ?", row[0], row[1])
            return GarbageItem(
                kind: .link, subject: row.text(1), repository: name, bytes: 0, reason: "no manifest of the repository needs the blob")
        }
        try each(Self.unlinkedBlobs.all, [.null, .integer(now), .null]) { row in
            try session.execute("DELETE FROM blob WHERE digest = ?", row[0])
            return GarbageItem(
                kind: .blob, subject: row.text(0), repository: nil, bytes: row.integer(1), reason: "no repository links to it")
        }
        return items
    }

    private func strayFiles(before: Int64, besides rows: [GarbageItem]) async throws -> [GarbageItem] {
        // A blob's own file goes with the blob and is counted there.
        let counted = Set(rows.filter { $0.kind == .blob }.map(\.subject))
        var items: [GarbageItem] = []
        for shelf in try await self.store.blobs.shelves() {
            let stored = try await self.store.blobs.stored(on: shelf).filter { $0.modified < before }
            let strays = try await self.store.database.read { session in
                try stored.filter { file in
                    try session.row("SELECT generation FROM blob WHERE digest = ?", SQLValue(file.blob.digest))?.text(0)
                        != file.blob.generation
                }
            }
            for stray in strays where !counted.contains(stray.blob.digest.description) {
                items.append(
                    GarbageItem(
                        kind: .file, subject: stray.blob.digest.description, repository: nil, bytes: stray.blob.size,
                        reason: "no row of the database names this file"))
            }
        }
        return items
    }
}
