// Who has which role where, and what follows from it.

package import Persistence

/// A role given to a principal at a scope and all below it.
package struct RoleAssignment: Sendable, Hashable {
    /// A GUID.
    package let name: String
    /// An id as resources write theirs; `/` for everything.
    package let scope: String
    package let principal: String
    /// `User`, `Group` or `ServicePrincipal`.
    package let principalType: String
    package let role: RoleDefinition
    package let text: String?
    /// Milliseconds since 1970.
    package let created: Int64
    package let createdBy: String
    package let updated: Int64
    package let updatedBy: String

    /// What scopes are compared by.
    package var scopeKey: String { RoleStore.key(self.scope) }
}

/// Role assignments, and decisions by them.
///
/// Every decision reads the database: a role that is removed has gone with the next request.
package final class RoleStore: Sendable {
    private let database: any Database
    private let clock: WallClock

    package init(database: any Database, clock: WallClock = .system) {
        self.database = database
        self.clock = clock
    }

    /// Assignments of one server, at most.
    package static let maximumAssignments = 20_000

    /// A scope in the form in which scopes are compared: lower case, no slash at the end, empty for everything.
    package static func key(_ scope: String) -> String {
        var key = scope.lowercased()
        while key.hasSuffix("/") { key.removeLast() }
        return key
    }

    /// Whether `scope` is `other` or lies in it, by whole segments.
    package static func lies(_ scope: String, within other: String) -> Bool {
        other.isEmpty || scope == other || (scope.hasPrefix(other) && scope.dropFirst(other.count).first == "/")
    }

    private static let select = """
        SELECT name, scope, principal, principal_type, role, description, created, created_by, updated, updated_by, scope_key
            FROM role_assignment
        """

    private static func assignment(_ row: SQLRow) -> RoleAssignment? {
        guard let role = RoleDefinition.find(row.text(4)) else { return nil }
        return RoleAssignment(
            name: row.text(0), scope: row.text(1), principal: row.text(2), principalType: row.text(3), role: role,
            text: row.optionalText(5), created: row.integer(6), createdBy: row.text(7), updated: row.integer(8), updatedBy: row.text(9))
    }

    // MARK: Decisions

    /// What a principal may do, read once for as many questions as a request has.
    package struct Rights: Sendable {
        let isEverything: Bool
        let assignments: [(scope: String, role: RoleDefinition)]

        /// Whether a role at the scope or above permits the action.
        ///
        /// - Parameter scope: as ``RoleStore/key(_:)`` makes it.
        package func permits(_ action: String, at scope: String) -> Bool {
            self.isEverything
                || self.assignments.contains { RoleStore.lies(scope, within: $0.scope) && $0.role.permits(action) }
        }

        /// Whether there is any role at the scope, above or below it.
        package func touches(_ scope: String) -> Bool {
            self.isEverything
                || self.assignments.contains { RoleStore.lies(scope, within: $0.scope) || RoleStore.lies($0.scope, within: scope) }
        }

        /// Whether a role permits the action anywhere.
        package func permitsSomewhere(_ action: String) -> Bool {
            self.isEverything || self.assignments.contains { $0.role.permits(action) }
        }

        /// What a principal may do with the content of a registry.
        package func permissions(onRegistry scope: String) -> Set<RepositoryPermission> {
            let key = RoleStore.key(scope)
            return RegistryRoleAction.permissions { self.permits($0, at: key) }
        }
    }

    /// The roles of a principal and of every group it is in.
    package func rights(of principal: Principal) async throws -> Rights {
        guard principal.isEnabled else { return Rights(isEverything: false, assignments: []) }
        if principal.isDirectoryAdministrator { return Rights(isEverything: true, assignments: []) }
        let id = principal.objectID
        return try await self.database.read { session in
            let rows = try session.rows(
                """
                WITH RECURSIVE identity (id) AS (
                    SELECT ? UNION SELECT group_id FROM directory_member JOIN identity ON member_id = identity.id)
                SELECT scope_key, role FROM role_assignment WHERE principal IN (SELECT id FROM identity)
                """, SQLValue(id))
            return Rights(
                isEverything: false, assignments: rows.compactMap { row in RoleDefinition.find(row.text(1)).map { (row.text(0), $0) } })
        }
    }

    // MARK: Assignments

    /// Assignments at, above and below a scope.
    ///
    /// - Parameter includesBelow: whether those at resources within the scope are wanted.
    package func assignments(around scope: String, includesBelow: Bool = true) async throws -> [RoleAssignment] {
        let key = Self.key(scope)
        return try await self.database.read { session in
            try session.rows("\(Self.select) ORDER BY created, name").compactMap { row in
                let other = row.text(10)
                guard Self.lies(key, within: other) || (includesBelow && Self.lies(other, within: key)) else { return nil }
                return Self.assignment(row)
            }
        }
    }

    package func assignment(_ name: String) async throws -> RoleAssignment? {
        try await self.database.read { try $0.row("\(Self.select) WHERE name = ?", SQLValue(name.lowercased())).flatMap(Self.assignment) }
    }

    /// The object and every group it is in.
    package func identities(of objectID: String) async throws -> Set<String> {
        try await self.database.read { try Directory.identities(of: objectID, $0) }
    }

    /// Gives a role.
    ///
    /// - Parameter name: a GUID the client has chosen. The same assignment under the same name is success.
    /// - Throws: ``IdentityError`` with code `alreadyExists` (by another name, or another one by this name), `notFound` for a
    ///   principal that is not in the directory, or `limitReached`.
    package func assign(
        _ role: RoleDefinition, to objectID: String, at scope: String, name: String, text: String?, by creator: String
    ) async throws -> (assignment: RoleAssignment, isNew: Bool) {
        let now = self.clock.milliseconds()
        let key = Self.key(scope)
        let scope = key.isEmpty ? "/" : scope
        return try await self.database.write { session in
            if let existing = try session.row("\(Self.select) WHERE name = ?", SQLValue(name.lowercased())).flatMap(Self.assignment) {
                guard existing.scopeKey == key, existing.principal == objectID.lowercased(), existing.role == role else {
                    throw IdentityError(
                        .inUse,
                        "the role assignment '\(existing.name)' is there already for another principal, role or scope; those cannot be "
                            + "changed. Use another name")
                }
                return (existing, false)
            }
            guard let object = try Directory.find(objectID.lowercased(), session), let type = object.principalType else {
                throw IdentityError(
                    .notFound, "Principal \(objectID.prefix(60)) is not in this directory. Check the object id (not the application id)")
            }
            let duplicate = try session.row(
                "SELECT name FROM role_assignment WHERE scope_key = ? AND principal = ? AND role = ?", SQLValue(key),
                SQLValue(object.objectID), SQLValue(role.id))
            if let duplicate {
                throw IdentityError(
                    .alreadyExists,
                    "The role assignment already exists. The ID of the conflicting role assignment is \(duplicate.text(0).replacing("-", with: ""))"
                )
            }
            let count = try session.row("SELECT COUNT(*) FROM role_assignment")?.integer(0) ?? 0
            guard count < Self.maximumAssignments else {
                throw IdentityError(
                    .limitReached, "there are \(count) role assignments, which is the limit of \(Self.maximumAssignments); use groups")
            }
            try Self.insert(
                name: name, scope: scope, principal: object.objectID, type: type, role: role, text: text, by: creator, now: now, session)
            guard let made = try session.row("\(Self.select) WHERE name = ?", SQLValue(name.lowercased())).flatMap(Self.assignment) else {
                throw IdentityError(.notFound, "the role assignment '\(name)' was removed while it was made")
            }
            return (made, true)
        }
    }

    /// Adds a row within another change.
    package static func insert(
        name: String, scope: String, principal: String, type: String, role: RoleDefinition, text: String? = nil, by creator: String,
        now: Int64, _ session: any SQLWriter
    ) throws {
        try session.execute(
            """
            INSERT OR IGNORE INTO role_assignment
                (name, scope, scope_key, principal, principal_type, role, description, created, created_by, updated, updated_by)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            """, SQLValue(name.lowercased()), SQLValue(scope), SQLValue(self.key(scope)), SQLValue(principal), SQLValue(type),
            SQLValue(role.id), SQLValue(text), .integer(now), SQLValue(creator), .integer(now), SQLValue(creator))
    }

    /// Takes a role away.
    ///
    /// - Returns: whether there was one.
    package func remove(_ name: String) async throws -> Bool {
        try await self.database.write {
            try $0.execute("DELETE FROM role_assignment WHERE name = ?", SQLValue(name.lowercased())) > 0
        }
    }

    /// Removes the assignments at a resource that goes, and at all within it.
    package static func removeAssignments(within scope: String, _ session: any SQLWriter) throws {
        let key = self.key(scope)
        try session.execute(
            "DELETE FROM role_assignment WHERE scope_key = ? OR substr(scope_key, 1, length(?) + 1) = ? || '/'", SQLValue(key),
            SQLValue(key), SQLValue(key))
    }
}
