// Importing from a registry that is played here: challenges, redirects, indexes, conflicts, and where connections may go.

import Logging
import NIOCore
import OCI
import Persistence
import RegistryClient
import RegistryCore
import Synchronization
import TestSupport
import Testing

@testable import Import

/// A registry over nothing: answers by host and path.
private final class FakeSource: Transport {
    struct Seen: Sendable {
        let url: String
        let authorization: String?
    }
    typealias Reply = (status: Int, headers: [(String, String)], body: [UInt8])

    private let seen = Mutex<[Seen]>([])
    private let reply: @Sendable (ClientRequest) -> Reply?

    init(reply: @escaping @Sendable (ClientRequest) -> Reply?) { self.reply = reply }

    var requests: [Seen] { self.seen.withLock { $0 } }

    func send(_ request: ClientRequest) async throws -> ClientResponse {
        let authorization = request.headers.first { $0.name == "Authorization" }?.value
        self.seen.withLock { $0.append(Seen(url: "\(request.endpoint)\(request.target)", authorization: authorization)) }
        let reply = self.reply(request) ?? (404, [], Array(#"{"errors":[{"code":"NAME_UNKNOWN","message":"no"}]}"#.utf8))
        let (stream, source) = AsyncStream.makeStream(of: ByteBuffer.self)
        source.yield(ByteBuffer(bytes: reply.body))
        source.finish()
        return ClientResponse(
            status: reply.status, headers: reply.headers.map { (name: $0.0, value: $0.1) }, body: ClientResponseBody(stream))
    }
}

@Suite struct ImportTests {
    private let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    /// Serves content under `repository` by digest, and `tagged` as `v1`.
    private static func content(_ contents: [Content], tagged: Content, repository: String)
        -> @Sendable (ClientRequest) -> FakeSource.Reply?
    {
        { request in
            for content in contents {
                let type = [("Content-Type", content.mediaType.description)]
                if request.target == "/v2/\(repository)/blobs/\(content.digest)" {
                    return (200, [("Content-Length", String(content.bytes.count))], request.method == "HEAD" ? [] : content.bytes)
                }
                let isTag = content.digest == tagged.digest && request.target == "/v2/\(repository)/manifests/v1"
                if isTag || request.target == "/v2/\(repository)/manifests/\(content.digest)" { return (200, type, content.bytes) }
            }
            return nil
        }
    }

    private func order(
        _ site: Site, from registry: String = "docker.io", _ repository: String = "busybox", _ reference: String = "v1",
        to target: String = "copy",
        tag name: String? = "v1", force: Bool = false, credentials: SourceCredentials? = nil, quota: Int64? = nil
    ) throws -> ImportOrder {
        ImportOrder(
            source: .remote(registry: registry, repository: repository, credentials: credentials), reference: try Reference(reference),
            targets: [.init(repository: TestSupport.repository(target), tag: try name.map { try Tag($0) })], replacesTags: force,
            registry: site.registry, quota: quota, origin: "import")
    }

    @Test("R5 a short name of docker.io, its challenge, an index with everything below it; the tag moves last")
    func index() async throws {
        let site = try await Site()
        let (first, second) = (TestImage("amd64"), TestImage("arm64"))
        let index = Fixture.index([first.manifest.descriptor, second.manifest.descriptor])
        let all = first.blobs + second.blobs + [first.manifest, second.manifest, index]
        let content = Self.content(all, tagged: index, repository: "library/busybox")
        let source = FakeSource { request in
            if request.endpoint.host == "auth.docker.io" {
                #expect(request.target.contains("scope=repository%3Alibrary%2Fbusybox%3Apull"))
                #expect(request.target.contains("service=registry.docker.io"))
                return (200, [], Array(#"{"token":"T"}"#.utf8))
            }
            guard request.headers.contains(where: { $0.value == "Bearer T" }) else {
                return (
                    401,
                    [("WWW-Authenticate", #"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="x""#)], []
                )
            }
            return content(request)
        }
        let importer = ImageImporter(store: site.store, transport: source)
        try await importer.run(
            self.order(site, credentials: SourceCredentials(username: "u", password: "p")), logger: self.logger)
        #expect(try await site.store.resolve(tag("v1"), in: repository("copy"), of: site.registry) == index.digest)
        #expect(try await site.store.holdsWhole(index.digest, in: repository("copy"), of: site.registry))
        #expect(
            source.requests.allSatisfy {
                $0.url.hasPrefix("https://registry-1.docker.io/v2/library/busybox/") || $0.url.hasPrefix("https://auth.docker.io/")
            })
        // The password goes to the token server alone.
        #expect(
            source.requests.filter { $0.authorization?.hasPrefix("Basic") == true }.allSatisfy {
                $0.url.hasPrefix("https://auth.docker.io/")
            })
        // Once more: nothing is fetched but manifests.
        let before = source.requests.count
        try await importer.run(self.order(site, tag: "v2"), logger: self.logger)
        #expect(source.requests.dropFirst(before).allSatisfy { !$0.url.contains("/blobs/") })
    }

    @Test("R5 R2 foreign layers and build caches come along where the source has them, and what it does not give stays out")
    func optionalBlobs() async throws {
        let site = try await Site()
        // Here in another repository already: knowing its digest is not having it.
        let secret = TestImage("secret")
        try await site.push(secret, tags: [tag("v1")], to: repository("secret"))
        let content = OptionalContent(unowned: [secret.layers[0]])
        let index = Fixture.index([content.image.manifest.descriptor, content.cache.descriptor])
        let all = content.pushed + [content.image.manifest, content.cache, index]
        let source = FakeSource(reply: Self.content(all, tagged: index, repository: "library/busybox"))
        let importer = ImageImporter(store: site.store, transport: source)
        try await importer.run(self.order(site), logger: self.logger)
        let named = content.pushed + [content.absent, secret.layers[0]]
        #expect(try await site.store.holdsWhole(index.digest, in: repository("copy"), of: site.registry))
        #expect(try await OptionalContent.held(named, by: site, repository("copy")) == content.pushed)
        // From one registry of the server to another, or within one, the same.
        try await importer.run(
            ImportOrder(
                source: .local(site.registry, repository("copy")), reference: .digest(index.digest),
                targets: [.init(repository: repository("again"), tag: tag("v1"))], replacesTags: false, registry: site.registry, quota: nil,
                origin: "import"), logger: self.logger)
        #expect(try await OptionalContent.held(named, by: site, repository("again")) == content.pushed)
    }

    @Test("R5 a tag that is there is a conflict unless forced, and a locked one is refused even then")
    func conflict() async throws {
        let site = try await Site()
        let image = TestImage("new")
        let old = TestImage("old")
        try await site.push(old, tags: [tag("v1")], to: repository("copy"))
        let source = FakeSource(reply: Self.content(image.blobs + [image.manifest], tagged: image.manifest, repository: "library/busybox"))
        let importer = ImageImporter(store: site.store, transport: source)
        let refused = await #expect(throws: RegistryError.self) { try await importer.run(self.order(site), logger: self.logger) }
        #expect(refused?.status == 409)
        // Found out before anything was fetched.
        #expect(source.requests.isEmpty)
        var lock = LockChange()
        lock.set = .write
        try await site.store.setLocks(lock, of: .tag(repository("copy"), tag("v1")), in: site.registry, origin: "test")
        let locked = await #expect(throws: RegistryError.self) {
            try await importer.run(self.order(site, force: true), logger: self.logger)
        }
        #expect(locked?.status == 405)
        (lock.set, lock.cleared) = ([], .write)
        try await site.store.setLocks(lock, of: .tag(repository("copy"), tag("v1")), in: site.registry, origin: "test")
        try await importer.run(self.order(site, force: true), logger: self.logger)
        #expect(try await site.store.resolve(tag("v1"), in: repository("copy"), of: site.registry) == image.manifest.digest)
    }

    @Test("R5 a manifest whose sizes add up to more than 64 bits is refused, with and without a quota", arguments: [nil, 1000] as [Int64?])
    func overflowingSizes(quota: Int64?) async throws {
        let site = try await Site()
        let layers = ["a", "b"].map { Descriptor(mediaType: .layer, digest: Fixture.layer($0).digest, size: .max) }
        let manifest = Fixture.image(config: Fixture.config("x").descriptor, layers: layers)
        let source = FakeSource(reply: Self.content([manifest], tagged: manifest, repository: "library/busybox"))
        let refused = await #expect(throws: RegistryError.self) {
            try await ImageImporter(store: site.store, transport: source).run(self.order(site, quota: quota), logger: self.logger)
        }
        #expect(refused?.code == .manifestInvalid)
    }

    @Test("R5 an import counts what was pushed, and is counted by pushes")
    func quota() async throws {
        let site = try await Site()
        func take(_ bytes: Int64) async throws -> QuotaRoom {
            let room = site.store.room(in: site.registry, quota: 1000)
            try await room.take(bytes)
            return room
        }
        let image = TestImage("new", layers: [Fixture.layer(bytes: 100, seed: 1)])
        let size = Int64((image.blobs + [image.manifest]).reduce(0) { $0 + $1.bytes.count })
        let source = FakeSource(reply: Self.content(image.blobs + [image.manifest], tagged: image.manifest, repository: "library/busybox"))
        let importer = ImageImporter(store: site.store, transport: source)
        // Room for all of it but the last byte of its manifest.
        let push = try await take(1001 - size)
        let refused = await #expect(throws: RegistryError.self) {
            try await importer.run(self.order(site, quota: 1000), logger: self.logger)
        }
        #expect(refused?.status == 403)
        #expect(refused?.detail["arriving"] == "\(1001 - size)")
        #expect(refused?.detail["size"] == "\(size)")
        push.end()
        try await importer.run(self.order(site, quota: 1000), logger: self.logger)
        #expect(try await site.store.usage(of: site.registry) == size)
        await #expect(throws: RegistryError.self) { _ = try await take(1001 - size) }
        try await take(1000 - size).end()
    }

    @Test("R5 content that is not what its manifest says is refused, and no tag moves")
    func damaged() async throws {
        let site = try await Site()
        let image = TestImage("new")
        let content = Self.content(image.blobs + [image.manifest], tagged: image.manifest, repository: "library/busybox")
        let source = FakeSource { request in
            guard var reply = content(request) else { return nil }
            if request.target.hasSuffix("/blobs/\(image.layers[0].digest)") { reply.body[0] ^= 1 }
            return reply
        }
        await #expect(throws: PersistenceError.self) {
            try await ImageImporter(store: site.store, transport: source).run(self.order(site), logger: self.logger)
        }
        #expect(try await site.store.resolve(tag("v1"), in: repository("copy"), of: site.registry) == nil)
    }

