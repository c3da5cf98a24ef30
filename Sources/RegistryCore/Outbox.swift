// What a connected registry owes its parent: one row for each tag, manifest and lock that its clients have changed, written in
// the transaction of the change itself. What was acknowledged is therefore either at the parent or in here.

package import OCI
internal import Persistence

/// One thing that was changed here and that the parent does not know yet.
package struct OutboxEntry: Sendable, Hashable {
    /// What was changed.
    package enum Subject: Sendable, Hashable {
        case manifest(Digest)
        case tag(Tag)
        /// Locks of the repository, or of the tag or manifest in it.
        case locks(LockTarget)
    }

    package let repository: RepositoryName
    package let subject: Subject
    /// What the two ends last agreed on: a tag's digest or the bits of locks; `nil` where there was nothing.
    package let expected: String?
    /// What it is here now; `nil` when it was deleted.
    package let target: String?
    /// What was sent and has not been answered: it is sent again under the same name before anything else.
    package let sent: Sent?
    package let attempts: Int64
    /// Why the parent refused it last.
    package let refusal: Refusal?
    /// Milliseconds since 1970 of the first change.
    package let since: Int64

    package struct Sent: Sendable, Hashable {
        package let operation: String
        package let target: String?
    }

    package struct Refusal: Sendable, Hashable {
        package let code: String
        package let reason: String
        /// Seconds since 1970 of the next attempt.
        package let due: Int64

        package init(code: String, reason: String, due: Int64) {
            self.code = code
            self.reason = reason
            self.due = due
        }
    }
}

extension OutboxEntry.Subject: CustomStringConvertible {
    package var description: String {
        switch self {
        case .manifest(let digest): "manifest \(digest)"
        case .tag(let tag): "tag \(tag)"
        case .locks(let target): "locks of \(target)"
        }
    }

    /// How the subject is called in the tables.
    var key: (kind: Int64, name: String) {
        switch self {
        case .manifest(let digest): (0, digest.description)
        case .tag(let tag): (1, tag.description)
        case .locks(.repository): (2, "")
        case .locks(.tag(_, let tag)): (2, ":\(tag)")
        case .locks(.manifest(_, let digest)): (2, "@\(digest)")
        }
    }

    init?(kind: Int64, name: String, repository: RepositoryName) throws {
        switch (kind, name.first) {
        case (0, _): self = .manifest(try Digest(name))
        case (1, _): self = .tag(try Tag(name))
        case (2, nil): self = .locks(.repository(repository))
        case (2, ":"): self = .locks(.tag(repository, try Tag(name.dropFirst())))
        case (2, "@"): self = .locks(.manifest(repository, try Digest(name.dropFirst())))
        default: return nil
        }
    }
}

/// The outbox within a caller's transaction.
enum Outbox {
    /// Where a manifest is present.
    static let present = "1"

    static let migration = Migration(
        "registry-3-outbox",
        [
            // Whether changes of clients are to be told to a parent.
            "ALTER TABLE registry ADD COLUMN outbox INTEGER NOT NULL DEFAULT 0",
            // Kind 0 a manifest, 1 a tag, 2 locks. The sequence is that of the change's row in the log.
            """
            CREATE TABLE outbox (
                registry INTEGER NOT NULL REFERENCES registry ON DELETE CASCADE, repository TEXT NOT NULL, kind INTEGER NOT NULL,
                name TEXT NOT NULL, sequence INTEGER NOT NULL, expected TEXT, target TEXT, sent_operation TEXT, sent_target TEXT,
                attempts INTEGER NOT NULL DEFAULT 0, due INTEGER NOT NULL DEFAULT 0, code TEXT, reason TEXT, since INTEGER NOT NULL,
                PRIMARY KEY (registry, repository, kind, name)) WITHOUT ROWID
            """,
            // Up to where the parent's log is older than what the parent has confirmed: such rows are passed over.
            """
            CREATE TABLE outbox_confirmed (
                registry INTEGER NOT NULL REFERENCES registry ON DELETE CASCADE, repository TEXT NOT NULL, kind INTEGER NOT NULL,
                name TEXT NOT NULL, log TEXT NOT NULL, sequence INTEGER NOT NULL, PRIMARY KEY (registry, repository, kind, name)) WITHOUT ROWID
            """,
            // What lost against the parent's value, until somebody deletes the tag that keeps it.
            """
            CREATE TABLE outbox_conflict (
                registry INTEGER NOT NULL REFERENCES registry ON DELETE CASCADE, repository TEXT NOT NULL, tag TEXT NOT NULL, saved TEXT NOT NULL,
                digest TEXT, parent TEXT, time INTEGER NOT NULL, PRIMARY KEY (registry, repository, tag, saved)) WITHOUT ROWID
            """,
            // At the parent: what was answered to each operation of its children, so that a repeated one gets the same answer.
            """
            CREATE TABLE proposal (
                registry INTEGER NOT NULL REFERENCES registry ON DELETE CASCADE, child TEXT NOT NULL COLLATE NOCASE, operation TEXT NOT NULL,
                answer TEXT NOT NULL, time INTEGER NOT NULL, PRIMARY KEY (registry, child, operation)) WITHOUT ROWID
            """,
        ])

