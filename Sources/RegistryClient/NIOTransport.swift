// HTTP/1.1 over NIO: a few connections per server, kept and used again.

package import NIOCore
internal import NIOHTTP1
internal import NIOPosix
internal import NIOSSL
internal import Synchronization

/// The transport of the real world.
///
/// Written on NIO rather than on a full client because certificates must be verified by ``TrustPolicy``.
package final class NIOTransport: Transport {
    /// Idle connections kept per server.
    private static let idleLimit = 8

    private struct State {
        var idle: [ServerEndpoint: [any Channel]] = [:]
        var trust: TrustPolicy
        var isClosed = false
    }

    private let group: any EventLoopGroup
    private let state: Mutex<State>
    private let context: NIOSSLContext
    private let addresses: AddressPolicy?
    private let receiveBuffer: ChannelOptions.Types.SocketOption.Value?

    /// - Parameters:
    ///   - addresses: judges where connections go, where the names come from users.
    ///   - receiveBuffer: bytes that the kernel holds for each connection; what it holds is lost, and paid for again, when the process
    ///     is killed. `nil` leaves it to the kernel, which holds some megabytes.
    package init(
        group: any EventLoopGroup, trust: TrustPolicy, addresses: AddressPolicy? = nil,
        receiveBuffer: ChannelOptions.Types.SocketOption.Value? = nil
    ) throws {
        self.receiveBuffer = receiveBuffer
        self.addresses = addresses
        self.group = group
        self.state = Mutex(State(trust: trust))
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.minimumTLSVersion = .tlsv12
        configuration.applicationProtocols = ["http/1.1"]
        // Nobody reads on a connection that is being closed, so the server's answer to our close is never seen: do not wait
        // for it, or a cancelled long poll holds up the end of the process.
        configuration.shutdownTimeout = .milliseconds(100)
        self.context = try NIOSSLContext(configuration: configuration)
    }

    /// Uses other trust from the next connection on; idle connections made under the old one are closed.
    package func setTrust(_ trust: TrustPolicy) {
        let idle = self.state.withLock { state -> [any Channel] in
            guard state.trust != trust else { return [] }
            state.trust = trust
            defer { state.idle = [:] }
            return state.idle.values.flatMap { $0 }
        }
        for channel in idle { channel.close(promise: nil) }
    }

    /// Closes idle connections; requests under way end by themselves.
    package func close() {
        let idle = self.state.withLock { state in
            state.isClosed = true
            defer { state.idle = [:] }
            return state.idle.values.flatMap { $0 }
        }
        for channel in idle { channel.close(promise: nil) }
    }

    package func send(_ request: ClientRequest) async throws -> ClientResponse {
        if let channel = self.takeIdle(request.endpoint) {
            do {
                return try await self.exchange(request, on: channel)
            } catch let error as TransportError where error.code == .interrupted {
                // The server may have closed the idle connection while our request was on its way: try once on a new one.
                try Task.checkCancellation()
            }
        }
        return try await self.exchange(request, on: try await self.connect(request.endpoint))
    }

    private func takeIdle(_ endpoint: ServerEndpoint) -> (any Channel)? {
        self.state.withLock { state in
            while let channel = state.idle[endpoint]?.popLast() {
                if channel.isActive { return channel }
            }
            return nil
        }
    }

    private func giveBack(_ channel: any Channel, _ endpoint: ServerEndpoint) {
        let kept = self.state.withLock { state in
            guard !state.isClosed, channel.isActive, state.idle[endpoint, default: []].count < Self.idleLimit else { return false }
            state.idle[endpoint, default: []].append(channel)
            return true
        }
        if !kept { channel.close(promise: nil) }
    }

    private func connect(_ endpoint: ServerEndpoint) async throws -> any Channel {
        let trust = self.state.withLock { $0.trust }
        // The verification callback can only say yes or no; the sentence travels through here.
        let refusal = Refusal()
        let context = self.context
        var bootstrap = ClientBootstrap(group: self.group)
            .connectTimeout(.seconds(10))
            .channelOption(.socketOption(.so_keepalive), value: 1)
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelOption(.autoRead, value: false)
            // A fast link brings much at once, and what comes with one read is written with one call.
            .channelOption(.recvAllocator, value: AdaptiveRecvByteBufferAllocator(minimum: 1024, initial: 4096, maximum: 256 << 10))
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let pipeline = channel.pipeline.syncOperations
                    if endpoint.isSecure {
                        let callback: NIOSSLCustomVerificationCallback = { chain, promise in
                            promise.completeWithTask {
                                guard let sentence = await trust.refusal(chain: chain, host: endpoint.host) else {
                                    return .certificateVerified
                                }
                                refusal.sentence.withLock { $0 = sentence }
                                return .failed
                            }
                        }
                        let isName = endpoint.host.contains { $0.isLetter } && !endpoint.host.contains(":")
                        try pipeline.addHandler(
                            NIOSSLClientHandler(
                                context: context, serverHostname: isName ? endpoint.host : nil, customVerificationCallback: callback))
                    }
                    try pipeline.addHTTPClientHandlers(leftOverBytesStrategy: .dropBytes)
                    try pipeline.addHandler(ResponseHandler(server: "\(endpoint)", refusal: refusal, isSecure: endpoint.isSecure))
                }
            }
        if let receiveBuffer { bootstrap = bootstrap.channelOption(.socketOption(.so_rcvbuf), value: receiveBuffer) }
        if let addresses { return try await Self.connect(bootstrap, to: endpoint, addresses) }
        do {
            return try await bootstrap.connect(host: endpoint.host, port: endpoint.port).get()
        } catch {
            throw TransportError(.unreachable, "\(endpoint) cannot be reached: \(error)")
        }
    }

    /// Connects to an address that is allowed, the first that answers.
    private static func connect(
        _ bootstrap: ClientBootstrap, to endpoint: ServerEndpoint, _ policy: AddressPolicy
    ) async throws -> any Channel {
        var failure = TransportError(.unreachable, "the name \(endpoint.host) has no address")
        for address in try await AddressResolver.addresses(of: endpoint.host, port: endpoint.port) {
            if let refusal = policy.refusal(of: address, host: endpoint.host) {
                failure = TransportError(.unreachable, refusal)
                continue
            }
            do {
                return try await bootstrap.connect(to: address).get()
            } catch {
                failure = TransportError(.unreachable, "\(endpoint) cannot be reached: \(error)")
            }
        }
        throw failure
    }

    private func exchange(_ request: ClientRequest, on channel: any Channel) async throws -> ClientResponse {
        var head = HTTPRequestHead(version: .http1_1, method: HTTPMethod(rawValue: request.method), uri: request.target)
        head.headers = HTTPHeaders(request.headers.map { ($0.name, $0.value) })
        head.headers.replaceOrAdd(name: "Host", value: request.endpoint.authority)
        head.headers.replaceOrAdd(name: "User-Agent", value: "outport")
        if !request.body.isEmpty || request.method == "POST" || request.method == "PUT" || request.method == "PATCH" {
            head.headers.replaceOrAdd(name: "Content-Length", value: String(request.body.count))
        }
        let endpoint = request.endpoint
        let exchange = Exchange(
            head: head, body: request.body, timeout: .nanoseconds(request.responseTimeout.nanoseconds),
            promise: channel.eventLoop.makePromise(of: ClientResponse.self),
            onReusable: { [weak self] channel in self?.giveBack(channel, endpoint) })
        return try await withTaskCancellationHandler {
            channel.triggerUserOutboundEvent(exchange).whenFailure { error in
                exchange.promise.fail(error as? TransportError ?? TransportError(.interrupted, "\(endpoint) closed the connection"))
            }
            return try await exchange.promise.futureResult.get()
        } onCancel: {
            channel.close(promise: nil)
        }
    }
}

/// Why the certificate was refused, from the verification callback to the error.
final class Refusal: Sendable {
    let sentence = Mutex<String?>(nil)
}

extension Duration {
    var nanoseconds: Int64 {
        let (seconds, attoseconds) = self.components
        return seconds * 1_000_000_000 + attoseconds / 1_000_000_000
    }
}
