// The grants of the token endpoint.

internal import HTTPServing
internal import HTTPTypes
internal import Identity
internal import JSON

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

extension SignInEndpoint {
    // MARK: Service principals

    /// RFC 6749, section 4.4, with a secret or a signed assertion.
    func clientCredentials(_ form: Form, _ request: ServerRequest) async throws -> ServerResponse {
        var (clientID, secret) = (form["client_id"], form["client_secret"])
        if case .basic(let user, let password)? = request.authorization, clientID == nil || secret == nil {
            (clientID, secret) = (user, password)
        }
        if let assertion = form["client_assertion"] {
            return try await self.certificate(clientID, assertion, form, request)
        }
        guard let clientID, !clientID.isEmpty else { throw Self.missing("client_id") }
        guard let secret, !secret.isEmpty else {
            throw Refusal(
                status: .unauthorized, error: "invalid_client", number: 7_000_216,
                sentence: "'client_assertion' or 'client_secret' is required for the 'client_credentials' grant type.")
        }
        let (kind, audience) = try self.audience(scope: form["scope"], resource: form["resource"])
        // One answer for an unknown principal, a disabled one and a wrong secret, so that nobody can search for principals.
        guard let (principal, credential) = try await self.directory.authenticate(appID: clientID, secret: secret) else {
            throw Refusal(
                status: .unauthorized, error: "invalid_client", number: 7_000_215,
                sentence: "Invalid client secret provided, expired, or no service principal '\(clientID.prefix(60))' in this directory. "
                    + "Ensure that the secret's value is sent, not its id.")
        }
        return try await self.answer(principal, credential, kind, audience)
    }

    private static func missing(_ name: String) -> Refusal {
        .invalidRequest(900_144, "The request body must contain the parameter '\(name)'.")
    }

