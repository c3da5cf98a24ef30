// Soft delete and restore, with the unmodified `az`, a real client, and a connected registry that follows.

import Foundation
import JSON
import Testing

@Suite(.serialized) struct AzureSoftDeleteTests {
    @Test("A3 R4 A4: az acr config soft-delete, manifest list-deleted, list-deleted-tags, restore; outport prints the same")
    func softDelete() async throws {
        try await withSandbox { box in
            let parent = try await Parent.start(box)
            let azure = try await AzureCLI.operate(parent)
            let name = parent.registryName
            let clients = try Clients(box)
            let image = try await ImageLayout.busybox(box)
            let admin = try parent.registry(by: try await parent.token("pusher"))

            let before = try await azure.json("acr", "config", "soft-delete", "show", "-r", name)
            #expect(before["status"] == "disabled" && before["retentionDays"] == 7)
            let on = try await azure.json("acr", "config", "soft-delete", "update", "-r", name, "--status", "enabled", "--days", "30")
            #expect(on["status"] == "enabled" && on["retentionDays"] == 30)
            let both = try await azure.attempt(
                "acr", "config", "retention", "update", "-r", name, "--status", "enabled", "--days", "3", "--type", "UntaggedManifests")
            #expect(try both.failed().errors.contains("cannot both be enabled"))

            for tag in ["v1", "v2"] { try await clients.push(image.reference, to: admin, "team/app:\(tag)").succeeded() }
            let digest = try await azure(
                "acr", "manifest", "list-metadata", "-r", name, "-n", "team/app", "--query", "[0].digest", "-o", "tsv")
            try await azure("acr", "manifest", "delete", "-r", name, "-n", "team/app@\(digest)", "--yes")
            let refused = try await clients.pull(admin, "team/app:v1", into: "oci:\(box.path("gone")):v1").failed()
            #expect(refused.errors.contains("manifest unknown") || refused.errors.contains("not in repository"), "\(refused.errors)")

            for command in [
                ["acr", "repository", "list-deleted", "-n", name], ["acr", "manifest", "list-deleted", "-r", name, "-n", "team/app"],
                ["acr", "manifest", "list-deleted-tags", "-r", name, "-n", "team/app"],
                ["acr", "manifest", "list-deleted-tags", "-r", name, "-n", "team/app:v2"],
                ["acr", "config", "soft-delete", "show", "-r", name],
            ] {
                let theirs = try await azure.attempt(command + ["-o", "json"]).succeeded().trimmed
                let ours = try await parent.attempt(command + ["-o", "json"]).succeeded().trimmed
                #expect(try JSONValue(parsing: ours) == JSONValue(parsing: theirs), "\(command)")
                #expect(theirs != "[]")
            }
            let listed = try await azure.json("acr", "manifest", "list-deleted", "-r", name, "-n", "team/app")
            #expect(listed[0]?["expiresAfter"]?.stringValue != nil)

            // A collection takes nothing that is kept.
            try await parent("acr", "collect-garbage")
            try await azure("acr", "manifest", "restore", "-r", name, "-n", "team/app:v1")
            try await clients.pull(admin, "team/app:v1", into: "oci:\(box.path("back")):v1").succeeded()
            #expect(try await azure("acr", "repository", "show-tags", "-n", name, "--repository", "team/app", "-o", "tsv") == "v1")
            try await parent("acr", "manifest", "restore", "-r", name, "-n", "team/app:v2", "-d", digest)
            let nothing = try await azure.attempt("acr", "manifest", "restore", "-r", name, "-n", "team/app:v9").failed()
            #expect(nothing.errors.contains("No deleted manifests found"))

            // A tag that names something else meanwhile.
            try await azure("acr", "repository", "untag", "-n", name, "--image", "team/app:v1")
            let other = try await ImageLayout.busybox(box, tag: "other", message: "other")
            try await clients.push(other.reference, to: admin, "team/app:v1").succeeded()
            let taken = try await azure.attempt("acr", "manifest", "restore", "-r", name, "-n", "team/app:v1").failed()
            #expect(taken.errors.contains("--force"))
            try await azure("acr", "manifest", "restore", "-r", name, "-n", "team/app:v1", "--force")
            #expect(
                try await azure("acr", "repository", "show", "-n", name, "--image", "team/app:v1", "--query", "digest", "-o", "tsv")
                    == digest)
            try await parent("acr", "config", "soft-delete", "update", "-r", name, "--days", "2", "--yes")
            try await azure("acr", "config", "soft-delete", "update", "-r", name, "--status", "disabled")
            #expect(
                try await parent.attempt(["acr", "config", "soft-delete", "show", "-r", name]).succeeded().trimmed.contains("disabled"))
        }
    }

    @Test(
        "A3 C10: an image that is soft-deleted is gone at a connected registry; restored it is there again, across a kill -9 of the parent")
    func site() async throws {
        try await withSandbox { box in
            let parent = try await Parent.start(box)
            let name = parent.registryName
            try await parent("acr", "config", "soft-delete", "update", "-r", name, "--status", "enabled")
            let builder = try await parent.token("builder")
            let string = try await parent.connectedRegistry("factory", tokens: ["builder"])
            let child = try await Child.start(box, string)
            let atChild = try child.registry(builder)
            let image = try Artifact.image(layers: [.random(1 << 20)])
            #expect(try await parent.registry(by: builder).push(image, "app", "v1"))
            try await eventually("the image is at the site") { try await atChild.flaw("app", "v1", digest: image.digest) == nil }
            try await parent("acr", "repository", "delete", "-n", name, "--repository", "app", "--yes")
            try await eventually("the image is gone at the site") {
                try await atChild.flaw("app", "v1", digest: image.digest) != nil
            }
            try await parent.server.kill()
            try await parent.server.start()
            try await parent("acr", "manifest", "restore", "-r", name, "-n", "app:v1")
            try await eventually("the image is back at the site") { try await atChild.flaw("app", "v1", digest: image.digest) == nil }
        }
    }
}
