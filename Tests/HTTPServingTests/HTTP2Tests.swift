// What an HTTP/2 connection may not do: take for ever over a head, bring too large a one, or stay when it is told to go.

import HTTPTypes
import NIOCore
import NIOEmbedded
import NIOHTTPTypes
import Persistence
import Synchronization
import TestSupport
import Testing

@testable import HTTPServing

/// Frames as clients send them, well formed or not.
private enum Frame {
    static let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)
    static let settings = Frame.of(4, flags: 0, stream: 0, [])
    static let endHeaders: UInt8 = 4
    static let endStream: UInt8 = 1
    /// `GET /v2/` of `harbour.test` over `https`.
    static let request: [UInt8] = [0x82, 0x87, 0x44, 4] + Array("/v2/".utf8) + [0x41, 12] + Array("harbour.test".utf8)

    static func of(_ type: UInt8, flags: UInt8, stream: UInt32, _ payload: [UInt8], length: Int? = nil) -> [UInt8] {
        let length = length ?? payload.count
        let head: [UInt8] = [UInt8(length >> 16 & 255), UInt8(length >> 8 & 255), UInt8(length & 255), type, flags]
        return head + (0..<4).map { UInt8(truncatingIfNeeded: stream >> (24 - 8 * $0)) } + payload
    }

    static func headers(_ stream: UInt32, flags: UInt8, _ block: [UInt8], length: Int? = nil) -> [UInt8] {
        self.of(1, flags: flags, stream: stream, block, length: length)
    }

    static func continuation(_ stream: UInt32, flags: UInt8, _ block: [UInt8]) -> [UInt8] {
        self.of(9, flags: flags, stream: stream, block)
    }

    /// A literal field without a name in the table, of this many bytes, indexed or not.
    static func field(_ count: Int, isIndexed: Bool = false) -> [UInt8] {
        let rest = count - 127
        return [isIndexed ? 0x40 : 0, 1, UInt8(ascii: "x"), 0x7f, UInt8(rest & 0x7f | 0x80), UInt8(rest >> 7)]
            + [UInt8](repeating: UInt8(ascii: "a"), count: count)
    }
}

@Suite struct HTTP2Tests {
    private func channel() throws -> EmbeddedChannel {
        let channel = EmbeddedChannel(handler: HTTP2Deadline(timeout: .seconds(10)))
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
        return channel
    }

    private func isOpen(_ channel: EmbeddedChannel) -> Bool {
        channel.embeddedEventLoop.run()
        return channel.isActive
    }

    @Test("R1 an HTTP/2 head has ten seconds however its bytes are spread, and the next one has its own")
    func heads() throws {
        for isDripping in [false, true] {
            let channel = try self.channel()
            // The preface is the first head.
            channel.embeddedEventLoop.advanceTime(by: .seconds(9))
            try channel.writeInbound(ByteBuffer(bytes: Frame.preface + Frame.settings))
            channel.embeddedEventLoop.advanceTime(by: .hours(1))
            #expect(self.isOpen(channel))
            // A head in two frames, almost too late.
            try channel.writeInbound(ByteBuffer(bytes: Frame.headers(1, flags: 0, Frame.request)))
            channel.embeddedEventLoop.advanceTime(by: .seconds(9))
            try channel.writeInbound(ByteBuffer(bytes: Frame.continuation(1, flags: Frame.endHeaders, [])))
            channel.embeddedEventLoop.advanceTime(by: .hours(1))
            #expect(self.isOpen(channel))
            // A body may take its time, within a frame as well.
            try channel.writeInbound(ByteBuffer(bytes: Frame.of(0, flags: 0, stream: 1, [1, 2, 3], length: 10)))
            channel.embeddedEventLoop.advanceTime(by: .hours(1))
            #expect(self.isOpen(channel))
            // The end of one head and the beginning of another in one read: the second has ten seconds from there.
            try channel.writeInbound(ByteBuffer(bytes: [UInt8](repeating: 0, count: 7) + Frame.headers(3, flags: 0, Frame.request)))
            channel.embeddedEventLoop.advanceTime(by: .seconds(9))
            try channel.writeInbound(
                ByteBuffer(bytes: Frame.continuation(3, flags: Frame.endHeaders, []) + Frame.headers(5, flags: 4, [0x82], length: 40)))
            channel.embeddedEventLoop.advanceTime(by: .seconds(9))
            #expect(self.isOpen(channel))
            // A byte now and then buys nothing.
            if isDripping { try channel.writeInbound(ByteBuffer(bytes: [0])) }
            channel.embeddedEventLoop.advanceTime(by: .seconds(1))
            #expect(!self.isOpen(channel))
            _ = try? channel.finish()
        }
        let silent = try self.channel()
        silent.embeddedEventLoop.advanceTime(by: .seconds(10))
        #expect(!self.isOpen(silent))
        _ = try? silent.finish()
    }

