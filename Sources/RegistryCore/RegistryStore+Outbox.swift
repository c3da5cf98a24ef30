// The outbox as the sync agent works through it; see ``OutboxEntry``.

package import OCI
package import Persistence

/// How much of the outbox waits.
package struct OutboxCount: Sendable, Hashable {
    package let pending: Int64
    /// Of those, the ones the parent refused.
    package let refused: Int64
}

/// What lost against the parent's value of a tag.
package struct OutboxConflict: Sendable, Hashable {
    package let repository: RepositoryName
    package let tag: Tag
    /// The value here; `nil` when the tag had been deleted here.
    package let digest: Digest?
    /// The value that stands; `nil` when the parent has no such tag.
    package let parent: Digest?
    /// The tag that keeps ``digest``.
    package let saved: Tag?
    /// Milliseconds since 1970.
    package let time: Int64
}

extension RegistryStore {
    /// From now on changes of clients are noted for the parent.
    package func keepOutbox(of registry: RegistryID) async throws {
        _ = try await self.database.write {
            try $0.execute("UPDATE registry SET outbox = 1 WHERE id = ? AND outbox = 0", .integer(registry.value))
        }
    }

    /// Entries to send now: locks that must be opened for the rest, tags in the order of their changes, then manifests that no tag brought along, deletions, locks.
    ///
    /// - Parameter seconds: the time, since 1970.
    package func outbox(of registry: RegistryID, dueAt seconds: Int64, limit: Int) async throws -> [OutboxEntry] {
        try await self.database.read { session in
            try session.rows(
                """
                \(Outbox.select) WHERE registry = ? AND (due <= ? OR due > ?)
                ORDER BY CASE WHEN \(OutboxLocks.isOpening) THEN -1 WHEN kind = 1 THEN 0
                    WHEN kind = 0 THEN CASE WHEN target IS NULL THEN 2 ELSE 1 END ELSE 3 END, sequence LIMIT ?
                """, .integer(registry.value), .integer(seconds), .integer(seconds + Self.longestRefusal), .integer(Int64(limit))
            ).compactMap(Outbox.decode)
        }
    }

    /// Seconds after which something refused is tried again at the latest; a time beyond that is of a clock that was set back.
    package static let longestRefusal: Int64 = 3600

    /// Whether there is something to send now.
    package func isOutboxDue(of registry: RegistryID, at seconds: Int64) async throws -> Bool {
        try await self.database.read { session in
            try session.row(
                "SELECT 1 FROM outbox WHERE registry = ? AND (due <= ? OR due > ?) LIMIT 1", .integer(registry.value),
                .integer(seconds), .integer(seconds + Self.longestRefusal)) != nil
        }
    }

    /// Seconds until something refused is tried again; `nil` without any.
    package func outboxRest(of registry: RegistryID, at seconds: Int64) async throws -> Int64? {
        try await self.database.read { session in
            try session.row("SELECT min(due) FROM outbox WHERE registry = ? AND due > ?", .integer(registry.value), .integer(seconds))?
                .optionalInteger(0).map { $0 - seconds }
        }
    }

    package func outboxCount(of registry: RegistryID) async throws -> OutboxCount {
        try await self.database.read { session in
            let row = try session.row("SELECT count(*), count(code) FROM outbox WHERE registry = ?", .integer(registry.value))
            return OutboxCount(pending: row?.integer(0) ?? 0, refused: row?.integer(1) ?? 0)
        }
    }

    /// What the parent refused, the oldest first.
    package func outboxRefusals(of registry: RegistryID, limit: Int) async throws -> [OutboxEntry] {
        try await self.database.read { session in
            try session.rows(
                "\(Outbox.select) WHERE registry = ? AND code IS NOT NULL ORDER BY since, repository, name LIMIT ?",
                .integer(registry.value), .integer(Int64(limit))
            ).compactMap(Outbox.decode)
        }
    }

    /// Everything refused is due again: something at the parent has changed.
    package func retryOutbox(of registry: RegistryID) async throws {
        _ = try await self.database.write {
            try $0.execute("UPDATE outbox SET due = 0 WHERE registry = ? AND due > 0", .integer(registry.value))
        }
    }

