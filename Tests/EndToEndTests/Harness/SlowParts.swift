// A request body with pauses, or one that breaks off.

import Foundation
import NIOCore

/// Bytes that come slowly.
struct SlowParts: AsyncSequence, Sendable {
    typealias Element = ByteBuffer
    typealias Failure = any Error

    let content: Data
    let part: Int
    let pause: Duration
    /// Where it breaks off with an error.
    var end = Int.max
    /// Opens when a third of it has been taken: whoever sends it has begun to.
    let isUnderWay = Latch()

    struct AsyncIterator: AsyncIteratorProtocol {
        let parts: SlowParts
        var offset = 0

        mutating func next() async throws -> ByteBuffer? {
            guard self.offset < self.parts.content.count else { return nil }
            if self.offset >= self.parts.end { throw HarnessError("the client is gone") }
            if self.offset > 0 { try await Task.sleep(for: self.parts.pause) }
            if self.offset >= self.parts.content.count / 3 { self.parts.isUnderWay.open() }
            let end = Swift.min(self.offset + self.parts.part, self.parts.content.count)
            defer { self.offset = end }
            return ByteBuffer(bytes: self.parts.content[self.offset..<end])
        }
    }

    func makeAsyncIterator() -> AsyncIterator { AsyncIterator(parts: self) }
}
