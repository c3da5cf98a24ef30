// The directory: who there is, and whether they are who they say.

package import Persistence

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// Applications, service principals, users and groups.
///
/// Its parts are in extensions: applications and service principals, users, groups, credentials. Object identifiers are never
/// used again, so what names one that is gone names nobody.
package final class Directory: Sendable {
    let database: any Database
    let clock: WallClock
    let passwords: PasswordHasher
    let signIns = SignInsUnderWay()
    /// Who has which role where.
    package let roles: RoleStore

    package init(database: any Database, clock: WallClock = .system, passwords: PasswordHasher = PasswordHasher()) {
        self.database = database
        self.clock = clock
        self.passwords = passwords
        self.roles = RoleStore(database: database, clock: clock)
    }

    /// Milliseconds since 1970, by the clock of this directory.
    package var now: Int64 { self.clock.milliseconds() }

    /// A fresh object, application or key identifier.
    package static func identifier() -> String { UUID().uuidString.lowercased() }

    static let select = "SELECT object_id, app_id, display_name, administrator, enabled, kind, resource, generation FROM service_principal"

    static func principal(_ row: SQLRow) -> ServicePrincipal {
        ServicePrincipal(
            objectID: row.text(0), appID: row.text(1), displayName: row.text(2), isDirectoryAdministrator: row.flag(3),
            isEnabled: row.flag(4), kind: .init(rawValue: row.text(5)) ?? .application, resource: row.optionalText(6),
            generation: row.integer(7))
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

    package func create(_ principal: ServicePrincipal, owner: String? = nil) async throws {
        let now = self.clock.milliseconds()
        _ = try await self.database.write { session in
            try session.execute(
                """
                INSERT INTO service_principal (object_id, app_id, display_name, administrator, created, enabled, kind, resource)
                    VALUES (?, ?, ?, ?, ?, ?, ?, ?)
                """,
                SQLValue(principal.objectID), SQLValue(principal.appID), SQLValue(principal.displayName),
                .integer(principal.isDirectoryAdministrator ? 1 : 0), .integer(now), .integer(principal.isEnabled ? 1 : 0),
                SQLValue(principal.kind.rawValue), SQLValue(principal.resource))
            try Self.own(principal.objectID, owner, session)
        }
    }

    /// Whether a token's subject is still there, may sign in, and has the credential the token was given for.
    ///
    /// - Returns: the principal, and why what it was given has ended; `nil` when there is no such principal.
    package func standing(of subject: Subject, credential: String?) async throws -> (principal: Principal, isRevoked: Bool)? {
        let now = self.clock.milliseconds()
        return try await self.database.read { session -> (principal: Principal, isRevoked: Bool)? in
            let principal: Principal
            var appID: String?
            switch subject {
            case .servicePrincipal(let id):
                guard let found = try session.row("\(Self.select) WHERE object_id = ?", SQLValue(id)).map(Self.principal) else {
                    return nil
                }
                principal = found.principal
                appID = found.appID
            case .user(let id):
                guard let found = try session.row("\(Self.selectUser) WHERE object_id = ?", SQLValue(id)).map(Self.user) else { return nil }
                principal = found.principal
            default: return nil
            }
            guard principal.isEnabled else { return (principal, true) }
            guard let credential else { return (principal, false) }
            guard let (key, generation) = Credential.parse(directory: credential), generation == principal.generation else {
                return (principal, true)
            }
            guard let appID else { return (principal, key != Self.passwordKey) }
            let holds = try Self.credentials(of: principal.objectID, appID: appID, session).contains {
                $0.keyID == key && $0.isLive(at: now)
            }
            if !holds, try Self.holdsFederated(key, principal.objectID, session) { return (principal, false) }
            return (principal, !holds)
        }
    }

    /// Ends everything a principal has been given so far; it may sign in again.
    ///
    /// - Throws: ``IdentityError`` with code `notFound`.
    package func revoke(_ objectID: String) async throws {
        try await self.database.write { session in
            var count = 0
            for table in ["service_principal", "directory_user"] {
                count += try session.execute("UPDATE \(table) SET generation = generation + 1 WHERE object_id = ?", SQLValue(objectID))
            }
            guard count > 0 else { throw Self.notFound(objectID) }
        }
    }

    // MARK: Any object

    /// Whether a service principal is an application or an identity of something; one that is gone was an application.
    package static func kind(ofServicePrincipal objectID: String, _ session: any SQLReader) throws -> ServicePrincipal.Kind {
        try session.row("SELECT kind FROM service_principal WHERE object_id = ?", SQLValue(objectID)).flatMap {
            ServicePrincipal.Kind(rawValue: $0.text(0))
        } ?? .application
    }

    /// The object with this id, of whatever kind.
    package func object(_ objectID: String) async throws -> DirectoryObject? {
        try await self.objects([objectID]).first
    }

    /// The objects with these ids, in the order of the ids; those that are gone are left out.
    package func objects(_ objectIDs: [String]) async throws -> [DirectoryObject] {
        try await self.database.read { session in
            try objectIDs.compactMap { try Self.find($0.lowercased(), session) }
        }
    }

    static func find(_ id: String, _ session: any SQLReader) throws -> DirectoryObject? {
        if let row = try session.row("\(self.select) WHERE object_id = ?", SQLValue(id)) { return .servicePrincipal(self.principal(row)) }
        if let row = try session.row("\(self.selectUser) WHERE object_id = ?", SQLValue(id)) { return .user(self.user(row)) }
        if let row = try session.row("\(self.selectGroup) WHERE object_id = ?", SQLValue(id)) { return .group(self.group(row)) }
        if let row = try session.row("\(self.selectApplication) WHERE object_id = ?", SQLValue(id)) {
            return .application(self.application(row))
        }
        return nil
    }

    /// Removes what names an object: memberships, ownership, roles and credentials.
    static func forget(_ objectID: String, _ session: any SQLWriter) throws {
        try session.execute("DELETE FROM directory_member WHERE member_id = ?", SQLValue(objectID))
        try session.execute("DELETE FROM directory_owner WHERE object_id = ? OR owner_id = ?", SQLValue(objectID), SQLValue(objectID))
        try session.execute("DELETE FROM directory_credential WHERE object_id = ?", SQLValue(objectID))
        try session.execute("DELETE FROM role_assignment WHERE principal = ?", SQLValue(objectID))
    }

    static func notFound(_ id: String) -> IdentityError {
        IdentityError(.notFound, "Resource '\(id.prefix(120))' was not found in the directory; it may have been deleted")
    }

    // MARK: Owners

    static func own(_ objectID: String, _ owner: String?, _ session: any SQLWriter) throws {
        guard let owner else { return }
        try session.execute(
            "INSERT OR IGNORE INTO directory_owner (object_id, owner_id) VALUES (?, ?)", SQLValue(objectID), SQLValue(owner))
    }

    package func owners(of objectID: String) async throws -> [DirectoryObject] {
        try await self.database.read { session in
            try session.rows("SELECT owner_id FROM directory_owner WHERE object_id = ? ORDER BY owner_id", SQLValue(objectID))
                .compactMap { try Self.find($0.text(0), session) }
        }
    }

    /// Whether `principal` owns the object, itself or as a member of a group; a service principal belongs to whoever owns its
    /// application, too.
    package func owns(_ principal: String, _ objectID: String) async throws -> Bool {
        try await self.database.read { session in
            let ids = try Self.identities(of: principal, session)
            let objects = try session.rows(
                """
                SELECT ? UNION SELECT application.object_id FROM application JOIN service_principal USING (app_id)
                    WHERE service_principal.object_id = ?
                """, SQLValue(objectID), SQLValue(objectID)
            ).map { $0.text(0) }
            for object in objects {
                let owners = try session.rows("SELECT owner_id FROM directory_owner WHERE object_id = ?", SQLValue(object))
                if owners.contains(where: { ids.contains($0.text(0)) }) { return true }
            }
            return false
        }
    }

    /// Objects that a principal owns.
    package func owned(by principal: String) async throws -> [DirectoryObject] {
        try await self.database.read { session in
            try session.rows("SELECT object_id FROM directory_owner WHERE owner_id = ? ORDER BY object_id", SQLValue(principal))
                .compactMap { try Self.find($0.text(0), session) }
        }
    }

    package func addOwner(_ owner: String, to objectID: String) async throws {
        try await self.database.write { session in
            guard try Self.find(objectID, session) != nil else { throw Self.notFound(objectID) }
            guard let object = try Self.find(owner, session), object.principalType != nil else { throw Self.notFound(owner) }
            guard
                try session.execute(
                    "INSERT OR IGNORE INTO directory_owner (object_id, owner_id) VALUES (?, ?)", SQLValue(objectID), SQLValue(owner)) > 0
            else {
                throw IdentityError(
                    .alreadyExists,
                    "One or more added object references already exist for the following modified properties: 'owners'")
            }
        }
    }

    package func removeOwner(_ owner: String, from objectID: String) async throws {
        try await self.database.write { session in
            guard
                try session.execute(
                    "DELETE FROM directory_owner WHERE object_id = ? AND owner_id = ?", SQLValue(objectID), SQLValue(owner)) > 0
            else { throw Self.notFound(owner) }
        }
    }
}
