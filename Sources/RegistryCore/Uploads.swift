// Uploads under way: which are open, who writes to each, and how their content becomes a blob.

package import NIOCore
package import OCI
package import Persistence
internal import Synchronization

/// Uploads from clients (distribution specification, "Pushing blobs").
///
/// The upload's bytes lie in a file whose name binds it to its repository, so an upload survives a restart of the
/// server without a row in the database: the next request hashes the prefix again and goes on. Before the first byte has arrived
/// there is no file, and small content that comes with the request that ends the upload never gets one (decision 0015).
package final class Uploads: Sendable {
    /// Content is handed to the store in segments of this size: hashing and writing are cheap per segment, not per network read.
    static let segmentSize = 1 << 20

    /// How far an upload has come.
    private enum Upload: Sendable {
        /// Nothing has arrived since the time given, in milliseconds since 1970; its digest is expected to be of `algorithm`.
        case empty(since: Int64, Digest.Algorithm)
        case staged(any StagedBlob)

        var size: Int64 {
            switch self {
            case .empty: 0
            case .staged(let staged): staged.size
            }
        }
    }

    private enum Slot: Sendable {
        /// A request is writing; with how much was there before it, where that is known already.
        case busy(Int64?)
        case idle(Upload)
    }

    /// Uploads kept open between requests. Beyond it the one idle for longest is closed; its next request opens and hashes it again.
    private static let openLimit = 256
    /// Uploads of which nothing is known but in memory. Beyond it each gets its file when it begins.
    private static let emptyLimit = 10_000
    /// Uploads that may be open in one repository. A client opens one for each layer it pushes at a time; only one that begins them and
    /// never ends them comes here, and keeps nobody else from pushing. Those it left end by their age.
    package static let limit = 10_000

    private struct Place: Hashable {
        let registry: RegistryID
        let repository: RepositoryName
    }

    private struct Slots {
        var byName: [StagingName: Slot] = [:]
        /// Idle uploads, the one idle for longest first. Names that are no longer idle are passed over.
        var idleOrder: [StagingName] = []
        /// Uploads that are open, closed files too. Those of earlier processes come in when they are asked for.
        private var places: [StagingName: Place] = [:]
        private var counts: [Place: Int] = [:]

        func count(in place: Place) -> Int { self.counts[place, default: 0] }

        mutating func count(_ name: StagingName, _ place: Place) {
            guard self.places.updateValue(place, forKey: name) == nil else { return }
            self.counts[place, default: 0] += 1
        }

        mutating func end(_ name: StagingName) {
            self.byName[name] = nil
            guard let place = self.places.removeValue(forKey: name), let count = self.counts[place] else { return }
            self.counts[place] = count > 1 ? count - 1 : nil
        }
    }

    private let store: RegistryStore
    private let limit: Int
    private let slots = Mutex(Slots())

    /// - Parameter limit: uploads that may be open in one repository.
    package init(store: RegistryStore, limit: Int = Uploads.limit) {
        self.store = store
        self.limit = limit
    }

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
    ///
    /// - Parameter algorithm: what its digest will be of, where the client says so: content of that one need not be read again at its end.
    /// - Throws: `TOOMANYREQUESTS` when too many are open in the repository.
    package func begin(
        in name: RepositoryName, of registry: RegistryID, hashing algorithm: Digest.Algorithm = .sha256
    ) async throws -> String {
        let (high, low) = (UInt64.random(in: .min ... .max), UInt64.random(in: .min ... .max))
        let identifier = ASCII.hex(withUnsafeBytes(of: (high, low)) { Array($0) })
        let staging = try Self.staging(identifier, name, registry)
        let place = Place(registry: registry, repository: name)
        let isFull = try self.slots.withLock { slots in
            guard slots.count(in: place) < self.limit else {
                throw RegistryError(
                    .tooManyRequests,
                    "\(self.limit) uploads are open in repository \(name), as many as may be: end or cancel those that are not needed, or try again later",
                    detail: ["name": name.description, "limit": String(self.limit)])
            }
            slots.count(staging, place)
            return slots.byName.count >= Self.emptyLimit
        }
        do {
            let upload =
                isFull
                ? Upload.staged(try await self.store.blobs.stage(staging, hashing: algorithm))
                : .empty(since: self.store.clock.milliseconds(), algorithm)
            self.release(staging, upload)
        } catch {
            self.slots.withLock { $0.end(staging) }
            throw error
        }
        return identifier
    }

    /// Bytes received so far; of a chunk that is arriving none, for none of it is sure to stay.
    ///
    /// - Throws: `BLOB_UPLOAD_UNKNOWN`.
    package func size(of identifier: String, in name: RepositoryName, of registry: RegistryID) async throws -> Int64 {
        let staging = try Self.staging(identifier, name, registry)
        switch self.slots.withLock({ $0.byName[staging] }) {
        case .busy(let settled?): return settled
        case .idle(let upload): return upload.size
        case .busy(nil): throw Self.isBusy(staging, name)
        case nil:
            // Who only asks need not wait until it is all hashed again.
            guard let size = try await self.store.blobs.size(of: staging) else {
                throw RegistryError.uploadUnknown(name, Self.identifier(staging))
            }
            return size
        }
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
        var upload = try await self.take(staging, name, registry)
        do {
            let tail = try await self.receive(body, range: range, length: length, into: &upload, staging)
            try await self.keep(tail, in: &upload, staging)
        } catch {
            await self.release(staging, upload, after: error)
            throw error
        }
        self.release(staging, upload)
        return upload.size
    }

    /// Lets go of an upload after a failure: the client may go on with what is there. On a disk that is full it goes at once: it would keep
    /// everybody from writing for as long as uploads may be idle.
    private func release(_ staging: StagingName, _ upload: Upload, after error: any Error) async {
        guard (error as? PersistenceError)?.code == .noSpace else { return self.release(staging, upload) }
        if case .staged = upload { try? await self.store.blobs.discard(staging) }
        self.slots.withLock { $0.end(staging) }
    }

    /// Appends what is left, verifies the whole and links it into the repository.
    ///
    /// - Throws: `DIGEST_INVALID` when the content is not what `digest` says; the upload is then over.
    package func finish<Body: AsyncSequence & Sendable>(
        _ body: Body?, range: Range?, length: Int64?, as digest: Digest, upload identifier: String, in name: RepositoryName,
        of registry: RegistryID
    ) async throws -> StoredBlob where Body.Element == ByteBuffer {
        let staging = try Self.staging(identifier, name, registry)
        var upload = try await self.take(staging, name, registry)
        // Now it is known.
        if case .empty(let since, _) = upload { upload = .empty(since: since, digest.algorithm) }
        var tail = ByteBuffer()
        do {
            if let body { tail = try await self.receive(body, range: range, length: length, into: &upload, staging) }
        } catch {
            await self.release(staging, upload, after: error)
            throw error
        }
        // The upload is over, whatever comes of it; until then nobody else takes it up.
        defer { self.slots.withLock { $0.end(staging) } }
        do {
            if case .empty = upload, tail.readableBytes <= self.store.smallContentLimit {
                return try await self.store.admit(small: tail, as: digest, into: name, of: registry)
            }
            try await self.keep(tail, in: &upload, staging)
            let stored = try await self.store.blobs.commit(self.staged(&upload, staging), as: digest, size: nil)
            try await self.store.admit(stored, into: name, of: registry)
            return stored
        } catch let error as PersistenceError {
            if error.code == .noSpace, case .staged = upload { try? await self.store.blobs.discard(staging) }
            throw RegistryError(error, detail: ["digest": digest.description])
        }
    }

    /// Gives an upload up.
    package func cancel(_ identifier: String, in name: RepositoryName, of registry: RegistryID) async throws {
        let staging = try Self.staging(identifier, name, registry)
        let slot = self.slots.withLock { slots in
            let slot = slots.byName[staging]
            if case .busy = slot { return slot }
            slots.byName[staging] = .busy(nil)
            return slot
        }
        if case .busy = slot { throw Self.isBusy(staging, name) }
        defer { self.slots.withLock { $0.end(staging) } }
        if case .idle(.empty) = slot { return }
        if case nil = slot, try await self.store.blobs.size(of: staging) == nil {
            throw RegistryError.uploadUnknown(name, Self.identifier(staging))
        }
        try await self.store.blobs.discard(staging)
    }

    /// Gives up uploads without a byte for `age` milliseconds, of this process and of earlier ones.
    ///
    /// - Returns: how many.
    func expire(olderThan age: Int64) async throws -> Int {
        let before = self.store.clock.milliseconds() - age
        var count = self.slots.withLock { slots in
            let empty = Self.empty(since: before, slots)
            for (name, _) in empty { slots.end(name) }
            return empty.count
        }
        for (name, modified) in try await self.store.blobs.staged(in: .uploads) where modified < before {
            // One that a request is writing to is not idle, whatever its file says.
            let isOurs = self.slots.withLock { slots in
                if case .busy = slots.byName[name] { return false }
                slots.byName[name] = .busy(nil)
                return true
            }
            guard isOurs else { continue }
            defer { self.slots.withLock { $0.end(name) } }
            try await self.store.blobs.discard(name)
            count += 1
        }
        return count
    }

    /// Uploads of which nothing has arrived and that nobody has asked for since `time`, with when they began.
    func empty(since time: Int64) -> [(name: StagingName, begun: Int64)] { self.slots.withLock { Self.empty(since: time, $0) } }

    private static func empty(since time: Int64, _ slots: Slots) -> [(name: StagingName, begun: Int64)] {
        slots.byName.compactMap { name, slot in
            if case .idle(.empty(let begun, _)) = slot, begun < time { (name, begun) } else { nil }
        }
    }

    private static func staging(_ identifier: String, _ name: RepositoryName, _ registry: RegistryID) throws -> StagingName {
        guard let staging = StagingName.upload(identifier, repository: name, registry: registry.value) else {
            throw RegistryError.uploadUnknown(name, identifier)
        }
        return staging
    }

    private static func identifier(_ staging: StagingName) -> String { String(staging.text.prefix { $0 != "-" }) }

    private static func isBusy(_ staging: StagingName, _ name: RepositoryName) -> RegistryError {
        .init(
            .blobUploadInvalid, "another request is writing to this upload; wait for its answer",
            detail: ["name": name.description, "upload": Self.identifier(staging)], status: 409)
    }

    private static func outOfOrder(_ range: Range, _ size: Int64) -> RegistryError {
        .init(
            .rangeInvalid, "the chunk begins at byte \(range.start) but the upload has \(size) bytes: go on at byte \(size)",
            detail: ["offset": String(size)])
    }

    /// Takes an upload for one request. A second request for the same upload is refused, not queued: its chunk could only be out of order.
    private func take(_ staging: StagingName, _ name: RepositoryName, _ registry: RegistryID) async throws -> Upload {
        let slot = self.slots.withLock { slots in
            let slot = slots.byName[staging]
            switch slot {
            case .idle(let upload): slots.byName[staging] = .busy(upload.size)
            case nil: slots.byName[staging] = .busy(nil)
            case .busy: break
            }
            return slot
        }
        switch slot {
        case .idle(let upload): return upload
        case .busy: throw Self.isBusy(staging, name)
        case nil:
            do {
                guard let staged = try await self.store.blobs.resume(staging) else {
                    throw RegistryError.uploadUnknown(name, Self.identifier(staging))
                }
                self.slots.withLock { slots in
                    slots.byName[staging] = .busy(staged.size)
                    slots.count(staging, Place(registry: registry, repository: name))
                }
                return .staged(staged)
            } catch {
                self.slots.withLock { $0.end(staging) }
                throw error
            }
        }
    }

    private func release(_ staging: StagingName, _ upload: Upload) {
        self.slots.withLock { slots in
            slots.byName[staging] = .idle(upload)
            // What has no file costs none, and could not be found again.
            guard case .staged = upload else { return }
            slots.idleOrder.append(staging)
            guard slots.idleOrder.count > 2 * Self.openLimit else { return }
            // Each upload once, at its latest place.
            var seen: Set<StagingName> = []
            let idle = slots.idleOrder.reversed().filter { name in
                guard case .idle(.staged) = slots.byName[name] else { return false }
                return seen.insert(name).inserted
            }
            for name in idle.dropFirst(Self.openLimit) { slots.byName[name] = nil }
            slots.idleOrder = idle.prefix(Self.openLimit).reversed()
        }
    }

    /// The file of an upload, made now if there was none.
    private func staged(_ upload: inout Upload, _ staging: StagingName) async throws -> any StagedBlob {
        switch upload {
        case .staged(let staged): return staged
        case .empty(_, let algorithm):
            let staged = try await self.store.blobs.stage(staging, hashing: algorithm)
            upload = .staged(staged)
            return staged
        }
    }

    /// Writes what has come last, and waits for what came before.
    private func keep(_ bytes: ByteBuffer, in upload: inout Upload, _ staging: StagingName) async throws {
        if bytes.readableBytes > 0 { try await self.staged(&upload, staging).append(bytes) }
        if case .staged(let staged) = upload { try await staged.settle() }
    }

    /// Takes a chunk in: whole segments go to the store, the rest is returned.
    private func receive<Body: AsyncSequence & Sendable>(
        _ body: Body, range: Range?, length: Int64?, into upload: inout Upload, _ staging: StagingName
    ) async throws -> ByteBuffer where Body.Element == ByteBuffer {
        if let range {
            guard range.start == upload.size else { throw Self.outOfOrder(range, upload.size) }
            if let length, length != range.end - range.start + 1 {
                throw RegistryError(
                    .sizeInvalid,
                    "Content-Range \(range.start)-\(range.end) is \(range.end - range.start + 1) bytes but Content-Length is \(length)",
                    detail: ["range": "\(range.start)-\(range.end)", "length": String(length)])
            }
        }
        let length = length ?? range.map { $0.end - $0.start + 1 }
        let before = upload.size
        let tail = try await self.receive(body, length: length, into: &upload, staging)
        // A client that went away in the middle has not ended its chunk: what arrived is kept, and it can go on behind it.
        if let length, upload.size + Int64(tail.readableBytes) - before != length {
            try await self.keep(tail, in: &upload, staging)
            throw RegistryError(
                .sizeInvalid,
                "\(upload.size - before) bytes arrived of the \(length) that were announced; the upload has \(upload.size) bytes now",
                detail: ["offset": String(upload.size)])
        }
        return tail
    }

    /// Gathers network reads into segments and hands each to the store; returns what is less than one.
    private func receive<Body: AsyncSequence & Sendable>(
        _ body: Body, length: Int64?, into upload: inout Upload, _ staging: StagingName
    ) async throws -> ByteBuffer where Body.Element == ByteBuffer {
        var segment = ByteBuffer()
        var body = body.makeAsyncIterator()
        while true {
            var buffer: ByteBuffer
            do {
                guard let next = try await body.next() else { break }
                buffer = next
            } catch {
                // What has arrived is kept: the client asks for the status and goes on behind it.
                try? await self.keep(segment, in: &upload, staging)
                throw error
            }
            if segment.readableBytes == 0, length == Int64(buffer.readableBytes) { return buffer }
            // A whole segment is one already.
            if segment.readableBytes == 0, buffer.readableBytes == buffer.segmentSize {
                try await self.staged(&upload, staging).feed(buffer)
                continue
            }
            while buffer.readableBytes > 0 {
                // One allocation for each segment, not one for each doubling.
                if segment.readableBytes == 0 { segment = Self.segment(for: length, of: upload) }
                let room = segment.segmentSize - segment.readableBytes
                guard var part = buffer.readSlice(length: min(room, buffer.readableBytes)) else { break }
                segment.writeBuffer(&part)
                guard segment.readableBytes == segment.segmentSize else { continue }
                try await self.staged(&upload, staging).feed(segment)
                segment = ByteBuffer()
            }
        }
        return segment
    }

    private static func segment(for length: Int64?, of upload: Upload) -> ByteBuffer {
        if let length, length < Self.segmentSize { return ByteBufferAllocator().buffer(capacity: Int(max(0, length))) }
        return if case .staged(let staged) = upload { staged.emptySegment() } else { .forSegment() }
    }
}
