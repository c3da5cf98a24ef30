// The tables of state hashes. Triggers note what has changed, so that nobody who writes content can forget to, not even an
// older program; the hashes are brought up to date by who wants to read them.

internal import Persistence

/// The migration of the state tables; see ``RegistryStore/stateSummary(of:isSelected:)``.
enum StateSchema {
    static let migration = Migration(
        "registry-state-1",
        [
            // Names whose entry may be out of date: kind 0 a tag, 1 a referrer, 2 a manifest that an index lists.
            """
            CREATE TABLE state_dirty (
                repository INTEGER NOT NULL, kind INTEGER NOT NULL, name TEXT NOT NULL, PRIMARY KEY (repository, kind, name)) WITHOUT ROWID
            """,
            // The value is the digest, followed by what is absent below it.
            """
            CREATE TABLE state_entry (
                repository INTEGER NOT NULL, bucket INTEGER NOT NULL, kind INTEGER NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL,
                PRIMARY KEY (repository, bucket, kind, name)) WITHOUT ROWID
            """,
            // A hash that is NULL is to be computed.
            """
            CREATE TABLE state_bucket (
                repository INTEGER NOT NULL, bucket INTEGER NOT NULL, hash BLOB, entries INTEGER NOT NULL DEFAULT 0,
                PRIMARY KEY (repository, bucket)) WITHOUT ROWID
            """,
            "CREATE INDEX state_bucket_open ON state_bucket (repository, bucket) WHERE hash IS NULL",
            "CREATE TABLE state_root (repository INTEGER PRIMARY KEY, hash BLOB, entries INTEGER NOT NULL DEFAULT 0)",
            "CREATE INDEX state_root_open ON state_root (repository) WHERE hash IS NULL",
            trigger("tag_insert", "INSERT ON tag", 0, "NEW.repository", "NEW.name"),
            trigger("tag_update", "UPDATE OF digest ON tag", 0, "NEW.repository", "NEW.name"),
            trigger("tag_delete", "DELETE ON tag", 0, "OLD.repository", "OLD.name"),
            trigger("referrer_insert", "INSERT ON manifest", 1, "NEW.repository", "NEW.digest", "NEW.subject IS NOT NULL"),
            trigger("referrer_delete", "DELETE ON manifest", 1, "OLD.repository", "OLD.digest", "OLD.subject IS NOT NULL"),
            trigger("child_insert", "INSERT ON manifest", 2, "NEW.repository", "NEW.digest", isListed("NEW")),
            trigger("child_delete", "DELETE ON manifest", 2, "OLD.repository", "OLD.digest", isListed("OLD")),
            "INSERT INTO state_dirty SELECT repository, 0, name FROM tag",
            "INSERT INTO state_dirty SELECT repository, 1, digest FROM manifest WHERE subject IS NOT NULL",
        ])

    /// Locks are entries of their own: kind 3 of the repository, 4 of a manifest, 5 of a tag; where nothing is locked there is none.
    static let lockMigration = Migration(
        "registry-state-2-locks",
        [
            trigger("repository_locks", "UPDATE OF locks ON repository", 3, "NEW.id", "''", "NEW.locks != OLD.locks"),
            trigger("manifest_locks", "UPDATE OF locks ON manifest", 4, "NEW.repository", "NEW.digest", "NEW.locks != OLD.locks"),
            trigger("tag_locks", "UPDATE OF locks ON tag", 5, "NEW.repository", "NEW.name", "NEW.locks != OLD.locks"),
            trigger("manifest_unlock", "DELETE ON manifest", 4, "OLD.repository", "OLD.digest", "OLD.locks != 0"),
            trigger("tag_unlock", "DELETE ON tag", 5, "OLD.repository", "OLD.name", "OLD.locks != 0"),
            "INSERT INTO state_dirty SELECT id, 3, '' FROM repository WHERE locks != 0",
            "INSERT INTO state_dirty SELECT repository, 4, digest FROM manifest WHERE locks != 0",
            "INSERT INTO state_dirty SELECT repository, 5, name FROM tag WHERE locks != 0",
        ])

    private static func isListed(_ row: String) -> String {
        "EXISTS (SELECT 1 FROM manifest_entry WHERE repository = \(row).repository AND digest = \(row).digest AND kind = 1)"
    }

    /// A condition in place of `OR IGNORE`: the policy of the statement that fires a trigger would override that of its body.
    private static func trigger(
        _ name: String, _ event: String, _ kind: Int, _ repository: String, _ column: String, _ condition: String = "1"
    ) -> String {
        """
        CREATE TRIGGER state_\(name) AFTER \(event) WHEN \(condition)
            AND NOT EXISTS (SELECT 1 FROM state_dirty WHERE repository = \(repository) AND kind = \(kind) AND name = \(column))
        BEGIN INSERT INTO state_dirty VALUES (\(repository), \(kind), \(column)); END
        """
    }
}
