// A connected registry as the parent of another, as real processes.

import Foundation
import Testing

@Suite struct HierarchyTests {
    @Test("C9: a chain of three with the middle killed midway; content down, pushes up, status and client tokens through the middle")
    func chain() async throws {
        try await withSandbox(alone: true) { box in
            let (port, link) = (try Ports.free(), try Ports.free())
            let proxy = try await LinkProxy.start(box, port: link, target: port, bandwidth: 12 << 20)
            let parent = try await Parent.start(box, arguments: ["--public-address", "127.0.0.1:\(link)"], port: port)
            let builder = try await parent.token("builder")
            let line = try await parent.token("line7")
            let middle = try await Child.start(
                box, try await parent.connectedRegistry("region1", tokens: ["builder"], mode: "ReadWrite"), data: box.path("region1"))
            try await eventually("the middle is Online") { try await parent.state(of: "region1") == "Online" }
            // The string names the middle's address and pins the middle's authority.
            let string = try await parent.connectedRegistry("factory1", tokens: ["line7"], mode: "ReadWrite", parent: "region1")
            #expect(string.contains("ParentGatewayEndpoint=\(middle.address)"))
            let leaf = try await Child.start(box, string, data: box.path("factory1"))
            try await eventually("the leaf is Online at the root") {
                try await parent.state(of: "factory1") == "Online"
            }

            let (atRoot, atLeaf) = (try parent.registry(by: builder), try leaf.registry(line))
            let image = try Artifact.image(layers: [.random(40 << 20), .random(1000)])
            let before = proxy.carried.down
            // It must not be over before somebody looks.
            proxy.setDam(before + (16 << 20))
            #expect(try await atRoot.push(image, "app", "big"))
            try await eventually("some of it on its way", every: .milliseconds(5)) { proxy.carried.down - before > 8 << 20 }
            try await middle.kill()
            proxy.setDam(.max)
            try await middle.start()
            try await eventually("the image at the leaf") {
                try await atLeaf.flaw("app", "big", digest: image.digest) == nil
            }
            #expect(proxy.carried.down - before < 44 << 20, "no byte twice: \(proxy.carried.down - before)")

            // The leaf's client is nobody at the middle.
            #expect(try await middle.registry(line).token("repository:app:pull").status == 401)
            let small = try Artifact.image(layers: [.random(1000)])
            #expect(try await atLeaf.push(small, "app", "from-below"))
            try await eventually("the push at the root") {
                try await atRoot.flaw("app", "from-below", digest: small.digest) == nil
            }
            let refused = try await parent.attempt(
                ["acr", "connected-registry", "delete", "-r", parent.registryName, "-n", "region1", "--yes"])
            #expect(refused.status != 0)
            #expect(refused.text.contains("factory1"), "\(refused.text)")
            // With the root away the lower two go on as a family.
            #expect(try await parent.server.stop() == 0)
            #expect(try await middle.registry(builder).push(small, "app", "regional"))
            try await eventually("the middle's push at the leaf") {
                try await atLeaf.flaw("app", "regional", digest: small.digest) == nil
            }
        }
    }
}
