// The child channel of our listeners: TLS with a context that may change, then HTTP/1.1 (NIO's decoder, the hot path,
// Hummingbird) or, where a client speaks nothing else, HTTP/2.

internal import HummingbirdCore
internal import HummingbirdHTTP2
internal import Logging
internal import NIOCore
internal import NIOHTTPTypes
internal import NIOHTTPTypesHTTP1
internal import NIOSSL
internal import NIOTLS
internal import Persistence

/// What a connection speaks.
enum HTTPVersion: Sendable {
    case one
    case two
}

/// Sets up accepted connections.
struct RegistryChannel: ServerChildChannel {
    typealias Responder = @Sendable (Request, consuming ResponseWriter, any Channel, HTTPVersion) async throws -> Void

    /// What becomes of a connection once it is known what it speaks.
    struct Value: ServerChildChannelValue {
        enum Connection: Sendable {
            case one(HTTP1Channel.Value)
            case two(HTTP2Channel, HTTP2Channel.Value)
        }

        let connection: EventLoopFuture<Connection>
        let channel: any Channel
    }

    /// The largest request head, in bytes.
    static let maximumHeadSize = 16 << 10
    /// The most fields of an HTTP/1.1 head.
    static let maximumFields = 100
    /// Requests of one HTTP/2 connection that are answered at a time; the others wait for their turn.
    static let maximumAnswers = 16
    /// How long a connection may do nothing.
    static let idleTimeout = TimeAmount.seconds(75)
    /// How long a request head, a TLS handshake, or the answer to being told to go may take from its first byte to its last.
    static let headTimeout = TimeAmount.seconds(10)

    /// How long a response may make no progress: 4 MiB in this time is 14 KiB/s.
    static let stalledResponse = TimeAmount.seconds(300)
    /// How long a request that has arrived whole may go without an answer (long polls, imports).
    static let longestAnswer = TimeAmount.seconds(600)

    private let http1: HTTP1Channel
    /// Makes the part for one connection, whose streams share what it may have answered at a time.
    private let makeHTTP2: @Sendable () -> HTTP2Channel
    private let tls: TLSContextSource?
    private let headTimeout: TimeAmount
    private let makeHotPath: @Sendable (HeadDeadline) -> HotPathHandler
    private let segments: SegmentPool?

    init(
        tls: TLSContextSource?, headTimeout: TimeAmount, idleTimeout: TimeAmount, segments: SegmentPool?,
        makeHotPath: @escaping @Sendable (HeadDeadline) -> HotPathHandler, responder: @escaping Responder
    ) {
        self.tls = tls
        self.headTimeout = headTimeout
        self.makeHotPath = makeHotPath
        self.segments = segments
        self.http1 = HTTP1Channel(
            responder: { request, writer, channel in try await responder(request, writer, channel, .one) },
            configuration: .init(
                // The hot path watches idleness: what it answers is not seen behind it.
                idleTimeout: nil,
                httpDecoderConfiguration: .init(
                    maxHeaderFieldSize: Self.maximumHeadSize, maxHeaderListSize: Self.maximumHeadSize,
                    maxHeaderFieldCount: Self.maximumFields)))
        let idleness = Duration.nanoseconds(idleTimeout.nanoseconds)
        self.makeHTTP2 = {
            let slots = AnswerSlots(Self.maximumAnswers)
            return HTTP2Channel(
                responder: { request, writer, channel in
                    await slots.take()
                    defer { slots.giveBack() }
                    try await responder(request, writer, channel, .two)
                },
                // What a header list may have (16 KiB), how many parts it may come in, and how often streams may be reset and
                // control frames sent is bounded by NIOHTTP2 of its own accord.
                configuration: .init(
                    idleTimeout: idleness, gracefulCloseTimeout: .nanoseconds(headTimeout.nanoseconds),
                    streamConfiguration: .init(additionalChannelHandlers: [StreamDeadline()], idleTimeout: idleTimeout)))
        }
    }

    func setup(channel: any Channel, logger: Logger) -> EventLoopFuture<Value> {
        channel.eventLoop.makeCompletedFuture {
            // With the handler's reads this bounds what a connection may hold of a body on its way out.
            try channel.syncOptions?.setOption(.writeBufferWaterMark, value: .init(low: 128 << 10, high: 256 << 10))
            // Layers arrive in larger reads than NIO would make of its own accord; a read for small requests stays small.
            try channel.syncOptions?.setOption(
                .recvAllocator, value: AdaptiveRecvByteBufferAllocator(minimum: 1024, initial: 2048, maximum: 256 << 10))
            // A peer whose link died says nothing: the kernel asks.
            try channel.syncOptions?.setOption(.socketOption(.so_keepalive), value: 1)
            guard let tls = self.tls else { return nil }
            try channel.pipeline.syncOperations.addHandler(NIOSSLServerHandler(context: tls.current))
            try channel.pipeline.syncOperations.addHandler(HandshakeDeadline(timeout: self.headTimeout))
            let negotiation = NIOTypedApplicationProtocolNegotiationHandler<Value.Connection> { result in
                // A client that offers both speaks HTTP/1.1 here: see `TLSContextSource`.
                if case .negotiated("h2") = result { return self.setupTwo(channel, logger) }
                return self.setupOne(channel, logger)
            }
            try channel.pipeline.syncOperations.addHandler(negotiation)
            return negotiation.protocolNegotiationResult
        }.flatMap { (negotiated: EventLoopFuture<Value.Connection>?) in
            if let negotiated { return channel.eventLoop.makeSucceededFuture(Value(connection: negotiated, channel: channel)) }
            return self.setupOne(channel, logger).map { connection in
                Value(connection: channel.eventLoop.makeSucceededFuture(connection), channel: channel)
            }
        }
    }

    private func setupOne(_ channel: any Channel, _ logger: Logger) -> EventLoopFuture<Value.Connection> {
        let deadline = HeadDeadline(timeout: self.headTimeout)
        let bound = NIOLoopBound(deadline, eventLoop: channel.eventLoop)
        return channel.eventLoop.makeCompletedFuture {
            try channel.pipeline.syncOperations.addHandler(bound.value)
        }.flatMap {
            self.http1.setup(channel: channel, logger: logger)
        }.flatMapThrowing { value in
            let codec = try channel.pipeline.syncOperations.handler(type: HTTP1ToHTTPServerCodec.self)
            try channel.pipeline.syncOperations.addHandler(self.makeHotPath(bound.value), position: .before(codec))
            if self.tls != nil {
                try channel.pipeline.syncOperations.addHandler(BodyGatherer(segments: self.segments), position: .before(codec))
            }
            return .one(value)
        }
    }

    private func setupTwo(_ channel: any Channel, _ logger: Logger) -> EventLoopFuture<Value.Connection> {
        let http2 = self.makeHTTP2()
        return channel.eventLoop.makeCompletedFuture {
            try channel.pipeline.syncOperations.addHandler(HTTP2Deadline(timeout: self.headTimeout))
        }.flatMap {
            http2.setup(channel: channel, logger: logger).map { .two(http2, $0) }
        }
    }

    func handle(value: Value, logger: Logger) async {
        // A handshake that fails ends the connection, and nobody waits for an answer.
        guard let connection = try? await value.connection.get() else { return }
        switch connection {
        case .one(let value): await self.http1.handle(value: value, logger: logger)
        case .two(let http2, let value): await http2.handle(value: value, logger: logger)
        }
    }
}
