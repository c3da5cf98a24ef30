// Events from the change log to a receiver that is played here: which ones, in which order, and that none is lost.

import JSON
import Logging
import NIOCore
import OCI
import Persistence
import RegistryClient
import RegistryCore
import Synchronization
import TestSupport
import Testing

@testable import Webhooks

/// A receiver: remembers what arrives and answers as it is told.
private final class Receiver: Transport {
    struct Seen: Sendable {
        let body: JSONValue
        let headers: [String: String]
        let target: String
        var repository: String { self.body[path: "target", "repository"]?.stringValue ?? "" }
        var tag: String { self.body[path: "target", "tag"]?.stringValue ?? "" }
        var action: String { self.body["action"]?.stringValue ?? "" }
    }

    private let seen = Mutex<[Seen]>([])
    private let status: @Sendable (Seen) -> Int?

    /// What a receiver answers that takes a connection and then nothing more.
    static let never = -1

    /// - Parameter status: `nil` gives no answer.
    init(status: @escaping @Sendable (Seen) -> Int? = { _ in 200 }) { self.status = status }

    var all: [Seen] { self.seen.withLock { $0 } }

    func send(_ request: ClientRequest) async throws -> ClientResponse {
        let headers = Dictionary(request.headers.map { ($0.name, $0.value) }) { $1 }
        let seen = Seen(body: try JSONValue(parsing: request.body), headers: headers, target: "\(request.endpoint)\(request.target)")
        let status = self.status(seen)
        self.seen.withLock { $0.append(seen) }
        guard let status else { throw TransportError(.unreachable, "nobody there") }
        // Until the sender is stopped.
        if status == Self.never { try await Task.sleep(for: .seconds(86_400)) }
        let (stream, source) = AsyncStream.makeStream(of: ByteBuffer.self)
        source.yield(ByteBuffer(string: "thanks"))
        source.finish()
        return ClientResponse(status: status, headers: [(name: "Server", value: "test")], body: ClientResponseBody(stream))
    }
}

@Suite struct WebhookTests {
    private let app = repository("app")
    private let other = repository("team/other")

    private func store(_ site: Site) throws -> WebhookStore {
        try WebhookStore(database: site.database, folder: site.folder.keysPath, clock: site.clock.wall)
    }

