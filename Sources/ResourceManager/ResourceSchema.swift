// The tables of this target.

package import Persistence

/// Migrations of the control plane's tables; the registry's come first.
package enum ResourceSchema {
    package static let migrations: [Migration] = [
        Migration(
            "resource-1",
            [
                // Who this server is, settled at the first start.
                """
                CREATE TABLE installation (
                    id INTEGER PRIMARY KEY CHECK (id = 1), tenant TEXT NOT NULL, subscription TEXT NOT NULL, client TEXT NOT NULL,
                    created INTEGER NOT NULL)
                """,
                // `key` is the id in lower case, `id` as it is given out; `parent` is the key of what contains the resource.
                """
                CREATE TABLE resource (
                    key TEXT PRIMARY KEY, id TEXT NOT NULL, type TEXT NOT NULL, parent TEXT NOT NULL, name TEXT NOT NULL,
                    document TEXT NOT NULL, registry INTEGER UNIQUE REFERENCES registry, created INTEGER NOT NULL,
                    updated INTEGER NOT NULL) WITHOUT ROWID
                """,
                "CREATE INDEX resource_parent ON resource (type, parent)",
                """
                CREATE UNIQUE INDEX resource_registry ON resource (name COLLATE NOCASE)
                    WHERE type = 'Microsoft.ContainerRegistry/registries'
                """,
            ]),
        Migration(
            "resource-2-roles",
            [
                // What must never stand in a document, such as a cluster's credentials.
                """
                CREATE TABLE resource_secret (
                    key TEXT NOT NULL, name TEXT NOT NULL, content BLOB NOT NULL, created INTEGER NOT NULL, PRIMARY KEY (key, name))
                    WITHOUT ROWID
                """,
                // The bootstrap principal is Owner of what there was before roles.
                """
                INSERT INTO role_assignment
                    (name, scope, scope_key, principal, principal_type, role, created, created_by, updated, updated_by)
                    SELECT lower(substr(h, 1, 8) || '-' || substr(h, 9, 4) || '-4' || substr(h, 14, 3) || '-8' || substr(h, 18, 3) || '-'
                        || substr(h, 21, 12)), id, key, object_id, 'ServicePrincipal', '8e3af657-a8ff-443c-a75c-2fe8c4bcb635', created,
                        object_id, created, object_id
                    FROM (SELECT hex(randomblob(16)) AS h, resource.id, resource.key, resource.created, service_principal.object_id
                        FROM resource, service_principal
                        WHERE resource.type = 'Microsoft.Resources/subscriptions' AND service_principal.administrator = 1)
                """,
            ]),
        clusterExtensions,
        Migration(
            "resource-3-imports",
            [
                // What is under way (sealed: it carries credentials) and what has lately ended.
                """
                CREATE TABLE import_job (
                    id TEXT PRIMARY KEY, owner TEXT NOT NULL, registry INTEGER NOT NULL REFERENCES registry ON DELETE CASCADE,
                    sealed BLOB, created INTEGER NOT NULL, ended INTEGER, status INTEGER, code TEXT, message TEXT, target TEXT)
                    WITHOUT ROWID
                """
            ]),
        Migration(
            "resource-4-cached-tags",
            [
                // What a cache rule has set a tag to: one that names something else since was moved by somebody, and stays.
                """
                CREATE TABLE cached_tag (
                    registry INTEGER NOT NULL REFERENCES registry ON DELETE CASCADE, repository TEXT NOT NULL, tag TEXT NOT NULL,
                    digest TEXT NOT NULL, PRIMARY KEY (registry, repository, tag)) WITHOUT ROWID
                """
            ], isAdditive: true),
        CachedTags.migration,
        Authorship.migration,
    ]
}
