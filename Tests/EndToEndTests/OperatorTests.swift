// What an operator switches on and relies on: other protocols, the admin user, pulling without credentials, quotas, garbage
// collection while serving, content larger than memory.

import Foundation
import Testing

@Suite(.serialized, .sharedParent) struct OperatorTests {
    @Test("R1 HTTP/2 for clients that speak nothing else: blobs, manifests and uploads") func http2() async throws {
        try await withSharedParent { box, parent, registry in
            let layer = Data.random(3 << 20)
            let image = try Artifact.image(layers: [layer])
            #expect(try await registry.push(image, "h2/app", "v1"))
            let admin = try #require(registry.credentials)
            let digest = layer.digest
            let file = box.path("layer")
            let basic = Data("\(admin.name):\(admin.password)".utf8).base64EncodedString()
            // A client of HTTP/2 and nothing else; it does not check certificates.
            func nghttp(_ more: String...) async throws -> Outcome {
                let arguments = (["-H", "authorization: Basic \(basic)"] + more).map { "'\($0)'" }.joined(separator: " ")
                return try await command("bash", ["-c", "nghttp --no-dep \(arguments) > '\(file)'"]).succeeded()
            }
            func status(_ more: String...) async throws -> String? {
                let arguments = (["-nv", "-H", "authorization: Basic \(basic)"] + more)
                let output = try await command("nghttp", arguments + ["--no-dep"]).succeeded().output
                return output.firstMatch(of: /:status: (\d+)/).map { String($0.1) }
            }
            let base = "https://\(registry.address)/v2/h2/app"
            try await nghttp("\(base)/blobs/\(digest)").succeeded()
            #expect(try Data(contentsOf: URL(filePath: file)) == layer)
            try await nghttp("-H", "range: bytes=100-199", "\(base)/blobs/\(digest)").succeeded()
            #expect(try Data(contentsOf: URL(filePath: file)) == layer[100..<200])
            try await nghttp("\(base)/manifests/v1").succeeded()
            #expect(try Data(contentsOf: URL(filePath: file)) == image.manifest)
            #expect(try await status("\(base)/manifests/v2") == "404")
            let upload = box.path("upload")
            let content = Data.random(2 << 20)
            try content.write(to: URL(filePath: upload))
            let pushed = content.digest
            #expect(try await status("-d", upload, "\(base)/blobs/uploads/?digest=\(pushed)") == "201")
            #expect(try await registry.blob("GET", "h2/app", pushed).body == content)
            // Who offers both gets HTTP/1.1, whose flow control large blobs are faster with.
            let both = try await command(
                "curl", ["--http2", "-sS", "-o", "/dev/null", "-w", "%{http_version}", "--cacert", parent.server.ca, base]
            ).succeeded()
            #expect(both.trimmed == "1.1")
        }
    }

