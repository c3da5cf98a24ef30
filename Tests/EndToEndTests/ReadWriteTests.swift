// A site whose clients push: with the parent away, through a kill, and against somebody at the parent.

import Foundation
import Testing

@Suite struct ReadWriteTests {
    @Test(
        "C7 C8: skopeo pushes at a site with the parent stopped, the site is killed, and the tags appear at the parent; what was changed at both ends is kept and told"
    )
    func pushedWithTheParentAway() async throws {
        try await withSandbox { box in
            let parent = try await Parent.start(box)
            let builder = try await parent.token("builder")
            let child = try await Child.start(box, try await parent.connectedRegistry("factory", tokens: ["builder"], mode: "ReadWrite"))
            let (atParent, atChild) = (try parent.registry(by: builder), try child.registry(builder))
            let first = try Artifact.image(layers: [.random(100_000)])
            #expect(try await atParent.push(first, "app", "shared"))
            try await eventually("the first image at the site") { try await atChild.flaw("app", "shared", digest: first.digest) == nil }

            #expect(try await parent.server.stop() == 0)
            let clients = try Clients(box)
            let image = try await ImageLayout.busybox(box)
            try await clients.push(image.reference, to: atChild, "app:v1").succeeded()
            let here = try Artifact.image(layers: [.random(100_000)])
            #expect(try await atChild.push(here, "app", "shared"))
            // Acknowledged, so a kill at once changes nothing.
            try await child.kill()
            // Outside of what is selected nothing is taken that could never go up.
            try await child.start()
            let outside = try await clients.push(image.reference, to: atChild, "elsewhere:v1").failed()
            #expect(outside.text.contains("permissions update"), "skopeo says: \(outside.text)")
            #expect(try await atChild.flaw("app", "v1", digest: image.digest) == nil)
            try await child.kill()

            try await parent.server.start()
            let there = try Artifact.image(layers: [.random(100_000)])
            #expect(try await atParent.push(there, "app", "shared"))
            try await child.start()
            try await eventually("v1 at the parent") { try await atParent.flaw("app", "v1", digest: image.digest) == nil }
            try await eventually("the parent's value at the site") {
                try await atChild.flaw("app", "shared", digest: there.digest) == nil
            }
            let kept = "shared.conflict-factory-\(here.digest.dropFirst("sha256:".count).prefix(12))"
            for side in [atParent, atChild] {
                try await eventually("what was kept at \(side.address)") { try await side.flaw("app", kept, digest: here.digest) == nil }
            }
            #expect(try await atParent.flaw("app", "shared", digest: there.digest) == nil)
            try await eventually("the conflict in statusDetails") {
                try await parent.acr("connected-registry", "show", "-n", "factory", "--query", "statusDetails[].code", "-o", "tsv")
                    == "Conflict"
            }
            try await eventually("nothing left to send") {
                try await parent.acr("connected-registry", "show", "-n", "factory", "--query", "pendingChanges", "-o", "tsv") == "0"
            }
            try await eventually("it is Online") { try await parent.state(of: "factory") == "Online" }
            // Untagged at the site, untagged at the parent.
            let removal = try await atChild.ask("DELETE", "/v2/app/manifests/v1", scope: "repository:app:delete")
            #expect(removal.status == 202)
            try await eventually("v1 gone at the parent") { try await atParent.manifest("HEAD", "app", "v1").status == 404 }
        }
    }
}
