// How long a connection may be silent after an answer that says so: a handler knows that its client comes back, and when.

package import HTTPTypes
internal import NIOCore
internal import NIOHTTP1

/// What an answer says of the connection it is given on. Only handlers of ours give answers, to clients they have let in.
package enum ConnectionIdleness {
    /// Seconds for which the connection is kept although nothing is said on it.
    package static let field = HTTPField.Name(ConnectionIdleness.name)!

    private static let name = "outport-idle"
    /// The longest time that is granted.
    private static let limit: Int64 = 900

    static func timeout(in headers: HTTPHeaders) -> TimeAmount? {
        headers.first(name: Self.name).flatMap { Int64($0) }.map { .seconds(min(Self.limit, max(0, $0))) }
    }
}