    /// Notes that the entry's present value is about to be sent, under a name that repetitions share.
    ///
    /// - Returns: the entry with what is to be sent; `nil` when it has changed since, or is gone.
    package func markSent(_ entry: OutboxEntry, as operation: String, of registry: RegistryID) async throws -> OutboxEntry? {
        let key = entry.subject.key
        return try await self.database.write { session in
            let changed = try session.execute(
                """
                UPDATE outbox SET sent_operation = ?, sent_target = \(OutboxLocks.proposed)
                WHERE registry = ? AND repository = ? AND kind = ? AND name = ? AND target IS ? AND sent_operation IS NULL
                """, .text(operation), .integer(registry.value), SQLValue(entry.repository), .integer(key.kind), .text(key.name),
                SQLValue(entry.target))
            guard changed > 0 else { return nil }
            return try Self.entry(entry.subject, in: entry.repository, of: registry, session)
        }
    }

    private static func entry(
        _ subject: OutboxEntry.Subject, in name: RepositoryName, of registry: RegistryID, _ session: any SQLReader
    ) throws -> OutboxEntry? {
        let key = subject.key
        return try session.row(
            "\(Outbox.select) WHERE registry = ? AND repository = ? AND kind = ? AND name = ?", .integer(registry.value), SQLValue(name),
            .integer(key.kind), .text(key.name)
        ).flatMap(Outbox.decode)
    }

    /// The parent has what was sent. What was changed here meanwhile stays, to be sent on top of it.
    ///
    /// - Parameter confirmed: the head of the parent's log at that moment; older rows say nothing about the subject any more.
    package func settle(_ entry: OutboxEntry, confirmed: ChangeCursor, of registry: RegistryID) async throws {
        let key = entry.subject.key
        // A deletion that was sent has no target: what was set since then is not what the parent has.
        let sent = entry.sent == nil ? entry.target : entry.sent?.target
        try await self.database.write { session in
            try Self.confirm(entry.subject, in: entry.repository, at: confirmed, of: registry, session)
            if case .locks = entry.subject {
                try OutboxLocks.noteAgreed(sent, of: entry, key.name, registry: registry, session)
            }
            try session.execute(
                "DELETE FROM outbox WHERE registry = ? AND repository = ? AND kind = ? AND name = ? AND target IS ? AND opened IS NULL",
                .integer(registry.value), SQLValue(entry.repository), .integer(key.kind), .text(key.name), SQLValue(sent))
            _ = try session.execute(
                """
                UPDATE outbox SET expected = ?, sent_operation = NULL, sent_target = NULL, code = NULL, reason = NULL, due = 0
                WHERE registry = ? AND repository = ? AND kind = ? AND name = ?
                """, SQLValue(sent), .integer(registry.value), SQLValue(entry.repository), .integer(key.kind), .text(key.name))
            guard key.kind != 2 else { return }
            // Locks that had nothing there to lock.
            _ = try session.execute(
                """
                UPDATE outbox SET due = 0
                WHERE registry = ? AND repository = ? AND kind = 2 AND due > 0 AND code IN ('MANIFEST_UNKNOWN', 'NAME_UNKNOWN')
                """, .integer(registry.value), SQLValue(entry.repository))
        }
    }

    /// When something that carries these locks is told to the parent next, in seconds since 1970; `nil` where nothing of that waits.
    package func outboxDue(ofCarrying target: LockTarget, of registry: RegistryID) async throws -> Int64? {
        // A manifest may come below any other, and a repository with whatever is in it.
        let tag: String? = if case .tag(_, let tag) = target { tag.description } else { nil }
        return try await self.database.read { session in
            try session.row(
                """
                SELECT min(due) FROM outbox
                WHERE registry = ?1 AND repository = ?2 AND target IS NOT NULL
                    AND CASE WHEN ?3 IS NULL THEN kind < 2 ELSE kind = 1 AND name = ?3 END
                """, .integer(registry.value), SQLValue(target.repository), SQLValue(tag))?.optionalInteger(0)
        }
    }

    /// The entry has become pointless: what it was about is gone at the parent.
    package func dropOutbox(_ entry: OutboxEntry, of registry: RegistryID) async throws {
        let key = entry.subject.key
        _ = try await self.database.write { session in
            try session.execute(
                "DELETE FROM outbox WHERE registry = ? AND repository = ? AND kind = ? AND name = ? AND target IS ?",
                .integer(registry.value), SQLValue(entry.repository), .integer(key.kind), .text(key.name), SQLValue(entry.target))
        }
    }

