// How often a server is called that does not take up a connection.

import NIOCore
import NIOPosix
import Synchronization
import Testing

@testable import outport

@Suite struct HTTPTransportTests {
    /// Accepts connections and says nothing on them.
    private func silent(_ body: (Int, @Sendable () -> Int) async throws -> Void) async throws {
        let accepted = Mutex(0)
        let server = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton).childChannelInitializer { channel in
            accepted.withLock { $0 += 1 }
            return channel.eventLoop.makeSucceededVoidFuture()
        }.bind(host: "127.0.0.1", port: 0).get()
        try await body(server.localAddress?.port ?? 0) { accepted.withLock { $0 } }
        try await server.close()
    }

    @Test("A4 a connection that does not come about is tried three times, since nothing has been said on it; then the refusal says so")
    func connectTimeout() async throws {
        try await self.silent { port, accepted in
            let transport = HTTPTransport(trustFile: nil, connectTimeout: .milliseconds(200))
            let error = await #expect(throws: ManagementError.self) {
                try await transport.send(ManagementRequest(method: .post, url: "https://127.0.0.1:\(port)/x"))
            }
            #expect(error?.description.contains("No answer to POST https://127.0.0.1:\(port)/x") == true, "\(String(describing: error))")
            #expect(error?.description.contains("Check that the server is running") == true)
            #expect(accepted() >= 3)
            await transport.shutdown()
        }
    }
}
