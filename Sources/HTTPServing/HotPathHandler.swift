// The place of the hot path: between NIO's HTTP decoder and Hummingbird's codec. Today it sends files with the
// kernel's help; every request goes on to Hummingbird untouched.

internal import NIOCore
internal import NIOHTTP1
internal import Persistence

/// Asks the ``HotPathHandler`` of a connection to send part of a file as the body of the next response.
struct FileBody: Sendable {
    let file: File
    let range: Range<Int64>
}

/// Asks for `100 Continue` (RFC 9110, section 10.1.1): the request has been let in, its body may come.
struct ContinueRequest: Sendable {}

/// Sits directly behind NIO's HTTP codec.
final class HotPathHandler: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias InboundOut = HTTPServerRequestPart
    typealias OutboundIn = HTTPServerResponsePart
    typealias OutboundOut = HTTPServerResponsePart

    private var pending: FileBody?

    func triggerUserOutboundEvent(context: ChannelHandlerContext, event: Any, promise: EventLoopPromise<Void>?) {
        switch event {
        case let body as FileBody:
            self.pending = body
            promise?.succeed()
        case is ContinueRequest:
            context.writeAndFlush(self.wrapOutboundOut(.head(.init(version: .http1_1, status: .continue))), promise: promise)
        default: context.triggerUserOutboundEvent(event, promise: promise)
        }
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        context.write(data, promise: promise)
        guard let body = self.pending, case .head = self.unwrapOutboundIn(data) else { return }
        self.pending = nil
        let handle = NIOFileHandle(_deprecatedTakingOwnershipOfDescriptor: body.file.descriptor)
        let region = FileRegion(fileHandle: handle, readerIndex: Int(body.range.lowerBound), endIndex: Int(body.range.upperBound))
        let written = context.eventLoop.makePromise(of: Void.self)
        written.futureResult.assumeIsolated().whenComplete { _ in
            // The descriptor belongs to the file, which closes it when this closure is gone.
            withExtendedLifetime(body.file) { _ = try? handle.takeDescriptorOwnership() }
        }
        context.write(self.wrapOutboundOut(.body(.fileRegion(region))), promise: written)
    }
}
