// One connection's side of an exchange: a request goes out, its response comes back at the reader's pace.

internal import NIOCore
internal import NIOHTTP1
internal import Synchronization

/// A request handed to a connection.
struct Exchange: Sendable {
    let head: HTTPRequestHead
    let body: [UInt8]
    let timeout: TimeAmount
    let promise: EventLoopPromise<ClientResponse>
    /// Called when the response has been read to its end and the connection may serve again.
    let onReusable: @Sendable (any Channel) -> Void
}

/// Writes requests and delivers responses, one at a time.
final class ResponseHandler: ChannelDuplexHandler {
    typealias InboundIn = HTTPClientResponsePart
    typealias OutboundIn = Never
    typealias OutboundOut = HTTPClientRequestPart

    typealias Producer = NIOThrowingAsyncSequenceProducer<
        ByteBuffer, any Error, NIOAsyncSequenceProducerBackPressureStrategies.HighLowWatermark, Delegate
    >

    /// Seconds a body may pause.
    private static let pauseLimit = TimeAmount.seconds(60)

    private enum State {
        case idle
        case waiting(Exchange)
        case receiving(Exchange, Producer.Source, keepAlive: Bool)
        case closed
    }

    private let server: String
    private let refusal: Refusal
    private let isSecure: Bool
    private var state = State.idle
    private var timer: Scheduled<Void>?
    private var mayRead = true
    /// Counts exchanges: a reader that ends late must not speak for the next one on this connection.
    private var number = 0
    private var context: ChannelHandlerContext?

    init(server: String, refusal: Refusal, isSecure: Bool) {
        self.server = server
        self.refusal = refusal
        self.isSecure = isSecure
    }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

    func channelActive(context: ChannelHandlerContext) {
        context.fireChannelActive()
        // TLS needs to read before anyone asks for a response.
        context.read()
    }

    func triggerUserOutboundEvent(context: ChannelHandlerContext, event: Any, promise: EventLoopPromise<Void>?) {
        guard let exchange = event as? Exchange else {
            context.triggerUserOutboundEvent(event, promise: promise)
            return
        }
        guard case .idle = self.state, context.channel.isActive else {
            promise?.fail(TransportError(.interrupted, "\(self.server) closed the connection"))
            return
        }
        self.state = .waiting(exchange)
        self.number += 1
        self.mayRead = true
        context.write(self.wrapOutboundOut(.head(exchange.head)), promise: nil)
        if !exchange.body.isEmpty {
            context.write(self.wrapOutboundOut(.body(.byteBuffer(context.channel.allocator.buffer(bytes: exchange.body)))), promise: nil)
        }
        context.writeAndFlush(self.wrapOutboundOut(.end(nil)), promise: nil)
        promise?.succeed()
        self.startTimer(exchange.timeout, context, "gave no answer in time")
        context.read()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch (self.unwrapInboundIn(data), self.state) {
        case (.head(let head), .waiting(let exchange)):
            if (100..<200).contains(head.status.code) { return }
            let delegate = Delegate(
                channel: context.channel, handler: NIOLoopBound(self, eventLoop: context.eventLoop), number: self.number)
            let producer = Producer.makeSequence(
                elementType: ByteBuffer.self, failureType: (any Error).self,
                backPressureStrategy: .init(lowWatermark: 2, highWatermark: 4), finishOnDeinit: false, delegate: delegate)
            self.state = .receiving(exchange, producer.source, keepAlive: head.isKeepAlive)
            self.startTimer(Self.pauseLimit, context, "stopped sending")
            exchange.promise.succeed(
                ClientResponse(
                    status: Int(head.status.code), headers: head.headers.map { ($0.name, $0.value) },
                    body: ClientResponseBody(producer.sequence)))
        case (.body(let buffer), .receiving(_, let source, _)):
            self.startTimer(Self.pauseLimit, context, "stopped sending")
            // TLS decrypts into one buffer again and again. Whoever reads later must not share it: the next record would first copy all
            // of it, room for more included.
            if case .stopProducing = source.yield(self.isSecure ? ByteBuffer(buffer: buffer) : buffer) {
                self.mayRead = false
                // A reader that is slow is not a server that is silent.
                self.timer?.cancel()
            }
        case (.end, .receiving(let exchange, let source, let keepAlive)):
            self.timer?.cancel()
            self.state = keepAlive ? .idle : .closed
            source.finish()
            if keepAlive {
                self.mayRead = true
                exchange.onReusable(context.channel)
                // Keep a read pending so that the server's close is noticed.
                context.read()
            } else {
                context.close(promise: nil)
            }
        default: break
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        if self.mayRead, context.channel.isActive { context.read() }
        context.fireChannelReadComplete()
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.fail(TransportError(.interrupted, "\(self.server) closed the connection"), context)
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if let sentence = self.refusal.sentence.withLock({ $0 }) {
            self.fail(TransportError(.untrusted, sentence), context)
        } else {
            self.fail(TransportError(.interrupted, "the connection to \(self.server) broke: \(error)"), context)
        }
        context.close(promise: nil)
    }

    private func fail(_ error: TransportError, _ context: ChannelHandlerContext) {
        self.timer?.cancel()
        let state = self.state
        self.state = .closed
        switch state {
        case .waiting(let exchange): exchange.promise.fail(error)
        case .receiving(_, let source, _): source.finish(error)
        case .idle, .closed: break
        }
    }

    private func startTimer(_ amount: TimeAmount, _ context: ChannelHandlerContext, _ what: String) {
        self.timer?.cancel()
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        self.timer = context.eventLoop.scheduleTask(in: amount) {
            let (handler, context) = bound.value
            handler.fail(TransportError(.timeout, "\(handler.server) \(what)"), context)
            context.close(promise: nil)
        }
    }

    private func resumeReading(_ number: Int) {
        guard case .receiving = self.state, number == self.number, !self.mayRead, let context else { return }
        self.mayRead = true
        self.startTimer(Self.pauseLimit, context, "stopped sending")
        context.read()
    }

    /// Carries demand from the reader to the connection.
    struct Delegate: NIOAsyncSequenceProducerDelegate {
        let channel: any Channel
        let handler: NIOLoopBound<ResponseHandler>
        let number: Int

        func produceMore() {
            self.channel.eventLoop.execute { self.handler.value.resumeReading(self.number) }
        }

        func didTerminate() {
            self.channel.eventLoop.execute {
                // Whoever stopped reading in the middle gives the connection up.
                if case .receiving = self.handler.value.state, self.handler.value.number == self.number { self.channel.close(promise: nil) }
            }
        }
    }
}
