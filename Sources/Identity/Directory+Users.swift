// Users: accounts with passwords people choose, which can be guessed, so guessing is slow and ends.

internal import Persistence

extension Directory {
    static let selectUser =
        "SELECT object_id, name, display_name, mail_nickname, enabled, administrator, generation, created FROM directory_user"

    static func user(_ row: SQLRow) -> DirectoryUser {
        DirectoryUser(
            objectID: row.text(0), name: row.text(1), displayName: row.text(2), mailNickname: row.text(3), isEnabled: row.flag(4),
            isDirectoryAdministrator: row.flag(5), generation: row.integer(6), created: row.integer(7))
    }

    /// The user with this object id or account name.
    package func user(_ id: String) async throws -> DirectoryUser? {
        try await self.database.read {
            try $0.row("\(Self.selectUser) WHERE object_id = ? OR name = ?", SQLValue(id.lowercased()), SQLValue(id)).map(Self.user)
        }
    }

    /// - Throws: ``IdentityError`` with code `invalidName`, `alreadyExists`, or `invalidCredentials` for a password that will not do.
    package func createUser(
        _ name: String, displayName: String, mailNickname: String?, password: String, isEnabled: Bool = true,
        isDirectoryAdministrator: Bool = false
    ) async throws -> DirectoryUser {
        guard DirectoryUser.isValid(name: name) else {
            throw IdentityError(
                .invalidName,
                "the userPrincipalName '\(name.prefix(120))' is not valid: use letters, digits and -_.+' around one '@', such as ana@example.com"
            )
        }
        try Self.check(password, name: name)
        let verifier = try await self.passwords.verifier(of: password)
        let user = DirectoryUser(
            objectID: Self.identifier(), name: name, displayName: displayName,
            mailNickname: mailNickname ?? String(name.prefix { $0 != "@" }), isEnabled: isEnabled,
            isDirectoryAdministrator: isDirectoryAdministrator, generation: 0, created: self.clock.milliseconds())
        try await self.database.write { session in
            guard try session.row("SELECT 1 FROM directory_user WHERE name = ?", SQLValue(name)) == nil else {
                throw IdentityError(
                    .alreadyExists, "Another object with the same value for property userPrincipalName already exists: '\(name)'")
            }
            try session.execute(
                """
                INSERT INTO directory_user (object_id, name, display_name, mail_nickname, verifier, enabled, administrator, created)
                    VALUES (?, ?, ?, ?, ?, ?, ?, ?)
                """, SQLValue(user.objectID), SQLValue(user.name), SQLValue(user.displayName), SQLValue(user.mailNickname),
                SQLValue(verifier), .integer(isEnabled ? 1 : 0), .integer(isDirectoryAdministrator ? 1 : 0), .integer(user.created))
        }
        return user
    }

    /// Changes what is given. A new password, and no longer being enabled, end what the user was given before.
    package func updateUser(
        _ objectID: String, displayName: String? = nil, mailNickname: String? = nil, password: String? = nil, isEnabled: Bool? = nil
    ) async throws {
        guard let user = try await self.user(objectID) else { throw Self.notFound(objectID) }
        var verifier: String?
        if let password {
            try Self.check(password, name: user.name)
            verifier = try await self.passwords.verifier(of: password)
        }
        try await self.database.write { [verifier] session in
            try Self.refuseLastAdministrator(user.objectID, session, unless: isEnabled ?? true)
            if let displayName {
                try session.execute(
                    "UPDATE directory_user SET display_name = ? WHERE object_id = ?", SQLValue(displayName), SQLValue(user.objectID))
            }
            if let mailNickname {
                try session.execute(
                    "UPDATE directory_user SET mail_nickname = ? WHERE object_id = ?", SQLValue(mailNickname), SQLValue(user.objectID))
            }
            if let verifier {
                try session.execute(
                    """
                    UPDATE directory_user SET verifier = ?, generation = generation + 1, failures = 0, locked_until = 0 WHERE object_id = ?
                    """, SQLValue(verifier), SQLValue(user.objectID))
            }
            if let isEnabled {
                try session.execute(
                    "UPDATE directory_user SET enabled = ?, generation = generation + (enabled <> ?) WHERE object_id = ?",
                    .integer(isEnabled ? 1 : 0), .integer(isEnabled ? 1 : 0), SQLValue(user.objectID))
            }
        }
    }

