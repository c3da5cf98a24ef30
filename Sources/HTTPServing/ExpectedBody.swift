// Bodies of clients that ask before they send (RFC 9110, section 10.1.1).

internal import HummingbirdCore
internal import NIOCore

/// A body that is asked for when it is first read: a request that is refused before that costs the client no upload.
struct ExpectedBody: AsyncSequence, Sendable {
    typealias Element = ByteBuffer

    let base: RequestBody
    let channel: any Channel

    struct Iterator: AsyncIteratorProtocol {
        var base: RequestBody.AsyncIterator
        let channel: any Channel
        var hasAsked = false

        mutating func next() async throws -> ByteBuffer? {
            if !self.hasAsked {
                self.hasAsked = true
                try await self.channel.triggerUserOutboundEvent(ContinueRequest()).get()
            }
            return try await self.base.next()
        }
    }

    func makeAsyncIterator() -> Iterator { Iterator(base: self.base.makeAsyncIterator(), channel: self.channel) }
}
