// Applications and the service principals made of them.

package import Persistence

extension Directory {
    static let selectApplication = "SELECT object_id, app_id, display_name, created FROM application"

    static func application(_ row: SQLRow) -> DirectoryApplication {
        DirectoryApplication(objectID: row.text(0), appID: row.text(1), displayName: row.text(2), created: row.integer(3))
    }

    /// The application with this object or application id.
    package func application(_ id: String) async throws -> DirectoryApplication? {
        try await self.database.read {
            try $0.row("\(Self.selectApplication) WHERE object_id = ? OR app_id = ?", SQLValue(id.lowercased()), SQLValue(id.lowercased()))
                .map(Self.application)
        }
    }

    /// Registers an application under a name nobody else has.
    ///
    /// - Throws: ``IdentityError`` with code `alreadyExists`.
    package func createApplication(
        _ displayName: String, certificates: [DirectoryCredential] = [], owner: String?
    ) async throws -> DirectoryApplication {
        let now = self.clock.milliseconds()
        let application = DirectoryApplication(
            objectID: Self.identifier(), appID: Self.identifier(), displayName: displayName, created: now)
        try await self.database.write { session in
            try Self.refuseTaken(displayName, except: application.objectID, session)
            try session.execute(
                "INSERT INTO application (object_id, app_id, display_name, created) VALUES (?, ?, ?, ?)", SQLValue(application.objectID),
                SQLValue(application.appID), SQLValue(displayName), .integer(now))
            try Self.own(application.objectID, owner, session)
            for certificate in certificates { try Self.write(certificate, of: application.objectID, now: now, session) }
        }
        return application
    }

    private static func refuseTaken(_ displayName: String, except objectID: String, _ session: any SQLReader) throws {
        guard
            let taken = try session.row(
                "SELECT app_id FROM application WHERE display_name = ? AND object_id <> ?", SQLValue(displayName), SQLValue(objectID))
        else { return }
        throw IdentityError(
            .alreadyExists,
            "Another object with the same value for property displayName already exists: '\(displayName)' is application \(taken.text(0)). "
                + "Choose another name, or reset that application's credential")
    }

    package func rename(application: DirectoryApplication, to displayName: String) async throws {
        try await self.database.write { session in
            try Self.refuseTaken(displayName, except: application.objectID, session)
            try session.execute(
                "UPDATE application SET display_name = ? WHERE object_id = ?", SQLValue(displayName), SQLValue(application.objectID))
            try session.execute(
                "UPDATE service_principal SET display_name = ? WHERE app_id = ?", SQLValue(displayName), SQLValue(application.appID))
        }
    }

    /// Deletes an application with its service principal, their secrets and roles.
    ///
    /// - Throws: ``IdentityError`` with code `notFound`.
    package func deleteApplication(_ application: DirectoryApplication) async throws {
        try await self.database.write { session in
            if let row = try session.row("\(Self.select) WHERE app_id = ?", SQLValue(application.appID)) {
                try Self.delete(Self.principal(row), session)
            }
            try Self.forget(application.objectID, session)
            guard try session.execute("DELETE FROM application WHERE object_id = ?", SQLValue(application.objectID)) > 0 else {
                throw Self.notFound(application.objectID)
            }
        }
    }

    /// Makes the service principal of an application.
    ///
    /// - Throws: ``IdentityError`` with code `alreadyExists` or `notFound`.
    package func createServicePrincipal(appID: String, isEnabled: Bool, owner: String?) async throws -> ServicePrincipal {
        let now = self.clock.milliseconds()
        let id = Self.identifier()
        return try await self.database.write { session in
            guard let row = try session.row("\(Self.selectApplication) WHERE app_id = ?", SQLValue(appID.lowercased())) else {
                throw IdentityError(.notFound, "No application with appId '\(appID.prefix(60))' is registered here; register one first")
            }
            let application = Self.application(row)
            guard try session.row("SELECT 1 FROM service_principal WHERE app_id = ?", SQLValue(application.appID)) == nil else {
                throw IdentityError(
                    .alreadyExists,
                    "The service principal cannot be created because one with appId '\(application.appID)' is there already (property appId)"
                )
            }
            try session.execute(
                """
                INSERT INTO service_principal (object_id, app_id, display_name, administrator, created, enabled) VALUES (?, ?, ?, 0, ?, ?)
                """, SQLValue(id), SQLValue(application.appID), SQLValue(application.displayName), .integer(now),
                .integer(isEnabled ? 1 : 0))
            try Self.own(id, owner, session)
            return ServicePrincipal(
                objectID: id, appID: application.appID, displayName: application.displayName, isDirectoryAdministrator: false,
                isEnabled: isEnabled)
        }
    }

