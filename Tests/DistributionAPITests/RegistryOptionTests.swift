// What an owner switches on: the admin user, pulling without credentials, a quota.

import HTTPTypes
import Identity
import OCI
import TestSupport
import Testing

@Suite struct RegistryOptionTests {
    private let app = repository("app")

    private struct Tokens: Decodable {
        let accessToken: String
        let refreshToken: String?

        enum CodingKeys: String, CodingKey {
            case accessToken = "access_token"
            case refreshToken = "refresh_token"
        }
    }

    private func token(_ plane: DataPlane, _ scope: String, _ headers: HTTPFields = [:], _ more: String = "") async throws -> Answer {
        try await plane.send(.get, "/oauth2/token?service=harbour.test&scope=\(scope)\(more)", headers: headers)
    }

    @Test("I6 the admin user has two passwords, each replaced by itself; switched off it opens nothing")
    func adminUser() async throws {
        let site = try await Site()
        let plane = try await DataPlane(site, options: .init(isAdminUserEnabled: true))
        try await site.push(TestImage("one"), tags: [tag("v1")], to: self.app)
        let passwords = try await plane.admins.passwords(in: site.registry)
        #expect(passwords.map(\.name) == [.password, .password2])
        #expect(try await plane.admins.passwords(in: site.registry) == passwords)
        for password in passwords {
            for user in ["harbour", "Harbour"] {
                let basic = DataPlane.basic(user, password.value)
                #expect(try await plane.send(.get, "/v2/app/manifests/v1", headers: basic).status == 200)
                #expect(try await plane.send(.get, "/v2/_catalog", headers: basic).status == 200)
                #expect(try await plane.send(.post, "/v2/app/blobs/uploads/", headers: basic, body: []).status == 202)
            }
        }
        #expect(try await plane.send(.get, "/v2/", headers: DataPlane.basic("other", passwords[0].value)).status == 401)
        #expect(try await plane.send(.get, "/v2/", headers: DataPlane.basic("harbour", "")).status == 401)
        #expect(try await plane.send(.get, "/v2/", headers: DataPlane.basic("harbour", passwords[0].value + "x")).status == 401)

        // A refresh token ends with the password it was issued for.
        let basic = DataPlane.basic("harbour", passwords[0].value)
        let tokens = try await self.token(plane, "repository:app:pull,push", basic, "&offline_token=true").decode(Tokens.self)
        #expect(try await plane.send(.get, "/v2/app/manifests/v1", headers: DataPlane.bearer(tokens.accessToken)).status == 200)
        let refresh = DataPlane.basic("00000000-0000-0000-0000-000000000000", try #require(tokens.refreshToken))
        #expect(try await self.token(plane, "repository:app:pull", refresh).status == 200)
        let renewed = try await plane.admins.renew(.password, in: site.registry)
        #expect(try await self.token(plane, "repository:app:pull", refresh).status == 401)
        #expect(try await plane.send(.get, "/v2/", headers: basic).status == 401)
        #expect(try await plane.send(.get, "/v2/", headers: DataPlane.basic("harbour", renewed.value)).status == 200)
        #expect(try await plane.send(.get, "/v2/", headers: DataPlane.basic("harbour", passwords[1].value)).status == 200)

        // The database alone shows no password.
        let stored = try await site.database.read { try $0.rows("SELECT sealed FROM admin_password").map { $0.blob(0) } }
        #expect(stored.count == 2)
        for sealed in stored {
            #expect(sealed.firstRange(of: Array(renewed.value.utf8)) == nil)
            #expect(sealed.firstRange(of: Array(passwords[1].value.utf8)) == nil)
        }
        let off = try await DataPlane(site)
        #expect(try await off.send(.get, "/v2/", headers: DataPlane.basic("harbour", renewed.value)).status == 401)
    }

    @Test("I6 anonymous pull: content of every repository by a token nobody signed in for, and nothing else")
    func anonymous() async throws {
        let site = try await Site()
        let plane = try await DataPlane(site, options: .init(allowsAnonymousPull: true))
        let image = TestImage("one")
        try await site.push(image, tags: [tag("v1")], to: self.app)
        // Clients ask for the challenge first; it stays.
        #expect(try await plane.send(.get, "/v2/").status == 401)
        #expect(try await plane.send(.get, "/v2/app/manifests/v1").status == 401)
        let tokens = try await self.token(plane, "repository:app:pull,push,delete", [:], "&offline_token=true").decode(Tokens.self)
        #expect(tokens.refreshToken == nil)
        let bearer = DataPlane.bearer(tokens.accessToken)
        #expect(try await plane.send(.get, "/v2/", headers: bearer).status == 200)
        #expect(try await plane.send(.get, "/v2/app/manifests/v1", headers: bearer).body == image.manifest.bytes)
        #expect(try await plane.send(.get, "/v2/app/blobs/\(image.layers[0].digest)", headers: bearer).status == 200)
        #expect(try await plane.send(.get, "/v2/app/tags/list", headers: bearer).status == 200)
        #expect(try await plane.send(.get, "/v2/_catalog", headers: bearer).status == 401)
        #expect(try await plane.send(.post, "/v2/app/blobs/uploads/", headers: bearer, body: []).status == 401)
        #expect(try await plane.send(.delete, "/v2/app/manifests/v1", headers: bearer).status == 401)
        let catalog = try await self.token(plane, "registry:catalog:*").decode(Tokens.self)
        #expect(try await plane.send(.get, "/v2/_catalog", headers: DataPlane.bearer(catalog.accessToken)).status == 401)
        // Wrong credentials are not taken for none.
        #expect(try await self.token(plane, "repository:app:pull", DataPlane.basic("harbour", "wrong")).status == 401)
        let off = try await DataPlane(site)
        #expect(try await self.token(off, "repository:app:pull").status == 401)
    }

    @Test("R1 a quota refuses what does not fit, counts shared content once, and has room again after a deletion")
    func quota() async throws {
        let site = try await Site()
        let plane = try await DataPlane(site, options: .init(quota: 1000))
        let admin = try await plane.credentials("admin")
        func push(_ bytes: [UInt8], _ name: String = "app") async throws -> Answer {
            try await plane.send(.post, "/v2/\(name)/blobs/uploads/?digest=\(Digest.of(bytes))", headers: admin, body: bytes)
        }
        let (first, second) = (Fixture.layer(bytes: 600, seed: 1), Fixture.layer(bytes: 500, seed: 2))
        #expect(try await push(first.bytes).status == 201)
        let refused = try await push(second.bytes)
        #expect(refused.status == 403)
        #expect(refused.code == "DENIED")
        #expect(refused.detail == ["quota": "1000", "used": "600", "size": "500"])
        // In two requests, in chunks, and of a length nobody announced.
        for attempt in 0..<3 {
            let location = try await plane.send(.post, "/v2/app/blobs/uploads/", headers: admin, body: []).location
            let refused =
                switch attempt {
                case 0: try await plane.send(.patch, location, headers: admin, body: second.bytes)
                case 1: try await plane.send(.patch, location, headers: admin, parts: Parts([second.bytes]))
                default: try await plane.send(.put, "\(location)?digest=\(second.digest)", headers: admin, body: second.bytes)
                }
            #expect(refused.status == 403)
            // What has no room is gone.
            #expect(try await plane.send(.get, location, headers: admin).code == "BLOB_UPLOAD_UNKNOWN")
        }
        #expect(site.scratch.files(below: "uploads").isEmpty)
        #expect(try await site.store.usage(of: site.registry) == 600)
        // The same content under another name takes no room.
        #expect(
            try await plane.send(.post, "/v2/other/blobs/uploads/?mount=\(first.digest)&from=app", headers: admin, body: []).status == 201)
        #expect(try await site.store.usage(of: site.registry) == 600)
        for name in ["app", "other"] {
            #expect(try await plane.send(.delete, "/v2/\(name)/blobs/\(first.digest)", headers: admin).status == 202)
        }
        #expect(try await push(second.bytes).status == 201)
    }
}