    /// The parent refused: the entry is kept and tried again later.
    package func refuse(_ entry: OutboxEntry, _ refusal: OutboxEntry.Refusal, of registry: RegistryID) async throws {
        let key = entry.subject.key
        _ = try await self.database.write { session in
            // What has been changed meanwhile is news, and has not been refused.
            try session.execute(
                """
                UPDATE outbox SET sent_operation = NULL, sent_target = NULL,
                    attempts = CASE WHEN target IS ?1 THEN attempts + 1 ELSE 0 END, due = CASE WHEN target IS ?1 THEN ?2 ELSE 0 END,
                    code = CASE WHEN target IS ?1 THEN ?3 END, reason = CASE WHEN target IS ?1 THEN ?4 END
                WHERE registry = ?5 AND repository = ?6 AND kind = ?7 AND name = ?8
                """, SQLValue(entry.sent == nil ? entry.target : entry.sent?.target), .integer(refusal.due), .text(refusal.code),
                .text(refusal.reason), .integer(registry.value), SQLValue(entry.repository), .integer(key.kind), .text(key.name))
        }
    }

    /// The parent has another value, which stands: the tag takes it, what was here stays reachable under `saved`, and the entry is closed.
    /// All in one transaction, so that at every moment the content has a name. When the tag has been moved here once more
    /// meanwhile, that value is tried against the parent's first.
    ///
    /// - Parameters:
    ///   - current: the parent's value, whose content is here; `nil` when it has no such tag.
    ///   - saved: the tag that keeps our value; `nil` where we had deleted the tag.
    package func concede(
        _ entry: OutboxEntry, tag: Tag, to current: Digest?, saved: Tag?, confirmed: ChangeCursor, of registry: RegistryID
    ) async throws {
        let now = self.clock.milliseconds()
        let name = entry.repository
        let key = entry.subject.key
        let sent = entry.sent == nil ? entry.target : entry.sent?.target
        try await self.database.write { session in
            let closed = try session.execute(
                "DELETE FROM outbox WHERE registry = ? AND repository = ? AND kind = ? AND name = ? AND target IS ?",
                .integer(registry.value), SQLValue(name), .integer(key.kind), .text(key.name), SQLValue(sent))
            guard closed > 0 else {
                try session.execute(
                    "UPDATE outbox SET sent_operation = NULL, sent_target = NULL WHERE registry = ? AND repository = ? AND kind = ? AND name = ?",
                    .integer(registry.value), SQLValue(name), .integer(key.kind), .text(key.name))
                return
            }
            try Self.confirm(entry.subject, in: name, at: confirmed, of: registry, session)
            guard let repository = try Self.repository(name, in: registry, session) else { return }
            if let saved, let sent {
                try Self.move(
                    saved, to: Digest(sent), repository: repository, name: name, registry: registry, origin: ChangeOrigin.parent, now: now,
                    session)
            }
            if let current {
                try Self.move(
                    tag, to: current, repository: repository, name: name, registry: registry, origin: ChangeOrigin.parent, now: now, session
                )
            } else {
                _ = try Self.remove(
                    tag, repository: repository, name: name, registry: registry, origin: ChangeOrigin.parent, now: now, session)
            }
            try session.execute(
                """
                INSERT INTO outbox_conflict (registry, repository, tag, saved, digest, parent, time) VALUES (?, ?, ?, ?, ?, ?, ?)
                ON CONFLICT (registry, repository, tag, saved) DO UPDATE SET parent = excluded.parent, time = excluded.time
                """, .integer(registry.value), SQLValue(name), SQLValue(tag), .text(saved?.description ?? ""), SQLValue(sent),
                SQLValue(current?.description), .integer(now))
            // One without a tag to delete would be told for ever.
            _ = try session.execute(
                "DELETE FROM outbox_conflict WHERE registry = ? AND saved = '' AND time < ?", .integer(registry.value),
                .integer(now - Self.conflictMemory))
        }
        self.versions.contentRemoved()
        self.activity.signal()
    }

    /// The parent has other locks, which stand.
    package func concede(
        _ entry: OutboxEntry, locks target: LockTarget, to bits: ImageLocks, confirmed: ChangeCursor, of registry: RegistryID
    ) async throws {
        let now = self.clock.milliseconds()
        let key = entry.subject.key
        try await self.database.write { session in
            // Locks that were changed here once more are not tried again: the parent's are the ones everybody can see.
            try session.execute(
                "DELETE FROM outbox WHERE registry = ? AND repository = ? AND kind = ? AND name = ?", .integer(registry.value),
                SQLValue(entry.repository), .integer(key.kind), .text(key.name))
            try Self.confirm(entry.subject, in: entry.repository, at: confirmed, of: registry, session)
            guard let repository = try Self.repository(entry.repository, in: registry, session) else { return }
            do {
                try Self.write(
                    bits, to: target, repository: repository, registry: registry, origin: ChangeOrigin.parent, now: now, session)
            } catch let error as RegistryError where error.code == .manifestUnknown {
                // What carried them is gone here.
            }
        }
        self.versions.contentRemoved()
        self.activity.signal()
    }

