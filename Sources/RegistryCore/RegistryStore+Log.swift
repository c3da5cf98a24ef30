// Keeps the change log from growing for ever, and answers in memory from being given for too long.

package import OCI
package import Persistence

extension RegistryStore {
    /// Answers that are kept in memory are not given any more: who may have them has changed.
    package func forgetAnswers() {
        self.versions.contentRemoved()
        self.versions.tagsMoved()
    }

    /// The sequence of the last change of a repository, or of a tag in it, as far as the log reaches back.
    package func lastChange(of name: RepositoryName, tag: Tag?, in registry: RegistryID) async throws -> Int64? {
        try await self.database.read { session in
            try session.row(
                "SELECT max(sequence) FROM change WHERE registry = ? AND repository = ? AND (?3 IS NULL OR tag = ?3)",
                .integer(registry.value), SQLValue(name), SQLValue(tag?.description))?.optionalInteger(0)
        }
    }

    /// Rows removed in one transaction, so that pushes do not wait long.
    private static let trimmedAtOnce: Int64 = 10_000

    /// Rows that the log keeps at most unless it is told otherwise: whoever is further behind compares state, which is cheaper by then.
    package static let defaultLogLimit: Int64 = 1_000_000

    /// Removes the oldest rows of the log up to the first that is not older than `time`, and more where there are too many.
    ///
    /// Whoever comes with a cursor before what is left compares state instead.
    /// - Parameters:
    ///   - time: milliseconds since 1970.
    ///   - limit: rows that are kept at most.
    ///   - reader: how far somebody has read who must miss nothing, whatever the limit.
    /// - Returns: how many rows went.
    @discardableResult
    package func trimLog(before time: Int64, keeping limit: Int64 = .max, readTo reader: Int64? = nil) async throws -> Int {
        var removed = 0
        while true {
            let count = try await self.database.write { session -> Int in
                // A clock that was set back may have written an old time after a newer one: only what precedes all newer rows goes.
                let row = try session.row(
                    """
                    SELECT tail, min(tail + ?2, coalesce(?3, head), max(head - ?4,
                        coalesce((SELECT sequence - 1 FROM change WHERE time >= ?1 AND sequence <= tail + ?2 + 1 ORDER BY sequence LIMIT 1),
                            head)))
                    FROM change_log WHERE id = 1
                    """, .integer(time), .integer(Self.trimmedAtOnce), SQLValue(reader), .integer(limit))
                guard let row, row.integer(1) > row.integer(0) else { return 0 }
                try session.execute("UPDATE change_log SET tail = ? WHERE id = 1", row[1])
                return try session.execute("DELETE FROM change WHERE sequence <= ?", row[1])
            }
            removed += count
            guard count == Self.trimmedAtOnce else { return removed }
        }
    }
}
