// The tables of this target.

package import Persistence

/// Migrations of webhooks; the registry's come first.
package enum WebhookSchema {
    package static let migrations: [Migration] = [
        Migration(
            "webhooks-1",
            [
                // `target` is sealed; `since` is the place in the change log from which on events are made.
                """
                CREATE TABLE webhook (
                    id INTEGER PRIMARY KEY AUTOINCREMENT, registry INTEGER NOT NULL REFERENCES registry ON DELETE CASCADE,
                    name TEXT NOT NULL COLLATE NOCASE, location TEXT NOT NULL, tags TEXT NOT NULL, actions TEXT NOT NULL,
                    scope TEXT NOT NULL, enabled INTEGER NOT NULL, target BLOB NOT NULL, since INTEGER NOT NULL,
                    created INTEGER NOT NULL, updated INTEGER NOT NULL, UNIQUE (registry, name))
                """,
                // state: 0 to be delivered, 1 delivered, 2 given up. `lane` keeps the order: the repository, or empty.
                """
                CREATE TABLE webhook_event (
                    sequence INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
                    webhook INTEGER NOT NULL REFERENCES webhook ON DELETE CASCADE, lane TEXT NOT NULL, body TEXT NOT NULL,
                    created INTEGER NOT NULL, state INTEGER NOT NULL DEFAULT 0, attempts INTEGER NOT NULL DEFAULT 0,
                    due INTEGER NOT NULL, answer TEXT)
                """,
                "CREATE INDEX webhook_event_pending ON webhook_event (webhook, lane, sequence) WHERE state = 0",
                "CREATE INDEX webhook_event_history ON webhook_event (webhook, sequence)",
                // How far the change log has been turned into events. There is none while there are no webhooks.
                "CREATE TABLE webhook_cursor (id INTEGER PRIMARY KEY CHECK (id = 1), log TEXT NOT NULL, sequence INTEGER NOT NULL)",
            ])
    ]
}