    @Test("R1 frames are followed alike in whatever pieces they arrive")
    func pieces() {
        let bytes =
            Frame.preface + Frame.settings + Frame.headers(1, flags: 0, Frame.request) + Frame.continuation(1, flags: 0, [])
            + Frame.continuation(1, flags: Frame.endHeaders, [0x82]) + Frame.of(0, flags: 1, stream: 1, [1, 2, 3])
            + Frame.headers(3, flags: 5, []) + Frame.of(7, flags: 0, stream: 0, [UInt8](repeating: 0, count: 8))
            + Frame.headers(5, flags: Frame.endHeaders, [], length: 1)
        for size in 1...bytes.count {
            var progress = HTTP2FrameProgress(hasPreface: true)
            #expect(progress.isInHead)
            for start in stride(from: 0, to: bytes.count, by: size) {
                progress.receive(ByteBuffer(bytes: bytes[start..<min(start + size, bytes.count)]).readableBytesView)
            }
            #expect(progress.heads == 3 && progress.farewells == 1 && progress.isInHead)
        }
    }

    @Test("R1 an HTTP/2 request head that does not come to its end is given up, wherever it stops")
    func slowHeads() async throws {
        let starts = [
            [], Array(Frame.preface.prefix(10)),
            Frame.preface + Frame.settings + Frame.headers(1, flags: Frame.endHeaders, [0x82], length: 30),
            Frame.preface + Frame.settings + Frame.headers(1, flags: Frame.endStream, Frame.request),
        ]
        try await Served.with(isSecure: true, headTimeout: .milliseconds(150)) { served in
            for start in starts {
                // This returns when the other end closes, which on a busy machine may be before the handshake is complete.
                _ = try? await RawConnection.with(port: served.port, isSecure: true, tls: ClientTLS(protocols: ["h2"])) { connection in
                    try await connection.send(start)
                    return try await connection.rest()
                }
            }
        }
    }

    @Test("R1 an HTTP/2 connection that is idle, and does not answer when it is told to go, is closed")
    func deafClients() async throws {
        try await Served.with(isSecure: true, headTimeout: .milliseconds(150), idleTimeout: .milliseconds(150)) { served in
            _ = try? await RawConnection.with(port: served.port, isSecure: true, tls: ClientTLS(protocols: ["h2"])) { connection in
                try await connection.send(Frame.preface + Frame.settings)
                return try await connection.rest()
            }
        }
        // Told once, it has ten seconds; told again, it has answered, and what streams it has left have a limit of their own.
        for isAnswering in [false, true] {
            let channel = try self.channel()
            try channel.writeInbound(ByteBuffer(bytes: Frame.preface + Frame.settings))
            let farewell = Frame.of(7, flags: 0, stream: 0, [UInt8](repeating: 0, count: 8))
            try channel.writeOutbound(ByteBuffer(bytes: Frame.settings + farewell))
            channel.embeddedEventLoop.advanceTime(by: .seconds(9))
            #expect(self.isOpen(channel))
            if isAnswering { try channel.writeOutbound(ByteBuffer(bytes: farewell)) }
            channel.embeddedEventLoop.advanceTime(by: .seconds(1))
            #expect(self.isOpen(channel) == isAnswering)
            _ = try? channel.finish()
        }
    }

    @Test("R1 an HTTP/2 head above 16 KiB, in too many parts, or one of too many that are taken back, ends the connection")
    func floods() async throws {
        let large = Frame.headers(1, flags: 0, Frame.request + Frame.field(15_000)) + Frame.continuation(1, flags: 5, Frame.field(2000))
        // Little on the wire, much when it is unfolded.
        let unfolding = Frame.request + Frame.field(3000, isIndexed: true) + [UInt8](repeating: 0x80 | 62, count: 8)
        var parts = Frame.headers(1, flags: 0, Frame.request)
        for _ in 0..<20 { parts += Frame.continuation(1, flags: 0, []) }
        var resets: [UInt8] = []
        for stream in stride(from: UInt32(1), to: 2001, by: 2) {
            resets += Frame.headers(stream, flags: 5, Frame.request)
            resets += Frame.of(3, flags: 0, stream: stream, [0, 0, 0, 8])
        }
        let ping = Frame.of(6, flags: 0, stream: 0, [UInt8](repeating: 0, count: 8))
        let pings = Array(repeatElement(ping, count: 20_000).joined())
        let floods = [large, Frame.headers(1, flags: 5, unfolding), parts, resets, pings]
        try await Served.with(isSecure: true, headTimeout: .minutes(10)) { served in
            for flood in floods {
                _ = try await RawConnection.with(port: served.port, isSecure: true, tls: ClientTLS(protocols: ["h2"])) { connection in
                    // A connection that is closed in the middle of a flood takes no more of it.
                    try? await connection.send(Frame.preface + Frame.settings + flood)
                    return try? await connection.rest()
                }
            }
            // One that fits is answered, and the others' floods have hurt nobody.
            let isAnswered = try await RawConnection.with(port: served.port, isSecure: true, tls: ClientTLS(protocols: ["h2"])) {
                connection in
                try await connection.send(Frame.preface + Frame.settings + Frame.headers(1, flags: 5, Frame.request + Frame.field(12_000)))
                return try await connection.received("authentication required")
            }
            #expect(isAnswered)
        }
    }

