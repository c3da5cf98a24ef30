// Sign-in of service principals: OAuth 2.0 client credentials (RFC 6749, section 4.4) under `/adfs`.

internal import HTTPServing
internal import HTTPTypes
internal import Identity
internal import JSON
internal import NIOCore
internal import Persistence

/// Discovery and token endpoint.
struct SignInEndpoint: Sendable {
    let names: ServerNames
    let directory: Directory
    let authority: TokenAuthority

    /// A refusal in OAuth's form with the numbers of Azure's sign-in, by which `az` chooses its hints.
    private struct Refusal: Error {
        let status: HTTPResponse.Status
        let error: String
        let number: Int
        let sentence: String

        static func invalidRequest(_ number: Int, _ sentence: String) -> Refusal {
            .init(status: .badRequest, error: "invalid_request", number: number, sentence: sentence)
        }
    }

    func answer(_ request: ServerRequest, _ segments: [String]) async throws -> ServerResponse {
        do {
            switch segments.dropFirst().map({ $0.lowercased() }) {
            case [".well-known", "openid-configuration"]:
                try Self.require([.get, .head], request)
                return .document(self.configuration(CloudMetadata(names: self.names).base(for: request)))
            case ["oauth2", "token"]:
                try Self.require([.post], request)
                return try await self.token(request)
            case ["oauth2", "authorize"], ["oauth2", "devicecode"]:
                throw Refusal(
                    status: .badRequest, error: "unsupported_response_type", number: 700_054,
                    sentence: "Signing in as a user is not available in this version of outport; sign in as a service principal.")
            default:
                throw ResourceError(
                    .notFound, .invalidType, "The path '\(request.path.prefix(300))' is no sign-in endpoint of this server.")
            }
        } catch let refusal as Refusal {
            return Self.response(refusal, request)
        } catch is BodyTooLarge {
            let refusal = Refusal(
                status: .contentTooLarge, error: "invalid_request", number: 90_015, sentence: "The request body is too large.")
            return Self.response(refusal, request)
        }
    }

    private static func require(_ methods: [HTTPRequest.Method], _ request: ServerRequest) throws {
        guard methods.contains(request.method) else {
            throw Refusal(
                status: .methodNotAllowed, error: "invalid_request", number: 900_561,
                sentence: "The endpoint only accepts \(methods[0].rawValue) requests.")
        }
    }

    /// OpenID Connect Discovery 1.0; the members MSAL reads.
    private func configuration(_ base: String) -> JSONValue {
        [
            "issuer": .string(base + "/adfs"), "authorization_endpoint": .string(base + "/adfs/oauth2/authorize"),
            "token_endpoint": .string(base + "/adfs/oauth2/token"),
            "device_authorization_endpoint": .string(base + "/adfs/oauth2/devicecode"),
            "grant_types_supported": ["client_credentials"],
            "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
        ]
    }

    private func token(_ request: ServerRequest) async throws -> ServerResponse {
        let body = try await request.collectBody(limit: 256 << 10)
        let form = FormURL.decode(String(buffer: body))
        func value(_ name: String) -> String? { form.first { $0.name == name }?.value }

        guard let grant = value("grant_type") else {
            throw Refusal.invalidRequest(900_144, "The request body must contain the parameter 'grant_type'.")
        }
        guard grant == "client_credentials" else {
            throw Refusal(
                status: .badRequest, error: "unsupported_grant_type", number: 70_003,
                sentence:
                    "The grant type '\(grant.prefix(80))' is not available in this version of outport; "
                    + "sign in as a service principal (client_credentials)."
            )
        }
        var (clientID, secret) = (value("client_id"), value("client_secret"))
        if case .basic(let user, let password)? = request.authorization, clientID == nil || secret == nil {
            (clientID, secret) = (user, password)
        }
        guard let clientID, !clientID.isEmpty else {
            throw Refusal.invalidRequest(900_144, "The request body must contain the parameter 'client_id'.")
        }
        guard let secret, !secret.isEmpty else {
            let hasAssertion = value("client_assertion") != nil
            throw Refusal(
                status: .unauthorized, error: "invalid_client", number: 7_000_216,
                sentence: hasAssertion
                    ? "Certificates and federated tokens are not available in this version of outport; sign in with 'client_secret'."
                    : "'client_secret' is required for the 'client_credentials' grant type.")
        }
        let (kind, audience) = try self.audience(scope: value("scope"), resource: value("resource"))
        // One answer for an unknown principal and for a wrong secret, so that nobody can search for principals.
        guard let principal = try await self.directory.authenticate(appID: clientID, secret: secret)?.principal else {
            throw Refusal(
                status: .unauthorized, error: "invalid_client", number: 7_000_215,
                sentence: "Invalid client secret provided, expired, or no service principal '\(clientID.prefix(60))' in this directory. "
                    + "Ensure that the secret's value is sent, not its id.")
        }
        let issued = try await self.authority.issue(
            kind, subject: .servicePrincipal(principal.objectID), audience: audience, appID: principal.appID)
        return .document(
            .ok,
            [
                "token_type": "Bearer", "expires_in": .integer(issued.lifetime), "ext_expires_in": .integer(issued.lifetime),
                "access_token": .string(issued.token),
            ], headers: [.cacheControl: "no-store"])
    }

    /// What a token is requested for. Clients join resource and `/.default` blindly, so any number of slashes will do.
    private func audience(scope: String?, resource: String?) throws -> (TokenKind, String) {
        let scopes = (scope ?? "").split(separator: " ").map(String.init).filter {
            !["openid", "profile", "offline_access", "email"].contains($0)
        }
        guard scopes.count <= 1 else {
            throw Refusal(
                status: .badRequest, error: "invalid_scope", number: 70_011,
                sentence: "The scope names several resources; request one token for each.")
        }
        guard var text = scopes.first ?? resource, !text.isEmpty else {
            throw Refusal.invalidRequest(900_144, "The request body must contain the parameter 'scope'.")
        }
        if text.lowercased().hasSuffix("/.default") { text.removeLast("/.default".count) }
        while text.hasSuffix("/") { text.removeLast() }
        let name = text.lowercased()
        if name == ResourceManagerHandler.registryAudience { return (.management, ResourceManagerHandler.registryAudience) }
        if ["https://management.azure.com", "https://management.core.windows.net"].contains(name) { return (.management, text) }
        if name == "https://graph.microsoft.com" { return (.directory, text) }
        if name.hasPrefix("https://") {
            let parts = name.dropFirst("https://".count).split(separator: "/")
            if let host = parts.first.flatMap({ HostAndPort($0) }), self.names.match(host) != .foreign {
                if parts.count == 1 { return (.management, text) }
                if parts.dropFirst() == ["graph"] { return (.directory, text) }
            }
        }
        throw Refusal(
            status: .badRequest, error: "invalid_resource", number: 500_011,
            sentence:
                "The resource '\(text.prefix(200))' was not found in this directory. This server issues tokens for "
                + "\(self.names.controlPlane)/, "
                + "\(self.names.controlPlane)/graph/ and \(ResourceManagerHandler.registryAudience).")
    }

    private static func response(_ refusal: Refusal, _ request: ServerRequest) -> ServerResponse {
        .document(
            refusal.status,
            [
                "error": .string(refusal.error), "error_description": .string("AADSTS\(refusal.number): \(refusal.sentence)"),
                "error_codes": [.integer(refusal.number)], "trace_id": .string(request.correlationID),
                "correlation_id": .string(request.correlationID),
            ], headers: [.cacheControl: "no-store"])
    }
}
