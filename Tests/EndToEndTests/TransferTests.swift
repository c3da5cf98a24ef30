// Content on its way: no byte twice, nothing served half.

import Foundation
import Testing

@Suite struct TransferTests {
    /// OUTPORT_TRANSFER_MIB=1024 OUTPORT_TRANSFER_KILLS=50 makes the long run of it: kills alone, and a faster link.
    private static func setting(_ name: String) -> Int? { ProcessInfo.processInfo.environment[name].flatMap(Int.init) }

    @Test("C14 C13: content through kills and cuts costs 1.02 times its size; nothing is visible before all of it is")
    func interruptedTransfer() async throws {
        let size = (Self.setting("OUTPORT_TRANSFER_MIB") ?? 64) << 20
        let kills = Self.setting("OUTPORT_TRANSFER_KILLS")
        let planned = kills ?? 8
        try await withSandbox(alone: true) { box in
            let (port, link) = (try Ports.free(), try Ports.free())
            let proxy = try await LinkProxy.start(box, port: link, target: port, bandwidth: (kills == nil ? 10 : 20) << 20)
            let parent = try await Parent.start(box, arguments: ["--public-address", "127.0.0.1:\(link)"], port: port)
            let builder = try await parent.token("builder")
            let child = try await Child.start(box, try await parent.connectedRegistry("factory", tokens: ["builder"]))
            let atChild = try child.registry(builder)
            try await eventually("the client token") { try await atChild.token("repository:app:pull").status == 200 }
            let atParent = try parent.registry(by: builder)
            let base = proxy.carried.down
            let small = try Artifact.image(layers: [.random(1000)])
            // The client of these tests takes answers of up to 256 MiB.
            let parts = stride(from: 0, to: size, by: 256 << 20).map { Data.random(min(256 << 20, size - $0)) }
            let large = try Artifact.image(layers: parts + [.random(1000)])
            for part in [small, large] { #expect(try await atParent.push(part, "app", part.digest)) }
            let image = try Artifact.index([small.descriptor, large.descriptor])
            #expect(try await atParent.push(image, "app", "big"))

            // Faults spread over the transfer: kills and cuts in turn. Half a step behind each there is a dam, so that a busy machine does
            // not miss one; most come while bytes flow.
            var faults = 0
            var absences = 0
            let step = Int64(size) / Int64(planned + 1)
            func dam() { proxy.setDam(faults < planned ? base + Int64(faults + 1) * step + step / 2 : .max) }
            dam()
            while true {
                let reply = try? await atChild.manifest("HEAD", "app", "big")
                if reply?.status == 200 { break }
                if let reply {
                    #expect(reply.status == 404)
                    absences += 1
                }
                let carried = proxy.carried.down - base
                // And it was looked at a few times in between.
                if carried > Int64(faults + 1) * step, faults < planned, absences > 3 * faults {
                    faults += 1
                    if kills == nil, faults % 2 == 0 {
                        proxy.cut()
                    } else {
                        try await child.kill()
                        try await child.start()
                    }
                    dam()
                }
                #expect(carried < 2 * Int64(size))
                if carried >= 2 * Int64(size) { return }
                try await Task.sleep(for: .milliseconds(10))
            }
            #expect(try await atChild.flaw("app", "big", digest: image.digest) == nil)
            #expect(faults == planned)
            #expect(absences > 20)
            #expect(try await atChild.flaw("app", large.digest) == nil)
            let carried = proxy.carried.down - base
            // And what the kernel held for a child that was killed.
            let allowed = Int64(Double(size) * 1.02) + Int64(planned) * (64 << 10)
            print(
                "C14: \(carried) bytes carried for \(size) (\(Double(carried) / Double(size))), \(faults) faults, \(absences) answers before it was there"
            )
            #expect(carried <= allowed)
        }
    }

    @Test("C14: layers the child holds under another repository or tag are not fetched again; a moved tag costs its manifest")
    func sharedLayers() async throws {
        try await withSandbox { box in
            let (port, link) = (try Ports.free(), try Ports.free())
            let proxy = try await LinkProxy.start(box, port: link, target: port, bandwidth: 200 << 20)
            let parent = try await Parent.start(box, arguments: ["--public-address", "127.0.0.1:\(link)"], port: port)
            let builder = try await parent.token("builder")
            let child = try await Child.start(box, try await parent.connectedRegistry("factory", repository: "team/*", tokens: ["builder"]))
            let (atParent, atChild) = (try parent.registry(by: builder), try child.registry(builder))
            let layer = Data.random(4 << 20)
            #expect(try await atParent.push(try .image(layers: [layer]), "team/one", "v1"))
            try await eventually("v1") { try await atChild.flaw("team/one", "v1") == nil }
            let before = proxy.carried.down
            #expect(try await atParent.push(try .image(layers: [layer, .random(1000)]), "team/one", "v1"))
            let other = try Artifact.image(layers: [layer, .random(1000)])
            #expect(try await atParent.push(other, "team/two", "v2"))
            #expect(try await atParent.push(try .image(layers: [.random(1000)]), "elsewhere", "v1"))
            try await eventually("v2") { try await atChild.flaw("team/two", "v2", digest: other.digest) == nil }
            #expect(proxy.carried.down - before < 200_000)
            #expect(try await atChild.manifest("HEAD", "elsewhere", "v1").status != 200)
        }
    }

    @Test("C13 R2: an index moves as a whole with its referrers; a deleted tag goes")
    func wholeGraphs() async throws {
        try await withSandbox { box in
            let parent = try await Parent.start(box)
            let builder = try await parent.token("builder")
            let child = try await Child.start(box, try await parent.connectedRegistry("factory", tokens: ["builder"]))
            let (atParent, atChild) = (try parent.registry(by: builder), try child.registry(builder))
            let images = [try Artifact.image(layers: [.random(300_000)]), try Artifact.image(layers: [.random(300_000)])]
            for image in images { #expect(try await atParent.push(image, "app", image.digest)) }
            let inner = try Artifact.index(images.map(\.descriptor))
            #expect(try await atParent.push(inner, "app", inner.digest))
            let outer = try Artifact.index([inner.descriptor, images[0].descriptor])
            #expect(try await atParent.push(outer, "app", "all"))
            let signature = try Artifact.image(
                layers: [.random(500)], subject: outer.descriptor, artifactType: "application/vnd.example.signature")
            #expect(try await atParent.push(signature, "app", signature.digest))
            try await eventually("the index") { try await atChild.manifest("HEAD", "app", "all").status == 200 }
            #expect(try await atChild.flaw("app", "all", digest: outer.digest) == nil)
            try await eventually("the referrer") {
                let list = try await atChild.ask("GET", "/v2/app/referrers/\(outer.digest)", scope: "repository:app:pull")
                return (list.json["manifests"] as? [[String: Any]])?.first?["digest"] as? String == signature.digest
            }
            #expect(try await atParent.ask("DELETE", "/v2/app/manifests/all", scope: "repository:app:delete").status == 202)
            try await eventually("the tag is gone") { try await atChild.manifest("HEAD", "app", "all").status == 404 }
        }
    }
}
