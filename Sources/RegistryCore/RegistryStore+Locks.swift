// Locks in the store: kept with what they lock, asked in the transaction of each change, written to the change log.

package import OCI
package import Persistence

extension RegistryError {
    /// A lock that refuses. Code and status are those with which clients of Azure's registries meet a lock.
    static func locked(_ target: LockTarget, _ attribute: String, _ what: String) -> RegistryError {
        let place: String
        switch target {
        case .repository(let name): place = "--repository \(name)"
        case .tag(let name, let tag): place = "--image \(name):\(tag)"
        case .manifest(let name, let digest): place = "--image \(name)@\(digest)"
        }
        return .init(
            .unsupported,
            "\(what) is disallowed: \(target) is locked (\(attribute) is false); "
                + "'outport acr repository update \(place) --\(attribute.dropLast(7))-enabled true' unlocks it",
            detail: ["name": target.repository.description, "lock": attribute])
    }
}

extension RegistryStore {
    /// Changes locks. The change is in the log of the same transaction and acts on the next request.
    ///
    /// - Throws: `NAME_UNKNOWN`, `MANIFEST_UNKNOWN`.
    package func setLocks(_ change: LockChange, of target: LockTarget, in registry: RegistryID, origin: String) async throws {
        let now = self.clock.milliseconds()
        try await self.database.write { session in
            let repository = try Self.requireRepository(target.repository, in: registry, session)
            let old = try Self.locks(of: target, repository, session)
            let new = change.applied(to: old)
            try Self.write(new, to: target, repository: repository, registry: registry, origin: origin, now: now, session)
        }
        // Answers kept in memory may be such as are no longer given.
        self.versions.contentRemoved()
        self.activity.signal()
    }

    /// Sets locks within a caller's transaction; what is so already changes nothing.
    static func write(
        _ new: ImageLocks, to target: LockTarget, repository: Int64, registry: RegistryID, origin: String, now: Int64,
        _ session: any SQLWriter
    ) throws {
        let old = try self.locks(of: target, repository, session)
        guard new != old else { return }
        var (tag, digest): (Tag?, Digest?)
        switch target {
        case .repository:
            try session.execute(
                "UPDATE repository SET locks = ?, updated = ? WHERE id = ?", .integer(new.rawValue), .integer(now), .integer(repository))
        case .tag(_, let name):
            tag = name
            try session.execute(
                "UPDATE tag SET locks = ?, updated = ? WHERE repository = ? AND name = ?", .integer(new.rawValue), .integer(now),
                .integer(repository), SQLValue(name))
        case .manifest(_, let name):
            digest = name
            try session.execute(
                "UPDATE manifest SET locks = ?, updated = ? WHERE repository = ? AND digest = ?", .integer(new.rawValue), .integer(now),
                .integer(repository), SQLValue(name))
        }
        let logged = try ChangeLog.append(
            .locksChanged, registry: registry, repository: target.repository, tag: tag, digest: digest, origin: origin, time: now,
            in: session)
        try Outbox.note(
            .locks(target), in: target.repository, from: String(old.rawValue), to: String(new.rawValue), registry: registry, origin: origin,
            as: logged, now: now, session)
    }

    /// - Throws: `MANIFEST_UNKNOWN` when what should carry the lock is not there.
    static func locks(of target: LockTarget, _ repository: Int64, _ session: any SQLReader) throws -> ImageLocks {
        let row: SQLRow?
        switch target {
        case .repository: row = try session.row("SELECT locks FROM repository WHERE id = ?", .integer(repository))
        case .tag(_, let tag):
            row = try session.row("SELECT locks FROM tag WHERE repository = ? AND name = ?", .integer(repository), SQLValue(tag))
        case .manifest(_, let digest):
            row = try session.row("SELECT locks FROM manifest WHERE repository = ? AND digest = ?", .integer(repository), SQLValue(digest))
        }
        guard let row else {
            switch target {
            case .repository(let name): throw RegistryError.repositoryUnknown(name)
            case .tag(let name, let tag): throw RegistryError.manifestUnknown(name, .tag(tag))
            case .manifest(let name, let digest): throw RegistryError.manifestUnknown(name, .digest(digest))
            }
        }
        return ImageLocks(rawValue: row.integer(0))
    }

    /// Refuses a push into a locked repository before its content is sent.
    package func requireWritable(_ name: RepositoryName, in registry: RegistryID) async throws {
        // Read first: a lock that is set meanwhile makes void what is remembered under an earlier count.
        let version = self.versions.removals
        if self.unlocked.contains(name, in: registry, version: version) { return }
        try await self.database.read { _ = try Self.writableRepository(name, in: registry, $0) }
        self.unlocked.insert(name, in: registry, version: version)
    }

    static func requireWritable(_ name: RepositoryName, _ repository: Int64, _ session: any SQLReader) throws {
        try self.requireWritable(name, try self.locks(of: .repository(name), repository, session))
    }

