// Speaks to a registry as docker does: asked for a token it fetches one, with user name and password or with an identity.

internal import HTTPServing
internal import NIOCore
internal import OCI
package import RegistryClient

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// Why a registry did not do what it was asked, with what to do next.
package struct RegistrySessionError: Error, Sendable, CustomStringConvertible {
    package let description: String
    package init(_ description: String) { self.description = description }
}

/// One registry, signed in to.
package struct RegistrySession: Sendable {
    private static let largestAnswer = 4 << 20

    package let endpoint: ServerEndpoint
    let transport: any Transport
    private let credentials: (user: String, password: String)?

    package init(endpoint: ServerEndpoint, transport: any Transport, credentials: (user: String, password: String)?) {
        self.endpoint = endpoint
        self.transport = transport
        self.credentials = credentials
    }

    /// The value for `Authorization`, as the registry's challenge asks for it; `nil` where none is needed.
    ///
    /// - Parameter scope: such as `repository:team/app:pull,push`.
    func authorization(scope: String) async throws -> String? {
        let probe = try await self.transport.send(ClientRequest("GET", self.endpoint, "/v2/"))
        let status = probe.status
        let challenge = probe.header("WWW-Authenticate") ?? ""
        _ = try await probe.collect(limit: Self.largestAnswer)
        guard status == 401 else { return nil }
        guard let credentials else {
            throw RegistrySessionError("\(self.endpoint) wants to know who pushes; give --username and --password-file")
        }
        let basic = "Basic \(Data("\(credentials.user):\(credentials.password)".utf8).base64EncodedString())"
        guard challenge.lowercased().hasPrefix("bearer ") else { return basic }
        guard let realm = Self.parameter("realm", of: challenge), let (server, path) = Self.endpoint(of: realm) else {
            throw RegistrySessionError("\(self.endpoint) names no place for tokens")
        }
        // The password goes to the registry itself and to nobody that it names, unless that is the same host.
        guard server.isSecure || !self.endpoint.isSecure else {
            throw RegistrySessionError("\(self.endpoint) asks for the password over plain HTTP at \(server); nothing was sent")
        }
        var query = "scope=\(PercentEncoding.encode(scope))"
        if let service = Self.parameter("service", of: challenge) { query += "&service=\(PercentEncoding.encode(service))" }
        let answer = try await self.transport.send(
            ClientRequest("GET", server, path + (path.contains("?") ? "&" : "?") + query, headers: [("Authorization", basic)]))
        guard answer.status == 200 else { throw try await ServerRefusal(answer) }
        struct Token: Decodable {
            let token: String?
            let accessToken: String?

            enum CodingKeys: String, CodingKey {
                case token
                case accessToken = "access_token"
            }
        }
        let token = try JSONDecoder().decode(Token.self, from: Data(try await answer.collect(limit: Self.largestAnswer)))
        guard let text = token.token ?? token.accessToken else { throw RegistrySessionError("\(server) gave no token") }
        return "Bearer \(text)"
    }

    static func parameter(_ name: String, of challenge: String) -> String? {
        guard let range = challenge.firstRange(of: "\(name)=\"") else { return nil }
        return String(challenge[range.upperBound...].prefix { $0 != "\"" })
    }

    static func endpoint(of url: String) -> (ServerEndpoint, String)? {
        let isSecure = url.hasPrefix("https://")
        guard isSecure || url.hasPrefix("http://") else { return nil }
        let rest = url.dropFirst(isSecure ? 8 : 7)
        let end = rest.firstIndex(of: "/") ?? rest.endIndex
        guard let host = HostAndPort(String(rest[..<end])) else { return nil }
        let path = String(rest[end...])
        return (ServerEndpoint(host: host.host, port: host.port ?? (isSecure ? 443 : 80), isSecure: isSecure), path.isEmpty ? "/" : path)
    }
}
