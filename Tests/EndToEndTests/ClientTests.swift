// The clients people have, against a parent: what is pushed comes back with the same digest.

import Foundation
import Testing

@Suite(.serialized, .sharedParent) struct ClientTests {
    @Test("R1 I5: skopeo signs in, pushes, inspects and pulls") func skopeo() async throws {
        try await withSharedParent { box, parent, registry in
            let clients = try Clients(box)
            let image = try await ImageLayout.busybox(box, extraMiB: 3)
            let (trust, admin) = (try registry.trustFolder(), try #require(registry.credentials))
            try await clients.skopeo("login", "--cert-dir", trust, "-u", admin.name, "-p", admin.password, registry.address).succeeded()
            try await clients.skopeo("login", "--cert-dir", trust, "-u", admin.name, "-p", "wrong", registry.address).failed()
            try await clients.skopeo("login", "--cert-dir", trust, "-u", admin.name, "-p", admin.password, registry.address).succeeded()
            try await clients.push(image.reference, to: registry, "skopeo/app:v1").succeeded()
            let digest = try await clients.skopeo(
                "inspect", "--cert-dir", trust, "--format", "{{.Digest}}", "docker://\(registry.address)/skopeo/app:v1")
            #expect(try digest.succeeded().trimmed == image.digest)
            let copy = box.path("copy")
            try await clients.pull(registry, "skopeo/app@\(image.digest)", into: "oci:\(copy):v1").succeeded()
            let blobs = try FileManager.default.contentsOfDirectory(atPath: copy + "/blobs/sha256")
            #expect(Set(blobs) == Set(try FileManager.default.contentsOfDirectory(atPath: image.folder + "/blobs/sha256")))
            // Without trust there is no push.
            let untrusted = try await clients.skopeo("copy", image.reference, "docker://\(registry.address)/skopeo/app:v2").failed()
            #expect(untrusted.text.contains("certificate"))
        }
    }

    @Test("R1: podman pulls, runs, and pushes") func podman() async throws {
        try await withSharedParent { box, parent, registry in
            let clients = try Clients(box)
            let image = try await ImageLayout.busybox(box, message: "run by podman")
            try await clients.push(image.reference, to: registry, "podman/app:v1").succeeded()
            let (trust, digests) = (try registry.trustFolder(), box.path("digest"))
            let name = "\(registry.address)/podman/app"
            try await clients.podman("pull", "--quiet", "--cert-dir", trust, "\(name):v1").succeeded()
            let digest = try await clients.podman("image", "inspect", "--format", "{{.Digest}}", "\(name):v1").succeeded()
            #expect(digest.trimmed == image.digest)
            #expect(try await clients.podman("run", "--rm", "--net=none", "\(name):v1").succeeded().output.hasPrefix("run by podman"))
            try await clients.podman("push", "--quiet", "--cert-dir", trust, "--digestfile", digests, "\(name):v1", "\(name):v2")
                .succeeded()
            let pushed = try String(contentsOfFile: digests, encoding: .utf8)
            #expect(try await registry.flaw("podman/app", "v2", digest: pushed) == nil)
        }
    }

    @Test("R1: buildah builds from nothing, pushes and pulls") func buildah() async throws {
        try await withSharedParent { box, parent, registry in
            let clients = try Clients(box)
            try clients.signIn(registry)
            let (trust, digests) = (try registry.trustFolder(), box.path("digest"))
            let name = "\(registry.address)/buildah/app:v1"
            let container = try await clients.buildah("from", "scratch").succeeded().trimmed
            let file = box.path("noise")
            try Data.random(2 << 20).write(to: URL(filePath: file))
            try await clients.buildah("copy", container, file, "/noise").succeeded()
            try await clients.buildah("commit", "--quiet", container, name).succeeded()
            try await clients.buildah("push", "--quiet", "--cert-dir", trust, "--digestfile", digests, name, "docker://\(name)").succeeded()
            let pushed = try String(contentsOfFile: digests, encoding: .utf8)
            #expect(try await registry.flaw("buildah/app", "v1", digest: pushed) == nil)
            let fresh = try Clients(box)
            try fresh.signIn(registry)
            try await fresh.buildah("pull", "--quiet", "--cert-dir", trust, name).succeeded()
            let images = try await fresh.buildah("images", "--format", "{{.Digest}}", "--no-trunc").succeeded()
            #expect(images.trimmed == pushed)
        }
    }

    @Test("R1: containerd pulls and pushes", .needsRoot) func containerd() async throws {
        try await withSharedParent { box, parent, registry in
            let clients = try Clients(box)
            let image = try await ImageLayout.busybox(box, extraMiB: 2)
            try await clients.push(image.reference, to: registry, "containerd/app:v1").succeeded()
            let containerd = try await Containerd.start(box)
            try await containerd.pull(registry, "containerd/app:v1").succeeded()
            #expect(try await containerd.digest(registry, "containerd/app:v1") == image.digest)
            try await containerd.push(registry, "containerd/copy:v1", from: "\(registry.address)/containerd/app:v1").succeeded()
            #expect(try await registry.flaw("containerd/copy", "v1", digest: image.digest) == nil)
        }
    }

    @Test("R1: docker signs in, pulls and pushes", .needsRoot) func docker() async throws {
        try await withSharedParent { box, parent, registry in
            let clients = try Clients(box)
            let image = try await ImageLayout.busybox(box, extraMiB: 2)
            try await clients.push(image.reference, to: registry, "docker/app:v1").succeeded()
            let docker = try await Docker.start(box)
            try await docker.run("pull", "\(registry.address)/docker/app:v1").failed()
            try await docker.signIn(registry)
            try await docker.run("pull", "\(registry.address)/docker/app:v1").succeeded()
            let digests = try await docker.run(
                "image", "inspect", "--format", "{{index .RepoDigests 0}}", "\(registry.address)/docker/app:v1"
            ).succeeded()
            #expect(digests.trimmed == "\(registry.address)/docker/app@\(image.digest)")
            try await docker.run("tag", "\(registry.address)/docker/app:v1", "\(registry.address)/docker/copy:v1").succeeded()
            let pushed = try await docker.run("push", "\(registry.address)/docker/copy:v1").succeeded()
            let digest = try #require(pushed.output.firstMatch(of: /digest: (sha256:[0-9a-f]{64})/)?.output.1)
            #expect(try await registry.flaw("docker/copy", "v1", digest: String(digest)) == nil)
        }
    }

    @Test("R1 R2: a multi-arch index with skopeo --all; a nested index, a subject and its referrer with curl") func indexes() async throws {
        try await withSharedParent { box, parent, registry in
            let clients = try Clients(box)
            let index = try await ImageLayout.multiArch(box)
            try await clients.push(index.reference, to: registry, "index/app:multi", "--all", "--preserve-digests").succeeded()
            #expect(try await registry.flaw("index/app", "multi", digest: index.digest) == nil)
            let copy = box.path("copy")
            try await clients.pull(registry, "index/app:multi", into: "oci:\(copy):multi", "--all", "--preserve-digests").succeeded()
            #expect(FileManager.default.fileExists(atPath: "\(copy)/blobs/sha256/\(index.digest.dropFirst(7))"))

            let inner = try await registry.manifest("GET", "index/app", "multi")
            let nested = try Artifact.index([["mediaType": Artifact.indexType, "digest": index.digest, "size": inner.body.count]])
            let base = "https://\(registry.address)/v2/index/app"
            func put(_ artifact: Artifact, _ reference: String) async throws -> String {
                try await clients.curl(
                    registry, "--fail", "-D", "-", "-o", "/dev/null", "-X", "PUT", "-H", "Content-Type: \(artifact.mediaType)",
                    "--data-binary",
                    "@\(try box.file("manifest", String(decoding: artifact.manifest, as: UTF8.self)))", "\(base)/manifests/\(reference)"
                ).succeeded().output
            }
            let answer = try await put(nested, "nested")
            #expect(answer.lowercased().contains("docker-content-digest: \(nested.digest)"))
            let back = try await clients.curl(registry, "-H", "Accept: \(Registry.manifestTypes)", "\(base)/manifests/nested").succeeded()
            #expect(Data(back.output.utf8) == nested.manifest)

            // An SBOM for the nested index.
            let note = try Artifact.image(
                layers: [Data("{}".utf8)], subject: nested.descriptor, artifactType: "application/vnd.example.sbom")
            for blob in note.blobs { #expect(try await registry.push(blob: blob, "index/app")) }
            #expect(try await put(note, note.digest).lowercased().contains("oci-subject: \(nested.digest)"))
            func referrers(_ query: String) async throws -> [String] {
                let list = try await clients.curl(registry, "--fail", "\(base)/referrers/\(nested.digest)\(query)").succeeded()
                let object = try #require(try JSONSerialization.jsonObject(with: Data(list.output.utf8)) as? [String: Any])
                return (object["manifests"] as? [[String: Any]] ?? []).compactMap { $0["digest"] as? String }
            }
            #expect(try await referrers("") == [note.digest])
            #expect(try await referrers("?artifactType=application/vnd.example.sbom") == [note.digest])
            #expect(try await referrers("?artifactType=other") == [])
        }
    }

    @Test("R2: a Docker schema 2 image keeps its digest") func dockerSchema() async throws {
        try await withSharedParent { box, parent, registry in
            let clients = try Clients(box)
            let image = try await ImageLayout.busybox(box)
            let folder = box.path("schema2")
            try await clients.skopeo("copy", "--quiet", "--format", "v2s2", image.reference, "dir:\(folder)").succeeded()
            let manifest = try Data(contentsOf: URL(filePath: folder + "/manifest.json"))
            try await clients.push("dir:\(folder)", to: registry, "schema/app:v1").succeeded()
            let reply = try await registry.manifest("GET", "schema/app", "v1")
            #expect(reply.body == manifest)
            #expect(reply["Content-Type"] == "application/vnd.docker.distribution.manifest.v2+json")
            #expect(reply["Docker-Content-Digest"] == manifest.digest)
            let back = box.path("back")
            try await clients.pull(registry, "schema/app:v1", into: "dir:\(back)").succeeded()
            #expect(try Data(contentsOf: URL(filePath: back + "/manifest.json")) == manifest)
        }
    }

    @Test("R1: blobs are mounted across repositories, read in ranges, and tags are listed in pages") func mountsRangesTags() async throws {
        try await withSharedParent { box, parent, registry in
            let clients = try Clients(box)
            let layer = Data.random(300_000)
            let image = try Artifact.image(layers: [layer])
            for tag in ["c", "a", "b", "d"] { #expect(try await registry.push(image, "parts/one", tag)) }
            func mount(_ query: String, scope: String) async throws -> Int {
                try await registry.ask("POST", "/v2/parts/two/blobs/uploads/?\(query)", scope: scope).status
            }
            let scope = "repository:parts/two:pull,push repository:parts/one:pull"
            #expect(try await registry.blob("HEAD", "parts/two", layer.digest).status == 404)
            #expect(try await mount("mount=\(Data.random(10).digest)&from=parts/one", scope: scope) == 202)
            #expect(try await mount("mount=\(layer.digest)&from=parts/one", scope: scope) == 201)
            #expect(try await registry.blob("GET", "parts/two", layer.digest).body == layer)

            let url = "https://\(registry.address)/v2/parts/one/blobs/\(layer.digest)"
            for (range, expected) in [("100-199", layer[100..<200]), ("299990-", layer[299_990...]), ("-5", layer.suffix(5))] {
                let file = box.path("range")
                let status = try await clients.curl(registry, "-r", range, "-o", file, "-w", "%{http_code}", url).succeeded()
                #expect(status.trimmed == "206")
                #expect(try Data(contentsOf: URL(filePath: file)) == Data(expected))
            }
            #expect(
                try await clients.curl(registry, "-r", "300000-", "-o", "/dev/null", "-w", "%{http_code}", url).succeeded().trimmed == "416"
            )

            let tags = "https://\(registry.address)/v2/parts/one/tags/list"
            #expect(try await clients.curl(registry, tags).succeeded().trimmed == #"{"name":"parts/one","tags":["a","b","c","d"]}"#)
            let page = try await clients.curl(registry, "-D", "-", "\(tags)?n=2&last=a").succeeded().output
            #expect(page.contains(#""tags":["b","c"]"#))
            #expect(page.lowercased().contains("link: </v2/parts/one/tags/list?"))
        }
    }

    @Test("R1: an upload in chunks, its status, resumption and cancellation") func chunks() async throws {
        try await withSharedParent { box, parent, registry in
            let scope = "repository:chunks:pull,push"
            let content = Data.random(70_000)
            let begun = try await registry.ask("POST", "/v2/chunks/blobs/uploads/", scope: scope)
            var location = try #require(begun["Location"])
            func patch(_ range: Range<Int>) async throws -> Reply {
                try await registry.ask(
                    "PATCH", location, scope: scope,
                    headers: ["Content-Range": "\(range.lowerBound)-\(range.upperBound - 1)", "Content-Type": "application/octet-stream"],
                    body: content[range])
            }
            let first = try await patch(0..<30_000)
            #expect(first.status == 202)
            location = first["Location"] ?? location
            // Out of order: where to go on is asked.
            #expect(try await patch(50_000..<70_000).status == 416)
            let status = try await registry.ask("GET", location, scope: scope)
            #expect(status.status == 204)
            #expect(status["Range"] == "0-29999")
            location = try await patch(30_000..<70_000)["Location"] ?? location
            let separator = location.contains("?") ? "&" : "?"
            let wrong = try await registry.ask("PUT", "\(location)\(separator)digest=\(Data.random(3).digest)", scope: scope)
            #expect(wrong.status == 400)
            #expect(wrong.errorCode == "DIGEST_INVALID")
            #expect(try await registry.blob("HEAD", "chunks", content.digest).status == 404)
            #expect(try await registry.push(blob: content, "chunks"))
            let cancelled = try #require(try await registry.ask("POST", "/v2/chunks/blobs/uploads/", scope: scope)["Location"])
            #expect(try await registry.ask("DELETE", cancelled, scope: scope).status == 204)
            #expect(try await registry.ask("GET", cancelled, scope: scope).status == 404)
        }
    }

    @Test("R1: an upload that breaks off is kept as far as it came and goes on from there; one that says too much is refused")
    func brokenUploads() async throws {
        try await withSharedParent { box, parent, registry in
            let scope = "repository:broken:pull,push"
            let content = Data.random(1 << 20)
            let location = try #require(try await registry.ask("POST", "/v2/broken/blobs/uploads/", scope: scope)["Location"])
            let parts = SlowParts(content: content, part: 64 << 10, pause: .milliseconds(5), end: 512 << 10)
            await #expect(throws: (any Error).self) {
                try await registry.upload("PATCH", location, scope: scope, size: content.count, parts)
            }
            #expect(try await registry.blob("HEAD", "broken", content.digest).status == 404)
            let status = try await eventually("the state of the upload") {
                let reply = try await registry.ask("GET", location, scope: scope)
                return reply.status == 204 ? reply : nil
            }
            let stored = (status["Range"]?.split(separator: "-").last.flatMap { Int($0) }).map { $0 + 1 } ?? 0
            #expect(stored <= 512 << 10)
            // The specification has no word for an empty range: 0-0 may mean no byte as well.
            let start = stored <= 1 ? 0 : stored
            let rest = try await registry.ask(
                "PATCH", status["Location"] ?? location, scope: scope,
                headers: ["Content-Range": "\(start)-\(content.count - 1)", "Content-Type": "application/octet-stream"],
                body: content[start...])
            #expect(rest.status == 202, "after \(stored) bytes: \(rest.text)")
            let end = rest["Location"] ?? location
            let done = try await registry.ask("PUT", end + (end.contains("?") ? "&" : "?") + "digest=\(content.digest)", scope: scope)
            #expect(done.status == 201, "\(done.text)")
            #expect(try await registry.blob("GET", "broken", content.digest).body == content)

            // Content-Range and content of two lengths.
            let other = try #require(try await registry.ask("POST", "/v2/broken/blobs/uploads/", scope: scope)["Location"])
            let reply = try await registry.ask(
                "PATCH", other, scope: scope, headers: ["Content-Range": "0-9", "Content-Type": "application/octet-stream"],
                body: content[0..<20])
            #expect((400..<500).contains(reply.status))
            // A manifest of more than 4 MiB.
            let large = try await registry.put(Data(repeating: 0x20, count: 5 << 20), type: Artifact.imageType, "broken", "v1")
            #expect(large.status == 413 || large.status == 400, "\(large.status)")
        }
    }

    @Test("R1: bad input gets the specification's code and changes nothing") func badInput() async throws {
        try await withSharedParent { box, parent, registry in
            let scope = "repository:bad:pull,push"
            func put(_ manifest: String, _ reference: String = "v1", type: String = Artifact.imageType) async throws -> String {
                let reply = try await registry.put(Data(manifest.utf8), type: type, "bad", reference)
                return "\(reply.status) \(reply.errorCode ?? "-")"
            }
            #expect(try await put("{") == "400 MANIFEST_INVALID")
            #expect(try await put("[]") == "400 MANIFEST_INVALID")
            let missing = try Artifact.image(layers: [.random(10)])
            let text = String(decoding: missing.manifest, as: UTF8.self)
            #expect(["400 MANIFEST_BLOB_UNKNOWN", "404 MANIFEST_BLOB_UNKNOWN"].contains(try await put(text)))
            #expect(try await put(text, Data.random(3).digest) == "400 DIGEST_INVALID")
            #expect(try await put(text, "-bad").hasPrefix("400 "))
            #expect(try await put(text, "sha256:abc").hasPrefix("400 "))
            #expect(
                try await registry.manifest("GET", "bad", "v1").errorCode.map { ["MANIFEST_UNKNOWN", "NAME_UNKNOWN"].contains($0) } == true)
            let name = try await registry.ask("GET", "/v2/bad/blobs/\(Data.random(3).digest)", scope: scope)
            #expect(name.status == 404)
            for path in [
                "/v2/../etc/passwd", "/v2/a/../../b/manifests/v1", "/v2/%2e%2e/%2e%2e/manifests/v1", "/v2/UPPER/manifests/v1",
                "/v2/bad/manifests/%00",
            ] {
                let reply = try await registry.ask("GET", path, scope: scope)
                #expect((400..<500).contains(reply.status), "\(path): \(reply.status)")
            }
            let foreign = try await registry.send("GET", "/v2/bad/tags/list", headers: ["Authorization": "Bearer eyJhbGciOiJub25lIn0.e30."])
            #expect(foreign.status == 401)
            #expect(foreign["WWW-Authenticate"]?.contains("realm=") == true)
            #expect(try await registry.by(nil).token(scope).status == 401)
            // A token for one scope is none for another.
            let token = try await registry.token("repository:bad:pull")
            let bearer = ["Authorization": "Bearer \(token.json["access_token"] as? String ?? "")"]
            #expect([401, 403].contains(try await registry.send("POST", "/v2/bad/blobs/uploads/", headers: bearer).status))
            #expect([401, 403].contains(try await registry.send("GET", "/v2/parts/one/tags/list", headers: bearer).status))
            // And none for the control plane or the gateway.
            #expect([401, 403].contains(try await registry.send("GET", "/subscriptions?api-version=2022-12-01", headers: bearer).status))
            #expect([401, 403, 404].contains(try await registry.send("GET", "/gateway/v1/none/settings", headers: bearer).status))
        }
    }

