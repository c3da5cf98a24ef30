// What the distribution specification promises, asked by a client that shares no code with us.

import Foundation
import Testing

@Suite struct ConformanceTests {
    private func ask(_ server: OutportServer, _ caller: Credentials, _ more: String...) async throws {
        let asked = try await command(
            "\(Program.package)/Scripts/conformance", [server.address, "--user", caller.name] + more,
            environment: ["CONFORMANCE_PASSWORD": caller.password]
        ).succeeded()
        // Nothing was left out.
        let counts = try #require(asked.output.firstMatch(of: /(\d+) of (\d+) answers are as the specification has them/))
        #expect(counts.output.1 == counts.output.2 && Int(counts.output.1)! > 3000, "\(asked.text)")
    }

    @Test("R1 R2 everything that the conformance suite of the specification asks, over TLS and over HTTP") func parent() async throws {
        try await withSandbox { box in
            let parent = try await Parent.start(box)
            let admin = try await parent.token("conformant")
            try await self.ask(parent.server, admin, "--ca", parent.server.ca)
            #expect(try await parent.server.stop() == 0)
            let plain = OutportServer(.serve, box: box, data: parent.server.data, port: parent.server.port, arguments: ["--http"])
            try await plain.launch()
            try await eventually("an answer over HTTP") {
                try await command("curl", ["-s", "-o", box.path("answer"), "http://\(plain.address)/v2/"]).status == 0
            }
            try await self.ask(plain, admin, "--http")
        }
    }

    @Test("R1 C7 the same at a connected registry that takes pushes, with the parent away") func site() async throws {
        try await withSandbox { box in
            let parent = try await Parent.start(box)
            let admin = try await parent.token("conformant")
            let child = try await Child.start(
                box, try await parent.connectedRegistry("factory", repository: "conformance/*", tokens: ["conformant"], mode: "ReadWrite"))
            try await eventually("what the site needs to know") { try await parent.state(of: "factory") == "Online" }
            #expect(try await parent.server.stop() == 0)
            try await self.ask(child, admin, "--ca", child.ca)
        }
    }
}
