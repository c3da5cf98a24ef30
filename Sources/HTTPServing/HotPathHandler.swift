// The hot path: between NIO's HTTP decoder and Hummingbird's codec. Reads that a responder can answer at once are answered
// here, as bytes beneath the encoder; everything else goes on to Hummingbird untouched and in order. It also sends files:
// with the kernel's help where bytes leave as they are, in large reads into one buffer where TLS encrypts them.

internal import COutport
internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix
internal import Persistence

/// Asks the ``HotPathHandler`` of a connection to send part of a file as the response's body. The head has been written
/// before; the event's promise is completed when all bytes have been handed to the socket.
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

    /// Bytes read at a time on their way into TLS.
    private static let readSize = 128 << 10

    /// A file on its way through TLS.
    private struct Transfer {
        let file: File
        var next: Int64
        let end: Int64
        let promise: EventLoopPromise<Void>?
        /// A read that would have blocked is under way on the pool.
        var isReading = false
    }

    /// Whether bytes leave as they are, so that the kernel can send a file by itself.
    private let isPlain: Bool
    private let pool: NIOThreadPool
    private let responder: (any HotResponder)?
    private let log: AccessLog?
    private let idleTimeout: TimeAmount

    private var transfer: Transfer?
    private var buffer = ByteBuffer()
    /// Requests that went on to Hummingbird and have not been answered yet.
    private var coldInFlight = 0
    /// The answer to the request whose end has not been read yet.
    private var answer: (answer: HotAnswer, request: HotRequest, started: NIODeadline)?
    /// Files on their way out for hot answers: the connection must not be closed under them.
    private var filesInFlight = 0
    /// What was read while a file was on its way through TLS; it is looked at when the file is gone.
    private var held: CircularBuffer<HTTPServerRequestPart> = []
    private var holdsQuiesce = false
    private var mustFlush = false
    /// Writes beneath the encoder.
    private var encoder: ChannelHandlerContext?
    private var address = ""
    private var lastActivity = NIODeadline.now()
    private var idleTask: Scheduled<Void>?

    init(isPlain: Bool, pool: NIOThreadPool, responder: (any HotResponder)?, log: AccessLog?, idleTimeout: TimeAmount) {
        self.isPlain = isPlain
        self.pool = pool
        self.responder = responder
        self.log = log
        self.idleTimeout = idleTimeout
    }

    func handlerAdded(context: ChannelHandlerContext) {
        self.encoder = try? context.pipeline.syncOperations.context(handlerType: HTTPResponseEncoder.self)
        self.address = context.channel.remoteAddress?.ipAddress ?? "-"
        self.watchIdleness(context, in: self.idleTimeout)
    }

    // MARK: Requests

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let part = self.unwrapInboundIn(data)
        if self.transfer != nil || !self.held.isEmpty {
            self.held.append(part)
            return
        }
        self.take(part, context)
    }

    private func take(_ part: HTTPServerRequestPart, _ context: ChannelHandlerContext) {
        switch part {
        case .head(let head):
            self.lastActivity = .now()
            if self.coldInFlight == 0, let responder, let request = HotRequest(head), let answer = responder.answer(request) {
                self.answer = (answer, request, self.lastActivity)
                return
            }
            self.coldInFlight += 1
            context.fireChannelRead(self.wrapInboundOut(part))
        case .body: if self.answer == nil { context.fireChannelRead(self.wrapInboundOut(part)) }
        case .end:
            guard let (answer, request, started) = self.answer else {
                context.fireChannelRead(self.wrapInboundOut(part))
                return
            }
            self.answer = nil
            self.respond(answer, request, started, context)
        }
    }

    private func respond(_ answer: HotAnswer, _ request: HotRequest, _ started: NIODeadline, _ context: ChannelHandlerContext) {
        self.encoder?.write(NIOAny(IOData.byteBuffer(answer.bytes)), promise: nil)
        self.mustFlush = true
        self.log?.add(
            method: request.isHead ? "HEAD" : "GET", path: request.path, status: answer.status, bytes: answer.length,
            microseconds: (NIODeadline.now() - started).nanoseconds / 1000, from: self.address, id: nil)
        guard case .file(let file, let range) = answer.body else { return }
        self.filesInFlight += 1
        let sent = context.eventLoop.makePromise(of: Void.self)
        sent.futureResult.assumeIsolated().whenComplete { _ in
            self.filesInFlight -= 1
            self.lastActivity = .now()
            self.replay(context)
        }
        self.send(FileBody(file: file, range: range), context, sent)
    }

    /// Looks at what was read while a file was on its way.
    private func replay(_ context: ChannelHandlerContext) {
        while self.transfer == nil, let part = self.held.popFirst() { self.take(part, context) }
        if self.mustFlush {
            self.mustFlush = false
            context.flush()
        }
        if self.holdsQuiesce, self.filesInFlight == 0 {
            self.holdsQuiesce = false
            context.fireUserInboundEventTriggered(ChannelShouldQuiesceEvent())
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        if self.mustFlush {
            self.mustFlush = false
            context.flush()
        }
        context.fireChannelReadComplete()
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        switch self.unwrapOutboundIn(data) {
        case .head(let head) where head.status.code < 200: break
        case .end:
            self.coldInFlight -= 1
            self.lastActivity = .now()
        default: break
        }
        context.write(data, promise: promise)
    }

    // MARK: The connection's life

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        // Whoever hears this closes the connection as soon as it seems idle; it does not see our files.
        if event is ChannelShouldQuiesceEvent, self.filesInFlight > 0 {
            self.holdsQuiesce = true
            return
        }
        context.fireUserInboundEventTriggered(event)
    }

    /// Closes the connection when nothing has happened on it for a while. Only this handler sees all that happens.
    private func watchIdleness(_ context: ChannelHandlerContext, in amount: TimeAmount) {
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        self.idleTask = context.eventLoop.scheduleTask(in: amount) {
            let (handler, context) = bound.value
            let idle = NIODeadline.now() - handler.lastActivity
            if handler.coldInFlight > 0 || handler.filesInFlight > 0 || handler.transfer != nil {
                handler.watchIdleness(context, in: handler.idleTimeout)
            } else if idle >= handler.idleTimeout {
                context.close(promise: nil)
            } else {
                handler.watchIdleness(context, in: handler.idleTimeout - idle)
            }
        }
    }

    // MARK: Files

    func triggerUserOutboundEvent(context: ChannelHandlerContext, event: Any, promise: EventLoopPromise<Void>?) {
        switch event {
        case let body as FileBody: self.send(body, context, promise)
        case is ContinueRequest:
            context.writeAndFlush(self.wrapOutboundOut(.head(.init(version: .http1_1, status: .continue))), promise: promise)
        default: context.triggerUserOutboundEvent(event, promise: promise)
        }
    }

    private func send(_ body: FileBody, _ context: ChannelHandlerContext, _ promise: EventLoopPromise<Void>?) {
        if self.isPlain {
            self.sendByKernel(body, context, promise)
        } else {
            self.transfer = Transfer(file: body.file, next: body.range.lowerBound, end: body.range.upperBound, promise: promise)
            self.pump(context)
        }
    }

    private func sendByKernel(_ body: FileBody, _ context: ChannelHandlerContext, _ promise: EventLoopPromise<Void>?) {
        let handle = NIOFileHandle(_deprecatedTakingOwnershipOfDescriptor: body.file.descriptor)
        let region = FileRegion(fileHandle: handle, readerIndex: Int(body.range.lowerBound), endIndex: Int(body.range.upperBound))
        let written = context.eventLoop.makePromise(of: Void.self)
        written.futureResult.assumeIsolated().whenComplete { result in
            // The descriptor belongs to the file, which closes it when this closure is gone.
            withExtendedLifetime(body.file) { _ = try? handle.takeDescriptorOwnership() }
            promise?.completeWith(result)
        }
        self.encoder?.writeAndFlush(NIOAny(IOData.fileRegion(region)), promise: written)
    }

    /// Reads and writes while the socket takes it.
    private func pump(_ context: ChannelHandlerContext) {
        while var transfer = self.transfer, !transfer.isReading, context.channel.isWritable {
            let count = Int(min(Int64(Self.readSize), transfer.end - transfer.next))
            self.buffer.clear(minimumCapacity: Self.readSize)
            let got = self.buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: count) { target in
                max(0, outport_read_cached(transfer.file.descriptor, target.baseAddress, count, transfer.next))
            }
            guard got > 0 else {
                // Not in memory: a disk may take its time, the loop may not.
                transfer.isReading = true
                self.transfer = transfer
                self.readOnPool(transfer, count, context)
                return
            }
            self.send(self.buffer, context)
        }
    }

    private func readOnPool(_ transfer: Transfer, _ count: Int, _ context: ChannelHandlerContext) {
        let (file, offset) = (transfer.file, transfer.next)
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        self.pool.runIfActive(eventLoop: context.eventLoop) {
            var buffer = ByteBufferAllocator().buffer(capacity: count)
            try file.read(into: &buffer, count: count, at: offset)
            guard buffer.readableBytes > 0 else {
                throw PersistenceError(.io, tried: "read \(file.path)", cause: "the file is shorter than the database says")
            }
            return buffer
        }.whenComplete { result in
            let (handler, context) = bound.value
            handler.transfer?.isReading = false
            switch result {
            case .success(let buffer):
                handler.send(buffer, context)
                handler.pump(context)
            case .failure(let error):
                handler.finish(.failure(error))
                // The response's length has been promised: only closing tells that it will not be kept.
                context.close(promise: nil)
            }
        }
    }

    private func send(_ buffer: ByteBuffer, _ context: ChannelHandlerContext) {
        guard var transfer = self.transfer else { return }
        transfer.next += Int64(buffer.readableBytes)
        let isLast = transfer.next >= transfer.end
        self.transfer = isLast ? nil : transfer
        self.encoder?.writeAndFlush(NIOAny(IOData.byteBuffer(buffer)), promise: isLast ? transfer.promise : nil)
        if isLast, !self.held.isEmpty { self.replay(context) }
    }

    private func finish(_ result: Result<Void, any Error>) {
        let promise = self.transfer?.promise
        self.transfer = nil
        promise?.completeWith(result)
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        self.pump(context)
        context.fireChannelWritabilityChanged()
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.idleTask?.cancel()
        self.held.removeAll()
        self.finish(.failure(ChannelError.ioOnClosedChannel))
        context.fireChannelInactive()
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.idleTask?.cancel()
        self.encoder = nil
        self.finish(.failure(ChannelError.ioOnClosedChannel))
    }
}

