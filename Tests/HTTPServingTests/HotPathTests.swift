// Proves that the hot path answers as the cold path does, in order, only to those who may, and only while it is true.

import DistributionAPI
import HTTPServing
import Identity
import Logging
import NIOPosix
import OCI
import RegistryCore
import ServiceLifecycle
import TestSupport
import Testing

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

/// Two listeners over one registry: with the hot path and without.
private struct Pair: Sendable {
    let plane: DataPlane
    let hot: Int
    let cold: Int
    let isSecure: Bool
    let token: String

    var site: Site { self.plane.site }

    /// A request as a plain client writes it.
    func request(_ method: String, _ path: String, _ headers: [String] = [], token: String? = nil) -> String {
        let lines = ["\(method) \(path) HTTP/1.1", "Host: harbour.test", "Authorization: Bearer \(token ?? self.token)"] + headers
        return lines.joined(separator: "\r\n") + "\r\n\r\n"
    }

    /// The answers of both to the same requests on one connection each.
    func answers(_ requests: [String]) async throws -> (hot: [RawAnswer], cold: [RawAnswer]) {
        (try await self.answers(requests, self.hot), try await self.answers(requests, self.cold))
    }

    func answers(_ requests: [String], _ port: Int) async throws -> [RawAnswer] {
        try await RawConnection.with(port: port, isSecure: self.isSecure) { connection in
            var answers: [RawAnswer] = []
            for request in requests {
                try await connection.send(request)
                answers.append(try await connection.answer(toHead: request.hasPrefix("HEAD")))
            }
            return answers
        }
    }

    /// Runs `body` with both listeners up.
    static func with(isSecure: Bool, _ body: @escaping @Sendable (Pair) async throws -> Void) async throws {
        let site = try await Site(clock: TestClock(milliseconds: Int64(Date().timeIntervalSince1970 * 1000)))
        let plane = try await DataPlane(site)
        let hot = HotContent(tokens: plane.authority, store: site.store)
        let tls = try isSecure ? Self.context(site) : nil
        let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let (ports, tell) = AsyncStream.makeStream(of: (isHot: Bool, port: Int).self)
        func listener(_ responder: HotContent?) -> HTTPListener {
            HTTPListener(
                address: HostAndPort(host: "127.0.0.1", port: 0), tls: tls, handlers: plane.handlers(hot: responder), hot: responder,
                eventLoopGroup: MultiThreadedEventLoopGroup.singleton, pool: .singleton, logger: logger,
                // A test that has to wait for its turn is not what these are for.
                headTimeout: .minutes(10), idleTimeout: .minutes(10)
            ) { port in tell.yield((responder != nil, port)) }
        }
        let services = ServiceGroup(services: [listener(hot), listener(nil)], logger: logger)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await services.run() }
            var found: [Bool: Int] = [:]
            for await (isHot, port) in ports {
                found[isHot] = port
                if found.count == 2 { break }
            }
            let token = try await plane.authority.issue(
                .registryAccess, subject: .token("reader"), audience: plane.audience,
                access: [AccessEntry(type: "repository", name: "app", actions: ["pull"])]
            ).token
            let pair = Pair(
                plane: plane, hot: try #require(found[true]), cold: try #require(found[false]), isSecure: isSecure, token: token)
            do {
                try await body(pair)
            } catch {
                await services.triggerGracefulShutdown()
                throw error
            }
            await services.triggerGracefulShutdown()
            try await group.waitForAll()
        }
    }

    private static func context(_ site: Site) throws -> TLSContextSource {
        let authority = try CertificateAuthority(folder: site.folder.tlsPath, commonName: "test", now: Date())
        let leaf = try authority.leaf(folder: site.folder.tlsPath, names: ["127.0.0.1"], now: Date())
        return try TLSContextSource(certificatePEM: leaf.certificatePEM, keyPEM: leaf.keyPEM)
    }
}

@Suite struct HotPathTests {
    private static let app = repository("app")

