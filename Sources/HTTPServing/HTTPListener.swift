// A listener: accepts, answers through the handlers in order, logs each request once, and ends gracefully.

package import HTTPTypes
internal import HummingbirdCore
package import Logging
package import NIOCore
internal import NIOHTTPTypes
package import NIOPosix
internal import OCI
package import Persistence
internal import ServiceLifecycle

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#else
internal import Darwin
#endif

/// Why an address cannot be listened on.
package struct ListenError: Error, Sendable, CustomStringConvertible {
    package let description: String
}

/// Serves handlers on one address.
package struct HTTPListener: Service {
    /// Bytes from which on a blob is sent as a file and not from memory.
    private static let fileThreshold: Int64 = 64 << 10
    /// Bytes of a blob read at a time where it is not sent as a file.
    private static let readSize = 128 << 10

    private let address: HostAndPort
    private let tls: TLSContextSource?
    private let handlers: [any RequestHandler]
    private let hot: (any HotResponder)?
    private let log: AccessLog?
    private let eventLoopGroup: any EventLoopGroup
    private let pool: NIOThreadPool
    private let logger: Logger
    private let segments: SegmentPool?
    private let headTimeout: TimeAmount
    private let idleTimeout: TimeAmount
    private let onRunning: @Sendable (Int) async -> Void

    /// - Parameters:
    ///   - tls: `nil` serves plain HTTP, on purpose.
    ///   - handlers: asked in order; the first answer counts.
    ///   - hot: asked before them, on the event loop, for reads that it can answer at once.
    ///   - pool: threads for reads that must wait for the disk.
    ///   - segments: what large request bodies are gathered in.
    ///   - headTimeout: how long a handshake or the head of a request may take; ten seconds unless a test says otherwise.
    ///   - idleTimeout: how long a connection may do nothing; 75 seconds unless a test says otherwise.
    ///   - onRunning: called with the port once connections are accepted.
    package init(
        address: HostAndPort, tls: TLSContextSource?, handlers: [any RequestHandler], hot: (any HotResponder)?,
        eventLoopGroup: any EventLoopGroup, pool: NIOThreadPool,
        logger: Logger, segments: SegmentPool? = nil, headTimeout: TimeAmount? = nil, idleTimeout: TimeAmount? = nil,
        onRunning: @escaping @Sendable (Int) async -> Void
    ) {
        self.address = address
        self.tls = tls
        self.handlers = handlers
        self.hot = hot
        self.log = logger.logLevel <= .info ? AccessLog(pool: pool, loop: eventLoopGroup.any()) : nil
        self.eventLoopGroup = eventLoopGroup
        self.pool = pool
        self.logger = logger
        self.segments = segments
        self.headTimeout = headTimeout ?? RegistryChannel.headTimeout
        self.idleTimeout = idleTimeout ?? RegistryChannel.idleTimeout
        self.onRunning = onRunning
    }

    package func run() async throws {
        let onRunning = self.onRunning
        var quiet = self.logger
        quiet.logLevel = .warning
        let transfers = TransferCount()
        let channel = RegistryChannel(
            tls: self.tls,
            headTimeout: self.headTimeout, idleTimeout: self.idleTimeout, segments: self.segments,
            makeHotPath: { deadline in
                HotPathHandler(
                    isPlain: self.tls == nil, pool: self.pool, responder: self.hot, log: self.log, idleTimeout: self.idleTimeout,
                    headDeadline: deadline, transfers: transfers)
            },
            responder: { request, writer, channel, version in try await self.respond(request, writer, channel, version) })
        defer { self.log?.flush() }
        let server = channel.server(
            configuration: .init(address: .hostname(self.address.host, port: self.address.port ?? 0), backlog: 1024),
            onServerRunning: { channel in
                await onRunning(channel.localAddress?.port ?? 0)
                StartupMemory.giveBack()
            },
            eventLoopGroup: self.eventLoopGroup, logger: quiet)
        do {
            try await server.run()
        } catch let error as IOError {
            throw ListenError(
                description:
                    "cannot listen on \(self.address): \(error.errnoCode == EADDRINUSE ? "another process does" : "\(error)"); choose another address with --listen"
            )
        }
    }

    private func respond(_ request: Request, _ writer: consuming ResponseWriter, _ channel: any Channel, _ version: HTTPVersion)
        async throws
    {
        let started = ContinuousClock.now
        let number = UInt64.random(in: .min ... .max)
        let correlationID = ASCII.hex(withUnsafeBytes(of: number) { Array($0) })
        let expected =
            version == .one && request.headers[.expect]?.lowercased() == "100-continue"
            ? ExpectedBody(base: request.body, channel: channel) : nil
        let incoming = ServerRequest(
            method: request.method, path: request.head.path ?? "/", headers: request.headers,
            host: request.head.authority.flatMap { HostAndPort($0) }, hostHeader: request.head.authority,
            body: expected.map { RequestBody(asyncSequence: $0) } ?? request.body,
            isSecure: self.tls != nil,
            remoteAddress: channel.remoteAddress?.ipAddress ?? "-", correlationID: correlationID, logger: self.logger)
        let executor = version == .one && request.head.isLargeUpload ? LoopExecutor(channel.eventLoop) : nil
        var response = await withTaskExecutorPreference(executor) { await self.answer(incoming) }
        // Answers that cannot have a body have no length either (RFC 9110, section 8.6).
        if response.status.code >= 200, response.status != .noContent, response.status != .notModified {
            response.headers[.contentLength] = String(response.contentLength)
        }
        if response.headers[.server] == nil { response.headers[.server] = "outport" }
        response.headers[.date] = HTTPDate.now().text
        // A client that was refused before it was told to go on may send its body or not: what follows could be either
        // (RFC 9110, section 10.1.1).
        if let expected, !expected.wasAskedFor { response.headers[.connection] = "close" }
        if response.headers[.xRequestID] == nil { response.headers[.xRequestID] = correlationID }
        defer {
            self.log?.add(
                method: incoming.method.rawValue, path: incoming.path, status: response.status.code, bytes: response.contentLength,
                microseconds: (ContinuousClock.now - started).microseconds, from: incoming.remoteAddress, id: correlationID)
        }
        let head = HTTPResponse(status: response.status, headerFields: response.headers)
        if incoming.method == .head || response.contentLength == 0 {
            try await writer.writeResponse(head)
            return
        }
        switch response.body {
        case .none, .announced: try await writer.writeResponse(head)
        case .bytes(let buffer): try await writer.write(response: head, body: .init(byteBuffer: buffer))
        case .blob(let blob, let range):
            if Int64(range.count) < Self.fileThreshold {
                let buffer = try await blob.read(at: range.lowerBound, count: range.count)
                try await writer.write(response: head, body: .init(byteBuffer: buffer))
                return
            }
            var body = try await writer.writeHead(head)
            try await Self.send(blob, range, &body, channel, version)
            try await body.finish(nil)
        case .pieces(let blob, let pieces):
            var body = try await writer.writeHead(head)
            for piece in pieces {
                switch piece {
                case .bytes(let buffer): try await body.write(buffer)
                case .range(let range): try await Self.send(blob, range, &body, channel, version)
                }
            }
            try await body.finish(nil)
        }
    }

    /// Sends part of a blob as part of a body, with no more than one read of it in memory.
    private static func send<Writer: ResponseBodyWriter>(
        _ blob: any BlobReader, _ range: Range<Int64>, _ body: inout Writer, _ channel: any Channel, _ version: HTTPVersion
    ) async throws {
        if version == .one, let file = blob.file, Int64(range.count) >= self.fileThreshold {
            // Waited for, so that a connection that is to close (graceful shutdown) closes behind the body, not in it.
            try await channel.triggerUserOutboundEvent(FileBody(file: file, range: range)).get()
            return
        }
        var next = range.lowerBound
        while next < range.upperBound {
            let count = Int(min(Int64(self.readSize), range.upperBound - next))
            let part = try await blob.readSome(at: next, count: count)
            // Content that is still arriving comes in what parts there are.
            next += Int64(part.readableBytes)
            switch version {
            case .one: try await body.write(part)
            // The writer takes what it is given for as long as the loop is busy with other streams, megabytes of each: so the next part
            // is read when this one has left.
            case .two: try await channel.writeAndFlush(HTTPResponsePart.body(part)).get()
            }
        }
    }

    private func answer(_ request: ServerRequest) async -> ServerResponse {
        do {
            for handler in self.handlers {
                if let response = try await handler.respond(to: request) { return response }
            }
            return ServerResponse(.notFound)
        } catch is CancellationError {
            return ServerResponse(.serviceUnavailable)
        } catch {
            // Handlers translate what they know; what arrives here is ours to mend, not the client's to read.
            request.logger.error("request failed", metadata: ["error": .string("\(error)"), "path": .string(request.path)])
            return ServerResponse(.internalServerError)
        }
    }
}

// A literal that is a valid field name; a mistake in it would end every test.
extension HTTPField.Name {
    package static let xRequestID = HTTPField.Name("x-ms-request-id")!
}

extension Duration {
    /// Whole microseconds.
    fileprivate var microseconds: Int64 {
        let (seconds, attoseconds) = self.components
        return seconds * 1_000_000 + attoseconds / 1_000_000_000_000
    }
}
