// Locks between a parent and its connected registries: listed for comparison, applied as the parent says.

package import OCI
package import Persistence

/// A lock as two ends compare it.
package struct CarriedLock: Sendable, Hashable {
    package let target: LockTarget
    package let locks: ImageLocks

    package init(target: LockTarget, locks: ImageLocks) {
        self.target = target
        self.locks = locks
    }
}

extension RegistryStore {
    /// Everything in a repository that is locked, itself included.
    ///
    /// - Parameter buckets: of the state; `nil` for all.
    package func locks(of name: RepositoryName, in registry: RegistryID, buckets: [Int]? = nil) async throws -> [CarriedLock] {
        try await self.settled { session in
            guard let repository = try Self.repository(name, in: registry, session) else { return [] }
            let rows: [SQLRow]
            if let buckets {
                rows = try buckets.flatMap {
                    try session.rows(
                        "SELECT kind, name, value FROM state_entry WHERE repository = ? AND bucket = ? AND kind > 2 ORDER BY kind, name",
                        .integer(repository), .integer(Int64($0)))
                }
            } else {
                rows = try session.rows(
                    "SELECT kind, name, value FROM state_entry WHERE repository = ? AND kind > 2 ORDER BY kind, name", .integer(repository))
            }
            return try rows.map { row in
                let target: LockTarget =
                    switch row.integer(0) {
                    case 3: .repository(name)
                    case 4: .manifest(name, try Digest(row.text(1)))
                    default: .tag(name, try Tag(row.text(1)))
                    }
                return CarriedLock(target: target, locks: ImageLocks(rawValue: Int64(row.text(2)) ?? 0))
            }
        }
    }

    /// Applies locks as the parent has them. What carries them may not be here, and what waits to be told to the parent stays.
    package func apply(_ locks: [CarriedLock], to registry: RegistryID, origin: String) async throws {
        guard !locks.isEmpty else { return }
        let now = self.clock.milliseconds()
        let changed = try await self.database.write { session -> Bool in
            var changed = false
            for lock in locks {
                let name = lock.target.repository
                guard let repository = try Self.repository(name, in: registry, session),
                    try !Outbox.isPending(.locks(lock.target), in: name, of: registry, session)
                else { continue }
                let bits = lock.locks.intersection([.delete, .write, .list, .read])
                guard let current = try? Self.locks(of: lock.target, repository, session), current != bits else { continue }
                try Self.write(bits, to: lock.target, repository: repository, registry: registry, origin: origin, now: now, session)
                changed = true
            }
            return changed
        }
        guard changed else { return }
        // Answers kept in memory may be such as are no longer given.
        self.versions.contentRemoved()
        self.activity.signal()
    }
}
