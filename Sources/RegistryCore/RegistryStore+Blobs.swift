// Blobs: links from repositories to content, mounts, and how committed content gets its row.

package import OCI
package import Persistence

extension RegistryStore {
    /// The blob as linked in the repository.
    ///
    /// - Throws: `BLOB_UNKNOWN`, also when the content exists but only under other repositories.
    package func blob(_ digest: Digest, in name: RepositoryName, of registry: RegistryID) async throws -> StoredBlob {
        try await self.database.read { session in
            guard
                let row = try session.row(
                    """
                    SELECT blob.size, blob.generation, repository.locks FROM repository
                        JOIN repository_blob ON repository_blob.repository = repository.id AND repository_blob.digest = ?
                        JOIN blob ON blob.digest = repository_blob.digest
                    WHERE repository.registry = ? AND repository.name = ?
                    """, SQLValue(digest), .integer(registry.value), SQLValue(name))
            else { throw RegistryError.blobUnknown(name, digest) }
            if ImageLocks(rawValue: row.integer(2)).contains(.read) {
                throw RegistryError.locked(.repository(name), "readEnabled", "pulling")
            }
            return StoredBlob(digest: digest, size: row.integer(0), generation: row.text(1))
        }
    }

    /// Keeps content from being collected for a while: a client that is told of it finds it when its manifest arrives.
    package func renewLease(of digest: Digest) async throws {
        let now = self.clock.milliseconds()
        let lease = try await self.database.read { try $0.row("SELECT lease FROM blob WHERE digest = ?", SQLValue(digest))?.integer(0) }
        // Written only when half of it has gone: most questions cost no write.
        guard let lease, lease < now + Self.leaseDuration / 2 else { return }
        _ = try await self.database.write { session in
            try session.execute(
                "UPDATE blob SET lease = max(lease, ?) WHERE digest = ?", .integer(now + Self.leaseDuration), SQLValue(digest))
        }
    }

    /// Content of any repository, for the sync agent: what is here is not fetched again.
    package func content(_ digest: Digest) async throws -> StoredBlob? {
        try await self.database.read { session in
            try session.row("SELECT size, generation FROM blob WHERE digest = ?", SQLValue(digest)).map {
                StoredBlob(digest: digest, size: $0.integer(0), generation: $0.text(1))
            }
        }
    }

    /// Gives committed content its row and, when `name` is given, links it into a repository.
    ///
    /// When the content is known already the row keeps its generation and the file just committed is removed again.
    ///
    /// - Parameter lease: milliseconds for which it stays although nothing needs it yet; `nil` for as long as after an upload.
    package func admit(
        _ stored: StoredBlob, into name: RepositoryName?, of registry: RegistryID, lease: Int64? = nil
    ) async throws {
        let now = self.clock.milliseconds()
        let until = now + (lease ?? Self.leaseDuration)
        let kept = try await self.database.write { session in
            let row = try session.row(
                """
                INSERT INTO blob (digest, size, generation, created, lease) VALUES (?, ?, ?, ?, ?)
                ON CONFLICT (digest) DO UPDATE SET lease = max(lease, excluded.lease) RETURNING generation
                """, SQLValue(stored.digest), .integer(stored.size), SQLValue(stored.generation), .integer(now),
                .integer(until))
            try Self.link(stored.digest, into: name, of: registry, now: now, session)
            return row?.text(0)
        }
        guard let kept, kept != stored.generation else { return }
        // The file we have is worth less than the one just verified when it is gone or cut short: pushing again mends it.
        if await self.isWhole(StoredBlob(digest: stored.digest, size: stored.size, generation: kept)) {
            try await self.blobs.delete(stored)
        } else {
            let replaced = try await self.database.write { session in
                try session.execute(
                    "UPDATE blob SET generation = ?, size = ?, small = NULL WHERE digest = ? AND generation = ?",
                    SQLValue(stored.generation),
                    .integer(stored.size),
                    SQLValue(stored.digest), SQLValue(kept))
            }
            if replaced == 0 { try await self.blobs.delete(stored) }
            self.versions.contentRemoved()
        }
    }

    static func link(_ digest: Digest, into name: RepositoryName?, of registry: RegistryID, now: Int64, _ session: any SQLWriter) throws {
        guard let name else { return }
        let repository =
            try Self.writableRepository(name, in: registry, session) ?? Self.ensureRepository(name, in: registry, now: now, session)
        try Self.link(digest, into: repository, now: now, session)
    }

    func isWhole(_ blob: StoredBlob) async -> Bool {
        guard let reader = try? await self.open(blob) else { return false }
        guard let file = reader.file else { return reader.size == blob.size }
        return (try? file.size()) == blob.size
    }