    /// Milliseconds for which a deletion that lost is told.
    private static let conflictMemory: Int64 = 7 * 86_400_000

    /// Conflicts whose content is still kept, the newest first.
    package func outboxConflicts(of registry: RegistryID, limit: Int) async throws -> [OutboxConflict] {
        let since = self.clock.milliseconds() - Self.conflictMemory
        return try await self.database.read { session in
            try session.rows(
                """
                SELECT repository, tag, saved, digest, parent, time FROM outbox_conflict AS conflict WHERE registry = ?1
                    AND CASE saved WHEN '' THEN time >= ?2 ELSE EXISTS (
                        SELECT 1 FROM tag JOIN repository ON repository.id = tag.repository
                        WHERE repository.registry = ?1 AND repository.name = conflict.repository AND tag.name = saved) END
                ORDER BY time DESC, repository, tag LIMIT ?3
                """, .integer(registry.value), .integer(since), .integer(Int64(limit))
            ).map { row in
                OutboxConflict(
                    repository: try RepositoryName(row.text(0)), tag: try Tag(row.text(1)),
                    digest: try row.optionalText(3).map { try Digest($0) }, parent: try row.optionalText(4).map { try Digest($0) },
                    saved: row.text(2).isEmpty ? nil : try Tag(row.text(2)), time: row.integer(5))
            }
        }
    }

    // MARK: What the parent has confirmed

    private static func confirm(
        _ subject: OutboxEntry.Subject, in name: RepositoryName, at cursor: ChangeCursor, of registry: RegistryID, _ session: any SQLWriter
    ) throws {
        let key = subject.key
        try session.execute(
            """
            INSERT INTO outbox_confirmed (registry, repository, kind, name, log, sequence) VALUES (?, ?, ?, ?, ?, ?)
            ON CONFLICT (registry, repository, kind, name) DO UPDATE SET log = excluded.log, sequence = excluded.sequence
            """, .integer(registry.value), SQLValue(name), .integer(key.kind), .text(key.name), SQLValue(cursor.log),
            .integer(cursor.sequence))
    }

    /// Whether a row of the parent's log is older than what the parent has confirmed of the same subject.
    package func isOutdated(
        _ subject: OutboxEntry.Subject, in name: RepositoryName, at row: ChangeCursor, of registry: RegistryID
    ) async throws -> Bool {
        let key = subject.key
        return try await self.database.read { session in
            try session.row(
                "SELECT 1 FROM outbox_confirmed WHERE registry = ? AND repository = ? AND kind = ? AND name = ? AND log = ? AND sequence >= ?",
                .integer(registry.value), SQLValue(name), .integer(key.kind), .text(key.name), SQLValue(row.log), .integer(row.sequence))
                != nil
        }
    }

    /// Forgets what the cursor has passed.
    package func forgetConfirmed(before cursor: ChangeCursor, of registry: RegistryID) async throws {
        let isNeeded = try await self.database.read {
            try $0.row(
                "SELECT 1 FROM outbox_confirmed WHERE registry = ? AND (log != ? OR sequence <= ?) LIMIT 1", .integer(registry.value),
                SQLValue(cursor.log), .integer(cursor.sequence)) != nil
        }
        guard isNeeded else { return }
        _ = try await self.database.write {
            try $0.execute(
                "DELETE FROM outbox_confirmed WHERE registry = ? AND (log != ? OR sequence <= ?)", .integer(registry.value),
                SQLValue(cursor.log), .integer(cursor.sequence))
        }
    }

    // MARK: Content to send

    /// A manifest as it is here, whatever its locks: they are for clients.
    package func heldManifest(_ digest: Digest, in name: RepositoryName, of registry: RegistryID) async throws -> StoredManifest? {
        try await self.database.read { session in
            guard let repository = try Self.repository(name, in: registry, session) else { return nil }
            return try session.row(
                """
                SELECT media_type, bytes FROM manifest JOIN manifest_content USING (digest)
                WHERE manifest.repository = ? AND manifest.digest = ?
                """, .integer(repository), SQLValue(digest)
            ).map { StoredManifest(digest: digest, mediaType: try MediaType($0.text(0)), bytes: $0.blob(1)) }
        }
    }
}
