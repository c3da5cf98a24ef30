// The documented commands for content, locks and importing, run with the unmodified `az`, and the same said by outport.

import Foundation
import JSON
import Testing

@Suite(.serialized) struct AzureDataTests {
    /// A real registry on this machine, over plain http.
    private func sourceRegistry(_ box: Sandbox) async throws -> String {
        let port = try Ports.free()
        let folder = try box.newFolder("source")
        let config = try box.file(
            "source.yml",
            "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: \(folder)\nhttp:\n  addr: 127.0.0.1:\(port)\n")
        let process = try await BackgroundProcess.start(
            try Program.path("docker-registry"), ["serve", config], log: box.path("source.log"))
        box.atEnd {
            process.signal(SIGKILL)
            _ = try? await process.wait()
        }
        try await eventually("the source answers") {
            try await command("curl", ["-fsS", "http://127.0.0.1:\(port)/v2/"]).isSuccess
        }
        return "127.0.0.1:\(port)"
    }

    @Test("R5 A4: az acr import from another real registry, by tag, digest and index, with conflict and force, and by resource id")
    func imports() async throws {
        try await withSandbox { box in
            let source = try await self.sourceRegistry(box)
            let image = try await ImageLayout.busybox(box)
            let index = try await ImageLayout.multiArch(box)
            let clients = try Clients(box)
            for (layout, name) in [(image, "library/busybox:v1"), (index, "team/multi:v1")] {
                try await clients.skopeo(
                    "copy", "--all", "--dest-tls-verify=false", layout.reference, "docker://\(source)/\(name)"
                ).succeeded()
            }
            let parent = try await Parent.start(
                box, arguments: ["--upstream", "docker.io=http://\(source)", "--upstream", "mcr.microsoft.com=http://\(source)"])
            let azure = try await AzureCLI.operate(parent)
            let name = parent.registryName

            try await azure("acr", "import", "-n", name, "--source", "docker.io/library/busybox:v1", "--image", "busybox:v1")
            // The short name, a second and a third tag.
            try await azure("acr", "import", "-n", name, "--source", "docker.io/busybox:v1", "-t", "short:a", "-t", "short:b")
            try await azure("acr", "import", "-n", name, "--source", "mcr.microsoft.com/team/multi:v1")
            let tags = try await azure("acr", "repository", "show-tags", "-n", name, "--repository", "short", "-o", "tsv")
            #expect(tags.split(whereSeparator: \.isNewline) == ["a", "b"])
            let admin = try parent.registry(by: try await parent.token("importer"))
            try await clients.pull(admin, "team/multi:v1", into: "oci:\(box.path("pulled")):v1", "--all").succeeded()

            let again = try await azure.attempt(
                "acr", "import", "-n", name, "--source", "docker.io/library/busybox:v1", "--image", "busybox:v1"
            ).failed()
            #expect(again.errors.contains("already exists"))
            try await azure("acr", "import", "-n", name, "--source", "docker.io/library/busybox:v1", "--image", "busybox:v1", "--force")
            let digest = try await azure("acr", "repository", "show", "-n", name, "--image", "busybox:v1", "--query", "digest", "-o", "tsv")
            try await azure("acr", "import", "-n", name, "--source", "docker.io/library/busybox@\(digest)", "-t", "bydigest:v1")
            #expect(
                try await azure.attempt("acr", "import", "-n", name, "--source", "docker.io/library/nothing:v1", "-t", "x:1").failed()
                    .errors.contains("does not have"))
            // Inside is not reached unless the operator says so.
            #expect(
                try await azure.attempt("acr", "import", "-n", name, "--source", "127.0.0.9:8443/app:v1", "-t", "x:1").failed()
                    .errors.contains("--fetch-allow"))
            try await parent("acr", "import", "-n", name, "--source", "docker.io/busybox:v1", "-t", "own:v1")
            #expect(
                try await azure("acr", "repository", "show", "-n", name, "--image", "own:v1", "--query", "digest", "-o", "tsv") == digest)
        }
    }

    @Test("R5: an import goes on after a kill -9 of the server at the byte where it stood, and its operation is still known")
    func resumes() async throws {
        try await withSandbox { box in
            let source = try await self.sourceRegistry(box)
            let layer: Int64 = 48 << 20
            let image = try await ImageLayout.busybox(box, extraMiB: 48)
            let clients = try Clients(box)
            try await clients.skopeo("copy", "--dest-tls-verify=false", image.reference, "docker://\(source)/library/big:v1").succeeded()
            // A link of 4 MiB a second, so that there is a middle to be killed in.
            let port = try Ports.free()
            let link = try await LinkProxy.start(box, port: port, target: Int(source.split(separator: ":")[1]) ?? 0, bandwidth: 4 << 20)
            let parent = try await Parent.start(box, arguments: ["--upstream", "docker.io=http://127.0.0.1:\(port)"])
            let command = Task {
                try await parent.attempt(["acr", "import", "-n", parent.registryName, "--source", "docker.io/big:v1", "-t", "big:v1"])
            }
            try await eventually("a part of the layer has passed") { link.carried.down > 16 << 20 }
            try await parent.server.kill()
            let before = link.carried.down
            try await parent.server.start()
            let registry = try parent.registry(by: try await parent.token("reader"))
            try await eventually("the import is done") { try await registry.flaw("big", "v1") == nil }
            // Not from the beginning: what had arrived before is not fetched again, but for what was on its way, in the kernel or in memory.
            #expect(link.carried.down < layer + (12 << 20), "\(link.carried.down) of \(layer), \(before) before")
            _ = try await command.value
        }
    }

    @Test("R4 A4: az acr repository and manifest: lists, attributes, locks, untag and delete; outport prints the same")
    func repositories() async throws {
        try await withSandbox { box in
            let parent = try await Parent.start(box)
            let azure = try await AzureCLI.operate(parent)
            let name = parent.registryName
            let image = try await ImageLayout.busybox(box)
            let clients = try Clients(box)
            let admin = try parent.registry(by: try await parent.token("pusher"))
            for tag in ["v1", "v2"] { try await clients.push(image.reference, to: admin, "team/app:\(tag)").succeeded() }
            let at = ["-n", name, "--repository", "team/app"]

            #expect(try await azure("acr", "repository", "list", "-n", name, "-o", "tsv") == "team/app")
            let shown = try await azure.json("acr", "repository", "show", "-n", name, "--repository", "team/app")
            #expect(shown["tagCount"]?.intValue == 2)
            let digest = try await azure(
                "acr", "manifest", "list-metadata", "-r", name, "-n", "team/app", "--query", "[0].digest", "-o", "tsv")
            // By tag az shows the tag, by digest the manifest.
            let tag = try await azure.json("acr", "manifest", "show-metadata", "-r", name, "-n", "team/app:v1")
            #expect(tag["digest"]?.stringValue == digest)
            let metadata = try await azure.json("acr", "manifest", "show-metadata", "-r", name, "-n", "team/app@\(digest)")
            #expect(metadata["os"] == "linux")

            // Same words, same answers.
            for command in [
                ["acr", "repository", "list", "-n", name], ["acr", "repository", "show-tags"] + at,
                ["acr", "repository", "show-tags", "--detail", "--orderby", "time_desc"] + at, ["acr", "repository", "show"] + at,
                ["acr", "repository", "show", "-n", name, "--image", "team/app:v1"],
                ["acr", "manifest", "list-metadata", "-r", name, "-n", "team/app"],
                ["acr", "manifest", "show-metadata", "-r", name, "-n", "team/app:v1"],
                ["acr", "manifest", "show", "-r", name, "-n", "team/app:v1"],
                ["acr", "manifest", "list", "-r", name, "-n", "team/app"],
                ["acr", "manifest", "list-referrers", "-r", name, "-n", "team/app:v1"],
            ] {
                for format in ["json", "table"] {
                    let theirs = try await azure.attempt(command + ["-o", format]).succeeded().trimmed
                    let ours = try await parent.attempt(command + ["-o", format]).succeeded().trimmed
                    if format == "json" {
                        #expect(try JSONValue(parsing: ours) == JSONValue(parsing: theirs), "\(command)")
                    } else {
                        #expect(ours == theirs, "\(command)")
                    }
                }
            }

            // Locked with the one, met and unlocked with the other.
            let locked = try await azure.json(
                "acr", "repository", "update", "-n", name, "--image", "team/app:v1", "--write-enabled", "false")
            #expect(locked[path: "changeableAttributes", "writeEnabled"] == false)
            let other = try await ImageLayout.busybox(box, tag: "other", message: "other")
            try await clients.push(other.reference, to: admin, "team/app:v1").failed()
            try await azure.attempt("acr", "repository", "untag", "-n", name, "--image", "team/app:v1").failed()
            try await parent.attempt(["acr", "repository", "delete", "-n", name, "--repository", "team/app", "--yes"]).failed()
            try await parent("acr", "repository", "update", "-n", name, "--image", "team/app:v1", "--write-enabled", "true")
            try await clients.push(other.reference, to: admin, "team/app:v1").succeeded()
            try await azure("acr", "manifest", "update-metadata", "-r", name, "-n", "team/app:v2", "--delete-enabled", "false")
            try await azure.attempt("acr", "manifest", "delete", "-r", name, "-n", "team/app@\(digest)", "--yes").failed()
            try await parent("acr", "manifest", "update-metadata", "-r", name, "-n", "team/app:v2", "--delete-enabled", "true")

            try await azure("acr", "repository", "untag", "-n", name, "--image", "team/app:v2")
            try await parent("acr", "manifest", "delete", "-r", name, "-n", "team/app@\(digest)", "--yes")
            try await azure("acr", "repository", "delete", "-n", name, "--repository", "team/app", "--yes")
            #expect(try await azure("acr", "repository", "list", "-n", name, "-o", "tsv").isEmpty)
            #expect(try await azure.attempt("acr", "repository", "show", "-n", name, "--repository", "team/app").status == 3)
        }
    }
}
