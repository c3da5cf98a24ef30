// Proves the calls of the sync protocol as a child makes them: who is let in, what is told, and what wakes a long poll.

import Gateway
import GatewayProtocol
import HTTPTypes
import Identity
import OCI
import TestSupport
import Testing

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

private struct Tokens: Decodable {
    let accessToken: String

    enum CodingKeys: String, CodingKey {
        case accessToken = "access_token"
    }
}

@Suite struct GatewayHandlerTests {
    /// A server with an active connected registry `site1` and its credentials.
    private struct World: Sendable {
        let server: DataPlane
        let password: String
        let bearer: HTTPFields
        let nonce: String

        init(repositories: [String] = ["*"], clientTokens: [String] = []) async throws {
            self.server = try await DataPlane(Site())
            for token in clientTokens { _ = try await self.server.client(token) }
            self.password = try await self.server.connectedRegistry("site1", repositories: repositories, clientTokens: clientTokens)
            let first = try await Self.token(self.server, self.password)
            let body = ActivateRequest(
                instanceId: "instance-1", nonce: nil, version: "test", loginServer: "child.test", caPin: nil, gatewayAddress: nil)
            let answer = try await self.server.send(
                .post, "/gateway/v1/site1/activate", headers: DataPlane.bearer(first), body: [UInt8](try JSONEncoder().encode(body)))
            let activation = try answer.decode(ActivateResponse.self)
            self.nonce = activation.nonce
            self.bearer = DataPlane.bearer(
                try await Self.token(self.server, self.password, instance: "instance-1", epoch: activation.epoch))
        }

        static func token(_ server: DataPlane, _ password: String, instance: String? = nil, epoch: Int64? = nil) async throws -> String {
            var form = "grant_type=password&username=site1-sync&password=\(password)&scope=\(GatewayScope.text("site1"))"
            if let instance, let epoch { form += "&instance=\(instance)&epoch=\(epoch)" }
            return try await server.send(.post, "/oauth2/token", body: Array(form.utf8)).decode(Tokens.self).accessToken
        }

        func get(_ target: String) async throws -> Answer {
            try await self.server.send(.get, "/gateway/v1/site1/\(target)", headers: self.bearer)
        }

        func changes(after sequence: Int64, wait: Int = 0, settings: String? = nil) async throws -> ChangesPage {
            let log = try await self.server.site.store.head().log
            let tag = settings.map { "&settings=\(PercentEncoding.encode($0))" } ?? ""
            return try await self.get("changes?log=\(log)&after=\(sequence)&wait=\(wait)\(tag)").decode(ChangesPage.self)
        }
    }

    private func code(_ answer: Answer) -> String? { try? answer.decode(GatewayErrorBody.self).error.code }

    @Test("C6 the sync token serves the gateway alone: not /v2, and no token without a lease")
    func syncTokenElsewhere() async throws {
        let world = try await World()
        let credentials = DataPlane.basic("site1-sync", world.password)
        #expect(try await world.server.send(.get, "/v2/", headers: credentials).status == 401)
        let refused = try await world.server.send(.get, "/oauth2/token?scope=repository:app:pull", headers: credentials)
        #expect(refused.status == 401)
        #expect(refused.message?.contains("sync token") == true)
        // With its lease it reads content.
        #expect(try await world.server.send(.get, "/v2/", headers: world.bearer).status == 200)
    }

    @Test("C6 every call needs a sync token with the current lease and the permission of the scope map")
    func admission() async throws {
        let world = try await World()
        let server = world.server
        let calls: [(HTTPRequest.Method, String)] = [
            (.post, "activate"), (.get, "settings"), (.get, "changes?log=x&after=0"), (.get, "state"), (.get, "state/app"),
            (.post, "status"), (.post, "deactivate"),
        ]
        let unleased = DataPlane.bearer(try await World.token(server, world.password))
        let client = try await server.authority.issue(.registryAccess, subject: .token("site1-sync"), audience: server.audience).token
        let elsewhere = try await server.authority.issue(
            .sync, subject: .token("site1-sync"), audience: "registry/other",
            lease: SyncLease(connectedRegistry: "site1", instance: "instance-1", epoch: 1)
        ).token
        for (method, call) in calls {
            let path = "/gateway/v1/site1/\(call)"
            #expect(try await server.send(method, path, body: []).status == 401)
            // A heartbeat takes the password, with the activation: see `HeartbeatTests`.
            let basic = try await server.send(method, path, headers: DataPlane.basic("site1-sync", world.password), body: [])
            #expect(basic.status == (call == "status" ? 400 : 401))
            for token in [client, elsewhere] {
                #expect(try await server.send(method, path, headers: DataPlane.bearer(token), body: []).status == 401)
            }
            #expect(try await self.code(server.send(method, "/gateway/v1/site2/\(call)", headers: world.bearer, body: [])) == "DENIED")
            if call != "activate" {
                let answer = try await server.send(method, path, headers: unleased, body: [])
                // Not refused for good: a child that is active asks for a token with its lease.
                #expect(answer.status == 401)
                #expect(self.code(answer) == "UNAUTHORIZED")
            }
        }
        try await server.select(["*"], for: "site1", gatewayActions: [])
        for (method, call) in calls {
            let answer = try await server.send(method, "/gateway/v1/site1/\(call)", headers: world.bearer, body: [])
            #expect(answer.status == 403)
            #expect(self.code(answer) == "DENIED")
        }
        try await server.select(["*"], for: "site1")
        try await server.connectedRegistries.deactivate("site1", in: server.site.registry)
        for (method, call) in calls.dropFirst() {
            let answer = try await server.send(method, "/gateway/v1/site1/\(call)", headers: world.bearer, body: [])
            #expect(answer.status == 403)
            #expect(self.code(answer) == "DEACTIVATED")
        }
        #expect(try await world.get("unknown").status == 404)
        #expect(try await server.send(.get, "/gateway/v1/", headers: world.bearer).status == 404)
    }