    @Test("R1 the hot path gives the answers of the cold path, header for header", arguments: [false, true])
    func sameAnswers(isSecure: Bool) async throws {
        try await Pair.with(isSecure: isSecure) { pair in
            // Small, larger than one read, and empty.
            let layers = [Fixture.layer("small"), Fixture.layer(bytes: 700_001, seed: 7), Fixture.layer("")]
            let image = TestImage("one", layers: layers)
            try await pair.site.push(image, tags: [tag("v1")], to: Self.app)
            var paths = ["/v2/app/manifests/v1", "/v2/app/manifests/\(image.manifest.digest)"]
            paths += image.blobs.map { "/v2/app/blobs/\($0.digest)" }
            paths += ["/v2/app/manifests/v2", "/v2/app/blobs/\(Digest.of("absent".utf8))", "/v2/", "/v2/app/tags/list"]
            let variants: [[String]] = [
                [], ["Range: bytes=0-9"], ["Range: bytes=100-"], ["Range: bytes=-3"], ["Range: bytes=5-4"], ["Range: bytes=0-1,2-4"],
                ["Accept: application/vnd.oci.image.manifest.v1+json"], ["Accept: text/plain"],
                ["Accept: text/plain", "Accept: */*;q=0.1"],
                ["Range: bytes=99999999-"], ["If-None-Match: \"\(image.manifest.digest)\""], ["Accept: */*", "Connection: keep-alive"],
                ["Range: bytes=1-700000"],
            ]
            for path in paths {
                for variant in variants {
                    // Each twice, on one connection: a handshake for each of a thousand would be most of what is done here.
                    let methods = ["GET", "GET", "HEAD", "HEAD", "GET", "GET", "GET", "GET"]
                    let (hot, cold) = try await pair.answers(methods.map { pair.request($0, path, variant) })
                    for (method, (hot, cold)) in zip(methods, zip(hot, cold)) {
                        #expect(hot == cold, "\(method) \(path) \(variant)")
                    }
                    #expect(hot.count == methods.count && cold.count == methods.count)
                }
            }
        }
    }

    @Test("R1 harbor_22609_headWhereGetWorks: HEAD and GET agree on every manifest, tag and blob, hot and cold", arguments: [false, true])
    func harbor_22609_headWhereGetWorks(isSecure: Bool) async throws {
        try await Pair.with(isSecure: isSecure) { pair in
            let (one, two) = (TestImage("one", layers: [Fixture.layer(""), Fixture.layer("small")]), TestImage("two"))
            let index = Fixture.index([one.manifest.descriptor, two.manifest.descriptor])
            for image in [one, two] { try await pair.site.push(image, to: Self.app) }
            try await pair.site.put(index, tags: [tag("all")], to: Self.app)
            var paths = ["all", "none"] + [index, one.manifest, two.manifest, one.config].map(\.digest.description)
            paths = paths.map { "/v2/app/manifests/\($0)" }
            paths += (one.blobs + two.blobs + [index]).map { "/v2/app/blobs/\($0.digest)" }
            for path in paths {
                for port in [pair.hot, pair.cold] {
                    // In every order: the first one is cold everywhere.
                    let methods = ["HEAD", "GET", "HEAD", "GET", "GET", "HEAD"]
                    let answers = try await pair.answers(methods.map { pair.request($0, path) }, port)
                    #expect(Set(answers.map(\.status)).count == 1, "\(path): \(answers.map(\.status))")
                    for name in ["content-length", "content-type", "docker-content-digest", "etag"] {
                        #expect(Set(answers.map { $0.headers[name] }).count == 1, "\(path): \(name) of \(answers.map(\.headers))")
                    }
                }
            }
        }
    }

