// Image locks that an operator sets at the parent, as a site's clients meet them, with the real binary.

import Foundation
import Testing

@Suite struct LockedSiteTests {
    @Test("C19: what is locked at the parent cannot be moved or read at a site, with the parent away, too, until it is unlocked")
    func locked() async throws {
        try await withSandbox { box in
            let parent = try await Parent.start(box)
            let builder = try await parent.token("builder")
            let child = try await Child.start(box, try await parent.connectedRegistry("factory", tokens: ["builder"], mode: "ReadWrite"))
            let (atParent, atChild) = (try parent.registry(by: builder), try child.registry(builder))
            let (one, two) = (try Artifact.image(layers: [.random(1000)]), try Artifact.image(layers: [.random(1000)]))
            #expect(try await atParent.push(one, "app", "v1"))
            #expect(try await atParent.push(two, "app", "secret"))
            try await eventually("the images at the site") { try await atChild.flaw("app", "secret", digest: two.digest) == nil }
            @Sendable func set(_ image: String, _ option: String, _ value: String) async throws {
                try await parent("acr", "repository", "update", "-n", parent.registryName, "--image", image, option, value)
            }
            try await set("app:v1", "--write-enabled", "false")
            try await set("app:secret", "--read-enabled", "false")
            try await eventually("the lock against reading") { try await atChild.manifest("GET", "app", "secret").status == 405 }
            for blob in two.blobs { #expect(try await atChild.push(blob: blob, "app")) }
            #expect(try await parent.server.stop() == 0)
            let refused = try await atChild.put(two.manifest, type: two.mediaType, "app", "v1")
            #expect(
                refused.status == 405 && refused.errorCode == "UNSUPPORTED" && refused.text.contains("locked"),
                "\(refused.status) \(refused.text)")
            #expect(try await atChild.flaw("app", "v1", digest: one.digest) == nil)
            try await parent.server.start()
            try await set("app:v1", "--write-enabled", "true")
            try await set("app:secret", "--read-enabled", "true")
            try await eventually("it can be read again") { try await atChild.flaw("app", "secret", digest: two.digest) == nil }
            try await eventually("it can be moved again") {
                try await atChild.put(two.manifest, type: two.mediaType, "app", "v1").status == 201
            }
            try await eventually("the move at the parent") { try await atParent.flaw("app", "v1", digest: two.digest) == nil }
        }
    }
}
