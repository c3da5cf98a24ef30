// Sign-in under `/adfs`: discovery, the token endpoint, and the two pages where people type their password.

internal import HTTPServing
internal import HTTPTypes
internal import Identity
internal import JSON
internal import NIOCore
internal import Persistence

/// OAuth 2.0 and OpenID Connect for clients written for Azure. The grants and the pages are in extensions.
struct SignInEndpoint: Sendable {
    let names: ServerNames
    let directory: Directory
    let authority: TokenAuthority
    let assertions: ClientAssertions
    let pending: PendingSignIns
    /// The keys of the issuer that a connected cluster is, as its agent has reported them.
    let issuerKeys: @Sendable (_ cluster: String) async throws -> String?

    init(
        names: ServerNames, directory: Directory, authority: TokenAuthority, clock: WallClock,
        issuerKeys: @escaping @Sendable (_ cluster: String) async throws -> String? = { _ in nil }
    ) {
        self.issuerKeys = issuerKeys
        self.names = names
        self.directory = directory
        self.authority = authority
        self.assertions = ClientAssertions(directory: directory, clock: clock)
        self.pending = PendingSignIns(clock: clock)
    }

    /// A refusal in OAuth's form with the numbers of Azure's sign-in, by which `az` chooses its hints.
    struct Refusal: Error {
        let status: HTTPResponse.Status
        let error: String
        let number: Int
        let sentence: String

        static func invalidRequest(_ number: Int, _ sentence: String) -> Refusal {
            .init(status: .badRequest, error: "invalid_request", number: number, sentence: sentence)
        }

        static func invalidGrant(_ number: Int, _ sentence: String) -> Refusal {
            .init(status: .badRequest, error: "invalid_grant", number: number, sentence: sentence)
        }
    }

    /// The members of a form or query.
    struct Form: Sendable {
        let items: [(name: String, value: String)]

        /// The first value, if it is not empty.
        subscript(name: String) -> String? { self.items.first { $0.name == name && !$0.value.isEmpty }?.value }

        func required(_ name: String) throws(Refusal) -> String {
            guard let value = self[name] else {
                throw .invalidRequest(900_144, "The request body must contain the parameter '\(name)'.")
            }
            return value
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
            case ["oauth2", "devicecode"]:
                try Self.require([.post], request)
                return try self.deviceCode(
                    try await Self.form(request), CloudMetadata(names: self.names).base(for: request), from: request.remoteAddress)
            case ["oauth2", "deviceauth"]:
                try Self.require([.get, .post], request)
                return try await self.devicePage(request)
            case ["oauth2", "authorize"]:
                try Self.require([.get, .post], request)
                return try await self.authorizePage(request)
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

    static func form(_ request: ServerRequest) async throws -> Form {
        Form(items: FormURL.decode(String(buffer: try await request.collectBody(limit: 256 << 10))))
    }

    /// OpenID Connect Discovery 1.0; the members MSAL reads.
    private func configuration(_ base: String) -> JSONValue {
        [
            "issuer": .string(base + "/adfs"), "authorization_endpoint": .string(base + "/adfs/oauth2/authorize"),
            "token_endpoint": .string(base + "/adfs/oauth2/token"),
            "device_authorization_endpoint": .string(base + "/adfs/oauth2/devicecode"),
            "grant_types_supported": [
                "client_credentials", "password", "refresh_token", "authorization_code", "urn:ietf:params:oauth:grant-type:device_code",
            ],
            "response_types_supported": ["code"], "response_modes_supported": ["form_post", "query"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic", "private_key_jwt", "none"],
            "token_endpoint_auth_signing_alg_values_supported": ["RS256", "PS256", "ES256"],
        ]
    }

    private func token(_ request: ServerRequest) async throws -> ServerResponse {
        let form = try await Self.form(request)
        switch try form.required("grant_type") {
        case "client_credentials": return try await self.clientCredentials(form, request)
        case "password": return try await self.password(form, request)
        case "refresh_token": return try await self.refresh(form)
        case "authorization_code": return try await self.authorizationCode(form)
        case "urn:ietf:params:oauth:grant-type:device_code", "device_code": return try await self.deviceGrant(form)
        case let grant:
            throw Refusal(
                status: .badRequest, error: "unsupported_grant_type", number: 70_003,
                sentence: "The grant type '\(grant.prefix(80))' is not available on this server.")
        }
    }

    /// What a token is requested for. Clients join resource and `/.default` blindly, so any number of slashes will do.
    func audience(scope: String?, resource: String?) throws -> (TokenKind, String) {
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
