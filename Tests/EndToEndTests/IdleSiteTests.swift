// What a site costs whose window is closed, with the real binary and the time as it passes.

import Foundation
import Testing

@Suite struct IdleSiteTests {
    /// OUTPORT_IDLE_SECONDS=930 sees three heartbeats, and not only that there is nothing between two.
    private static let seconds = ProcessInfo.processInfo.environment["OUTPORT_IDLE_SECONDS"].flatMap(Int.init) ?? 100

    @Test("C11: outside of its window a site keeps one connection, polls for nothing, and says less than 2 KiB in five minutes")
    func closedWindow() async throws {
        // Past the gate: it sleeps for most of its minutes, and keeps nobody waiting who works.
        try await withOwnFiles { box in
            let (port, link) = (try Ports.free(), try Ports.free())
            let proxy = try await LinkProxy.start(box, port: link, target: port, bandwidth: 200 << 20)
            let parent = try await Parent.start(box, arguments: ["--public-address", "127.0.0.1:\(link)"], port: port)
            let builder = try await parent.token("builder")
            // Half a day away.
            let hour = (Int(Date().timeIntervalSince1970) / 3600 + 12) % 24
            try await parent.acr(
                "connected-registry", "create", "-n", "factory", "--repository", "app", "-s", "0 \(hour) * * *", "-w", "PT1H",
                "--client-tokens", "builder", "--yes")
            #expect(try await parent.registry(by: builder).push(try Artifact.image(layers: [.random(1000)]), "app", "v1"))
            let child = try await Child.start(box, try await parent.connectionString("factory"))
            let atChild = try child.registry(builder)
            try await eventually("the client token") { try await atChild.token("repository:app:pull").status == 200 }
            // What belongs to the start is over when nothing has been said for a while.
            try await eventually("silence") {
                let before = proxy.carried
                try await Task.sleep(for: .seconds(8))
                return before == proxy.carried
            }
            let (silent, connections) = (proxy.carried, proxy.connections)
            #expect(proxy.open > 0)
            // Longer than a server keeps a connection on which nobody has said that he comes back.
            try await Task.sleep(for: .seconds(Self.seconds))
            let bytes = proxy.carried.down - silent.down + proxy.carried.up - silent.up
            print("C11: \(bytes) bytes in \(Self.seconds) s outside of the window")
            #expect(proxy.connections == connections && proxy.open > 0, "the connection was made anew")
            #expect(bytes <= Int64((Self.seconds + 299) / 300 * 2048))
            if Self.seconds > 300 { #expect(bytes > 0) }
        }
    }
}
