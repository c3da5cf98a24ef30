// The registry's content: repositories, blobs, manifests and tags, each mutation with its row in the change log.

package import OCI
package import Persistence

/// Repositories and their content over a ``Database`` and a ``BlobStore``.
///
/// Every method that changes something returns only when the change is durable.
package final class RegistryStore: Sendable {
    package let database: any Database
    package let blobs: any BlobStore
    package let clock: WallClock
    /// Moves whenever content has changed.
    package let activity: Activity
    package let versions = ContentVersions()
    let unlocked = UnlockedRepositories()
    /// One for all that add content: what one of them lets in takes room from the others.
    let quotas = QuotaKeeper()
    /// Milliseconds for which content that a client was told of is not collected.
    static let leaseDuration: Int64 = 3_600_000
    /// Files that no row names are either removed or taken over, by one at a time.
    let strays = AsyncMutex()
    /// Garbage is collected by one at a time: the schedule and operators do not ask each other.
    let collections = AsyncMutex()
    /// Bytes up to which content lies in its row.
    let smallContentLimit: Int

    package init(
        database: any Database, blobs: any BlobStore, activity: Activity, clock: WallClock = .system,
        smallContentLimit: Int = RegistryStore.defaultSmallContentLimit
    ) {
        self.smallContentLimit = smallContentLimit
        self.database = database
        self.blobs = blobs
        self.activity = activity
        self.clock = clock
    }

    // MARK: Registries

    /// Creates a registry, or finds the one of that name.
    package func registry(named name: String) async throws -> RegistryID {
        let now = self.clock.milliseconds()
        return try await self.database.write { session in
            try session.execute("INSERT INTO registry (name, created) VALUES (?, ?) ON CONFLICT DO NOTHING", SQLValue(name), .integer(now))
            return RegistryID(try session.row("SELECT id FROM registry WHERE name = ?", SQLValue(name))?.integer(0) ?? 0)
        }
    }

    package func deleteRegistry(_ registry: RegistryID) async throws {
        try await self.database.write { try Self.delete(registry: registry, $0) }
        self.registryDeleted()
    }

    /// Deletes a registry within a caller's transaction; ``registryDeleted()`` is to be called once that is durable.
    package static func delete(registry: RegistryID, _ session: any SQLWriter) throws {
        // Tags first: they hold their manifests.
        try session.execute(
            "DELETE FROM tag WHERE repository IN (SELECT id FROM repository WHERE registry = ?)", .integer(registry.value))
        try session.execute("DELETE FROM registry WHERE id = ?", .integer(registry.value))
    }

    /// Makes void what is remembered of content that has gone with a registry.
    package func registryDeleted() {
        self.versions.contentRemoved()
        self.activity.signal()
    }

    /// Bytes of distinct content of the registry, or kept for what was deleted from it: blobs and manifests.
    package func usage(of registry: RegistryID) async throws -> Int64 {
        try await self.database.read { session in
            try session.row(
                """
                SELECT (SELECT coalesce(sum(size), 0) FROM blob WHERE digest IN (
                    SELECT digest FROM repository_blob JOIN repository ON repository.id = repository_blob.repository WHERE registry = ?1
                    UNION SELECT deleted_entry.digest FROM deleted_entry JOIN deleted_manifest ON deleted_manifest.id = deleted_entry.manifest
                    WHERE deleted_manifest.registry = ?1 AND deleted_entry.kind IN (0, \(SoftDelete.optionalBlob))))
                + (SELECT coalesce(sum(size), 0) FROM (
                    SELECT digest, size FROM manifest JOIN repository ON repository.id = manifest.repository WHERE registry = ?1
                    UNION SELECT digest, length(bytes) FROM deleted_manifest WHERE registry = ?1))
                """, .integer(registry.value))?.integer(0) ?? 0
        }
    }

    // MARK: Repositories

    static func repository(_ name: RepositoryName, in registry: RegistryID, _ session: any SQLReader) throws -> Int64? {
        try session.row("SELECT id FROM repository WHERE registry = ? AND name = ?", .integer(registry.value), SQLValue(name))?.integer(0)
    }

    static func requireRepository(_ name: RepositoryName, in registry: RegistryID, _ session: any SQLReader) throws -> Int64 {
        guard let id = try self.repository(name, in: registry, session) else { throw RegistryError.repositoryUnknown(name) }
        return id
    }

    static func ensureRepository(_ name: RepositoryName, in registry: RegistryID, now: Int64, _ session: any SQLWriter) throws -> Int64 {
        if let id = try self.repository(name, in: registry, session) { return id }
        try session.execute(
            "INSERT INTO repository (registry, name, created, updated) VALUES (?, ?, ?, ?)", .integer(registry.value), SQLValue(name),
            .integer(now), .integer(now))
        guard let id = try self.repository(name, in: registry, session) else { throw RegistryError.repositoryUnknown(name) }
        return id
    }

    /// Repository names in byte order after `last`. A repository is listed once it holds a manifest.
    package func repositories(in registry: RegistryID, after last: String?, limit: Int) async throws -> [RepositoryName] {
        try await self.database.read { session in
            try session.rows(
                """
                SELECT name FROM repository WHERE registry = ? AND name > ? AND locks & ? = 0
                    AND EXISTS (SELECT 1 FROM manifest WHERE manifest.repository = repository.id)
                ORDER BY name LIMIT ?
                """, .integer(registry.value), SQLValue(last ?? ""), .integer(ImageLocks.list.rawValue), .integer(Int64(limit))
            ).map { try RepositoryName($0.text(0)) }
        }
    }

    /// Tag names in byte order after `last`.
    ///
    /// - Throws: `NAME_UNKNOWN` when there is no such repository.
    package func tags(of name: RepositoryName, in registry: RegistryID, after last: String?, limit: Int) async throws -> [Tag] {
        try await self.database.read { session in
            let repository = try Self.requireRepository(name, in: registry, session)
            return try session.rows(
                "SELECT name FROM tag WHERE repository = ? AND name > ? AND locks & ? = 0 ORDER BY name LIMIT ?", .integer(repository),
                SQLValue(last ?? ""), .integer(ImageLocks.list.rawValue), .integer(Int64(limit))
            ).map { try Tag($0.text(0)) }
        }
    }

    // MARK: Changes

    /// Gives the log another identity after the database was restored from a backup: cursors into the old one cannot be followed.
    package func renewLogIdentity() async throws {
        _ = try await self.database.write { try $0.execute("UPDATE change_log SET identity = lower(hex(randomblob(16))) WHERE id = 1") }
    }

    /// The log's head.
    package func head() async throws -> ChangeCursor {
        try await self.database.read { try ChangeLog.head(in: $0) }
    }

    /// Rows after `cursor`; see ``ChangeLog``.
    ///
    /// - Throws: ``CursorProblem`` when the caller must compare state instead.
    package func changes(
        of registry: RegistryID, after cursor: ChangeCursor, limit: Int, isSelected: @escaping @Sendable (RepositoryName) -> Bool
    ) async throws -> ChangePage {
        try await self.database.read { session in
            try ChangeLog.page(of: registry, after: cursor, limit: limit, isSelected: isSelected, in: session)
        }
    }
}
