// Webhooks in the database.

internal import Identity
internal import JSON
package import Persistence
package import RegistryCore

/// Keeps webhooks and tells what became of their events.
package struct WebhookStore: Sendable {
    /// Ended events kept for each webhook.
    static let history = 500

    let database: any Database
    let clock: WallClock
    private let box: SecretBox
    /// Wakes the sender.
    package let activity: Activity

    /// - Parameter folder: where the key lies that targets are sealed with.
    package init(database: any Database, folder: String, clock: WallClock = .system) throws {
        self.database = database
        self.clock = clock
        self.activity = Activity()
        self.box = try SecretBox(path: "\(folder)/webhooks.key", lost: "set the service URI of each webhook again")
    }

    /// The webhooks of a registry by name, or of all registries.
    package func list(in registry: RegistryID?) async throws -> [Webhook] {
        try await self.database.read { session in
            try session.rows("\(Self.select) WHERE ?1 IS NULL OR registry = ?1 ORDER BY name", SQLValue(registry?.value)).map(Self.decode)
        }
    }

    package func find(_ name: String, in registry: RegistryID) async throws -> Webhook? {
        try await self.database.read { try Self.find(name, registry, $0) }
    }

    /// Stores a webhook. A new one hears of what happens from now on.
    ///
    /// - Parameters:
    ///   - target: `nil` keeps the one there is.
    ///   - limit: how many webhooks the registry may have.
    ///   - also: runs in the same transaction.
    /// - Throws: ``WebhookError``.
    package func put(
        _ name: String, _ settings: WebhookSettings, target: WebhookTarget?, in registry: RegistryID, limit: Int,
        also: @escaping @Sendable (any SQLWriter) throws -> Void = { _ in }
    ) async throws -> (webhook: Webhook, isNew: Bool) {
        let now = self.clock.milliseconds()
        let sealed = try target.map { try self.seal($0, name, registry) }
        let stored = try await self.database.write { session -> (Webhook, Bool) in
            let existing = try Self.find(name, registry, session)
            if existing == nil {
                let count = try session.row("SELECT count(*) FROM webhook WHERE registry = ?", .integer(registry.value))?.integer(0) ?? 0
                guard count < limit else { throw WebhookError.tooMany(limit: limit) }
            }
            let head = try ChangeLog.head(in: session)
            // Without this row nobody has read along: begin here.
            try session.execute(
                "INSERT INTO webhook_cursor (id, log, sequence) VALUES (1, ?, ?) ON CONFLICT DO NOTHING", SQLValue(head.log),
                .integer(head.sequence))
            let tags = JSONValue.object(settings.tags.mapValues { .string($0) }).serialized()
            let actions = settings.actions.map(\.rawValue).joined(separator: " ")
            if let existing {
                // One that was off hears of nothing that happened meanwhile.
                let wakes = settings.isEnabled && !existing.settings.isEnabled
                try session.execute(
                    """
                    UPDATE webhook SET location = ?, tags = ?, actions = ?, scope = ?, enabled = ?, target = coalesce(?, target),
                        since = CASE WHEN ? THEN ? ELSE since END, updated = ? WHERE id = ?
                    """, SQLValue(settings.location), SQLValue(tags), SQLValue(actions), SQLValue(settings.scope),
                    .integer(settings.isEnabled ? 1 : 0), sealed.map { .blob($0) } ?? .null, .integer(wakes ? 1 : 0),
                    .integer(head.sequence), .integer(now), .integer(existing.id))
            } else {
                guard let sealed else { throw WebhookError.noTarget }
                try session.execute(
                    """
                    INSERT INTO webhook (registry, name, location, tags, actions, scope, enabled, target, since, created, updated)
                    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                    """, .integer(registry.value), SQLValue(name), SQLValue(settings.location), SQLValue(tags), SQLValue(actions),
                    SQLValue(settings.scope), .integer(settings.isEnabled ? 1 : 0), .blob(sealed), .integer(head.sequence), .integer(now),
                    .integer(now))
            }
            try also(session)
            guard let stored = try Self.find(name, registry, session) else { throw WebhookError.noTarget }
            return (stored, existing == nil)
        }
        self.activity.signal()
        return stored
    }

    /// - Parameter also: runs in the same transaction.
    /// - Returns: whether there was one.
    package func delete(
        _ name: String, in registry: RegistryID, also: @escaping @Sendable (any SQLWriter) throws -> Void = { _ in }
    ) async throws -> Bool {
        try await self.database.write { session in
            let count = try session.execute("DELETE FROM webhook WHERE registry = ? AND name = ?", .integer(registry.value), SQLValue(name))
            try session.execute("DELETE FROM webhook_cursor WHERE NOT EXISTS (SELECT 1 FROM webhook)")
            try also(session)
            return count > 0
        }
    }

    /// How far the change log has been read, where somebody reads it.
    package func cursor() async throws -> Int64? {
        try await self.database.read { try $0.row("SELECT sequence FROM webhook_cursor WHERE EXISTS (SELECT 1 FROM webhook)")?.integer(0) }
    }

    /// Where a webhook's events go.
    ///
    /// - Throws: ``WebhookError/sealed`` when the key is another than that of then.
    package func target(of webhook: Webhook) async throws -> WebhookTarget {
        let sealed = try await self.database.read {
            try $0.row("SELECT target FROM webhook WHERE id = ?", .integer(webhook.id))?.blob(0) ?? []
        }
        return try self.open(sealed, webhook.name, webhook.registry)
    }

    // MARK: Sealing

    private static func context(_ name: String, _ registry: RegistryID) -> String { "\(registry.value)/\(name.lowercased())" }

    private func seal(_ target: WebhookTarget, _ name: String, _ registry: RegistryID) throws -> [UInt8] {
        let text: JSONValue = [
            "serviceUri": .string(target.serviceURI), "customHeaders": .object(target.customHeaders.mapValues { .string($0) }),
        ]
        return try self.box.seal(Array(text.serialized().utf8), for: Self.context(name, registry))
    }

    func open(_ sealed: [UInt8], _ name: String, _ registry: RegistryID) throws -> WebhookTarget {
        guard let text = self.box.open(sealed, for: Self.context(name, registry)), let value = try? JSONValue(parsing: text),
            let uri = value["serviceUri"]?.stringValue
        else { throw WebhookError.sealed }
        return WebhookTarget(serviceURI: uri, customHeaders: value["customHeaders"]?.objectValue?.compactMapValues(\.stringValue) ?? [:])
    }

    // MARK: Rows

    static let select = "SELECT id, registry, name, location, tags, actions, scope, enabled, created, updated FROM webhook"

    private static func find(_ name: String, _ registry: RegistryID, _ session: any SQLReader) throws -> Webhook? {
        try session.row("\(select) WHERE registry = ? AND name = ?", .integer(registry.value), SQLValue(name)).map(self.decode)
    }

    static func decode(_ row: SQLRow) throws -> Webhook {
        guard let scope = WebhookScope(row.text(6)) else { throw WebhookError.sealed }
        let tags = (try? JSONValue(parsing: row.text(4).utf8))?.objectValue?.compactMapValues(\.stringValue) ?? [:]
        return Webhook(
            id: row.integer(0), registry: RegistryID(row.integer(1)), name: row.text(2),
            settings: WebhookSettings(
                location: row.text(3), tags: tags,
                actions: row.text(5).split(separator: " ").compactMap { WebhookAction(rawValue: String($0)) },
                scope: scope, isEnabled: row.flag(7)),
            created: row.integer(8), updated: row.integer(9))
    }
}

/// Why a webhook cannot be.
package enum WebhookError: Error, Sendable, Hashable {
    case tooMany(limit: Int)
    /// A new webhook without an address.
    case noTarget
    /// What is stored cannot be read: the key is another.
    case sealed
}
