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
///
/// While a file is on its way nothing else is: what is read meanwhile is held, and reading stops. A hot answer is given only while
/// nothing is being answered behind this handler and the socket takes what it is given; anything else goes on to Hummingbird,
/// whose channel has back-pressure of its own. So neither order nor memory depends on how a client behaves.
final class HotPathHandler: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias InboundOut = HTTPServerRequestPart
    typealias OutboundIn = HTTPServerResponsePart
    typealias OutboundOut = HTTPServerResponsePart

    /// Bytes read at a time on their way into TLS; a connection holds up to three times as many.
    private static let readSize = 128 << 10
    /// The same where many files are on their way, so that all of them together need no more memory than they must.
    private static let frugalReadSize = 32 << 10
    /// Files on their way from which on each gets less memory.
    private static let manyTransfers = 96
    /// Bytes the kernel is asked to send at a time: progress is seen once for each, and a connection without any is closed.
    private static let regionSize: Int64 = 4 << 20
    /// Bytes up to which reading and sending them with the head, in one call, costs less than having the kernel send them.
    private static let smallRange = 128 << 10

    /// A file on its way.
    private struct Transfer {
        let file: File
        var next: Int64
        let end: Int64
        let promise: EventLoopPromise<Void>?
        /// The kernel sends it by itself.
        let isKernels: Bool
        /// A read on the pool or a write by the kernel is under way; it calls back.
        var isWaiting = false
    }

    private enum Held {
        case part(HTTPServerRequestPart)
        case quiesce
        case inputClosed
    }

    /// Whether bytes leave as they are, so that the kernel can send a file by itself.
    private let isPlain: Bool
    private let pool: NIOThreadPool
    private let responder: (any HotResponder)?
    private let log: AccessLog?
    private let idleTimeout: TimeAmount
    private let headDeadline: HeadDeadline
    /// Files on their way on all connections of the listener.
    private let transfers: TransferCount
    private var readSize = HotPathHandler.readSize

    private var transfer: Transfer?
    private var buffer = ByteBuffer()
    /// What was read while a file was on its way.
    private var held: CircularBuffer<Held> = []
    private var isReplaying = false
    private var wantsRead = false
    private var mustFlush = false
    /// Something went on to Hummingbird since it was last told that a read is complete.
    private var hasPassedOn = false
    /// Requests that went on to Hummingbird and have not been answered yet.
    private var coldInFlight = 0
    private var coldRequestEnded = true
    private var coldResponseStarted = false
    /// The answer being written says that it is the connection's last.
    private var isLastAnswer = false
    /// The answer to the request whose end has not been read yet.
    private var answer: (answer: HotAnswer, request: HotRequest, started: NIODeadline)?
    /// The token of the last hot request.
    private var granted: (authorization: String, grant: HotGrant)?
    /// Writes beneath the encoder.
    private var encoder: ChannelHandlerContext?
    private var address = ""
    private var lastActivity = NIODeadline.now()
    private var idleTask: Scheduled<Void>?
    /// How long the last answer lets the connection be silent, where it says so.
    private var idleGrant: TimeAmount?

    init(
        isPlain: Bool, pool: NIOThreadPool, responder: (any HotResponder)?, log: AccessLog?, idleTimeout: TimeAmount,
        headDeadline: HeadDeadline, transfers: TransferCount
    ) {
        self.transfers = transfers
        self.headDeadline = headDeadline
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

    func handlerRemoved(context: ChannelHandlerContext) {
        self.idleTask?.cancel()
        self.encoder = nil
        self.end(.failure(ChannelError.ioOnClosedChannel), context)
    }

    // MARK: Requests

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let part = self.unwrapInboundIn(data)
        switch part {
        case .head: self.headDeadline.headArrived()
        case .body: break
        case .end: self.headDeadline.requestEnded()
        }
        if self.transfer != nil || !self.held.isEmpty {
            self.held.append(.part(part))
        } else {
            self.take(part, context)
        }
    }

    func read(context: ChannelHandlerContext) {
        // What is held is bounded by what one read brings.
        if self.transfer != nil || !self.held.isEmpty { self.wantsRead = true } else { context.read() }
    }

    private func take(_ part: HTTPServerRequestPart, _ context: ChannelHandlerContext) {
        switch part {
        case .head(let head):
            self.lastActivity = .now()
            if self.coldInFlight == 0, context.channel.isWritable, let responder, let request = HotRequest(head),
                let grant = self.grant(request, responder), let answer = responder.answer(request, grant)
            {
                self.answer = (answer, request, self.lastActivity)
                return
            }
            self.coldInFlight += 1
            self.coldRequestEnded = false
            self.passOn(part, context)
        case .body:
            self.lastActivity = .now()
            if self.answer == nil { self.passOn(part, context) }
        case .end:
            guard let (answer, request, started) = self.answer else {
                self.lastActivity = .now()
                self.coldRequestEnded = true
                self.passOn(part, context)
                return
            }
            self.answer = nil
            self.respond(answer, request, started, context)
        }
    }

    private func passOn(_ part: HTTPServerRequestPart, _ context: ChannelHandlerContext) {
        self.hasPassedOn = true
        context.fireChannelRead(self.wrapInboundOut(part))
    }

    /// What the token lets its bearer do. Comparing it with the last one costs a tenth of finding it among all.
    private func grant(_ request: HotRequest, _ responder: any HotResponder) -> HotGrant? {
        if let granted, granted.authorization == request.authorization { return granted.grant }
        let grant = responder.grant(for: request.token)
        self.granted = grant.map { (request.authorization, $0) }
        return grant
    }

    private func respond(_ answer: HotAnswer, _ request: HotRequest, _ started: NIODeadline, _ context: ChannelHandlerContext) {
        self.encoder?.write(NIOAny(IOData.byteBuffer(answer.bytes)), promise: nil)
        self.mustFlush = true
        self.lastActivity = .now()
        self.log?.add(
            method: request.isHead ? "HEAD" : "GET", path: request.path, status: answer.status, bytes: answer.length,
            microseconds: (self.lastActivity - started).nanoseconds / 1000, from: self.address, id: nil)
        if case .file(let file, let range) = answer.body { self.send(FileBody(file: file, range: range), context, nil) }
    }

    /// Looks at what was held, until another file is on its way.
    private func replay(_ context: ChannelHandlerContext) {
        // A file that is sent at once ends within the loop below: the loop goes on, it is not begun again.
        guard !self.isReplaying else { return }
        self.isReplaying = true
        while self.transfer == nil, let next = self.held.popFirst() {
            switch next {
            case .part(let part): self.take(part, context)
            case .quiesce: self.forward(ChannelShouldQuiesceEvent(), context)
            case .inputClosed: self.forward(ChannelEvent.inputClosed, context)
            }
        }
        self.isReplaying = false
        self.flush(context)
        self.completeRead(context)
        if self.wantsRead, self.transfer == nil, self.held.isEmpty {
            self.wantsRead = false
            context.read()
        }
    }

    private func flush(_ context: ChannelHandlerContext) {
        guard self.mustFlush else { return }
        self.mustFlush = false
        // From where it was written: what stands between there and here has nothing to flush.
        (self.encoder ?? context).flush()
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        self.flush(context)
        self.completeRead(context)
    }

    /// Tells those behind that they have all there is for now, without which they do not begin.
    private func completeRead(_ context: ChannelHandlerContext) {
        // Nobody behind has to hear of reads that were answered here.
        guard self.hasPassedOn else { return }
        self.hasPassedOn = false
        context.fireChannelReadComplete()
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        self.lastActivity = .now()
        switch self.unwrapOutboundIn(data) {
        case .head(let head):
            self.coldResponseStarted = head.status.code >= 200
            if self.coldResponseStarted { self.idleGrant = ConnectionIdleness.timeout(in: head.headers) }
            self.isLastAnswer = self.coldResponseStarted && head.headers[canonicalForm: "connection"].contains("close")
        case .body: break
        case .end:
            self.coldInFlight -= 1
            self.coldResponseStarted = false
            if self.isLastAnswer {
                context.write(data, promise: promise)
                self.close(context: context, mode: .all, promise: nil)
                return
            }
        }
        context.write(data, promise: promise)
    }

    // MARK: The connection's life

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        // Whoever hears these closes the connection as soon as it seems idle; our answers are not seen there.
        let held: Held? =
            if event is ChannelShouldQuiesceEvent { .quiesce } else if case .inputClosed? = event as? ChannelEvent { .inputClosed } else {
                nil
            }
        guard let held else {
            context.fireUserInboundEventTriggered(event)
            return
        }
        if self.transfer != nil || !self.held.isEmpty { self.held.append(held) } else { self.forward(event, context) }
    }

    /// Passes an event on behind everything that has been written.
    private func forward(_ event: Any, _ context: ChannelHandlerContext) {
        let bound = NIOLoopBound((context, event), eventLoop: context.eventLoop)
        self.afterWrites(context) { bound.value.0.fireUserInboundEventTriggered(bound.value.1) }
    }

    func close(context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?) {
        // Closing drops what the socket has not taken yet; an answer that was given is sent first.
        guard mode == .all, context.channel.isActive else {
            context.close(mode: mode, promise: promise)
            return
        }
        let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
        self.afterWrites(context) { bound.value.close(mode: .all, promise: promise) }
    }

    private func afterWrites(_ context: ChannelHandlerContext, _ body: @escaping @Sendable () -> Void) {
        guard let encoder else {
            body()
            return
        }
        let written = context.eventLoop.makePromise(of: Void.self)
        written.futureResult.whenComplete { _ in body() }
        self.mustFlush = false
        encoder.writeAndFlush(NIOAny(IOData.byteBuffer(ByteBuffer())), promise: written)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // An answer to what could not be parsed must not end up inside a file.
        if self.transfer != nil || !self.held.isEmpty { context.close(promise: nil) } else { context.fireErrorCaught(error) }
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.idleTask?.cancel()
        self.held.removeAll()
        self.end(.failure(ChannelError.ioOnClosedChannel), context)
        context.fireChannelInactive()
    }

    /// Closes the connection when nothing has happened on it for a while. Only this handler sees all that happens.
    private func watchIdleness(_ context: ChannelHandlerContext, in amount: TimeAmount) {
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        self.idleTask = context.eventLoop.scheduleTask(in: amount) {
            let (handler, context) = bound.value
            let limit = handler.idleLimit
            let idle = NIODeadline.now() - handler.lastActivity
            if idle >= limit {
                context.close(promise: nil)
            } else {
                handler.watchIdleness(context, in: min(limit - idle, handler.idleTimeout))
            }
        }
    }

    private var idleLimit: TimeAmount {
        if self.transfer != nil || self.coldResponseStarted { return RegistryChannel.stalledResponse }
        // A request whose body does not come is not waited for; one that is all here may take its time.
        return self.coldInFlight > 0 && self.coldRequestEnded
            ? RegistryChannel.longestAnswer : max(self.idleTimeout, self.idleGrant ?? self.idleTimeout)
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
        self.transfer = Transfer(
            file: body.file, next: body.range.lowerBound, end: body.range.upperBound, promise: promise,
            isKernels: self.isPlain && body.range.count > Self.smallRange)
        let size = self.transfers.begin() > Self.manyTransfers ? Self.frugalReadSize : Self.readSize
        if !self.isPlain, size != self.readSize {
            self.readSize = size
            try? context.channel.syncOptions?.setOption(.writeBufferWaterMark, value: .init(low: size, high: 2 * size))
        }
        self.pump(context)
    }

    /// Goes on with the file while the socket takes it.
    private func pump(_ context: ChannelHandlerContext) {
        if self.transfer?.isKernels == true { self.sendByKernel(context) } else { self.sendByReading(context) }
    }

    private func sendByKernel(_ context: ChannelHandlerContext) {
        guard var transfer = self.transfer, !transfer.isWaiting else { return }
        let count = min(Self.regionSize, transfer.end - transfer.next)
        let file = transfer.file
        let handle = NIOFileHandle(_deprecatedTakingOwnershipOfDescriptor: file.descriptor)
        let region = FileRegion(fileHandle: handle, readerIndex: Int(transfer.next), endIndex: Int(transfer.next + count))
        transfer.next += count
        transfer.isWaiting = true
        self.transfer = transfer
        let written = context.eventLoop.makePromise(of: Void.self)
        written.futureResult.assumeIsolated().whenComplete { result in
            // The descriptor belongs to the file, which closes it when nobody holds it any more.
            withExtendedLifetime(file) { _ = try? handle.takeDescriptorOwnership() }
            self.lastActivity = .now()
            self.transfer?.isWaiting = false
            switch result {
            case .failure: self.end(result, context)
            case .success:
                if let transfer = self.transfer, transfer.next < transfer.end { self.pump(context) } else { self.end(result, context) }
            }
        }
        self.mustFlush = false
        self.encoder?.writeAndFlush(NIOAny(IOData.fileRegion(region)), promise: written)
    }

    private func sendByReading(_ context: ChannelHandlerContext) {
        while var transfer = self.transfer, !transfer.isWaiting, context.channel.isWritable {
            let count = Int(min(Int64(self.readSize), transfer.end - transfer.next))
            // No more than is sent: many connections that are sent little hold little.
            self.buffer.clear(minimumCapacity: count)
            let got = self.buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: count) { target in
                max(0, outport_read_cached(transfer.file.descriptor, target.baseAddress, count, transfer.next))
            }
            guard got > 0 else {
                // Not in memory: a disk may take its time, the loop may not.
                transfer.isWaiting = true
                self.transfer = transfer
                self.readOnPool(transfer, count, context)
                return
            }
            self.forward(self.buffer, context)
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
            guard handler.transfer != nil else { return }
            handler.transfer?.isWaiting = false
            switch result {
            case .success(let buffer):
                handler.forward(buffer, context)
                handler.pump(context)
            case .failure(let error): handler.end(.failure(error), context)
            }
        }
    }

    /// Writes part of the file.
    private func forward(_ bytes: ByteBuffer, _ context: ChannelHandlerContext) {
        guard let next = self.transfer?.next, let end = self.transfer?.end else { return }
        self.lastActivity = .now()
        self.transfer?.next = next + Int64(bytes.readableBytes)
        self.mustFlush = false
        self.encoder?.writeAndFlush(NIOAny(IOData.byteBuffer(bytes)), promise: nil)
        if next + Int64(bytes.readableBytes) >= end { self.end(.success(()), context) }
    }

    /// The file has gone, or will not.
    private func end(_ result: Result<Void, any Error>, _ context: ChannelHandlerContext) {
        guard let transfer else { return }
        self.transfer = nil
        self.transfers.end()
        switch result {
        case .success:
            transfer.promise?.succeed()
            self.replay(context)
        case .failure(let error):
            // The response's length has been promised: only closing tells that it will not be kept. Nothing may follow in its place.
            self.held.removeAll()
            context.close(promise: nil)
            transfer.promise?.fail(error)
        }
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable { self.lastActivity = .now() }
        if self.transfer?.isKernels == false { self.sendByReading(context) }
        context.fireChannelWritabilityChanged()
    }
}

