// The seam between the management commands and the network, so that what they send can be tested without a server.

/// An HTTP request of a management command.
struct ManagementRequest: Sendable {
    enum Method: String, Sendable {
        case get = "GET"
        case put = "PUT"
        case post = "POST"
        case patch = "PATCH"
        case delete = "DELETE"
        case head = "HEAD"
        case options = "OPTIONS"
    }

    var method: Method
    var url: String
    var headers: [(name: String, value: String)] = []
    var body: [UInt8]?
    /// Seconds for the whole answer to come.
    var patience: Int64 = 120

    /// The method and the URL without its query, for messages. A query may hold what nobody should see.
    var summary: String { "\(method.rawValue) \(url.prefix { $0 != "?" })" }

    var carriesToken: Bool { headers.contains { $0.name == "Authorization" } }
}

/// The answer to a ``ManagementRequest``.
struct ManagementResponse: Sendable {
    var status: Int
    var headers: [(name: String, value: String)] = []
    var body: [UInt8] = []

    /// The first header of a name, compared without case (RFC 9110, section 5.1).
    func header(_ name: String) -> String? {
        headers.first { $0.name.lowercased() == name.lowercased() }?.value
    }

    /// The seconds of `Retry-After` (RFC 9110, section 10.2.3); dates are not read, the servers meant here send none.
    var retryAfter: Double? {
        guard let text = header("Retry-After"), let seconds = Double(text), seconds >= 0, seconds.isFinite else { return nil }
        return min(seconds, 300)
    }

    var isSuccess: Bool { (200..<300).contains(status) }
}

/// Something that carries requests to a server.
protocol ManagementTransport: Sendable {
    /// Sends one request once. An answer of any status is an answer; only its absence is an error.
    func send(_ request: ManagementRequest) async throws(ManagementError) -> ManagementResponse
    /// Closes connections. Nothing is sent afterwards.
    func shutdown() async
}