    private func certificate(
        _ clientID: String?, _ assertion: String, _ form: Form, _ request: ServerRequest
    ) async throws -> ServerResponse {
        guard form["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" else {
            throw Refusal.invalidRequest(
                50_027, "The parameter 'client_assertion_type' must be urn:ietf:params:oauth:client-assertion-type:jwt-bearer.")
        }
        guard let clientID = clientID ?? ClientAssertions.subject(of: assertion) else { throw Self.missing("client_id") }
        let (kind, audience) = try self.audience(scope: form["scope"], resource: form["resource"])
        let base = CloudMetadata(names: self.names).base(for: request)
        do {
            // What a cluster says of a pod, not what a client says of itself.
            if FederatedCredential.isMeant(by: assertion, clientID: clientID) {
                let (principal, credential) = try await self.directory.authenticate(
                    appID: clientID, federated: assertion, keys: self.issuerKeys)
                return try await self.answer(principal, credential, kind, audience)
            }
            let (principal, credential) = try await self.assertions.authenticate(
                appID: clientID, assertion: assertion, audiences: [base + "/adfs/oauth2/token", base + "/adfs"])
            return try await self.answer(principal, credential, kind, audience)
        } catch let error as IdentityError {
            throw Refusal(
                status: .unauthorized, error: "invalid_client", number: 700_027,
                sentence: error.message.prefix(1).uppercased() + error.message.dropFirst() + ".")
        }
    }

    private func answer(
        _ principal: ServicePrincipal, _ credential: String, _ kind: TokenKind, _ audience: String
    ) async throws -> ServerResponse {
        let issued = try await self.authority.issue(
            kind, subject: .servicePrincipal(principal.objectID), audience: audience, credential: credential, appID: principal.appID)
        var answer: JSONValue = [
            "token_type": "Bearer", "expires_in": .integer(issued.lifetime), "ext_expires_in": .integer(issued.lifetime),
            "access_token": .string(issued.token),
        ]
        if let expiry = try await self.directory.expiry(of: credential) {
            // Not Azure's: `outport login` warns by it.
            answer["credential_expires_on"] = .integer(expiry / 1000)
        }
        return .document(.ok, answer, headers: [.cacheControl: "no-store"])
    }

    // MARK: People

    /// RFC 6749, section 4.3.
    func password(_ form: Form, _ request: ServerRequest) async throws -> ServerResponse {
        let clientID = try form.required("client_id")
        let (name, password) = (try form.required("username"), try form.required("password"))
        let (kind, audience) = try self.audience(scope: form["scope"], resource: form["resource"])
        let (user, credential) = try await self.user(name, password)
        return try await self.answer(
            user.principal, credential, kind, audience, clientID: clientID, scope: form["scope"] ?? "", nonce: form["nonce"])
    }

    /// - Throws: ``Refusal`` in the words of Azure's sign-in.
    func user(_ name: String, _ password: String) async throws -> (user: DirectoryUser, credential: String) {
        do {
            return try await self.directory.authenticate(user: name, password: password)
        } catch let error as IdentityError {
            switch error.code {
            case .locked: throw Refusal.invalidGrant(50_053, error.message + ".")
            // No 503: clients would keep that answer and repeat it for a minute.
            case .busy:
                throw Refusal(
                    status: .badRequest, error: "temporarily_unavailable", number: 90_033, sentence: "The server is busy. Try again.")
            default: throw Refusal.invalidGrant(50_126, "Error validating credentials due to invalid username or password.")
            }
        }
    }

    /// RFC 6749, section 6. A refresh token ends with the password, a revocation, or the user.
    func refresh(_ form: Form) async throws -> ServerResponse {
        let clientID = try form.required("client_id")
        let token = try form.required("refresh_token")
        let (kind, audience) = try self.audience(scope: form["scope"], resource: form["resource"])
        let verified: VerifiedToken
        do {
            verified = try await self.authority.verify(token, as: [.signInRefresh], audience: nil)
        } catch is IdentityError {
            throw Refusal.invalidGrant(700_082, "The refresh token is not valid or has expired due to inactivity. Sign in again.")
        }
        guard verified.client == clientID else {
            throw Refusal.invalidGrant(70_000, "The refresh token was given to another client. Sign in again.")
        }
        guard let standing = try await self.directory.standing(of: verified.subject, credential: verified.credential),
            !standing.isRevoked, let credential = verified.credential
        else {
            throw Refusal.invalidGrant(
                50_173, "The provided grant has expired due to it being revoked, a fresh sign-in is needed. Sign in again.")
        }
        return try await self.answer(
            standing.principal, credential, kind, audience, clientID: clientID, scope: form["scope"] ?? "", nonce: nil)
    }

    func authorizationCode(_ form: Form) async throws -> ServerResponse {
        let clientID = try form.required("client_id")
        let (code, redirect) = (try form.required("code"), try form.required("redirect_uri"))
        let verifier = try form.required("code_verifier")
        guard let signIn = self.pending.redeem(code, clientID: clientID, redirect: redirect, verifier: verifier) else {
            throw Refusal.invalidGrant(
                70_008, "The authorization code is not valid, has been used, has expired, or was given to another client. Sign in again.")
        }
        let (kind, audience) = try self.audience(scope: form["scope"] ?? signIn.scope, resource: form["resource"])
        return try await self.signedIn(
            signIn.user, signIn.credential, kind, audience, clientID: clientID, scope: form["scope"] ?? signIn.scope, nonce: signIn.nonce)
    }

    private func signedIn(
        _ user: String, _ credential: String, _ kind: TokenKind, _ audience: String, clientID: String, scope: String, nonce: String?
    ) async throws -> ServerResponse {
        guard let standing = try await self.directory.standing(of: .user(user), credential: credential), !standing.isRevoked else {
            throw Refusal.invalidGrant(50_173, "The sign-in was revoked before it was complete. Sign in again.")
        }
        return try await self.answer(
            standing.principal, credential, kind, audience, clientID: clientID, scope: scope, nonce: nonce)
    }

    // MARK: Devices

    /// RFC 8628, section 3.1.
    func deviceCode(_ form: Form, _ base: String, from address: String) throws -> ServerResponse {
        let clientID = try form.required("client_id")
        let scope = form["scope"] ?? ""
        _ = try self.audience(scope: scope, resource: form["resource"])
        guard clientID.utf8.count <= 128, let (code, signIn) = self.pending.beginDevice(clientID: clientID, scope: scope, from: address)
        else {
            throw Refusal(
                status: .badRequest, error: "temporarily_unavailable", number: 90_033,
                sentence: "Too many devices wait for a sign-in. Try again in some minutes.")
        }
        let page = base + "/adfs/oauth2/deviceauth"
        let shown = "\(signIn.userCode.prefix(4))-\(signIn.userCode.suffix(4))"
        return .document(
            .ok,
            [
                "user_code": .string(shown), "device_code": .string(code), "verification_uri": .string(page),
                "verification_uri_complete": .string("\(page)?user_code=\(shown)"), "expires_in": .integer(PendingSignIns.deviceLife),
                "interval": .integer(PendingSignIns.interval),
                "message": .string("To sign in, use a web browser to open the page \(page) and enter the code \(shown) to authenticate."),
            ], headers: [.cacheControl: "no-store"])
    }

    /// RFC 8628, section 3.4.
    func deviceGrant(_ form: Form) async throws -> ServerResponse {
        let clientID = try form.required("client_id")
        guard let code = form["device_code"] ?? form["code"] else { throw Self.missing("device_code") }
        func refuse(_ error: String, _ number: Int, _ sentence: String) -> Refusal {
            Refusal(status: .badRequest, error: error, number: number, sentence: sentence)
        }
        switch self.pending.poll(code, clientID: clientID) {
        case .pending: throw refuse("authorization_pending", 70_016, "Pending end-user authorization.")
        case .tooFast: throw refuse("slow_down", 70_016, "Pending end-user authorization; ask less often.")
        case .declined: throw refuse("authorization_declined", 70_020, "The sign-in was declined.")
        case .expired: throw refuse("expired_token", 70_020, "The device code has expired or is not known. Sign in again.")
        case .approved(let signIn, let user, let credential):
            let scope = form["scope"] ?? signIn.scope
            let (kind, audience) = try self.audience(scope: scope, resource: form["resource"])
            return try await self.signedIn(user, credential, kind, audience, clientID: clientID, scope: scope, nonce: nil)
        }
    }

    // MARK: The answer

    /// Access, refresh and identity tokens of a user.
    private func answer(
        _ person: Principal, _ credential: String, _ kind: TokenKind, _ audience: String, clientID: String, scope: String, nonce: String?
    ) async throws -> ServerResponse {
        let access = try await self.authority.issue(
            kind, subject: person.subject, audience: audience, credential: credential, appID: clientID, person: person)
        let refresh = try await self.authority.issue(
            .signInRefresh, subject: person.subject, audience: "sign-in", credential: credential, client: clientID)
        let identity = try await self.authority.issue(.identity, subject: person.subject, audience: clientID, person: person, nonce: nonce)
        let info: JSONValue = ["uid": .string(person.objectID), "utid": .string(self.authority.tenantID)]
        let encoded = Data(info.serialized().utf8).base64EncodedString().replacing("+", with: "-").replacing("/", with: "_").replacing(
            "=", with: "")
        return .document(
            .ok,
            [
                "token_type": "Bearer", "expires_in": .integer(access.lifetime), "ext_expires_in": .integer(access.lifetime),
                "access_token": .string(access.token), "refresh_token": .string(refresh.token),
                "refresh_token_expires_in": .integer(refresh.lifetime), "id_token": .string(identity.token), "scope": .string(scope),
                "client_info": .string(encoded),
            ], headers: [.cacheControl: "no-store"])
    }
}
