// A request as handlers see it: parsed once, with what is needed to decide and to log.

package import HTTPTypes
package import HummingbirdCore
package import Logging
package import NIOCore
internal import OCI

/// A request being answered.
package struct ServerRequest: Sendable {
    package let method: HTTPRequest.Method
    package let headers: HTTPFields
    /// The path as sent, without the query.
    package let path: String
    package let query: [(name: String, value: String)]
    /// The `Host` header or `:authority`, if it is well formed.
    package let host: HostAndPort?
    /// The `Host` header as sent.
    package let hostHeader: String?
    package let body: RequestBody
    package let isSecure: Bool
    package let remoteAddress: String
    package let correlationID: String
    private let baseLogger: Logger

    /// Carries the request's correlation identifier. Made when something is to be said, which is seldom.
    package var logger: Logger {
        var logger = self.baseLogger
        logger[metadataKey: "id"] = .string(self.correlationID)
        return logger
    }

    package init(
        method: HTTPRequest.Method, path: String, headers: HTTPFields, host: HostAndPort?, hostHeader: String? = nil, body: RequestBody,
        isSecure: Bool, remoteAddress: String,
        correlationID: String, logger: Logger
    ) {
        self.method = method
        self.headers = headers
        if let mark = path.utf8.firstIndex(of: UInt8(ascii: "?")) {
            self.path = String(path[..<mark])
            self.query = FormURL.decode(path[path.utf8.index(after: mark)...])
        } else {
            self.path = path
            self.query = []
        }
        self.host = host
        self.hostHeader = hostHeader
        self.body = body
        self.isSecure = isSecure
        self.remoteAddress = remoteAddress
        self.correlationID = correlationID
        self.baseLogger = logger
    }

    /// The first value of a query item.
    package func query(_ name: String) -> String? { self.query.first { $0.name == name }?.value }

    package func header(_ name: HTTPField.Name) -> String? { self.headers[name] }

    /// `Content-Length`, if it is a number.
    package var contentLength: Int64? { self.headers[.contentLength].flatMap(Int64.init) }

    /// The whole body.
    ///
    /// - Throws: ``BodyTooLarge`` beyond `limit` bytes.
    package func collectBody(limit: Int) async throws -> ByteBuffer {
        if let length = self.contentLength, length > Int64(limit) { throw BodyTooLarge(limit: limit) }
        var whole = ByteBuffer()
        for try await var part in self.body {
            guard whole.readableBytes + part.readableBytes <= limit else { throw BodyTooLarge(limit: limit) }
            whole.writeBuffer(&part)
        }
        return whole
    }

    /// The credentials of a `Bearer` or `Basic` header.
    package var authorization: Authorization? {
        guard let text = self.headers[.authorization], let blank = text.firstIndex(of: " ") else { return nil }
        let rest = text[blank...].drop(while: { $0 == " " })
        switch text[..<blank].lowercased() {
        case "bearer": return .bearer(String(rest))
        case "basic": return Authorization(basic: String(rest))
        default: return nil
        }
    }
}

/// A body beyond the limit of its endpoint.
package struct BodyTooLarge: Error, Sendable {
    /// Bytes.
    package let limit: Int
}

/// Credentials of a request.
package enum Authorization: Sendable {
    case bearer(String)
    case basic(user: String, password: String)
}

/// `application/x-www-form-urlencoded`, in bodies and queries.
package enum FormURL {
    /// At most 100 items are read; names and values are decoded, `+` is a blank.
    package static func decode(_ text: some StringProtocol) -> [(name: String, value: String)] {
        String(text).utf8.split(separator: UInt8(ascii: "&")).prefix(100).map { item in
            let item = Substring(item)
            guard let equals = item.utf8.firstIndex(of: UInt8(ascii: "=")) else { return (self.unescape(item), "") }
            return (self.unescape(item[..<equals]), self.unescape(item[item.utf8.index(after: equals)...]))
        }
    }

    private static func unescape(_ text: Substring) -> String {
        PercentEncoding.decode(text, plusIsBlank: true) ?? String(text)
    }
}
