// Proves how a connected registry goes from one endpoint of its parent to another, and back.

import Gateway
import NIOCore
import OCI
import Persistence
import RegistryCore
import Synchronization
import TestSupport
import Testing

@testable import RegistryClient
@testable import SyncAgent

@Suite struct FailoverTests {
    private static let one = ServerEndpoint(host: "one.test", port: 443, isSecure: true)
    private static let two = ServerEndpoint(host: "two.test", port: 443, isSecure: true)

    /// Answers or fails by host.
    private final class Hosts: Transport {
        private let state = Mutex<(failures: [String: TransportError.Code], asked: [String])>(([:], []))

        func fail(_ host: String, _ code: TransportError.Code?) { self.state.withLock { $0.failures[host] = code } }
        func takeAsked() -> [String] {
            self.state.withLock { state in
                defer { state.asked = [] }
                return state.asked
            }
        }

        func send(_ request: ClientRequest) async throws -> ClientResponse {
            let failure = self.state.withLock { state in
                state.asked.append(request.endpoint.host)
                return state.failures[request.endpoint.host]
            }
            if let failure { throw TransportError(failure, "no answer") }
            return ClientResponse(status: 200, headers: [], body: ClientResponseBody(AsyncStream<ByteBuffer> { $0.finish() }))
        }
    }

    /// Time that a test lets pass.
    private final class Hands: TimeSource {
        private let moved = Mutex(Duration.zero)
        private let base = ContinuousClock.now
        var now: ContinuousClock.Instant { self.base + self.moved.withLock { $0 } }
        func sleep(until deadline: ContinuousClock.Instant) async throws {}
        func pass(_ duration: Duration) { self.moved.withLock { $0 += duration } }
    }

    private func request(_ endpoint: ServerEndpoint = FailoverTests.one) -> ClientRequest { ClientRequest("GET", endpoint, "/v2/") }

    @Test("C19 an endpoint that cannot be reached costs one attempt; the other is stayed with, and the first is tried again later")
    func failover() async throws {
        let (hosts, hands) = (Hosts(), Hands())
        let transport = FailoverTransport(hosts, endpoints: [Self.one, Self.two])
        try await Elapsing.$source.withValue(hands) {
            _ = try await transport.send(self.request())
            #expect(hosts.takeAsked() == ["one.test"])
            hosts.fail("one.test", .unreachable)
            _ = try await transport.send(self.request())
            #expect(hosts.takeAsked() == ["one.test", "two.test"])
            _ = try await transport.send(self.request())
            #expect(hosts.takeAsked() == ["two.test"])
            hosts.fail("one.test", nil)
            hands.pass(.seconds(601))
            _ = try await transport.send(self.request())
            #expect(hosts.takeAsked() == ["one.test"])
            // A wrong certificate is somebody else: nothing was said there.
            hosts.fail("one.test", .untrusted)
            _ = try await transport.send(self.request())
            #expect(hosts.takeAsked() == ["one.test", "two.test"])
        }
    }

    @Test("C19 a request that may have been carried out is not said to another endpoint; the next one goes there")
    func unknownFate() async throws {
        let hosts = Hosts()
        let transport = FailoverTransport(hosts, endpoints: [Self.one, Self.two])
        hosts.fail("one.test", .timeout)
        await #expect(throws: TransportError.self) { _ = try await transport.send(self.request()) }
        #expect(hosts.takeAsked() == ["one.test"])
        _ = try await transport.send(self.request())
        #expect(hosts.takeAsked() == ["two.test"])
    }

    @Test("C19 with no endpoint that answers the first failure is told; other hosts are not touched")
    func none() async throws {
        let hosts = Hosts()
        let transport = FailoverTransport(hosts, endpoints: [Self.one, Self.two])
        hosts.fail("one.test", .untrusted)
        hosts.fail("two.test", .unreachable)
        let error = await #expect(throws: TransportError.self) { _ = try await transport.send(self.request()) }
        #expect(error?.code == .untrusted)
        #expect(hosts.takeAsked() == ["one.test", "two.test"])
        let other = ServerEndpoint(host: "three.test", port: 443, isSecure: true)
        _ = try await transport.send(self.request(other))
        #expect(hosts.takeAsked() == ["three.test"])
    }

    @Test("C19 C4 a connection string may name several endpoints; one that is none is refused, and so are too many")
    func strings() throws {
        let string = try ConnectionString(parsing: ConnectionStringTests.text(endpoint: "one.test, two.test:8443,one.test"))
        #expect(string.endpoints == [Self.one, ServerEndpoint(host: "two.test", port: 8443, isSecure: true)])
        var more = try ConnectionString(parsing: ConnectionStringTests.text(endpoint: "one.test"))
        try more.add(parentEndpoints: ["two.test"])
        #expect(more.endpoints == [Self.one, Self.two])
        for endpoint in ["one.test,", "one.test,https://two.test", (1...9).map { "h\($0).test" }.joined(separator: ",")] {
            #expect(throws: ConnectionStringError.self) {
                try ConnectionString(parsing: ConnectionStringTests.text(endpoint: endpoint))
            }
        }
    }

    @Test("C19 C12 a parent that was restored from a backup behind the other endpoint is noticed by its log, and compared with")
    func restored() async throws {
        let family = try await Family()
        let name = repository("app")
        let (one, two) = (TestImage("one"), TestImage("two"))
        try await family.parent.site.push(one, tags: [tag("v1")], to: name)
        try await family.following { () async throws in
            #expect(try await family.until { try await family.childHas(tag("v1"), at: one.manifest, in: name) })
        }
        try await family.parent.site.store.renewLogIdentity()
        try await family.parent.connectedRegistries.forgetNonces()
        try await family.parent.site.push(two, tags: [tag("v1")], to: name)
        family.transport.forget()
        try await family.following { () async throws in
            #expect(try await family.until { try await family.childHas(tag("v1"), at: two.manifest, in: name) })
        }
        #expect(family.transport.requests.contains { $0.target.contains("/state") })
    }
}