    package func deleteUser(_ objectID: String) async throws {
        try await self.database.write { session in
            try Self.refuseLastAdministrator(objectID, session)
            try Self.forget(objectID, session)
            guard try session.execute("DELETE FROM directory_user WHERE object_id = ?", SQLValue(objectID)) > 0 else {
                throw Self.notFound(objectID)
            }
        }
    }

    /// 10 bytes at least: with what a slow hash and the lock-out allow, such a password is not guessed.
    private static func check(_ password: String, name: String) throws(IdentityError) {
        guard (10...256).contains(password.utf8.count) else {
            throw IdentityError(.invalidCredentials, "The specified password does not comply with the policy: use 10 to 256 characters")
        }
        let account = name.prefix { $0 != "@" }.lowercased()
        guard account.utf8.count < 4 || !password.lowercased().contains(account), Set(password.utf8).count >= 4 else {
            throw IdentityError(
                .invalidCredentials,
                "The specified password does not comply with the policy: it must not contain the account name or repeat a few characters")
        }
    }

    // MARK: Signing in

    /// Wrong passwords in a row after which an account is locked.
    package static let failuresBeforeLock: Int64 = 10
    /// The first lock, in milliseconds; each further failure doubles it up to an hour.
    static let firstLock: Int64 = 60_000
    static let longestLock: Int64 = 3_600_000

    /// The user whose password this is, and the credential to name in tokens.
    ///
    /// Attempts at the same time cannot all pass below the limit: each one under way counts as if it were wrong, but only as long as it is
    /// under way. What is right, or could not be looked at, leaves nothing behind.
    ///
    /// - Throws: ``IdentityError`` with code `invalidCredentials`, `locked` (whatever the password) or `busy`.
    package func authenticate(user name: String, password: String) async throws -> (user: DirectoryUser, credential: String) {
        let wrong = IdentityError(.invalidCredentials, "Invalid user name or password")
        guard password.utf8.count <= 1024, name.utf8.count <= 256 else { throw wrong }
        guard let user = try await self.database.read({ try $0.row("\(Self.selectUser) WHERE name = ?", SQLValue(name)).map(Self.user) })
        else {
            // A name that nobody has takes as long.
            _ = try await self.passwords.matches(password, verifier: nil)
            throw wrong
        }
        let objectID = user.objectID
        // Before the failures are read: one that ends meanwhile has written its own by then.
        let others = self.signIns.begin(objectID)
        defer { self.signIns.end(objectID) }
        let now = self.clock.milliseconds()
        let state = try await self.database.read { session in
            try session.row("SELECT verifier, failures, locked_until FROM directory_user WHERE object_id = ?", SQLValue(objectID)).map {
                (verifier: $0.text(0), failures: $0.integer(1), lockedUntil: $0.integer(2))
            }
        }
        guard let state else { throw wrong }
        guard state.lockedUntil <= now else {
            throw IdentityError(
                .locked, "The account is locked, because too many sign-ins with a wrong password were tried. Try again later")
        }
        guard others == 0 || state.failures + others < Self.failuresBeforeLock else {
            throw IdentityError(.busy, "Too many sign-ins of this account at a time. Try again in a moment")
        }
        guard try await self.passwords.matches(password, verifier: state.verifier), user.isEnabled else {
            try await self.countFailure(of: objectID)
            throw wrong
        }
        if state.failures > 0 {
            _ = try await self.database.write {
                try $0.execute("UPDATE directory_user SET failures = 0, locked_until = 0 WHERE object_id = ?", SQLValue(objectID))
            }
        }
        return (user, Credential.directory(key: Self.passwordKey, generation: user.generation))
    }

    private func countFailure(of objectID: String) async throws {
        let now = self.clock.milliseconds()
        try await self.database.write { session in
            guard let row = try session.row("SELECT failures FROM directory_user WHERE object_id = ?", SQLValue(objectID)) else { return }
            let failures = row.integer(0) + 1
            let beyond = failures - Self.failuresBeforeLock
            let lock = beyond < 0 ? 0 : min(Self.longestLock, Self.firstLock << min(beyond, 10))
            try session.execute(
                "UPDATE directory_user SET failures = ?, locked_until = ? WHERE object_id = ?", .integer(failures),
                .integer(lock == 0 ? 0 : now + lock), SQLValue(objectID))
        }
    }
}
