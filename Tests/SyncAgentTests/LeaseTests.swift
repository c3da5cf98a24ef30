// Proves that tokens and leases of an instance that is in its rights never end it, whatever comes late.

import Gateway
import GatewayProtocol
import Identity
import NIOCore
import RegistryCore
import Synchronization
import TestSupport
import Testing

@testable import RegistryClient
@testable import SyncAgent

@Suite struct LeaseTests {
    /// Issues tokens that say for which activation they are; the first one comes late.
    private final class Issuer: Transport {
        let (gate, reached) = (Gate(), Gate())
        private let count = Mutex(0)

        func send(_ request: ClientRequest) async throws -> ClientResponse {
            let number = self.count.withLock { count in
                count += 1
                return count
            }
            let form = String(decoding: request.body, as: UTF8.self)
            if number == 1 {
                self.reached.open()
                await self.gate.wait()
            }
            let epoch = form.split(separator: "&").first { $0.hasPrefix("epoch=") } ?? "epoch=none"
            let body = #"{"access_token":"\#(epoch)","expires_in":3600}"#
            return ClientResponse(
                status: 200, headers: [],
                body: ClientResponseBody(
                    AsyncStream<ByteBuffer> { stream in
                        stream.yield(ByteBuffer(string: body))
                        stream.finish()
                    }))
        }
    }

    @Test("C6 a token that was asked for before the activation and comes after it does not take the place of the activation's own")
    func lateToken() async throws {
        let issuer = Issuer()
        let connection = try ConnectionString(
            parsing: ConnectionStringTests.text(
                name: "site1", token: "site1-sync", password: "secret", endpoint: "harbour.test", scheme: "http"))
        let client = GatewayClient(transport: issuer, connection: connection)
        await client.setLease(instance: "instance-1", epoch: nil)
        async let early = client.bearer()
        await issuer.reached.wait()
        await client.setLease(instance: "instance-1", epoch: 7)
        #expect(try await client.bearer() == "epoch=7")
        issuer.gate.open()
        #expect(try await early == "epoch=7")
        #expect(try await client.bearer() == "epoch=7")
    }
}
