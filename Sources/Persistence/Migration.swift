// Schema migrations. They only add: the previous version of outport can still read the database, and an older one
// refuses it with a sentence.

internal import GRDB

/// One step of the schema, identified by its place in the list.
package struct Migration: Sendable {
    /// A stable name, recorded when the migration has been applied.
    package let name: String
    /// Statements, run in order within one transaction.
    package let statements: [String]

    package init(_ name: String, _ statements: [String]) {
        self.name = name
        self.statements = statements
    }

    /// Applies what is missing.
    ///
    /// - Throws: ``PersistenceError`` with code `newerSchema` when the database holds a migration this program does not know.
    static func apply(_ migrations: [Migration], to db: GRDB.Database) throws {
        try db.execute(
            sql: "CREATE TABLE IF NOT EXISTS schema_migration (name TEXT PRIMARY KEY, applied TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP)")
        let applied = try Set(String.fetchAll(db, sql: "SELECT name FROM schema_migration"))
        if let unknown = applied.subtracting(migrations.map(\.name)).sorted().first {
            throw PersistenceError(
                .newerSchema, tried: "open the database", cause: "a newer version of outport has changed it (\(unknown))",
                advice: "start that version again, or restore a copy made before the upgrade")
        }
        for migration in migrations where !applied.contains(migration.name) {
            try db.inTransaction {
                for statement in migration.statements { try db.execute(sql: statement) }
                try db.execute(sql: "INSERT INTO schema_migration (name) VALUES (?)", arguments: [migration.name])
                return .commit
            }
        }
    }
}
