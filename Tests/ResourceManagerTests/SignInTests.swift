// Cloud metadata, sign-in, bootstrap, and who is let in.

import HTTPServing
import HTTPTypes
import Identity
import JSON
import Persistence
import ResourceManager
import Testing

@Suite struct SignInTests {
    @Test(
        "A1 the cloud's metadata has every member az reads",
        arguments: ["/metadata/endpoints?api-version=2022-09-01", "//metadata/endpoints"])
    func metadata(path: String) async throws {
        let world = try await World()
        let answer = try await world.send(.get, path, text: "", headers: [:])
        #expect(answer.status == 200)
        #expect(answer.body["name"] == "outport")
        #expect(answer.body[path: "authentication", "loginEndpoint"] == "https://localhost:8443/adfs")
        #expect(answer.body[path: "authentication", "audiences"]?[0] == "https://localhost:8443/")
        #expect(answer.body[path: "suffixes", "acrLoginServer"] == "registry.test:8443")
        #expect(answer.body["microsoftGraphResourceId"] == "https://localhost:8443/graph/")
    }

    @Test("A1 a host that is not ours is not written into the metadata")
    func foreignHost() async throws {
        let world = try await World()
        let answer = try await world.send(.get, "/metadata/endpoints", text: "", headers: [:], host: "evil.example")
        #expect(answer.body["resourceManager"] == "https://127.0.0.1:8443")
    }

