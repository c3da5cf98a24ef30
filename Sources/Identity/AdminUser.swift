// The admin user of a registry: two passwords that its owner may look up at any time, so they are kept sealed, not hashed.

package import Persistence

/// The two passwords of a registry's admin user.
package enum AdminPasswordName: String, Sendable, CaseIterable {
    case password, password2
}

/// A password as its owner sees it.
package struct AdminPassword: Sendable, Hashable {
    package let name: AdminPasswordName
    package let value: String
}

/// Admin users over the database.
///
/// `az acr credential show` prints the passwords whenever it is asked, so verifiers will not do. What lies in the database
/// is encrypted (AES-GCM, bound to registry and name) under a key of the `keys` folder: a copy of the database alone shows nothing.
package struct AdminUsers: Sendable {
    private let database: any Database
    private let clock: WallClock
    private let box: SecretBox

    /// - Parameter folder: where the key lies; it is made when there is none.
    package init(database: any Database, folder: String, clock: WallClock = .system) throws {
        self.box = try SecretBox(path: "\(folder)/admin-passwords.key", lost: "renew the admin passwords")
        self.database = database
        self.clock = clock
    }

    /// The passwords; those that do not exist yet, or cannot be opened any more, are made.
    package func passwords(in registry: RegistryID) async throws -> [AdminPassword] {
        let stored = try await self.stored(registry)
        var passwords: [AdminPassword] = []
        for name in AdminPasswordName.allCases {
            if let value = stored[name].flatMap({ self.open($0.sealed, registry, name) }) {
                passwords.append(AdminPassword(name: name, value: value))
            } else {
                passwords.append(try await self.renew(name, in: registry))
            }
        }
        return passwords
    }

    /// Replaces one password; the other stays.
    @discardableResult
    package func renew(_ name: AdminPasswordName, in registry: RegistryID) async throws -> AdminPassword {
        let value = Secret.generate()
        let sealed = try self.seal(value, registry, name)
        let now = self.clock.milliseconds()
        _ = try await self.database.write { session in
            try session.execute(
                """
                INSERT INTO admin_password (registry, name, sealed, created) VALUES (?1, ?2, ?3, ?4)
                ON CONFLICT (registry, name) DO UPDATE SET sealed = excluded.sealed, created = max(excluded.created, created + 1)
                """, .integer(registry.value), SQLValue(name.rawValue), .blob(sealed), .integer(now))
        }
        return AdminPassword(name: name, value: value)
    }

    /// The credential that a password is; `nil` when it is none of the two. See ``Credential``.
    package func authenticate(password: String, in registry: RegistryID) async throws -> String? {
        let stored = try await self.stored(registry)
        var matched: String?
        for name in AdminPasswordName.allCases {
            // Compared also where there is none, so that answers take the same time.
            let entry = stored[name]
            let value = entry.flatMap { self.open($0.sealed, registry, name) } ?? ""
            let matches = Secret.matches(password, verifier: Secret.verifier(of: value))
            if matches, !value.isEmpty, let entry { matched = Self.credential(name, entry.created) }
        }
        return matched
    }

    /// Whether a credential is one of the passwords of now.
    package func holds(_ credential: String, in registry: RegistryID) async throws -> Bool {
        try await self.stored(registry).contains { Self.credential($0.key, $0.value.created) == credential }
    }

    private static func credential(_ name: AdminPasswordName, _ created: Int64) -> String { "\(name.rawValue)@\(created)" }

    private func stored(_ registry: RegistryID) async throws -> [AdminPasswordName: (sealed: [UInt8], created: Int64)] {
        let rows = try await self.database.read { session in
            try session.rows("SELECT name, sealed, created FROM admin_password WHERE registry = ?", .integer(registry.value)).map {
                ($0.text(0), $0.blob(1), $0.integer(2))
            }
        }
        var stored: [AdminPasswordName: (sealed: [UInt8], created: Int64)] = [:]
        for (name, sealed, created) in rows {
            if let name = AdminPasswordName(rawValue: name) { stored[name] = (sealed, created) }
        }
        return stored
    }

    private static func context(_ registry: RegistryID, _ name: AdminPasswordName) -> String { "\(registry.value)/\(name.rawValue)" }

    private func seal(_ value: String, _ registry: RegistryID, _ name: AdminPasswordName) throws -> [UInt8] {
        try self.box.seal(Array(value.utf8), for: Self.context(registry, name))
    }

    private func open(_ sealed: [UInt8], _ registry: RegistryID, _ name: AdminPasswordName) -> String? {
        self.box.open(sealed, for: Self.context(registry, name)).map { String(decoding: $0, as: UTF8.self) }
    }
}

extension IdentitySchema {
    static let adminUser = Migration(
        "identity-admin-user",
        [
            """
            CREATE TABLE admin_password (
                registry INTEGER NOT NULL REFERENCES registry ON DELETE CASCADE, name TEXT NOT NULL, sealed BLOB NOT NULL,
                created INTEGER NOT NULL, PRIMARY KEY (registry, name)) WITHOUT ROWID
            """
        ])
}
