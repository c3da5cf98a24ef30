// Bounds how long a peer may take over the head of an HTTP/2 request, and over saying goodbye: the library beneath bounds sizes
// and rates, but waits for the rest of a header block, and for the answer to its last ping, for ever.

internal import NIOCore

/// Follows the frames of one direction of a connection (RFC 9113, section 4.1), whatever pieces they arrive in.
struct HTTP2FrameProgress {
    private static let headers: UInt8 = 1
    private static let goAway: UInt8 = 7
    private static let continuation: UInt8 = 9
    private static let endHeaders: UInt8 = 4
    private static let headerSize = 9
    /// What every client begins with (section 3.4).
    private static let prefaceSize = 24

    /// Bytes of the preface, or of a frame's payload, that are still to come.
    private var left: Int
    private var header: [UInt8] = []
    private var isInPreface: Bool
    /// A header block has begun, and the frame that ends it is not complete.
    private var isInBlock = false
    /// The frame under way ends the header block.
    private var endsBlock = false
    /// Heads that are complete; the preface counts as one.
    private(set) var heads = 0
    /// GOAWAY frames that have begun.
    private(set) var farewells = 0

    /// - Parameter hasPreface: whether this is what a client sends.
    init(hasPreface: Bool) {
        self.isInPreface = hasPreface
        self.left = hasPreface ? Self.prefaceSize : 0
    }

    /// Whether a head has begun that is not complete. A connection begins with one.
    var isInHead: Bool { self.isInPreface || self.isInBlock }

    mutating func receive(_ bytes: ByteBufferView) {
        var bytes = bytes
        while !bytes.isEmpty {
            if self.left > 0 {
                let count = min(self.left, bytes.count)
                self.left -= count
                bytes = bytes.dropFirst(count)
                if self.left == 0 { self.partEnded() }
                continue
            }
            let count = min(Self.headerSize - self.header.count, bytes.count)
            self.header += bytes.prefix(count)
            bytes = bytes.dropFirst(count)
            if self.header.count == Self.headerSize { self.frameBegan() }
        }
    }

    private mutating func frameBegan() {
        let (type, flags) = (self.header[3], self.header[4])
        self.left = Int(self.header[0]) << 16 | Int(self.header[1]) << 8 | Int(self.header[2])
        self.header.removeAll(keepingCapacity: true)
        if type == Self.headers || type == Self.continuation {
            self.isInBlock = true
            self.endsBlock = flags & Self.endHeaders != 0
        } else if type == Self.goAway {
            self.farewells += 1
        }
        if self.left == 0 { self.partEnded() }
    }

    private mutating func partEnded() {
        guard self.isInPreface || self.isInBlock && self.endsBlock else { return }
        self.isInPreface = false
        self.isInBlock = false
        self.endsBlock = false
        self.heads += 1
    }
}

/// Stands between TLS and HTTP/2, and closes a connection whose preface or header block does not come to its end in time, or that
/// does not answer when it is told to go.
final class HTTP2Deadline: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let timeout: TimeAmount
    private var inbound = HTTP2FrameProgress(hasPreface: true)
    private var outbound = HTTP2FrameProgress(hasPreface: false)
    /// The head a timer runs for, by how many were complete before it.
    private var head: (number: Int, timer: Scheduled<Void>)?
    private var farewell: Scheduled<Void>?

    init(timeout: TimeAmount) { self.timeout = timeout }

    func handlerAdded(context: ChannelHandlerContext) { self.watchHead(context) }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        self.inbound.receive(self.unwrapInboundIn(data).readableBytesView)
        context.fireChannelRead(data)
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        self.watchHead(context)
        context.fireChannelReadComplete()
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        let before = self.outbound.farewells
        self.outbound.receive(self.unwrapOutboundIn(data).readableBytesView)
        if self.outbound.farewells > before { self.watchFarewell(context) }
        context.write(data, promise: promise)
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.head?.timer.cancel()
        self.farewell?.cancel()
    }

    /// Most heads arrive in one read, and then no timer is ever set.
    private func watchHead(_ context: ChannelHandlerContext) {
        let number = self.inbound.heads
        if let head = self.head, head.number != number || !self.inbound.isInHead {
            head.timer.cancel()
            self.head = nil
        }
        guard self.inbound.isInHead, self.head == nil else { return }
        self.head = (number, self.close(context))
    }

    /// The first farewell asks for an answer; the second one follows that, and has a limit of its own.
    private func watchFarewell(_ context: ChannelHandlerContext) {
        self.farewell?.cancel()
        self.farewell = self.outbound.farewells == 1 ? self.close(context) : nil
    }

    private func close(_ context: ChannelHandlerContext) -> Scheduled<Void> {
        let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
        return context.eventLoop.scheduleTask(in: self.timeout) { bound.value.close(promise: nil) }
    }
}
