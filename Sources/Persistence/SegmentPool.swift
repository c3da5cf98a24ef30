// The memory of large content on its way: segments that are filled again and again.

package import NIOCore
internal import Synchronization

/// Segments that receivers fill and a store writes and hashes.
///
/// Fresh memory costs a page fault for every 4 KiB, which is an eighth of what a large upload costs in all. What has been
/// written is therefore filled again, for as long as large content is under way; after that nothing is kept.
package final class SegmentPool: Sendable {
    /// Segments kept.
    private static let spareLimit = 12
    /// Contents under way beyond which new segments are small ones: each content fills one while others are written.
    private static let hugeLimit = 8
    /// Bytes of one content that may wait for the disk or the digest, where little else is under way.
    private static let limit: Int64 = 4 << 20
    /// The same for all contents together; one segment of each is always let in.
    private static let totalLimit: Int64 = 32 << 20
    /// Bodies that may be gathered into segments at the same time: each may wait in a queue of ten of them, 20 MiB.
    private static let gathererLimit = 2

    private struct State {
        var spare: [ByteBuffer] = []
        var contents: Int64 = 0
        var gatherers = 0
    }

    private let state = Mutex(State())

    package init() {}

    /// An empty segment, as `ByteBuffer.forSegment(isHuge:)` makes it.
    package func take() -> ByteBuffer {
        let (spare, isHuge) = self.state.withLock { ($0.spare.popLast(), $0.contents <= Self.hugeLimit) }
        guard var segment = spare else { return .forSegment(isHuge: isHuge) }
        segment.clearForSegment()
        return segment
    }

    /// Takes back what has been written and hashed. Whoever still holds it keeps it as it is.
    func giveBack(_ segment: ByteBuffer) {
        guard segment.storageCapacity >= DirectFile.segmentSize + DirectFile.alignment else { return }
        self.state.withLock { state in
            if state.contents > 0, state.spare.count < Self.spareLimit { state.spare.append(segment) }
        }
    }

    /// One content more or less is under way.
    func add(_ number: Int64) {
        // Freed outside of the lock.
        let unused = self.state.withLock { state in
            state.contents += number
            guard state.contents <= 0 else { return [ByteBuffer]() }
            defer { state.spare = [] }
            return state.spare
        }
        _ = unused
    }

    /// Bytes that each content may have waiting.
    var limit: Int64 { self.state.withLock { min(Self.limit, Self.totalLimit / max(1, $0.contents)) } }

    /// Asks to gather a body before it is handed on; who was let in says when it has ended.
    package func beginGathering() -> Bool {
        self.state.withLock { state in
            guard state.gatherers < Self.gathererLimit else { return false }
            state.gatherers += 1
            return true
        }
    }

    package func endGathering() { self.state.withLock { $0.gatherers -= 1 } }
}
