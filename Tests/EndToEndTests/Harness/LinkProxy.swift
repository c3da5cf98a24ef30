// A link between child and parent that counts what it carries, has a bandwidth, and can be cut.

import NIOCore
import NIOPosix
import Synchronization

/// Forwards connections to a server on this machine.
final class LinkProxy: Sendable {
    private struct State {
        var connections: [ObjectIdentifier: any Channel] = [:]
        var down: Int64 = 0
        var up: Int64 = 0
        var accepted = 0
        /// Bytes per second in the direction of the child, and how many may pass in all.
        var bandwidth: Int
        var dam = Int64.max
    }

    let port: Int
    private let target: Int
    private let state: Mutex<State>
    private let clock = Pace()

    /// Starts a proxy that ends with the sandbox.
    static func start(_ box: Sandbox, port: Int, target: Int, bandwidth: Int) async throws -> LinkProxy {
        let proxy = LinkProxy(port: port, target: target, bandwidth: bandwidth)
        let server = try await ServerBootstrap(group: .singletonMultiThreadedEventLoopGroup)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.socketOption(.so_sndbuf), value: 64 << 10)
            .bind(host: "127.0.0.1", port: port) { channel in
                channel.eventLoop.makeCompletedFuture { try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel) }
            }
        let task = Task { try? await proxy.run(server) }
        box.atEnd {
            task.cancel()
            proxy.cut()
            _ = await task.value
        }
        return proxy
    }

    private init(port: Int, target: Int, bandwidth: Int) {
        self.port = port
        self.target = target
        self.state = Mutex(State(bandwidth: bandwidth))
    }

    /// Carries so many bytes per second in the direction of the child from here on.
    func setBandwidth(_ bandwidth: Int) { self.state.withLock { $0.bandwidth = bandwidth } }

    /// Lets about so many bytes pass to the child, counted from the beginning, and holds up what is more until the dam is raised: whoever
    /// has to act in the middle of a transfer has time for it, however busy the machine is.
    func setDam(_ bytes: Int64) { self.state.withLock { $0.dam = bytes } }

    /// Bytes carried, to the child and to the parent.
    var carried: (down: Int64, up: Int64) { self.state.withLock { ($0.down, $0.up) } }

    /// Connections that have been made, and those of them that are open.
    var connections: Int { self.state.withLock { $0.accepted } }
    var open: Int { self.state.withLock { $0.connections.count / 2 } }

    /// Breaks every connection there is; new ones are accepted.
    func cut() {
        for channel in self.state.withLock({ Array($0.connections.values) }) { channel.close(promise: nil) }
    }

    private func run(_ server: NIOAsyncChannel<NIOAsyncChannel<ByteBuffer, ByteBuffer>, Never>) async throws {
        try await server.executeThenClose { clients in
            try await withThrowingDiscardingTaskGroup { group in
                for try await client in clients { group.addTask { try? await self.forward(client) } }
            }
        }
    }

    /// Waits until a part may go to the child.
    private func pass(_ bytes: Int) async throws {
        while self.state.withLock({ $0.down >= $0.dam }) { try await Task.sleep(for: .milliseconds(5)) }
        try await self.clock.wait(for: Double(bytes) / Double(self.state.withLock { $0.bandwidth }))
    }

    private func forward(_ client: NIOAsyncChannel<ByteBuffer, ByteBuffer>) async throws {
        let connected = try? await ClientBootstrap(group: .singletonMultiThreadedEventLoopGroup)
            // What the kernel holds in between is lost when the link is cut, as on a real one.
            .channelOption(.socketOption(.so_rcvbuf), value: 64 << 10)
            .channelOption(.recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: 16 << 10))
            .connect(host: "127.0.0.1", port: self.target) { channel in
                channel.eventLoop.makeCompletedFuture { try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel) }
            }
        guard let server = connected else {
            // Whoever is to be reached is away: the connection ends.
            return try await client.executeThenClose { _, _ in }
        }
        let both = [client.channel, server.channel]
        self.state.withLock { state in
            state.accepted += 1
            for channel in both { state.connections[ObjectIdentifier(channel)] = channel }
        }
        defer { self.state.withLock { state in for channel in both { state.connections[ObjectIdentifier(channel)] = nil } } }
        try await client.executeThenClose { fromClient, toClient in
            try await server.executeThenClose { fromServer, toServer in
                await withTaskGroup(of: Void.self) { group in
                    group.addTask {
                        do {
                            for try await part in fromClient {
                                self.state.withLock { $0.up += Int64(part.readableBytes) }
                                try await toServer.write(part)
                            }
                        } catch {}
                    }
                    group.addTask {
                        do {
                            for try await part in fromServer {
                                try await self.pass(part.readableBytes)
                                self.state.withLock { $0.down += Int64(part.readableBytes) }
                                try await toClient.write(part)
                            }
                        } catch {}
                    }
                    // When one direction ends the connection ends.
                    await group.next()
                    group.cancelAll()
                    for channel in both { channel.close(promise: nil) }
                }
            }
        }
    }
}

/// Lets time pass in proportion to what was sent, over all connections.
private actor Pace {
    private var free = ContinuousClock.now

    func wait(for seconds: Double) async throws {
        self.free = max(self.free, .now) + .seconds(seconds)
        if self.free - .now > .milliseconds(2) { try await Task.sleep(until: self.free) }
    }
}
