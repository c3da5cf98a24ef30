// What was deleted and is kept: listed, and put back whole, in one transaction.

package import OCI
package import Persistence

/// A manifest that was deleted. Times are milliseconds since 1970.
package struct DeletedManifest: Sendable {
    /// Its place in the list.
    package let id: Int64
    package let digest: Digest
    package let mediaType: MediaType
    package let artifactType: String?
    package let imageSize: Int64
    package let created: Int64
    package let deleted: Int64
    /// Tags that were deleted while they named it.
    package let tags: [Tag]
}

/// A tag that was deleted.
package struct DeletedTag: Sendable {
    package let id: Int64
    package let tag: Tag
    package let digest: Digest
    /// Milliseconds since 1970.
    package let deleted: Int64
}

/// What a restore has put back.
package struct RestoredContent: Sendable, Equatable {
    package let manifests: [Digest]
    package let tags: [Tag]
}

extension RegistryStore {
    /// Repositories something was deleted from that is kept, in byte order after `last`.
    package func deletedRepositories(in registry: RegistryID, after last: String?, limit: Int) async throws -> [RepositoryName] {
        try await self.database.read { session in
            try session.rows(
                """
                SELECT repository FROM deleted_manifest WHERE registry = ?1 AND repository > ?2
                UNION SELECT repository FROM deleted_tag WHERE registry = ?1 AND repository > ?2 ORDER BY 1 LIMIT ?3
                """, .integer(registry.value), .text(last ?? ""), .integer(Int64(limit))
            ).map { try RepositoryName($0.text(0)) }
        }
    }

    /// Deleted manifests, the one deleted last at the end; one more than `limit` where there is another page.
    ///
    /// - Throws: `NAME_UNKNOWN` when there is no such repository and nothing deleted from one.
    package func deletedManifests(
        of name: RepositoryName, in registry: RegistryID, after last: Int64, limit: Int
    ) async throws -> [DeletedManifest] {
        try await self.database.read { session in
            try Self.requireRemembered(name, in: registry, session)
            return try session.rows(
                """
                SELECT id, digest, media_type, nullif(artifact_type, ''), image_size, created, deleted FROM deleted_manifest
                    INDEXED BY deleted_manifest_repository
                WHERE registry = ? AND repository = ? AND id > ? ORDER BY id LIMIT ?
                """, .integer(registry.value), SQLValue(name), .integer(last), .integer(Int64(limit) + 1)
            ).map { row in
                let tags = try session.rows(
                    "SELECT DISTINCT name FROM deleted_tag INDEXED BY deleted_tag_digest WHERE registry = ? AND repository = ? AND digest = ? ORDER BY name",
                    .integer(registry.value), SQLValue(name), row[1])
                return DeletedManifest(
                    id: row.integer(0), digest: try Digest(row.text(1)), mediaType: try MediaType(row.text(2)),
                    artifactType: row.optionalText(3), imageSize: row.integer(4), created: row.integer(5), deleted: row.integer(6),
                    tags: try tags.map { try Tag($0.text(0)) })
            }
        }
    }

    /// Deleted tags, the one deleted last at the end; one more than `limit` where there is another page.
    ///
    /// - Throws: `NAME_UNKNOWN` when there is no such repository and nothing deleted from one.
    package func deletedTags(
        of name: RepositoryName, in registry: RegistryID, after last: Int64, limit: Int
    ) async throws -> [DeletedTag] {
        try await self.database.read { session in
            try Self.requireRemembered(name, in: registry, session)
            return try session.rows(
                """
                SELECT id, name, digest, deleted FROM deleted_tag INDEXED BY deleted_tag_repository
                WHERE registry = ? AND repository = ? AND id > ? ORDER BY id LIMIT ?
                """, .integer(registry.value), SQLValue(name), .integer(last), .integer(Int64(limit) + 1)
            ).map {
                DeletedTag(id: $0.integer(0), tag: try Tag($0.text(1)), digest: try Digest($0.text(2)), deleted: $0.integer(3))
            }
        }
    }

    private static func requireRemembered(_ name: RepositoryName, in registry: RegistryID, _ session: any SQLReader) throws {
        if try self.repository(name, in: registry, session) != nil { return }
        for table in ["deleted_manifest", "deleted_tag"] {
            if try session.row(
                "SELECT 1 FROM \(table) WHERE registry = ? AND repository = ? LIMIT 1", .integer(registry.value), SQLValue(name)) != nil
            {
                return
            }
        }
        throw RegistryError(
            .nameUnknown, "repository \(name) is not known to this registry, and nothing is kept that was deleted from one of that name",
            detail: ["name": name.description])
    }

    // MARK: Restoring

