// Challenges, the token endpoint, and who may do what on the data plane.

import HTTPTypes
import Identity
import OCI
import TestSupport
import Testing

private struct Tokens: Decodable {
    let accessToken: String
    let token: String
    let refreshToken: String?
    let expiresIn: Int
    let tokenType: String

    enum CodingKeys: String, CodingKey {
        case accessToken = "access_token"
        case token
        case refreshToken = "refresh_token"
        case expiresIn = "expires_in"
        case tokenType = "token_type"
    }
}

@Suite struct Spec11SignInTests {
    private let app = repository("app")

    private func server() async throws -> DataPlane { try await DataPlane(Site()) }

    private func form(_ items: [(String, String)]) -> [UInt8] {
        Array(items.map { "\($0.0)=\(PercentTest.encode($0.1))" }.joined(separator: "&").utf8)
    }

    private func access(_ token: String, _ server: DataPlane) async throws -> [AccessEntry] {
        try await server.authority.verify(token, as: [.registryAccess], audience: server.audience).access
    }

    @Test("I5 the challenge names realm, service and scope, without a blank after the commas")
    func challenge() async throws {
        let server = try await self.server()
        for (method, path, scope) in [
            (HTTPRequest.Method.get, "/v2/team/app/manifests/v1", "repository:team/app:pull"),
            (.head, "/v2/app/blobs/\(Digest.of([]))", "repository:app:pull"),
            (.get, "/v2/app/tags/list", "repository:app:pull"), (.put, "/v2/app/manifests/v1", "repository:app:pull,push"),
            (.post, "/v2/app/blobs/uploads/", "repository:app:pull,push"), (.delete, "/v2/app/manifests/v1", "repository:app:delete"),
            (.get, "/v2/_catalog", "registry:catalog:*"),
        ] {
            let answer = try await server.send(method, path, body: [])
            #expect(answer.status == 401)
            #expect(
                answer.header("WWW-Authenticate")
                    == "Bearer realm=\"https://harbour.test/oauth2/token\",service=\"harbour.test\",scope=\"\(scope)\"")
        }
        let plain = try await server.send(.get, "/v2/", host: "127.0.0.1:8443", isSecure: false)
        #expect(plain.header("WWW-Authenticate") == "Bearer realm=\"http://127.0.0.1:8443/oauth2/token\",service=\"127.0.0.1:8443\"")
    }

    @Test("I5 a token grants what was asked for and what the map permits, and no more", arguments: ["GET", "POST"])
    func grants(method: String) async throws {
        let server = try await self.server()
        let password = try await server.client(
            "client",
            actions: [
                "repositories/app/content/read", "repositories/app/content/write", "repositories/other/content/read",
                "repositories/app/metadata/read",
            ])
        let scopes = [
            "repository:app:pull,push,delete", "repository:other:push", "repository:other:pull", "repository:secret:pull",
            "repository:../x:pull", "registry:catalog:*",
        ]
        let answer: Answer
        if method == "GET" {
            answer = try await server.send(
                .get, "/oauth2/token?service=harbour.test&" + scopes.map { "scope=\(PercentTest.encode($0))" }.joined(separator: "&"),
                headers: DataPlane.basic("client", password))
        } else {
            answer = try await server.send(
                .post, "/oauth2/token",
                body: self.form([
                    ("grant_type", "password"), ("username", "client"), ("password", password), ("scope", scopes.joined(separator: " ")),
                ]))
        }
        #expect(answer.status == 200)
        #expect(answer.header("Cache-Control") == "no-store")
        let tokens = try answer.decode(Tokens.self)
        #expect(tokens.accessToken == tokens.token)
        #expect(tokens.refreshToken == nil)
        #expect(tokens.expiresIn == 300)
        #expect(
            try await self.access(tokens.token, server) == [
                AccessEntry(type: "repository", name: "app", actions: ["pull", "push"]),
                AccessEntry(type: "repository", name: "other", actions: ["pull"]),
                AccessEntry(type: "registry", name: "catalog", actions: ["*"]),
            ])
    }

    @Test("I1 token × repository × verb on the wire", arguments: RepositoryPermission.allCases)
    func matrix(permission: RepositoryPermission) async throws {
        let server = try await self.server()
        let image = TestImage("one")
        for name in ["app", "other"] { try await server.site.push(image, tags: [tag("v1")], to: repository(name)) }
        let credentials = try await server.credentials("client", actions: ["repositories/app/\(permission.rawValue)"])
        let verbs: [(RepositoryPermission, HTTPRequest.Method, String)] = [
            (.contentRead, .get, "manifests/v1"), (.contentRead, .get, "blobs/\(image.config.digest)"), (.contentRead, .get, "tags/list"),
            (.contentRead, .get, "referrers/\(image.manifest.digest)"), (.contentWrite, .post, "blobs/uploads/"),
            (.contentWrite, .put, "manifests/v2"),
            (.contentDelete, .delete, "manifests/v1"), (.contentDelete, .delete, "blobs/\(image.config.digest)"),
        ]
        for name in ["app", "other"] {
            for (needed, method, path) in verbs {
                let answer = try await server.send(
                    method, "/v2/\(name)/\(path)", headers: credentials,
                    body: method == .put ? image.manifest.bytes : method == .get ? nil : [])
                let isAllowed = name == "app" && needed == permission
                if isAllowed {
                    #expect(answer.status < 300 || answer.status == 405, "\(method) \(path): \(answer.status) \(answer.text)")
                } else {
                    #expect(answer.status == 401)
                    #expect(answer.code == "DENIED")
                    #expect(answer.header("WWW-Authenticate")?.contains("error=\"insufficient_scope\"") == true)
                }
            }
        }
    }

    @Test("I5 a bearer token covers what it lists and nothing besides")
    func bearer() async throws {
        let server = try await self.server()
        let image = TestImage("one")
        for name in ["app", "other"] { try await server.site.push(image, tags: [tag("v1")], to: repository(name)) }
        let credentials = try await server.credentials("client")
        let tokens = try await server.send(.get, "/oauth2/token?scope=repository:app:pull", headers: credentials).decode(Tokens.self)
        let bearer = DataPlane.bearer(tokens.token)
        #expect(try await server.send(.get, "/v2/app/manifests/v1", headers: bearer).status == 200)
        #expect(try await server.send(.get, "/v2/other/manifests/v1", headers: bearer).status == 401)
        #expect(try await server.send(.delete, "/v2/app/manifests/v1", headers: bearer).status == 401)
        #expect(try await server.send(.get, "/v2/", headers: bearer).status == 200)
        server.site.clock.advance(seconds: 300)
        let expired = try await server.send(.get, "/v2/app/manifests/v1", headers: bearer)
        #expect(expired.status == 401)
        #expect(expired.header("WWW-Authenticate")?.contains("error=\"invalid_token\"") == true)
        #expect(expired.message?.contains("expired") == true)
    }

    @Test("R3 a bearer token for the catalog shows what its subject may read")
    func bearerCatalog() async throws {
        let server = try await self.server()
        for name in ["app", "other"] { try await server.site.put(Fixture.index([]), to: repository(name)) }
        let credentials = try await server.credentials("client", actions: ["repositories/app/content/read"])
        let tokens = try await server.send(.get, "/oauth2/token?scope=registry:catalog:*", headers: credentials).decode(Tokens.self)
        let answer = try await server.send(.get, "/v2/_catalog", headers: DataPlane.bearer(tokens.token))
        #expect(try answer.decode(Catalog.self).repositories == ["app"])
    }

    @Test("I5 tokens of another kind, of another registry, garbled or foreign are 401")
    func badTokens() async throws {
        let server = try await self.server()
        let subject = Subject.token("client")
        _ = try await server.client("client")
        let access = [AccessEntry(type: "repository", name: "app", actions: ["pull"])]
        var bad = ["", "x", "a.b.c"]
        bad.append(try await server.authority.issue(.registryAccess, subject: subject, audience: "registry/other", access: access).token)
        for kind in TokenKind.allCases where kind != .registryAccess && kind != .sync {
            bad.append(try await server.authority.issue(kind, subject: subject, audience: server.audience, access: access).token)
        }
        bad.append(
            try await DataPlane(Site()).authority.issue(.registryAccess, subject: subject, audience: server.audience, access: access).token)
        for token in bad {
            let answer = try await server.send(.get, "/v2/app/manifests/v1", headers: DataPlane.bearer(token))
            #expect(answer.status == 401)
            #expect(answer.code == "UNAUTHORIZED")
        }
    }

    @Test("I5 wrong credentials are 401 with one sentence, at the registry and at the token endpoint")
    func wrongCredentials() async throws {
        let server = try await self.server()
        let password = try await server.client("client")
        var sentences: Set<String> = []
        for (user, secret) in [("client", "wrong"), ("nobody", password), ("client", ""), ("", "")] {
            for path in ["/v2/", "/oauth2/token?scope=repository:app:pull"] {
                let answer = try await server.send(.get, path, headers: DataPlane.basic(user, secret))
                #expect(answer.status == 401)
                sentences.insert(answer.message ?? "")
            }
        }
        #expect(sentences.count == 1)
        try await server.site.identities.putToken("client", scopeMap: "_repositories_admin", isEnabled: false, in: server.site.registry)
        #expect(try await server.send(.get, "/v2/", headers: DataPlane.basic("client", password)).status == 401)
        for headers in [HTTPFields(), [.authorization: "Basic !!!"], [.authorization: "Basic"], [.authorization: "Negotiate x"]] {
            #expect(try await server.send(.get, "/oauth2/token", headers: headers).status == 401)
        }
        for body in ["", "grant_type=password", "grant_type=refresh_token", "grant_type=magic&username=client&password=x"] {
            #expect(try await server.send(.post, "/oauth2/token", body: Array(body.utf8)).status == 401)
        }
        #expect(try await server.send(.put, "/oauth2/token").status == 405)
        #expect(try await server.send(.post, "/oauth2/token", body: [UInt8](repeating: 0x61, count: 65_537)).status == 413)
    }

    @Test("I5 a malformed scope is 400")
    func badScope() async throws {
        let server = try await self.server()
        let credentials = try await server.credentials("client")
        for scope in ["nonsense", "repository:app", Array(repeating: "repository:a:pull", count: 65).joined(separator: "%20")] {
            #expect(try await server.send(.get, "/oauth2/token?scope=\(scope)", headers: credentials).status == 400)
        }
    }

    @Test("I5 a token that is issued is taken, with as many scopes as there may be; one that would not be is refused at once")
    func longTokens() async throws {
        let server = try await self.server()
        let password = try await server.client("client")
        func ask(_ length: Int) async throws -> Answer {
            let scopes = (0..<64).map { "repository:\(String(repeating: "r", count: length - 3))/\(10 + $0):pull,push" }
            return try await server.send(
                .post, "/oauth2/token",
                body: self.form([
                    ("grant_type", "password"), ("username", "client"), ("password", password), ("scope", scopes.joined(separator: " ")),
                ]))
        }
        for length in [20, 60] {
            let token = try (try await ask(length)).decode(Tokens.self).accessToken
            #expect(try await self.access(token, server).count == 64)
            let path = "/v2/\(String(repeating: "r", count: length - 3))/73/tags/list"
            // The repository is not there, and that may be told.
            #expect(try await server.send(.get, path, headers: DataPlane.bearer(token)).status == 404)
        }
        let refused = try await ask(200)
        #expect(refused.status == 400)
        #expect(refused.message?.contains("ask for fewer scopes at a time") == true)
        // Whatever the length, one or the other.
        for length in stride(from: 70, to: 110, by: 3) {
            let answer = try await ask(length)
            guard answer.status != 400 else { continue }
            #expect(try await self.access(try answer.decode(Tokens.self).accessToken, server).count == 64)
        }
    }

    @Test("I5 a refresh token is redeemed, as grant and as password, until its subject is disabled")
    func refresh() async throws {
        let server = try await self.server()
        let password = try await server.client("client", actions: ["repositories/app/content/read"])
        let first = try await server.send(
            .post, "/oauth2/token",
            body: self.form([
                ("grant_type", "password"), ("username", "client"), ("password", password), ("access_type", "offline"),
                ("scope", "repository:app:pull"),
            ])
        ).decode(Tokens.self)
        let refresh = try #require(first.refreshToken)
        func redeem() async throws -> Answer {
            try await server.send(
                .post, "/oauth2/token",
                body: self.form([("grant_type", "refresh_token"), ("refresh_token", refresh), ("scope", "repository:app:pull,push")]))
        }
        #expect(try await self.access(redeem().decode(Tokens.self).token, server).first?.actions == ["pull"])
        let user = "00000000-0000-0000-0000-000000000000"
        #expect(
            try await server.send(.get, "/oauth2/token?scope=repository:app:pull", headers: DataPlane.basic(user, refresh)).status == 200)
        #expect(try await server.send(.get, "/v2/app/tags/list", headers: DataPlane.basic(user, first.token)).status == 401)
        #expect(try await server.send(.get, "/v2/app/tags/list", headers: DataPlane.bearer(refresh)).status == 401)
        try await server.site.identities.putToken("client", scopeMap: "map-client", isEnabled: false, in: server.site.registry)
        #expect(try await redeem().status == 401)
    }

    @Test("I5 a refresh token ends with the password it was issued for, and does not prolong itself")
    func refreshEnds() async throws {
        let server = try await self.server()
        let password = try await server.client("client", actions: ["repositories/app/content/read"])
        let first = try await server.send(
            .post, "/oauth2/token",
            body: self.form([("grant_type", "password"), ("username", "client"), ("password", password), ("access_type", "offline")])
        ).decode(Tokens.self)
        let refresh = try #require(first.refreshToken)
        func redeem() async throws -> Answer {
            try await server.send(
                .post, "/oauth2/token",
                body: self.form([("grant_type", "refresh_token"), ("refresh_token", refresh), ("access_type", "offline")]))
        }
        let again = try await redeem().decode(Tokens.self)
        #expect(again.refreshToken == nil)
        // The other slot is another password.
        _ = try await server.site.identities.generatePasswords(
            [.password2], expiry: nil, token: "client", in: server.site.registry)
        #expect(try await redeem().status == 200)
        server.site.clock.advance(seconds: 1)
        _ = try await server.site.identities.generatePasswords(
            [.password1], expiry: nil, token: "client", in: server.site.registry)
        #expect(try await redeem().status == 401)
    }

    @Test("I8 a service principal that is no administrator has no access, the administrator all")
    func principals() async throws {
        let server = try await self.server()
        try await server.site.push(TestImage("one"), tags: [tag("v1")], to: self.app)
        for (name, isAdministrator) in [("owner", true), ("reader", false)] {
            let principal = ServicePrincipal(
                objectID: "o-\(name)", appID: "a-\(name)", displayName: name, isDirectoryAdministrator: isAdministrator)
            try await server.directory.create(principal)
            try await server.directory.replaceSecrets(of: principal, with: "secret-\(name)", keyID: "k-\(name)", expiry: nil)
            let answer = try await server.send(.get, "/v2/app/manifests/v1", headers: DataPlane.basic("a-\(name)", "secret-\(name)"))
            #expect(answer.status == (isAdministrator ? 200 : 401))
        }
    }

    @Test("C6 a sync token without a current lease may not write")
    func syncLease() async throws {
        let server = try await self.server()
        _ = try await server.client("site1-sync", actions: ["repositories/*/content/read", "repositories/*/content/write"])
        try await server.site.push(TestImage("one"), tags: [tag("v1")], to: self.app)
        for lease in [
            SyncLease(connectedRegistry: "site1", instance: nil, epoch: nil),
            SyncLease(connectedRegistry: "site1", instance: "i", epoch: 1),
        ] {
            let token = try await server.authority.issue(.sync, subject: .token("site1-sync"), audience: server.audience, lease: lease)
                .token
            #expect(try await server.send(.get, "/v2/app/manifests/v1", headers: DataPlane.bearer(token)).status == 200)
            let write = try await server.send(.post, "/v2/app/blobs/uploads/", headers: DataPlane.bearer(token), body: [])
            #expect(write.status == 403)
            #expect(write.code == "DENIED")
        }
        try await server.site.identities.deleteToken("site1-sync", in: server.site.registry)
        let orphan = try await server.authority.issue(
            .sync, subject: .token("site1-sync"), audience: server.audience,
            lease: SyncLease(connectedRegistry: "site1", instance: nil, epoch: nil)
        ).token
        #expect(try await server.send(.get, "/v2/app/manifests/v1", headers: DataPlane.bearer(orphan)).status == 401)
    }
}
