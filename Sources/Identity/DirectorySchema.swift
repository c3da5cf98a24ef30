// The tables of the directory and of roles.

internal import Persistence

/// What the directory added to the identity tables. Names of people and groups are compared in any letter case.
enum DirectorySchema {
    static let migration = Migration(
        "identity-2-directory",
        [
            "ALTER TABLE service_principal ADD COLUMN enabled INTEGER NOT NULL DEFAULT 1",
            "ALTER TABLE service_principal ADD COLUMN kind TEXT NOT NULL DEFAULT 'Application'",
            "ALTER TABLE service_principal ADD COLUMN generation INTEGER NOT NULL DEFAULT 0",
            // The id of the resource a managed identity belongs to.
            "ALTER TABLE service_principal ADD COLUMN resource TEXT",
            """
            CREATE TABLE application (
                object_id TEXT PRIMARY KEY, app_id TEXT NOT NULL UNIQUE, display_name TEXT NOT NULL COLLATE NOCASE UNIQUE,
                created INTEGER NOT NULL)
            """,
            // Secrets and certificates of applications and of service principals.
            """
            CREATE TABLE directory_credential (
                key_id TEXT PRIMARY KEY, object_id TEXT NOT NULL, kind TEXT NOT NULL, display_name TEXT, verifier TEXT, certificate BLOB,
                hint TEXT, start INTEGER NOT NULL, expiry INTEGER, created INTEGER NOT NULL)
            """,
            "CREATE INDEX directory_credential_owner ON directory_credential (object_id)",
            """
            INSERT INTO directory_credential (key_id, object_id, kind, verifier, start, expiry, created)
                SELECT key_id, object_id, 'secret', verifier, created, expiry, created FROM service_principal_secret
            """,
            "DELETE FROM service_principal_secret",
            """
            CREATE TABLE directory_user (
                object_id TEXT PRIMARY KEY, name TEXT NOT NULL COLLATE NOCASE UNIQUE, display_name TEXT NOT NULL, mail_nickname TEXT NOT NULL,
                verifier TEXT NOT NULL, enabled INTEGER NOT NULL, administrator INTEGER NOT NULL, generation INTEGER NOT NULL DEFAULT 0,
                failures INTEGER NOT NULL DEFAULT 0, locked_until INTEGER NOT NULL DEFAULT 0, created INTEGER NOT NULL)
            """,
            """
            CREATE TABLE directory_group (
                object_id TEXT PRIMARY KEY, display_name TEXT NOT NULL, mail_nickname TEXT NOT NULL, description TEXT,
                created INTEGER NOT NULL)
            """,
            """
            CREATE TABLE directory_member (
                group_id TEXT NOT NULL REFERENCES directory_group ON DELETE CASCADE, member_id TEXT NOT NULL,
                PRIMARY KEY (group_id, member_id)) WITHOUT ROWID
            """,
            "CREATE INDEX directory_member_of ON directory_member (member_id)",
            """
            CREATE TABLE directory_owner (
                object_id TEXT NOT NULL, owner_id TEXT NOT NULL, PRIMARY KEY (object_id, owner_id)) WITHOUT ROWID
            """,
            """
            CREATE TABLE role_assignment (
                name TEXT PRIMARY KEY, scope TEXT NOT NULL, scope_key TEXT NOT NULL, principal TEXT NOT NULL, principal_type TEXT NOT NULL,
                role TEXT NOT NULL, description TEXT, created INTEGER NOT NULL, created_by TEXT NOT NULL, updated INTEGER NOT NULL,
                updated_by TEXT NOT NULL, UNIQUE (scope_key, principal, role))
            """,
            "CREATE INDEX role_assignment_principal ON role_assignment (principal)",
        ])
}
