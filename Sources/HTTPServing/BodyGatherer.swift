// Bodies of large requests, gathered into the segments in which a store writes them.

internal import NIOCore
internal import NIOHTTP1
internal import Persistence

/// Sits behind the hot path, before Hummingbird's codec, where a connection is encrypted (decision 0018).
///
/// TLS decrypts into one buffer again and again. Whoever reads later must not share it: the next record would first copy all of it, room
/// for more included. So bodies are copied here; large ones on the loop, while they are in the processor's cache, into whole segments,
/// which nobody has to copy again. All that has arrived is handed on before an end, an error or a close is. Only a few bodies at a time
/// are gathered, since behind this handler parts are counted and not bytes.
final class BodyGatherer: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias InboundOut = HTTPServerRequestPart

    /// Bytes of a body from which on it is gathered; a body of unknown length is.
    private static let smallest = 1 << 20

    private enum State {
        case passing
        case gathering(SegmentPool)
    }

    private let segments: SegmentPool?
    private var state = State.passing
    private var segment: ByteBuffer?

    /// - Parameter segments: `nil` gathers nothing.
    init(segments: SegmentPool?) { self.segments = segments }

    func handlerRemoved(context: ChannelHandlerContext) { self.end() }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch self.unwrapInboundIn(data) {
        case .head(let head):
            if Self.isLarge(head), let segments, segments.beginGathering() { self.state = .gathering(segments) }
            context.fireChannelRead(data)
        case .body(let bytes):
            switch self.state {
            case .gathering(let segments): self.gather(bytes, in: segments, context)
            case .passing: context.fireChannelRead(self.wrapInboundOut(.body(ByteBuffer(buffer: bytes))))
            }
        case .end:
            self.handOn(context)
            self.end()
            context.fireChannelRead(data)
        }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .inputClosed? = event as? ChannelEvent { self.handOn(context) }
        context.fireUserInboundEventTriggered(event)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        self.handOn(context)
        context.fireErrorCaught(error)
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.handOn(context)
        self.end()
        context.fireChannelInactive()
    }

    private static func isLarge(_ head: HTTPRequestHead) -> Bool {
        guard head.method == .PATCH || head.method == .PUT || head.method == .POST else { return false }
        guard let length = head.headers.first(name: "content-length") else { return head.headers.contains(name: "transfer-encoding") }
        return Int(length).map { $0 >= Self.smallest } ?? false
    }

    private func gather(_ bytes: ByteBuffer, in segments: SegmentPool, _ context: ChannelHandlerContext) {
        var bytes = bytes
        while bytes.readableBytes > 0 {
            // Nobody else may hold the segment while it is filled.
            var segment = self.segment.take() ?? segments.take()
            guard var part = bytes.readSlice(length: min(bytes.readableBytes, segment.segmentSize - segment.readableBytes)) else { return }
            segment.writeBuffer(&part)
            if segment.readableBytes == segment.segmentSize {
                context.fireChannelRead(self.wrapInboundOut(.body(segment)))
            } else {
                self.segment = segment
            }
        }
    }

    /// Hands on what has been gathered.
    private func handOn(_ context: ChannelHandlerContext) {
        guard let segment = self.segment.take() else { return }
        context.fireChannelRead(self.wrapInboundOut(.body(segment)))
    }

    private func end() {
        if case .gathering(let segments) = self.state { segments.endGathering() }
        self.state = .passing
        self.segment = nil
    }
}
