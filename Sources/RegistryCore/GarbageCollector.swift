// Removes what nothing reaches, while serving: uploads nobody goes on with, links no manifest needs, content no repository
// links to, files the database does not know.

internal import OCI
package import Persistence

/// What may be removed, and from what age on.
package struct GarbagePolicy: Sendable, Equatable {
    /// Milliseconds without a byte after which an upload is given up.
    package var uploadAge: Int64
    /// Milliseconds for which a blob waits for the manifest it was pushed for.
    package var blobAge: Int64
    /// Milliseconds without a byte after which content from a parent is given up.
    package var transferAge = RegistryStore.transferLease
    /// Milliseconds after which a manifest that no tag, no index and no subject reaches is removed; `nil` keeps them.
    package var untaggedAge: Int64?
    /// The same for registries that have a policy of their own.
    package var retention: [RegistryID: Int64] = [:]

    package static let day: Int64 = 86_400_000

    package init(uploadAge: Int64 = Self.day, blobAge: Int64 = Self.day, untaggedAge: Int64? = nil) {
        self.uploadAge = uploadAge
        self.blobAge = blobAge
        self.untaggedAge = untaggedAge
    }

    /// What is asked of whom; `nil` is every registry.
    var untaggedAges: [(registry: RegistryID?, age: Int64)] {
        (self.untaggedAge.map { [(nil, $0)] } ?? []) + self.retention.sorted { $0.key.value < $1.key.value }.map { ($0.key, $0.value) }
    }
}

/// What was removed, or would be.
package struct GarbageReport: Sendable, Equatable {
    package var uploads = 0
    package var manifests = 0
    /// Manifests that were deleted and whose days of being kept are over.
    package var purged = 0
    package var links = 0
    package var blobs = 0
    package var files = 0
    /// Bytes of blobs and files.
    package var bytes: Int64 = 0

    package init() {}
}

