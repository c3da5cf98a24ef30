// What a connected registry remembers of its parent.

package import Persistence

/// Migrations of the sync agent's table.
package enum SyncSchema {
    package static let migrations: [Migration] = [
        Migration(
            "sync-1",
            [
                """
                CREATE TABLE sync_state (
                    id INTEGER PRIMARY KEY CHECK (id = 1), connected_registry TEXT NOT NULL COLLATE NOCASE, parent TEXT NOT NULL, pin TEXT,
                    instance TEXT NOT NULL, epoch INTEGER, nonce TEXT, registry TEXT, trust TEXT, settings TEXT, settings_tag TEXT,
                    log TEXT, sequence INTEGER, bytes_received INTEGER NOT NULL DEFAULT 0, result TEXT)
                """
            ]),
        Migration(
            "sync-2",
            [
                """
                CREATE TABLE sync_skipped (
                    repository TEXT NOT NULL, digest TEXT NOT NULL, tags TEXT NOT NULL, reason TEXT NOT NULL, attempts INTEGER NOT NULL,
                    due INTEGER NOT NULL, since INTEGER NOT NULL, PRIMARY KEY (repository, digest)) WITHOUT ROWID
                """,
                "CREATE TABLE sync_transfer (digest TEXT PRIMARY KEY, boot TEXT NOT NULL, durable INTEGER NOT NULL) WITHOUT ROWID",
                // The resynchronisation by hand that was done last, as the parent numbers it.
                "ALTER TABLE sync_state ADD COLUMN resynced INTEGER",
            ]),
        Migration(
            "sync-3",
            [
                // Uploads to the parent that are open: they go on after a restart.
                "CREATE TABLE sync_upload (repository TEXT NOT NULL, digest TEXT NOT NULL, path TEXT NOT NULL, PRIMARY KEY (repository, digest)) WITHOUT ROWID",
                "ALTER TABLE sync_state ADD COLUMN bytes_sent INTEGER NOT NULL DEFAULT 0",
                // Why the parent will not have this instance any more: code and sentence.
                "ALTER TABLE sync_state ADD COLUMN stopped TEXT",
            ]),
        Migration("sync-4", ["ALTER TABLE sync_skipped ADD COLUMN code TEXT NOT NULL DEFAULT 'ContentError'"]),
        Migration(
            "sync-5",
            [
                // Bytes of content granted in the hour, the day and the month that began then.
                "CREATE TABLE sync_budget (period TEXT PRIMARY KEY, begins INTEGER NOT NULL, used INTEGER NOT NULL) WITHOUT ROWID",
                // The last order to tell what the next synchronisation would move that was carried out.
                "ALTER TABLE sync_state ADD COLUMN planned INTEGER",
            ]),
        Migration(
            "sync-6",
            [
                // Since when the parent does not let us in any more; seconds since 1970.
                "ALTER TABLE sync_state ADD COLUMN locked_out INTEGER",
                // Why whole state is to be compared, where that is known beforehand.
                "ALTER TABLE sync_state ADD COLUMN comparison TEXT",
            ]),
    ]
}
