// Manifests and tags: what is accepted, what moves with what, and what is written to the log.

package import OCI
package import Persistence

/// A manifest as stored: the exact bytes received.
package struct StoredManifest: Sendable, Hashable {
    package let digest: Digest
    package let mediaType: MediaType
    package let bytes: [UInt8]

    package init(digest: Digest, mediaType: MediaType, bytes: [UInt8]) {
        self.digest = digest
        self.mediaType = mediaType
        self.bytes = bytes
    }
}

/// A manifest on its way into the store, already parsed.
package struct NewManifest: Sendable {
    package let digest: Digest
    package let manifest: Manifest
    package let bytes: [UInt8]

    /// Parses and hashes.
    ///
    /// - Parameters:
    ///   - declared: the `Content-Type`.
    ///   - expected: the digest the client names; the document must have it, in its algorithm.
    ///   - isNew: whether somebody brings it who can be told what is wrong with it, as opposed to what has been taken elsewhere before.
    /// - Throws: `MANIFEST_INVALID`, `DIGEST_INVALID`.
    package init(_ bytes: [UInt8], declared: MediaType?, expected: Digest?, isNew: Bool = false) throws(RegistryError) {
        do {
            self.manifest = try Manifest(parsing: bytes, declared: declared, isNew: isNew)
        } catch {
            throw RegistryError(.manifestInvalid, error.description)
        }
        let digest = Digest.of(bytes, algorithm: expected?.algorithm ?? .sha256)
        if let expected, expected != digest {
            throw RegistryError(
                .digestInvalid, "the manifest that arrived has digest \(digest), not \(expected)",
                detail: ["expected": expected.description, "actual": digest.description])
        }
        self.digest = digest
        self.bytes = bytes
    }
}

extension RegistryStore {
    /// Stores a manifest and moves tags to it, in one transaction.
    ///
    /// - Throws: `MANIFEST_BLOB_UNKNOWN` naming every blob that is not in the repository. Entries of an index and the
    ///   subject may be absent (distribution specification, "Pushing Manifests" and "Sparse indexes").
    package func put(_ new: NewManifest, tags: [Tag], into name: RepositoryName, of registry: RegistryID, origin: String) async throws {
        try self.blobs.requireRoom(for: Int64(new.bytes.count))
        let now = self.clock.milliseconds()
        let isRetyped = try await self.database.write { session in
            guard
                let repository = try Self.writableRepository(name, in: registry, session)
                    ?? (new.manifest.requiredBlobs.isEmpty ? Self.ensureRepository(name, in: registry, now: now, session) : nil)
            else {
                throw Self.missing(new.manifest.requiredBlobs.map(\.digest), name)
            }
            var missing: [Digest] = []
            for blob in new.manifest.requiredBlobs {
                let size = try session.row(
                    "SELECT size FROM repository_blob JOIN blob USING (digest) WHERE repository = ? AND digest = ?", .integer(repository),
                    SQLValue(blob.digest))?.integer(0)
                guard let size else {
                    missing.append(blob.digest)
                    continue
                }
                // Clients and connected registries verify sizes: such an image could be pushed but never pulled.
                guard size == blob.size else {
                    throw RegistryError(
                        .sizeInvalid, "the manifest gives blob \(blob.digest) \(blob.size) bytes, it has \(size)",
                        detail: ["digest": blob.digest.description])
                }
            }
            guard missing.isEmpty else { throw Self.missing(missing, name) }
            try Self.requireSameTypeIfLocked(new, name, repository, session)
            let isRetyped = try Self.store(
                new, repository: repository, name: name, registry: registry, origin: origin, now: now, session)
            // For an index that comes next, or a tag.
            if tags.isEmpty { try Self.renewLease(of: new.digest, in: repository, now: now, session) }
            for tag in tags {
                try ConflictTag.refuse(tag)
                let current = try Self.requireMovable(tag, to: new.digest, name, repository, session)
                try Self.move(
                    tag, from: current, to: new.digest, repository: repository, name: name, registry: registry, origin: origin, now: now,
                    session)
            }
            return isRetyped
        }
        if isRetyped { self.versions.contentRemoved() } else if !tags.isEmpty { self.versions.tagsMoved() }
        self.activity.signal()
    }

    private static func missing(_ digests: [Digest], _ name: RepositoryName) -> RegistryError {
        .init(
            .manifestBlobUnknown,
            "the manifest names \(digests.count == 1 ? "a blob" : "\(digests.count) blobs") that repository \(name) does not hold: push \(digests.count == 1 ? "it" : "them") first",
            detail: ["digest": digests.map(\.description).joined(separator: ", ")])
    }

