// The tables of this target.

package import Persistence

/// Migrations of the gateway's tables; the registry's and the identity's come first.
package enum GatewaySchema {
    package static let migrations: [Migration] = [
        Migration(
            "gateway-1",
            [
                """
                CREATE TABLE connected_registry (
                    registry INTEGER NOT NULL REFERENCES registry ON DELETE CASCADE, name TEXT NOT NULL COLLATE NOCASE,
                    sync_token TEXT NOT NULL COLLATE NOCASE, configuration TEXT NOT NULL, created INTEGER NOT NULL,
                    instance TEXT, epoch INTEGER NOT NULL DEFAULT 0, nonce TEXT, offered_nonce TEXT, fenced TEXT NOT NULL DEFAULT '',
                    report TEXT, last_activity INTEGER, PRIMARY KEY (registry, name)) WITHOUT ROWID
                """,
                "CREATE UNIQUE INDEX connected_registry_token ON connected_registry (registry, sync_token)",
            ]),
        Migration("gateway-2", ["ALTER TABLE connected_registry ADD COLUMN resync INTEGER"]),
        // How often an operator has deactivated it: the order travels through its ancestors.
        Migration("gateway-3", ["ALTER TABLE connected_registry ADD COLUMN deactivations INTEGER NOT NULL DEFAULT 0"]),
        Migration("gateway-4", ["ALTER TABLE connected_registry ADD COLUMN plan INTEGER"]),
        // Nonces that were offered before the last one and have not been answered. Who does not know them takes the last one, as before.
        Migration(
            "gateway-5", ["ALTER TABLE connected_registry ADD COLUMN earlier_nonces TEXT NOT NULL DEFAULT ''"], isAdditive: true),
    ]
}
