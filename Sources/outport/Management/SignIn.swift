// Finds a server's addresses and gets tokens from it, as `az login --service-principal` does.

import JSON

/// Discovery and token requests. None of them carries a token.
struct SignIn: Sendable {
    let transport: any ManagementTransport
    /// Seconds since 1970.
    let now: @Sendable () -> Int

    struct Endpoints: Sendable {
        var cloudName: String
        var audience: String
        var tokenEndpoint: String
        var loginServerSuffix: String?
        var directory: String?
        var deviceEndpoint: String?
    }

    /// What the token endpoint has given.
    struct Grant: Sendable {
        var token: Profile.AccessToken
        var refreshToken: String?
        /// When the secret or certificate ends, in seconds since 1970.
        var credentialExpires: Int?
    }

    /// Reads `/metadata/endpoints` and the OpenID configuration of the sign-in endpoint it names.
    func discover(server: String, tenant: String) async throws(ManagementError) -> Endpoints {
        let metadata = try await document(server + "/metadata/endpoints?api-version=2022-09-01")
        guard let login = metadata[path: "authentication", "loginEndpoint"]?.stringValue,
            let audience = metadata[path: "authentication", "audiences"]?[0]?.stringValue
        else {
            throw ManagementError(
                "\(server)/metadata/endpoints names no sign-in endpoint and audience.",
                advice: "Check that --server is the address of an Outport parent.")
        }
        // A sign-in endpoint that ends in /adfs has no tenant in its paths.
        let authority = Self.trimmed(login)
        let isTenantless = authority.split(separator: "/").last?.lowercased() == "adfs"
        let base = isTenantless ? authority : "\(authority)/\(URLText.segment(tenant))/v2.0"
        let configuration = try await document(base + "/.well-known/openid-configuration")
        guard let endpoint = configuration["token_endpoint"]?.stringValue, endpoint.hasPrefix("https://") else {
            throw ManagementError("\(base)/.well-known/openid-configuration names no token endpoint over https.")
        }
        let suffix = metadata[path: "suffixes", "acrLoginServer"]?.stringValue.map { $0.hasPrefix(".") ? $0 : ".\($0)" }
        return Endpoints(
            cloudName: metadata["name"]?.stringValue ?? "outport", audience: audience, tokenEndpoint: endpoint, loginServerSuffix: suffix,
            directory: metadata["microsoftGraphResourceId"]?.stringValue.map(Self.trimmed),
            deviceEndpoint: configuration["device_authorization_endpoint"]?.stringValue)
    }

    /// Exchanges what the profile has (secret, certificate or refresh token) for a token of its audience.
    ///
    /// - Parameter challenge: the claims with which the server refused the last token, already decoded.
    func token(for profile: Profile, challenge: JSONValue? = nil) async throws(ManagementError) -> Grant {
        var fields: [(name: String, value: String)] = [("client_id", profile.clientID)]
        var scope = profile.audience + "/.default"
        if profile.username != nil {
            fields += [("grant_type", "refresh_token"), ("refresh_token", profile.refreshToken ?? "")]
            scope += " offline_access openid profile"
        } else if let token = profile.federatedToken {
            fields += [
                ("grant_type", "client_credentials"),
                ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"), ("client_assertion", token),
            ]
        } else if let file = profile.certificateFile {
            fields += [
                ("grant_type", "client_credentials"),
                ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
                (
                    "client_assertion",
                    try await CertificateFile(path: file).assertion(
                        clientID: profile.clientID, audience: profile.tokenEndpoint, now: now())
                ),
            ]
        } else {
            fields += [("grant_type", "client_credentials"), ("client_secret", profile.clientSecret)]
        }
        return try await grant(fields, scope: scope, at: profile.tokenEndpoint, challenge: challenge)
    }

    /// One request of the token endpoint.
    func grant(
        _ fields: [(name: String, value: String)], scope: String, at endpoint: String, challenge: JSONValue? = nil
    ) async throws(ManagementError) -> Grant {
        var claims: JSONValue = ["access_token": ["xms_cc": ["values": ["CP1"]]]]
        if let challenge { claims.apply(mergePatch: challenge) }
        // In the order in which `az` sends them.
        let form = URLText.form(
            fields.prefix(2) + [("client_info", "1")] + fields.dropFirst(2) + [("claims", claims.serialized()), ("scope", scope)])
        let request = ManagementRequest(
            method: .post, url: endpoint,
            headers: [("Content-Type", "application/x-www-form-urlencoded"), ("Accept", "application/json")], body: Array(form.utf8))
        let response = try await transport.send(request)
        guard response.isSuccess else { throw ManagementError(refusal: response, of: request) }
        let answer = try? JSONValue(parsing: response.body)
        guard let value = answer?["access_token"]?.stringValue else {
            throw ManagementError("\(endpoint) gave no token. It may not be a sign-in endpoint.")
        }
        let lifetime = answer?["expires_in"]?.intValue ?? answer?["expires_in"]?.stringValue.flatMap { Int($0) } ?? 300
        return Grant(
            token: Profile.AccessToken(value: value, expires: now() + lifetime), refreshToken: answer?["refresh_token"]?.stringValue,
            credentialExpires: answer?["credential_expires_on"]?.intValue)
    }

    private func document(_ url: String) async throws(ManagementError) -> JSONValue {
        let request = ManagementRequest(method: .get, url: url, headers: [("Accept", "application/json")])
        let response = try await transport.send(request)
        guard response.isSuccess else { throw ManagementError(refusal: response, of: request) }
        do {
            return try JSONValue(parsing: response.body)
        } catch {
            throw ManagementError("\(request.summary) did not answer with JSON: \(error)", advice: "Check --server.")
        }
    }

    /// A base URL without slashes at its end.
    static func trimmed(_ url: String) -> String {
        var url = Substring(url)
        while url.hasSuffix("/") { url = url.dropLast() }
        return String(url)
    }

    /// The address of a server as people write it: `https://` may be left out, anything but https is refused.
    static func server(_ text: String) throws(ManagementError) -> String {
        let url = trimmed(text.contains("://") ? text : "https://" + text)
        guard url.lowercased().hasPrefix("https://"), url.utf8.count > 8 else {
            throw ManagementError("'\(text)' is not an https address.", advice: "Give --server https://HOST:PORT.")
        }
        return url
    }
}
