// Secrets and certificates of applications and service principals, and signing in with a secret.

internal import Persistence

extension Directory {
    /// The key under which a user's password is named in ``Credential``.
    static let passwordKey = "password"
    /// Credentials one object may have.
    package static let maximumCredentials = 50

    private static let selectCredential =
        "SELECT key_id, kind, display_name, verifier, certificate, hint, start, expiry FROM directory_credential"

    private static func credential(_ row: SQLRow) -> DirectoryCredential {
        DirectoryCredential(
            keyID: row.text(0),
            kind: row.text(1) == "certificate" ? .certificate(row.blob(4)) : .secret(verifier: row.text(3), hint: row.optionalText(5)),
            displayName: row.optionalText(2), start: row.integer(6), expiry: row.optionalInteger(7))
    }

    /// Those of a service principal and of its application.
    static func credentials(of objectID: String, appID: String, _ session: any SQLReader) throws -> [DirectoryCredential] {
        try session.rows(
            """
            \(self.selectCredential) WHERE object_id = ? OR object_id IN (SELECT object_id FROM application WHERE app_id = ?)
                ORDER BY created, key_id
            """, SQLValue(objectID), SQLValue(appID)
        ).map(self.credential)
    }

    /// Those of one object alone.
    package func credentials(of objectID: String) async throws -> [DirectoryCredential] {
        try await self.database.read {
            try $0.rows("\(Self.selectCredential) WHERE object_id = ? ORDER BY created, key_id", SQLValue(objectID)).map(Self.credential)
        }
    }

    static func write(_ credential: DirectoryCredential, of objectID: String, now: Int64, _ session: any SQLWriter) throws {
        let count = try session.row("SELECT COUNT(*) FROM directory_credential WHERE object_id = ?", SQLValue(objectID))?.integer(0) ?? 0
        guard count < Self.maximumCredentials else {
            throw IdentityError(
                .limitReached, "the object has \(count) credentials, which is the limit of \(Self.maximumCredentials); remove one first")
        }
        var (kind, verifier, hint, certificate): (String, String?, String?, SQLValue) = ("secret", nil, nil, .null)
        switch credential.kind {
        case .secret(let value, let shown): (verifier, hint) = (value, shown)
        case .certificate(let der): (kind, certificate) = ("certificate", .blob(der))
        }
        try session.execute(
            """
            INSERT INTO directory_credential (key_id, object_id, kind, display_name, verifier, certificate, hint, start, expiry, created)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            """, SQLValue(credential.keyID), SQLValue(objectID), SQLValue(kind), SQLValue(credential.displayName), SQLValue(verifier),
            certificate, SQLValue(hint), .integer(credential.start), SQLValue(credential.expiry), .integer(now))
    }

    /// Makes a secret, which is returned here and known nowhere else.
    package func addSecret(
        to objectID: String, displayName: String?, start: Int64?, expiry: Int64?
    ) async throws -> (credential: DirectoryCredential, secret: String) {
        let now = self.clock.milliseconds()
        let secret = Secret.generate()
        let credential = DirectoryCredential(
            keyID: Self.identifier(), kind: .secret(verifier: Secret.verifier(of: secret), hint: String(secret.prefix(3))),
            displayName: displayName, start: start ?? now, expiry: expiry)
        try await self.database.write { session in
            guard try Self.find(objectID, session) != nil else { throw Self.notFound(objectID) }
            try Self.write(credential, of: objectID, now: now, session)
        }
        return (credential, secret)
    }

    /// Ends one secret or certificate.
    ///
    /// - Throws: ``IdentityError`` with code `notFound`.
    package func removeCredential(_ keyID: String, from objectID: String) async throws {
        try await self.database.write { session in
            guard
                try session.execute(
                    "DELETE FROM directory_credential WHERE key_id = ? AND object_id = ?", SQLValue(keyID.lowercased()), SQLValue(objectID))
                    > 0
            else { throw IdentityError(.notFound, "No password credential found with keyId '\(keyID.prefix(60))'") }
        }
    }

    /// Gives an object these certificates in place of those it had; those named in `kept` stay.
    package func replaceCertificates(of objectID: String, keeping kept: Set<String>, adding fresh: [DirectoryCredential]) async throws {
        let now = self.clock.milliseconds()
        try await self.database.write { session in
            let rows = try session.rows(
                "SELECT key_id FROM directory_credential WHERE object_id = ? AND kind = 'certificate'", SQLValue(objectID))
            for row in rows where !kept.contains(row.text(0)) {
                try session.execute("DELETE FROM directory_credential WHERE key_id = ?", SQLValue(row.text(0)))
            }
            for credential in fresh { try Self.write(credential, of: objectID, now: now, session) }
        }
    }

    /// Gives a principal one secret in place of all it had.
    package func replaceSecrets(of principal: ServicePrincipal, with secret: String, keyID: String, expiry: Int64?) async throws {
        let now = self.clock.milliseconds()
        let credential = DirectoryCredential(
            keyID: keyID, kind: .secret(verifier: Secret.verifier(of: secret), hint: String(secret.prefix(3))), displayName: nil,
            start: now,
            expiry: expiry)
        try await self.database.write { session in
            try session.execute("DELETE FROM directory_credential WHERE object_id = ?", SQLValue(principal.objectID))
            try Self.write(credential, of: principal.objectID, now: now, session)
        }
    }

    /// Whether what was given for the credential still holds: the principal may sign in, and has it.
    package func holds(_ credential: String, subject: Subject) async throws -> Bool {
        guard let standing = try await self.standing(of: subject, credential: credential) else { return false }
        return !standing.isRevoked
    }

    /// The principal and all it can sign in with now; `nil` when there is none that may.
    package func candidate(appID: String) async throws -> (principal: ServicePrincipal, credentials: [DirectoryCredential])? {
        let now = self.clock.milliseconds()
        return try await self.database.read { session -> (principal: ServicePrincipal, credentials: [DirectoryCredential])? in
            guard let principal = try session.row("\(Self.select) WHERE app_id = ?", SQLValue(appID.lowercased())).map(Self.principal),
                principal.isEnabled
            else { return nil }
            let credentials = try Self.credentials(of: principal.objectID, appID: principal.appID, session).filter { $0.isLive(at: now) }
            return (principal, credentials)
        }
    }

    /// The principal whose live secret is `secret`, and which secret that is.
    package func authenticate(appID: String, secret: String) async throws -> (principal: ServicePrincipal, credential: String)? {
        guard let (principal, credentials) = try await self.candidate(appID: appID) else {
            // As long as a principal that is there.
            _ = Secret.matches(secret, verifier: Secret.verifier(of: ""))
            return nil
        }
        var matched: String?
        for credential in credentials {
            guard case .secret(let verifier, _) = credential.kind, Secret.matches(secret, verifier: verifier) else { continue }
            matched = Credential.directory(key: credential.keyID, generation: principal.generation)
        }
        return matched.map { (principal, $0) }
    }
}

extension Directory {
    /// When the secret or certificate behind a credential ends, in milliseconds since 1970; `nil` where it does not.
    package func expiry(of credential: String) async throws -> Int64? {
        guard let (key, _) = Credential.parse(directory: credential) else { return nil }
        return try await self.database.read {
            try $0.row("SELECT expiry FROM directory_credential WHERE key_id = ?", SQLValue(key))?.optionalInteger(0)
        }
    }
}
