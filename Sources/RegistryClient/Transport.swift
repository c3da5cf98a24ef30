// The seam between what is said and how it travels: the simulator and tests put their own transport here.

package import NIOCore
internal import NIOHTTP1

/// Where a server listens.
package struct ServerEndpoint: Hashable, Sendable, CustomStringConvertible {
    package let host: String
    package let port: Int
    package let isSecure: Bool

    package init(host: String, port: Int, isSecure: Bool) {
        self.host = host
        self.port = port
        self.isSecure = isSecure
    }

    /// `host:port`, without a port that goes without saying.
    package var authority: String {
        let host = self.host.contains(":") ? "[\(self.host)]" : self.host
        return self.port == (self.isSecure ? 443 : 80) ? host : "\(host):\(self.port)"
    }

    package var description: String { "\(self.isSecure ? "https" : "http")://\(self.authority)" }
}

/// A request.
package struct ClientRequest: Sendable {
    package var method: String
    package var endpoint: ServerEndpoint
    /// Path and query.
    package var target: String
    package var headers: [(name: String, value: String)]
    package var body: [UInt8]
    /// How long to wait for the response's head.
    package var responseTimeout: Duration

    package init(
        _ method: String, _ endpoint: ServerEndpoint, _ target: String, headers: [(name: String, value: String)] = [], body: [UInt8] = [],
        responseTimeout: Duration = .seconds(30)
    ) {
        self.method = method
        self.endpoint = endpoint
        self.target = target
        self.headers = headers
        self.body = body
        self.responseTimeout = responseTimeout
    }
}

/// A response whose body is still on its way.
package struct ClientResponse: Sendable {
    package let status: Int
    package let headers: [(name: String, value: String)]
    package let body: ClientResponseBody

    package init(status: Int, headers: [(name: String, value: String)], body: ClientResponseBody) {
        self.status = status
        self.headers = headers
        self.body = body
    }

    /// The first field of that name, whatever its letter case.
    package func header(_ name: String) -> String? { self.headers.first { $0.name.lowercased() == name.lowercased() }?.value }

    /// The whole body.
    ///
    /// - Throws: ``TransportError`` beyond `limit` bytes.
    package func collect(limit: Int) async throws -> [UInt8] {
        var whole: [UInt8] = []
        for try await part in self.body {
            guard whole.count + part.readableBytes <= limit else {
                throw TransportError(.tooLarge, "the answer is larger than \(limit) bytes")
            }
            whole.append(contentsOf: part.readableBytesView)
        }
        return whole
    }
}

/// The parts of a body, at the pace of whoever reads them. Not reading to the end gives the connection up.
package struct ClientResponseBody: AsyncSequence, Sendable {
    package typealias Element = ByteBuffer

    private let makeIterator: @Sendable () -> Iterator

    package init<Base: AsyncSequence & Sendable>(_ base: Base) where Base.Element == ByteBuffer {
        self.makeIterator = {
            var iterator = base.makeAsyncIterator()
            return Iterator { try await iterator.next() }
        }
    }

    package struct Iterator: AsyncIteratorProtocol {
        let advance: () async throws -> ByteBuffer?
        package mutating func next() async throws -> ByteBuffer? { try await self.advance() }
    }

    package func makeAsyncIterator() -> Iterator { self.makeIterator() }
}

/// Why a request got no answer.
package struct TransportError: Error, Sendable, CustomStringConvertible {
    package enum Code: String, Sendable {
        case unreachable
        case untrusted
        case timeout
        case interrupted
        case tooLarge
    }

    package let code: Code
    package let message: String

    package init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    package var description: String { self.message }
}

/// Carries requests.
package protocol Transport: Sendable {
    /// - Throws: ``TransportError`` when no answer arrives.
    func send(_ request: ClientRequest) async throws -> ClientResponse
}
