// Locks on their way to the parent: one that was opened for a change and closed again must be opened there, too, before the change and
// closed behind it, although both ends have the same locks before and after. See decision 0071.

internal import OCI
internal import Persistence

/// Rows of the outbox about locks.
///
/// `opened` of such a row are the bits that were in force when something under that lock was changed here, where the lock both ends had agreed
/// on would not have allowed it.
enum OutboxLocks {
    static let migration = Migration("registry-11-opened-locks", ["ALTER TABLE outbox ADD COLUMN opened INTEGER"])

    /// The bits that refuse changes.
    private static let refusing = ImageLocks([.delete, .write]).rawValue

    /// Those of the agreed bits that have to be opened at the parent first; SQL over a row of the outbox.
    private static let toOpen = """
        (CAST(expected AS INTEGER) & ~(CAST(target AS INTEGER) & coalesce(opened, ~0)) & \(refusing))
        """

    /// Whether the row opens something, which must come before everything else; for ORDER BY.
    static let isOpening = "(kind = 2 AND \(toOpen) != 0)"

    /// What is to be proposed next: what must be open, or the locks as they are here.
    static let proposed = """
        CASE WHEN \(isOpening) THEN CAST(CAST(expected AS INTEGER) & ~\(toOpen) AS TEXT) ELSE target END
        """

    /// A tag or manifest has been changed by a client: locks that had been opened for that stay open for it, whatever becomes of them here.
    static func noteChange(
        of subject: OutboxEntry.Subject, in name: RepositoryName, _ digests: [String?], registry: RegistryID, _ session: any SQLWriter
    ) throws {
        var names = [""]
        switch subject {
        case .tag(let tag): names.append(":\(tag)")
        case .manifest(let digest): names.append("@\(digest)")
        case .locks: return
        }
        names += digests.compactMap { $0.map { "@\($0)" } }
        for key in names {
            try session.execute(
                """
                UPDATE outbox SET opened = CAST(target AS INTEGER) & coalesce(opened, ~0)
                WHERE registry = ? AND repository = ? AND kind = 2 AND name = ?
                    AND (CAST(expected AS INTEGER) | CAST(coalesce(sent_target, expected) AS INTEGER)) & ~CAST(target AS INTEGER)
                        & \(Self.refusing) != 0
                """, .integer(registry.value), SQLValue(name), .text(key))
        }
    }

    /// The parent has these bits now: what they leave open need not be opened any more.
    static func noteAgreed(
        _ bits: String?, of entry: OutboxEntry, _ key: String, registry: RegistryID, _ session: any SQLWriter
    ) throws {
        let place: [SQLValue] = [.integer(registry.value), SQLValue(entry.repository)]
        try session.execute(
            """
            UPDATE outbox SET opened = NULL WHERE registry = ? AND repository = ? AND kind = 2 AND name = ?
                AND opened IS NOT NULL AND CAST(? AS INTEGER) & ~opened & \(Self.refusing) = 0
            """, place + [.text(key), SQLValue(bits)])
        // What a lock has refused goes before that lock is closed again.
        let (before, now) = (entry.expected.flatMap { Int64($0) } ?? 0, bits.flatMap { Int64($0) } ?? 0)
        guard before & ~now & Self.refusing != 0 else { return }
        try session.execute(
            "UPDATE outbox SET due = 0 WHERE registry = ? AND repository = ? AND kind < 2 AND due > 0", place)
    }

    /// What carried the locks is gone here. Where they had been opened for that, the parent must open them, too.
    static func forget(_ target: LockTarget, registry: RegistryID, _ session: any SQLWriter) throws {
        let key = OutboxEntry.Subject.locks(target).key
        let place: [SQLValue] = [.integer(registry.value), SQLValue(target.repository), .integer(key.kind), .text(key.name)]
        try session.execute(
            "DELETE FROM outbox WHERE registry = ? AND repository = ? AND kind = ? AND name = ? AND NOT \(Self.isOpening)", place)
        // Only that: what else had been changed of them went with it.
        try session.execute(
            "UPDATE outbox SET target = \(Self.proposed), opened = NULL WHERE registry = ? AND repository = ? AND kind = ? AND name = ?",
            place)
    }
}
