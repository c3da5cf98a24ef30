// What has arrived of blobs under way, so that those who wait for them are sent them meanwhile.

internal import NIOCore
internal import OCI
internal import Persistence
internal import RegistryCore
internal import Synchronization

/// How far a blob has come.
final class Arrival: Sendable {
    struct State {
        /// Bytes of the file under way that may be read; 0 before anything is known.
        var available: Int64 = 0
        /// Which attempt they are of: one that has to begin anew may bring other bytes.
        var attempt = 0
    }

    private let state = Mutex(State())
    let news = Activity()

    var current: State { self.state.withLock { $0 } }

    func reach(_ bytes: Int64) {
        self.state.withLock { $0.available = bytes }
        self.news.signal()
    }

    func restart() {
        self.state.withLock { state in
            state.available = 0
            state.attempt += 1
        }
        self.news.signal()
    }
}

/// The blobs that arrive, as long as anybody looks.
final class Arrivals: Sendable {
    private let entries = Mutex<[Digest: (arrival: Arrival, users: Int)]>([:])

    /// To be given back with ``leave(_:)``.
    func join(_ digest: Digest) -> Arrival {
        self.entries.withLock { entries in
            let arrival = entries[digest]?.arrival ?? Arrival()
            entries[digest] = (arrival, (entries[digest]?.users ?? 0) + 1)
            return arrival
        }
    }

    func leave(_ digest: Digest) {
        self.entries.withLock { entries in
            guard let (arrival, users) = entries[digest] else { return }
            entries[digest] = users > 1 ? (arrival, users - 1) : nil
        }
    }
}

/// Somebody's order to bring a blob here, and what has become of it.
final class Delivery: Sendable {
    let digest: Digest
    let size: Int64
    let repository: RepositoryName
    private let outcome = Mutex<Result<Void, any Error>?>(nil)
    let arrival: Arrival
    private let arrivals: Arrivals

    init(_ digest: Digest, size: Int64, in repository: RepositoryName, _ arrivals: Arrivals) {
        self.digest = digest
        self.size = size
        self.repository = repository
        self.arrivals = arrivals
        self.arrival = arrivals.join(digest)
    }

    deinit { self.arrivals.leave(self.digest) }

    /// `nil` while it is under way.
    var result: Result<Void, any Error>? { self.outcome.withLock { $0 } }

    func end(_ result: Result<Void, any Error>) {
        self.outcome.withLock { $0 = result }
        self.arrival.news.signal()
    }

    /// Returns once something can be read of it.
    ///
    /// - Throws: why it does not come.
    func awaitBeginning() async throws {
        while true {
            let seen = self.arrival.news.count
            if let result { return try result.get() }
            if min(self.arrival.current.available, self.size - 1) > 0 { return }
            await self.arrival.news.wait(beyond: seen)
            try Task.checkCancellation()
        }
    }
}

/// Reads a blob while it arrives.
///
/// Its last byte is given only when all of it has been verified and is stored: a client never gets the whole of something damaged. When
/// the transfer breaks, reading fails, and with it the client's connection.
final class ArrivingBlob: BlobReader {
    private struct Source {
        /// The open file: it stays what it is when it gets another name.
        var reader: (any BlobReader)?
        /// The attempt whose file that is.
        var opened = 0
        /// The attempt whose bytes have been given.
        var given: Int?
    }

    private let delivery: Delivery
    private let store: RegistryStore
    private let source = Mutex(Source())

    init(_ delivery: Delivery, store: RegistryStore) {
        self.delivery = delivery
        self.store = store
    }

    var size: Int64 { self.delivery.size }
    var file: File? { nil }

    func read(at offset: Int64, count: Int) async throws -> ByteBuffer {
        var whole = ByteBuffer()
        while whole.readableBytes < count, offset + Int64(whole.readableBytes) < self.size {
            var part = try await self.readSome(at: offset + Int64(whole.readableBytes), count: count - whole.readableBytes)
            whole.writeBuffer(&part)
        }
        return whole
    }

    func readSome(at offset: Int64, count: Int) async throws -> ByteBuffer {
        let arrival = self.delivery.arrival
        while offset < self.size {
            let seen = arrival.news.count
            switch self.delivery.result {
            case .failure(let error): throw error
            case .success: return try await self.readStored(at: offset, count: count)
            case nil: break
            }
            let state = arrival.current
            let end = min(state.available, self.size - 1)
            if end > offset, let part = try await self.readStaged(offset..<min(end, offset + Int64(count)), state.attempt) { return part }
            await arrival.news.wait(beyond: seen)
            try Task.checkCancellation()
        }
        return ByteBuffer()
    }

    private func readStored(at offset: Int64, count: Int) async throws -> ByteBuffer {
        let attempt = self.delivery.arrival.current.attempt
        try self.requireSame(attempt)
        if let reader = self.opened(attempt) { return try await reader.read(at: offset, count: count) }
        guard let stored = try await self.store.content(self.delivery.digest) else {
            throw SyncError(.content, "blob \(self.delivery.digest) has been removed again while it was read")
        }
        let reader = try await self.store.open(stored)
        self.source.withLock { ($0.reader, $0.opened) = (reader, attempt) }
        return try await reader.read(at: offset, count: count)
    }

    /// - Returns: `nil` when the file is not there: it has just been stored, or is about to be made.
    private func readStaged(_ range: Range<Int64>, _ attempt: Int) async throws -> ByteBuffer? {
        try self.requireSame(attempt)
        var found = self.opened(attempt)
        if found == nil { found = try await self.store.blobs.open(.transfer(self.delivery.digest), size: self.size) }
        guard let reader = found else { return nil }
        let part = try await reader.read(at: range.lowerBound, count: range.count)
        // Looked at behind the reading: what was there was still what was meant.
        let now = self.delivery.arrival.current.attempt
        try self.requireSame(now)
        guard now == attempt else { return nil }
        self.source.withLock { $0 = Source(reader: reader, opened: attempt, given: attempt) }
        return part
    }

    private func opened(_ attempt: Int) -> (any BlobReader)? {
        self.source.withLock { $0.opened == attempt ? $0.reader : nil }
    }

    private func requireSame(_ attempt: Int) throws {
        let given = self.source.withLock { $0.given }
        guard let given, given != attempt else { return }
        throw SyncError(
            .content, "blob \(self.delivery.digest) arrived damaged and is fetched again; what was sent of it is not what it should be")
    }
}
