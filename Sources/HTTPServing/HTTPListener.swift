// A listener: accepts, answers through the handlers in order, logs each request once, and ends gracefully.

package import HTTPTypes
internal import HummingbirdCore
package import Logging
package import NIOCore
package import NIOPosix
internal import OCI
internal import Persistence
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

    private let address: HostAndPort
    private let tls: TLSContextSource?
    private let handlers: [any RequestHandler]
    private let hot: (any HotResponder)?
    private let log: AccessLog?
    private let eventLoopGroup: any EventLoopGroup
    private let pool: NIOThreadPool
    private let logger: Logger
    private let onRunning: @Sendable (Int) async -> Void

    /// - Parameters:
    ///   - tls: `nil` serves plain HTTP, on purpose.
    ///   - handlers: asked in order; the first answer counts.
    ///   - hot: asked before them, on the event loop, for reads that it can answer at once.
    ///   - pool: threads for reads that must wait for the disk.
    ///   - onRunning: called with the port once connections are accepted.
    package init(
        address: HostAndPort, tls: TLSContextSource?, handlers: [any RequestHandler], hot: (any HotResponder)?,
        eventLoopGroup: any EventLoopGroup, pool: NIOThreadPool,
        logger: Logger,
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
        self.onRunning = onRunning
    }

    package func run() async throws {
        let onRunning = self.onRunning
        var quiet = self.logger
        quiet.logLevel = .warning
        let channel = RegistryChannel(
            tls: self.tls,
            makeHotPath: {
                HotPathHandler(
                    isPlain: self.tls == nil, pool: self.pool, responder: self.hot, log: self.log, idleTimeout: RegistryChannel.idleTimeout)
            },
            responder: { request, writer, channel in try await self.respond(request, writer, channel) })
        defer { self.log?.flush() }
        let server = channel.server(
            configuration: .init(address: .hostname(self.address.host, port: self.address.port ?? 0), backlog: 1024),
            onServerRunning: { channel in await onRunning(channel.localAddress?.port ?? 0) },
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

    private func respond(_ request: Request, _ writer: consuming ResponseWriter, _ channel: any Channel) async throws {
        let started = ContinuousClock.now
        let number = UInt64.random(in: .min ... .max)
        let correlationID = ASCII.hex(withUnsafeBytes(of: number) { Array($0) })
        var logger = self.logger
        logger[metadataKey: "id"] = .string(correlationID)
        let isExpected = request.headers[.expect]?.lowercased() == "100-continue"
        let incoming = ServerRequest(
            method: request.method, path: request.head.path ?? "/", headers: request.headers,
            host: request.head.authority.flatMap { HostAndPort($0) }, hostHeader: request.head.authority,
            body: isExpected ? RequestBody(asyncSequence: ExpectedBody(base: request.body, channel: channel)) : request.body,
            isSecure: self.tls != nil,
            remoteAddress: channel.remoteAddress?.ipAddress ?? "-", correlationID: correlationID, logger: logger)
        var response = await self.answer(incoming)
        // Answers that cannot have a body have no length either (RFC 9110, section 8.6).
        if response.status.code >= 200, response.status != .noContent, response.status != .notModified {
            response.headers[.contentLength] = String(response.contentLength)
        }
        if response.headers[.server] == nil { response.headers[.server] = "outport" }
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
            guard let file = blob.file, Int64(range.count) >= Self.fileThreshold else {
                let buffer = try await blob.read(at: range.lowerBound, count: range.count)
                try await writer.write(response: head, body: .init(byteBuffer: buffer))
                return
            }
            let body = try await writer.writeHead(head)
            // Waited for, so that a connection that is to close (graceful shutdown) closes behind the body, not in it.
            try await channel.triggerUserOutboundEvent(FileBody(file: file, range: range)).get()
            try await body.finish(nil)
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
