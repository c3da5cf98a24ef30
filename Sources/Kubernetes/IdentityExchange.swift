// From an identity of the directory to something a container runtime can pull with: an access token of the control plane,
// exchanged at the registry for a token that ends by itself.

package import HTTPServing
internal import OCI
package import RegistryClient

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// How an identity proves itself.
package enum IdentityProof: Sendable {
    case secret(String)
    /// A token that somebody else has issued for it, such as a cluster for a service account (RFC 7523, section 2.2).
    case assertion(String)
}

/// Gets credentials for one registry.
package struct IdentityExchange: Sendable {
    /// The user name that registries know tokens by.
    package static let user = "00000000-0000-0000-0000-000000000000"
    /// What data-plane tokens are requested for; a literal name, no host.
    private static let audience = "https://containerregistry.azure.net"
    private static let largestAnswer = 64 << 10

    private let transport: any Transport
    private let server: ServerEndpoint

    /// - Parameter server: the control plane.
    package init(transport: any Transport, server: ServerEndpoint) {
        self.transport = transport
        self.server = server
    }

    /// The control plane of an address such as `https://parent.example:8443`.
    package static func server(_ text: String) -> ServerEndpoint? {
        guard let (endpoint, path) = RegistrySession.endpoint(of: text), endpoint.isSecure, path == "/" else { return nil }
        return endpoint
    }

    /// A password for the registry, good for a few hours and for nothing else.
    package func password(for registry: HostAndPort, clientID: String, proof: IdentityProof) async throws -> String {
        var form = [("grant_type", "client_credentials"), ("client_id", clientID), ("scope", Self.audience + "/.default")]
        switch proof {
        case .secret(let secret): form.append(("client_secret", secret))
        case .assertion(let token):
            form += [("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"), ("client_assertion", token)]
        }
        let access: Access = try await self.post(self.server, "/adfs/oauth2/token", form, "the control plane \(self.server)")
        let endpoint = ServerEndpoint(host: registry.host, port: registry.port ?? 443, isSecure: true)
        let refresh: Refresh = try await self.post(
            endpoint, "/oauth2/exchange",
            [("grant_type", "access_token"), ("service", "\(registry)"), ("access_token", access.accessToken)], "the registry \(registry)")
        return refresh.refreshToken
    }

    /// OAuth's form of a refusal (RFC 6749, section 5.2).
    private struct Refused: Decodable {
        let description: String?

        enum CodingKeys: String, CodingKey { case description = "error_description" }
    }

    private struct Access: Decodable {
        let accessToken: String

        enum CodingKeys: String, CodingKey { case accessToken = "access_token" }
    }

    private struct Refresh: Decodable {
        let refreshToken: String

        enum CodingKeys: String, CodingKey { case refreshToken = "refresh_token" }
    }

    private func post<Answer: Decodable>(
        _ endpoint: ServerEndpoint, _ path: String, _ form: [(String, String)], _ whom: String
    ) async throws -> Answer {
        let body = form.map { "\($0.0)=\(PercentEncoding.encode($0.1))" }.joined(separator: "&")
        let response = try await self.transport.send(
            ClientRequest(
                "POST", endpoint, path, headers: [("Content-Type", "application/x-www-form-urlencoded")], body: Array(body.utf8)))
        guard response.status == 200 else {
            let bytes = try await response.collect(limit: Self.largestAnswer)
            let words = (try? JSONDecoder().decode(Refused.self, from: Data(bytes)))?.description
            throw CredentialProviderError(
                description:
                    "\(whom) refuses (\(response.status)): \(words ?? String(decoding: bytes.prefix(400), as: UTF8.self)) Next: attach the "
                    + "registry to the cluster ('outport aks update --attach-acr'), or look whether the identity's secret was replaced.")
        }
        return try JSONDecoder().decode(Answer.self, from: Data(try await response.collect(limit: Self.largestAnswer)))
    }
}
