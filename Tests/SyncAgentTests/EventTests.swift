// Proves that what happens at sites is told above, through those between, each once, and that queues have ends.

import DistributionAPI
import Gateway
import GatewayProtocol
import HTTPServing
import HTTPTypes
import HummingbirdCore
import Logging
import NIOCore
import OCI
import RegistryCore
import TestSupport
import Testing

@testable import SyncAgent

@Suite struct EventTests {
    private let app = repository("app")

    private func events(_ kind: SiteEvent.Kind, of name: String, at plane: DataPlane) async throws -> [SiteEvent] {
        try await SiteEvents(database: plane.site.database, registry: plane.site.registry).list(kind, of: name, limit: 1000).events
    }

    @Test("C17 C9 changes that match are told at the root, through the one between, each once, also after the link was down")
    func notifications() async throws {
        let chain = try await Chain(["middle", "leaf1"], mode: .readWrite)
        let root = chain.root
        try await root.configure("leaf1", mode: .readWrite, parent: "middle", notifications: ["app:tag:*", "other:delete"])
        let leaf = chain.links[1]
        let image = TestImage("one")
        try await chain.running { () async throws in
            #expect(try await eventually { await leaf.memory.memory.settings?.notifications.count == 2 })
            // From here on there is somebody who listens.
            #expect(try await eventually { await leaf.memory.memory.cursor != nil })
            try await root.site.push(image, tags: [tag("down")], to: self.app)
            #expect(try await eventually { try await leaf.digest(tag("down"), in: self.app) != nil })
            #expect(try await eventually { try await self.events(.notification, of: "leaf1", at: root).count == 1 })
            leaf.transport.setOnline(false)
            try await leaf.site.push(TestImage("two"), tags: [tag("up")], to: self.app)
            try await leaf.site.store.delete(tag("up"), from: self.app, of: leaf.site.registry, origin: "test")
            try await leaf.site.push(TestImage("three"), tags: [tag("v1")], to: repository("unheard"))
            leaf.transport.setOnline(true)
            #expect(try await eventually { try await self.events(.notification, of: "leaf1", at: root).count == 3 })
            // Nothing is kept where it has been told, once the answer to the telling has come.
            for link in chain.links {
                let events = SiteEvents(database: link.site.database, registry: link.site.registry)
                #expect(try await eventually { try await events.waiting(limit: 10).isEmpty })
            }
        }
        let told = try await self.events(.notification, of: "LEAF1", at: root).map(\.body)
        #expect(told[2].contains(#""source":"parent","tag":"down""#))
        #expect(told[1].contains(#""action":"push""#) && told[1].contains(#""source":"client","tag":"up""#))
        #expect(told[0].contains(#""action":"delete""#))
    }

