// Signing in with a code that is typed into a browser elsewhere (RFC 8628).

import JSON

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

extension SignIn {
    /// Shows a code and waits until somebody has signed in with it.
    func device(
        clientID: String, scope: String, _ endpoints: Endpoints, sleep: @Sendable (Duration) async throws -> Void,
        show: (String) -> Void
    ) async throws(ManagementError) -> Grant {
        guard let endpoint = endpoints.deviceEndpoint else {
            throw ManagementError("The server does not offer signing in with a code.", advice: "Sign in with -u and -p.")
        }
        let form = URLText.form([("client_id", clientID), ("scope", scope)])
        let request = ManagementRequest(
            method: .post, url: endpoint, headers: [("Content-Type", "application/x-www-form-urlencoded"), ("Accept", "application/json")],
            body: Array(form.utf8))
        let response = try await transport.send(request)
        guard response.isSuccess else { throw ManagementError(refusal: response, of: request) }
        guard let answer = try? JSONValue(parsing: response.body), let code = answer["device_code"]?.stringValue,
            let message = answer["message"]?.stringValue
        else { throw ManagementError("\(endpoint) gave no code. It may not be a sign-in endpoint.") }
        show(message)
        var interval = max(1, answer["interval"]?.intValue ?? 5)
        let end = now() + (answer["expires_in"]?.intValue ?? 900)
        while now() < end {
            do { try await sleep(.seconds(interval)) } catch { throw ManagementError("The sign-in was interrupted.") }
            let poll = ManagementRequest(
                method: .post, url: endpoints.tokenEndpoint,
                headers: [("Content-Type", "application/x-www-form-urlencoded"), ("Accept", "application/json")],
                body: Array(
                    URLText.form([
                        ("client_id", clientID), ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"), ("device_code", code),
                        ("scope", scope),
                    ]).utf8))
            let response = try await transport.send(poll)
            let answer = try? JSONValue(parsing: response.body)
            if response.isSuccess, let token = answer?["access_token"]?.stringValue {
                return Grant(
                    token: .init(value: token, expires: now() + (answer?["expires_in"]?.intValue ?? 300)),
                    refreshToken: answer?["refresh_token"]?.stringValue)
            }
            switch answer?["error"]?.stringValue {
            case "authorization_pending": continue
            case "slow_down": interval += 5
            default: throw ManagementError(refusal: response, of: poll)
            }
        }
        throw ManagementError("The code has expired before anybody signed in with it. Run 'outport login' again.")
    }

    /// The account name in a token, which is shown and decides nothing.
    static func userName(in token: String) -> String? {
        let parts = token.split(separator: ".")
        guard parts.count == 3 else { return nil }
        var text = parts[1].replacing("-", with: "+").replacing("_", with: "/")
        while text.utf8.count % 4 != 0 { text += "=" }
        guard let data = Data(base64Encoded: String(text)), let claims = try? JSONValue(parsing: data) else { return nil }
        return claims["upn"]?.stringValue ?? claims["preferred_username"]?.stringValue
    }
}
