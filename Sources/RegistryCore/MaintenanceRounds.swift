// When what is done by schedule was done last: a machine that is off at night would never do it otherwise.

package import Persistence

/// The times of the last rounds, which outlive the process.
package struct MaintenanceRounds: Sendable {
    package enum Kind: String, Sendable {
        case garbage
    }

    static let migration = Migration(
        "registry-maintenance", ["CREATE TABLE maintenance (kind TEXT PRIMARY KEY, time INTEGER NOT NULL) WITHOUT ROWID"], isAdditive: true)

    private let database: any Database

    package init(database: any Database) { self.database = database }

    /// Seconds since 1970 at which the last round was looked for; `nil` before the first.
    package func last(_ kind: Kind) async throws -> Int64? {
        try await self.database.read { session in
            try session.row("SELECT time FROM maintenance WHERE kind = ?", .text(kind.rawValue))?.integer(0)
        }
    }

    package func note(_ kind: Kind, at time: Int64) async throws {
        _ = try await self.database.write { session in
            try session.execute(
                "INSERT INTO maintenance (kind, time) VALUES (?, ?) ON CONFLICT (kind) DO UPDATE SET time = excluded.time",
                .text(kind.rawValue), .integer(time))
        }
    }
}
