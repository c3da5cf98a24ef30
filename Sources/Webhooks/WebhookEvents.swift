// Events: made from the change log, kept until they are delivered, and for a while afterwards.

internal import Identity
package import JSON
internal import OCI
package import Persistence
internal import RegistryCore

/// An event and what became of it.
package struct WebhookEvent: Sendable {
    package enum State: Int64, Sendable {
        case pending, delivered, failed
    }

    let sequence: Int64
    package let id: String
    /// Whose order it keeps: a repository, or empty.
    let lane: String
    package let body: JSONValue
    /// Milliseconds since 1970.
    package let created: Int64
    package let state: State
    package let attempts: Int
    /// The last answer, in the form of `listEvents`; `nil` before the first attempt.
    package let answer: JSONValue?

    static let columns = "sequence, id, lane, body, created, state, attempts, answer"

    init(_ row: SQLRow, from column: Int = 0) throws {
        self.sequence = row.integer(column)
        self.id = row.text(column + 1)
        self.lane = row.text(column + 2)
        self.body = try JSONValue(parsing: row.text(column + 3).utf8)
        self.created = row.integer(column + 4)
        self.state = State(rawValue: row.integer(column + 5)) ?? .failed
        self.attempts = Int(row.integer(column + 6))
        self.answer = try row.optionalText(column + 7).map { try JSONValue(parsing: $0.utf8) }
    }
}

extension WebhookStore {
    /// Rows of the log looked at in one transaction.
    private static let page = 500
    /// Events that wait for one webhook; beyond it the oldest are given up, so that a receiver that is gone fills no disk.
    static let backlog: Int64 = 100_000

    /// Turns what has happened into events.
    ///
    /// Cursor and events move in one transaction, so each change becomes an event once, also across a crash.
    /// - Parameter host: the login server of a registry, for the events; `nil` when the registry is gone.
    /// - Returns: how many changes were read: zero when there is nothing new, `nil` when there is no webhook.
    package func publish(host: @escaping @Sendable (RegistryID) -> String?) async throws -> Int? {
        let isBehind = try await self.database.read { session in
            try session.row(
                """
                SELECT log <> identity OR sequence < head FROM webhook_cursor, change_log WHERE EXISTS (SELECT 1 FROM webhook)
                """)?.flag(0)
        }
        guard let isBehind else { return nil }
        guard isBehind else { return 0 }
        let now = self.clock.milliseconds()
        return try await self.database.write { session in
            guard let row = try session.row("SELECT log, sequence, identity, head FROM webhook_cursor, change_log") else { return 0 }
            guard row.text(0) == row.text(2) else {
                // The database was restored: what happened since the copy was made is not known.
                try session.execute("UPDATE webhook_cursor SET log = ?, sequence = ?", row[2], row[3])
                return 0
            }
            let webhooks = try session.rows("\(Self.select) WHERE enabled = 1").map(Self.decode)
            let since = Dictionary(
                uniqueKeysWithValues: try session.rows("SELECT id, since FROM webhook").map { ($0.integer(0), $0.integer(1)) })
            let rows = try ChangeLog.rows(after: row.integer(1), limit: Self.page, in: session)
            for (index, (registry, change)) in rows.enumerated() {
                // A push of a tag is two rows and one event.
                let next = index + 1 < rows.count ? rows[index + 1] : nil
                if change.kind == .manifestPut, let next, next.registry == registry, next.change.kind == .tagSet,
                    next.change.digest == change.digest, next.change.repository == change.repository, next.change.time == change.time
                {
                    continue
                }
                guard let action = WebhookAction(change.kind), let host = host(registry) else { continue }
                for webhook in webhooks
                where webhook.registry == registry && webhook.settings.actions.contains(action)
                    && webhook.settings.scope.contains(change.repository, change.tag) && change.sequence > since[webhook.id] ?? .max
                {
                    let body = try Self.body(change, action, host: host, registry, session)
                    try Self.add(body, to: webhook.id, lane: change.repository.description, now: now, session)
                }
            }
            guard let last = rows.last?.change.sequence else { return 0 }
            try session.execute("UPDATE webhook_cursor SET sequence = ?", .integer(last))
            for webhook in webhooks { try Self.limitBacklog(of: webhook.id, session) }
            return rows.count
        }
    }