    @discardableResult
    private func hook(
        _ store: WebhookStore, _ site: Site, _ name: String = "hook1", actions: [WebhookAction] = [.push, .delete], scope: String = "",
        headers: [String: String] = [:], enabled: Bool = true
    ) async throws -> Webhook {
        let settings = WebhookSettings(
            location: "eastus", tags: [:], actions: actions, scope: try #require(WebhookScope(scope)), isEnabled: enabled)
        return try await store.put(
            name, settings, target: WebhookTarget(serviceURI: "https://receiver.test/in/\(name)", customHeaders: headers),
            in: site.registry, limit: 500
        ).webhook
    }

    /// Runs a sender until `done`.
    private func sending(
        _ store: WebhookStore, _ site: Site, to receiver: Receiver, until done: @Sendable () async throws -> Bool
    ) async throws {
        let sender = WebhookSender(
            store: store, changes: site.activity, transport: receiver, version: "1",
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        ) { _ in "harbour.test" }
        let task = Task { await sender.run() }
        let isDone = try await eventually(done)
        task.cancel()
        await task.value
        #expect(isDone)
    }

    @Test("R9 a push and a deletion are told with what is known of them, in their order, with the webhook's headers")
    func told() async throws {
        let site = try await Site()
        let store = try self.store(site)
        let image = TestImage("one")
        try await site.push(image, tags: [tag("before")], to: self.app)
        let hook = try await self.hook(store, site, headers: ["X-Key": "secret", "User-Agent": "mine"])
        try await site.put(image.manifest, tags: [tag("v1")], to: self.app)
        try await site.push(TestImage("two"), tags: [tag("v2")], to: self.app)
        _ = try await site.store.delete(tag("v1"), from: self.app, of: site.registry, origin: "test")
        let receiver = Receiver()
        try await self.sending(store, site, to: receiver) { receiver.all.count >= 3 }
        let seen = receiver.all
        // What was there before the webhook is not told, and a new image with its tag is one event.
        #expect(seen.map { "\($0.action) \($0.repository):\($0.tag)" } == ["push app:v1", "push app:v2", "delete app:v1"])
        #expect(seen[0].target == "https://receiver.test/in/hook1")
        #expect(seen[0].headers["X-Key"] == "secret")
        #expect(seen[0].headers["User-Agent"] == "mine")
        #expect(seen[0].headers["Content-Type"] == "application/json; charset=utf-8")
        let target = try #require(seen[0].body["target"])
        #expect(target["digest"]?.stringValue == image.manifest.digest.description)
        #expect(target["size"]?.intValue == image.manifest.bytes.count)
        #expect(target["mediaType"]?.stringValue == image.manifest.mediaType.description)
        #expect(seen[0].body[path: "request", "host"] == "harbour.test")
        #expect(Set(seen.compactMap { $0.body["id"]?.stringValue }).count == 3)
        #expect(try await eventually { try await store.events(of: hook).allSatisfy { $0.state == .delivered } })
        #expect(try await store.events(of: hook).first?.answer?["statusCode"] == "200")
    }

    @Test("R9 a receiver that fails keeps the order of each repository, holds up no other, and gets each event in the end")
    func order() async throws {
        let site = try await Site()
        let store = try self.store(site)
        let hook = try await self.hook(store, site, actions: [.push])
        let image = TestImage("one")
        for name in [self.app, self.other] { try await site.push(image, to: name) }
        for index in 0..<5 {
            for name in [self.app, self.other] { try await site.put(image.manifest, tags: [tag("v\(index)")], to: name) }
        }
        let failures = Mutex(3)
        // The first tag of `app` is refused three times.
        let receiver = Receiver { seen in
            guard seen.repository == "app", seen.tag == "v0" else { return 204 }
            return failures.withLock { left in
                left -= 1
                return left < 0 ? 200 : left == 0 ? nil : 503
            }
        }
        try await self.sending(store, site, to: receiver) {
            site.clock.advance(seconds: 1)
            store.activity.signal()
            let events = try await store.events(of: hook)
            return events.count == 12 && events.allSatisfy { $0.state == .delivered }
        }
        func tags(_ name: String) -> [String] { receiver.all.filter { $0.repository == name && !$0.tag.isEmpty }.map(\.tag) }
        #expect(tags("app") == ["v0", "v0", "v0", "v0", "v1", "v2", "v3", "v4"])
        #expect(tags("team/other") == ["v0", "v1", "v2", "v3", "v4"])
        let events = try await store.events(of: hook)
        #expect(events.first { $0.body[path: "target", "tag"] == "v0" && $0.lane == "app" }?.attempts == 4)
        // An event of one webhook is the same at each attempt.
        let repeated = receiver.all.filter { $0.repository == "app" && $0.tag == "v0" }
        #expect(Set(repeated.map { $0.body["id"]?.stringValue }).count == 1)
    }

    @Test("R9 receivers that hang, however many, keep no other waiting")
    func hanging() async throws {
        let site = try await Site()
        let store = try self.store(site)
        for index in 0..<12 { try await self.hook(store, site, "hanging\(index)", actions: [.push]) }
        let good = try await self.hook(store, site, "working", actions: [.push])
        let image = TestImage("one")
        for index in 0..<20 { try await site.push(image, tags: [tag("v1")], to: repository("app\(index)")) }
        let asked = Mutex<Set<String>>([])
        let receiver = Receiver { seen in
            guard !seen.target.hasSuffix("working") else { return 200 }
            // The first attempt ends as one does that nobody answers in time.
            return asked.withLock { $0.insert(seen.target).inserted } ? nil : Receiver.never
        }
        try await self.sending(store, site, to: receiver) {
            site.clock.advance(seconds: 1)
            store.activity.signal()
            let events = try await store.events(of: good)
            return events.count == 20 && events.allSatisfy { $0.state == .delivered }
        }
    }

    @Test("R9 what was written by a clock that was ahead waits for nothing")
    func clockAhead() async throws {
        let site = try await Site()
        let store = try self.store(site)
        let hook = try await self.hook(store, site, actions: [.push])
        site.clock.advance(seconds: 86_400 * 365)
        try await site.push(TestImage("one"), tags: [tag("v1")], to: self.app)
        #expect(try await store.publish { _ in "harbour.test" } != nil)
        #expect(try await store.events(of: hook).count == 1)
        site.clock.advance(seconds: -86_400 * 365)
        let receiver = Receiver()
        try await self.sending(store, site, to: receiver) { !receiver.all.isEmpty }
    }

    @Test("R9 what was not delivered is after a restart, once, and what happened meanwhile too")
    func restart() async throws {
        let site = try await Site()
        let image = TestImage("one")
        let hook: Webhook
        do {
            let store = try self.store(site)
            hook = try await self.hook(store, site)
            try await site.push(image, tags: [tag("v1")], to: self.app)
            let dead = Receiver { _ in nil }
            try await self.sending(store, site, to: dead) { !dead.all.isEmpty }
        }
        try await site.put(image.manifest, tags: [tag("v2")], to: self.app)
        let store = try self.store(site)
        site.clock.advance(seconds: 10)
        let receiver = Receiver()
        try await self.sending(store, site, to: receiver) { receiver.all.count >= 2 }
        #expect(receiver.all.map(\.tag) == ["v1", "v2"])
        #expect(try await store.events(of: hook).count == 2)
    }

    @Test("R9 after a day an event is given up and those behind it go on")
    func givenUp() async throws {
        let site = try await Site()
        let store = try self.store(site)
        let hook = try await self.hook(store, site)
        try await site.push(TestImage("one"), tags: [tag("v1")], to: self.app)
        let receiver = Receiver { $0.tag == "v1" ? 500 : 200 }
        try await self.sending(store, site, to: receiver) { !receiver.all.isEmpty }
        site.clock.advance(seconds: WebhookSender.patience / 1000)
        try await site.push(TestImage("two"), tags: [tag("v2")], to: self.app)
        try await self.sending(store, site, to: receiver) { receiver.all.last?.tag == "v2" }
        #expect(try await eventually { try await store.events(of: hook).map(\.state) == [.delivered, .failed] })
        #expect(try await store.events(of: hook).last?.answer?["statusCode"] == "500")
    }

    @Test("R9 one that is off hears of nothing that happens meanwhile; a ping goes out by itself")
    func disabled() async throws {
        let site = try await Site()
        let store = try self.store(site)
        try await self.hook(store, site, enabled: false)
        try await site.push(TestImage("one"), tags: [tag("v1")], to: self.app)
        let hook = try await self.hook(store, site)
        let id = try await store.ping(hook)
        let receiver = Receiver()
        try await self.sending(store, site, to: receiver) { !receiver.all.isEmpty }
        #expect(receiver.all.map(\.action) == ["ping"])
        #expect(receiver.all.first?.body["id"]?.stringValue == id)
    }

    @Test("R9 scopes name repositories and tags, with an asterisk at the end of either")
    func scopes() throws {
        let cases: [(String, String, String?, Bool)] = [
            ("", "app", "v1", true), ("", "app", nil, true), ("app", "app", "v1", true), ("app", "apple", "v1", false),
            ("app:v1", "app", "v1", true), ("app:v1", "app", "v2", false), ("app:v1", "app", nil, false), ("app:*", "app", "v2", true),
            ("app:*", "app", nil, true), ("app:v*", "app", "v2", true), ("app:v*", "app", "x", false), ("team/*", "team/a/b", "v1", true),
            ("team/*:v1", "team/a", "v1", true), ("team/*", "tea", "v1", false), ("*", "app", "v1", true),
        ]
        for (text, name, label, expected) in cases {
            let scope = try #require(WebhookScope(text))
            #expect(try scope.contains(RepositoryName(name), label.map { try Tag($0) }) == expected, "\(text) \(name):\(label ?? "-")")
        }
        for text in [":v1", "app:", "a*b", "app:*x", String(repeating: "a", count: 513)] { #expect(WebhookScope(text) == nil, "\(text)") }
    }

    @Test("R9 addresses and headers lie sealed in the database; the change log waits for who reads along")
    func sealedAndKept() async throws {
        let site = try await Site()
        let store = try self.store(site)
        let hook = try await self.hook(store, site, headers: ["X-Key": "top-secret"])
        let raw = try await site.database.read { try $0.row("SELECT target FROM webhook")?.blob(0) ?? [] }
        #expect(!String(decoding: raw, as: UTF8.self).contains("top-secret"))
        #expect(try await store.target(of: hook).customHeaders == ["X-Key": "top-secret"])
        try await site.push(TestImage("one"), tags: [tag("v1")], to: self.app)
        site.clock.advance(seconds: 90 * 86_400)
        #expect(try await site.store.trimLog(before: site.clock.milliseconds, readTo: try await store.cursor()) == 0)
        #expect(try await store.publish { _ in "harbour.test" } ?? 0 > 0)
        #expect(try await site.store.trimLog(before: site.clock.milliseconds, readTo: try await store.cursor()) > 0)
        #expect(try await store.delete("HOOK1", in: site.registry))
        #expect(try await store.cursor() == nil)
        #expect(try await store.publish { _ in "harbour.test" } == nil)
    }

    @Test("R9 a webhook that is made while there was none is told of what comes after it")
    func later() async throws {
        let site = try await Site()
        let store = try self.store(site)
        let receiver = Receiver()
        let isMade = Mutex(false)
        try await self.sending(store, site, to: receiver) {
            if !isMade.withLock({ $0 }) {
                // The sender has found that there is nobody to tell, and waits.
                for name in ["v1", "v2"] { try await site.push(TestImage(name), tags: [tag(name)], to: self.app) }
                try await self.hook(store, site)
                try await site.push(TestImage("v3"), tags: [tag("v3")], to: self.app)
                isMade.withLock { $0 = true }
            }
            return !receiver.all.isEmpty
        }
        #expect(receiver.all.map(\.tag) == ["v3"])
    }

    @Test("R9 a registry has as many webhooks as its tier allows")
    func limit() async throws {
        let site = try await Site()
        let store = try self.store(site)
        let settings = WebhookSettings(location: "eastus", tags: [:], actions: [.push], scope: .all, isEnabled: true)
        let target = WebhookTarget(serviceURI: "https://receiver.test", customHeaders: [:])
        for index in 0..<2 { _ = try await store.put("hook\(index)", settings, target: target, in: site.registry, limit: 2) }
        await #expect(throws: WebhookError.tooMany(limit: 2)) {
            _ = try await store.put("hook2", settings, target: target, in: site.registry, limit: 2)
        }
        // Changing one that is there is no new one.
        _ = try await store.put("HOOK1", settings, target: nil, in: site.registry, limit: 2)
        #expect(try await store.list(in: site.registry).map(\.name) == ["hook0", "hook1"])
    }
}
