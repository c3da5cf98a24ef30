// Pulls at a site of what it does not have yet, with real processes and the clients people use.

import Foundation
import Testing

@Suite struct OnDemandTests {
    @Test(
        "B6 podman, skopeo and containerd pull at a site what has not been synchronised, while it comes; a parent that is killed cuts the client off, and the next pull goes on"
    )
    func pulledAhead() async throws {
        try await withSandbox { box in
            let parent = try await Parent.start(box)
            let builder = try await parent.token("builder")
            let atParent = try parent.registry(by: builder)
            // What the synchronisation is busy with for minutes at this rate: it comes first by priority.
            let ahead = try Artifact.image(layers: [.random(256 << 20)])
            #expect(try await atParent.push(ahead, "ahead", "v1"))
            let clients = try Clients(box)
            let image = try await ImageLayout.busybox(box, message: "pulled ahead")
            try await clients.push(image.reference, to: atParent, "app:v1").succeeded()
            let large = try Artifact.image(layers: [.random(20 << 20)])
            #expect(try await atParent.push(large, "app", "large"))
            try await parent.acr(
                "connected-registry", "create", "-n", "factory", "--repository", "app", "ahead", "--client-tokens", "builder",
                "--priorities", "ahead", "--on-demand", "--yes")
            #expect(
                try await parent.acr("connected-registry", "show", "-n", "factory", "--query", "onDemand", "-o", "tsv").lowercased()
                    == "true")
            let file = try box.file("connection-string", try await parent.connectionString("factory"))
            let child = OutportServer(
                .connect, box: box, data: box.path("child"), port: try Ports.free(),
                arguments: ["--connection-string-file", file, "--rate-limit", "1MiB"], environment: Child.bareEnvironment)
            let containerd = try await Containerd.start(box)
            try await child.start()
            let atChild = try child.registry(builder)
            try await eventually("the client token") { try await atChild.token("repository:app:pull").status == 200 }

            // All three at once.
            let name = "\(atChild.address)/app:v1"
            try clients.signIn(atChild)
            let trust = try atChild.trustFolder()
            async let podman = clients.podman("pull", "--quiet", "--cert-dir", trust, name)
            async let skopeo = clients.pull(atChild, "app:v1", into: "oci:\(box.path("pulled")):v1")
            async let ctr = containerd.pull(atChild, "app:v1")
            _ = try await (podman.succeeded(), skopeo.succeeded(), ctr.succeeded())
            #expect(try await containerd.digest(atChild, "app:v1") == image.digest)
            #expect(
                try await clients.podman("run", "--rm", "--net=none", name).succeeded().output.hasPrefix("pulled ahead"))
            // The synchronisation has not come so far.
            let tags = try await atChild.ask("GET", "/v2/app/tags/list", scope: "repository:app:pull")
            #expect(tags.status == 404 || tags.text.contains("v1") == false, "\(tags.text)")

            // The image is made complete behind the clients: it needs no parent from the moment its tag is noted.
            let noted = "import sqlite3, sys; print(*sqlite3.connect(sys.argv[1]).execute('SELECT name FROM provisional_tag').fetchall())"
            try await eventually("the image is complete") {
                try await command("python3", ["-c", noted, child.data + "/outport.db"]).succeeded().output.contains("v1")
            }

            // More than what sockets hold, and the parent dies on the way.
            let url = "https://\(atChild.address)/v2/app/blobs/\(large.blobs[1].digest)"
            let part = box.path("cut")
            let cut = Task { try await clients.curl(atChild, "-o", part, url) }
            try await eventually("the first bytes at the client") {
                (try? FileManager.default.attributesOfItem(atPath: part)[.size] as? Int) ?? 0 > 100_000
            }
            try await parent.server.kill()
            let outcome = try await cut.value
            #expect(!outcome.isSuccess)
            let answer = try await atChild.manifest("GET", "app", "large")
            #expect(answer.status == 404 && answer.text.contains("cannot be fetched from the parent now"), "\(answer.text)")
            // What was pulled is there without it.
            try await clients.pull(atChild, "app:v1", into: "oci:\(box.path("again")):v1").succeeded()
            try await parent.server.start()
            try await eventually("the rest") { try await atChild.flaw("app", "large", digest: large.digest) == nil }
        }
    }
}
