// The child channel of our listeners: TLS with a context that may change, NIO's HTTP decoder, the hot path, Hummingbird.

internal import HummingbirdCore
internal import Logging
internal import NIOCore
internal import NIOHTTPTypes
internal import NIOHTTPTypesHTTP1
internal import NIOSSL

/// Sets up accepted connections.
struct RegistryChannel: HTTPChannelHandler {
    typealias Value = NIOAsyncChannel<HTTPRequestPart, HTTPResponsePart>

    /// The largest request head, in bytes.
    static let maximumHeadSize = 16 << 10
    /// How long a connection may do nothing.
    static let idleTimeout = TimeAmount.seconds(75)

    private let base: HTTP1Channel
    private let tls: TLSContextSource?
    private let makeHotPath: @Sendable () -> HotPathHandler

    init(tls: TLSContextSource?, makeHotPath: @escaping @Sendable () -> HotPathHandler, responder: @escaping HTTPChannelHandler.Responder) {
        self.tls = tls
        self.makeHotPath = makeHotPath
        self.base = HTTP1Channel(
            responder: responder,
            configuration: .init(
                // The hot path watches idleness: what it answers is not seen behind it.
                idleTimeout: nil,
                httpDecoderConfiguration: .init(
                    maxHeaderFieldSize: Self.maximumHeadSize, maxHeaderListSize: Self.maximumHeadSize, maxHeaderFieldCount: 100)))
    }

    var responder: HTTPChannelHandler.Responder { self.base.responder }

    func setup(channel: any Channel, logger: Logger) -> EventLoopFuture<Value> {
        channel.eventLoop.makeCompletedFuture {
            // With the handler's reads this bounds what a connection may hold of a body on its way out.
            try channel.syncOptions?.setOption(.writeBufferWaterMark, value: .init(low: 128 << 10, high: 256 << 10))
            // A peer whose link died says nothing: the kernel asks.
            try channel.syncOptions?.setOption(.socketOption(.so_keepalive), value: 1)
            if let tls = self.tls { try channel.pipeline.syncOperations.addHandler(NIOSSLServerHandler(context: tls.current)) }
        }.flatMap {
            self.base.setup(channel: channel, logger: logger)
        }.flatMapThrowing { value in
            let codec = try channel.pipeline.syncOperations.handler(type: HTTP1ToHTTPServerCodec.self)
            try channel.pipeline.syncOperations.addHandler(self.makeHotPath(), position: .before(codec))
            return value
        }
    }

    func handle(value: Value, logger: Logger) async { await self.base.handle(value: value, logger: logger) }
}
