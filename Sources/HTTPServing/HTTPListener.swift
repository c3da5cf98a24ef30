// A listener: accepts, answers through the handlers in order, logs each request once, and ends gracefully.

package import HTTPTypes
internal import HummingbirdCore
package import Logging
package import NIOCore
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
    /// Blob bytes read at a time when the kernel cannot send the file by itself (TLS).
    private static let readSize = 256 << 10
    /// Below this a file is read and sent from memory.
    private static let sendFileThreshold: Int64 = 64 << 10

    private let address: HostAndPort
    private let tls: TLSContextSource?
    private let handlers: [any RequestHandler]
    private let eventLoopGroup: any EventLoopGroup
    private let logger: Logger
    private let onRunning: @Sendable (Int) async -> Void

    /// - Parameters:
    ///   - tls: `nil` serves plain HTTP, on purpose.
    ///   - handlers: asked in order; the first answer counts.
    ///   - onRunning: called with the port once connections are accepted.
    package init(
        address: HostAndPort, tls: TLSContextSource?, handlers: [any RequestHandler], eventLoopGroup: any EventLoopGroup, logger: Logger,
        onRunning: @escaping @Sendable (Int) async -> Void
    ) {
        self.address = address
        self.tls = tls
        self.handlers = handlers
        self.eventLoopGroup = eventLoopGroup
        self.logger = logger
        self.onRunning = onRunning
    }

    package func run() async throws {
        let onRunning = self.onRunning
        var quiet = self.logger
        quiet.logLevel = .warning
        let channel = RegistryChannel(tls: self.tls) { request, writer, channel in
            try await self.respond(request, writer, channel)
        }
        let server = channel.server(
            configuration: .init(address: .hostname(self.address.host, port: self.address.port ?? 0), backlog: 1024),
            onServerRunning: { channel in await onRunning(channel.localAddress?.port ?? 0) },
            eventLoopGroup: self.eventLoopGroup, logger: quiet)
        do {
            try await server.run()
        } catch let error as IOError {
            throw ListenError(description: "cannot listen on \(self.address): \(error.errnoCode == EADDRINUSE ? "another process does" : "\(error)"); choose another address with --listen")
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
            host: request.head.authority.flatMap { HostAndPort($0) },
            body: isExpected ? RequestBody(asyncSequence: ExpectedBody(base: request.body, channel: channel)) : request.body, isSecure: self.tls != nil,
            remoteAddress: channel.remoteAddress?.ipAddress ?? "-", correlationID: correlationID, logger: logger)
        var response = await self.answer(incoming)
        // Answers that cannot have a body have no length either (RFC 9110, section 8.6).
        if response.status.code >= 200, response.status != .noContent, response.status != .notModified { response.headers[.contentLength] = String(response.contentLength) }
        if response.headers[.server] == nil { response.headers[.server] = "outport" }
        if response.headers[.xRequestID] == nil { response.headers[.xRequestID] = correlationID }
        defer {
            logger.info(
                "request",
                metadata: [
                    "method": .string(incoming.method.rawValue), "path": .string(incoming.path), "status": .stringConvertible(response.status.code),
                    "bytes": .stringConvertible(response.contentLength), "from": .string(incoming.remoteAddress),
                    "ms": .stringConvertible((ContinuousClock.now - started).milliseconds),
                ])
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
            if self.tls == nil, let file = blob.file, Int64(range.count) >= Self.sendFileThreshold {
                try await channel.triggerUserOutboundEvent(FileBody(file: file, range: range)).get()
                try await writer.writeResponse(head)
                return
            }
            try await writer.write(
                response: head,
                body: .init(contentLength: range.count) { writer in
                    var offset = range.lowerBound
                    while offset < range.upperBound {
                        let part = try await blob.read(at: offset, count: Int(min(Int64(Self.readSize), range.upperBound - offset)))
                        offset += Int64(part.readableBytes)
                        try await writer.write(part)
                    }
                    try await writer.finish(nil)
                })
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

extension HTTPField.Name {
    package static let xRequestID = HTTPField.Name("x-ms-request-id")!
}

extension Duration {
    /// Whole and fractional milliseconds.
    package var milliseconds: Double {
        let (seconds, attoseconds) = self.components
        return Double(seconds) * 1000 + (Double(attoseconds) / 1e12).rounded() / 1000
    }
}
