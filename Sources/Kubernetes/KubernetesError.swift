// Why a cluster did not do what it was asked.

/// A refusal of a cluster's API server, or its absence.
package struct KubernetesError: Error, Sendable, CustomStringConvertible {
    package enum Code: String, Sendable {
        case notFound, forbidden, unauthorized, conflict, invalid, unreachable, configuration, refused
    }

    package let code: Code
    /// What was asked for: method and path, or what was read.
    package let tried: String
    /// The server's own words.
    package let message: String

    package init(_ code: Code, tried: String, _ message: String) {
        self.code = code
        self.tried = tried
        self.message = message
    }

    package var description: String { "\(self.tried): \(self.message)" }
}
