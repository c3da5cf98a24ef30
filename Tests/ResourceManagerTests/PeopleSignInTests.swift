// People and certificates at the token endpoint and the pages, and how a sign-in ends.

import Crypto
import HTTPTypes
import Identity
import JSON
import JWTKit
import SwiftASN1
import Testing
import X509

@testable import ResourceManager

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

@Suite struct PeopleSignInTests {
    private static let scope = "https://localhost:8443//.default offline_access openid profile"

    private func world() async throws -> World {
        let world = try await World()
        _ = try await world.directory.createUser("ana@x.test", displayName: "Ana", mailNickname: nil, password: "correct horse")
        return world
    }

    private func password(_ world: World, _ password: String = "correct horse", user: String = "ana@x.test") async throws -> Answer {
        try await world.token([
            ("client_id", World.client), ("grant_type", "password"), ("username", user), ("password", password), ("scope", Self.scope),
        ])
    }

    private func refresh(_ world: World, _ token: String, resource: String = World.arm, client: String = World.client) async throws
        -> Answer
    {
        try await world.token([
            ("client_id", client), ("grant_type", "refresh_token"), ("refresh_token", token), ("scope", resource + "/.default"),
        ])
    }

    private func claims(_ token: String) throws -> JSONValue {
        var text = String(try #require(token.split(separator: ".").dropFirst().first)).replacing("-", with: "+").replacing("_", with: "/")
        while text.utf8.count % 4 != 0 { text += "=" }
        return try JSONValue(parsing: [UInt8](try #require(Data(base64Encoded: text))))
    }

    @Test("A1 a user's tokens have what MSAL reads; the refresh token gives tokens of other resources, to its client alone")
    func user() async throws {
        let world = try await self.world()
        let answer = try await self.password(world)
        #expect(answer.status == 200)
        #expect(answer.body["scope"]?.stringValue == Self.scope)
        let identity = try self.claims(try #require(answer.body["id_token"]?.stringValue))
        #expect(identity["preferred_username"] == "ana@x.test")
        #expect(identity["aud"]?.stringValue == World.client)
        #expect(identity["tid"]?.stringValue == world.installation.tenantID)
        let token = try #require(answer.body["refresh_token"]?.stringValue)
        let graph = try await self.refresh(world, token, resource: World.graph)
        let directory = try #require(graph.body["access_token"]?.stringValue)
        let me = try await world.send(.get, "/graph/v1.0/me", text: "", headers: [.authorization: "Bearer \(directory)"])
        #expect(me.body["userPrincipalName"] == "ana@x.test")
        #expect(try await self.refresh(world, token, client: "other").status == 400)
        // No token stands in for another kind.
        for kind in ["access_token", "id_token"] {
            #expect(try await self.refresh(world, try #require(answer.body[kind]?.stringValue)).status == 400)
        }
        #expect(try await world.send(.get, "/subscriptions", text: "", headers: [.authorization: "Bearer \(token)"]).status == 401)
        world.clock.advance(seconds: 14 * 86_400)
        #expect(try await self.refresh(world, token).status == 400)
    }

    @Test("A1 ten wrong passwords in a row lock the account, longer each time; the right one ends the row")
    func lockOut() async throws {
        let world = try await self.world()
        for _ in 1...9 { #expect(try await self.password(world, "wrong").body["error_codes"]?[0] == 50_126) }
        #expect(try await self.password(world).status == 200)
        for _ in 1...10 { #expect(try await self.password(world, "wrong").body["error_codes"]?[0] == 50_126) }
        // Not even the right one while it lasts.
        #expect(try await self.password(world).body["error_codes"]?[0] == 50_053)
        world.clock.advance(seconds: 61)
        #expect(try await self.password(world, "wrong").body["error_codes"]?[0] == 50_126)
        world.clock.advance(seconds: 61)
        #expect(try await self.password(world).body["error_codes"]?[0] == 50_053)
        world.clock.advance(seconds: 61)
        #expect(try await self.password(world, user: "ANA@x.test").status == 200)
    }

    @Test("A1 a password changed, a user disabled or revoked: every token ends with a challenge, and so does the refresh token")
    func revocation() async throws {
        let world = try await self.world()
        let user = try #require(try await world.directory.user("ana@x.test"))
        let endings: [@Sendable () async throws -> Void] = [
            { try await world.directory.revoke(user.objectID) },
            { try await world.directory.updateUser(user.objectID, password: "correct horse") },
            {
                try await world.directory.updateUser(user.objectID, isEnabled: false)
                try await world.directory.updateUser(user.objectID, isEnabled: true)
            },
        ]
        for end in endings {
            let answer = try await self.password(world)
            let (access, refresh) = (
                try #require(answer.body["access_token"]?.stringValue), try #require(answer.body["refresh_token"]?.stringValue)
            )
            #expect(try await world.send(.get, "/subscriptions", text: "", headers: [.authorization: "Bearer \(access)"]).status == 200)
            try await end()
            let refused = try await world.send(.get, "/subscriptions", text: "", headers: [.authorization: "Bearer \(access)"])
            #expect(refused.status == 401)
            let header = try #require(refused.headers[.wwwAuthenticate])
            #expect(header.contains("error=\"insufficient_claims\""))
            let claims = try #require(header.firstRange(of: "claims=\"").map { header[$0.upperBound...].prefix { $0 != "\"" } })
            let parsed = try JSONValue(parsing: [UInt8](try #require(Data(base64Encoded: String(claims)))))
            #expect(parsed[path: "access_token", "nbf", "essential"] == true)
            #expect(try await self.refresh(world, refresh).body["error_codes"]?[0] == 50_173)
        }
        #expect(try await self.password(world).status == 200)
        try await world.directory.deleteUser(user.objectID)
        #expect(try await self.password(world).status == 400)
    }

    @Test("A1 a secret that is removed takes its tokens along, another one's stay")
    func secretRemoved() async throws {
        let world = try await World()
        let actor = try await world.actor("ci", role: "Reader")
        let application = try #require(try await world.directory.application(actor.appID))
        let (other, secret) = try await world.directory.addSecret(to: actor.objectID, displayName: nil, start: nil, expiry: nil)
        let token = try await world.accessToken(actor.appID, secret, World.arm)
        let first = try #require(try await world.directory.credentials(of: application.objectID).first)
        try await world.directory.removeCredential(first.keyID, from: application.objectID)
        #expect(try await world.send(.get, world.subscription, as: actor).status == 401)
        #expect(try await world.send(.get, world.subscription, text: "", headers: [.authorization: "Bearer \(token)"]).status == 200)
        try await world.directory.removeCredential(other.keyID, from: actor.objectID)
        #expect(try await world.send(.get, world.subscription, text: "", headers: [.authorization: "Bearer \(token)"]).status == 401)
    }

    // MARK: Devices

    private func begin(_ world: World) async throws -> (code: String, shown: String) {
        let answer = try await world.send(
            .post, "/adfs/oauth2/devicecode", text: World.form([("client_id", World.client), ("scope", Self.scope)]), headers: [:])
        #expect(answer.body["message"]?.stringValue?.contains("enter the code") == true)
        return (try #require(answer.body["device_code"]?.stringValue), try #require(answer.body["user_code"]?.stringValue))
    }

    private func poll(_ world: World, _ code: String, client: String = World.client) async throws -> Answer {
        try await world.token([
            ("client_id", client), ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"), ("code", code), ("device_code", code),
        ])
    }

    private func page(_ world: World, _ fields: [(String, String)]) async throws -> (status: Int, headers: HTTPFields, text: String) {
        try await world.page(.post, "/adfs/oauth2/deviceauth", World.form(fields))
    }

    @Test("A1 a device waits until somebody signs in with its code; the code is good once and for its client")
    func device() async throws {
        let world = try await self.world()
        let (code, shown) = try await self.begin(world)
        #expect(try await self.poll(world, code).body["error"] == "authorization_pending")
        #expect(try await self.poll(world, code).body["error"] == "slow_down")
        #expect(try await self.poll(world, code, client: "other").body["error"] == "expired_token")
        world.clock.advance(seconds: 1)
        let unknown = try await self.page(world, [("user_code", "BBBB-BBBB"), ("username", "ana@x.test"), ("password", "correct horse")])
        #expect(unknown.status == 400)
        let wrong = try await self.page(world, [("user_code", shown), ("username", "<script>"), ("password", "x")])
        #expect(wrong.status == 400)
        #expect(!wrong.text.contains("<script>"))
        #expect(wrong.headers[.contentSecurityPolicy]?.contains("default-src 'none'") == true)
        #expect(try await self.poll(world, code).body["error"] == "authorization_pending")
        let right = try await self.page(
            world, [("user_code", shown.lowercased()), ("username", "ana@x.test"), ("password", "correct horse")])
        #expect(right.status == 200)
        #expect(
            try await self.page(world, [("user_code", shown), ("username", "ana@x.test"), ("password", "correct horse")]).status == 400)
        let answer = try await self.poll(world, code)
        #expect(answer.status == 200)
        #expect(answer.body["scope"]?.stringValue == Self.scope)
        #expect(try await self.poll(world, code).body["error"] == "expired_token")

        let (declined, shownToo) = try await self.begin(world)
        _ = try await self.page(world, [("user_code", shownToo), ("action", "decline")])
        #expect(try await self.poll(world, declined).body["error"] == "authorization_declined")
        let (late, _) = try await self.begin(world)
        world.clock.advance(seconds: 901)
        #expect(try await self.poll(world, late).body["error"] == "expired_token")
    }

    @Test("A1 one address that begins sign-ins without end keeps nobody else from beginning one")
    func devicesOfOneAddress() {
        let pending = PendingSignIns(clock: TestClock().wall)
        for _ in 0..<PendingSignIns.maximumFromAddress {
            #expect(pending.beginDevice(clientID: "c", scope: "s", from: "192.0.2.1") != nil)
        }
        #expect(pending.beginDevice(clientID: "c", scope: "s", from: "192.0.2.1") == nil)
        #expect(pending.beginDevice(clientID: "c", scope: "s", from: "192.0.2.2") != nil)
    }

    @Test("A1 codes are not found by trying: after sixty wrong ones in a minute none is looked at")
    func guessing() async throws {
        let world = try await self.world()
        let (_, shown) = try await self.begin(world)
        for _ in 1...60 { _ = try await self.page(world, [("user_code", "BBBB-BBBB")]) }
        let fields = [("user_code", shown), ("username", "ana@x.test"), ("password", "correct horse")]
        #expect(try await self.page(world, fields).status == 400)
        // Somebody elsewhere is not shut out.
        #expect(try await world.page(.post, "/adfs/oauth2/deviceauth", World.form(fields), from: "192.0.2.1").status == 200)
        let (_, other) = try await self.begin(world)
        world.clock.advance(seconds: 60)
        let again = [("user_code", other), ("username", "ana@x.test"), ("password", "correct horse")]
        #expect(try await self.page(world, again).status == 200)
    }

    // MARK: Browsers

    @Test("A1 a browser takes a code to the program that sent it, with PKCE; it goes nowhere else")
    func browser() async throws {
        let world = try await self.world()
        let verifier = String(repeating: "v", count: 50)
        func query(_ changes: [String: String] = [:]) -> [(String, String)] {
            [
                "client_id": World.client, "response_type": "code", "redirect_uri": "http://localhost:8400", "scope": Self.scope,
                "state": "st&\"<te", "code_challenge": PendingSignIns.challenge(verifier), "code_challenge_method": "S256",
                "nonce": "n0nce",
                "response_mode": "form_post",
            ].merging(changes) { $1 }.map { ($0.key, $0.value) }
        }
        for changes in [
            ["redirect_uri": "https://evil.test"], ["redirect_uri": "http://evil.test:80"],
            ["redirect_uri": "http://localhost@evil.test:1"],
            ["code_challenge_method": "plain"], ["response_type": "token"], ["code_challenge": ""],
        ] {
            #expect(try await world.page(.get, "/adfs/oauth2/authorize?" + World.form(query(changes)), "").status == 400, "\(changes)")
        }
        let page = try await world.page(.get, "/adfs/oauth2/authorize?" + World.form(query()), "")
        #expect(page.status == 200)
        #expect(page.text.contains("st&amp;&quot;&lt;te"))
        func signIn(_ password: String, _ changes: [String: String] = [:]) async throws -> (status: Int, headers: HTTPFields, text: String)
        {
            try await world.page(
                .post, "/adfs/oauth2/authorize", World.form(query(changes) + [("username", "ana@x.test"), ("password", password)]))
        }
        #expect(try await signIn("wrong").status == 400)
        func code(_ text: String) throws -> String {
            let start = try #require(text.firstRange(of: "name=\"code\" value=\"")).upperBound
            return String(text[start...].prefix { $0 != "\"" })
        }
        func redeem(_ code: String, _ verifier: String, redirect: String = "http://localhost:8400") async throws -> Answer {
            try await world.token([
                ("client_id", World.client), ("grant_type", "authorization_code"), ("code", code), ("redirect_uri", redirect),
                ("code_verifier", verifier), ("scope", Self.scope),
            ])
        }
        let done = try await signIn("correct horse")
        #expect(done.text.contains("action=\"http://localhost:8400\""))
        #expect(done.headers[.contentSecurityPolicy]?.contains("form-action 'self' http://localhost:8400") == true)
        let answer = try await redeem(try code(done.text), verifier)
        #expect(answer.status == 200)
        #expect(try self.claims(try #require(answer.body["id_token"]?.stringValue))["nonce"] == "n0nce")
        #expect(try await redeem(try code(done.text), verifier).status == 400)
        #expect(try await redeem(try code(try await signIn("correct horse").text), verifier + "x").status == 400)
        #expect(try await redeem(try code(try await signIn("correct horse").text), verifier, redirect: "http://localhost:1").status == 400)
        let late = try code(try await signIn("correct horse").text)
        world.clock.advance(seconds: 121)
        #expect(try await redeem(late, verifier).status == 400)
        let redirected = try await signIn("correct horse", ["response_mode": "query"])
        #expect(redirected.status == 302)
        #expect(redirected.headers[.location]?.hasPrefix("http://localhost:8400?code=") == true)
    }

    // MARK: Certificates

    private struct Assertion: JWTPayload {
        var iss: String
        var sub: String
        var aud: String
        var jti: String?
        var nbf: Int
        var exp: Int
        func verify(using algorithm: some JWTAlgorithm) async throws {}
    }

    private func certificate(_ key: Certificate.PrivateKey, _ public: Certificate.PublicKey) throws -> [UInt8] {
        let name = try DistinguishedName { CommonName("ci") }
        let certificate = try Certificate(
            version: .v3, serialNumber: .init(), publicKey: `public`, notValidBefore: Date(timeIntervalSince1970: 1_700_000_000),
            notValidAfter: Date(timeIntervalSince1970: 1_900_000_000), issuer: name, subject: name, signatureAlgorithm: .ecdsaWithSHA256,
            extensions: .init(), issuerPrivateKey: key)
        var serializer = DER.Serializer()
        try certificate.serialize(into: &serializer)
        return serializer.serializedBytes
    }

    @Test("A1 a certificate signs in with an assertion for this server, in time, and not for ever")
    func certificates() async throws {
        let world = try await World()
        let (key, stranger) = (P256.Signing.PrivateKey(), P256.Signing.PrivateKey())
        let der = try self.certificate(.init(key), .init(key.publicKey))
        let made = try await world.graph(
            .post, "/applications",
            [
                "displayName": "ci",
                "keyCredentials": [
                    ["type": "AsymmetricX509Cert", "usage": "Verify", "key": .string(Data(der).base64EncodedString())]
                ],
            ])
        #expect(made.status == 201, "\(made.body)")
        #expect(made.body["keyCredentials"]?.arrayValue?.count == 1)
        let appID = try #require(made.body["appId"]?.stringValue)
        _ = try await world.graph(.post, "/servicePrincipals", ["appId": .string(appID)])
        let now = Int(world.clock.wall.seconds)
        let good = Assertion(
            iss: appID, sub: appID, aud: "https://localhost:8443/adfs/oauth2/token", jti: "one", nbf: now - 60, exp: now + 600)
        func send(_ assertion: Assertion, _ key: P256.Signing.PrivateKey) async throws -> Answer {
            let keys = JWTKeyCollection()
            await keys.add(ecdsa: try ES256PrivateKey(pem: key.pemRepresentation))
            return try await world.token([
                ("client_id", appID), ("grant_type", "client_credentials"), ("scope", World.arm + "/.default"),
                ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
                ("client_assertion", try await keys.sign(assertion)),
            ])
        }
        let answer = try await send(good, key)
        #expect(answer.status == 200, "\(answer.body)")
        #expect(answer.body["credential_expires_on"]?.intValue != nil)
        #expect(try await send(good, stranger).body["error_codes"]?[0] == 700_027)
        let changes: [(inout Assertion) -> Void] = [
            { $0.aud = "https://evil.test/adfs/oauth2/token" }, { $0.exp = now - 1 }, { $0.exp = now + 86_400 }, { $0.nbf = now + 3600 },
            { $0.jti = nil }, { $0.iss = "other" }, { $0.sub = "other" },
        ]
        for change in changes {
            var assertion = good
            assertion.jti = "two"
            change(&assertion)
            #expect(try await send(assertion, key).status == 401)
        }
        for _ in 2...32 { #expect(try await send(good, key).status == 200) }
        #expect(try await send(good, key).status == 401)
        // The certificate that is taken away signs in nobody.
        let id = try #require(made.body["id"]?.stringValue)
        #expect(try await world.graph(.patch, "/applications/\(id)", ["keyCredentials": []]).status == 204)
        var fresh = good
        fresh.jti = "three"
        #expect(try await send(fresh, key).status == 401)
        let token = try #require(answer.body["access_token"]?.stringValue)
        #expect(try await world.send(.get, "/subscriptions", text: "", headers: [.authorization: "Bearer \(token)"]).status == 401)
        for key in ["nonsense", Data([1, 2, 3]).base64EncodedString()] {
            let refused = try await world.graph(.patch, "/applications/\(id)", ["keyCredentials": [["key": .string(key)]]])
            #expect(refused.status == 400)
            #expect(refused.target == "keyCredentials[0].key")
        }
    }
}
