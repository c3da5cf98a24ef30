// What a site says whose window is closed, counted on the wire: over TLS, with every head and every record, in both directions.

import Gateway
import HTTPServing
import Identity
import Logging
import NIOCore
import NIOPosix
import OCI
import Persistence
import RegistryCore
import ServiceLifecycle
import Synchronization
import TestSupport
import Testing

@testable import RegistryClient
@testable import SyncAgent

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

/// Rests are over at once, up to a number of them.
private final class Leaps: TimeSource {
    private struct State {
        var elapsed = Duration.zero
        var rests: [Duration] = []
    }

    private let state = Mutex(State())
    private let start = ContinuousClock.now
    private let limit: Int
    private let onRest: @Sendable (Int) -> Void
    let isOver = Gate()

    /// - Parameter onRest: told of each rest before it begins, by its number.
    init(limit: Int, onRest: @escaping @Sendable (Int) -> Void) {
        self.limit = limit
        self.onRest = onRest
    }

    var now: ContinuousClock.Instant { self.start + self.state.withLock { $0.elapsed } }
    var rests: [Duration] { self.state.withLock { $0.rests } }

    func sleep(until deadline: ContinuousClock.Instant) async throws {
        let number = self.state.withLock { state in
            let rest = deadline - (self.start + state.elapsed)
            state.elapsed += rest
            state.rests.append(rest)
            return state.rests.count
        }
        self.onRest(number)
        guard number >= self.limit else { return await Task.yield() }
        self.isOver.open()
        // Until the test is over.
        try await Task.sleep(for: .seconds(3600))
    }
}

/// Forwards connections to a port of this machine and counts what it carries.
private final class CountingProxy: Sendable {
    private final class Glue: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        typealias OutboundOut = ByteBuffer
        private let partner: any Channel
        private let count: @Sendable (Int) -> Void

        init(_ partner: any Channel, count: @escaping @Sendable (Int) -> Void) {
            self.partner = partner
            self.count = count
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let part = self.unwrapInboundIn(data)
            self.count(part.readableBytes)
            self.partner.writeAndFlush(part, promise: nil)
        }

        func channelInactive(context: ChannelHandlerContext) { self.partner.close(promise: nil) }
    }

    private let carried = Mutex((bytes: 0, connections: 0))
    private let server = Mutex<(any Channel)?>(nil)

    var bytes: Int { self.carried.withLock { $0.bytes } }
    var connections: Int { self.carried.withLock { $0.connections } }
    var port: Int { self.server.withLock { $0?.localAddress?.port ?? 0 } }

    init(to target: Int) async throws {
        let group = MultiThreadedEventLoopGroup.singleton
        let channel = try await ServerBootstrap(group: group).childChannelOption(.autoRead, value: false).childChannelInitializer {
            client in
            self.carried.withLock { $0.connections += 1 }
            return ClientBootstrap(group: client.eventLoop).connect(host: "127.0.0.1", port: target).flatMapThrowing { server in
                let count: @Sendable (Int) -> Void = { bytes in self.carried.withLock { $0.bytes += bytes } }
                try server.pipeline.syncOperations.addHandler(Glue(client, count: count))
                try client.pipeline.syncOperations.addHandler(Glue(server, count: count))
                try client.syncOptions?.setOption(.autoRead, value: true)
            }
        }.bind(host: "127.0.0.1", port: 0).get()
        self.server.withLock { $0 = channel }
    }

    func close() { self.server.withLock { $0?.close(promise: nil) } }
}

