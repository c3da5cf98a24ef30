// The two pages of the sign-in: one for the code of a device, one for a program that has opened a browser.

internal import Crypto
internal import HTTPServing
internal import HTTPTypes
internal import Identity
internal import NIOCore

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// Pages without anything from elsewhere; everything from outside is escaped.
enum SignInPage {
    /// The only script there is: it sends the form on.
    private static let script = "document.forms[0].submit()"
    private static let style =
        "body{font:16px/1.5 system-ui,sans-serif;max-width:26em;margin:4em auto;padding:0 1em}label{display:block;margin:1em 0 .2em}"
        + "input{font:inherit;width:100%;padding:.4em;box-sizing:border-box}button{font:inherit;margin:1.5em .5em 0 0;padding:.4em 1.5em}"
        + ".refusal{color:#a00}"

    static func escaped(_ text: String) -> String {
        text.replacing("&", with: "&amp;").replacing("<", with: "&lt;").replacing(">", with: "&gt;").replacing("\"", with: "&quot;")
            .replacing("'", with: "&#39;")
    }

    private static func hash(_ text: String) -> String { "'sha256-\(Data(SHA256.hash(data: Data(text.utf8))).base64EncodedString())'" }

    /// - Parameter target: where the form may be sent besides this server.
    static func response(
        _ status: HTTPResponse.Status = .ok, title: String, refusal: String? = nil, body: String, target: String? = nil,
        submits: Bool = false
    ) -> ServerResponse {
        let html = """
            <!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>\(title)</title>\
            <style>\(self.style)</style></head><body><h1>\(title)</h1>\(refusal.map { "<p class=\"refusal\" role=\"alert\">\(self.escaped($0))</p>" } ?? "")\
            \(body)\(submits ? "<script>\(self.script)</script>" : "")</body></html>
            """
        var headers: HTTPFields = [
            .contentType: "text/html; charset=utf-8", .cacheControl: "no-store", .xContentTypeOptions: "nosniff",
            .contentSecurityPolicy:
                "default-src 'none'; style-src \(self.hash(self.style)); form-action 'self'\(target.map { " \($0)" } ?? ""); "
                + "frame-ancestors 'none'; base-uri 'none'\(submits ? "; script-src \(self.hash(self.script))" : "")",
        ]
        if let name = HTTPField.Name("Referrer-Policy") { headers[name] = "no-referrer" }
        return ServerResponse(status, headers: headers, body: .bytes(ByteBuffer(string: html)))
    }

    static func hidden(_ name: String, _ value: String) -> String {
        "<input type=\"hidden\" name=\"\(self.escaped(name))\" value=\"\(self.escaped(value))\">"
    }

    static let account = """
        <label for="u">User name</label><input id="u" name="username" autocomplete="username" required autofocus>\
        <label for="p">Password</label><input id="p" name="password" type="password" autocomplete="current-password" required>
        """
}

extension SignInEndpoint {
    // MARK: Device codes

    func devicePage(_ request: ServerRequest) async throws -> ServerResponse {
        if request.method == .get { return Self.devicePage(code: request.query("user_code") ?? "") }
        let form = try await Self.form(request)
        let code = form["user_code"] ?? ""
        guard self.pending.waits(code, from: request.remoteAddress) else {
            return Self.devicePage(.badRequest, code: "", refusal: "That code is not known or has expired. Check it, or begin again.")
        }
        if form["action"] == "decline" {
            _ = self.pending.settle(code, .declined)
            return SignInPage.response(title: "Declined", body: "<p>The device was not signed in. You can close this page.</p>")
        }
        do {
            let (user, credential) = try await self.user(form["username"] ?? "", form["password"] ?? "")
            guard self.pending.settle(code, .approved(user: user.objectID, credential: credential)) else {
                return Self.devicePage(.badRequest, code: "", refusal: "That code has expired. Begin again.")
            }
        } catch let refusal as Refusal {
            return Self.devicePage(.badRequest, code: code, refusal: refusal.sentence)
        }
        return SignInPage.response(title: "Signed in", body: "<p>The device is signed in. You can close this page.</p>")
    }

    private static func devicePage(_ status: HTTPResponse.Status = .ok, code: String, refusal: String? = nil) -> ServerResponse {
        SignInPage.response(
            status, title: "Sign in a device", refusal: refusal,
            body: """
                <p>Enter the code that the device shows. Do so only if you have just begun a sign-in yourself.</p>\
                <form method="post" action="/adfs/oauth2/deviceauth"><label for="c">Code</label>\
                <input id="c" name="user_code" value="\(SignInPage.escaped(String(code.prefix(20))))" autocomplete="off" required>\
                \(SignInPage.account)<button>Sign in</button>\
                <button name="action" value="decline" formnovalidate>Decline</button></form>
                """)
    }