extension HotRequest {
    /// Only what is plain at a glance: GET or HEAD of a `/v2/` path without escapes or query, over HTTP/1.1, with a bearer token,
    /// and no header that would change the answer or the connection.
    fileprivate init?(_ head: HTTPRequestHead) {
        guard head.method == .GET || head.method == .HEAD, head.version == .http1_1, head.uri.utf8.starts(with: "/v2/".utf8),
            !head.uri.utf8.contains(where: { $0 == UInt8(ascii: "?") || $0 == UInt8(ascii: "%") || $0 == UInt8(ascii: "#") })
        else { return nil }
        var host: String?
        var token: Substring?
        var range: String?
        for (name, value) in head.headers {
            switch name.utf8.count {
            case 4 where Self.equal(name, "host"):
                guard host == nil else { return nil }
                host = value
            case 13 where Self.equal(name, "authorization"):
                guard token == nil, value.utf8.count > 7, value.utf8.starts(with: "Bearer ".utf8) else { return nil }
                token = value.dropFirst(7)
            case 5 where Self.equal(name, "range"):
                guard range == nil else { return nil }
                range = value
            case 10 where Self.equal(name, "connection"): guard Self.equal(value, "keep-alive") else { return nil }
            case 13 where Self.equal(name, "if-none-match"), 8 where Self.equal(name, "if-match"), 8 where Self.equal(name, "if-range"),
                17 where Self.equal(name, "if-modified-since"), 19 where Self.equal(name, "if-unmodified-since"), 6 where Self.equal(name, "expect"),
                7 where Self.equal(name, "upgrade"), 14 where Self.equal(name, "content-length"), 17 where Self.equal(name, "transfer-encoding"):
                return nil
            default: break
            }
        }
        guard let host, let token else { return nil }
        self.init(isHead: head.method == .HEAD, path: head.uri, host: host, token: token, range: range)
    }

    /// Whether a header name is `lower`, whatever its letter case.
    private static func equal(_ name: String, _ lower: StaticString) -> Bool {
        guard name.utf8.count == lower.utf8CodeUnitCount else { return false }
        return lower.withUTF8Buffer { lower in
            name.utf8.elementsEqual(lower) { $0 == $1 || ($0 | 0x20 == $1 && $1 >= UInt8(ascii: "a")) }
        }
    }
}