    @Test("R1 requests sent without waiting are answered in their order, hot, cold and files mixed", arguments: [false, true])
    func pipelining(isSecure: Bool) async throws {
        try await Pair.with(isSecure: isSecure) { pair in
            let image = TestImage("one", layers: [Fixture.layer(bytes: 3_000_000, seed: 3), Fixture.layer("small")])
            try await pair.site.push(image, tags: [tag("v1")], to: Self.app)
            let paths = [
                "/v2/app/manifests/v1", "/v2/app/blobs/\(image.layers[0].digest)", "/v2/app/tags/list",
                "/v2/app/blobs/\(image.layers[1].digest)",
                "/v2/app/blobs/\(image.layers[0].digest)", "/v2/app/manifests/nothing", "/v2/app/manifests/v1",
            ]
            let expected = try await pair.answers(paths.map { pair.request("GET", $0) }, pair.cold)
            _ = try await pair.answers(paths.map { pair.request("GET", $0) }, pair.hot)
            let requests = paths.map { pair.request("GET", $0) }.joined()
            let answers = try await RawConnection.with(port: pair.hot, isSecure: isSecure) { connection in
                try await connection.send(requests + requests)
                var answers: [RawAnswer] = []
                for _ in 0..<(2 * paths.count) { answers.append(try await connection.answer()) }
                return answers
            }
            #expect(answers == expected + expected)
        }
    }

    @Test("R1 a request that came together with one for a file is answered once the file has gone", arguments: [false, true])
    func lastBehindFile(isSecure: Bool) async throws {
        try await Pair.with(isSecure: isSecure) { pair in
            // More than the sockets between the two hold, so that the file is still on its way when both requests have been read.
            let image = TestImage("one", layers: [Fixture.layer(bytes: 20_000_000, seed: 3)])
            try await pair.site.push(image, tags: [tag("v1")], to: Self.app)
            let file = pair.request("GET", "/v2/app/blobs/\(image.layers[0].digest)")
            let expected = try await pair.answers([file, file], pair.hot)
            for path in ["/v2/app/tags/list", "/v2/app/manifests/nothing"] {
                let list = pair.request("GET", path)
                let last = try await pair.answers([list], pair.cold)
                let answers = try await RawConnection.with(port: pair.hot, isSecure: isSecure) { connection in
                    // The buffer for reading grows with this one: the next two come in one read.
                    try await connection.send(file)
                    var answers = [try await connection.answer()]
                    try await connection.send(file + list)
                    for _ in 0..<2 { answers.append(try await connection.answer()) }
                    return answers
                }
                #expect(answers == expected + last)
            }
        }
    }

    @Test("I1 what one caller has read is not served to one who may not read it")
    func otherCallers() async throws {
        try await Pair.with(isSecure: false) { pair in
            let image = TestImage("one")
            try await pair.site.push(image, tags: [tag("v1")], to: Self.app)
            let paths = ["/v2/app/manifests/v1", "/v2/app/blobs/\(image.layers[0].digest)"]
            _ = try await pair.answers(paths.flatMap { [pair.request("GET", $0), pair.request("GET", $0)] }, pair.hot)
            let authority = pair.plane.authority
            let pull = [AccessEntry(type: "repository", name: "app", actions: ["pull"])]
            let strangers = [
                // Another repository, another action, another registry, another kind, and a token nobody issued.
                try await authority.issue(
                    .registryAccess, subject: .token("a"), audience: pair.plane.audience,
                    access: [AccessEntry(type: "repository", name: "other", actions: ["pull"])]
                ).token,
                try await authority.issue(
                    .registryAccess, subject: .token("b"), audience: pair.plane.audience,
                    access: [AccessEntry(type: "repository", name: "app", actions: ["push"])]
                ).token,
                try await authority.issue(.registryAccess, subject: .token("c"), audience: "registry/other", access: pull).token,
                try await authority.issue(.registryRefresh, subject: .token("d"), audience: pair.plane.audience, access: pull).token,
                "nonsense",
            ]
            for stranger in strangers {
                for path in paths {
                    for answer in try await pair.answers(
                        [String](repeating: pair.request("GET", path, token: stranger), count: 2), pair.hot)
                    {
                        #expect(answer.status == 401)
                    }
                }
            }
            // An expired token ends although its content is remembered.
            pair.site.clock.advance(seconds: 301)
            for path in paths { #expect(try await pair.answers([pair.request("GET", path)], pair.hot).first?.status == 401) }
        }
    }

    @Test("R6 a file that was served and has been collected is not kept open: its space is free")
    func collected() async throws {
        try await Pair.with(isSecure: false) { pair in
            let image = TestImage("one", layers: [Fixture.layer(bytes: 100_000, seed: 3)])
            try await pair.site.push(image, tags: [tag("v1")], to: Self.app)
            let path = "/v2/app/blobs/\(image.layers[0].digest)"
            _ = try await pair.answers([pair.request("GET", path), pair.request("GET", path)], pair.hot)
            let folder = "\(pair.site.scratch.path)/blobs"
            func open() throws -> [String] {
                try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").compactMap {
                    try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/fd/\($0)")
                }.filter { $0.hasPrefix(folder) }
            }
            #expect(try open().count == 1)
            try await pair.site.store.delete(image.manifest.digest, from: Self.app, of: pair.site.registry, origin: "test")
            pair.site.clock.advance(seconds: 3 * 86_400)
            let report = try await GarbageCollector(store: pair.site.store, uploads: pair.site.uploads).collect(GarbagePolicy())
            #expect(report.blobs == 2)
            #expect(try open() == [])
        }
    }

