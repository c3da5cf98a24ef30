// A client that sends bytes as they are and reads answers one by one: for requests no library would send.

import NIOCore
import NIOPosix
import NIOSSL

/// One answer.
struct RawAnswer: Sendable, Equatable {
    let status: Int
    /// In lower case; without what differs from answer to answer.
    let headers: [String: String]
    let body: [UInt8]
}

/// What a client says in a handshake, and whom it tells of the certificates it is shown.
struct ClientTLS: Sendable {
    var protocols: [String] = []
    var oldest = TLSVersion.tlsv12
    var newest: TLSVersion?
    var onCertificates: @Sendable ([NIOSSLCertificate]) -> Void = { _ in }

    fileprivate func handler() throws -> NIOSSLClientHandler {
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.shutdownTimeout = .milliseconds(100)
        configuration.applicationProtocols = self.protocols
        configuration.minimumTLSVersion = self.oldest
        configuration.maximumTLSVersion = self.newest
        return try NIOSSLClientHandler(context: NIOSSLContext(configuration: configuration), serverHostname: nil) { certificates, promise in
            self.onCertificates(certificates)
            promise.succeed(.certificateVerified)
        }
    }
}

/// What arrived is no answer.
struct RawError: Error {
    let text: String
}

/// An open connection.
struct RawConnection {
    let outbound: NIOAsyncChannelOutboundWriter<ByteBuffer>
    private var inbound: NIOAsyncChannelInboundStream<ByteBuffer>.AsyncIterator
    private var buffer = ByteBuffer()

    /// Connects, lets `body` speak, and closes. Certificates are taken as they come.
    static func with<Value: Sendable>(
        port: Int, isSecure: Bool, tls: ClientTLS = ClientTLS(), _ body: @Sendable (inout RawConnection) async throws -> Value
    ) async throws -> Value {
        // A thousand of them at once on a busy machine take longer than the ten seconds that are usual.
        let bootstrap = ClientBootstrap(group: .singletonMultiThreadedEventLoopGroup).connectTimeout(.minutes(10))
        let channel = try await bootstrap.connect(host: "127.0.0.1", port: port) { channel in
            channel.eventLoop.makeCompletedFuture {
                if isSecure { try channel.pipeline.syncOperations.addHandler(tls.handler()) }
                return try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel)
            }
        }
        return try await channel.executeThenClose { inbound, outbound in
            var connection = RawConnection(outbound: outbound, inbound: inbound.makeAsyncIterator())
            return try await body(&connection)
        }
    }

    func send(_ bytes: [UInt8]) async throws { try await self.outbound.write(ByteBuffer(bytes: bytes)) }

    func send(_ text: String) async throws { try await self.outbound.write(ByteBuffer(string: text)) }

    /// Reads one answer.
    ///
    /// - Parameter toHead: the answer has no body whatever its length says.
    mutating func answer(toHead: Bool = false) async throws -> RawAnswer {
        var head = ""
        while true {
            let text = String(decoding: self.buffer.readableBytesView.prefix(16 << 10), as: UTF8.self)
            if let end = text.firstRange(of: "\r\n\r\n") {
                head = String(text[..<end.lowerBound])
                self.buffer.moveReaderIndex(forwardBy: head.utf8.count + 4)
                break
            }
            try await self.receive()
        }
        let lines = head.split(separator: "\r\n")
        guard let status = lines.first?.split(separator: " ").dropFirst().first.flatMap({ Int($0) }) else { throw RawError(text: head) }
        var headers: [String: String] = [:]
        for line in lines.dropFirst() {
            let parts = line.split(separator: ":", maxSplits: 1)
            headers[parts[0].lowercased()] = parts.count == 2 ? String(parts[1].drop { $0 == " " }) : ""
        }
        headers["x-ms-request-id"] = nil
        // Every answer has one, and it may be another a moment later.
        guard headers.removeValue(forKey: "date")?.utf8.count == 29 else { throw RawError(text: "an answer without a date: \(head)") }
        let length = toHead || status == 304 ? 0 : Int(headers["content-length"] ?? "") ?? 0
        while self.buffer.readableBytes < length { try await self.receive() }
        return RawAnswer(status: status, headers: headers, body: self.buffer.readBytes(length: length) ?? [])
    }

    /// Everything until the other end closes, as text.
    mutating func rest() async throws -> String {
        while let next = try await self.inbound.next() { self.buffer.writeImmutableBuffer(next) }
        return String(buffer: self.buffer)
    }

    /// Takes so many bytes and forgets them; `false` when the other end closes before.
    mutating func skip(_ count: Int) async throws -> Bool {
        var left = count
        while true {
            let taken = min(left, self.buffer.readableBytes)
            self.buffer.moveReaderIndex(forwardBy: taken)
            left -= taken
            if left == 0 { return true }
            guard let next = try await self.inbound.next() else { return false }
            self.buffer = next
        }
    }

    /// Reads on until this text has arrived; `false` when the other end closes before.
    mutating func received(_ text: String) async throws -> Bool {
        while self.buffer.readableBytesView.firstRange(of: Array(text.utf8)) == nil {
            guard let next = try await self.inbound.next() else { return false }
            self.buffer.writeImmutableBuffer(next)
        }
        return true
    }

    /// The status line of an answer that precedes the answer.
    mutating func informational() async throws -> String {
        while self.buffer.readableBytesView.firstRange(of: Array("\r\n\r\n".utf8)) == nil { try await self.receive() }
        let text = String(decoding: self.buffer.readableBytesView, as: UTF8.self)
        guard let end = text.firstRange(of: "\r\n\r\n") else { throw RawError(text: text) }
        let head = text[..<end.lowerBound]
        self.buffer.moveReaderIndex(forwardBy: head.utf8.count + 4)
        return String(head.split(separator: "\r\n")[0])
    }

    private mutating func receive() async throws {
        guard var next = try await self.inbound.next() else { throw RawError(text: "the connection was closed") }
        self.buffer.writeBuffer(&next)
    }
}

extension String {
    fileprivate func firstRange(of separator: String) -> Range<String.Index>? {
        let (text, wanted) = (Array(self.utf8), Array(separator.utf8))
        guard text.count >= wanted.count else { return nil }
        for start in 0...(text.count - wanted.count) where text[start..<(start + wanted.count)].elementsEqual(wanted) {
            return self.utf8.index(self.startIndex, offsetBy: start)..<self.utf8.index(self.startIndex, offsetBy: start + wanted.count)
        }
        return nil
    }
}