    static func link(_ digest: Digest, into repository: Int64, now: Int64, _ session: any SQLWriter) throws {
        try session.execute(
            "INSERT INTO repository_blob (repository, digest, created) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", .integer(repository),
            SQLValue(digest), .integer(now))
    }

    /// Those of the blobs that the repository holds, with their sizes.
    package func linked(_ digests: [Digest], in name: RepositoryName, of registry: RegistryID) async throws -> [Digest: Int64] {
        try await self.database.read { session in
            guard let repository = try Self.repository(name, in: registry, session) else { return [:] }
            var sizes: [Digest: Int64] = [:]
            for digest in digests {
                sizes[digest] = try session.row(
                    "SELECT size FROM repository_blob JOIN blob USING (digest) WHERE repository = ? AND digest = ?", .integer(repository),
                    SQLValue(digest))?.integer(0)
            }
            return sizes
        }
    }

    /// Whether any repository of the registry holds a blob.
    package func holdsBlob(_ digest: Digest, in registry: RegistryID) async throws -> Bool {
        try await self.database.read { session in
            try session.row(
                """
                SELECT 1 FROM repository_blob JOIN repository ON repository.id = repository_blob.repository
                WHERE repository_blob.digest = ? AND repository.registry = ? LIMIT 1
                """, SQLValue(digest), .integer(registry.value)) != nil
        }
    }

    /// Repositories of the registry that hold a blob and are not locked against reading, a page of them in the order in which they were made.
    ///
    /// - Parameter place: where the page before has ended; 0 for the first.
    /// - Returns: the page, and where it ends; `nil` for the last.
    package func repositories(
        holding digest: Digest, in registry: RegistryID, after place: Int64 = 0, limit: Int
    ) async throws -> (names: [RepositoryName], next: Int64?) {
        try await self.database.read { session in
            let rows = try session.rows(
                """
                SELECT repository.name, repository.id FROM repository_blob JOIN repository ON repository.id = repository_blob.repository
                WHERE repository_blob.digest = ? AND repository_blob.repository > ? AND repository.registry = ? AND repository.locks & ? = 0
                ORDER BY repository_blob.repository LIMIT ?
                """, SQLValue(digest), .integer(place), .integer(registry.value), .integer(ImageLocks.read.rawValue), .integer(Int64(limit))
            )
            return (try rows.map { try RepositoryName($0.text(0)) }, rows.count < limit ? nil : rows.last?.integer(1))
        }
    }

    /// Links a blob of one repository into another (distribution specification, "Mounting a blob from another repository").
    ///
    /// - Parameter sources: repositories the caller may read; the first that holds the blob and is not locked against reading serves.
    /// - Returns: whether the blob is now in `name`.
    package func mount(_ digest: Digest, from sources: [RepositoryName], into name: RepositoryName, of registry: RegistryID) async throws
        -> Bool
    {
        let now = self.clock.milliseconds()
        return try await self.database.write { session in
            for source in sources {
                guard let origin = try Self.repository(source, in: registry, session),
                    try session.row("SELECT 1 FROM repository_blob WHERE repository = ? AND digest = ?", .integer(origin), SQLValue(digest))
                        != nil,
                    // What may not be pulled from there does not come here either.
                    try !Self.locks(of: .repository(source), origin, session).contains(.read)
                else { continue }
                let target =
                    try Self.writableRepository(name, in: registry, session)
                    ?? Self.ensureRepository(name, in: registry, now: now, session)
                try Self.link(digest, into: target, now: now, session)
                try session.execute(
                    "UPDATE blob SET lease = max(lease, ?) WHERE digest = ?", .integer(now + Self.leaseDuration), SQLValue(digest))
                return true
            }
            return false
        }
    }

    /// Unlinks a blob from a repository; the content stays until it is collected.
    ///
    /// - Throws: `BLOB_UNKNOWN`; `DENIED` with 405, of the statuses the specification leaves for refusing a deletion, while a manifest of the repository needs it.
    package func deleteBlob(_ digest: Digest, from name: RepositoryName, of registry: RegistryID) async throws {
        try await self.database.write { session in
            guard let repository = try Self.repository(name, in: registry, session) else { throw RegistryError.blobUnknown(name, digest) }
            try Self.requireDeletable(.repository(name), repository, session)
            if let user = try session.row(
                "SELECT manifest FROM manifest_entry WHERE repository = ? AND digest = ?", .integer(repository),
                SQLValue(digest))
            {
                throw RegistryError(
                    .denied, "blob \(digest) is part of manifest \(user.text(0)); delete that manifest first",
                    detail: ["digest": digest.description, "manifest": user.text(0)], status: 405)
            }
            guard
                try session.execute(
                    "DELETE FROM repository_blob WHERE repository = ? AND digest = ?", .integer(repository), SQLValue(digest)) > 0
            else { throw RegistryError.blobUnknown(name, digest) }
        }
        self.versions.contentRemoved()
    }
}
