// Uploads under way: which are open, who writes to each, and how their content becomes a blob.

package import NIOCore
package import OCI
package import Persistence
internal import Synchronization

/// Uploads from clients (distribution specification, "Pushing blobs").
///
/// The upload's bytes lie in a file whose name binds it to its repository, so an upload survives a restart of the
/// server without a row in the database: the next request hashes the prefix again and goes on.
package final class Uploads: Sendable {
    /// Content is handed to the store in segments of this size: hashing and writing are cheap per segment, not per network read.
    static let segmentSize = 1 << 20

    private enum Slot: Sendable {
        /// A request is writing.
        case busy
        case idle(any StagedBlob)
    }

    /// Uploads kept open between requests. Beyond it the one idle for longest is closed; its next request opens and hashes it again.
    private static let openLimit = 256

    private struct Slots {
        var byName: [StagingName: Slot] = [:]
        /// Idle uploads, the one idle for longest first. Names that are no longer idle are passed over.
        var idleOrder: [StagingName] = []
    }

    private let store: RegistryStore
    private let slots = Mutex(Slots())

    package init(store: RegistryStore) { self.store = store }

    /// Where content of an upload may begin.
    package struct Range: Sendable, Hashable {
        package let start: Int64
        /// The last byte, inclusive.
        package let end: Int64

        /// Parses `start-end` of a chunk's `Content-Range` (distribution specification, "Pushing a blob in chunks").
        package init(parsing text: String) throws(OCIParseError) {
            let parts = text.split(separator: "-", omittingEmptySubsequences: false)
            guard parts.count == 2, parts.allSatisfy({ !$0.isEmpty && $0.utf8.count <= 18 && $0.utf8.allSatisfy(ASCII.isDigit) }),
                let start = Int64(parts[0]), let end = Int64(parts[1]), start <= end
            else { throw OCIParseError(.byteRange, text, "it must be '<start>-<end>', both inclusive") }
            self.start = start
            self.end = end
        }
    }

    /// Begins an upload; returns its identifier.
    package func begin(in name: RepositoryName, of registry: RegistryID) async throws -> String {
        let (high, low) = (UInt64.random(in: .min ... .max), UInt64.random(in: .min ... .max))
        let identifier = ASCII.hex(withUnsafeBytes(of: (high, low)) { Array($0) })
        let staging = try Self.staging(identifier, name, registry)
        let staged = try await self.store.blobs.stage(staging)
        self.release(staging, staged)
        return identifier
    }

    /// Bytes received so far.
    ///
    /// - Throws: `BLOB_UPLOAD_UNKNOWN`.
    package func size(of identifier: String, in name: RepositoryName, of registry: RegistryID) async throws -> Int64 {
        let staging = try Self.staging(identifier, name, registry)
        let staged = try await self.take(staging, name)
        self.release(staging, staged)
        return staged.size
    }

    /// Appends a chunk.
    ///
    /// - Parameters:
    ///   - range: the chunk's `Content-Range`; it must begin where the upload ends.
    ///   - length: the chunk's `Content-Length`, if known.
    /// - Returns: bytes received so far.
    /// - Throws: `RANGE_INVALID` (416) for a chunk out of order, `SIZE_INVALID`, `BLOB_UPLOAD_UNKNOWN`.
    package func append<Body: AsyncSequence & Sendable>(
        _ body: Body, range: Range?, length: Int64?, to identifier: String, in name: RepositoryName, of registry: RegistryID
    ) async throws -> Int64 where Body.Element == ByteBuffer {
        let staging = try Self.staging(identifier, name, registry)
        let staged = try await self.take(staging, name)
        defer { self.release(staging, staged) }
        if let range {
            guard range.start == staged.size else { throw Self.outOfOrder(range, staged.size) }
            if let length, length != range.end - range.start + 1 {
                throw RegistryError(
                    .sizeInvalid,
                    "Content-Range \(range.start)-\(range.end) is \(range.end - range.start + 1) bytes but Content-Length is \(length)")
            }
        }
        let before = staged.size
        try await Self.receive(body, into: staged)
        // A client that went away in the middle has not ended its chunk: what arrived is kept, and it can go on behind it.
        if let length = length ?? range.map({ $0.end - $0.start + 1 }), staged.size - before != length {
            throw RegistryError(
                .sizeInvalid,
                "\(staged.size - before) bytes arrived of the \(length) that were announced; the upload has \(staged.size) bytes now",
                detail: ["offset": String(staged.size)])
        }
        return staged.size
    }

    /// Appends what is left, verifies the whole and links it into the repository.
    ///
    /// - Throws: `DIGEST_INVALID` when the content is not what `digest` says; the upload is then over.
    package func finish<Body: AsyncSequence & Sendable>(
        _ body: Body?, range: Range?, length: Int64?, as digest: Digest, upload identifier: String, in name: RepositoryName,
        of registry: RegistryID
    ) async throws -> StoredBlob where Body.Element == ByteBuffer {
        if let body { _ = try await self.append(body, range: range, length: length, to: identifier, in: name, of: registry) }
        let staging = try Self.staging(identifier, name, registry)
        let staged = try await self.take(staging, name)
        // The upload is over, whatever comes of it; until then nobody else takes it up.
        defer { self.slots.withLock { $0.byName[staging] = nil } }
        do {
            let stored = try await self.store.blobs.commit(staged, as: digest, size: nil)
            try await self.store.admit(stored, into: name, of: registry)
            return stored
        } catch let error as PersistenceError {
            throw RegistryError(error)
        }
    }

    /// Gives an upload up.
    package func cancel(_ identifier: String, in name: RepositoryName, of registry: RegistryID) async throws {
        let staging = try Self.staging(identifier, name, registry)
        _ = try await self.take(staging, name)
        defer { self.slots.withLock { $0.byName[staging] = nil } }
        try await self.store.blobs.discard(staging)
    }

    /// Gives up uploads without a byte for `age` milliseconds, of this process and of earlier ones.
    ///
    /// - Returns: how many.
    func expire(olderThan age: Int64) async throws -> Int {
        let before = self.store.clock.milliseconds() - age
        var count = 0
        for (name, modified) in try await self.store.blobs.staged(in: .uploads) where modified < before {
            // One that a request is writing to is not idle, whatever its file says.
            let isOurs = self.slots.withLock { slots in
                if case .busy = slots.byName[name] { return false }
                slots.byName[name] = .busy
                return true
            }
            guard isOurs else { continue }
            defer { self.slots.withLock { $0.byName[name] = nil } }
            try await self.store.blobs.discard(name)
            count += 1
        }
        return count
    }

    private static func staging(_ identifier: String, _ name: RepositoryName, _ registry: RegistryID) throws -> StagingName {
        guard let staging = StagingName.upload(identifier, repository: name, registry: registry.value) else {
            throw RegistryError.uploadUnknown(name)
        }
        return staging
    }

    private static func outOfOrder(_ range: Range, _ size: Int64) -> RegistryError {
        .init(
            .rangeInvalid, "the chunk begins at byte \(range.start) but the upload has \(size) bytes: go on at byte \(size)",
            detail: ["offset": String(size)])
    }

    /// Takes an upload for one request. A second request for the same upload is refused, not queued: its chunk could only be out of order.
    private func take(_ staging: StagingName, _ name: RepositoryName) async throws -> any StagedBlob {
        let slot = self.slots.withLock { slots in
            defer { slots.byName[staging] = .busy }
            return slots.byName[staging]
        }
        switch slot {
        case .idle(let staged): return staged
        case .busy:
            throw RegistryError(.blobUploadInvalid, "another request is writing to this upload; wait for its answer", status: 409)
        case nil:
            do {
                guard let staged = try await self.store.blobs.resume(staging) else { throw RegistryError.uploadUnknown(name) }
                return staged
            } catch {
                self.slots.withLock { $0.byName[staging] = nil }
                throw error
            }
        }
    }

    private func release(_ staging: StagingName, _ staged: any StagedBlob) {
        self.slots.withLock { slots in
            slots.byName[staging] = .idle(staged)
            slots.idleOrder.append(staging)
            guard slots.idleOrder.count > 2 * Self.openLimit else { return }
            // Each upload once, at its latest place.
            var seen: Set<StagingName> = []
            let idle = slots.idleOrder.reversed().filter { name in
                guard case .idle = slots.byName[name] else { return false }
                return seen.insert(name).inserted
            }
            for name in idle.dropFirst(Self.openLimit) { slots.byName[name] = nil }
            slots.idleOrder = idle.prefix(Self.openLimit).reversed()
        }
    }

    /// Gathers network reads into segments and hands each to the store.
    private static func receive<Body: AsyncSequence & Sendable>(_ body: Body, into staged: any StagedBlob) async throws
    where Body.Element == ByteBuffer {
        var segment = ByteBuffer()
        var body = body.makeAsyncIterator()
        while true {
            var buffer: ByteBuffer
            do {
                guard let next = try await body.next() else { break }
                buffer = next
            } catch {
                // What has arrived is kept: the client asks for the status and goes on behind it.
                if segment.readableBytes > 0 { try? await staged.append(segment) }
                throw error
            }
            segment.writeBuffer(&buffer)
            // Whole segments, so that a store may write them as they are.
            while let whole = segment.readSlice(length: self.segmentSize) { try await staged.append(whole) }
            if segment.readableBytes == 0 { segment.clear() } else if segment.readerIndex > 0 { segment.discardReadBytes() }
        }
        if segment.readableBytes > 0 { try await staged.append(segment) }
    }
}
