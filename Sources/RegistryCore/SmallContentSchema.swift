// Where small content lies: in rows of its own, numbered as they come, beside the rows that name content.

internal import OCI
internal import Persistence

/// The table of small content within a caller's transaction (decision 0023).
///
/// A row of `blob` whose generation is ``StoredBlob/inRow`` names a row here. Triggers take that row away with the other.
enum SmallContentSchema {
    /// Small content lay in the rows of `blob` itself at first.
    static let firstMigration = Migration("registry-7-small-content", ["ALTER TABLE blob ADD COLUMN content BLOB"])

    static let migration = Migration(
        "registry-small-content-2-apart",
        [
            "CREATE TABLE small_content (id INTEGER PRIMARY KEY, bytes BLOB NOT NULL)",
            // NULL where the content is a file.
            "ALTER TABLE blob ADD COLUMN small INTEGER",
            "CREATE TABLE small_content_move (id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE)",
            "INSERT INTO small_content_move (digest) SELECT digest FROM blob WHERE generation = '\(StoredBlob.inRow)'",
            "INSERT INTO small_content SELECT id, coalesce(content, x'') FROM small_content_move JOIN blob USING (digest)",
            """
            UPDATE blob SET small = (SELECT id FROM small_content_move WHERE small_content_move.digest = blob.digest)
            WHERE generation = '\(StoredBlob.inRow)'
            """,
            "DROP TABLE small_content_move",
            "ALTER TABLE blob DROP COLUMN content",
            """
            CREATE TRIGGER blob_small_delete AFTER DELETE ON blob WHEN OLD.small IS NOT NULL
            BEGIN DELETE FROM small_content WHERE id = OLD.small; END
            """,
            """
            CREATE TRIGGER blob_small_update AFTER UPDATE OF small ON blob WHEN OLD.small IS NOT NULL AND NEW.small IS NOT OLD.small
            BEGIN DELETE FROM small_content WHERE id = OLD.small; END
            """,
        ])

    /// The number that the next content gets, as a term of a statement.
    static let nextID = "(SELECT coalesce(max(id), 0) + 1 FROM small_content)"

    /// Writes content whose row in `blob` has the number, over what may be there: what was damaged is mended by it.
    ///
    /// - Returns: whether anything was written; what is there already and whole is not written again.
    @discardableResult
    static func write(_ bytes: [UInt8], as id: Int64, _ session: any SQLWriter) throws -> Bool {
        try session.execute(
            """
            INSERT INTO small_content (id, bytes) VALUES (?, ?)
            ON CONFLICT (id) DO UPDATE SET bytes = excluded.bytes WHERE bytes != excluded.bytes
            """, .integer(id), .blob(bytes)) > 0
    }
}
