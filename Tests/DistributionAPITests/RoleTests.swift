// Registry sign-in by role: docker's token flow and the exchange of a directory token.

import HTTPTypes
import Identity
import TestSupport
import Testing

@Suite struct RegistryRoleTests {
    private static let scope = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerRegistry/registries/harbour"

    private func server() async throws -> DataPlane { try await DataPlane(try await Site(), scope: Self.scope) }

    private struct Tokens: Decodable {
        let accessToken: String
        enum CodingKeys: String, CodingKey { case accessToken = "access_token" }
    }
    private struct Exchanged: Decodable {
        let refreshToken: String
        enum CodingKeys: String, CodingKey { case refreshToken = "refresh_token" }
    }

    /// A principal with a secret.
    private func principal(_ server: DataPlane, _ name: String) async throws -> (principal: ServicePrincipal, secret: String) {
        let application = try await server.directory.createApplication(name, owner: nil)
        let principal = try await server.directory.createServicePrincipal(appID: application.appID, isEnabled: true, owner: nil)
        return (principal, try await server.directory.addSecret(to: principal.objectID, displayName: nil, start: nil, expiry: nil).secret)
    }

    private func assign(_ server: DataPlane, _ role: String, _ object: String, at scope: String = Self.scope) async throws -> String {
        let role = try #require(RoleDefinition.all.first { $0.name == role })
        return try await server.directory.roles.assign(
            role, to: object, at: scope, name: Directory.identifier(), text: nil, by: "test"
        ).assignment.name
    }

    /// The actions that a token of the principal has in a repository.
    private func actions(_ server: DataPlane, _ user: String, _ password: String) async throws -> Set<String> {
        let answer = try await server.send(
            .get, "/oauth2/token?service=x&scope=repository:app:pull,push,delete,metadata_read,metadata_write",
            headers: DataPlane.basic(user, password))
        let token = try await server.authority.verify(
            answer.decode(Tokens.self).accessToken, as: [.registryAccess], audience: server.audience)
        return Set(token.access.first?.actions ?? [])
    }

    @Test(
        "I4 what each role opens, at the registry and from above",
        arguments: [
            ("AcrPull", ["pull", "metadata_read"]), ("AcrPush", ["pull", "push", "metadata_read"]), ("AcrDelete", ["delete"]),
            ("Reader", ["pull", "metadata_read"]), ("Contributor", ["pull", "push", "delete", "metadata_read", "metadata_write"]),
            ("Owner", ["pull", "push", "delete", "metadata_read", "metadata_write"]),
        ], [scope, "/subscriptions/S", "/"])
    func roles(role: (String, [String]), at place: String) async throws {
        let server = try await self.server()
        let (principal, secret) = try await self.principal(server, "ci")
        #expect(try await self.actions(server, principal.appID, secret) == [])
        let name = try await self.assign(server, role.0, principal.objectID, at: place)
        #expect(try await self.actions(server, principal.appID, secret) == Set(role.1))
        #expect(try await server.directory.roles.remove(name))
        #expect(try await self.actions(server, principal.appID, secret) == [])
    }

    @Test("I4 a role at another registry, or at one whose name begins alike, opens nothing here")
    func elsewhere() async throws {
        let server = try await self.server()
        let (principal, secret) = try await self.principal(server, "ci")
        for place in [Self.scope + "2", String(Self.scope.dropLast()), "/subscriptions/s2", "/subscriptions/s/resourceGroups/g2"] {
            _ = try await self.assign(server, "Owner", principal.objectID, at: place)
        }
        #expect(try await self.actions(server, principal.appID, secret) == [])
    }

    @Test("I7 groups count at the next token request")
    func groups() async throws {
        let server = try await self.server()
        let (principal, secret) = try await self.principal(server, "ci")
        let group = try await server.directory.createGroup("g", mailNickname: "g", text: nil, owner: nil)
        _ = try await self.assign(server, "AcrPull", group.objectID)
        #expect(try await self.actions(server, principal.appID, secret) == [])
        try await server.directory.addMember(principal.objectID, to: group.objectID)
        #expect(try await self.actions(server, principal.appID, secret) == ["pull", "metadata_read"])
        try await server.directory.removeMember(principal.objectID, from: group.objectID)
        #expect(try await self.actions(server, principal.appID, secret) == [])
    }

    @Test("I5 a directory token is exchanged for a refresh token, which docker shows under the zero user and which ends with its sign-in")
    func exchange() async throws {
        let server = try await self.server()
        let (principal, secret) = try await self.principal(server, "ci")
        func exchange(_ token: String, grant: String = "access_token") async throws -> Answer {
            try await server.send(
                .post, "/oauth2/exchange", body: Array("grant_type=\(grant)&service=x&tenant=t&access_token=\(token)".utf8))
        }
        let credential = try #require(try await server.directory.authenticate(appID: principal.appID, secret: secret)).credential
        let token = try await server.authority.issue(
            .management, subject: .servicePrincipal(principal.objectID), audience: "https://containerregistry.azure.net",
            credential: credential
        ).token
        // Without a role there is nothing to have.
        #expect(try await exchange(token).status == 403)
        let name = try await self.assign(server, "AcrPull", principal.objectID)
        let refresh = try await exchange(token).decode(Exchanged.self).refreshToken
        #expect(try await exchange(token, grant: "access_token_refresh_token").status == 200)
        #expect(try await exchange(token, grant: "password").status == 400)
        #expect(try await exchange("nonsense").status == 401)
        let zero = "00000000-0000-0000-0000-000000000000"
        #expect(try await self.actions(server, zero, refresh) == ["pull", "metadata_read"])
        let form = try await server.send(
            .post, "/oauth2/token",
            body: Array("grant_type=refresh_token&service=x&scope=repository:app:pull&refresh_token=\(refresh)".utf8))
        #expect(form.status == 200)
        // Tokens of other kinds are none to exchange.
        for kind in [TokenKind.directory, .signInRefresh, .identity, .registryRefresh] {
            let other = try await server.authority.issue(
                kind, subject: .servicePrincipal(principal.objectID), audience: "x", credential: credential
            ).token
            #expect(try await exchange(other).status == 401)
        }
        #expect(try await server.directory.roles.remove(name))
        #expect(try await self.actions(server, zero, refresh) == [])
        try await server.directory.revoke(principal.objectID)
        #expect(try await exchange(token).status == 401)
        let ended = try await server.send(.get, "/oauth2/token?service=x", headers: DataPlane.basic(zero, refresh))
        #expect(ended.status == 401)
        #expect(try await server.send(.get, "/oauth2/exchange").status == 405)
    }

    @Test("I8 a disabled principal has no access, not even a directory administrator")
    func disabled() async throws {
        let server = try await self.server()
        let administrator = ServicePrincipal(objectID: "o", appID: "a", displayName: "root", isDirectoryAdministrator: true)
        try await server.directory.create(administrator)
        let (principal, secret) = try await self.principal(server, "ci")
        _ = try await self.assign(server, "Owner", principal.objectID)
        try await server.directory.setEnabled(false, servicePrincipal: principal.objectID)
        let refused = try await server.send(.get, "/oauth2/token?service=x", headers: DataPlane.basic(principal.appID, secret))
        #expect(refused.status == 401)
        await #expect(throws: IdentityError.self) { try await server.directory.setEnabled(false, servicePrincipal: "o") }
    }
}
