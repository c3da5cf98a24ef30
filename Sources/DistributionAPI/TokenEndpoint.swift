// `/oauth2/token`: credentials in, access tokens out (distribution token and OAuth2 specifications).

package import HTTPServing
internal import HTTPTypes
internal import Identity
internal import OCI
internal import Persistence

/// Issues tokens of the data plane.
package struct TokenEndpoint: RequestHandler {
    let access: AccessController
    private let directory: any RegistryDirectory

    package init(access: AccessController, directory: any RegistryDirectory) {
        self.access = access
        self.directory = directory
    }

    private struct Answer: Encodable {
        let accessToken: String
        /// The older name of the same.
        let token: String
        let refreshToken: String?
        let expiresIn: Int64
        let issuedAt: String
        let tokenType = "Bearer"

        enum CodingKeys: String, CodingKey {
            case accessToken = "access_token"
            case token
            case refreshToken = "refresh_token"
            case expiresIn = "expires_in"
            case issuedAt = "issued_at"
            case tokenType = "token_type"
        }
    }

    /// A request's items, wherever they stand.
    private struct Form {
        let items: [(name: String, value: String)]
        /// Whether the items came in a body. Secrets are not taken from a URL: those end up in logs.
        let isBody: Bool
        subscript(name: String) -> String? { self.items.first { $0.name == name }?.value }
        func all(_ name: String) -> [String] { self.items.filter { $0.name == name }.map(\.value) }
    }

    package func respond(to request: ServerRequest) async throws -> ServerResponse? {
        guard request.path == "/oauth2/token" || request.path == Self.exchangePath else { return nil }
        guard let (registry, _) = try await self.directory.registry(for: request.host) else {
            // Not NAME_UNKNOWN: that is said of repositories, and replicas act on it.
            return try .refusal(.unknown, "there is no registry at \(request.host?.description ?? "this address")", status: 404)
        }
        do {
            if request.path == Self.exchangePath { return try await self.exchange(request, registry) }
            switch request.method {
            case .get: return try await self.issue(Form(items: request.query, isBody: false), request, registry)
            case .post:
                let body = try await request.collectBody(limit: 64 << 10)
                return try await self.issue(Form(items: FormURL.decode(String(buffer: body)), isBody: true), request, registry)
            default:
                return try .refusal(
                    .unsupported, "\(request.method) is not a method of this path; use GET or POST",
                    detail: ["method": request.method.rawValue]
                )
                .allowing([.get, .post], refused: request.method)
            }
        } catch let error as IdentityError where error.code == .limitReached {
            // Signing in again would not help.
            return try .refusal(.unknown, error.message, status: 400)
        } catch let error as IdentityError {
            return try .refusal(.unauthorized, error.message)
        } catch let error as OCIParseError {
            return try .refusal(.unknown, error.description, status: 400)
        } catch let error as LeaseRefusal {
            return try .json(
                error.code == .alreadyActivated ? .conflict : .forbidden,
                ["error": ["code": error.code.rawValue, "message": error.message]])
        } catch let error as BodyTooLarge {
            return try .refusal(.sizeInvalid, "the form is larger than \(error.limit) bytes", status: 413)
        }
    }

    private func issue(_ form: Form, _ request: ServerRequest, _ registry: DataPlaneRegistry) async throws -> ServerResponse {
        let caller: Caller
        switch (request.authorization, form["grant_type"]) {
        case (.basic(let user, let password), _):
            caller = try await self.access.authenticate(user: user, password: password, registry: registry)
        case (_, "password") where form.isBody:
            guard let user = form["username"], let password = form["password"] else {
                throw IdentityError(.invalidCredentials, "grant_type=password needs username and password")
            }
            caller = try await self.access.authenticate(user: user, password: password, registry: registry)
        case (_, "refresh_token") where form.isBody:
            guard let token = form["refresh_token"] else {
                throw IdentityError(.invalidCredentials, "grant_type=refresh_token needs refresh_token")
            }
            caller = try await self.access.redeem(refreshToken: token, registry: registry)
        case (nil, nil) where registry.allowsAnonymousPull: caller = try await self.access.caller(.anonymous, registry: registry)
        default:
            throw IdentityError(
                .invalidCredentials, "no credentials were sent: use Basic, or POST a form with grant_type password or refresh_token")
        }
        let requested = try AccessEntry.parse(form.all("scope"))
        if let gateway = requested.first(where: { $0.type == "gateway" }) {
            return try await self.issueSync(gateway.name, form, caller, registry)
        }
        guard !caller.isSyncToken else { throw AccessController.syncTokenRefusal }
        let granted = self.access.granted(requested, to: caller)
        let access = try await self.access.tokens.issue(
            .registryAccess, subject: caller.subject, audience: registry.audience, access: granted)
        let wantsRefresh = form["offline_token"] == "true" || form["access_type"] == "offline"
        // Only whoever shows a password gets a refresh token: one cannot be prolonged by itself.
        let refresh: String? =
            if wantsRefresh, let credential = caller.credential {
                try await self.access.tokens.issue(
                    .registryRefresh, subject: caller.subject, audience: registry.audience, credential: credential
                ).token
            } else {
                nil
            }
        return try self.answer(access, refresh: refresh)
    }

    /// A sync token for the gateway, bound to the instance that asks.
    private func issueSync(_ name: String, _ form: Form, _ caller: Caller, _ registry: DataPlaneRegistry) async throws -> ServerResponse {
        guard let leases = self.access.leases, case .token(let token) = caller.subject else {
            throw IdentityError(.invalidCredentials, "only the sync token of a connected registry may ask for the scope gateway:\(name)")
        }
        let lease = try await leases.lease(
            connectedRegistry: name, token: token, instance: form["instance"], epoch: form["epoch"].flatMap(Int64.init),
            registry: registry.id)
        return try self.answer(
            await self.access.tokens.issue(.sync, subject: caller.subject, audience: registry.audience, lease: lease), refresh: nil)
    }

    private func answer(_ issued: (token: String, lifetime: Int64, issued: Int64), refresh: String?) throws -> ServerResponse {
        try .json(
            .ok,
            Answer(
                accessToken: issued.token, token: issued.token, refreshToken: refresh, expiresIn: issued.lifetime,
                issuedAt: Timestamp.text(seconds: issued.issued)), headers: [.cacheControl: "no-store"])
    }
}