    @Test("C6 a parent that was put back to before the activation asks its child to activate again, and does not end it")
    func activationUnknown() async throws {
        let world = try await World()
        // As the database was before.
        _ = try await world.server.site.database.write { session in
            try session.execute("UPDATE connected_registry SET instance = NULL, epoch = 0, nonce = NULL, offered_nonce = NULL")
        }
        world.server.connectedRegistries.settingsChanged()
        for call in ["settings", "state", "changes?log=x&after=0"] {
            let answer = try await world.get(call)
            #expect(answer.status == 401)
            #expect(self.code(answer) == "UNAUTHORIZED")
        }
        // Once an operator has deactivated somebody the word is final.
        _ = try await world.server.site.database.write { try $0.execute("UPDATE connected_registry SET deactivations = 1") }
        world.server.connectedRegistries.settingsChanged()
        #expect(try await self.code(world.get("settings")) == "DEACTIVATED")
    }

    @Test("C18 a sync token that is disabled or deleted, and a connected registry that is gone, say so")
    func disabled() async throws {
        let world = try await World()
        let (identities, registry) = (world.server.site.identities, world.server.site.registry)
        try await identities.putToken("site1-sync", scopeMap: "map-site1", isEnabled: false, in: registry)
        #expect(try await world.get("settings").status == 401)
        try await identities.putToken("site1-sync", scopeMap: "map-site1", isEnabled: true, in: registry)
        #expect(try await world.get("settings").status == 200)
        try await world.server.connectedRegistries.delete("site1", in: registry)
        #expect(try await self.code(world.get("settings")) == "CONNECTED_REGISTRY_NOT_FOUND")
    }