    /// Origins of changes that are no news to the parent: its own, and what the collector does here.
    private static let silentOrigins: Set<String> = [ChangeOrigin.parent, ChangeOrigin.collector]

    /// Notes a change where a parent is to be told of it. Several changes of one thing are one entry: the value that was agreed on last
    /// stays, and a change that was taken back is none.
    static func note(
        _ subject: OutboxEntry.Subject, in name: RepositoryName, from old: String?, to new: String?, registry: RegistryID, origin: String,
        as logged: LoggedChange, now: Int64, _ session: any SQLWriter
    ) throws {
        guard logged.isOwed, !self.silentOrigins.contains(origin) else { return }
        if case .tag(let tag) = subject, ConflictTag.isReserved(tag.description) { return }
        let key = subject.key
        try session.execute(
            """
            INSERT INTO outbox (registry, repository, kind, name, sequence, expected, target, since) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
            ON CONFLICT (registry, repository, kind, name) DO UPDATE SET sequence = excluded.sequence, target = excluded.target,
                attempts = 0, due = 0, code = NULL, reason = NULL
            """, .integer(registry.value), SQLValue(name), .integer(key.kind), .text(key.name), .integer(logged.sequence), SQLValue(old),
            SQLValue(new), .integer(now))
        try OutboxLocks.noteChange(of: subject, in: name, key.kind == 1 ? [old, new] : [], registry: registry, session)
        // A manifest's row has no agreed value: whether the parent has it is asked when it is sent.
        guard key.kind != 0 else { return }
        try session.execute(
            """
            DELETE FROM outbox WHERE registry = ? AND repository = ? AND kind = ? AND name = ? AND expected IS target
                AND sent_operation IS NULL AND opened IS NULL
            """, .integer(registry.value), SQLValue(name), .integer(key.kind), .text(key.name))
    }

    /// Whether the subject has a value here that the parent has not judged.
    static func isPending(
        _ subject: OutboxEntry.Subject, in name: RepositoryName, of registry: RegistryID, _ session: any SQLReader
    ) throws -> Bool {
        let key = subject.key
        return try session.row(
            "SELECT 1 FROM outbox WHERE registry = ? AND repository = ? AND kind = ? AND name = ?", .integer(registry.value),
            SQLValue(name), .integer(key.kind), .text(key.name)) != nil
    }

    /// Whether the manifest belongs to something the parent has not judged: it must not go meanwhile.
    static func isNeeded(
        _ digest: Digest, in name: RepositoryName, repository: Int64, of registry: RegistryID, _ session: any SQLReader
    ) throws -> Bool {
        try session.row(
            """
            WITH RECURSIVE above (digest) AS (
                SELECT ?1 UNION SELECT entry.manifest FROM above
                    JOIN manifest_entry AS entry ON entry.repository = ?2 AND entry.digest = above.digest AND entry.kind = 1)
            SELECT 1 FROM outbox JOIN above ON (kind = 0 AND name = above.digest AND target IS NOT NULL)
                OR (kind = 1 AND (target = above.digest OR sent_target = above.digest))
            WHERE outbox.registry = ?3 AND outbox.repository = ?4 LIMIT 1
            """, SQLValue(digest), .integer(repository), .integer(registry.value), SQLValue(name)) != nil
    }

    static let select = """
        SELECT repository, kind, name, expected, target, sent_operation, sent_target, attempts, due, code, reason, since FROM outbox
        """

    static func decode(_ row: SQLRow) throws -> OutboxEntry? {
        let repository = try RepositoryName(row.text(0))
        guard let subject = try OutboxEntry.Subject(kind: row.integer(1), name: row.text(2), repository: repository) else { return nil }
        return OutboxEntry(
            repository: repository, subject: subject, expected: row.optionalText(3), target: row.optionalText(4),
            sent: row.optionalText(5).map { .init(operation: $0, target: row.optionalText(6)) }, attempts: row.integer(7),
            refusal: row.optionalText(9).map { .init(code: $0, reason: row.text(10), due: row.integer(8)) }, since: row.integer(11))
    }
}

/// Origins of changes that are not names of callers.
package enum ChangeOrigin {
    /// What a connected registry applies because its parent says so.
    package static let parent = "parent"
    package static let collector = "gc"
    /// What a connected registry told its parent.
    package static func child(_ name: String) -> String { "connectedRegistry:\(name)" }
}