@Suite struct IdleWireTests {
    @Test("C11 a site whose window is closed says less than 2 KiB in five minutes, both ways, TLS and heads included; it polls for nothing")
    func closedWindow() async throws {
        let parent = try await Site(clock: TestClock(milliseconds: WallClock.system.milliseconds()))
        let plane = try await DataPlane(parent)
        let authority = try CertificateAuthority(folder: parent.folder.tlsPath, commonName: "Outport test CA", now: Date())
        let leaf = try authority.leaf(folder: parent.folder.tlsPath, names: ["127.0.0.1"], now: Date())
        let tls = try TLSContextSource(certificatePEM: leaf.certificatePEM, keyPEM: leaf.keyPEM)
        // Half a day away.
        let hour = (parent.clock.wall.seconds / 3600 + 12) % 24
        try await plane.connectedRegistry("factory-line-7", schedule: "0 \(hour) * * *", window: "PT1H")
        let password = try await parent.identities.generatePasswords(
            [.password1], expiry: nil, suffix: ".\(authority.pin)", token: "factory-line-7-sync", in: parent.registry
        ).values[.password1]
        for number in 0..<20 { try await parent.push(TestImage("\(number)"), tags: [tag("v\(number)")], to: repository("app")) }
        let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let (ports, tell) = AsyncStream.makeStream(of: Int.self)
        let listener = HTTPListener(
            address: HostAndPort(host: "127.0.0.1", port: 0), tls: tls, handlers: plane.handlers(hot: nil), hot: nil,
            eventLoopGroup: MultiThreadedEventLoopGroup.singleton, pool: .singleton, logger: logger,
            // Rests take no time here: how long a connection is kept over a real one is seen by the test with the real binary.
            headTimeout: .minutes(10), idleTimeout: .minutes(10)
        ) { tell.yield($0) }
        let services = ServiceGroup(services: [listener], logger: logger)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await services.run() }
            var iterator = ports.makeAsyncIterator()
            let proxy = try await CountingProxy(to: try #require(await iterator.next()))
            do {
                try await self.measure(plane, proxy, authority, try #require(password))
            } catch {
                Issue.record(error)
            }
            proxy.close()
            await services.triggerGracefulShutdown()
            try await group.waitForAll()
        }
    }

    private func measure(_ plane: DataPlane, _ proxy: CountingProxy, _ authority: CertificateAuthority, _ password: String) async throws {
        let child = try await Site(clock: plane.site.clock)
        let connection = try ConnectionString(
            parsing: ConnectionStringTests.text(
                name: "factory-line-7", token: "factory-line-7-sync", password: password, endpoint: "127.0.0.1:\(proxy.port)",
                scheme: "https"))
        let memory = try await SyncMemoryStore(database: child.database, connection: connection)
        try await memory.update { $0.trust = authority.pem }
        let transport = try NIOTransport(group: MultiThreadedEventLoopGroup.singleton, trust: .system)
        let agent = SyncAgent(
            connection: connection, memory: memory, store: child.store, identities: child.identities, registry: child.registry,
            folder: child.folder, transport: transport,
            makeUntrusted: { try NIOTransport(group: MultiThreadedEventLoopGroup.singleton, trust: .fetchOnly) }, version: "1.2.3",
            loginServer: "factory-line-7.example.com:8443", logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
            clock: child.clock.wall)
        // In front of the first rest it is let in and takes its settings; behind that there is nothing but heartbeats.
        let heartbeats = 12
        let counts = Mutex<[(bytes: Int, connections: Int)]>([])
        let leaps = Leaps(limit: heartbeats + 1) { _ in counts.withLock { $0.append((proxy.bytes, proxy.connections)) } }
        let task = Elapsing.$source.withValue(leaps) { Task { await agent.run() } }
        await leaps.isOver.wait()
        task.cancel()
        _ = await task.value
        #expect(await memory.memory.settings != nil)
        #expect(leaps.rests == Array(repeating: .seconds(SyncMachine.heartbeatInterval), count: heartbeats + 1))
        let seen = counts.withLock { $0 }
        let costs = zip(seen, seen.dropFirst()).map { $1.bytes - $0.bytes }
        print("C11: bytes of each five minutes outside of the window: \(costs)")
        #expect(costs.count == heartbeats && costs.allSatisfy { (1...2048).contains($0) })
        #expect(Set(seen.map(\.connections)).count == 1, "connections were made anew")
        #expect(try await plane.connectedRegistries.find("factory-line-7", in: plane.site.registry)?.report?.status?.root != nil)
    }
}
