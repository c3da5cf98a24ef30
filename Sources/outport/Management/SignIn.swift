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
            cloudName: metadata["name"]?.stringValue ?? "outport", audience: audience, tokenEndpoint: endpoint, loginServerSuffix: suffix)
    }

    /// Exchanges the secret for a token of the resource manager (RFC 6749, section 4.4).
    ///
    /// - Parameter challenge: the claims with which the server refused the last token, already decoded.
    func token(for profile: Profile, challenge: JSONValue? = nil) async throws(ManagementError) -> Profile.AccessToken {
        var claims: JSONValue = ["access_token": ["xms_cc": ["values": ["CP1"]]]]
        if let challenge { claims.apply(mergePatch: challenge) }
        let form = URLText.form([
            ("client_id", profile.clientID), ("grant_type", "client_credentials"), ("client_info", "1"),
            ("client_secret", profile.clientSecret), ("claims", claims.serialized()), ("scope", profile.audience + "/.default"),
        ])
        let request = ManagementRequest(
            method: .post, url: profile.tokenEndpoint,
            headers: [("Content-Type", "application/x-www-form-urlencoded"), ("Accept", "application/json")], body: Array(form.utf8))
        let response = try await transport.send(request)
        guard response.isSuccess else { throw ManagementError(refusal: response, of: request) }
        let answer = try? JSONValue(parsing: response.body)
        guard let value = answer?["access_token"]?.stringValue else {
            throw ManagementError("\(profile.tokenEndpoint) gave no token. It may not be a sign-in endpoint.")
        }
        let lifetime = answer?["expires_in"]?.intValue ?? answer?["expires_in"]?.stringValue.flatMap { Int($0) } ?? 300
        return Profile.AccessToken(value: value, expires: now() + lifetime)
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
