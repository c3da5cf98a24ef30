// Bodies of clients that ask before they send (RFC 9110, section 10.1.1).

internal import HummingbirdCore
internal import NIOCore
internal import Synchronization

/// A body that is asked for when it is first read: a request that is refused before that costs the client no upload.
struct ExpectedBody: AsyncSequence, Sendable {
    typealias Element = ByteBuffer

    fileprivate final class Asked: Sendable {
        let flag = Atomic(false)
    }

    private let base: RequestBody
    private let channel: any Channel
    private let asked = Asked()

    init(base: RequestBody, channel: any Channel) {
        self.base = base
        self.channel = channel
    }

    /// Whether the client has been told to send its body.
    var wasAskedFor: Bool { self.asked.flag.load(ordering: .acquiring) }

    struct Iterator: AsyncIteratorProtocol {
        fileprivate var base: RequestBody.AsyncIterator
        fileprivate let channel: any Channel
        fileprivate let asked: Asked

        mutating func next() async throws -> ByteBuffer? {
            if !self.asked.flag.exchange(true, ordering: .acquiringAndReleasing) {
                try await self.channel.triggerUserOutboundEvent(ContinueRequest()).get()
            }
            return try await self.base.next()
        }
    }

    func makeAsyncIterator() -> Iterator { Iterator(base: self.base.makeAsyncIterator(), channel: self.channel, asked: self.asked) }
}