/// Collects garbage of one server.
///
/// Everything is decided in the writer's transactions, one batch at a time, so a push that arrives meanwhile is either seen or comes
/// afterwards; what is decided about was found on a connection that only reads (``GarbageScan``). A row names the generation of its file: when a digest is pushed again while its old file is being removed, the new
/// row names a new file. Content that a client has just been told of is under lease and stays.
package struct GarbageCollector: Sendable {
    /// Rows removed in one transaction: pushes wait no longer than one of these.
    private static let batch = 200

    let store: RegistryStore
    let uploads: Uploads

    package init(store: RegistryStore, uploads: Uploads) {
        self.store = store
        self.uploads = uploads
    }

    /// Manifests, of one registry (`?1`) or (NULL) all, that have been without a tag since before an instant (`?2`), whose lease is over (at `?3`), and
    /// that nothing reaches.
    static let unreachedManifests = GarbageScan(
        "repository.registry, repository.name, manifest.repository, manifest.digest",
        from: "manifest JOIN repository ON repository.id = manifest.repository",
        key: [("manifest.repository", isText: false), ("manifest.digest", isText: true)],
        where: """
            (?1 IS NULL OR repository.registry = ?1) AND max(manifest.created, coalesce(manifest.untagged, 0)) < ?2
            AND (manifest.lease < ?3 OR manifest.lease > ?3 + \(2 * RegistryStore.leaseDuration))
            AND manifest.locks & 3 = 0 AND repository.locks & 3 = 0
            AND NOT EXISTS (SELECT 1 FROM tag WHERE tag.repository = manifest.repository AND tag.digest = manifest.digest)
            AND NOT EXISTS (SELECT 1 FROM provisional_tag
                WHERE provisional_tag.repository = manifest.repository AND provisional_tag.digest = manifest.digest)
            AND NOT EXISTS (SELECT 1 FROM manifest_entry WHERE manifest_entry.repository = manifest.repository
                AND manifest_entry.digest = manifest.digest AND kind = 1)
            AND NOT EXISTS (SELECT 1 FROM outbox WHERE outbox.registry = repository.registry AND outbox.repository = repository.name
                AND outbox.kind = 0 AND outbox.name = manifest.digest)
            AND (manifest.subject IS NULL OR NOT EXISTS (SELECT 1 FROM manifest AS subject
                WHERE subject.repository = manifest.repository AND subject.digest = manifest.subject))
            """)

    /// Whether nobody has been promised the content of a blob any more, at the instant `?2`. One that lasts longer than any lease was given by a
    /// clock that has been set back since.
    private static let isLeaseOver = "(blob.lease < ?2 OR blob.lease > ?2 + \(2 * RegistryStore.transferLease))"

    /// Links older than an instant (`?1`), of blobs whose lease is over, that no manifest of the repository names: as its blob, as a layer that
    /// could also be had elsewhere, or as an entry of an index, where build caches have their layers.
    static let unneededLinks = GarbageScan(
        "repository_blob.repository, repository_blob.digest", from: "repository_blob JOIN blob ON blob.digest = repository_blob.digest",
        key: [("repository_blob.repository", isText: false), ("repository_blob.digest", isText: true)],
        where: """
            repository_blob.created < ?1 AND \(Self.isLeaseOver)
            AND NOT EXISTS (SELECT 1 FROM manifest_entry WHERE manifest_entry.repository = repository_blob.repository
                AND manifest_entry.digest = repository_blob.digest)
            """)

    /// Content whose lease is over, that no repository links to and that nothing deleted is kept with.
    static let unlinkedBlobs = GarbageScan(
        "blob.digest, blob.size, blob.generation", from: "blob", key: [("blob.digest", isText: true)],
        where: """
            \(Self.isLeaseOver) AND NOT EXISTS (SELECT 1 FROM repository_blob WHERE repository_blob.digest = blob.digest)
            AND NOT EXISTS (SELECT 1 FROM deleted_entry WHERE deleted_entry.digest = blob.digest)
            """)

    /// Bytes of manifests that no repository holds, found by digest: the rows themselves may have megabytes each.
    static let unheldContent = GarbageScan(
        "manifest_content.digest", from: "manifest_content", key: [("manifest_content.digest", isText: true)],
        where: "NOT EXISTS (SELECT 1 FROM manifest WHERE manifest.digest = manifest_content.digest)")

    /// Runs once over everything, after whoever is at it.
    package func collect(_ policy: GarbagePolicy) async throws -> GarbageReport {
        try await self.store.collections.withLock { try await self.run(policy) }
    }

    private func run(_ policy: GarbagePolicy) async throws -> GarbageReport {
        var report = GarbageReport()
        report.uploads = try await self.uploads.expire(olderThan: policy.uploadAge)
        for (name, _) in try await self.staleTransfers(policy) {
            try await self.store.blobs.discard(name)
            report.uploads += 1
        }
        for (registry, age) in policy.untaggedAges { report.manifests += try await self.collectManifests(of: registry, olderThan: age) }
        report.purged = try await self.purgeDeleted()
        report.links = try await self.collectLinks(olderThan: policy.blobAge)
        let (blobs, bytes) = try await self.collectBlobs()
        report.blobs = blobs
        report.bytes = bytes
        if blobs > 0 { self.store.versions.filesRemoved() }
        let files = try await self.collectFiles(olderThan: policy.blobAge)
        report.files = files.count
        report.bytes += files.bytes
        try await self.collectRows(olderThan: policy.blobAge)
        return report
    }

    /// Content from a parent that nobody has gone on with: the image has been replaced there, or is not selected any more.
    func staleTransfers(_ policy: GarbagePolicy) async throws -> [(name: StagingName, modified: Int64)] {
        let before = self.store.clock.milliseconds() - policy.transferAge
        return try await self.store.blobs.staged(in: .transfers).filter { $0.modified < before }
    }

    /// Manifests that no tag names, no index lists and that refer to no subject that is here. Removing an index may leave its
    /// children unreached; rounds go on until nothing is found.
    private func collectManifests(of registry: RegistryID?, olderThan age: Int64) async throws -> Int {
        var (total, round) = (0, 0)
        repeat {
            round = try await self.collectManifestsOnce(of: registry, olderThan: age)
            total += round
        } while round > 0
        return total
    }

    private func collectManifestsOnce(of registry: RegistryID?, olderThan age: Int64) async throws -> Int {
        let (now, scan) = (self.store.clock.milliseconds(), Self.unreachedManifests)
        let arguments = [SQLValue(registry?.value), .integer(now - age), .integer(now)]
        var walk = scan.walk(arguments, in: self.store.database)
        var total = 0
        while let keys = try await walk.next(Self.batch) {
            let removed = try await self.store.database.write { session in
                var removed = 0
                for key in keys {
                    guard let row = try session.rows(scan.one, arguments + key).first else { continue }
                    _ = try RegistryStore.remove(
                        Digest(row.text(3)), repository: row.integer(2), name: RepositoryName(row.text(1)),
                        registry: RegistryID(row.integer(0)), origin: "gc", now: now, purging: true, session)
                    removed += 1
                }
                return removed
            }
            guard removed > 0 else { continue }
            total += removed
            self.store.versions.contentRemoved()
            self.store.activity.signal()
        }
        return total
    }

    /// What was deleted and has been kept for the days of its registry's policy.
    private func purgeDeleted() async throws -> Int {
        let (now, limit) = (self.store.clock.milliseconds(), Self.batch)
        var total = 0
        while true {
            let purged = try await self.store.database.write { session in
                let rows = try session.rows(SoftDelete.expiredManifests, .integer(now), .integer(Int64(limit)))
                try SoftDelete.purge(rows, session)
                if rows.isEmpty { try SoftDelete.purgeTags(now: now, session) }
                return rows.count
            }
            guard purged > 0 else { return total }
            total += purged
        }
    }

    /// Links of blobs that no manifest of the repository needs.
    private func collectLinks(olderThan age: Int64) async throws -> Int {
        let (now, scan) = (self.store.clock.milliseconds(), Self.unneededLinks)
        let arguments = [SQLValue.integer(now - age), .integer(now), .null]
        var walk = scan.walk(arguments, in: self.store.database)
        var total = 0
        while let keys = try await walk.next(Self.batch) {
            let removed = try await self.store.database.write { session in
                var removed = 0
                for key in keys {
                    guard let row = try session.rows(scan.one, arguments + key).first else { continue }
                    removed += try session.execute("DELETE FROM repository_blob WHERE repository = ? AND digest = ?", row[0], row[1])
                }
                return removed
            }
            guard removed > 0 else { continue }
            total += removed
            self.store.versions.contentRemoved()
        }
        return total
    }

    /// Content that no repository links to. The row goes first; a file without a row is found by ``collectFiles(olderThan:)`` if
    /// this process ends in between.
    private func collectBlobs() async throws -> (count: Int, bytes: Int64) {
        let arguments = [SQLValue.null, .integer(self.store.clock.milliseconds()), .null]
        var walk = Self.unlinkedBlobs.walk(arguments, in: self.store.database)
        var total = (count: 0, bytes: Int64(0))
        while let keys = try await walk.next(Self.batch) {
            // A file whose row has gone looks like one that a killed process left, which whoever wants its content may take over: not
            // before it has gone, too.
            let removed = try await self.store.strays.withLock { try await self.removeBlobs(keys, arguments) }
            total.count += removed.count
            total.bytes += removed.reduce(0) { $0 + $1.size }
        }
        return total
    }

    private func removeBlobs(_ keys: [[SQLValue]], _ arguments: [SQLValue]) async throws -> [StoredBlob] {
        let scan = Self.unlinkedBlobs
        let removed = try await self.store.database.write { session in
            try keys.compactMap { key -> StoredBlob? in
                guard let row = try session.rows(scan.one, arguments + key).first else { return nil }
                try session.execute("DELETE FROM blob WHERE digest = ?", row[0])
                return StoredBlob(digest: try Digest(row.text(0)), size: row.integer(1), generation: row.text(2))
            }
        }
        guard !removed.isEmpty else { return [] }
        self.store.versions.contentRemoved()
        for blob in removed where !blob.isInRow { try await self.store.blobs.delete(blob) }
        return removed
    }

    /// Files that no row names: what a crash left between renaming a file and writing its row, or between deleting a row and its file.
    private func collectFiles(olderThan age: Int64) async throws -> (count: Int, bytes: Int64) {
        let before = self.store.clock.milliseconds() - age
        var total = (count: 0, bytes: Int64(0))
        for shelf in try await self.store.blobs.shelves() {
            let removed = try await self.store.strays.withLock { try await self.collectFiles(on: shelf, before: before) }
            total.count += removed.count
            total.bytes += removed.bytes
        }
        return total
    }

    private func collectFiles(on shelf: String, before: Int64) async throws -> (count: Int, bytes: Int64) {
        var total = (count: 0, bytes: Int64(0))
        let stored = try await self.store.blobs.stored(on: shelf).filter { $0.modified < before }
        guard !stored.isEmpty else { return total }
        let known = try await self.store.database.read { session in
            try stored.map { file in
                try session.row("SELECT generation FROM blob WHERE digest = ?", SQLValue(file.blob.digest))?.text(0)
                    == file.blob.generation
            }
        }
        for (file, isKnown) in zip(stored, known) where !isKnown {
            try await self.store.blobs.delete(file.blob)
            total.count += 1
            total.bytes += file.blob.size
        }
        return total
    }

    /// Manifest bytes without a manifest, and repositories without content that carry no lock: a lock is for what comes next, too. Nobody
    /// needs a row of the log for such a repository; what is in no list and on no comparison cannot be missed.
    private func collectRows(olderThan age: Int64) async throws {
        let (before, scan) = (self.store.clock.milliseconds() - age, Self.unheldContent)
        var walk = scan.walk([.null, .null, .null], in: self.store.database)
        while let keys = try await walk.next(Self.batch) {
            guard !keys.isEmpty else { continue }
            try await self.store.database.write { session in
                for key in keys where try session.rows(scan.one, [.null, .null, .null] + key).first != nil {
                    _ = try session.execute("DELETE FROM manifest_content WHERE digest = ?", key)
                }
            }
        }
        _ = try await self.store.database.write { session in
            try session.execute(
                """
                DELETE FROM repository WHERE created < ? AND locks = 0
                    AND NOT EXISTS (SELECT 1 FROM manifest WHERE manifest.repository = repository.id)
                    AND NOT EXISTS (SELECT 1 FROM repository_blob WHERE repository_blob.repository = repository.id)
                """, .integer(before))
        }
    }
}
