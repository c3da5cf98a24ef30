// What a connection may and may not do: how long a head may take, what follows a refused upload, several ranges at once.

import HTTPServing
import Logging
import NIOCore
import NIOPosix
import OCI
import Persistence
import ServiceLifecycle
import TestSupport
import Testing

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

/// One listener over a registry.
struct Served: Sendable {
    let plane: DataPlane
    let port: Int

    /// - Parameters:
    ///   - certificates: what TLS is spoken with; one of its own authority where there is none.
    ///   - handlers: what answers in place of the registry.
    static func with(
        isSecure: Bool = false, certificates: TLSContextSource? = nil, handlers: [any RequestHandler]? = nil, headTimeout: TimeAmount,
        idleTimeout: TimeAmount = .minutes(10), _ body: @escaping @Sendable (Served) async throws -> Void
    ) async throws {
        let site = try await Site(clock: TestClock(milliseconds: Int64(Date().timeIntervalSince1970 * 1000)))
        let plane = try await DataPlane(site)
        let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        var tls = certificates
        if isSecure, tls == nil {
            let authority = try CertificateAuthority(folder: site.folder.tlsPath, commonName: "test", now: Date())
            let leaf = try authority.leaf(folder: site.folder.tlsPath, names: ["127.0.0.1"], now: Date())
            tls = try TLSContextSource(certificatePEM: leaf.certificatePEM, keyPEM: leaf.keyPEM)
        }
        let (ports, tell) = AsyncStream.makeStream(of: Int.self)
        let listener = HTTPListener(
            address: HostAndPort(host: "127.0.0.1", port: 0), tls: tls, handlers: handlers ?? plane.handlers(hot: nil), hot: nil,
            eventLoopGroup: MultiThreadedEventLoopGroup.singleton, pool: .singleton, logger: logger, segments: SegmentPool(),
            headTimeout: headTimeout, idleTimeout: idleTimeout
        ) { tell.yield($0) }
        let services = ServiceGroup(services: [listener], logger: logger)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await services.run() }
            var iterator = ports.makeAsyncIterator()
            let port = try #require(await iterator.next())
            do {
                try await body(Served(plane: plane, port: port))
            } catch {
                await services.triggerGracefulShutdown()
                throw error
            }
            await services.triggerGracefulShutdown()
            try await group.waitForAll()
        }
    }
}

@Suite struct ConnectionTests {
    @Test("R1 a request head that does not come to its end is given up, whenever it stops")
    func slowHeads() async throws {
        try await Served.with(headTimeout: .milliseconds(150)) { served in
            for start in ["G", "GET /v2/ HTTP/1.1\r\n", "GET /v2/ HTTP/1.1\r\nHost: a\r\nX: "] {
                let (status, isClosed) = try await RawConnection.with(port: served.port, isSecure: false) { connection in
                    try await connection.send(start)
                    let answer = try await connection.rest()
                    return (answer.prefix(12), true)
                }
                #expect(status == "HTTP/1.1 408")
                #expect(isClosed)
            }
            // A second request on the same connection has its own time.
            let text = try await RawConnection.with(port: served.port, isSecure: false) { connection in
                try await connection.send("GET /v2/ HTTP/1.1\r\nHost: harbour.test\r\n\r\n")
                let first = try await connection.answer()
                #expect(first.status == 401)
                try await connection.send("GET /v2/ HT")
                return try await connection.rest()
            }
            #expect(text.hasPrefix("HTTP/1.1 408"))
        }
    }

    @Test("R1 a head larger than 16 KiB, or with more than a hundred fields, ends the connection with a refusal")
    func headerFloods() async throws {
        try await Served.with(headTimeout: .minutes(10)) { served in
            let floods = [
                "X: \(String(repeating: "a", count: 17 << 10))\r\n",
                String(repeating: "X-A: \(String(repeating: "b", count: 1000))\r\n", count: 20),
                String(repeating: "X: y\r\n", count: 200),
            ]
            for flood in floods {
                let text = try await RawConnection.with(port: served.port, isSecure: false) { connection in
                    try await connection.send("GET /v2/ HTTP/1.1\r\nHost: harbour.test\r\n\(flood)\r\n")
                    return try await connection.rest()
                }
                #expect(text.isEmpty || text.hasPrefix("HTTP/1.1 4"), "\(text.prefix(100))")
            }
            // Others are served as before.
            let status = try await RawConnection.with(port: served.port, isSecure: false) { connection in
                try await connection.send("GET /v2/ HTTP/1.1\r\nHost: harbour.test\r\n\r\n")
                return try await connection.answer().status
            }
            #expect(status == 401)
        }
    }

