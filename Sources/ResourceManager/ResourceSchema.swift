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
            ])
    ]
}