    /// Puts a manifest back, with the manifests an index lists and everything that refers to it, and tags that named it.
    ///
    /// - Parameters:
    ///   - tag: the tag to set; `nil` for those that were deleted together with the manifest, as far as their names are free.
    ///   - replacing: whether a tag that is there and names something else may be moved.
    /// - Throws: `MANIFEST_UNKNOWN` when it is neither here nor kept; `DENIED` with 409 for a tag that is in use, and while its subject
    ///   is deleted; a lock's refusal.
    package func restore(
        _ digest: Digest, tag: Tag?, replacing: Bool, in name: RepositoryName, of registry: RegistryID, origin: String
    ) async throws -> RestoredContent {
        let now = self.clock.milliseconds()
        let restored = try await self.database.write { session in
            let kept = try Self.keptManifest(digest, in: name, of: registry, session)
            let place = try Self.repository(name, in: registry, session)
            let isHere =
                try place.map {
                    try session.row("SELECT 1 FROM manifest WHERE repository = ? AND digest = ?", .integer($0), SQLValue(digest)) != nil
                } ?? false
            guard kept != nil || isHere else {
                throw RegistryError(
                    .manifestUnknown,
                    "manifest \(digest) is neither in repository \(name) nor kept among what was deleted from it: "
                        + "'outport acr manifest list-deleted' lists what is",
                    detail: ["name": name.description, "reference": digest.description])
            }
            if let kept { try Self.requireSubject(of: kept, in: name, of: registry, session) }
            let tags = try tag.map { [$0] } ?? Self.lostTags(of: digest, with: kept, in: name, of: registry, place, session)
            if let tag { try ConflictTag.refuse(tag) }
            if let tag, let place { try Self.requireFree(tag, for: digest, replacing: replacing, name, place, session) }

            let restoration = Restoration(
                repository: try place ?? Self.remake(name, locks: kept?.repositoryLocks ?? [], of: registry, now: now, session), name: name,
                registry: registry, origin: origin, now: now)
            try Self.requireWritable(name, restoration.repository, session)
            let manifests = try restoration.bring(digest, session)
            for tag in tags {
                let locks = try session.row(
                    "SELECT locks FROM deleted_tag WHERE registry = ? AND repository = ? AND name = ? AND digest = ? ORDER BY id DESC",
                    .integer(registry.value), SQLValue(name), SQLValue(tag), SQLValue(digest))?.integer(0)
                try Self.move(
                    tag, to: digest, repository: restoration.repository, name: name, registry: registry, origin: origin, now: now, session)
                if let locks, locks != 0 {
                    try Self.write(
                        ImageLocks(rawValue: locks), to: .tag(name, tag), repository: restoration.repository, registry: registry,
                        origin: origin, now: now, session)
                }
            }
            return RestoredContent(manifests: manifests, tags: tags)
        }
        self.versions.tagsMoved()
        self.activity.signal()
        return restored
    }

    /// What is kept of one manifest.
    fileprivate struct KeptManifest {
        let subject: String?
        let mediaType: MediaType
        let bytes: [UInt8]
        let created: Int64
        let locks: ImageLocks
        let repositoryLocks: ImageLocks
        let deleted: Int64
    }

    fileprivate static func keptManifest(
        _ digest: Digest, in name: RepositoryName, of registry: RegistryID, _ session: any SQLReader
    ) throws -> KeptManifest? {
        try session.row(
            """
            SELECT subject, media_type, bytes, created, locks, repository_locks, deleted FROM deleted_manifest
            WHERE registry = ? AND repository = ? AND digest = ?
            """, .integer(registry.value), SQLValue(name), SQLValue(digest)
        ).map { row in
            KeptManifest(
                subject: row.optionalText(0), mediaType: try MediaType(row.text(1)), bytes: row.blob(2), created: row.integer(3),
                locks: ImageLocks(rawValue: row.integer(4)), repositoryLocks: ImageLocks(rawValue: row.integer(5)),
                deleted: row.integer(6))
        }
    }

    /// A referrer without its subject would be found by nobody.
    private static func requireSubject(
        of kept: KeptManifest, in name: RepositoryName, of registry: RegistryID, _ session: any SQLReader
    ) throws {
        guard let subject = kept.subject, try self.keptManifest(Digest(subject), in: name, of: registry, session) != nil else { return }
        throw RegistryError(
            .denied, "the manifest refers to \(subject), which is deleted, too: restore that one, and what refers to it comes along",
            detail: ["name": name.description, "subject": subject], status: 409)
    }

    /// Tags that went with the manifest and whose names are free.
    private static func lostTags(
        of digest: Digest, with kept: KeptManifest?, in name: RepositoryName, of registry: RegistryID, _ place: Int64?,
        _ session: any SQLReader
    ) throws -> [Tag] {
        guard let kept else { return [] }
        return try session.rows(
            """
            SELECT DISTINCT name FROM deleted_tag WHERE registry = ? AND repository = ? AND digest = ? AND deleted = ?
                AND NOT EXISTS (SELECT 1 FROM tag WHERE tag.repository = ? AND tag.name = deleted_tag.name) ORDER BY name
            """, .integer(registry.value), SQLValue(name), SQLValue(digest), .integer(kept.deleted), SQLValue(place)
        ).map { try Tag($0.text(0)) }
    }