    /// Refuses to change what a locked manifest, or one under a locked tag, is.
    private static func requireSameTypeIfLocked(
        _ new: NewManifest, _ name: RepositoryName, _ repository: Int64, _ session: any SQLReader
    ) throws {
        guard
            let row = try session.row(
                "SELECT locks FROM manifest WHERE repository = ? AND digest = ? AND media_type <> ?", .integer(repository),
                SQLValue(new.digest), SQLValue(new.manifest.mediaType))
        else { return }
        if ImageLocks(rawValue: row.integer(0)).contains(.write) {
            throw RegistryError.locked(.manifest(name, new.digest), "writeEnabled", "pushing it as another type")
        }
        let tag = try session.row(
            "SELECT name FROM tag INDEXED BY tag_digest WHERE repository = ? AND digest = ? AND locks & ? != 0 LIMIT 1",
            .integer(repository), SQLValue(new.digest), .integer(ImageLocks.write.rawValue))
        if let tag { throw RegistryError.locked(.tag(name, try Tag(tag.text(0))), "writeEnabled", "pushing it as another type") }
    }

    /// Takes a manifest away that was pushed as another type before, so that the same bytes come in its place: what hangs below them is another
    /// matter for each type, and would not be kept.
    ///
    /// - Returns: the tags that name it; `nil` where there is none of another type.
    private static func takeOtherType(
        _ new: NewManifest, repository: Int64, name: RepositoryName, registry: RegistryID, origin: String, now: Int64,
        _ session: any SQLWriter
    ) throws -> [Tag]? {
        guard
            try session.execute(
                "UPDATE manifest SET media_type = ?, artifact_type = ?, subject = ? WHERE repository = ? AND digest = ? AND media_type <> ?",
                SQLValue(new.manifest.mediaType), SQLValue(new.manifest.artifactType),
                SQLValue(new.manifest.subject?.digest.description), .integer(repository), SQLValue(new.digest),
                SQLValue(new.manifest.mediaType)) > 0
        else { return nil }
        try session.execute(
            "DELETE FROM manifest_entry WHERE repository = ? AND manifest = ?", .integer(repository), SQLValue(new.digest))
        // Those who follow the log have it, and would not look at its type.
        try ChangeLog.append(
            .manifestDeleted, registry: registry, repository: name, digest: new.digest, origin: origin, time: now, in: session)
        return try session.rows(
            "SELECT name FROM tag INDEXED BY tag_digest WHERE repository = ? AND digest = ? ORDER BY name", .integer(repository),
            SQLValue(new.digest)
        ).map { try Tag($0.text(0)) }
    }

