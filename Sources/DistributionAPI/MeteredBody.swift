// Bodies whose length nobody announced: a quota holds while they arrive, not when all of it lies on the disk.

internal import HummingbirdCore
internal import NIOCore
internal import RegistryCore

/// A request's body that takes room for each part before it is handed on.
struct MeteredBody: AsyncSequence, Sendable {
    typealias Element = ByteBuffer

    private let body: RequestBody
    private let room: QuotaRoom?

    /// - Parameter room: `nil` where the room has been taken already, or there is no quota.
    init(_ body: RequestBody, room: QuotaRoom?) {
        self.body = body
        self.room = room
    }

    struct AsyncIterator: AsyncIteratorProtocol {
        fileprivate var body: RequestBody.AsyncIterator
        fileprivate let room: QuotaRoom?

        mutating func next() async throws -> ByteBuffer? {
            guard let part = try await self.body.next() else { return nil }
            try await self.room?.take(Int64(part.readableBytes))
            return part
        }
    }

    func makeAsyncIterator() -> AsyncIterator { AsyncIterator(body: self.body.makeAsyncIterator(), room: self.room) }
}
