// Large content on its way to the disk and into its digest, side by side.

internal import NIOCore
internal import NIOPosix
internal import OCI
internal import Synchronization

/// Writes and hashes segments of one content, each in order.
///
/// One thread writes and one hashes for as long as there is something to do, so that a segment costs no change of threads and neither
/// the sender, the disk nor the digest waits for the others. Calls come one after another.
final class SegmentLanes: Sendable {
    /// What has come of a content once nothing of it is under way.
    struct End {
        /// Bytes that are written, all of them in the digest and no others.
        let size: Int64
        let hasher: Digest.Hasher
        /// Why nothing behind them is.
        let failure: (any Error)?
    }

    private enum Lane: CaseIterable {
        case writing
        case hashing
    }

    private struct Progress {
        var waiting: CircularBuffer<ByteBuffer> = []
        var isRunning = false
        /// Where the next segment begins.
        var offset: Int64
    }

    private struct State {
        var lanes: [Lane: Progress]
        /// Where the next segment that is accepted begins.
        var accepted: Int64
        /// Of everything that is hashed.
        var hasher: Digest.Hasher
        /// The digest at the beginning of each segment that is hashed and not written: what is left to go on from where the disk refuses one.
        var earlier: [Int64: Digest.Hasher] = [:]
        var failure: (any Error)?
        var waiter: (needed: Need, continuation: CheckedContinuation<Void, Never>)?

        var isQuiet: Bool { !self.lanes.values.contains(where: \.isRunning) }
        var underWay: Int64 { self.accepted - (self.lanes.values.map(\.offset).min() ?? self.accepted) }

        func has(_ need: Need, limit: Int64) -> Bool {
            switch need {
            case .room(let bytes): self.underWay == 0 || self.underWay + bytes <= limit || self.failure != nil
            case .quiet: self.isQuiet
            }
        }
    }

    private enum Need {
        case room(Int64)
        case quiet
    }

    private let pool: NIOThreadPool
    private let segments: SegmentPool
    private let write: @Sendable (ByteBuffer, Int64) throws -> Void
    private let state: Mutex<State>

    /// - Parameters:
    ///   - size: bytes that are there already, with `hasher` their digest.
    ///   - write: writes bytes at an offset. What it leaves behind where it fails lies beyond ``End/size``.
    init(
        pool: NIOThreadPool, segments: SegmentPool, size: Int64, hasher: Digest.Hasher,
        write: @escaping @Sendable (ByteBuffer, Int64) throws -> Void
    ) {
        self.pool = pool
        self.segments = segments
        self.write = write
        let lanes = Dictionary(uniqueKeysWithValues: Lane.allCases.map { ($0, Progress(offset: size)) })
        self.state = Mutex(State(lanes: lanes, accepted: size, hasher: hasher))
        segments.add(1)
    }

    deinit { self.segments.add(-1) }

    /// Where the next segment begins.
    var accepted: Int64 { self.state.withLock { $0.accepted } }

    /// Takes a segment in once there is room for it. Whether it is written is learnt from ``end()``, or by a later segment.
    func append(_ segment: ByteBuffer) async throws {
        await self.wait(for: .room(Int64(segment.readableBytes)))
        let idle = try self.state.withLock { state in
            if let failure = state.failure { throw failure }
            state.accepted += Int64(segment.readableBytes)
            var idle: [Lane] = []
            for lane in Lane.allCases {
                state.lanes[lane]?.waiting.append(segment)
                if state.lanes[lane]?.isRunning == false { idle.append(lane) }
                state.lanes[lane]?.isRunning = true
            }
            return idle
        }
        for lane in idle {
            self.pool.submit { status in
                switch status {
                case .active: self.run(lane)
                case .cancelled: self.give(up: lane, because: CancellationError())
                }
            }
        }
    }

    /// Waits until nothing is under way.
    func end() async -> End {
        await self.wait(for: .quiet)
        return self.state.withLock { state in
            let written = state.lanes[.writing]?.offset ?? 0
            guard let failure = state.failure else { return End(size: written, hasher: state.hasher, failure: nil) }
            // Only the shorter of both counts, and the digest is never behind: it stops only where the pool does.
            let hashed = state.lanes[.hashing]?.offset ?? 0
            let size = min(written, hashed)
            return End(size: size, hasher: size == hashed ? state.hasher : state.earlier[size] ?? state.hasher, failure: failure)
        }
    }

    private func wait(for need: Need) async {
        await withCheckedContinuation { continuation in
            let isThere = self.state.withLock { state in
                if state.has(need, limit: self.segments.limit) { return true }
                state.waiter = (need, continuation)
                return false
            }
            if isThere { continuation.resume() }
        }
    }

    private func run(_ lane: Lane) {
        while let (segment, offset) = self.next(in: lane) {
            switch lane {
            case .writing:
                do {
                    try self.write(segment, offset)
                } catch {
                    self.give(up: lane, because: error)
                    return
                }
                self.done(segment, in: lane) { state in
                    state.earlier = state.earlier.filter { $0.key > offset }
                }
            case .hashing:
                let before = self.state.withLock { $0.hasher }
                var hasher = before
                segment.withUnsafeReadableBytes { hasher.update($0) }
                self.done(segment, in: lane) { [hasher] state in
                    if offset >= state.lanes[.writing]?.offset ?? 0 { state.earlier[offset] = before }
                    state.hasher = hasher
                }
            }
        }
    }

    /// The next segment; a lane without one has ended.
    private func next(in lane: Lane) -> (ByteBuffer, Int64)? {
        self.change { state in
            guard let segment = state.lanes[lane]?.waiting.popFirst(), let offset = state.lanes[lane]?.offset else {
                state.lanes[lane]?.isRunning = false
                return nil
            }
            return (segment, offset)
        }
    }

    private func done(_ segment: ByteBuffer, in lane: Lane, _ body: (inout State) -> Void) {
        let isDone = self.change { state in
            body(&state)
            let end = (state.lanes[lane]?.offset ?? 0) + Int64(segment.readableBytes)
            state.lanes[lane]?.offset = end
            return state.lanes.values.allSatisfy { $0.offset >= end }
        }
        if isDone { self.segments.giveBack(segment) }
    }

    private func give(up lane: Lane, because error: any Error) {
        self.change { state in
            state.failure = state.failure ?? error
            state.lanes[lane]?.waiting.removeAll()
            state.lanes[lane]?.isRunning = false
        }
    }

    private func change<Value>(_ body: (inout State) -> Value) -> Value {
        let (value, continuation) = self.state.withLock { state in
            let value = body(&state)
            guard let waiter = state.waiter, state.has(waiter.needed, limit: self.segments.limit) else {
                return (value, CheckedContinuation<Void, Never>?.none)
            }
            state.waiter = nil
            return (value, waiter.continuation)
        }
        continuation?.resume()
        return value
    }
}