    @Test("R1 an upload of 4 GiB of unknown length stays within 120 MB of memory") func fourGiB() async throws {
        try await withOwnFiles { box in
            let parent = try await Parent.start(box)
            let admin = try await parent.token("admin")
            let registry = try parent.registry(by: admin)
            let begun = try await registry.ask("POST", "/v2/huge/blobs/uploads/", scope: "repository:huge:pull,push")
            let location = try #require(begun["location"])
            let base = "https://\(registry.address)"
            let basic = [
                "-sS", "-u", "\(admin.name):\(admin.password)", "--cacert", parent.server.ca, "-o", "/dev/null", "-w", "%{http_code}",
            ]
            let script =
                "head -c 4294967296 /dev/zero | curl \(basic.map { "'\($0)'" }.joined(separator: " ")) -X PATCH -T - '\(base)\(location)'"
            #expect(try await command("bash", ["-c", script]).succeeded().trimmed == "202")
            // That of 4 GiB of zeroes: `head -c 4294967296 /dev/zero | sha256sum`.
            let digest = "8479e43911dc45e89f934fe48d01297e16f51d17aa561d4d1c216b1ae0fcddca"
            let finished = try await command("curl", basic + ["-X", "PUT", "\(base)\(location)?digest=sha256:\(digest)"])
            #expect(try finished.succeeded().trimmed == "201")
            let status = try String(contentsOfFile: "/proc/\(parent.server.pid)/status", encoding: .utf8)
            let peak = try #require(
                status.split(separator: "\n").first { $0.hasPrefix("VmHWM") }?.split(separator: " ").dropFirst().first.flatMap { Int($0) })
            print("R1: after an upload of 4 GiB the server's largest memory was \(peak / 1000) MB")
            #expect(peak < 120_000)
            #expect(
                try await registry.ask("DELETE", "/v2/huge/blobs/sha256:\(digest)", scope: "repository:huge:pull,push,delete").status == 202
            )
        }
    }

    @Test("I6 the admin user signs in with docker's and skopeo's commands; anonymous pull needs none") func adminAndAnonymous() async throws
    {
        try await withSharedParent { box, parent, registry in
            let clients = try Clients(box)
            let name = parent.registryName
            let trust = try registry.trustFolder()
            try await parent.attempt(["acr", "credential", "show", "-n", name]).failed()
            try await parent.attempt(["acr", "update", "-n", name, "--admin-enabled", "true"]).succeeded()
            let shown = try await parent.attempt(["acr", "credential", "show", "-n", name, "--query", "passwords[0].value", "-o", "tsv"])
            let password = try shown.succeeded().trimmed
            try await clients.skopeo("login", "--cert-dir", trust, "-u", name, "-p", password, registry.address).succeeded()
            let image = try await ImageLayout.busybox(box)
            try await clients.skopeo(
                "copy", "--dest-cert-dir", trust, "--dest-creds", "\(name):\(password)", image.reference,
                "docker://\(registry.address)/admin/app:v1"
            ).succeeded()
            try await parent.attempt(["acr", "credential", "renew", "-n", name, "--password-name", "password"]).succeeded()
            try await clients.skopeo("login", "--cert-dir", trust, "-u", name, "-p", password, registry.address).failed()

            func pull() async throws -> Outcome {
                try await clients.skopeo(
                    "inspect", "--no-creds", "--cert-dir", trust, "--format", "{{.Digest}}", "docker://\(registry.address)/admin/app:v1")
            }
            try await pull().failed()
            try await parent.attempt(["acr", "update", "-n", name, "--anonymous-pull-enabled", "true"]).succeeded()
            #expect(try await pull().succeeded().trimmed == image.digest)
            try await parent.attempt(["acr", "update", "-n", name, "--anonymous-pull-enabled", "false", "--admin-enabled", "false"])
                .succeeded()
            try await pull().failed()
        }
    }

    @Test("R1 R6 a quota, the switch against writes and a collection on demand, from the command line") func limits() async throws {
        try await withSharedParent { box, parent, registry in
            let name = parent.registryName
            let used = try await parent.attempt([
                "acr", "show-usage", "-n", name, "--query", "value[?name=='Size'].currentValue | [0]", "-o", "tsv",
            ])
            let bytes = try #require(Int(try used.succeeded().trimmed))
            try await parent.attempt(["acr", "update", "-n", name, "--storage-quota", "\(bytes + 100_000)"]).succeeded()
            let limit = try await parent.attempt([
                "acr", "show-usage", "-n", name, "--query", "value[?name=='Size'].limit | [0]", "-o", "tsv",
            ])
            #expect(try limit.succeeded().trimmed == "\(bytes + 100_000)")
            #expect(try await registry.push(try .image(layers: [.random(200_000)]), "quota/app", "v1") == false)
            try await parent.attempt(["acr", "update", "-n", name, "--storage-quota", "none"]).succeeded()
            #expect(try await registry.push(try .image(layers: [.random(200_000)]), "quota/app", "v1"))

            try await parent.attempt(["acr", "update", "-n", name, "--read-only", "true"]).succeeded()
            let refused = try await registry.ask("POST", "/v2/quota/app/blobs/uploads/", scope: "repository:quota/app:pull,push")
            #expect(refused.status == 405)
            #expect(try await registry.flaw("quota/app", "v1") == nil)
            try await parent.attempt(["acr", "update", "-n", name, "--read-only", "false"]).succeeded()

            let dry = try await parent.attempt([
                "acr", "collect-garbage", "--dry-run", "--untagged-days", "0", "--query", "dryRun", "-o", "tsv",
            ])
            #expect(try dry.succeeded().trimmed == "true")
            try await parent.attempt(["acr", "collect-garbage", "--untagged-days", "0"]).succeeded()
            #expect(try await registry.flaw("quota/app", "v1") == nil)
        }
    }

    @Test("R1 a server with 100,000 tags answers at once after its start") func startWithManyTags() async throws {
        try await withOwnFiles { box in
            let parent = try await Parent.start(box)
            let admin = try await parent.token("admin")
            #expect(try await parent.registry(by: admin).push(try .image(layers: [.random(100)]), "many", "first"))
            try await parent.server.stop()
            // Written as the server would have: a row for each.
            let script = """
                import sqlite3, sys
                db = sqlite3.connect(sys.argv[1])
                repository, digest = db.execute("SELECT repository, digest FROM tag").fetchone()
                db.executemany("INSERT INTO tag (repository, name, digest, created, updated) VALUES (?, ?, ?, 0, 0)", ((repository, "t%06d" % i, digest) for i in range(100000)))
                db.commit()
                """
            try await command("python3", ["-c", script, parent.server.data + "/outport.db"]).succeeded()
            // Ten times the promise of 150 ms; a machine that is busy at that moment may need another start, and one that is never idle is
            // measured by a server with nothing in it.
            let empty = OutportServer(.serve, box: box, data: box.path("empty"), port: try Ports.free())
            try await empty.start()
            var (starts, others): ([Duration], [Duration]) = ([], [])
            func holds() -> Bool {
                starts.contains { $0 < .milliseconds(1500) } || (starts.min() ?? .zero) < (others.min() ?? .zero) * 2
            }
            repeat {
                if !starts.isEmpty { try await parent.server.stop() }
                starts.append(try await ContinuousClock().measure { try await parent.server.start() })
                if holds() { break }
                try await empty.stop()
                others.append(try await ContinuousClock().measure { try await empty.start() })
            } while !holds() && starts.count < 9
            print("R1: with 100,000 tags the first answer came after \(starts), without any after \(others)")
            #expect(holds(), "\(starts), without tags \(others)")
            let page = try await parent.registry(by: admin).ask("GET", "/v2/many/tags/list?n=2&last=t099997", scope: "repository:many:pull")
            #expect(page.json["tags"] as? [String] == ["t099998", "t099999"])
        }
    }
}
