// Small content lies in the database: a push then costs its share of one commit, and neither a file nor a flush of its own.

package import NIOCore
package import OCI
package import Persistence

extension StoredBlob {
    /// Stands in place of a file's generation where the content lies in the row.
    static let inRow = "row"

    package var isInRow: Bool { self.generation == Self.inRow }
}

/// Content that was read from its row.
private struct RowReader: BlobReader {
    let content: ByteBuffer

    var size: Int64 { Int64(self.content.readableBytes) }
    var file: File? { nil }
    var bytes: ByteBuffer? { self.content }

    func read(at offset: Int64, count: Int) async throws -> ByteBuffer {
        let start = Int(max(0, min(offset, self.size)))
        // Within the buffer by the line above.
        return self.content.getSlice(at: self.content.readerIndex + start, length: max(0, min(count, Int(self.size) - start)))
            ?? ByteBuffer()
    }
}

extension RegistryStore {
    /// Bytes up to which content lies in its row unless the store is told otherwise (decision 0015).
    package static let defaultSmallContentLimit = 32 << 10

    /// Opens content, wherever it lies.
    package func open(_ blob: StoredBlob) async throws -> any BlobReader {
        guard blob.isInRow else { return try await self.blobs.open(blob) }
        let bytes = try await self.database.read { session in
            try session.row(
                "SELECT bytes FROM blob JOIN small_content ON small_content.id = blob.small WHERE digest = ? AND generation = ?",
                SQLValue(blob.digest), .text(StoredBlob.inRow))?.blob(0)
        }
        guard let bytes else {
            throw PersistenceError(.notFound, tried: "read \(blob.digest)", cause: "it is not in the database any more")
        }
        return RowReader(content: ByteBuffer(bytes: bytes))
    }

    /// Verifies small content, keeps it in its row and, when `name` is given, links it into a repository, all in one commit.
    ///
    /// - Throws: ``PersistenceError`` with `digestMismatch`; nothing is kept then.
    package func admit(small content: ByteBuffer, as digest: Digest, into name: RepositoryName?, of registry: RegistryID) async throws
        -> StoredBlob
    {
        let actual = Digest.of(content.readableBytesView, algorithm: digest.algorithm)
        guard actual == digest else {
            throw PersistenceError(
                .digestMismatch, tried: "store \(digest)", cause: "the content that arrived has digest \(actual)")
        }
        try self.blobs.requireRoom(for: Int64(content.readableBytes))
        let now = self.clock.milliseconds()
        let (bytes, size) = (Array(content.readableBytesView), Int64(content.readableBytes))
        let stored = StoredBlob(digest: digest, size: size, generation: StoredBlob.inRow)
        let (kept, isMended) = try await self.database.write { session in
            let row = try session.row(
                """
                INSERT INTO blob (digest, size, generation, created, lease, small) VALUES (?, ?, ?, ?, ?, \(SmallContentSchema.nextID))
                ON CONFLICT (digest) DO UPDATE SET lease = max(lease, excluded.lease),
                    size = CASE generation WHEN excluded.generation THEN excluded.size ELSE size END
                RETURNING generation, small, created
                """, SQLValue(digest), .integer(size), .text(StoredBlob.inRow), .integer(now), .integer(now + Self.leaseDuration))
            var isMended = false
            if let row, row.text(0) == StoredBlob.inRow {
                let isWritten = try SmallContentSchema.write(bytes, as: row.integer(1), session)
                isMended = isWritten && row.integer(2) != now
            }
            try Self.link(digest, into: name, of: registry, now: now, session)
            return (row?.text(0), isMended)
        }
        // It was there and was damaged, and the damage may have been read into memory.
        if isMended { self.versions.contentRemoved() }
        // It lies in a file already; one that is gone or cut short is worth less than what has just been verified.
        guard let kept, kept != StoredBlob.inRow else { return stored }
        let earlier = StoredBlob(digest: digest, size: size, generation: kept)
        if await self.isWhole(earlier) { return earlier }
        let replaced = try await self.database.write { session in
            let row = try session.row(
                """
                UPDATE blob SET generation = ?, size = ?, small = \(SmallContentSchema.nextID) WHERE digest = ? AND generation = ?
                RETURNING small
                """, .text(StoredBlob.inRow), .integer(size), SQLValue(digest), SQLValue(kept))
            if let row { try SmallContentSchema.write(bytes, as: row.integer(0), session) }
            return row != nil
        }
        if replaced { try await self.blobs.delete(earlier) }
        self.versions.contentRemoved()
        return stored
    }
}