    private static func requireWritable(_ name: RepositoryName, _ locks: ImageLocks) throws {
        if locks.contains(.write) { throw RegistryError.locked(.repository(name), "writeEnabled", "pushing") }
    }

    /// The repository's row, for a push into it; `nil` where there is none.
    static func writableRepository(_ name: RepositoryName, in registry: RegistryID, _ session: any SQLReader) throws -> Int64? {
        guard
            let row = try session.row(
                "SELECT id, locks FROM repository WHERE registry = ? AND name = ?", .integer(registry.value), SQLValue(name))
        else { return nil }
        try self.requireWritable(name, ImageLocks(rawValue: row.integer(1)))
        return row.integer(0)
    }

    /// Refuses to move a locked tag. A tag that is not there yet is not locked.
    ///
    /// - Returns: what the tag names now.
    @discardableResult
    static func requireMovable(
        _ tag: Tag, to digest: Digest, _ name: RepositoryName, _ repository: Int64, _ session: any SQLReader
    ) throws -> String? {
        guard
            let row = try session.row(
                "SELECT locks, digest FROM tag WHERE repository = ? AND name = ?", .integer(repository), SQLValue(tag))
        else { return nil }
        let current = row.text(1)
        // Pushing once more what is there changes nothing.
        if current != digest.description, ImageLocks(rawValue: row.integer(0)).contains(.write) {
            throw RegistryError.locked(.tag(name, tag), "writeEnabled", "overwriting")
        }
        return current
    }

    /// Refuses to delete what is locked, or lies in a locked repository.
    static func requireDeletable(_ target: LockTarget, _ repository: Int64, _ session: any SQLReader) throws {
        try self.refuseDeletion(.repository(target.repository), try self.locks(of: .repository(target.repository), repository, session))
        if case .repository = target { return }
        try self.refuseDeletion(target, try self.locks(of: target, repository, session))
        guard case .manifest(let name, let digest) = target else { return }
        // Its tags would go with it.
        for row in try session.rows(
            "SELECT name, locks FROM tag INDEXED BY tag_digest WHERE repository = ? AND digest = ? AND locks & ? != 0 LIMIT 1",
            .integer(repository), SQLValue(digest), .integer(ImageLocks.keeping.rawValue))
        {
            try self.refuseDeletion(.tag(name, try Tag(row.text(0))), ImageLocks(rawValue: row.integer(1)))
        }
    }

    private static func refuseDeletion(_ target: LockTarget, _ locks: ImageLocks) throws {
        if locks.contains(.delete) { throw RegistryError.locked(target, "deleteEnabled", "deleting") }
        if locks.contains(.write) { throw RegistryError.locked(target, "writeEnabled", "deleting") }
    }

    /// Deletes a repository with its tags, manifests and links. Content that nothing else links to is collected later.
    ///
    /// - Returns: what was deleted.
    /// - Throws: `NAME_UNKNOWN`; a lock of the repository or of anything in it refuses all of it.
    package func deleteRepository(
        _ name: RepositoryName, of registry: RegistryID, origin: String
    ) async throws -> (manifests: [Digest], tags: [Tag]) {
        let now = self.clock.milliseconds()
        let deleted = try await self.database.write { session in
            let repository = try Self.requireRepository(name, in: registry, session)
            try Self.requireDeletable(.repository(name), repository, session)
            let keeping = SQLValue.integer(ImageLocks.keeping.rawValue)
            if let row = try session.row(
                "SELECT name, locks FROM tag WHERE repository = ? AND locks & ? != 0", .integer(repository), keeping)
            {
                try Self.refuseDeletion(.tag(name, try Tag(row.text(0))), ImageLocks(rawValue: row.integer(1)))
            }
            if let row = try session.row(
                "SELECT digest, locks FROM manifest WHERE repository = ? AND locks & ? != 0", .integer(repository), keeping)
            {
                try Self.refuseDeletion(.manifest(name, try Digest(row.text(0))), ImageLocks(rawValue: row.integer(1)))
            }
            let tags = try session.rows("SELECT name FROM tag WHERE repository = ? ORDER BY name", .integer(repository)).map {
                try Tag($0.text(0))
            }
            let manifests = try session.rows("SELECT digest FROM manifest WHERE repository = ? ORDER BY digest", .integer(repository)).map {
                try Digest($0.text(0))
            }
            for digest in manifests {
                _ = try Self.remove(digest, repository: repository, name: name, registry: registry, origin: origin, now: now, session)
            }
            try session.execute("DELETE FROM repository WHERE id = ?", .integer(repository))
            try ChangeLog.append(.repositoryDeleted, registry: registry, repository: name, origin: origin, time: now, in: session)
            return (manifests, tags)
        }
        self.versions.contentRemoved()
        self.activity.signal()
        return deleted
    }
}
