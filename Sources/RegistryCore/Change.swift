// Rows of the change log and the cursor into it.

package import OCI
package import Persistence

/// One mutation of content.
package struct Change: Sendable, Hashable {
    package enum Kind: String, Sendable, CaseIterable {
        case tagSet = "tag-set"
        case tagDeleted = "tag-deleted"
        case manifestPut = "manifest-put"
        case manifestDeleted = "manifest-deleted"
        case repositoryDeleted = "repository-deleted"
        /// The locks of a repository, or of the tag or manifest that the row names.
        case locksChanged = "locks-changed"
    }

    package let sequence: Int64
    package let repository: RepositoryName
    package let kind: Kind
    package let tag: Tag?
    package let digest: Digest?
    /// Whether the manifest is still here and refers to a subject or is listed by an index (replicas take what is reached).
    package let isReached: Bool
    /// Milliseconds since 1970.
    package let time: Int64
    /// What is locked now of the tag or manifest that the row names, else of the repository; `nil` when that is gone.
    package let locks: ImageLocks?
}

/// A place in a log. An identity is made anew when a database is restored, so that a cursor of the old one is noticed.
package struct ChangeCursor: Sendable, Hashable {
    package let log: String
    package let sequence: Int64

    package init(log: String, sequence: Int64) {
        self.log = log
        self.sequence = sequence
    }
}

/// A page of the log.
package struct ChangePage: Sendable {
    package let changes: [Change]
    /// Where to go on.
    package let next: ChangeCursor
    /// Whether ``next`` was the head of the log.
    package let isAtHead: Bool

    package init(changes: [Change], next: ChangeCursor, isAtHead: Bool) {
        self.changes = changes
        self.next = next
        self.isAtHead = isAtHead
    }
}

/// Why a cursor cannot be followed.
package enum CursorProblem: String, Error, Sendable {
    case unknownLog, beyondHead, trimmed
}

/// A row that was appended to the log.
struct LoggedChange {
    let sequence: Int64
    /// Whether the registry keeps an outbox for a parent.
    let isOwed: Bool
}

/// Reads and appends the log within a caller's transaction.
package enum ChangeLog {
    /// Appends one row. The counter row is locked by the same transaction.
    @discardableResult
    static func append(
        _ kind: Change.Kind, registry: RegistryID, repository: RepositoryName, tag: Tag? = nil, digest: Digest? = nil,
        origin: String, time: Int64, in session: any SQLWriter
    ) throws -> LoggedChange {
        let row = try session.row(
            "UPDATE change_log SET head = head + 1 WHERE id = 1 RETURNING head, (SELECT outbox FROM registry WHERE id = ?)",
            .integer(registry.value))
        let sequence = row?.integer(0) ?? 0
        try session.execute(
            "INSERT INTO change (sequence, registry, repository, kind, tag, digest, origin, time) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            .integer(sequence), .integer(registry.value), SQLValue(repository), SQLValue(kind.rawValue), SQLValue(tag?.description),
            SQLValue(digest?.description), SQLValue(origin), .integer(time))
        return LoggedChange(sequence: sequence, isOwed: row?.flag(1) ?? false)
    }

    package static func head(in session: any SQLReader) throws -> ChangeCursor {
        let row = try session.row("SELECT identity, head FROM change_log WHERE id = 1")
        return ChangeCursor(log: row?.text(0) ?? "", sequence: row?.integer(1) ?? 0)
    }

    /// The rows of `registry` after `cursor` whose repository `isSelected`.
    ///
    /// At most `limit` rows are looked at, so a page may be empty and yet not at the head.
    static func page(
        of registry: RegistryID, after cursor: ChangeCursor, limit: Int, isSelected: (RepositoryName) -> Bool, in session: any SQLReader
    ) throws -> ChangePage {
        guard let log = try session.row("SELECT identity, head, tail FROM change_log WHERE id = 1"), log.text(0) == cursor.log else {
            throw CursorProblem.unknownLog
        }
        guard cursor.sequence <= log.integer(1) else { throw CursorProblem.beyondHead }
        guard cursor.sequence >= log.integer(2) else { throw CursorProblem.trimmed }
        let rows = try session.rows(
            """
            SELECT sequence, registry, repository, kind, tag, digest, time,
                kind = 'manifest-put' AND EXISTS (
                    SELECT 1 FROM repository JOIN manifest ON manifest.repository = repository.id
                    WHERE repository.registry = change.registry AND repository.name = change.repository
                        AND manifest.digest = change.digest
                        AND (manifest.subject IS NOT NULL OR EXISTS (
                            SELECT 1 FROM manifest_entry WHERE manifest_entry.repository = repository.id
                                AND manifest_entry.digest = change.digest AND manifest_entry.kind = 1))),
                (SELECT CASE
                    WHEN change.tag IS NOT NULL THEN (
                        SELECT tag.locks FROM tag WHERE tag.repository = repository.id AND tag.name = change.tag)
                    WHEN change.digest IS NOT NULL THEN (
                        SELECT manifest.locks FROM manifest
                        WHERE manifest.repository = repository.id AND manifest.digest = change.digest)
                    ELSE repository.locks END
                 FROM repository WHERE repository.registry = change.registry AND repository.name = change.repository)
            FROM change WHERE sequence > ? ORDER BY sequence LIMIT ?
            """, .integer(cursor.sequence), .integer(Int64(limit)))
        let changes = try rows.compactMap { row -> Change? in
            guard row.integer(1) == registry.value, let kind = Change.Kind(rawValue: row.text(3)) else { return nil }
            let repository = try RepositoryName(row.text(2))
            guard isSelected(repository) else { return nil }
            return Change(
                sequence: row.integer(0), repository: repository, kind: kind, tag: try row.optionalText(4).map { try Tag($0) },
                digest: try row.optionalText(5).map { try Digest($0) }, isReached: row.flag(7), time: row.integer(6),
                locks: row.optionalInteger(8).map(ImageLocks.init))
        }
        let reached = rows.last?.integer(0) ?? log.integer(1)
        return ChangePage(changes: changes, next: ChangeCursor(log: cursor.log, sequence: reached), isAtHead: reached == log.integer(1))
    }

    /// The rows of every registry after `sequence`, oldest first.
    package static func rows(after sequence: Int64, limit: Int, in session: any SQLReader) throws -> [(
        registry: RegistryID, change: Change
    )] {
        try session.rows(
            "SELECT sequence, registry, repository, kind, tag, digest, time FROM change WHERE sequence > ? ORDER BY sequence LIMIT ?",
            .integer(sequence), .integer(Int64(limit))
        ).compactMap { row in
            guard let kind = Change.Kind(rawValue: row.text(3)) else { return nil }
            let change = Change(
                sequence: row.integer(0), repository: try RepositoryName(row.text(2)), kind: kind,
                tag: try row.optionalText(4).map { try Tag($0) }, digest: try row.optionalText(5).map { try Digest($0) }, isReached: false,
                time: row.integer(6), locks: nil)
            return (RegistryID(row.integer(1)), change)
        }
    }
}