    @Test("C19 sign-ins, pushes, deletions and refusals at a connected registry are gathered at its parent, where that is asked for")
    func audit() async throws {
        let family = try await Family(mode: .readWrite)
        try await family.parent.configure("site1", mode: .readWrite, auditLogs: true)
        let memory = try await family.memory()
        let plane = try await DataPlane(family.child, audience: "connected-registry/site1", owner: "site1")
        let trail = AuditTrail(
            events: SiteEvents(database: family.child.database, registry: family.child.registry), site: "site1",
            clock: family.child.clock.wall, isWanted: { await memory.memory.settings?.auditLogs == true })
        let handler = AuditedHandler(plane.handlers, trail: trail)
        func send(_ method: HTTPRequest.Method, _ path: String, _ headers: HTTPFields, _ body: [UInt8] = []) async throws -> Int {
            var headers = headers
            headers[.contentLength] = String(body.count)
            let request = ServerRequest(
                method: method, path: path, headers: headers, host: HostAndPort("harbour.test"),
                body: RequestBody(buffer: ByteBuffer(bytes: body)), isSecure: true, remoteAddress: "10.0.0.7", correlationID: "c0ffee",
                logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
            return try await handler.respond(to: request)?.status.code ?? 0
        }
        let image = TestImage("one")
        for blob in image.blobs { try await family.child.push(blob, to: self.app) }
        let writer = try await plane.credentials("writer", actions: ["repositories/app/content/write", "repositories/app/content/read"])
        var manifest = writer
        manifest[.contentType] = image.manifest.mediaType.description
        // Nobody has asked for records yet.
        #expect(try await send(.get, "/oauth2/token?scope=repository:app:pull", writer) == 200)
        try await family.following(family.agent(memory: memory)) { () async throws in
            #expect(try await eventually { await memory.memory.settings?.auditLogs == true })
        }
        // A settings document replaces the tokens that are here.
        let again = try await plane.credentials("writer", actions: ["repositories/app/content/write", "repositories/app/content/read"])
        manifest[.authorization] = again[.authorization]
        #expect(try await send(.get, "/oauth2/token?scope=repository:app:pull", again) == 200)
        #expect(try await send(.get, "/oauth2/token", DataPlane.basic("writer", "wrong")) == 401)
        #expect(try await send(.put, "/v2/app/manifests/v1", manifest, image.manifest.bytes) == 201)
        #expect([401, 403].contains(try await send(.delete, "/v2/app/manifests/v1", again)))
        #expect(try await send(.get, "/v2/", [:]) == 401)
        #expect(try await send(.get, "/v2/app/manifests/v1", again) == 200)
        try await family.following(family.agent(memory: memory)) { () async throws in
            #expect(try await eventually { try await self.events(.audit, of: "site1", at: family.parent).count == 4 })
        }
        let told = try await self.events(.audit, of: "site1", at: family.parent).map(\.body).reversed()
        let kinds = told.compactMap { body in ["SignIn", "SignInRefused", "Push", "Refused"].first { body.contains("\"event\":\"\($0)\"") }
        }
        #expect(kinds == ["SignIn", "SignInRefused", "Push", "Refused"])
        #expect(told.allSatisfy { $0.contains("writer") && $0.contains("10.0.0.7") && !$0.contains("wrong") })
        #expect(told.contains { $0.contains(#""reference":"v1","repository":"app","status":201"#) })
    }

    @Test("C19 C9 events are told as many at once as the parent takes, however long they are written", arguments: [nil, 100_000])
    func largeEvents(limit: Int?) async throws {
        let family = try await Family()
        let events = SiteEvents(database: family.child.database, registry: family.child.registry)
        // Each quotation mark is two bytes on its way.
        let body = #"{"a":["# + Array(repeating: #""""#, count: 1350).joined(separator: ",") + "]}"
        #expect(body.utf8.count <= SiteEvents.maximumBody)
        let count = EventsRequest.maximumEvents + 10
        try await events.add((0..<count).map { SiteEvent(id: "event-\($0)", site: "site1", kind: .audit, time: Int64($0), body: body) })
        if let limit { family.transport.limit("events", to: limit) }
        try await family.following { () async throws in
            #expect(try await eventually { try await self.events(.audit, of: "site1", at: family.parent).count == count })
            #expect(try await eventually { try await events.waiting(limit: 1).isEmpty })
        }
        let told = family.transport.requests.filter { $0.target.hasSuffix("/events") }.count
        #expect(limit == nil ? told == 2 : told < 40)
    }

    @Test("C19 C9 an event that the parent does not even take alone is counted, and keeps no other waiting")
    func oversizedEvent() async throws {
        let family = try await Family()
        let events = SiteEvents(database: family.child.database, registry: family.child.registry)
        let long = #"{"a":""# + String(repeating: "x", count: 4000) + #""}"#
        try await events.add(
            (0..<20).map { SiteEvent(id: "event-\($0)", site: "site1", kind: .audit, time: Int64($0), body: $0 == 7 ? long : "{}") })
        family.transport.limit("events", to: 2000)
        try await family.following { () async throws in
            #expect(try await eventually { try await events.waiting(limit: 1).isEmpty })
            #expect(try await eventually { try await self.events(.audit, of: "site1", at: family.parent).count == 19 })
        }
        let told = SiteEvents(database: family.parent.site.database, registry: family.parent.site.registry)
        #expect(try await told.list(.audit, of: "site1", limit: 1).dropped == 1)
    }

    @Test("C19 a queue that is full drops its oldest and counts them; what is told twice is kept once")
    func bounds() async throws {
        let site = try await Site()
        let events = SiteEvents(database: site.database, registry: site.registry)
        func event(_ number: Int) -> SiteEvent {
            SiteEvent(id: "event-\(number)", site: "site1", kind: .audit, time: Int64(number), body: "{}")
        }
        try await events.add((0..<SiteEvents.limit + 5).map(event))
        var (listed, dropped) = try await events.list(.audit, of: "site1", limit: 1000)
        #expect(dropped == 5)
        #expect(listed.first?.id == "event-\(SiteEvents.limit + 4)")
        try await events.add([event(SiteEvents.limit)])
        #expect(try await events.waiting(limit: 20_000).count == SiteEvents.limit)
        try await events.makeRoom(of: "site1")
        (listed, dropped) = try await events.list(.audit, of: "site1", limit: 1)
        #expect(dropped == 5 + Int64(SiteEvents.limit / 10))
        #expect(try await events.waiting(limit: 1).first?.event.id == "event-\(5 + SiteEvents.limit / 10)")
        // A total that is told again is no news.
        for _ in 0..<2 { try await events.add([], dropped: [DroppedEvents(site: "site2", kind: .audit, count: 7)]) }
        #expect(try await events.list(.audit, of: "site2", limit: 1).dropped == 7)
        // What has to go at a middle comes on top of what the site dropped itself, and both are told on.
        try await events.add((0..<10).map { SiteEvent(id: "\($0)", site: "site2", kind: .audit, time: 0, body: "{}") })
        try await events.makeRoom(of: "site2")
        #expect(try await events.list(.audit, of: "site2", limit: 1).dropped == 8)
        try await events.add([], dropped: [DroppedEvents(site: "SITE2", kind: .audit, count: 9)])
        #expect(try await events.list(.audit, of: "site2", limit: 1).dropped == 10)
        let told = try await events.dropped().filter { $0.site == "site2" }
        #expect(told.map(\.count) == [10])
    }
}