    /// Content that counts what is read of it.
    private final class CountedBlob: BlobReader, RequestHandler {
        let size: Int64
        private let count = Mutex(0)

        init(size: Int64) { self.size = size }

        var file: File? { nil }
        var reads: Int { self.count.withLock { $0 } }

        func read(at offset: Int64, count: Int) async throws -> ByteBuffer {
            self.count.withLock { $0 += 1 }
            return ByteBuffer(repeating: 7, count: count)
        }

        func respond(to request: ServerRequest) async throws -> ServerResponse? {
            ServerResponse(.ok, body: .blob(self, 0..<self.size))
        }
    }

    @Test("R1 what an HTTP/2 client does not read is not held for it: one part of each answer, of sixteen at a time")
    func unreadStreams() async throws {
        let size = 512 << 10
        let blob = CountedBlob(size: Int64(size))
        let streams = (0..<60).map { UInt32(2 * $0 + 1) }
        try await Served.with(isSecure: true, handlers: [blob], headTimeout: .minutes(10)) { served in
            let tls = ClientTLS(protocols: ["h2"])
            let isServed = try await RawConnection.with(port: served.port, isSecure: true, tls: tls) { connection in
                let requests = streams.map { Frame.headers($0, flags: 5, Frame.request) }
                try await connection.send(Frame.preface + Frame.settings + Array(requests.joined()))
                #expect(try await eventually { blob.reads >= RegistryChannel.maximumAnswers })
                // Others are served meanwhile, and take their time.
                for _ in 0..<20 {
                    let before = blob.reads
                    let other = try await RawConnection.with(port: served.port, isSecure: true) { connection in
                        try await connection.send("GET /v2/ HTTP/1.1\r\nHost: harbour.test\r\n\r\n")
                        return try await connection.answer().body.count
                    }
                    #expect(other == size)
                    #expect(blob.reads - before == 4)
                }
                // A client that reads gets them all.
                func window(_ stream: UInt32) -> [UInt8] { Frame.of(8, flags: 0, stream: stream, [0x10, 0, 0, 0]) }
                try await connection.send(window(0) + Array(streams.map(window).joined()))
                return try await connection.skip(streams.count * size)
            }
            #expect(isServed)
        }
    }

    /// A stream's channel, in which `parts` have been said, and whether it is there after each of the times.
    private func stream(
        _ parts: [HTTPRequestPart], answered: [HTTPResponsePart] = [], _ steps: [(seconds: Int64, isOpen: Bool)],
        between: (EmbeddedChannel) throws -> Void = { _ in }
    ) throws {
        let channel = EmbeddedChannel(handler: StreamDeadline())
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
        for part in parts { try channel.writeInbound(part) }
        for part in answered { try channel.writeOutbound(part) }
        for (number, step) in steps.enumerated() {
            if number > 0 { try between(channel) }
            channel.embeddedEventLoop.advanceTime(by: .seconds(step.seconds))
            #expect(self.isOpen(channel) == step.isOpen, "step \(number)")
        }
        _ = try? channel.finish()
    }

    @Test("R1 an HTTP/2 stream whose response makes no progress, or that gets none, is closed; one that moves is not")
    func stalledStreams() throws {
        let head = HTTPRequestPart.head(.init(method: .get, scheme: "https", authority: "harbour.test", path: "/v2/"))
        let answer = HTTPResponsePart.head(.init(status: .ok))
        // No answer: ten minutes from the end of the request.
        try self.stream([head, .end(nil)], [(599, true), (1, false)])
        // An answer that nobody takes: five minutes.
        try self.stream([head, .end(nil)], answered: [answer], [(299, true), (1, false)])
        // One that is taken little by little.
        try self.stream([head, .end(nil)], answered: [answer], [(299, true), (299, true), (299, true), (300, false)]) { channel in
            if channel.embeddedEventLoop.now < .uptimeNanoseconds(0) + .seconds(700) {
                try channel.writeOutbound(HTTPResponsePart.body(ByteBuffer(string: "part")))
            }
        }
        // A client that makes room is alive, although all that it gets was written long ago.
        try self.stream([head, .end(nil)], answered: [answer], [(299, true), (299, true), (1, false)]) { channel in
            if channel.embeddedEventLoop.now < .uptimeNanoseconds(0) + .seconds(400) {
                channel.pipeline.fireChannelWritabilityChanged()
            }
        }
        // A request whose body does not come.
        try self.stream([head], [(299, true), (1, false)])
    }
}
