// Addresses that users and other servers give.

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// An absolute address, or one relative to a server.
package struct SourceURL: Sendable, Hashable {
    package let endpoint: ServerEndpoint
    /// Path and query.
    package let target: String

    package init?(_ text: String, from base: ServerEndpoint? = nil) {
        guard text.utf8.count <= 16 << 10, let components = URLComponents(string: text), components.user == nil else { return nil }
        let query = components.percentEncodedQuery.map { "?\($0)" } ?? ""
        if let scheme = components.scheme?.lowercased() {
            guard scheme == "https" || scheme == "http", let host = components.host, !host.isEmpty else { return nil }
            // What is no number of a port, the parser leaves out; one that is too large it does not.
            guard (1...65_535).contains(components.port ?? 443), Self.namesPort(text) == (components.port != nil) else { return nil }
            let bare = host.hasPrefix("[") ? String(host.dropFirst().dropLast()) : host
            self.endpoint = ServerEndpoint(
                host: bare.lowercased(), port: components.port ?? (scheme == "https" ? 443 : 80), isSecure: scheme == "https")
        } else {
            guard let base, components.host == nil else { return nil }
            self.endpoint = base
        }
        let path = components.percentEncodedPath
        self.target = (path.hasPrefix("/") ? path : "/" + path) + query
    }

    private static func namesPort(_ text: String) -> Bool {
        guard let start = text.firstRange(of: "://")?.upperBound else { return false }
        let authority = text[start...].prefix { !"/?#".contains($0) }
        guard let colon = authority.lastIndex(of: ":") else { return false }
        let port = authority[authority.index(after: colon)...]
        return !port.isEmpty && !port.contains("]")
    }
}
