// Many small things at once: read in one snapshot for a child that mirrors small images, and written in one commit at the child.

package import NIOCore
package import OCI
package import Persistence

/// A thing that is wanted of a repository.
package struct SmallItem: Sendable, Hashable {
    package let repository: RepositoryName
    package let digest: Digest
    package let isManifest: Bool

    package init(repository: RepositoryName, digest: Digest, isManifest: Bool) {
        self.repository = repository
        self.digest = digest
        self.isManifest = isManifest
    }
}

/// What small things may be, and how much of them at once.
package struct SmallItemLimits: Sendable {
    package let largestManifest: Int
    package let largestBlob: Int
    /// Bytes of all; the first thing is given in any case.
    package let total: Int

    package init(largestManifest: Int, largestBlob: Int, total: Int) {
        self.largestManifest = largestManifest
        self.largestBlob = largestBlob
        self.total = total
    }
}

/// A thing as it was found.
package struct FoundItem: Sendable {
    /// Its place among those that are wanted.
    package let number: Int
    /// Of a manifest.
    package let mediaType: MediaType?
    package let bytes: ByteBuffer
}

/// Small content that has been compared with its digest.
package struct VerifiedContent: Sendable {
    package let digest: Digest
    package let bytes: [UInt8]

    /// `nil` for content that has another digest.
    package init?(_ bytes: [UInt8], digest: Digest) {
        guard Digest.of(bytes, algorithm: digest.algorithm) == digest else { return nil }
        self.digest = digest
        self.bytes = bytes
    }
}

extension RegistryStore {
    private enum Found {
        case bytes(Int, MediaType?, [UInt8])
        case file(Int, StoredBlob)
    }

    /// Finds small things as single requests for each would; what is not here, too large, or locked against reading is left out.
    ///
    /// - Returns: what was found, in order, and how many of the items have been looked at: the rest goes beyond `limits`.
    package func small(
        _ items: [SmallItem], of registry: RegistryID, limits: SmallItemLimits
    ) async throws -> (found: [FoundItem], considered: Int) {
        let (found, considered) = try await self.database.read { session in
            var repositories: [RepositoryName: Int64?] = [:]
            var found: [Found] = []
            var (total, considered) = (0, 0)
            for (number, item) in items.enumerated() {
                let repository: Int64?
                if let known = repositories[item.repository] {
                    repository = known
                } else {
                    repository = try Self.readable(item.repository, in: registry, session)
                    repositories[item.repository] = repository
                }
                guard let repository, let (size, one) = try Self.small(item, number, repository, limits, session) else {
                    considered += 1
                    continue
                }
                guard total + size <= limits.total || found.isEmpty else { break }
                total += size
                considered += 1
                found.append(one)
            }
            return (found, considered)
        }
        var result: [FoundItem] = []
        for one in found {
            switch one {
            case .bytes(let number, let mediaType, let bytes):
                result.append(FoundItem(number: number, mediaType: mediaType, bytes: ByteBuffer(bytes: bytes)))
            case .file(let number, let blob):
                // Collected in this moment, or damaged: who asks for it alone is told.
                guard let bytes = try? await self.blobs.open(blob).read(at: 0, count: Int(blob.size)), bytes.readableBytes == Int(blob.size)
                else { continue }
                result.append(FoundItem(number: number, mediaType: nil, bytes: bytes))
            }
        }
        return (result, considered)
    }

    /// - Returns: `nil` for a repository that is not here or locked against reading.
    private static func readable(_ name: RepositoryName, in registry: RegistryID, _ session: any SQLReader) throws -> Int64? {
        guard let repository = try self.repository(name, in: registry, session),
            try !self.locks(of: .repository(name), repository, session).contains(.read)
        else { return nil }
        return repository
    }

    private static func small(
        _ item: SmallItem, _ number: Int, _ repository: Int64, _ limits: SmallItemLimits, _ session: any SQLReader
    ) throws -> (size: Int, found: Found)? {
        guard !item.isManifest else {
            guard
                let row = try session.row(
                    """
                    SELECT manifest.media_type, manifest_content.bytes FROM manifest JOIN manifest_content USING (digest)
                    WHERE manifest.repository = ? AND manifest.digest = ? AND manifest.size <= ? AND manifest.locks & ? = 0
                    """, .integer(repository), SQLValue(item.digest), .integer(Int64(limits.largestManifest)),
                    .integer(ImageLocks.read.rawValue))
            else { return nil }
            let bytes = row.blob(1)
            return (bytes.count, .bytes(number, try MediaType(row.text(0)), bytes))
        }
        guard
            let row = try session.row(
                """
                SELECT blob.size, blob.generation, small_content.bytes FROM repository_blob JOIN blob USING (digest)
                    LEFT JOIN small_content ON small_content.id = blob.small
                WHERE repository_blob.repository = ? AND repository_blob.digest = ? AND blob.size <= ?
                """, .integer(repository), SQLValue(item.digest), .integer(Int64(limits.largestBlob)))
        else { return nil }
        let stored = StoredBlob(digest: item.digest, size: row.integer(0), generation: row.text(1))
        return (Int(stored.size), stored.isInRow ? .bytes(number, nil, row.blob(2)) : .file(number, stored))
    }

    /// Which of these are here, under whatever repository.
    package func contents(_ digests: [Digest]) async throws -> Set<Digest> {
        try await self.database.read { session in
            try Set(digests.filter { try session.row("SELECT 1 FROM blob WHERE digest = ?", SQLValue($0)) != nil })
        }
    }

    /// Keeps small content from the parent in its rows, in one commit. As other content from there it waits for the rest of its image.
    package func admitArrived(small contents: [VerifiedContent]) async throws {
        guard !contents.isEmpty else { return }
        let now = self.clock.milliseconds()
        let isMended = try await self.database.write { session in
            var isMended = false
            for content in contents {
                // What came another way in the meantime stays where it is.
                let row = try session.row(
                    """
                    INSERT INTO blob (digest, size, generation, created, lease, small) VALUES (?, ?, ?, ?, ?, \(SmallContentSchema.nextID))
                    ON CONFLICT (digest) DO UPDATE SET lease = max(lease, excluded.lease) RETURNING generation, small, created
                    """, SQLValue(content.digest), .integer(Int64(content.bytes.count)), .text(StoredBlob.inRow), .integer(now),
                    .integer(now + Self.transferLease))
                guard let row, row.text(0) == StoredBlob.inRow else { continue }
                let isWritten = try SmallContentSchema.write(content.bytes, as: row.integer(1), session)
                if isWritten, row.integer(2) != now { isMended = true }
            }
            return isMended
        }
        // It was there and was damaged, and the damage may have been read into memory.
        if isMended { self.versions.contentRemoved() }
    }
}