    /// Sends an event that tests the way.
    ///
    /// - Returns: its id.
    package func ping(_ webhook: Webhook) async throws -> String {
        let (id, now) = (Directory.identifier(), self.clock.milliseconds())
        try await self.database.write { session in
            try Self.add(
                ["id": .string(id), "timestamp": .string(Timestamp.text(milliseconds: now)), "action": "ping"], to: webhook.id, lane: "",
                now: now, session)
        }
        self.activity.signal()
        return id
    }

    /// The last events of a webhook, newest first.
    package func events(of webhook: Webhook) async throws -> [WebhookEvent] {
        try await self.database.read { session in
            try session.rows(
                "SELECT \(WebhookEvent.columns) FROM webhook_event WHERE webhook = ? ORDER BY sequence DESC LIMIT ?", .integer(webhook.id),
                .integer(Int64(Self.history))
            ).map { try WebhookEvent($0) }
        }
    }

    // MARK: Making them

    /// In the members that Azure's receivers know. What the log does not keep, such as the client's name, is left out.
    private static func body(
        _ change: Change, _ action: WebhookAction, host: String, _ registry: RegistryID, _ session: any SQLReader
    ) throws -> JSONValue {
        var target: [String: JSONValue] = ["repository": .string(change.repository.description)]
        if let tag = change.tag { target["tag"] = .string(tag.description) }
        if let digest = change.digest {
            target["digest"] = .string(digest.description)
            // It may have been deleted since.
            let manifest = try session.row(
                """
                SELECT media_type, size FROM manifest JOIN repository ON repository.id = manifest.repository
                WHERE repository.registry = ? AND name = ? AND digest = ?
                """, .integer(registry.value), SQLValue(change.repository), SQLValue(digest))
            if let manifest {
                target["mediaType"] = .string(manifest.text(0))
                target["size"] = .integer(manifest.integer(1))
                target["length"] = .integer(manifest.integer(1))
            }
        }
        return [
            "id": .string(Directory.identifier()), "timestamp": .string(Timestamp.text(milliseconds: change.time)),
            "action": .string(action.rawValue), "target": .object(target),
            "request": ["host": .string(host), "method": action == .push ? "PUT" : "DELETE"],
        ]
    }

    private static func add(_ body: JSONValue, to webhook: Int64, lane: String, now: Int64, _ session: any SQLWriter) throws {
        try session.execute(
            "INSERT INTO webhook_event (id, webhook, lane, body, created, due) VALUES (?, ?, ?, ?, ?, ?)",
            SQLValue(body["id"]?.stringValue), .integer(webhook), SQLValue(lane), SQLValue(body.serialized()), .integer(now), .integer(now))
    }

    private static func limitBacklog(of webhook: Int64, _ session: any SQLWriter) throws {
        let pending =
            try session.row(
                "SELECT count(*) FROM webhook_event WHERE webhook = ? AND state = 0", .integer(webhook))?.integer(0) ?? 0
        guard pending > Self.backlog else { return }
        let answer: JSONValue = ["content": "given up: \(Self.backlog) events wait, which is as many as may"]
        try session.execute(
            """
            UPDATE webhook_event SET state = 2, answer = ? WHERE sequence IN (
                SELECT sequence FROM webhook_event WHERE webhook = ? AND state = 0 ORDER BY sequence LIMIT ?)
            """, SQLValue(answer.serialized()), .integer(webhook), .integer(pending - Self.backlog))
    }
}

extension WebhookAction {
    /// What a change of content is to a receiver; `nil` for what nobody is told.
    init?(_ kind: Change.Kind) {
        switch kind {
        case .tagSet, .manifestPut: self = .push
        case .tagDeleted, .manifestDeleted, .repositoryDeleted: self = .delete
        case .locksChanged: return nil
        }
    }
}
