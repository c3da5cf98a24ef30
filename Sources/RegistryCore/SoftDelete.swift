// Where deleted content is kept for the days of a registry's soft-delete policy: tables of their own, so that nothing that pulls,
// lists, synchronises or compares can meet it by mistake.

internal import OCI
package import Persistence

/// Keeps what is deleted, within the transaction that deletes it.
package enum SoftDelete {
    static let migration = Migration(
        "registry-5-soft-delete",
        [
            "ALTER TABLE registry ADD COLUMN soft_delete INTEGER NOT NULL DEFAULT 0",
            // Milliseconds. Kept while the policy is off, too: what was deleted before goes by it.
            "ALTER TABLE registry ADD COLUMN soft_delete_age INTEGER NOT NULL DEFAULT 604800000",
            // By name, not by repository: a repository may be deleted with all that is in it.
            """
            CREATE TABLE deleted_manifest (
                id INTEGER PRIMARY KEY AUTOINCREMENT, registry INTEGER NOT NULL REFERENCES registry ON DELETE CASCADE,
                repository TEXT NOT NULL, digest TEXT NOT NULL, media_type TEXT NOT NULL, artifact_type TEXT, subject TEXT,
                image_size INTEGER NOT NULL, bytes BLOB NOT NULL, created INTEGER NOT NULL, locks INTEGER NOT NULL,
                repository_locks INTEGER NOT NULL, deleted INTEGER NOT NULL, UNIQUE (registry, repository, digest))
            """,
            "CREATE INDEX deleted_manifest_time ON deleted_manifest (registry, deleted)",
            """
            CREATE INDEX deleted_manifest_subject ON deleted_manifest (registry, repository, subject) WHERE subject IS NOT NULL
            """,
            // As in manifest_entry, kind 3 a blob that need not be here and was; the collector keeps the blobs that stand here.
            """
            CREATE TABLE deleted_entry (
                manifest INTEGER NOT NULL REFERENCES deleted_manifest ON DELETE CASCADE, digest TEXT NOT NULL, kind INTEGER NOT NULL,
                PRIMARY KEY (manifest, digest, kind)) WITHOUT ROWID
            """,
            "CREATE INDEX deleted_entry_digest ON deleted_entry (digest)",
            // A tag may have been deleted more than once, each time naming something else.
            """
            CREATE TABLE deleted_tag (
                id INTEGER PRIMARY KEY AUTOINCREMENT, registry INTEGER NOT NULL REFERENCES registry ON DELETE CASCADE,
                repository TEXT NOT NULL, name TEXT NOT NULL, digest TEXT NOT NULL, locks INTEGER NOT NULL, deleted INTEGER NOT NULL)
            """,
            "CREATE INDEX deleted_tag_name ON deleted_tag (registry, repository, name)",
            "CREATE INDEX deleted_tag_time ON deleted_tag (registry, deleted)",
        ])

    /// The kind of a blob in `deleted_entry` that its manifest need not have and that the repository had.
    ///
    /// Earlier versions noted what a manifest need not have as kind 2, whether the repository had it or not.
    static let optionalBlob = 3

    /// What was deleted before this was noted and is linked still: the collector takes such links a day later.
    static let optionalMigration = Migration(
        "registry-14-soft-delete-optional-blobs",
        [
            """
            INSERT INTO deleted_entry (manifest, digest, kind)
            SELECT entry.manifest, entry.digest, \(optionalBlob) FROM deleted_entry AS entry
                JOIN deleted_manifest ON deleted_manifest.id = entry.manifest
                JOIN repository ON repository.registry = deleted_manifest.registry AND repository.name = deleted_manifest.repository
                JOIN repository_blob AS link ON link.repository = repository.id AND link.digest = entry.digest
            WHERE entry.kind = 2
            """
        ], isAdditive: true)

    /// Pages of what was deleted from one repository, and the deleted tags of a manifest. Pushes write nothing to these.
    static let indexMigration = Migration(
        "registry-13-soft-delete-pages",
        [
            "CREATE INDEX deleted_manifest_repository ON deleted_manifest (registry, repository)",
            "CREATE INDEX deleted_tag_repository ON deleted_tag (registry, repository)",
            "CREATE INDEX deleted_tag_digest ON deleted_tag (registry, repository, digest, name)",
        ], isAdditive: true)

    /// Sets a registry's policy in the transaction that stores its document.
    ///
    /// - Parameter age: milliseconds for which deleted content is kept, whether from now on something is or not.
    package static func set(isOn: Bool, age: Int64, of registry: RegistryID, _ session: any SQLWriter) throws {
        try session.execute(
            "UPDATE registry SET soft_delete = ?, soft_delete_age = ? WHERE id = ?", .integer(isOn ? 1 : 0), .integer(age),
            .integer(registry.value))
    }

    static func isOn(_ registry: RegistryID, _ session: any SQLReader) throws -> Bool {
        try session.row("SELECT soft_delete FROM registry WHERE id = ?", .integer(registry.value))?.flag(0) ?? false
    }

    /// Keeps a manifest that is about to be deleted.
    static func keep(
        _ digest: Digest, repository: Int64, name: RepositoryName, registry: RegistryID, now: Int64, _ session: any SQLWriter
    ) throws {
        try self.forget(digest, in: name, of: registry, session)
        try session.execute(
            """
            INSERT INTO deleted_manifest (
                registry, repository, digest, media_type, artifact_type, subject, image_size, bytes, created, locks, repository_locks, deleted)
            SELECT repository.registry, repository.name, manifest.digest, media_type, artifact_type, subject,
                coalesce(\(RegistryStore.selectImageSize), manifest.size),
                bytes, manifest.created, manifest.locks, repository.locks, ?
            FROM manifest JOIN manifest_content USING (digest) JOIN repository ON repository.id = manifest.repository
            WHERE manifest.repository = ? AND manifest.digest = ?
            """, .integer(now), .integer(repository), SQLValue(digest))
        try session.execute(
            """
            INSERT INTO deleted_entry (manifest, digest, kind)
            SELECT deleted_manifest.id, manifest_entry.digest, CASE kind WHEN 2 THEN \(Self.optionalBlob) ELSE kind END FROM manifest_entry
                JOIN deleted_manifest ON deleted_manifest.registry = ? AND deleted_manifest.repository = ?
                    AND deleted_manifest.digest = manifest_entry.manifest
            WHERE manifest_entry.repository = ? AND manifest_entry.manifest = ? AND (kind != 2 OR EXISTS (
                SELECT 1 FROM repository_blob AS link
                WHERE link.repository = manifest_entry.repository AND link.digest = manifest_entry.digest))
            """, .integer(registry.value), SQLValue(name), .integer(repository), SQLValue(digest))
    }

    /// Keeps a tag that is about to be deleted.
    static func keep(
        _ tag: Tag, repository: Int64, name: RepositoryName, registry: RegistryID, now: Int64, _ session: any SQLWriter
    ) throws {
        try session.execute(
            """
            INSERT INTO deleted_tag (registry, repository, name, digest, locks, deleted)
            SELECT ?, ?, name, digest, locks, ? FROM tag WHERE repository = ? AND name = ?
            """, .integer(registry.value), SQLValue(name), .integer(now), .integer(repository), SQLValue(tag))
    }

    /// What is here again is not listed as deleted.
    static func forget(_ digest: Digest, in name: RepositoryName, of registry: RegistryID, _ session: any SQLWriter) throws {
        try session.execute(
            "DELETE FROM deleted_manifest WHERE registry = ? AND repository = ? AND digest = ?", .integer(registry.value), SQLValue(name),
            SQLValue(digest))
    }

    static func forget(_ tag: Tag, of digest: Digest, in name: RepositoryName, of registry: RegistryID, _ session: any SQLWriter) throws {
        try session.execute(
            "DELETE FROM deleted_tag WHERE registry = ? AND repository = ? AND name = ? AND digest = ?", .integer(registry.value),
            SQLValue(name), SQLValue(tag), SQLValue(digest))
    }

    /// Manifests whose days are over, at most so many.
    static let expiredManifests = """
        SELECT deleted_manifest.id, deleted_manifest.repository, deleted_manifest.digest, length(bytes) FROM registry
            CROSS JOIN deleted_manifest ON deleted_manifest.registry = registry.id
        WHERE deleted_manifest.deleted <= ? - registry.soft_delete_age LIMIT ?
        """

    /// Removes the kept manifests of these rows.
    static func purge(_ rows: [SQLRow], _ session: any SQLWriter) throws {
        for row in rows { try session.execute("DELETE FROM deleted_manifest WHERE id = ?", row[0]) }
    }

    /// Removes kept tags whose days are over, or whose manifest can not be had any more.
    static func purgeTags(now: Int64, _ session: any SQLWriter) throws {
        try session.execute(
            """
            DELETE FROM deleted_tag WHERE deleted <= ? - (SELECT soft_delete_age FROM registry WHERE registry.id = deleted_tag.registry)
                OR NOT EXISTS (SELECT 1 FROM deleted_manifest WHERE deleted_manifest.registry = deleted_tag.registry
                    AND deleted_manifest.repository = deleted_tag.repository AND deleted_manifest.digest = deleted_tag.digest)
                AND NOT EXISTS (SELECT 1 FROM repository JOIN manifest ON manifest.repository = repository.id
                    WHERE repository.registry = deleted_tag.registry AND repository.name = deleted_tag.repository
                        AND manifest.digest = deleted_tag.digest)
            """, .integer(now))
    }
}
