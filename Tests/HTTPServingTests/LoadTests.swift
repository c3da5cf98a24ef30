// A thousand clients at once, while garbage is collected and certificates change.

import DistributionAPI
import HTTPServing
import Identity
import Logging
import NIOCore
import NIOPosix
import NIOSSL
import OCI
import Persistence
import RegistryCore
import ServiceLifecycle
import Synchronization
import TestSupport
import Testing

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

@Suite(.serialized) struct LoadTests {
    private static let clients = 1000

    @Test("R6 R8 1,000 clients pull and push while garbage is collected and certificates change: every digest is right")
    func thousandClients() async throws {
        let site = try await Site(clock: TestClock(milliseconds: Int64(Date().timeIntervalSince1970 * 1000)))
        let plane = try await DataPlane(site)
        let hot = HotContent(tokens: plane.authority, store: site.store)
        let authority = try CertificateAuthority(folder: site.folder.tlsPath, commonName: "test", now: Date())
        let leaf = try authority.leaf(folder: site.folder.tlsPath, names: ["127.0.0.1"], now: Date())
        let tls = try TLSContextSource(certificatePEM: leaf.certificatePEM, keyPEM: leaf.keyPEM)
        let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let (ports, tell) = AsyncStream.makeStream(of: Int.self)
        let listener = HTTPListener(
            address: HostAndPort(host: "127.0.0.1", port: 0), tls: tls, handlers: plane.handlers(hot: hot), hot: hot,
            eventLoopGroup: MultiThreadedEventLoopGroup.singleton, pool: .singleton, logger: logger, segments: SegmentPool(),
            // A thousand handshakes at once take both ends, which share this machine, more than what a client has on a server of its own.
            headTimeout: .minutes(10), idleTimeout: .minutes(10)
        ) { tell.yield($0) }
        let services = ServiceGroup(services: [listener], logger: logger)

        let shared = TestImage("shared", layers: [Fixture.layer(bytes: 200_000, seed: 1), Fixture.layer(bytes: 3000, seed: 2)])
        try await site.push(shared, tags: [tag("v1")], to: repository("shared"))
        let token = try await plane.authority.issue(
            .registryAccess, subject: .token("client"), audience: plane.audience,
            access: [
                AccessEntry(type: "repository", name: "shared", actions: ["pull"]),
                AccessEntry(type: "repository", name: "pushed", actions: ["pull", "push", "delete"]),
            ]
        ).token
        let beside = Beside()

        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await services.run() }
            var iterator = ports.makeAsyncIterator()
            let port = try #require(await iterator.next())
            // Garbage of no age at all, so that every pass finds some; what clients were told of is under lease.
            group.addTask {
                let collector = GarbageCollector(store: site.store, uploads: site.uploads)
                do {
                    while !beside.isOver {
                        _ = try await collector.collect(GarbagePolicy(uploadAge: 3_600_000, blobAge: 0, untaggedAge: 0))
                        beside.collected()
                        try await Task.sleep(for: .milliseconds(20))
                    }
                } catch {
                    beside.end()
                    throw error
                }
            }
            group.addTask {
                do {
                    while !beside.isOver {
                        // A name that the one before does not cover: another certificate each time.
                        let names = ["127.0.0.1", "round-\(beside.rotations).test"]
                        let other = try authority.leaf(folder: site.folder.tlsPath, names: names, now: Date())
                        try tls.replace(certificatePEM: other.certificatePEM, keyPEM: other.keyPEM)
                        beside.rotated()
                        try await Task.sleep(for: .milliseconds(50))
                    }
                } catch {
                    beside.end()
                    throw error
                }
            }
            // Where the clients are quicker than the others on this machine, they come again.
            var failures: [String] = []
            repeat {
                failures = await Self.run(port: port, token: token, shared: shared, beside: beside)
            } while failures.isEmpty && !beside.isEnough
            #expect(failures == [])
            #expect(beside.certificates > 1)
            beside.end()
            await services.triggerGracefulShutdown()
            try await group.waitForAll()
        }
        // What was pushed is there, whole.
        for index in stride(from: 0, to: Self.clients, by: 10) {
            let image = Self.image(index)
            let stored = try await site.store.manifest(.tag(tag("c\(index)")), in: repository("pushed"), of: site.registry)
            #expect(stored.bytes == image.manifest.bytes)
            for blob in image.blobs {
                let reader = try await site.store.open(try await site.store.blob(blob.digest, in: repository("pushed"), of: site.registry))
                #expect(Digest.of(try await reader.read(at: 0, count: Int(reader.size)).readableBytesView) == blob.digest)
            }
        }
    }

    /// What goes on beside the clients, and its end.
    private final class Beside: Sendable {
        private let state = Mutex((passes: 0, rotations: 0, isOver: false))
        private let seen = Mutex<Set<[UInt8]>>([])
        var isOver: Bool { self.state.withLock { $0.isOver } }
        /// Whether it has met the clients often enough to be a test of it, or will not any more.
        var isEnough: Bool { self.state.withLock { $0.isOver || $0.passes > 3 } && (self.isOver || self.certificates > 1) }
        var rotations: Int { self.state.withLock { $0.rotations } }
        /// Certificates that clients have been shown.
        var certificates: Int { self.seen.withLock { $0.count } }
        func saw(_ chain: [NIOSSLCertificate]) { self.seen.withLock { _ = $0.insert((try? chain.first?.toDERBytes()) ?? []) } }
        func collected() { self.state.withLock { $0.passes += 1 } }
        func rotated() { self.state.withLock { $0.rotations += 1 } }
        func end() { self.state.withLock { $0.isOver = true } }
    }

    private static func image(_ index: Int) -> TestImage {
        TestImage("pushed \(index)", layers: [Fixture.layer(bytes: 2000 + index, seed: UInt64(index) + 100)])
    }

    /// All clients at once; what went wrong with them.
    private static func run(port: Int, token: String, shared: TestImage, beside: Beside) async -> [String] {
        await withTaskGroup(of: String?.self) { group in
            for index in 0..<self.clients {
                group.addTask {
                    do {
                        return try await self.client(index, port: port, token: token, shared: shared, beside: beside)
                    } catch {
                        return "client \(index): \(error)"
                    }
                }
            }
            return await group.reduce(into: []) { if let failure = $1 { $0.append(failure) } }
        }
    }

    /// One client on one connection: it pulls the shared image, and every tenth pushes one of its own.
    private static func client(_ index: Int, port: Int, token: String, shared: TestImage, beside: Beside) async throws -> String? {
        let tls = ClientTLS { beside.saw($0) }
        return try await RawConnection.with(port: port, isSecure: true, tls: tls) { connection in
            func ask(_ method: String, _ path: String, _ headers: [String] = [], body: [UInt8] = []) async throws -> RawAnswer {
                var lines = ["\(method) \(path) HTTP/1.1", "Host: harbour.test", "Authorization: Bearer \(token)"] + headers
                if !body.isEmpty || method == "POST" || method == "PUT" { lines.append("Content-Length: \(body.count)") }
                try await connection.send(Array((lines.joined(separator: "\r\n") + "\r\n\r\n").utf8) + body)
                return try await connection.answer(toHead: method == "HEAD")
            }
            let manifest = try await ask("GET", "/v2/shared/manifests/v1")
            guard manifest.body == shared.manifest.bytes else { return "client \(index): manifest \(manifest.status)" }
            for blob in shared.blobs {
                let answer = try await ask("GET", "/v2/shared/blobs/\(blob.digest)")
                guard Digest.of(answer.body) == blob.digest else { return "client \(index): blob \(blob.digest) \(answer.status)" }
            }
            guard index % 10 == 0 else { return nil }
            let image = self.image(index)
            for blob in image.blobs {
                let answer = try await ask("POST", "/v2/pushed/blobs/uploads/?digest=\(blob.digest)", body: blob.bytes)
                guard answer.status == 201 else { return "client \(index): push of \(blob.digest) \(answer.status)" }
            }
            let put = try await ask(
                "PUT", "/v2/pushed/manifests/c\(index)", ["Content-Type: \(image.manifest.mediaType)"], body: image.manifest.bytes)
            return put.status == 201
                ? nil : "client \(index): push of the manifest \(put.status) \(String(decoding: put.body, as: UTF8.self))"
        }
    }
}
