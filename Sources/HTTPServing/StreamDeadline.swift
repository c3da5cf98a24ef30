// Bounds how long an HTTP/2 stream may last without progress: the library beneath leaves one alone for as long as it has no answer,
// or as its client takes nothing of it.

internal import NIOCore
internal import NIOHTTPTypes

/// Stands in the channel of a stream and closes it where ``HotPathHandler`` would close a connection of HTTP/1.1.
final class StreamDeadline: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPRequestPart
    typealias InboundOut = HTTPRequestPart
    typealias OutboundIn = HTTPResponsePart
    typealias OutboundOut = HTTPResponsePart

    private var isRequestComplete = false
    private var hasResponseBegun = false
    private var lastActivity = NIODeadline.now()
    private var timer: Scheduled<Void>?

    func handlerAdded(context: ChannelHandlerContext) {
        self.lastActivity = context.eventLoop.now
        self.watch(context, in: RegistryChannel.stalledResponse)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        self.lastActivity = context.eventLoop.now
        if case .end = self.unwrapInboundIn(data) { self.isRequestComplete = true }
        context.fireChannelRead(data)
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        self.lastActivity = context.eventLoop.now
        if case .head(let head) = self.unwrapOutboundIn(data), head.status.code >= 200 { self.hasResponseBegun = true }
        context.write(data, promise: promise)
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        self.lastActivity = context.eventLoop.now
        context.fireChannelWritabilityChanged()
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.timer?.cancel()
        context.fireChannelInactive()
    }

    func handlerRemoved(context: ChannelHandlerContext) { self.timer?.cancel() }

    /// A request that is all here may take its time; one whose body does not come is closed sooner, as idle.
    private var limit: TimeAmount {
        self.isRequestComplete && !self.hasResponseBegun ? RegistryChannel.longestAnswer : RegistryChannel.stalledResponse
    }

    private func watch(_ context: ChannelHandlerContext, in amount: TimeAmount) {
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        self.timer = context.eventLoop.scheduleTask(in: amount) {
            let (handler, context) = bound.value
            let left = handler.limit - (context.eventLoop.now - handler.lastActivity)
            if left <= .zero { context.close(promise: nil) } else { handler.watch(context, in: left) }
        }
    }
}
