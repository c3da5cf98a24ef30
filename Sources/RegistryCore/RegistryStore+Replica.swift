// What a connected registry does with content: one image becomes visible in one transaction, and the parent's state
// can be listed where its log does not reach back far enough.

package import OCI
package import Persistence

/// What one repository holds, for comparison: pages of tags and manifests.
package struct RepositoryState: Sendable {
    package struct TagEntry: Sendable, Hashable {
        package let tag: Tag
        package let digest: Digest

        package init(tag: Tag, digest: Digest) {
            self.tag = tag
            self.digest = digest
        }
    }

    package let tags: [TagEntry]
    /// Manifests that no tag names and that no index lists but that refer to another manifest: referrers.
    package let referrers: [Digest]

    package init(tags: [TagEntry], referrers: [Digest]) {
        self.tags = tags
        self.referrers = referrers
    }
}

/// A change to apply at a replica.
package struct ReplicaUpdate: Sendable {
    package let repository: RepositoryName
    /// Everything below the tags, children before parents.
    package let manifests: [NewManifest]
    package let tags: [RepositoryState.TagEntry]
    /// Manifests that the others or the tags name and that were found here, whole, when the image was looked at.
    package let whole: [Digest]
    /// Blobs that the manifests need not have and that the parent has in this repository. What it does not have there stays out: content
    /// that is here for another repository is not for everybody who knows its digest.
    package let optionalBlobs: [Digest]

    package init(
        repository: RepositoryName, manifests: [NewManifest], tags: [RepositoryState.TagEntry], whole: [Digest] = [],
        optionalBlobs: [Digest] = []
    ) {
        self.optionalBlobs = optionalBlobs
        self.repository = repository
        self.manifests = manifests
        self.tags = tags
        self.whole = whole
    }
}

extension RegistryStore {
    /// Applies an image whole: links, manifests and tags in one transaction. Applying it again changes nothing.
    ///
    /// - Throws: `MANIFEST_BLOB_UNKNOWN` when content is missing, or has been collected since it was found; nothing is then visible.
    package func apply(_ update: ReplicaUpdate, to registry: RegistryID, origin: String) async throws {
        try await self.apply([update], to: registry, origin: origin)
    }

    /// The same with several, all in one transaction.
    package func apply(_ updates: [ReplicaUpdate], to registry: RegistryID, origin: String) async throws {
        guard !updates.isEmpty else { return }
        let now = self.clock.milliseconds()
        let isRetyped = try await self.database.write { session in
            var isRetyped = false
            for update in updates {
                let wasOther = try Self.apply(update, to: registry, origin: origin, now: now, session)
                isRetyped = isRetyped || wasOther
            }
            return isRetyped
        }
        if isRetyped { self.versions.contentRemoved() }
        if updates.contains(where: { !$0.tags.isEmpty }) { self.versions.tagsMoved() }
        self.activity.signal()
    }

    private static func apply(
        _ update: ReplicaUpdate, to registry: RegistryID, origin: String, now: Int64, _ session: any SQLWriter
    ) throws -> Bool {
        var isRetyped = false
        let repository = try Self.ensureRepository(update.repository, in: registry, now: now, session)
        for digest in update.whole {
            guard
                try session.row("SELECT 1 FROM manifest WHERE repository = ? AND digest = ?", .integer(repository), SQLValue(digest)) != nil
            else { throw RegistryError(.manifestBlobUnknown, "manifest \(digest) of \(update.repository) is not here any more") }
        }
        for digest in update.optionalBlobs { try Self.linkArrived(digest, into: repository, of: update, now: now, session) }
        for new in update.manifests {
            for blob in new.manifest.requiredBlobs {
                try Self.linkArrived(blob.digest, into: repository, of: update, now: now, session)
            }
            let wasOther = try Self.store(
                new, repository: repository, name: update.repository, registry: registry, origin: origin, now: now, session)
            isRetyped = isRetyped || wasOther
        }
        for entry in update.tags {
            // What clients here have made of it is tried against the parent's value when it is sent; until then it stays.
            if try Outbox.isPending(.tag(entry.tag), in: update.repository, of: registry, session) { continue }
            try Self.move(
                entry.tag, to: entry.digest, repository: repository, name: update.repository, registry: registry, origin: origin,
                now: now,
                session)
        }
        return isRetyped
    }

    private static func linkArrived(
        _ digest: Digest, into repository: Int64, of update: ReplicaUpdate, now: Int64, _ session: any SQLWriter
    ) throws {
        guard try session.row("SELECT 1 FROM blob WHERE digest = ?", SQLValue(digest)) != nil else {
            throw RegistryError(.manifestBlobUnknown, "blob \(digest) of \(update.repository) has not arrived")
        }
        try Self.link(digest, into: repository, now: now, session)
        try Self.endTransfer(of: digest, now: now, session)
    }