    /// Lets a service principal sign in, or no more. Disabling ends what it was given.
    package func setEnabled(_ isEnabled: Bool, servicePrincipal objectID: String) async throws {
        try await self.database.write { session in
            try Self.refuseLastAdministrator(objectID, session, unless: isEnabled)
            guard
                try session.execute(
                    "UPDATE service_principal SET enabled = ?, generation = generation + (enabled <> ?) WHERE object_id = ?",
                    .integer(isEnabled ? 1 : 0), .integer(isEnabled ? 1 : 0), SQLValue(objectID)) > 0
            else { throw Self.notFound(objectID) }
        }
    }

    package func deleteServicePrincipal(_ objectID: String) async throws {
        try await self.database.write { session in
            guard let row = try session.row("\(Self.select) WHERE object_id = ?", SQLValue(objectID)) else { throw Self.notFound(objectID) }
            try Self.delete(Self.principal(row), session)
        }
    }

    private static func delete(_ principal: ServicePrincipal, _ session: any SQLWriter) throws {
        guard principal.kind == .application else {
            throw IdentityError(
                .inUse, "'\(principal.displayName)' is a managed identity, which goes with its resource \(principal.resource ?? "")")
        }
        try self.refuseLastAdministrator(principal.objectID, session)
        try self.forget(principal.objectID, session)
        try session.execute("DELETE FROM service_principal WHERE object_id = ?", SQLValue(principal.objectID))
    }

    /// Somebody must be able to administrate the directory.
    static func refuseLastAdministrator(_ objectID: String, _ session: any SQLReader, unless isHarmless: Bool = false) throws {
        if isHarmless { return }
        let administrators = try session.rows(
            """
            SELECT object_id FROM service_principal WHERE administrator = 1 AND enabled = 1
                UNION SELECT object_id FROM directory_user WHERE administrator = 1 AND enabled = 1
            """
        ).map { $0.text(0) }
        guard administrators != [objectID] else {
            throw IdentityError(.inUse, "this is the only administrator of the directory; nobody could manage it afterwards")
        }
    }

    /// Makes the principal of a managed identity within another change.
    package static func createManagedIdentity(
        _ displayName: String, resource: String, now: Int64, _ session: any SQLWriter
    ) throws -> ServicePrincipal {
        let principal = ServicePrincipal(
            objectID: self.identifier(), appID: self.identifier(), displayName: displayName, isDirectoryAdministrator: false,
            kind: .managedIdentity, resource: resource)
        try session.execute(
            """
            INSERT INTO service_principal (object_id, app_id, display_name, administrator, created, kind, resource)
                VALUES (?, ?, ?, 0, ?, ?, ?)
            """, SQLValue(principal.objectID), SQLValue(principal.appID), SQLValue(displayName), .integer(now),
            SQLValue(principal.kind.rawValue), SQLValue(resource))
        return principal
    }

    /// Removes the principals of the managed identities of a resource, and their roles.
    package static func removeManagedIdentities(ofResource resource: String, _ session: any SQLWriter) throws {
        let rows = try session.rows(
            "SELECT object_id FROM service_principal WHERE kind = 'ManagedIdentity' AND resource = ? COLLATE NOCASE", SQLValue(resource))
        for row in rows {
            try self.forget(row.text(0), session)
            try session.execute("DELETE FROM service_principal WHERE object_id = ?", SQLValue(row.text(0)))
        }
    }
}
