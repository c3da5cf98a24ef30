// Scope maps, tokens and their passwords over the database.

package import Persistence

/// Scope maps and tokens of registries.
package final class IdentityStore: Sendable {
    package static let maximumTokens = 20_000
    package static let maximumScopeMaps = 20_000

    package let database: any Database
    package let clock: WallClock
    private let limits: (tokens: Int, scopeMaps: Int)
    private let onChange: @Sendable () -> Void

    /// - Parameters:
    ///   - limits: tokens and scope maps of one registry; tests lower them.
    ///   - onChange: called after each change; what connected registries are told may differ from then on.
    package init(
        database: any Database, clock: WallClock = .system,
        limits: (tokens: Int, scopeMaps: Int) = (IdentityStore.maximumTokens, IdentityStore.maximumScopeMaps),
        onChange: @escaping @Sendable () -> Void = {}
    ) {
        self.database = database
        self.clock = clock
        self.limits = limits
        self.onChange = onChange
    }

    /// Changes the database and tells those who wait for changes.
    private func change<Value: Sendable>(_ body: @escaping @Sendable (any SQLWriter) throws -> Value) async throws -> Value {
        let value = try await self.database.write(body)
        self.onChange()
        return value
    }

    // MARK: Scope maps

    /// Creates the system scope maps of a new registry.
    package func createSystemScopeMaps(in registry: RegistryID) async throws {
        let now = self.clock.milliseconds()
        try await self.change { session in
            for map in ScopeMap.system {
                let actions = map.permissions.map { "repositories/*/\($0.rawValue)" }.sorted()
                try session.execute(
                    "INSERT INTO scope_map (registry, name, text, system, actions, created) VALUES (?, ?, ?, 1, ?, ?) ON CONFLICT DO NOTHING",
                    .integer(registry.value), SQLValue(map.name), SQLValue(map.text), SQLValue(actions.joined(separator: "\n")),
                    .integer(now))
            }
        }
    }

    package func scopeMaps(in registry: RegistryID) async throws -> [ScopeMap] {
        try await self.database.read { session in
            try session.rows("\(Self.selectScopeMap) WHERE registry = ? ORDER BY name", .integer(registry.value)).map(Self.scopeMap)
        }
    }

    package func scopeMap(_ name: String, in registry: RegistryID) async throws -> ScopeMap? {
        try await self.database.read { try Self.scopeMap(name, in: registry, $0) }
    }

    private static let selectScopeMap = "SELECT name, text, system, actions, created FROM scope_map"

    private static func scopeMap(_ row: SQLRow) throws -> ScopeMap {
        ScopeMap(
            name: row.text(0), text: row.optionalText(1), isSystemDefined: row.flag(2),
            actions: try row.text(3).split(separator: "\n").map { try ScopeMapAction(String($0)) }, created: row.integer(4))
    }

    static func scopeMap(_ name: String, in registry: RegistryID, _ session: any SQLReader) throws -> ScopeMap? {
        try session.row("\(self.selectScopeMap) WHERE registry = ? AND name = ?", .integer(registry.value), SQLValue(name)).map(
            self.scopeMap)
    }

    /// Creates or replaces a scope map.
    ///
    /// - Parameter also: runs in the same transaction.
    /// - Throws: `invalidName`, `readOnly` for system maps, `limitReached` naming the limit and the count.
    package func put(
        _ map: ScopeMap, in registry: RegistryID, also: @escaping @Sendable (any SQLWriter) throws -> Void = { _ in }
    ) async throws {
        guard ResourceName.isValid(map.name), !map.name.hasPrefix("_") else {
            throw IdentityError(
                .invalidName,
                "scope map name '\(map.name.prefix(60))' is not valid: use 5 to 50 letters, digits, '-' and '_', not beginning with '_'")
        }
        let repositoryActions = map.actions.filter { if case .repository = $0 { true } else { false } }.count
        guard repositoryActions <= ScopeMap.maximumRepositoryActions else {
            throw IdentityError(
                .limitReached,
                "scope map '\(map.name)' would hold \(repositoryActions) repository permissions; the limit is \(ScopeMap.maximumRepositoryActions)"
            )
        }
        let limit = self.limits.scopeMaps
        try await self.change { session in
            if let existing = try Self.scopeMap(map.name, in: registry, session) {
                guard !existing.isSystemDefined else {
                    throw IdentityError(.readOnly, "scope map '\(map.name)' is system defined and cannot be changed")
                }
            } else {
                try Self.checkLimit("scope_map", "scope maps", limit, in: registry, session)
            }
            try Self.write(map, in: registry, session)
            try also(session)
        }
    }

    private static func write(_ map: ScopeMap, in registry: RegistryID, _ session: any SQLWriter) throws {
        try session.execute(
            """
            INSERT INTO scope_map (registry, name, text, system, actions, created) VALUES (?, ?, ?, ?, ?, ?)
            ON CONFLICT (registry, name) DO UPDATE SET text = excluded.text, actions = excluded.actions
            """, .integer(registry.value), SQLValue(map.name), SQLValue(map.text), .integer(map.isSystemDefined ? 1 : 0),
            SQLValue(map.actions.map(\.description).joined(separator: "\n")), .integer(map.created))
    }

    /// Removes a scope map. What is not there is no error.
    ///
    /// - Throws: `readOnly` for system maps, `inUse` naming a token that refers to it.
    @discardableResult
    package func deleteScopeMap(_ name: String, in registry: RegistryID) async throws -> Bool {
        try await self.change { session in
            guard let map = try Self.scopeMap(name, in: registry, session) else { return false }
            guard !map.isSystemDefined else {
                throw IdentityError(.readOnly, "scope map '\(name)' is system defined and cannot be deleted")
            }
            if let user = try session.row(
                "SELECT name FROM token WHERE registry = ? AND scope_map = ? LIMIT 1", .integer(registry.value), SQLValue(name))
            {
                throw IdentityError(
                    .inUse, "scope map '\(name)' is used by token '\(user.text(0))'; delete the token or give it another scope map first")
            }
            return try session.execute("DELETE FROM scope_map WHERE registry = ? AND name = ?", .integer(registry.value), SQLValue(name))
                > 0
        }
    }

    // MARK: Tokens

    package func tokens(in registry: RegistryID) async throws -> [TokenRecord] {
        try await self.database.read { session in
            let passwords = try session.rows(
                "SELECT slot, verifier, created, expiry, token FROM token_password WHERE registry = ? ORDER BY token, slot",
                .integer(registry.value))
            let byToken = Dictionary(grouping: passwords) { $0.text(4).lowercased() }
            return try session.rows("\(Self.selectToken) WHERE registry = ? ORDER BY name", .integer(registry.value)).map { row in
                Self.token(row, passwords: byToken[row.text(0).lowercased()] ?? [])
            }
        }
    }

    package func token(_ name: String, in registry: RegistryID) async throws -> TokenRecord? {
        try await self.database.read { try Self.token(name, in: registry, $0) }
    }

    /// A token and its scope map, as they were at one moment; `nil` where either is missing.
    package func tokenWithMap(_ name: String, in registry: RegistryID) async throws -> (token: TokenRecord, map: ScopeMap)? {
        try await self.database.read { try Self.tokenWithMap(name, in: registry, $0) }
    }

    private static func tokenWithMap(_ name: String, in registry: RegistryID, _ session: any SQLReader) throws -> (
        token: TokenRecord, map: ScopeMap
    )? {
        guard let token = try self.token(name, in: registry, session),
            let map = try self.scopeMap(token.scopeMap, in: registry, session)
        else { return nil }
        return (token, map)
    }

    private static let selectToken = "SELECT name, scope_map, enabled, created FROM token"

    private static func token(_ row: SQLRow, passwords: [SQLRow]) -> TokenRecord {
        TokenRecord(
            name: row.text(0), scopeMap: row.text(1), isEnabled: row.flag(2), created: row.integer(3),
            passwords: passwords.compactMap { row in
                PasswordSlot(rawValue: row.text(0)).map {
                    PasswordVerifier(slot: $0, verifier: row.text(1), created: row.integer(2), expiry: row.optionalInteger(3))
                }
            })
    }

    static func token(_ name: String, in registry: RegistryID, _ session: any SQLReader) throws -> TokenRecord? {
        guard let row = try session.row("\(self.selectToken) WHERE registry = ? AND name = ?", .integer(registry.value), SQLValue(name))
        else { return nil }
        let passwords = try session.rows(
            "SELECT slot, verifier, created, expiry FROM token_password WHERE registry = ? AND token = ? ORDER BY slot",
            .integer(registry.value),
            SQLValue(name))
        return self.token(row, passwords: passwords)
    }

    /// Creates a token or changes its scope map and status; passwords stay unless `kept` says which of them do.
    ///
    /// - Parameter also: runs in the same transaction.
    /// - Throws: `invalidName`, `notFound` for the scope map, `limitReached` naming the limit and the count.
    @discardableResult
    package func putToken(
        _ name: String, scopeMap: String, isEnabled: Bool, keeping kept: [PasswordSlot]? = nil, in registry: RegistryID,
        also: @escaping @Sendable (any SQLWriter) throws -> Void = { _ in }
    ) async throws -> TokenRecord {
        guard ResourceName.isValid(name) else {
            throw IdentityError(.invalidName, "token name '\(name.prefix(60))' is not valid: use 5 to 50 letters, digits, '-' and '_'")
        }
        let now = self.clock.milliseconds()
        let limit = self.limits.tokens
        return try await self.change { session in
            guard let map = try Self.scopeMap(scopeMap, in: registry, session) else {
                throw IdentityError(.notFound, "scope map '\(scopeMap)' is not in this registry; create it first")
            }
            if try Self.token(name, in: registry, session) == nil { try Self.checkLimit("token", "tokens", limit, in: registry, session) }
            try session.execute(
                """
                INSERT INTO token (registry, name, scope_map, enabled, created) VALUES (?, ?, ?, ?, ?)
                ON CONFLICT (registry, name) DO UPDATE SET scope_map = excluded.scope_map, enabled = excluded.enabled
                """, .integer(registry.value), SQLValue(name), SQLValue(map.name), .integer(isEnabled ? 1 : 0), .integer(now))
            if let kept { try Self.keep(kept, token: name, in: registry, session) }
            try also(session)
            guard let token = try Self.token(name, in: registry, session) else { throw IdentityError(.notFound, "token '\(name)' is gone") }
            return token
        }
    }

    @discardableResult
    package func deleteToken(_ name: String, in registry: RegistryID) async throws -> Bool {
        try await self.change { session in
            try session.execute("DELETE FROM token WHERE registry = ? AND name = ?", .integer(registry.value), SQLValue(name)) > 0
        }
    }

    /// Generates new passwords for `slots`; the others stay as they are.
    ///
    /// - Parameters:
    ///   - suffix: appended to each value, after its random part (the trust pin of sync passwords).
    ///   - also: runs in the same transaction.
    /// - Returns: the values, which exist nowhere else afterwards, and the token as stored.
    package func generatePasswords(
        _ slots: [PasswordSlot], expiry: Int64?, suffix: String = "", token name: String, in registry: RegistryID,
        also: @escaping @Sendable (any SQLWriter) throws -> Void = { _ in }
    ) async throws -> (token: TokenRecord, values: [PasswordSlot: String]) {
        let now = self.clock.milliseconds()
        let values = Dictionary(uniqueKeysWithValues: slots.map { ($0, Secret.generate() + suffix) })
        let token = try await self.change { session in
            guard try Self.token(name, in: registry, session) != nil else {
                throw IdentityError(.notFound, "token '\(name)' is not in this registry")
            }
            for (slot, value) in values {
                try session.execute(
                    """
                    INSERT INTO token_password (registry, token, slot, verifier, created, expiry) VALUES (?, ?, ?, ?, ?, ?)
                    ON CONFLICT (registry, token, slot) DO UPDATE SET verifier = excluded.verifier, created = excluded.created, expiry = excluded.expiry
                    """, .integer(registry.value), SQLValue(name), SQLValue(slot.rawValue), SQLValue(Secret.verifier(of: value)),
                    .integer(now),
                    SQLValue(expiry))
            }
            try also(session)
            guard let token = try Self.token(name, in: registry, session) else { throw IdentityError(.notFound, "token '\(name)' is gone") }
            return token
        }
        return (token, values)
    }

    /// Removes all passwords but those in `slots`.
    package func keepPasswords(_ slots: [PasswordSlot], token name: String, in registry: RegistryID) async throws {
        try await self.change { try Self.keep(slots, token: name, in: registry, $0) }
    }

    private static func keep(_ slots: [PasswordSlot], token name: String, in registry: RegistryID, _ session: any SQLWriter) throws {
        for slot in PasswordSlot.allCases where !slots.contains(slot) {
            try session.execute(
                "DELETE FROM token_password WHERE registry = ? AND token = ? AND slot = ?", .integer(registry.value), SQLValue(name),
                SQLValue(slot.rawValue))
        }
    }

    /// Replaces all tokens and scope maps by those of the parent (connected registries).
    ///
    /// - Parameter carried: tokens, in lower case, that are only passed on to connected registries below.
    package func replace(
        tokens: [TokenRecord], scopeMaps: [ScopeMap], carried: Set<String> = [], in registry: RegistryID
    ) async throws {
        try await self.change { session in
            try session.execute("DELETE FROM token WHERE registry = ?", .integer(registry.value))
            try session.execute("DELETE FROM scope_map WHERE registry = ?", .integer(registry.value))
            for map in scopeMaps { try Self.write(map, in: registry, session) }
            for token in tokens {
                try session.execute(
                    "INSERT INTO token (registry, name, scope_map, enabled, created, carried) VALUES (?, ?, ?, ?, ?, ?)",
                    .integer(registry.value), SQLValue(token.name), SQLValue(token.scopeMap), .integer(token.isEnabled ? 1 : 0),
                    .integer(token.created), .integer(carried.contains(token.name.lowercased()) ? 1 : 0))
                for password in token.passwords {
                    try session.execute(
                        "INSERT INTO token_password (registry, token, slot, verifier, created, expiry) VALUES (?, ?, ?, ?, ?, ?)",
                        .integer(registry.value), SQLValue(token.name), SQLValue(password.slot.rawValue), SQLValue(password.verifier),
                        .integer(password.created), SQLValue(password.expiry))
                }
            }
        }
    }

    /// The token whose live password is `password`, with its scope map; `nil` for anything else.
    package func authenticate(token name: String, password: String, in registry: RegistryID) async throws -> (
        token: TokenRecord, map: ScopeMap, credential: String
    )? {
        let now = self.clock.milliseconds()
        let found = try await self.database.read { session -> (TokenRecord, ScopeMap)? in
            guard let found = try Self.tokenWithMap(name, in: registry, session),
                try session.row("SELECT carried FROM token WHERE registry = ? AND name = ?", .integer(registry.value), SQLValue(name))?
                    .flag(0) == false
            else { return nil }
            return found
        }
        // The comparison is made also for names that do not exist, so that answers take the same time.
        let verifiers =
            found?.0.passwords ?? [PasswordVerifier(slot: .password1, verifier: String(repeating: "0", count: 64), created: 0, expiry: nil)]
        var matched: PasswordVerifier?
        for candidate in verifiers where Secret.matches(password, verifier: candidate.verifier) && (candidate.expiry ?? .max) > now {
            matched = candidate
        }
        guard let matched, let found, found.0.isEnabled else { return nil }
        return (found.0, found.1, Credential.password(matched))
    }

    private static func checkLimit(_ table: String, _ things: String, _ limit: Int, in registry: RegistryID, _ session: any SQLReader)
        throws
    {
        let count = try session.row("SELECT count(*) FROM \(table) WHERE registry = ?", .integer(registry.value))?.integer(0) ?? 0
        guard count < Int64(limit) else {
            throw IdentityError(.limitReached, "the registry has \(count) \(things); the limit is \(limit): delete some that are not used")
        }
    }
}
