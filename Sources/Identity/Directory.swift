// The directory: service principals and their secrets.

package import Persistence

/// Service principals.
package final class Directory: Sendable {
    private let database: any Database
    private let clock: WallClock

    package init(database: any Database, clock: WallClock = .system) {
        self.database = database
        self.clock = clock
    }

    private static let select = "SELECT object_id, app_id, display_name, administrator FROM service_principal"

    private static func principal(_ row: SQLRow) -> ServicePrincipal {
        ServicePrincipal(objectID: row.text(0), appID: row.text(1), displayName: row.text(2), isDirectoryAdministrator: row.flag(3))
    }

    package func principal(appID: String) async throws -> ServicePrincipal? {
        try await self.database.read { try $0.row("\(Self.select) WHERE app_id = ?", SQLValue(appID.lowercased())).map(Self.principal) }
    }

    package func principal(objectID: String) async throws -> ServicePrincipal? {
        try await self.database.read {
            try $0.row("\(Self.select) WHERE object_id = ?", SQLValue(objectID.lowercased())).map(Self.principal)
        }
    }

    /// The bootstrap principal, if the directory has one.
    package func administrator() async throws -> ServicePrincipal? {
        try await self.database.read { try $0.row("\(Self.select) WHERE administrator = 1 ORDER BY created LIMIT 1").map(Self.principal) }
    }

    package func create(_ principal: ServicePrincipal) async throws {
        let now = self.clock.milliseconds()
        _ = try await self.database.write { session in
            try session.execute(
                "INSERT INTO service_principal (object_id, app_id, display_name, administrator, created) VALUES (?, ?, ?, ?, ?)",
                SQLValue(principal.objectID), SQLValue(principal.appID), SQLValue(principal.displayName),
                .integer(principal.isDirectoryAdministrator ? 1 : 0), .integer(now))
        }
    }

    /// Gives a principal one secret in place of all it had.
    package func replaceSecrets(of principal: ServicePrincipal, with secret: String, keyID: String, expiry: Int64?) async throws {
        let now = self.clock.milliseconds()
        try await self.database.write { session in
            try session.execute("DELETE FROM service_principal_secret WHERE object_id = ?", SQLValue(principal.objectID))
            try session.execute(
                "INSERT INTO service_principal_secret (key_id, object_id, verifier, created, expiry) VALUES (?, ?, ?, ?, ?)",
                SQLValue(keyID),
                SQLValue(principal.objectID), SQLValue(Secret.verifier(of: secret)), .integer(now), SQLValue(expiry))
        }
    }

    /// Whether the credential is a live secret of the principal.
    package func holds(_ credential: String, principal: ServicePrincipal) async throws -> Bool {
        let now = self.clock.milliseconds()
        return try await self.database.read { session in
            try session.rows("SELECT key_id, expiry FROM service_principal_secret WHERE object_id = ?", SQLValue(principal.objectID))
                .contains {
                    Credential.secret(keyID: $0.text(0)) == credential && ($0.optionalInteger(1) ?? .max) > now
                }
        }
    }

    /// The principal whose live secret is `secret`, and which secret that is.
    package func authenticate(appID: String, secret: String) async throws -> (principal: ServicePrincipal, credential: String)? {
        let now = self.clock.milliseconds()
        let (principal, secrets) = try await self.database.read { session -> (ServicePrincipal?, [SQLRow]) in
            let principal = try session.row("\(Self.select) WHERE app_id = ?", SQLValue(appID.lowercased())).map(Self.principal)
            let secrets = try session.rows(
                "SELECT verifier, expiry, key_id FROM service_principal_secret WHERE object_id = ?", SQLValue(principal?.objectID ?? ""))
            return (principal, secrets)
        }
        var matched: String?
        for row in secrets where Secret.matches(secret, verifier: row.text(0)) && (row.optionalInteger(1) ?? .max) > now {
            matched = Credential.secret(keyID: row.text(2))
        }
        guard let matched, let principal else { return nil }
        return (principal, matched)
    }
}