    private static func requireFree(
        _ tag: Tag, for digest: Digest, replacing: Bool, _ name: RepositoryName, _ repository: Int64, _ session: any SQLReader
    ) throws {
        guard
            let current = try session.row(
                "SELECT digest FROM tag WHERE repository = ? AND name = ?", .integer(repository), SQLValue(tag))?.text(0),
            current != digest.description
        else { return }
        guard replacing else {
            throw RegistryError(
                .denied, "tag \(name):\(tag) names \(current) now; restore with --force to move it",
                detail: ["name": name.description, "tag": tag.description, "digest": current], status: 409)
        }
        try self.requireMovable(tag, to: digest, name, repository, session)
    }

    /// Makes a repository that was deleted as it was: one that nobody may read does not come back open.
    private static func remake(
        _ name: RepositoryName, locks: ImageLocks, of registry: RegistryID, now: Int64, _ session: any SQLWriter
    ) throws -> Int64 {
        let repository = try self.ensureRepository(name, in: registry, now: now, session)
        if !locks.isEmpty {
            try session.execute("UPDATE repository SET locks = ? WHERE id = ?", .integer(locks.rawValue), .integer(repository))
        }
        return repository
    }
}

/// One restore under way.
private struct Restoration {
    let repository: Int64
    let name: RepositoryName
    let registry: RegistryID
    let origin: String
    let now: Int64

    /// Puts back a manifest, what it lists below it, and what refers to what comes back, as far as it is kept.
    ///
    /// - Returns: what was put back, children before parents.
    func bring(_ digest: Digest, _ session: any SQLWriter) throws -> [Digest] {
        var done: [Digest] = []
        // Twice on the stack: first for its children, then for itself.
        var stack: [(digest: Digest, isReady: Bool)] = [(digest, false)]
        var seen: Set<Digest> = []
        while let (next, isReady) = stack.popLast() {
            // Others are here already, or were never held.
            guard let kept = try RegistryStore.keptManifest(next, in: self.name, of: self.registry, session) else { continue }
            let new = try NewManifest(kept.bytes, declared: kept.mediaType, expected: next)
            guard isReady else {
                guard seen.insert(next).inserted else { continue }
                stack.append((next, true))
                stack += new.manifest.manifests.map { ($0.digest, false) }
                continue
            }
            try self.place(new, kept, session)
            done.append(next)
            stack += try self.referrers(of: next, session).map { ($0, false) }
        }
        return done
    }

    private func referrers(of digest: Digest, _ session: any SQLReader) throws -> [Digest] {
        try session.rows(
            "SELECT digest FROM deleted_manifest WHERE registry = ? AND repository = ? AND subject = ? ORDER BY id DESC",
            .integer(self.registry.value), SQLValue(self.name), SQLValue(digest)
        ).map { try Digest($0.text(0)) }
    }

    /// Whether the repository had a blob that the manifest need not have, and it is here still: content that is here for another repository
    /// is not for everybody who knows its digest.
    private func had(_ blob: Digest, with manifest: Digest, _ session: any SQLReader) throws -> Bool {
        try session.row(
            """
            SELECT 1 FROM deleted_manifest
                JOIN deleted_entry ON deleted_entry.manifest = deleted_manifest.id AND deleted_entry.digest = ?
                    AND deleted_entry.kind = \(SoftDelete.optionalBlob)
                JOIN blob ON blob.digest = deleted_entry.digest
            WHERE deleted_manifest.registry = ? AND deleted_manifest.repository = ? AND deleted_manifest.digest = ?
            """, SQLValue(blob), .integer(self.registry.value), SQLValue(self.name), SQLValue(manifest)) != nil
    }

    private func place(_ new: NewManifest, _ kept: RegistryStore.KeptManifest, _ session: any SQLWriter) throws {
        for blob in new.manifest.requiredBlobs {
            guard try session.row("SELECT 1 FROM blob WHERE digest = ?", SQLValue(blob.digest)) != nil else {
                throw RegistryError(
                    .manifestBlobUnknown,
                    "blob \(blob.digest) of manifest \(new.digest) is no longer here: push the blob to \(self.name), then restore again",
                    detail: ["digest": blob.digest.description])
            }
            try RegistryStore.link(blob.digest, into: self.repository, now: self.now, session)
        }
        for blob in new.manifest.optionalBlobs where try self.had(blob.digest, with: new.digest, session) {
            try RegistryStore.link(blob.digest, into: self.repository, now: self.now, session)
        }
        try RegistryStore.store(
            new, repository: self.repository, name: self.name, registry: self.registry, origin: self.origin, now: self.now, session)
        // As old as it was, and for the collector untagged from now on.
        try session.execute(
            "UPDATE manifest SET created = ?, untagged = ? WHERE repository = ? AND digest = ?", .integer(kept.created),
            .integer(self.now), .integer(self.repository), SQLValue(new.digest))
        guard !kept.locks.isEmpty else { return }
        try RegistryStore.write(
            kept.locks, to: .manifest(self.name, new.digest), repository: self.repository, registry: self.registry, origin: self.origin,
            now: self.now, session)
    }
}