    @Test(
        "R6 R1 HEAD of a manifest by its digest renews its lease for who may push, though it was answered before", arguments: [false, true])
    func leaseByHead(mayPush: Bool) async throws {
        try await Pair.with(isSecure: false) { pair in
            let image = TestImage("one")
            try await pair.site.push(image, tags: [], to: Self.app)
            let path = "/v2/app/manifests/\(image.manifest.digest)"
            let token = try await pair.plane.authority.issue(
                .registryAccess, subject: .token("client"), audience: pair.plane.audience,
                access: [AccessEntry(type: "repository", name: "app", actions: mayPush ? ["pull", "push"] : ["pull"])]
            ).token
            _ = try await pair.answers([String](repeating: pair.request("GET", path, token: token), count: 2), pair.hot)
            // Not so much that the token would end.
            pair.site.clock.advance(seconds: 200)
            try await pair.site.database.write { _ = try $0.execute("UPDATE manifest SET created = created - 4000000, lease = 0") }
            let heads = try await pair.answers([String](repeating: pair.request("HEAD", path, token: token), count: 2), pair.hot)
            #expect(heads.map(\.status) == [200, 200])
            let policy = GarbagePolicy(untaggedAge: 0)
            let collected = try await GarbageCollector(store: pair.site.store, uploads: pair.site.uploads).collect(policy).manifests
            #expect(collected == (mayPush ? 0 : 1))
        }
    }

    @Test("R1 what has been moved, deleted or unlinked is not remembered")
    func invalidation() async throws {
        try await Pair.with(isSecure: false) { pair in
            let (one, two) = (TestImage("one"), TestImage("two"))
            try await pair.site.push(one, tags: [tag("v1")], to: Self.app)
            func read(_ path: String) async throws -> RawAnswer {
                let answers = try await pair.answers([String](repeating: pair.request("GET", path), count: 3), pair.hot)
                #expect(Set(answers.map(\.status)).count == 1)
                return try #require(answers.last)
            }
            #expect(try await read("/v2/app/manifests/v1").body == one.manifest.bytes)
            try await pair.site.push(two, tags: [tag("v1")], to: Self.app)
            #expect(try await read("/v2/app/manifests/v1").body == two.manifest.bytes)
            try await pair.site.store.delete(tag("v1"), from: Self.app, of: pair.site.registry, origin: "test")
            #expect(try await read("/v2/app/manifests/v1").status == 404)
            #expect(try await read("/v2/app/manifests/\(two.manifest.digest)").status == 200)
            try await pair.site.store.delete(two.manifest.digest, from: Self.app, of: pair.site.registry, origin: "test")
            #expect(try await read("/v2/app/manifests/\(two.manifest.digest)").status == 404)
            let blob = "/v2/app/blobs/\(two.layers[0].digest)"
            #expect(try await read(blob).status == 200)
            try await pair.site.store.deleteBlob(two.layers[0].digest, from: Self.app, of: pair.site.registry)
            #expect(try await read(blob).status == 404)
        }
    }
}
