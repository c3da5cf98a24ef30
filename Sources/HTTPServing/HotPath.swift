// What the hot path may be asked, and what it may answer: reads of content that is in memory or an open file, by callers
// whose token has been verified before. Whatever is not clear at a glance is not answered here.

package import NIOCore
package import Persistence

/// A GET or HEAD as it stands in the head of a request, with nothing in it that would need a decision elsewhere.
package struct HotRequest {
    package let isHead: Bool
    /// As sent, without a query.
    package let path: String
    /// The `Host` header as sent.
    package let host: String
    /// The `Authorization` header, which begins with `Bearer `.
    package let authorization: String
    /// The `Range` header.
    package let range: String?
    /// The `Accept` headers, joined.
    package let accept: String?

    /// What follows `Bearer `.
    package var token: Substring { self.authorization.dropFirst(7) }
}

/// An answer, serialised.
package struct HotAnswer {
    package enum Body {
        /// The head holds everything.
        case none
        case file(File, Range<Int64>)
    }

    /// Status line and header, and a body in memory behind it.
    package let bytes: ByteBuffer
    package let body: Body
    /// For the log.
    package let status: Int
    package let length: Int64

    package init(bytes: ByteBuffer, body: Body, status: Int, length: Int64) {
        self.bytes = bytes
        self.body = body
        self.status = status
        self.length = length
    }
}

/// What a token that was verified before lets its bearer read.
package struct HotGrant: Sendable {
    package let audience: String
    package let repositories: [String]
    /// Those of them that it lets its bearer push to, too.
    package let pushes: [String]
    /// In seconds since 1970.
    package let expires: Int64

    package init(audience: String, repositories: [String], pushes: [String], expires: Int64) {
        self.audience = audience
        self.repositories = repositories
        self.pushes = pushes
        self.expires = expires
    }
}

/// Answers hot reads at once, on the event loop, or not at all.
package protocol HotResponder: Sendable {
    /// What is known of a token; `nil` leaves the request to the cold path, which verifies it.
    ///
    /// A connection asks once and keeps the answer for as long as its requests bring the same token.
    func grant(for token: Substring) -> HotGrant?
    /// The answer to a request that came with a token of which `grant` was known; it may have expired.
    func answer(_ request: HotRequest, _ grant: HotGrant) -> HotAnswer?
}