    /// Removes tags and manifests that the parent no longer has. What is gone already is no error; what waits to be told to the parent stays.
    package func retract(
        tags: [Tag], manifests: [Digest], from name: RepositoryName, of registry: RegistryID, origin: String
    ) async throws {
        let now = self.clock.milliseconds()
        try await self.database.write { session in
            guard let repository = try Self.repository(name, in: registry, session) else { return }
            for tag in tags { try ProvisionalTags.forget(tag, in: repository, session) }
            for tag in tags where try !Outbox.isPending(.tag(tag), in: name, of: registry, session) {
                _ = try Self.remove(tag, repository: repository, name: name, registry: registry, origin: origin, now: now, session)
            }
            for digest in manifests
            where try !Outbox.isNeeded(digest, in: name, repository: repository, of: registry, session) {
                _ = try Self.remove(digest, repository: repository, name: name, registry: registry, origin: origin, now: now, session)
            }
        }
        self.versions.contentRemoved()
        self.activity.signal()
    }

    /// Takes everything out of a repository: tags, manifests and links.
    package func clear(_ name: RepositoryName, in registry: RegistryID, origin: String) async throws {
        let now = self.clock.milliseconds()
        try await self.database.write { session in
            guard let repository = try Self.repository(name, in: registry, session) else { return }
            for row in try session.rows("SELECT digest FROM manifest WHERE repository = ?", .integer(repository)) {
                _ = try Self.remove(
                    Digest(row.text(0)), repository: repository, name: name, registry: registry, origin: origin, now: now, session)
            }
            try session.execute("DELETE FROM repository_blob WHERE repository = ?", .integer(repository))
        }
        self.versions.contentRemoved()
        self.activity.signal()
    }

    /// All tags of a repository and the referrers in it, with the log's head of the same snapshot.
    ///
    /// - Parameter after: the last tag of the page before; referrers come with the first page.
    package func state(
        of name: RepositoryName, in registry: RegistryID, after last: Tag?, limit: Int
    ) async throws -> (state: RepositoryState, head: ChangeCursor) {
        try await self.database.read { session in
            let head = try ChangeLog.head(in: session)
            guard let repository = try Self.repository(name, in: registry, session) else {
                return (RepositoryState(tags: [], referrers: []), head)
            }
            let tags = try session.rows(
                "SELECT name, digest FROM tag WHERE repository = ? AND name > ? AND name NOT GLOB ? ORDER BY name LIMIT ?",
                .integer(repository), SQLValue(last?.description ?? ""), .text(ConflictTag.glob), .integer(Int64(limit))
            ).map { RepositoryState.TagEntry(tag: try Tag($0.text(0)), digest: try Digest($0.text(1))) }
            let referrers =
                last != nil
                ? []
                : try session.rows(
                    """
                    SELECT digest FROM manifest INDEXED BY manifest_subject
                    WHERE repository = ? AND subject IS NOT NULL ORDER BY created, digest
                    """, .integer(repository)
                ).map { try Digest($0.text(0)) }
            return (RepositoryState(tags: tags, referrers: referrers), head)
        }
    }

    /// Whether the repository holds the manifest.
    package func holds(_ digest: Digest, in name: RepositoryName, of registry: RegistryID) async throws -> Bool {
        try await self.database.read { session in
            guard let repository = try Self.repository(name, in: registry, session) else { return false }
            return try session.row("SELECT 1 FROM manifest WHERE repository = ? AND digest = ?", .integer(repository), SQLValue(digest))
                != nil
        }
    }

    /// Whether the repository holds the manifest and everything below it: the manifests an index lists and the blobs they need.
    package func holdsWhole(_ digest: Digest, in name: RepositoryName, of registry: RegistryID) async throws -> Bool {
        try await self.database.read { session in
            guard let repository = try Self.repository(name, in: registry, session) else { return false }
            return try session.row(
                """
                WITH RECURSIVE reached (digest) AS (
                    SELECT ?2 UNION SELECT manifest_entry.digest FROM reached
                        JOIN manifest_entry ON repository = ?1 AND manifest = reached.digest AND kind = 1)
                SELECT NOT EXISTS (SELECT 1 FROM reached WHERE NOT EXISTS (
                        SELECT 1 FROM manifest WHERE repository = ?1 AND manifest.digest = reached.digest))
                    AND NOT EXISTS (SELECT 1 FROM reached
                        JOIN manifest_entry ON repository = ?1 AND manifest = reached.digest AND kind = 0
                        WHERE NOT EXISTS (SELECT 1 FROM repository_blob AS link
                            WHERE link.repository = ?1 AND link.digest = manifest_entry.digest))
                """, .integer(repository), SQLValue(digest))?.flag(0) ?? false
        }
    }

    /// The digest a tag names, if there is such a tag.
    package func resolve(_ tag: Tag, in name: RepositoryName, of registry: RegistryID) async throws -> Digest? {
        try await self.database.read { session in
            guard let repository = try Self.repository(name, in: registry, session) else { return nil }
            return try session.row("SELECT digest FROM tag WHERE repository = ? AND name = ?", .integer(repository), SQLValue(tag)).map {
                try Digest($0.text(0))
            }
        }
    }
}
