// `/oauth2/exchange`: a token of the directory in, a refresh token of one registry out, as registries of Azure do it.

internal import HTTPServing
internal import HTTPTypes
internal import Identity
internal import OCI

extension TokenEndpoint {
    static let exchangePath = "/oauth2/exchange"

    private struct Exchanged: Encodable {
        let refreshToken: String
        enum CodingKeys: String, CodingKey { case refreshToken = "refresh_token" }
    }

    /// Exchanges an access token of whoever has a role at the registry. The refresh token ends with the sign-in behind it, and
    /// what it opens is decided anew with every access token.
    func exchange(_ request: ServerRequest, _ registry: DataPlaneRegistry) async throws -> ServerResponse {
        guard request.method == .post else {
            return try .refusal(
                .unsupported, "\(request.method) is not a method of this path; use POST", detail: ["method": request.method.rawValue],
                status: 405
            )
            .allowing([.post], refused: request.method)
        }
        let form = FormURL.decode(String(buffer: try await request.collectBody(limit: 64 << 10)))
        func value(_ name: String) -> String? { form.first { $0.name == name }?.value }
        switch value("grant_type") {
        case "access_token", "access_token_refresh_token": break
        case let grant:
            return try .refusal(
                .unsupported, "grant_type '\((grant ?? "").prefix(40))' is not available here; exchange an access_token", status: 400)
        }
        guard let token = value("access_token"), !token.isEmpty else {
            return try .refusal(.unauthorized, "the form has no access_token; request one of the directory and send it")
        }
        let verified = try await self.access.tokens.verify(token, as: [.management], audience: nil)
        guard !registry.wantsRegistryTokens || verified.audience == TokenAuthority.registryAudience else {
            return try .refusal(
                .denied,
                "the registry '\(registry.name)' takes no tokens of the resource manager ('acr config authentication-as-arm' is disabled); "
                    + "request one for \(TokenAuthority.registryAudience)", status: 403)
        }
        guard let credential = verified.credential, try await self.access.directory?.holds(credential, subject: verified.subject) == true
        else {
            throw IdentityError(.invalidToken, "the sign-in behind this access token has ended; sign in again")
        }
        let caller = try await self.access.caller(verified.subject, registry: registry)
        guard caller.hasAnyRight else {
            return try .refusal(
                .denied, "this account has no role at the registry '\(registry.name)'; ask its owner for one, such as AcrPull", status: 403)
        }
        let refresh = try await self.access.tokens.issue(
            .registryRefresh, subject: verified.subject, audience: registry.audience, credential: credential)
        return try .json(.ok, Exchanged(refreshToken: refresh.token), headers: [.cacheControl: "no-store"])
    }
}

extension Caller {
    /// Whether there is anything the caller may do in the registry.
    fileprivate var hasAnyRight: Bool {
        switch self.grant {
        case .everything: true
        case .roles(let permissions): !permissions.isEmpty
        case .scopeMap(let map): !map.actions.isEmpty
        case .listed(let entries): !entries.isEmpty
        }
    }
}