    /// - Returns: whether it was here before as another type.
    @discardableResult
    static func store(
        _ new: NewManifest, repository: Int64, name: RepositoryName, registry: RegistryID, origin: String, now: Int64,
        _ session: any SQLWriter
    ) throws -> Bool {
        try session.execute(
            "INSERT INTO manifest_content (digest, bytes) VALUES (?, ?) ON CONFLICT DO NOTHING", SQLValue(new.digest), .blob(new.bytes))
        let manifest = new.manifest
        let inserted = try session.execute(
            """
            INSERT INTO manifest (repository, digest, media_type, size, artifact_type, subject, created) VALUES (?, ?, ?, ?, ?, ?, ?)
            ON CONFLICT DO NOTHING
            """, .integer(repository), SQLValue(new.digest), SQLValue(manifest.mediaType), .integer(Int64(new.bytes.count)),
            SQLValue(manifest.artifactType), SQLValue(manifest.subject?.digest.description), .integer(now))
        let tags =
            inserted > 0
            ? [] : try self.takeOtherType(new, repository: repository, name: name, registry: registry, origin: origin, now: now, session)
        guard let tags else { return false }
        for (kind, entries) in [(0, manifest.requiredBlobs), (1, manifest.manifests), (2, manifest.optionalBlobs)] {
            for entry in entries {
                try session.execute(
                    "INSERT INTO manifest_entry (repository, manifest, digest, kind, size) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                    .integer(repository), SQLValue(new.digest), SQLValue(entry.digest), .integer(Int64(kind)), .integer(entry.size))
            }
        }
        try SoftDelete.forget(new.digest, in: name, of: registry, session)
        try session.execute("UPDATE repository SET updated = ? WHERE id = ?", .integer(now), .integer(repository))
        let logged = try ChangeLog.append(
            .manifestPut, registry: registry, repository: name, digest: new.digest, origin: origin, time: now, in: session)
        try Outbox.note(
            .manifest(new.digest), in: name, from: nil, to: Outbox.present, registry: registry, origin: origin, as: logged,
            now: now,
            session)
        for tag in tags {
            try ChangeLog.append(
                .tagSet, registry: registry, repository: name, tag: tag, digest: new.digest, origin: origin, time: now, in: session)
        }
        return inserted == 0
    }

    /// Keeps a manifest from being collected for a while, whatever becomes of what reaches it: whoever is told of it before a push finds it when
    /// the index arrives that it is for.
    package func renewLease(of digest: Digest, in name: RepositoryName, of registry: RegistryID) async throws {
        let now = self.clock.milliseconds()
        let isDue = try await self.database.read { session in
            guard let repository = try Self.repository(name, in: registry, session) else { return false }
            return try session.row(
                "SELECT 1 FROM manifest WHERE repository = ? AND digest = ? AND lease < ?", .integer(repository), SQLValue(digest),
                .integer(now + Self.leaseDuration / 2)) != nil
        }
        guard isDue else { return }
        try await self.database.write { session in
            guard let repository = try Self.repository(name, in: registry, session) else { return }
            try Self.renewLease(of: digest, in: repository, now: now, session)
        }
    }

    /// Written when half of it has gone: most questions, and most pushes of what is here, cost no write.
    private static func renewLease(of digest: Digest, in repository: Int64, now: Int64, _ session: any SQLWriter) throws {
        try session.execute(
            "UPDATE manifest SET lease = ? WHERE repository = ? AND digest = ? AND lease < ?", .integer(now + Self.leaseDuration),
            .integer(repository), SQLValue(digest), .integer(now + Self.leaseDuration / 2))
    }

    static func move(
        _ tag: Tag, to digest: Digest, repository: Int64, name: RepositoryName, registry: RegistryID, origin: String, now: Int64,
        _ session: any SQLWriter
    ) throws {
        let current = try session.row("SELECT digest FROM tag WHERE repository = ? AND name = ?", .integer(repository), SQLValue(tag))?
            .text(0)
        try self.move(
            tag, from: current, to: digest, repository: repository, name: name, registry: registry, origin: origin, now: now, session)
    }

    /// - Parameter current: what the tag names now, as read in this transaction; `nil` where there is no such tag.
    static func move(
        _ tag: Tag, from current: String?, to digest: Digest, repository: Int64, name: RepositoryName, registry: RegistryID,
        origin: String, now: Int64, _ session: any SQLWriter
    ) throws {
        guard current != digest.description else { return }
        if let current { try self.noteUntagged(current, repository: repository, now: now, session) }
        try session.execute(
            """
            INSERT INTO tag (repository, name, digest, created, updated) VALUES (?, ?, ?, ?, ?)
            ON CONFLICT (repository, name) DO UPDATE SET digest = excluded.digest, updated = excluded.updated
            """, .integer(repository), SQLValue(tag), SQLValue(digest), .integer(now), .integer(now))
        try SoftDelete.forget(tag, of: digest, in: name, of: registry, session)
        try session.execute("UPDATE repository SET updated = ? WHERE id = ?", .integer(now), .integer(repository))
        let logged = try ChangeLog.append(
            .tagSet, registry: registry, repository: name, tag: tag, digest: digest, origin: origin, time: now, in: session)
        try Outbox.note(
            .tag(tag), in: name, from: current, to: digest.description, registry: registry, origin: origin, as: logged, now: now,
            session)
    }

    /// The manifest a tag or digest names.
    ///
    /// - Throws: `NAME_UNKNOWN`, `MANIFEST_UNKNOWN`.
    package func manifest(_ reference: Reference, in name: RepositoryName, of registry: RegistryID) async throws -> StoredManifest {
        try await self.database.read { session in
            let repository = try Self.requireRepository(name, in: registry, session)
            if try Self.locks(of: .repository(name), repository, session).contains(.read) {
                throw RegistryError.locked(.repository(name), "readEnabled", "pulling")
            }
            let select =
                "SELECT manifest.digest, manifest.media_type, manifest_content.bytes, manifest.locks FROM manifest JOIN manifest_content USING (digest)"
            let row =
                switch reference {
                case .digest(let digest):
                    try session.row(
                        "\(select) WHERE manifest.repository = ? AND manifest.digest = ?", .integer(repository), SQLValue(digest))
                case .tag(let tag):
                    try session.row(
                        """
                        \(select) WHERE manifest.repository = ?1
                            AND manifest.digest = (SELECT digest FROM tag WHERE repository = ?1 AND name = ?2)
                        """, .integer(repository), SQLValue(tag))
                }
            guard let row else { throw RegistryError.manifestUnknown(name, reference) }
            if case .tag(let tag) = reference, try Self.locks(of: .tag(name, tag), repository, session).contains(.read) {
                throw RegistryError.locked(.tag(name, tag), "readEnabled", "pulling")
            }
            if ImageLocks(rawValue: row.integer(3)).contains(.read) {
                throw RegistryError.locked(.manifest(name, try Digest(row.text(0))), "readEnabled", "pulling")
            }
            return StoredManifest(digest: try Digest(row.text(0)), mediaType: try MediaType(row.text(1)), bytes: row.blob(2))
        }
    }

    /// Removes a tag; the manifest stays.
    package func delete(_ tag: Tag, from name: RepositoryName, of registry: RegistryID, origin: String) async throws {
        let now = self.clock.milliseconds()
        try await self.database.write { session in
            let repository = try Self.requireRepository(name, in: registry, session)
            try Self.requireDeletable(.tag(name, tag), repository, session)
            guard try Self.remove(tag, repository: repository, name: name, registry: registry, origin: origin, now: now, session) else {
                throw RegistryError.manifestUnknown(name, .tag(tag))
            }
        }
        self.versions.tagsMoved()
        self.activity.signal()
    }

    /// - Parameter purging: whether it goes at once even where deleted content is kept.
    static func remove(
        _ tag: Tag, repository: Int64, name: RepositoryName, registry: RegistryID, origin: String, now: Int64, purging: Bool = false,
        _ session: any SQLWriter
    ) throws -> Bool {
        guard let row = try session.row("SELECT digest FROM tag WHERE repository = ? AND name = ?", .integer(repository), SQLValue(tag))
        else { return false }
        if try !purging && SoftDelete.isOn(registry, session) {
            try SoftDelete.keep(tag, repository: repository, name: name, registry: registry, now: now, session)
        }
        try session.execute("DELETE FROM tag WHERE repository = ? AND name = ?", .integer(repository), SQLValue(tag))
        try self.noteUntagged(row.text(0), repository: repository, now: now, session)
        let logged = try ChangeLog.append(
            .tagDeleted, registry: registry, repository: name, tag: tag, origin: origin, time: now, in: session)
        try OutboxLocks.forget(.tag(name, tag), registry: registry, session)
        try Outbox.note(
            .tag(tag), in: name, from: row.text(0), to: nil, registry: registry, origin: origin, as: logged, now: now, session)
        return true
    }

    /// The age by which the collector goes begins anew with each tag that a manifest loses.
    private static func noteUntagged(_ digest: String, repository: Int64, now: Int64, _ session: any SQLWriter) throws {
        try session.execute(
            "UPDATE manifest SET untagged = ? WHERE repository = ? AND digest = ?", .integer(now), .integer(repository), SQLValue(digest))
    }

    /// Removes a manifest and every tag that names it. An index that lists it keeps listing it.
    package func delete(_ digest: Digest, from name: RepositoryName, of registry: RegistryID, origin: String) async throws {
        let now = self.clock.milliseconds()
        try await self.database.write { session in
            let repository = try Self.requireRepository(name, in: registry, session)
            try Self.requireDeletable(.manifest(name, digest), repository, session)
            guard try Self.remove(digest, repository: repository, name: name, registry: registry, origin: origin, now: now, session) else {
                throw RegistryError.manifestUnknown(name, .digest(digest))
            }
        }
        self.versions.contentRemoved()
        self.activity.signal()
    }

    /// - Parameter purging: whether it goes at once even where deleted content is kept.
    static func remove(
        _ digest: Digest, repository: Int64, name: RepositoryName, registry: RegistryID, origin: String, now: Int64,
        purging: Bool = false, _ session: any SQLWriter
    ) throws -> Bool {
        guard try session.row("SELECT 1 FROM manifest WHERE repository = ? AND digest = ?", .integer(repository), SQLValue(digest)) != nil
        else {
            return false
        }
        for row in try session.rows("SELECT name FROM tag WHERE repository = ? AND digest = ?", .integer(repository), SQLValue(digest)) {
            _ = try self.remove(
                Tag(row.text(0)), repository: repository, name: name, registry: registry, origin: origin, now: now, purging: purging,
                session)
        }
        if try !purging && SoftDelete.isOn(registry, session) {
            try SoftDelete.keep(digest, repository: repository, name: name, registry: registry, now: now, session)
        }
        try session.execute("DELETE FROM manifest WHERE repository = ? AND digest = ?", .integer(repository), SQLValue(digest))
        try session.execute(
            "DELETE FROM manifest_content WHERE digest = ?1 AND NOT EXISTS (SELECT 1 FROM manifest WHERE digest = ?1)", SQLValue(digest))
        let logged = try ChangeLog.append(
            .manifestDeleted, registry: registry, repository: name, digest: digest, origin: origin, time: now, in: session)
        try OutboxLocks.forget(.manifest(name, digest), registry: registry, session)
        try Outbox.note(
            .manifest(digest), in: name, from: Outbox.present, to: nil, registry: registry, origin: origin, as: logged, now: now,
            session)
        return true
    }
}