    // MARK: Browsers

    /// What a program asks a browser to bring.
    private struct AuthorizeRequest {
        static let carried = [
            "client_id", "redirect_uri", "scope", "state", "code_challenge", "code_challenge_method", "nonce", "response_mode",
            "response_type", "resource",
        ]
        let form: Form
        let clientID: String
        let redirect: String
        let challenge: String
        /// Scheme, host and port of the redirect.
        let origin: String

        init(_ form: Form) throws(Refusal) {
            self.form = form
            self.clientID = try form.required("client_id")
            self.redirect = try form.required("redirect_uri")
            guard form["response_type"] == "code" else {
                throw Refusal(
                    status: .badRequest, error: "unsupported_response_type", number: 700_054, sentence: "The response_type must be 'code'.")
            }
            // A program on the same machine, and nothing else: the code must not leave it (RFC 8252, section 7.3).
            guard let url = URLComponents(string: self.redirect), url.scheme == "http", let host = url.host,
                ["localhost", "127.0.0.1"].contains(host), let port = url.port, (1...65535).contains(port), url.user == nil,
                url.fragment == nil
            else {
                throw Refusal.invalidRequest(
                    50_011, "The redirect_uri '\(self.redirect.prefix(100))' is not http://localhost:PORT or http://127.0.0.1:PORT.")
            }
            self.origin = "http://\(host):\(port)"
            guard form["code_challenge_method"] == "S256", let challenge = form["code_challenge"], (43...128).contains(challenge.utf8.count)
            else {
                throw Refusal.invalidRequest(501_491, "Proof Key for Code Exchange is required: send code_challenge with method S256.")
            }
            self.challenge = challenge
        }
    }

    func authorizePage(_ request: ServerRequest) async throws -> ServerResponse {
        let form = request.method == .get ? Form(items: request.query) : try await Self.form(request)
        let wanted = try AuthorizeRequest(form)
        _ = try self.audience(scope: form["scope"], resource: form["resource"])
        guard request.method == .post else { return Self.authorizePage(wanted) }
        let user: DirectoryUser
        let credential: String
        do {
            (user, credential) = try await self.user(form["username"] ?? "", form["password"] ?? "")
        } catch let refusal as Refusal {
            return Self.authorizePage(wanted, .badRequest, refusal: refusal.sentence)
        }
        let signIn = BrowserSignIn(
            user: user.objectID, credential: credential, clientID: wanted.clientID, redirect: wanted.redirect, challenge: wanted.challenge,
            nonce: form["nonce"].map { String($0.prefix(512)) }, scope: form["scope"] ?? "",
            expires: self.directory.now / 1000 + PendingSignIns.codeLife)
        guard let code = self.pending.code(for: signIn) else {
            return Self.authorizePage(wanted, .serviceUnavailable, refusal: "The server is busy. Try again.")
        }
        guard form["response_mode"] == "form_post" else {
            var url = URLComponents(string: wanted.redirect)
            var items = url?.queryItems ?? []
            items.append(URLQueryItem(name: "code", value: code))
            if let state = form["state"] { items.append(URLQueryItem(name: "state", value: state)) }
            url?.queryItems = items
            return ServerResponse(.found, headers: [.location: url?.string ?? wanted.redirect, .cacheControl: "no-store"])
        }
        let fields = SignInPage.hidden("code", code) + (form["state"].map { SignInPage.hidden("state", $0) } ?? "")
        return SignInPage.response(
            title: "Signed in",
            body: """
                <form method="post" action="\(SignInPage.escaped(wanted.redirect))">\(fields)<p>You are signed in.</p>\
                <noscript><button>Continue</button></noscript></form>
                """, target: wanted.origin, submits: true)
    }

    private static func authorizePage(
        _ wanted: AuthorizeRequest, _ status: HTTPResponse.Status = .ok, refusal: String? = nil
    ) -> ServerResponse {
        let carried = AuthorizeRequest.carried.compactMap { name in
            wanted.form[name].map { SignInPage.hidden(name, String($0.prefix(2048))) }
        }
        return SignInPage.response(
            status, title: "Sign in", refusal: refusal,
            body: """
                <p>A program on this computer asks to act for you. Go on only if you have just begun a sign-in.</p>\
                <form method="post" action="/adfs/oauth2/authorize">\(carried.joined())\(SignInPage.account)<button>Sign in</button></form>
                """, target: wanted.origin)
    }
}
