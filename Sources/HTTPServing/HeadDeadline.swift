// Bounds how long a peer may take over a handshake or the head of a request: connections are cheap to hold open a byte at a time.

internal import NIOCore
internal import NIOTLS

/// Stands before the HTTP decoder and closes a connection whose request head does not come to its end in time.
///
/// Most heads arrive in one read, and then no timer is ever set: one is set only when a read has ended inside a head.
final class HeadDeadline: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private enum State {
        /// Between requests, or a head has begun that is not complete.
        case waiting(hasBytes: Bool)
        /// A head is complete, its request has not ended.
        case request
    }

    private let timeout: TimeAmount
    private var state = State.waiting(hasBytes: false)
    private var timer: Scheduled<Void>?

    init(timeout: TimeAmount) { self.timeout = timeout }

    /// A request's head is complete.
    func headArrived() {
        self.state = .request
        self.timer?.cancel()
        self.timer = nil
    }

    /// A request has ended.
    func requestEnded() { self.state = .waiting(hasBytes: false) }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        // The decoder runs within this call: what is a head after it has been told of by then.
        if case .waiting = self.state { self.state = .waiting(hasBytes: true) }
        context.fireChannelRead(data)
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        context.fireChannelReadComplete()
        guard case .waiting(hasBytes: true) = self.state, self.timer == nil else { return }
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        self.timer = context.eventLoop.scheduleTask(in: self.timeout) {
            let (handler, context) = bound.value
            guard case .waiting(hasBytes: true) = handler.state else { return }
            let answer = ByteBuffer(string: "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            context.writeAndFlush(handler.wrapOutboundOut(answer), promise: nil)
            context.close(promise: nil)
        }
    }

    func handlerRemoved(context: ChannelHandlerContext) { self.timer?.cancel() }
}

/// Stands behind TLS and closes a connection whose handshake does not come to its end in time.
final class HandshakeDeadline: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer

    private let timeout: TimeAmount
    private var timer: Scheduled<Void>?

    init(timeout: TimeAmount) { self.timeout = timeout }

    func handlerAdded(context: ChannelHandlerContext) {
        let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
        self.timer = context.eventLoop.scheduleTask(in: self.timeout) { bound.value.close(promise: nil) }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        context.fireUserInboundEventTriggered(event)
        if case .handshakeCompleted? = event as? TLSUserEvent {
            self.timer?.cancel()
            context.pipeline.syncOperations.removeHandler(self, promise: nil)
        }
    }

    func handlerRemoved(context: ChannelHandlerContext) { self.timer?.cancel() }
}
