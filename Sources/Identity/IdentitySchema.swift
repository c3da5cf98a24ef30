// The tables of this target.

package import Persistence

/// Migrations of the identity tables; the registry's come first.
package enum IdentitySchema {
    package static let migrations: [Migration] = [
        Migration(
            "identity-1",
            [
                """
                CREATE TABLE scope_map (
                    registry INTEGER NOT NULL REFERENCES registry ON DELETE CASCADE, name TEXT NOT NULL COLLATE NOCASE, text TEXT,
                    system INTEGER NOT NULL, actions TEXT NOT NULL, created INTEGER NOT NULL, PRIMARY KEY (registry, name)) WITHOUT ROWID
                """,
                """
                CREATE TABLE token (
                    registry INTEGER NOT NULL REFERENCES registry ON DELETE CASCADE, name TEXT NOT NULL COLLATE NOCASE,
                    scope_map TEXT NOT NULL COLLATE NOCASE, enabled INTEGER NOT NULL, created INTEGER NOT NULL,
                    PRIMARY KEY (registry, name)) WITHOUT ROWID
                """,
                "CREATE INDEX token_scope_map ON token (registry, scope_map)",
                """
                CREATE TABLE token_password (
                    registry INTEGER NOT NULL, token TEXT NOT NULL COLLATE NOCASE, slot TEXT NOT NULL, verifier TEXT NOT NULL,
                    created INTEGER NOT NULL, expiry INTEGER, PRIMARY KEY (registry, token, slot),
                    FOREIGN KEY (registry, token) REFERENCES token ON DELETE CASCADE) WITHOUT ROWID
                """,
                """
                CREATE TABLE service_principal (
                    object_id TEXT PRIMARY KEY, app_id TEXT NOT NULL UNIQUE, display_name TEXT NOT NULL, administrator INTEGER NOT NULL,
                    created INTEGER NOT NULL)
                """,
                """
                CREATE TABLE service_principal_secret (
                    key_id TEXT PRIMARY KEY, object_id TEXT NOT NULL REFERENCES service_principal ON DELETE CASCADE, verifier TEXT NOT NULL,
                    created INTEGER NOT NULL, expiry INTEGER)
                """,
            ]),
        DirectorySchema.migration,
        adminUser,
        // Tokens that are only passed on to connected registries below: nobody signs in here with them.
        Migration("identity-carried", ["ALTER TABLE token ADD COLUMN carried INTEGER NOT NULL DEFAULT 0"]),
        federated,
    ]
}