    @Test("R3 I1: a token sees, pulls and pushes what its scope map says and nothing else") func scopeMaps() async throws {
        try await withSharedParent { box, parent, registry in
            let clients = try Clients(box)
            let image = try Artifact.image(layers: [.random(1000)])
            #expect(try await registry.push(image, "scope/mine", "v1"))
            #expect(try await registry.push(image, "scope/other", "v1"))
            let reader = try registry.by(try await parent.token("reader", repository: "scope/mine", "content/read", "metadata/read"))
            #expect(try await reader.flaw("scope/mine", "v1", digest: image.digest) == nil)
            #expect([401, 403].contains(try await reader.manifest("GET", "scope/other", "v1").status))
            let catalog = try await reader.ask("GET", "/v2/_catalog", scope: "registry:catalog:*")
            #expect(catalog.json["repositories"] as? [String] == ["scope/mine"])
            let layout = try await ImageLayout.busybox(box)
            let refused = try await clients.push(layout.reference, to: reader, "scope/mine:v2").failed()
            #expect(refused.text.contains("denied") || refused.text.contains("unauthorized"), "\(refused.text)")
            // The map is changed, the token may push.
            try await parent.acr("scope-map", "update", "-n", "reader-scope-map", "--add-repository", "scope/mine", "content/write")
            try await clients.push(layout.reference, to: reader, "scope/mine:v2").succeeded()
            try await clients.push(layout.reference, to: reader, "scope/other:v2").failed()
            let system = try registry.by(try await parent.token("puller", scopeMap: "_repositories_pull"))
            #expect(try await system.flaw("scope/other", "v1") == nil)
            #expect(
                [401, 403].contains(
                    try await system.ask("POST", "/v2/scope/other/blobs/uploads/", scope: "repository:scope/other:push").status))
        }
    }

    @Test("I1 C4: a disabled token pulls nothing; a new password in one slot leaves the other") func tokens() async throws {
        try await withSharedParent { box, parent, registry in
            let clients = try Clients(box)
            let image = try Artifact.image(layers: [.random(1000)])
            #expect(try await registry.push(image, "tokens", "v1"))
            let answer = try await parent.acr(
                "token", "create", "-n", "slots", "--repository", "tokens", "content/read", "--query", "credentials.passwords[].value",
                "-o", "tsv")
            let passwords = answer.split(separator: "\n").map(String.init)
            try #require(passwords.count == 2)
            func pull(_ password: String) async throws -> Outcome {
                try await clients.pull(
                    try registry.by(Credentials(name: "slots", password: password)), "tokens:v1", into: "dir:\(box.path("pulled"))")
            }
            for password in passwords { try await pull(password).succeeded() }
            let renewed = try await parent.acr(
                "token", "credential", "generate", "-n", "slots", "--password1", "--query", "passwords[0].value", "-o", "tsv")
            try await pull(passwords[0]).failed()
            try await pull(passwords[1]).succeeded()
            try await pull(renewed).succeeded()
            try await parent.acr("token", "update", "-n", "slots", "--status", "disabled")
            try await pull(renewed).failed()
            try await parent.acr("token", "update", "-n", "slots", "--status", "enabled")
            try await pull(renewed).succeeded()
            try await parent.acr("token", "credential", "delete", "-n", "slots", "--password1")
            try await pull(renewed).failed()
            try await pull(passwords[1]).succeeded()
            // A password that ends; one that lives longer where the machine takes longer to ask with it.
            var (lifetime, brief): (Double, Registry?) = (3, nil)
            while brief == nil {
                let end = Date(timeIntervalSince1970: (Date.now.timeIntervalSince1970 + lifetime).rounded(.down))
                let made = try await parent.attempt([
                    "acr", "token", "credential", "generate", "-n", "slots", "--password1", "--expiration", end.formatted(.iso8601),
                    "--query", "passwords[0].value", "-o", "tsv", "-r", parent.registryName,
                ])
                let asked = made.isSuccess ? try registry.by(Credentials(name: "slots", password: made.trimmed)) : nil
                let status = try await asked?.token("repository:tokens:pull").status
                if Date.now < end {
                    try made.succeeded()
                    #expect(status == 200)
                    brief = asked
                }
                lifetime *= 4
            }
            let byBrief = try #require(brief)
            try await eventually("the password has expired", every: .milliseconds(100)) {
                try await byBrief.token("repository:tokens:pull").status == 401
            }
            try await parent.acr("token", "delete", "-n", "slots", "--yes")
            try await pull(passwords[1]).failed()
        }
    }
}