    @Test("R5 a redirect to another host loses the credentials; one to http is refused")
    func redirects() async throws {
        let site = try await Site()
        let image = TestImage("new")
        let content = Self.content(image.blobs + [image.manifest], tagged: image.manifest, repository: "app")
        let source = FakeSource { request in
            if request.endpoint.host == "cdn.test" {
                return (200, [], image.blobs.first { request.target.hasSuffix($0.digest.hex) }?.bytes ?? [])
            }
            guard request.headers.contains(where: { $0.name == "Authorization" }) else {
                return (401, [("WWW-Authenticate", "Basic realm=\"x\"")], [])
            }
            if let blob = image.blobs.first(where: { request.target.hasSuffix("/blobs/\($0.digest)") }) {
                return (307, [("Location", "https://cdn.test/\(blob.digest.hex)")], [])
            }
            return content(request)
        }
        let credentials = SourceCredentials(username: "u", password: "p")
        try await ImageImporter(store: site.store, transport: source).run(
            self.order(site, from: "r.test:5000", "app", credentials: credentials), logger: self.logger)
        let moved = source.requests.filter { $0.url.hasPrefix("https://cdn.test/") }
        #expect(moved.count == image.blobs.count)
        #expect(moved.allSatisfy { $0.authorization == nil })
        // A host that was redirected to does not get by asking what it was not sent.
        let asking = FakeSource { request in
            if request.endpoint.host == "cdn.test" {
                return (401, [("WWW-Authenticate", #"Bearer realm="https://evil.test/token",service="x""#)], [])
            }
            guard request.headers.contains(where: { $0.name == "Authorization" }) else {
                return (401, [("WWW-Authenticate", "Basic realm=\"x\"")], [])
            }
            if request.target.contains("/blobs/") { return (307, [("Location", "https://cdn.test/blob")], []) }
            return content(request)
        }
        let fresh = try await Site()
        await #expect(throws: ImportError.self) {
            try await ImageImporter(store: fresh.store, transport: asking).run(
                self.order(fresh, from: "r.test:5000", "app", credentials: credentials), logger: self.logger)
        }
        #expect(asking.requests.contains { $0.url.hasPrefix("https://cdn.test/") })
        #expect(!asking.requests.contains { $0.url.hasPrefix("https://evil.test") })
        let downgrade = FakeSource { _ in (302, [("Location", "http://r.test/x")], []) }
        let refused = await #expect(throws: ImportError.self) {
            try await ImageImporter(store: site.store, transport: downgrade).run(
                self.order(site, from: "r.test", "app", tag: "v2"), logger: self.logger)
        }
        #expect(refused?.message.contains("not encrypted") == true)
    }

    @Test("R5 what the source does not have or does not give is said")
    func refusals() async throws {
        let site = try await Site()
        let importer = ImageImporter(store: site.store, transport: FakeSource { _ in nil })
        let missing = await #expect(throws: ImportError.self) { try await importer.run(self.order(site), logger: self.logger) }
        #expect(missing?.code == .notFound)
        let closed = ImageImporter(
            store: site.store, transport: FakeSource { _ in (401, [("WWW-Authenticate", "Basic realm=\"x\"")], []) })
        let denied = await #expect(throws: ImportError.self) { try await closed.run(self.order(site), logger: self.logger) }
        #expect(denied?.code == .denied)
        #expect(denied?.message.contains("--username") == true)
    }

    @Test("R5 R9 an address names a port that there can be, or none")
    func ports() {
        for (text, port) in [("https://h.test", 443), ("http://h.test/", 80), ("https://[::1]:65535/x", 65_535), ("https://h.test:", 443)] {
            #expect(SourceURL(text)?.endpoint.port == port, "\(text)")
        }
        for text in [
            "https://h.test:0", "https://h.test:65536", "https://h.test:99999999999999999999/x", "https://[::1]:70000", "https://h.test:x",
        ] {
            #expect(SourceURL(text) == nil, "\(text)")
        }
    }

    @Test("R5 an upstream stands for a registry, with the path before its repositories")
    func upstream() async throws {
        let site = try await Site()
        let url = try #require(SourceURL("http://127.0.0.1:5000/hub/"))
        let importer = ImageImporter(store: site.store, transport: FakeSource { _ in nil }, upstreams: ["docker.io": url])
        let place = try importer.place(of: "index.docker.io", "nginx")
        #expect(place.endpoint == ServerEndpoint(host: "127.0.0.1", port: 5000, isSecure: false))
        #expect(place.repository == "hub/library/nginx")
        #expect(try importer.place(of: "mcr.microsoft.com", "a/b").endpoint.description == "https://mcr.microsoft.com")
        for bad in ["", "a b", "user@host", "host/path"] { #expect(throws: ImportError.self) { try importer.place(of: bad, "x") } }
    }

    @Test("R5 from another registry of this server nothing is fetched, and untagged targets get the manifest alone")
    func local() async throws {
        let site = try await Site()
        let other = try await site.store.registry(named: "other")
        let image = TestImage("app")
        try await site.push(image, tags: [tag("v1")], to: repository("app"))
        let source = FakeSource { _ in nil }
        try await ImageImporter(store: site.store, transport: source).run(
            ImportOrder(
                source: .local(site.registry, repository("app")), reference: .tag(tag("v1")),
                targets: [.init(repository: repository("one"), tag: tag("a")), .init(repository: repository("two"), tag: nil)],
                replacesTags: false, registry: other, quota: nil, origin: "import"), logger: self.logger)
        #expect(source.requests.isEmpty)
        #expect(try await site.store.resolve(tag("a"), in: repository("one"), of: other) == image.manifest.digest)
        #expect(try await site.store.holdsWhole(image.manifest.digest, in: repository("two"), of: other))
        #expect(try await site.store.tags(of: repository("two"), in: other, after: nil, limit: 9).isEmpty)
    }

    @Test(
        "R5 R9 where connections for users go: public yes, inside only as listed, link-local never",
        arguments: [
            ("93.184.216.34", true, true), ("2606:2800:220:1::1", true, true), ("127.0.0.1", false, true), ("::1", false, true),
            ("10.1.2.3", false, true), ("172.31.0.1", false, true), ("192.168.1.1", false, true), ("100.64.0.1", false, true),
            ("fd00:ec2::254", false, true), ("::ffff:10.0.0.1", false, true), ("64:ff9b::7f00:1", false, true),
            ("64:ff9b:1::a9fe:a9fe", false, true), ("2002:a9fe:a9fe::1", false, true), ("2001:0:1::1", false, true),
            ("::10.0.0.1", false, true), ("2001:4860:4860::8888", true, true),
            ("169.254.169.254", false, false), ("::ffff:169.254.169.254", false, false), ("fe80::1", false, false),
            ("0.0.0.0", false, false),
            ("::", false, false), ("224.0.0.1", false, false), ("255.255.255.255", false, false), ("ff02::1", false, false),
        ])
    func addresses(text: String, isOpen: Bool, isOpenWhenListed: Bool) throws {
        let address = try SocketAddress(ipAddress: text, port: 443)
        #expect((try AddressPolicy().refusal(of: address, host: "h.test") == nil) == isOpen)
        for entries in [["0.0.0.0/0", "::/0"], ["h.test"]] {
            #expect((try AddressPolicy(allowing: entries).refusal(of: address, host: "H.test") == nil) == isOpenWhenListed, "\(entries)")
        }
        #expect((try AddressPolicy(allowing: ["11.0.0.0/8", "other.test"]).refusal(of: address, host: "h.test") == nil) == isOpen)
        #expect(throws: AddressPolicy.Invalid.self) { try AddressPolicy(allowing: ["10.0.0.0/40"]) }
    }

    @Test(
        "R5 a challenge is read with its quoted pairs",
        arguments: [
            (
                #"Bearer realm="https://h.test/token",service="h \"1\"", scope=pull"#,
                ["realm": "https://h.test/token", "service": #"h "1""#, "scope": "pull"]
            ),
            (#"Basic realm="a\\b, c=d""#, ["realm": #"a\b, c=d"#]), (#"Basic realm="open"#, ["realm": "open"]),
            (#"Basic realm="open\"#, ["realm": "open"]),
        ])
    func challenge(text: String, items: [String: String]) {
        #expect(Challenge(text).items == items)
    }
}
