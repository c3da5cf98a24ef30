// Schema migrations. An older version of outport refuses, with a sentence, a database that a newer one has changed; but for steps that
// say of themselves that whoever does not know them may go on (decision 0080).

internal import GRDB

/// One step of the schema, identified by its place in the list.
package struct Migration: Sendable {
    /// A stable name, recorded when the migration has been applied.
    package let name: String
    /// Statements, run in order within one transaction.
    package let statements: [String]
    /// Whether versions that do not know it may go on with the database: nothing they read means something else by it, nothing
    /// they write or collect does harm.
    package let isAdditive: Bool

    /// - Parameter isAdditive: whether older versions may use the database afterwards; unless that is sure, they must not.
    package init(_ name: String, _ statements: [String], isAdditive: Bool = false) {
        self.name = name
        self.statements = statements
        self.isAdditive = isAdditive
    }

    /// Applies what is missing.
    ///
    /// - Throws: ``PersistenceError`` with code `newerSchema` when the database holds a migration that this program does not know and that is not
    ///   additive.
    static func apply(_ migrations: [Migration], to db: GRDB.Database) throws {
        try db.execute(
            sql: "CREATE TABLE IF NOT EXISTS schema_migration (name TEXT PRIMARY KEY, applied TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP)")
        // What stands here without the mark was written before there was one, by versions whose steps nobody else knows about.
        if try !db.columns(in: "schema_migration").contains(where: { $0.name == "additive" }) {
            try db.execute(sql: "ALTER TABLE schema_migration ADD COLUMN additive INTEGER NOT NULL DEFAULT 0")
        }
        let applied = try Set(String.fetchAll(db, sql: "SELECT name FROM schema_migration"))
        let binding = try Set(String.fetchAll(db, sql: "SELECT name FROM schema_migration WHERE additive = 0"))
        if let unknown = binding.subtracting(migrations.map(\.name)).sorted().first {
            throw PersistenceError(
                .newerSchema, tried: "open the database", cause: "a newer version of outport has changed it (\(unknown))",
                advice: "start that version again, or restore a copy made before the upgrade")
        }
        for migration in migrations where !applied.contains(migration.name) {
            try db.inTransaction {
                for statement in migration.statements { try db.execute(sql: statement) }
                try db.execute(
                    sql: "INSERT INTO schema_migration (name, additive) VALUES (?, ?)", arguments: [migration.name, migration.isAdditive])
                return .commit
            }
        }
    }
}