extension HotRequest {
    /// Only what is plain at a glance: GET or HEAD of a `/v2/` path without escapes or query, over HTTP/1.1, with a bearer token,
    /// and no header that would change the answer or the connection.
    fileprivate init?(_ head: HTTPRequestHead) {
        guard head.method == .GET || head.method == .HEAD, head.version == .http1_1, head.uri.hasPrefix("/v2/"),
            !head.uri.utf8.contains(where: { $0 == UInt8(ascii: "?") || $0 == UInt8(ascii: "%") || $0 == UInt8(ascii: "#") })
        else { return nil }
        var host: String?
        var authorization: String?
        var range: String?
        var accept: String?
        for (name, value) in head.headers {
            switch name.utf8.count {
            case 4 where name == "Host" || Self.equal(name, "host"):
                guard host == nil else { return nil }
                host = value
            case 13 where name == "Authorization" || Self.equal(name, "authorization"):
                guard authorization == nil, value.utf8.count > 7, value.hasPrefix("Bearer ") else { return nil }
                authorization = value
            case 5 where Self.equal(name, "range"):
                guard range == nil else { return nil }
                range = value
            case 6 where name == "Accept" || Self.equal(name, "accept"): accept = accept.map { "\($0),\(value)" } ?? value
            case 10 where Self.equal(name, "connection"): guard Self.equal(value, "keep-alive") else { return nil }
            case 13 where Self.equal(name, "if-none-match"), 8 where Self.equal(name, "if-match"), 8 where Self.equal(name, "if-range"),
                17 where Self.equal(name, "if-modified-since"), 19 where Self.equal(name, "if-unmodified-since"),
                6 where Self.equal(name, "expect"),
                7 where Self.equal(name, "upgrade"), 14 where Self.equal(name, "content-length"),
                17 where Self.equal(name, "transfer-encoding"):
                return nil
            default: break
            }
        }
        guard let host, let authorization else { return nil }
        self.init(isHead: head.method == .HEAD, path: head.uri, host: host, authorization: authorization, range: range, accept: accept)
    }

    /// Whether a header name is `lower`, whatever its letter case.
    private static func equal(_ name: String, _ lower: StaticString) -> Bool {
        guard name.utf8.count == lower.utf8CodeUnitCount else { return false }
        return lower.withUTF8Buffer { lower in
            name.utf8.elementsEqual(lower) { $0 == $1 || ($0 | 0x20 == $1 && $1 >= UInt8(ascii: "a")) }
        }
    }
}