    @Test("C15 settings carry verifiers, never passwords, with an ETag that changes with them")
    func settings() async throws {
        let world = try await World(repositories: ["team/*", "app"], clientTokens: ["client1"])
        let first = try await world.get("settings")
        let settings = try first.decode(GatewaySettings.self)
        #expect(settings.repositories == ["app", "team/*"])
        #expect(settings.mode == "ReadOnly")
        #expect(settings.clientTokens.map(\.name) == ["client1"])
        #expect(settings.scopeMaps.map(\.name) == ["_repositories_admin"])
        let tag = try #require(first.header("ETag"))
        #expect(
            try await world.server.send(
                .get, "/gateway/v1/site1/settings", headers: [.authorization: world.bearer[.authorization]!, .ifNoneMatch: tag]
            ).status == 304)
        let renewed = try await world.server.site.identities.generatePasswords(
            [.password2], expiry: nil, token: "client1", in: world.server.site.registry)
        let second = try await world.get("settings")
        #expect(second.header("ETag") != tag)
        let value = try #require(renewed.values[.password2])
        #expect(!second.text.contains(value))
        #expect(second.text.contains(Secret.verifier(of: value)))
    }

    @Test("C11 changes come in order, only of the selection; deletions and referrers among them")
    func changes() async throws {
        let world = try await World(repositories: ["app"])
        let site = world.server.site
        let image = TestImage("one")
        try await site.push(image, tags: [tag("v1")], to: repository("secret"))
        try await site.push(image, tags: [tag("v1")], to: repository("app"))
        let signature = TestImage("signature", subject: image.manifest)
        try await site.push(signature, to: repository("app"))
        try await site.store.delete(tag("v1"), from: repository("app"), of: site.registry, origin: "test")
        let page = try await world.changes(after: 0)
        #expect(page.changes.map(\.kind) == ["tag-set", "manifest-put", "tag-deleted"])
        #expect(page.changes.map(\.digest) == [image.manifest.digest, signature.manifest.digest, nil])
        #expect(page.atHead)
        #expect(page.next.sequence == (try await site.store.head()).sequence)
        let log = try await site.store.head().log
        for (target, status) in [
            ("changes?log=other&after=0", 410), ("changes?log=\(log)&after=99999", 410), ("changes?log=\(log)", 400),
            ("changes?log=\(log)&after=-1", 400), ("changes", 400),
        ] {
            let answer = try await world.get(target)
            #expect(answer.status == status)
            if status == 410 { #expect(self.code(answer) == "COMPARE_STATE") }
        }
    }

    @Test("C11 a long poll is woken by a change, by other settings and by the end of the server")
    func longPoll() async throws {
        let world = try await World(repositories: ["app"])
        let site = world.server.site
        let etag = try await world.changes(after: 0).settings
        let head = try await site.store.head().sequence
        async let woken = world.changes(after: head, wait: 50, settings: etag)
        try await site.push(TestImage("other"), tags: [tag("v1")], to: repository("secret"))
        try await site.push(TestImage("one"), tags: [tag("v1")], to: repository("app"))
        #expect(try await woken.changes.map(\.repository.description) == ["app"])
        let now = try await site.store.head().sequence
        async let settings = world.changes(after: now, wait: 50, settings: etag)
        try await world.server.select(["app", "more"], for: "site1")
        #expect(try await settings.settings != etag)
        let current = try await world.changes(after: now).settings
        async let stopped = world.changes(after: now, wait: 50, settings: current)
        world.server.gateway.stop()
        #expect(try await stopped.changes.isEmpty)
    }

    @Test("C12 state lists what is selected, with a cursor from which nothing is missed")
    func state() async throws {
        let world = try await World(repositories: ["app", "team/*"])
        let site = world.server.site
        let image = TestImage("one")
        for name in ["app", "team/x", "secret"] { try await site.push(image, tags: [tag("v1"), tag("v2")], to: repository(name)) }
        let signature = TestImage("signature", subject: image.manifest)
        try await site.push(signature, to: repository("app"))
        let summary = try await world.get("state").decode(StateSummary.self)
        #expect(summary.repositories.map(\.description) == ["app", "team/x"])
        #expect(summary.cursor.sequence == (try await site.store.head()).sequence)
        let first = try await world.get("state/app?limit=1").decode(RepositoryStatePage.self)
        #expect(first.tags.map(\.tag.description) == ["v1"])
        #expect(first.referrers == [signature.manifest.digest])
        #expect(first.next == tag("v1"))
        let second = try await world.get("state/app?last=v1").decode(RepositoryStatePage.self)
        #expect(second.tags.map(\.tag.description) == ["v2"])
        #expect(second.referrers.isEmpty)
        #expect(second.next == nil)
        #expect(try await world.get("state/team/x").decode(RepositoryStatePage.self).tags.count == 2)
        #expect(try await world.get("state/secret").status == 403)
        #expect(try await world.get("state/..").status == 400)
        #expect(try await world.get("state/app?last=-bad").status == 400)
    }

    @Test("C16 heartbeats rotate a nonce; bodies that are none are 400, too large 413")
    func status() async throws {
        let world = try await World()
        func post(_ call: String, _ body: [UInt8]) async throws -> Answer {
            try await world.server.send(.post, "/gateway/v1/site1/\(call)", headers: world.bearer, body: body)
        }
        let first = try await post("status", [UInt8](JSONEncoder().encode(DataPlane.heartbeat(world.nonce)))).decode(StatusResponse.self)
        #expect(first.nonce != world.nonce)
        #expect(!first.settings.isEmpty)
        let stale = try await post("status", [UInt8](JSONEncoder().encode(DataPlane.heartbeat("stale"))))
        #expect(stale.status == 409)
        for call in ["status", "activate"] {
            for bad in ["", "{", "[]", "{}", String(repeating: "[", count: 100)] {
                let answer = try await post(call, Array(bad.utf8))
                #expect(answer.status == 400)
                #expect(self.code(answer) == "INVALID_REQUEST")
            }
            #expect(try await post(call, [UInt8](repeating: 0x20, count: (1 << 20) + 1)).status == 413)
        }
        for instance in ["short", String(repeating: "x", count: 129), "with blank", "line\nend"] {
            let body = ActivateRequest(instanceId: instance, nonce: nil, version: "", loginServer: nil, caPin: nil, gatewayAddress: nil)
            #expect(try await post("activate", [UInt8](JSONEncoder().encode(body))).status == 400)
        }
    }
}