    @Test("R1 a TLS handshake that never begins is given up")
    func silentHandshake() async throws {
        try await Served.with(isSecure: true, headTimeout: .milliseconds(150)) { served in
            let text = try await RawConnection.with(port: served.port, isSecure: false) { try await $0.rest() }
            #expect(text.isEmpty)
        }
    }

    @Test("R1 an upload refused before it was asked for ends the connection, one that was asked for does not")
    func refusedExpectation() async throws {
        try await Served.with(headTimeout: .minutes(10)) { served in
            let begin = "POST /v2/app/blobs/uploads/ HTTP/1.1\r\nHost: harbour.test\r\nContent-Length: 4\r\nExpect: 100-continue\r\n"
            let text = try await RawConnection.with(port: served.port, isSecure: false) { connection in
                try await connection.send(begin + "\r\n")
                return try await connection.rest()
            }
            #expect(text.hasPrefix("HTTP/1.1 401"))
            #expect(text.lowercased().contains("connection: close"))

            let digest = Digest.of("data".utf8)
            let admin = try #require(try await served.plane.credentials("admin")[.authorization])
            try await RawConnection.with(port: served.port, isSecure: false) { connection in
                let path = "/v2/app/blobs/uploads/?digest=\(digest)"
                try await connection.send(
                    "POST \(path) HTTP/1.1\r\nHost: harbour.test\r\nAuthorization: \(admin)\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
                )
                #expect(try await connection.informational() == "HTTP/1.1 100 Continue")
                try await connection.send("data")
                let stored = try await connection.answer()
                #expect(stored.status == 201)
                #expect(stored.headers["connection"] == nil)
                try await connection.send("GET /v2/ HTTP/1.1\r\nHost: harbour.test\r\n\r\n")
                #expect(try await connection.answer().status == 401)
            }
        }
    }

    @Test("R1 several ranges of a large blob arrive as they were asked for", arguments: [false, true])
    func severalRanges(isSecure: Bool) async throws {
        try await Served.with(isSecure: isSecure, headTimeout: .minutes(10)) { served in
            let layer = Fixture.layer(bytes: 2_000_000, seed: 9)
            try await served.plane.site.push(layer, to: repository("app"))
            let admin = try #require(try await served.plane.credentials("admin")[.authorization])
            let answers = try await RawConnection.with(port: served.port, isSecure: isSecure) { connection in
                var answers: [RawAnswer] = []
                for range in ["bytes=0-299999,500000-999999,-7", "bytes=1-2"] {
                    try await connection.send(
                        "GET /v2/app/blobs/\(layer.digest) HTTP/1.1\r\nHost: harbour.test\r\nAuthorization: \(admin)\r\nRange: \(range)\r\n\r\n"
                    )
                    answers.append(try await connection.answer())
                }
                return answers
            }
            #expect(answers.map(\.status) == [206, 206])
            #expect(answers[1].body == Array(layer.bytes[1..<3]))
            for part in [0..<300_000, 500_000..<1_000_000, 1_999_993..<2_000_000] {
                #expect(
                    answers[0].body.firstRange(
                        of: Array("bytes \(part.lowerBound)-\(part.upperBound - 1)/2000000\r\n\r\n".utf8) + layer.bytes[part]) != nil)
            }
        }
    }
}

@Suite struct HTTPDateTests {
    @Test(
        "R1 dates are those of RFC 9110",
        arguments: [
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"), (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (951_868_799, "Tue, 29 Feb 2000 23:59:59 GMT"), (4_102_444_800, "Fri, 01 Jan 2100 00:00:00 GMT"),
        ] as [(Int64, String)])
    func text(second: Int64, text: String) {
        #expect(HTTPDate.text(second) == text)
        #expect(text.utf8.count == HTTPDate.length)
    }
}
