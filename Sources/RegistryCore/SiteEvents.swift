// What happened at sites and is told to those above: notifications and audit records, in one durable queue that is bounded.

package import Persistence

/// Something that happened at a connected registry.
package struct SiteEvent: Sendable, Hashable {
    package enum Kind: String, Sendable, CaseIterable {
        /// Content that somebody asked to hear of has changed.
        case notification
        /// Somebody has signed in, pushed, deleted, or was refused.
        case audit
    }

    /// Unique among the events of one connected registry.
    package let id: String
    /// The connected registry.
    package let site: String
    package let kind: Kind
    /// Milliseconds since 1970, by its clock.
    package let time: Int64
    /// A JSON object.
    package let body: String

    package init(id: String, site: String, kind: Kind, time: Int64, body: String) {
        self.id = id
        self.site = site
        self.kind = kind
        self.time = time
        self.body = body
    }
}

/// Events in the order in which they came. At a connected registry those that wait to be told; at the root those that were.
package struct SiteEvents: Sendable {
    /// Events that are kept of each kind and connected registry.
    package static let limit = 10_000
    /// Bytes of one body.
    package static let maximumBody = 4096

    package static let migration = Migration(
        "registry-7-site-events",
        [
            """
            CREATE TABLE site_event (
                sequence INTEGER PRIMARY KEY AUTOINCREMENT, registry INTEGER NOT NULL, site TEXT NOT NULL COLLATE NOCASE, id TEXT NOT NULL,
                kind TEXT NOT NULL, time INTEGER NOT NULL, body TEXT NOT NULL)
            """,
            "CREATE UNIQUE INDEX site_event_id ON site_event (registry, site, id)",
            "CREATE INDEX site_event_kind ON site_event (registry, site, kind, sequence)",
            // How many had to go unread, and up to where the own log has been looked through for notifications.
            """
            CREATE TABLE site_event_state (
                registry INTEGER NOT NULL, site TEXT NOT NULL COLLATE NOCASE, kind TEXT NOT NULL, dropped INTEGER NOT NULL DEFAULT 0,
                log TEXT, sequence INTEGER, PRIMARY KEY (registry, site, kind)) WITHOUT ROWID
            """,
        ])

    /// How many a connected registry has dropped itself apart from how many of its events had to go here. What is known so far says not which:
    /// it is what was told, or more.
    package static let droppedMigration = Migration(
        "registry-12-events-dropped-elsewhere",
        [
            "ALTER TABLE site_event_state ADD COLUMN reported INTEGER NOT NULL DEFAULT 0",
            "UPDATE site_event_state SET reported = dropped, dropped = 0",
        ])

    private let database: any Database
    private let registry: RegistryID

    package init(database: any Database, registry: RegistryID) {
        self.database = database
        self.registry = registry
    }

    /// Keeps events; what is known already is not kept twice, and the oldest go where there are too many.
    ///
    /// - Parameter dropped: how many a connected registry has had to drop in all, by name and kind.
    package func add(_ events: [SiteEvent], dropped: [DroppedEvents] = []) async throws {
        let registry = self.registry
        try await self.database.write { session in
            try Self.add(events, to: registry, session)
            for drop in dropped {
                // A total, so that telling it twice changes nothing. What had to go here comes on top of it.
                try session.execute(
                    """
                    INSERT INTO site_event_state (registry, site, kind, reported) VALUES (?, ?, ?, ?)
                    ON CONFLICT (registry, site, kind) DO UPDATE SET reported = max(reported, excluded.reported)
                    """, .integer(registry.value), SQLValue(drop.site), .text(drop.kind.rawValue), .integer(drop.count))
            }
        }
    }

    /// The same within a caller's transaction.
    static func add(_ events: [SiteEvent], to registry: RegistryID, _ session: any SQLWriter) throws {
        struct Group: Hashable {
            let site: String
            let kind: SiteEvent.Kind
        }
        for event in events {
            try session.execute(
                "INSERT INTO site_event (registry, site, id, kind, time, body) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                .integer(registry.value), SQLValue(event.site), SQLValue(event.id), .text(event.kind.rawValue), .integer(event.time),
                SQLValue(event.body))
        }
        for group in Set(events.map { Group(site: $0.site, kind: $0.kind) }) {
            try self.trim(group.site, group.kind, to: self.limit, registry, session)
        }
    }

    private static func trim(
        _ site: String, _ kind: SiteEvent.Kind, to limit: Int, _ registry: RegistryID, _ session: any SQLWriter
    ) throws {
        let arguments: [SQLValue] = [.integer(registry.value), SQLValue(site), .text(kind.rawValue)]
        let count = try session.rows(
            "SELECT count(*) FROM site_event WHERE registry = ? AND site = ? AND kind = ?", arguments)[0].integer(0)
        guard count > Int64(limit) else { return }
        let gone = try session.execute(
            """
            DELETE FROM site_event WHERE sequence IN (
                SELECT sequence FROM site_event WHERE registry = ? AND site = ? AND kind = ? ORDER BY sequence LIMIT ?)
            """, arguments + [.integer(count - Int64(limit))])
        try session.execute(
            """
            INSERT INTO site_event_state (registry, site, kind, dropped) VALUES (?, ?, ?, ?)
            ON CONFLICT (registry, site, kind) DO UPDATE SET dropped = dropped + excluded.dropped
            """, arguments + [.integer(Int64(gone))])
    }

    /// The oldest events that wait, of whatever connected registry.
    package func waiting(limit: Int) async throws -> [(sequence: Int64, event: SiteEvent)] {
        let registry = self.registry
        return try await self.database.read { session in
            try session.rows(
                // In the order of the table: by the index all that wait would be sorted for one page.
                "SELECT sequence, id, site, kind, time, body FROM site_event NOT INDEXED WHERE registry = ? ORDER BY sequence LIMIT ?",
                .integer(registry.value), .integer(Int64(limit))
            ).compactMap { row in Self.decode(row).map { (row.integer(0), $0) } }
        }
    }

    private static func decode(_ row: SQLRow) -> SiteEvent? {
        guard let kind = SiteEvent.Kind(rawValue: row.text(3)) else { return nil }
        return SiteEvent(id: row.text(1), site: row.text(2), kind: kind, time: row.integer(4), body: row.text(5))
    }

    /// Forgets events that have been told.
    package func remove(_ sequences: [Int64]) async throws {
        try await self.database.write { session in
            for sequence in sequences { try session.execute("DELETE FROM site_event WHERE sequence = ?", .integer(sequence)) }
        }
    }

    /// Forgets an event that can be told nobody, and counts it.
    package func giveUp(_ sequence: Int64) async throws {
        try await self.database.write { session in
            try session.execute(
                """
                INSERT INTO site_event_state (registry, site, kind, dropped)
                SELECT registry, site, kind, 1 FROM site_event WHERE sequence = ?
                ON CONFLICT (registry, site, kind) DO UPDATE SET dropped = dropped + excluded.dropped
                """, .integer(sequence))
            try session.execute("DELETE FROM site_event WHERE sequence = ?", .integer(sequence))
        }
    }

    /// The newest events of a connected registry, the newest first, and how many had to go unread.
    package func list(_ kind: SiteEvent.Kind, of site: String, limit: Int) async throws -> (events: [SiteEvent], dropped: Int64) {
        let registry = self.registry
        return try await self.database.read { session in
            let events = try session.rows(
                """
                SELECT sequence, id, site, kind, time, body FROM site_event WHERE registry = ? AND site = ? AND kind = ?
                ORDER BY sequence DESC LIMIT ?
                """, .integer(registry.value), SQLValue(site), .text(kind.rawValue), .integer(Int64(limit))
            ).compactMap(Self.decode)
            let dropped = try session.row(
                "SELECT dropped + reported FROM site_event_state WHERE registry = ? AND site = ? AND kind = ?", .integer(registry.value),
                SQLValue(site), .text(kind.rawValue))?.integer(0)
            return (events, dropped ?? 0)
        }
    }

    /// How many had to go unread, here and below, of all connected registries of which some had.
    package func dropped() async throws -> [DroppedEvents] {
        let registry = self.registry
        return try await self.database.read { session in
            try session.rows(
                "SELECT site, kind, dropped + reported FROM site_event_state WHERE registry = ? AND dropped + reported > 0",
                .integer(registry.value)
            ).compactMap { row in
                SiteEvent.Kind(rawValue: row.text(1)).map { DroppedEvents(site: row.text(0), kind: $0, count: row.integer(2)) }
            }
        }
    }

    /// Counts events that could not even be kept.
    package func drop(_ count: Int64, _ kind: SiteEvent.Kind, of site: String) async throws {
        let registry = self.registry
        _ = try await self.database.write { session in
            try session.execute(
                """
                INSERT INTO site_event_state (registry, site, kind, dropped) VALUES (?, ?, ?, ?)
                ON CONFLICT (registry, site, kind) DO UPDATE SET dropped = dropped + excluded.dropped
                """, .integer(registry.value), SQLValue(site), .text(kind.rawValue), .integer(count))
        }
    }

    /// Makes room where the disk is short: the oldest tenth of what is kept of a connected registry goes, and is counted.
    package func makeRoom(of site: String) async throws {
        let registry = self.registry
        try await self.database.write { session in
            for kind in SiteEvent.Kind.allCases {
                let count =
                    try session.row(
                        "SELECT count(*) FROM site_event WHERE registry = ? AND site = ? AND kind = ?", .integer(registry.value),
                        SQLValue(site), .text(kind.rawValue))?.integer(0) ?? 0
                try Self.trim(site, kind, to: Int(count - (count + 9) / 10), registry, session)
            }
        }
    }

    /// Turns rows of the own change log that nobody has looked at into events, each of them once.
    ///
    /// - Parameters:
    ///   - site: this connected registry.
    ///   - body: of the event for a row; `nil` where nobody wants to hear of it.
    /// - Returns: whether there may be more.
    package func record(
        of site: String, limit: Int = 1000, body: @escaping @Sendable (Change, _ origin: String) -> String?
    ) async throws -> Bool {
        let registry = self.registry
        return try await self.database.write { session in
            let head = try ChangeLog.head(in: session)
            let key: [SQLValue] = [.integer(registry.value), SQLValue(site), .text(SiteEvent.Kind.notification.rawValue)]
            let known = try session.rows(
                "SELECT log, sequence FROM site_event_state WHERE registry = ? AND site = ? AND kind = ?", key
            ).first.flatMap { row in row.optionalText(0).map { ChangeCursor(log: $0, sequence: row.integer(1)) } }
            // Who begins to listen hears of what comes; so does who has lost his place.
            var reached = head.sequence
            if let known, known.log == head.log, known.sequence <= head.sequence {
                let rows = try session.rows(
                    "SELECT sequence, repository, kind, tag, digest, time, origin, registry FROM change WHERE sequence > ? ORDER BY sequence LIMIT ?",
                    .integer(known.sequence), .integer(Int64(limit)))
                if rows.count == limit { reached = rows.last?.integer(0) ?? head.sequence }
                let events = try rows.compactMap { row -> SiteEvent? in
                    guard row.integer(7) == registry.value, let kind = Change.Kind(rawValue: row.text(2)) else { return nil }
                    let change = Change(
                        sequence: row.integer(0), repository: try .init(row.text(1)), kind: kind,
                        tag: try row.optionalText(3).map { try .init($0) }, digest: try row.optionalText(4).map { try .init($0) },
                        isReached: false, time: row.integer(5), locks: nil)
                    return body(change, row.text(6)).map {
                        SiteEvent(
                            id: "\(head.log)-\(change.sequence)", site: site, kind: .notification, time: change.time, body: $0)
                    }
                }
                try Self.add(events, to: registry, session)
            }
            try session.execute(
                """
                INSERT INTO site_event_state (registry, site, kind, log, sequence) VALUES (?, ?, ?, ?, ?)
                ON CONFLICT (registry, site, kind) DO UPDATE SET log = excluded.log, sequence = excluded.sequence
                """, key + [.text(head.log), .integer(reached)])
            return reached < head.sequence
        }
    }
}

/// How many events of a connected registry had to go unread, in all.
package struct DroppedEvents: Sendable, Hashable {
    package let site: String
    package let kind: SiteEvent.Kind
    package let count: Int64

    package init(site: String, kind: SiteEvent.Kind, count: Int64) {
        self.site = site
        self.kind = kind
        self.count = count
    }
}
