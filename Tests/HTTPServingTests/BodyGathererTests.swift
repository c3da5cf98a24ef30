// Request bodies on their way from the decoder to the registry.

import NIOCore
import NIOEmbedded
import NIOHTTP1
import Persistence
import TestSupport
import Testing

@testable import HTTPServing

@Suite struct BodyGathererTests {
    private static let segment = SegmentPool().take().segmentSize

    private struct Received: Equatable {
        var parts: [Int] = []
        var bytes: [UInt8] = []
        var ends = 0
    }

    private static func head(_ headers: HTTPHeaders, _ method: HTTPMethod = .PATCH) -> HTTPServerRequestPart {
        .head(HTTPRequestHead(version: .http1_1, method: method, uri: "/v2/app/blobs/uploads/1", headers: headers))
    }

    private static func drain(_ channel: EmbeddedChannel) throws -> Received {
        var received = Received()
        while let part = try channel.readInbound(as: HTTPServerRequestPart.self) {
            switch part {
            case .head: break
            case .body(let buffer):
                received.parts.append(buffer.readableBytes)
                received.bytes += buffer.readableBytesView
            case .end: received.ends += 1
            }
        }
        return received
    }

    @Test("R1 a large body arrives in whole segments and a rest, however it was cut on the way", arguments: 1...20 as ClosedRange<UInt64>)
    func gathered(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let pool = SegmentPool()
        let channel = EmbeddedChannel(handler: BodyGatherer(segments: pool))
        for _ in 0..<3 {
            let size = Self.segment + Int(random.next() % (3 << 20))
            let isChunked = random.next() % 2 == 0
            try channel.writeInbound(
                Self.head(
                    isChunked ? ["Transfer-Encoding": "chunked"] : ["Content-Length": "\(size)"], random.next() % 2 == 0 ? .PATCH : .PUT))
            var (sent, received) = ([UInt8](), Received())
            while sent.count < size {
                let part = random.bytes(min(size - sent.count, 1 + Int(random.next() % 700_000)))
                sent += part
                try channel.writeInbound(HTTPServerRequestPart.body(ByteBuffer(bytes: part)))
                let now = try Self.drain(channel)
                received.parts += now.parts
                received.bytes += now.bytes
            }
            try channel.writeInbound(HTTPServerRequestPart.end(nil))
            let rest = try Self.drain(channel)
            #expect(rest.ends == 1 && received.bytes + rest.bytes == sent)
            #expect(received.parts.allSatisfy { $0 == Self.segment })
            #expect(rest.parts == (size % Self.segment == 0 ? [] : [size % Self.segment]))
        }
        _ = try channel.finish()
    }

    @Test("R1 what arrived before a connection broke is handed on", arguments: ["error", "close", "half"])
    func broken(by cause: String) throws {
        struct Broken: Error {}
        let channel = EmbeddedChannel(handler: BodyGatherer(segments: SegmentPool()))
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
        try channel.writeInbound(Self.head(["Content-Length": "3000000"]))
        try channel.writeInbound(HTTPServerRequestPart.body(ByteBuffer(bytes: [1, 2, 3])))
        #expect(try Self.drain(channel).bytes == [])
        switch cause {
        case "error": channel.pipeline.fireErrorCaught(Broken())
        case "half": channel.pipeline.fireUserInboundEventTriggered(ChannelEvent.inputClosed)
        default: channel.pipeline.fireChannelInactive()
        }
        #expect(try Self.drain(channel).bytes == [1, 2, 3])
        _ = try? channel.finish()
    }

    @Test("R1 small bodies pass as they come, and so do large ones where many are gathered") func passed() throws {
        let pool = SegmentPool()
        var channels: [EmbeddedChannel] = []
        for index in 0..<6 {
            let channel = EmbeddedChannel(handler: BodyGatherer(segments: pool))
            try channel.writeInbound(Self.head(["Content-Length": "3000000"]))
            try channel.writeInbound(HTTPServerRequestPart.body(ByteBuffer(bytes: [7, 8])))
            #expect(try Self.drain(channel).bytes == (index < 2 ? [] : [7, 8]))
            channels.append(channel)
        }
        // Whoever has ended makes room for others.
        try channels[0].writeInbound(HTTPServerRequestPart.end(nil))
        #expect(try Self.drain(channels[0]) == Received(parts: [2], bytes: [7, 8], ends: 1))
        channels[1].pipeline.fireChannelInactive()
        for (index, length) in [(4, "12"), (5, "3000000"), (0, "3000000")] {
            try channels[index].writeInbound(HTTPServerRequestPart.end(nil))
            _ = try Self.drain(channels[index])
            try channels[index].writeInbound(Self.head(["Content-Length": length]))
            try channels[index].writeInbound(HTTPServerRequestPart.body(ByteBuffer(bytes: [9])))
            #expect(try Self.drain(channels[index]).bytes == (length == "12" ? [9] : []))
        }
        for channel in channels { _ = try? channel.finish() }
    }
}
