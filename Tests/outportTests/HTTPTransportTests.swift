// How often a server is called that does not take up a connection.

import NIOCore
import NIOPosix
import Testing

@testable import outport

@Suite struct HTTPTransportTests {
    @Test("A4 a connection that does not come about is tried three times, since nothing has been said on it; then the refusal says so")
    func connectTimeout() async throws {
        // Whatever connects is answered by nobody.
        let server = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton).bind(host: "127.0.0.1", port: 0).get()
        let port = server.localAddress?.port ?? 0
        let transport = HTTPTransport(trustFile: nil, connectTimeout: .milliseconds(200))
        let error = await #expect(throws: ManagementError.self) {
            try await transport.send(ManagementRequest(method: .post, url: "https://127.0.0.1:\(port)/x"))
        }
        #expect(error?.description.contains("No answer to POST https://127.0.0.1:\(port)/x") == true, "\(String(describing: error))")
        #expect(error?.description.contains("(attempt 3 of 3)") == true, "\(String(describing: error))")
        #expect(error?.description.contains("Check that the server is running") == true)
        await transport.shutdown()
        try await server.close()
    }
}