    @Test("A1 discovery names the token endpoint")
    func discovery() async throws {
        let world = try await World()
        let answer = try await world.send(.get, "/adfs/.well-known/openid-configuration", text: "", headers: [:])
        #expect(answer.body["token_endpoint"] == "https://localhost:8443/adfs/oauth2/token")
        for member in ["issuer", "authorization_endpoint", "device_authorization_endpoint"] { #expect(answer.body[member] != nil) }
    }

    private func form(_ world: World, scope: String, secret: String? = nil) -> String {
        "client_id=\(world.installation.clientID)&grant_type=client_credentials&client_info=1&client_secret=\(secret ?? world.secret)"
            + "&claims=%7B%22access_token%22%3A%7B%7D%7D&\(scope)"
    }

    @Test(
        "A1 the scope decides the kind of token",
        arguments: [
            ("scope=https%3A%2F%2Flocalhost%3A8443%2F%2F.default", TokenKind.management),
            ("scope=https://localhost:8443/.default", .management),
            ("scope=https://localhost:8443////.default", .management), ("resource=https://localhost:8443/", .management),
            ("scope=https://localhost:8443/graph//.default", .directory),
            ("scope=https://containerregistry.azure.net/.default", .management),
        ])
    func kinds(scope: String, kind: TokenKind) async throws {
        let world = try await World()
        let answer = try await world.send(.post, "/adfs/oauth2/token", text: self.form(world, scope: scope), headers: [:])
        #expect(answer.status == 200)
        #expect(answer.body["expires_in"] == 3600)
        #expect(answer.body["token_type"] == "Bearer")
        #expect(answer.headers[.cacheControl] == "no-store")
        let token = try #require(answer.body["access_token"]?.stringValue)
        let verified = try await world.services.authority.verify(token, as: [kind], audience: nil)
        #expect(verified.kind == kind)
        if scope.contains("containerregistry") { #expect(verified.audience == "https://containerregistry.azure.net") }
    }

    @Test(
        "A1 a sign-in that fails says why in the form az understands",
        arguments: [
            (
                "client_id=x&client_secret=y&grant_type=client_credentials&scope=https://localhost:8443/.default", 401, "invalid_client",
                7_000_215
            ),
            ("client_id=x&grant_type=client_credentials&scope=https://localhost:8443/.default", 401, "invalid_client", 7_000_216),
            ("client_secret=y&grant_type=client_credentials&scope=https://localhost:8443/.default", 400, "invalid_request", 900_144),
            ("client_id=x&client_secret=y&grant_type=implicit", 400, "unsupported_grant_type", 70_003),
            (
                "client_id=x&grant_type=password&username=nobody@x&password=y&scope=https://localhost:8443/.default", 400, "invalid_grant",
                50_126
            ),
            ("client_id=x&grant_type=password&username=nobody@x&scope=https://localhost:8443/.default", 400, "invalid_request", 900_144),
            ("client_id=x&grant_type=refresh_token&refresh_token=y&scope=https://localhost:8443/.default", 400, "invalid_grant", 700_082),
            (
                "client_id=x&grant_type=urn:ietf:params:oauth:grant-type:device_code&device_code=y", 400, "expired_token",
                70_020
            ),
            (
                "client_id=x&grant_type=authorization_code&code=y&redirect_uri=http://localhost:1&code_verifier=z", 400, "invalid_grant",
                70_008
            ),
            (
                "client_id=x&grant_type=client_credentials&client_assertion=y&scope=https://localhost:8443/.default", 400,
                "invalid_request", 50_027
            ),
            ("client_id=x&client_secret=y&grant_type=client_credentials", 400, "invalid_request", 900_144),
            (
                "client_id=x&client_secret=y&grant_type=client_credentials&scope=https://evil.example/.default", 400, "invalid_resource",
                500_011
            ),
            ("client_id=x&client_secret=y&grant_type=client_credentials&scope=a/.default%20b/.default", 400, "invalid_scope", 70_011),
            ("", 400, "invalid_request", 900_144),
        ])
    func refusals(form: String, status: Int, error: String, number: Int) async throws {
        let world = try await World()
        let answer = try await world.send(.post, "/adfs/oauth2/token", text: form, headers: [:])
        #expect(answer.status == status)
        #expect(answer.body["error"]?.stringValue == error)
        #expect(answer.body["error_codes"]?[0]?.intValue == number)
        #expect(answer.body["error_description"]?.stringValue?.hasPrefix("AADSTS\(number): ") == true)
        #expect(answer.headers[.retryAfter] == nil)
    }

    @Test("I1 a reset gives a new secret and the old one is gone")
    func reset() async throws {
        let world = try await World()
        #expect(try await world.bootstrap.load() == world.installation)
        await #expect(throws: ResourceError.self) { _ = try await world.bootstrap.create { _, _ in } }
        let (installation, secret) = try await world.bootstrap.resetSecret()
        #expect(installation == world.installation)
        let scope = "scope=https://localhost:8443/.default"
        #expect(try await world.send(.post, "/adfs/oauth2/token", text: self.form(world, scope: scope), headers: [:]).status == 401)
        #expect(
            try await world.send(.post, "/adfs/oauth2/token", text: self.form(world, scope: scope, secret: secret), headers: [:]).status
                == 200)
    }

    @Test("I8 a call without a management token of ours is refused before anything else")
    func unauthenticated() async throws {
        let world = try await World()
        let missing = try await world.send(.get, "/subscriptions/nonsense", text: "", headers: [:])
        #expect(missing.status == 401)
        #expect(missing.code == "AuthenticationFailed")
        #expect(missing.headers[.wwwAuthenticate]?.hasPrefix("Bearer ") == true)
        let principal = try #require(try await world.services.directory.administrator())
        let directory = try await world.services.authority.issue(.directory, subject: .servicePrincipal(principal.objectID), audience: "x")
            .token
        let registry = try await world.services.authority.issue(
            .management, subject: .servicePrincipal(principal.objectID), audience: ResourceManagerHandler.registryAudience
        ).token
        let stranger = try await world.services.authority.issue(.management, subject: .servicePrincipal("nobody"), audience: "x").token
        let token = try await world.services.authority.issue(.management, subject: .token("client"), audience: "x").token
        for (text, code) in [
            ("nonsense", "InvalidAuthenticationToken"), (directory, "InvalidAuthenticationToken"),
            (registry, "InvalidAuthenticationTokenAudience"),
            (stranger, "InvalidAuthenticationToken"), (token, "InvalidAuthenticationToken"),
        ] {
            let answer = try await world.send(.get, "/subscriptions", text: "", headers: [.authorization: "Bearer \(text)"])
            #expect(answer.status == 401)
            #expect(answer.code == code)
        }
        world.clock.advance(seconds: 3601)
        #expect(try await world.send(.get, "/subscriptions").status == 401)
    }

    @Test("I8 a principal without a role is refused with 403")
    func withoutRole() async throws {
        let world = try await World()
        let stranger = ServicePrincipal(objectID: "o", appID: "a", displayName: "ci", isDirectoryAdministrator: false)
        try await world.services.directory.create(stranger)
        let token = try await world.services.authority.issue(.management, subject: .servicePrincipal("o"), audience: "x").token
        let headers: HTTPFields = [.authorization: "Bearer \(token)"]
        let answer = try await world.send(.put, world.group, text: #"{"location":"eastus"}"#, headers: headers)
        #expect(answer.status == 403)
        #expect(answer.code == "AuthorizationFailed")
        #expect(try await world.send(.get, world.group).status == 404)
        #expect(try await world.send(.get, "/subscriptions", text: "", headers: headers).values == [])
    }

    @Test("other paths are left to other handlers", arguments: ["/v2/", "/oauth2/token", "/acr/v1/_catalog", "/", "/subscription"])
    func otherPaths(path: String) async throws {
        let world = try await World()
        let request = ServerRequest(
            method: .get, path: path, headers: [:], host: nil, body: .init(buffer: .init()), isSecure: true, remoteAddress: "-",
            correlationID: "c",
            logger: .init(label: "test"))
        let response = try await world.handler.respond(to: request)
        #expect(response == nil)
    }
}
