// A response as handlers give it.

package import HTTPTypes
package import NIOCore
package import Persistence

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// A response to be written.
package struct ServerResponse: Sendable {
    package enum Body: Sendable {
        case none
        case bytes(ByteBuffer)
        /// Part of a blob, streamed.
        case blob(any BlobReader, Range<Int64>)
        /// Several parts of a blob with text around them, streamed.
        case pieces(any BlobReader, [Piece])
        /// What a GET would send, for answers to HEAD.
        case announced(Int64)
    }

    /// A piece of a body.
    package enum Piece: Sendable {
        case bytes(ByteBuffer)
        case range(Range<Int64>)

        var count: Int64 {
            switch self {
            case .bytes(let buffer): Int64(buffer.readableBytes)
            case .range(let range): Int64(range.count)
            }
        }
    }

    package var status: HTTPResponse.Status
    package var headers: HTTPFields
    package var body: Body

    package init(_ status: HTTPResponse.Status, headers: HTTPFields = [:], body: Body = .none) {
        self.status = status
        self.headers = headers
        self.body = body
    }

    /// A JSON document; keys sorted, slashes as they are.
    package static func json(
        _ status: HTTPResponse.Status, _ value: some Encodable, headers: HTTPFields = [:], type: String = "application/json; charset=utf-8"
    ) throws -> ServerResponse {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        var headers = headers
        headers[.contentType] = type
        return ServerResponse(status, headers: headers, body: .bytes(ByteBuffer(bytes: try encoder.encode(value))))
    }

    /// Bytes of the body.
    package var contentLength: Int64 {
        switch self.body {
        case .none: 0
        case .bytes(let buffer): Int64(buffer.readableBytes)
        case .blob(_, let range): Int64(range.count)
        case .pieces(_, let pieces): pieces.reduce(0) { $0 + $1.count }
        case .announced(let count): count
        }
    }
}

/// Answers requests of some paths.
package protocol RequestHandler: Sendable {
    /// `nil` when the path is not this handler's.
    func respond(to request: ServerRequest) async throws -> ServerResponse?
}
