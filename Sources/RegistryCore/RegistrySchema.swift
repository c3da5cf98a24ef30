// The tables of this target.

package import Persistence

/// Migrations of the registry's tables, in order.
package enum RegistrySchema {
    package static let migrations: [Migration] = [
        Migration(
            "registry-1",
            [
                """
                CREATE TABLE registry (
                    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, created INTEGER NOT NULL)
                """,
                """
                CREATE TABLE repository (
                    id INTEGER PRIMARY KEY AUTOINCREMENT, registry INTEGER NOT NULL REFERENCES registry ON DELETE CASCADE,
                    name TEXT NOT NULL, created INTEGER NOT NULL, updated INTEGER NOT NULL, UNIQUE (registry, name))
                """,
                // One row for each content, whichever repositories link to it; the row names the generation of the file.
                """
                CREATE TABLE blob (
                    digest TEXT PRIMARY KEY, size INTEGER NOT NULL, generation TEXT NOT NULL, created INTEGER NOT NULL,
                    lease INTEGER NOT NULL) WITHOUT ROWID
                """,
                """
                CREATE TABLE repository_blob (
                    repository INTEGER NOT NULL REFERENCES repository ON DELETE CASCADE, digest TEXT NOT NULL REFERENCES blob,
                    created INTEGER NOT NULL, PRIMARY KEY (repository, digest)) WITHOUT ROWID
                """,
                "CREATE INDEX repository_blob_digest ON repository_blob (digest)",
                "CREATE TABLE manifest_content (digest TEXT PRIMARY KEY, bytes BLOB NOT NULL)",
                """
                CREATE TABLE manifest (
                    repository INTEGER NOT NULL REFERENCES repository ON DELETE CASCADE, digest TEXT NOT NULL REFERENCES manifest_content,
                    media_type TEXT NOT NULL, size INTEGER NOT NULL, artifact_type TEXT, subject TEXT, created INTEGER NOT NULL,
                    PRIMARY KEY (repository, digest)) WITHOUT ROWID
                """,
                "CREATE INDEX manifest_subject ON manifest (repository, subject) WHERE subject IS NOT NULL",
                "CREATE INDEX manifest_digest ON manifest (digest)",
                // What a manifest points at: kind 0 a blob, 1 a manifest, 2 a blob that need not be here (foreign layer, build cache).
                """
                CREATE TABLE manifest_entry (
                    repository INTEGER NOT NULL, manifest TEXT NOT NULL, digest TEXT NOT NULL, kind INTEGER NOT NULL, size INTEGER NOT NULL,
                    PRIMARY KEY (repository, manifest, digest, kind),
                    FOREIGN KEY (repository, manifest) REFERENCES manifest ON DELETE CASCADE) WITHOUT ROWID
                """,
                "CREATE INDEX manifest_entry_digest ON manifest_entry (repository, digest)",
                """
                CREATE TABLE tag (
                    repository INTEGER NOT NULL, name TEXT NOT NULL, digest TEXT NOT NULL, created INTEGER NOT NULL, updated INTEGER NOT NULL,
                    PRIMARY KEY (repository, name), FOREIGN KEY (repository, digest) REFERENCES manifest) WITHOUT ROWID
                """,
                "CREATE INDEX tag_digest ON tag (repository, digest)",
                // The change log: one row for each mutation, written in the mutation's own transaction.
                "CREATE TABLE change_log (id INTEGER PRIMARY KEY CHECK (id = 1), identity TEXT NOT NULL, head INTEGER NOT NULL, tail INTEGER NOT NULL)",
                """
                CREATE TABLE change (
                    sequence INTEGER PRIMARY KEY, registry INTEGER NOT NULL, repository TEXT NOT NULL, kind TEXT NOT NULL, tag TEXT,
                    digest TEXT, origin TEXT NOT NULL, time INTEGER NOT NULL)
                """,
                "INSERT INTO change_log VALUES (1, lower(hex(randomblob(16))), 0, 0)",
            ]),
        Migration(
            "registry-2-locks",
            [
                // Bits of `ImageLocks`: what is off.
                "ALTER TABLE repository ADD COLUMN locks INTEGER NOT NULL DEFAULT 0",
                "ALTER TABLE manifest ADD COLUMN locks INTEGER NOT NULL DEFAULT 0",
                // When its attributes were changed last; NULL for never.
                "ALTER TABLE manifest ADD COLUMN updated INTEGER",
                "ALTER TABLE tag ADD COLUMN locks INTEGER NOT NULL DEFAULT 0",
            ]),
        StateSchema.migration,
        // When a manifest lost a tag last; NULL for never.
        Migration("registry-4-untagged", ["ALTER TABLE manifest ADD COLUMN untagged INTEGER"]),
        Outbox.migration,
        StateSchema.lockMigration,
        SmallContentSchema.firstMigration,
        SoftDelete.migration,
        SiteEvents.migration,
        ProvisionalTags.migration,
        OutboxLocks.migration,
        SiteEvents.droppedMigration,
        SmallContentSchema.migration,
        // Until when a manifest is not collected because somebody was told of it. Older versions collect as they did.
        Migration(
            "registry-manifest-lease", ["ALTER TABLE manifest ADD COLUMN lease INTEGER NOT NULL DEFAULT 0"], isAdditive: true),
        MaintenanceRounds.migration,
        SoftDelete.indexMigration,
        SoftDelete.optionalMigration,
    ]
}
