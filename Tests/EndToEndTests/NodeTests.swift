// What is done on a node, with the runtimes that read it.

import Foundation
import Testing

@Suite(.serialized, .sharedParent) struct NodeTests {
    @Test("K4 containerd pulls by what 'node trust' wrote, without a restart, and no more after it was removed", .needsRoot)
    func containerd() async throws {
        try await withSharedParent { box, parent, registry in
            let clients = try Clients(box)
            let image = try await ImageLayout.busybox(box)
            try await clients.push(image.reference, to: registry, "node/app:v1").succeeded()
            let root = try box.newFolder("node")
            try FileManager.default.createDirectory(atPath: root + "/etc/containerd", withIntermediateDirectories: true)
            let containerd = try await Containerd.start(box)
            try await containerd.pull(registry, "node/app:v1", asNode: root).failed()
            let trust = ["node", "trust", "--root", root]
            let dry = try await command(Program.outport, trust + ["--registry", registry.address, "--ca", parent.server.ca, "--dry-run"])
            #expect(try dry.succeeded().output.contains("would create /etc/containerd/certs.d/\(registry.address)/hosts.toml"))
            try await containerd.pull(registry, "node/app:v1", asNode: root).failed()
            try await command(Program.outport, trust + ["--registry", registry.address, "--ca", parent.server.ca]).succeeded()
            try await containerd.pull(registry, "node/app:v1", asNode: root).succeeded()
            #expect(try await containerd.digest(registry, "node/app:v1") == image.digest)
            try await command(Program.outport, trust + ["--remove"]).succeeded()
            try await containerd.pull(registry, "node/app:v1", asNode: root).failed()
            #expect(try FileManager.default.subpathsOfDirectory(atPath: root) == ["etc", "etc/containerd"])
        }
    }

    @Test("K7 'check --node' asks as the node's containerd does, and says what is missing on the node") func checkNode() async throws {
        try await withSharedParent { box, parent, registry in
            let admin = try #require(registry.credentials)
            #expect(try await registry.push(try .image(layers: [.random(100)]), "nodecheck/app", "v1"))
            let root = try box.newFolder("node")
            let home = root + "/etc/containerd"
            try FileManager.default.createDirectory(atPath: home, withIntermediateDirectories: true)
            func check(_ image: String? = nil) async throws -> Outcome {
                try await command(
                    Program.outport,
                    [
                        "check", "--node", "--root", root, "--image", image ?? "\(registry.address)/nodecheck/app:v1", "--platform",
                        "linux/amd64", "--username", admin.name, "--password", admin.password,
                    ])
            }
            // Nothing is written: the system does not vouch for an own CA.
            let bare = try await check()
            #expect(bare.status == 1 && bare.output.contains("✗ certificate") && bare.output.contains("node trust"), "\(bare.text)")
            try await command(
                Program.outport,
                ["node", "trust", "--root", root, "--registry", registry.address, "--ca", parent.server.ca, "--mirror", "docker.io"]
            ).succeeded()
            let fine = try await check().succeeded()
            #expect(fine.output.contains("✓ node") && fine.output.contains("✓ content"), "\(fine.text)")
            let mirrored = try await check("docker.io/nodecheck/app:v1").succeeded()
            #expect(mirrored.output.contains("is asked for at \(registry.address) first"), "\(mirrored.text)")
            try Data("version = 2\n".utf8).write(to: URL(filePath: home + "/config.toml"))
            let unread = try await check()
            #expect(unread.status == 1 && unread.output.contains("✗ node") && unread.output.contains("config_path"), "\(unread.text)")
            try Data("config_path = \"/etc/containerd/certs.d\"\n".utf8).write(to: URL(filePath: home + "/config.toml"))
            try await check().succeeded()
            try FileManager.default.removeItem(atPath: home + "/certs.d/\(registry.address)/outport-ca.crt")
            let lost = try await check()
            #expect(lost.status == 1 && lost.output.contains("✗ node") && lost.output.contains("not there"), "\(lost.text)")
            #expect(try await command(Program.outport, ["check", "--node", "--ca", parent.server.ca, "--image", "a/b:c"]).status == 2)
        }
    }

    @Test(
        "K4 K8: kill -9 at every call that changes a file, while trust is written and while it is put back: the node is as it was",
        .needsRoot,
        .enabled(if: FileManager.default.isExecutableFile(atPath: "/usr/bin/strace"), "strace kills at a call"))
    func killed() async throws {
        try await withSharedParent { box, parent, registry in
            // Each by itself: strace counts the calls of every name apart.
            let calls = [
                "rename", "renameat", "renameat2", "mkdir", "unlink", "unlinkat", "rmdir", "chmod", "fchmod", "fchown", "fsync", "write",
            ]
            let trust = ["node", "trust", "--root"]
            func fresh() throws -> String {
                let root = try box.newFolder("node")
                let folder = "\(root)/etc/containerd/certs.d/\(registry.address)"
                try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
                try Data("# somebody else's\n".utf8).write(to: URL(filePath: folder + "/hosts.toml"))
                try FileManager.default.setAttributes([.posixPermissions: 0o640], ofItemAtPath: folder + "/hosts.toml")
                return root
            }
            func picture(_ root: String) async throws -> String {
                try await command(
                    "bash",
                    [
                        "-c",
                        "cd '\(root)' && find . -printf '%y %m %U:%G %p\\n' | LC_ALL=C sort -k4 && find . -type f -print0 | LC_ALL=C sort -z | xargs -0r sha256sum",
                    ]
                ).succeeded().output
            }
            let write = ["--registry", registry.address, "--ca", parent.server.ca]
            let before = try await picture(try fresh())
            for (what, arguments) in [("writing", write), ("putting back", ["--remove"])] {
                var kills = 0
                for name in calls {
                    for call in 1...60 {
                        let root = try fresh()
                        if what != "writing" { try await command(Program.outport, trust + [root] + write).succeeded() }
                        let run = try await command(
                            "strace",
                            [
                                "-f", "-o", "/dev/null", "-e", "trace=\(name)", "-e", "inject=\(name):signal=SIGKILL:when=\(call)",
                                Program.outport,
                            ] + trust + [root] + arguments)
                        // Putting back mends it, whatever was under way, as does finishing first.
                        if call.isMultiple(of: 2) { try await command(Program.outport, trust + [root] + write).succeeded() }
                        try await command(Program.outport, trust + [root, "--remove"]).succeeded()
                        #expect(try await picture(root) == before, "killed while \(what), at \(name) \(call)")
                        try? FileManager.default.removeItem(atPath: root)
                        guard !run.isSuccess else { break }
                        kills += 1
                    }
                }
                print("K4 killed \(kills) times while \(what)")
                #expect(kills > 10, "\(what)")
            }
        }
    }

    @Test("K6 'credential-provider' answers a kubelet's request on its standard input") func credentialProvider() async throws {
        try await withSharedParent { box, parent, registry in
            let admin = try #require(registry.credentials)
            let password = try box.file("password", admin.password)
            let configuration = try box.file(
                "credentials.json",
                #"{"registries":[{"registry":"\#(registry.address)","username":"\#(admin.name)","passwordFile":"\#(password)"}]}"#)
            let request =
                #"{"kind":"CredentialProviderRequest","apiVersion":"credentialprovider.kubelet.k8s.io/v1","image":"\#(registry.address)/a:v1"}"#
            let answer = try await command(Program.outport, ["credential-provider", "--config", configuration], input: request).succeeded()
            let object = try #require(try JSONSerialization.jsonObject(with: Data(answer.output.utf8)) as? [String: Any])
            let auth = try #require((object["auth"] as? [String: [String: String]])?[registry.address])
            // What the kubelet is told opens the registry.
            let given = try registry.by(Credentials(name: try #require(auth["username"]), password: try #require(auth["password"])))
            #expect(try await given.token("registry:catalog:*").status == 200)
            try await command(Program.outport, ["credential-provider", "--config", configuration], input: "{}").failed()
        }
    }

    @Test("K7 'check' names the one thing in the way: name, port, CA, credentials, scope, repository, tag, platform") func check()
        async throws
    {
        try await withSharedParent { box, parent, registry in
            let admin = try #require(registry.credentials)
            #expect(try await registry.push(try .image(layers: [.random(100)]), "check/app", "v1"))
            let narrow = try await parent.token("narrow", repository: "other", "content/read")
            func check(_ image: String, _ more: [String], ca: String? = parent.server.ca, by: Credentials? = admin) async throws -> Outcome
            {
                let trust = ca.map { ["--ca", $0] } ?? []
                let user = by.map { ["--username", $0.name, "--password", $0.password] } ?? []
                return try await command(Program.outport, ["check", "--image", image, "--platform", "linux/amd64"] + trust + user + more)
            }
            let good = "\(registry.address)/check/app:v1"
            let fine = try await check(good, []).succeeded()
            for step in ["name", "connection", "certificate", "clock", "credentials", "scope", "repository", "tag", "platform", "content"] {
                #expect(fine.output.contains("✓ \(step)"), "\(step)")
            }
            let faults: [(String, Outcome)] = [
                ("name", try await check("no-such-name.invalid/check/app:v1", [])),
                ("connection", try await check("127.0.0.1:1/check/app:v1", [])),
                ("certificate", try await check(good, [], ca: nil)),
                ("credentials", try await check(good, [], by: Credentials(name: admin.name, password: "wrong"))),
                ("credentials", try await check(good, [], by: nil)),
                ("scope", try await check(good, [], by: narrow)),
                ("repository", try await check("\(registry.address)/check/none:v1", [])),
                ("tag", try await check("\(registry.address)/check/app:v2", [])),
                ("platform", try await check(good, ["--platform", "linux/arm64"])),
            ]
            for (step, outcome) in faults {
                #expect(outcome.status == 1)
                #expect(outcome.output.contains("✗ \(step)"), "\(step): \(outcome.text)")
                #expect(outcome.output.contains("next: "))
                #expect(outcome.output.split(separator: "\n").count { $0.hasPrefix("✗") } == 1)
            }
        }
    }

    @Test("K1 'image build' makes an image of the program that a runtime runs") func image() async throws {
        try await withSharedParent { box, parent, registry in
            let clients = try Clients(box)
            let archive = box.path("outport.tar")
            let built = try await command(Program.outport, ["image", "build", "--output", archive, "--tag", "v1"]).succeeded()
            try await clients.push("oci-archive:\(archive):v1", to: registry, "tools/outport:v1").succeeded()
            let digest = String(try #require(built.output.firstMatch(of: /sha256:[0-9a-f]{64}/)).output)
            #expect(
                try await clients.skopeo("inspect", "--format", "{{.Digest}}", "oci-archive:\(archive):v1").succeeded().trimmed == digest)
            // The same program makes the same image.
            let again = try await command(Program.outport, ["image", "build", "--output", archive, "--tag", "v1"]).succeeded()
            #expect(again.output == built.output)
            let name = "\(registry.address)/tools/outport:v1"
            try await clients.podman("pull", "--quiet", "--cert-dir", try registry.trustFolder(), name).succeeded()
            let help = try await clients.podman("run", "--rm", "--net=none", name, "--help").succeeded()
            #expect(help.output.contains("serve"))
        }
    }

    @Test("K1 'image build --push' pushes the program's image, and 'image index' puts images under one tag") func push() async throws {
        try await withSharedParent { box, parent, registry in
            let admin = try #require(registry.credentials)
            let password = try box.file("password", admin.password + "\n")
            let options = ["--ca", parent.server.ca, "--username", admin.name, "--password-file", password]
            let name = "\(registry.address)/tools/pushed"
            let built = try await command(Program.outport, ["image", "build", "--push", "\(name):v1-own"] + options).succeeded()
            let digest = String(try #require(built.output.firstMatch(of: /sha256:[0-9a-f]{64}/)).output)
            let archive = box.path("outport.tar")
            let written = try await command(Program.outport, ["image", "build", "--output", archive]).succeeded()
            #expect(written.output.contains(digest))
            // What is there already is not sent again, and becomes a tag.
            try await command(Program.outport, ["image", "build", "--push", "\(name):v1-again"] + options).succeeded()
            let index = try await command(Program.outport, ["image", "index", "--push", "\(name):v1", "v1-own"] + options).succeeded()
            #expect(index.output.contains("sha256:") && !index.output.contains(digest))
            let clients = try Clients(box)
            try await clients.pull(registry, "tools/pushed:v1", into: "oci:\(box.path("pulled")):v1").succeeded()
            // Of an index no entry can be made, and a wrong password is refused.
            try await command(Program.outport, ["image", "index", "--push", "\(name):v2", "v1"] + options).failed()
            let wrong = try box.file("wrong", "wrong")
            let refused = try await command(
                Program.outport,
                [
                    "image", "build", "--push", "\(name):v3", "--ca", parent.server.ca, "--username", admin.name, "--password-file", wrong,
                ]
            ).failed()
            #expect(refused.errors.contains("UNAUTHORIZED"))
        }
    }

    @Test("A4 every command explains itself with --help and exit code 0") func help() async throws {
        for arguments in [
            [], ["acr"], ["acr", "token"], ["serve"], ["connect"], ["node", "trust"], ["ad", "sp"], ["check"],
            ["k8s-extension", "create"], ["connectedk8s", "connect"], ["agent"], ["kubernetes", "pull-secret"], ["image", "index"],
            ["aks", "register"], ["node", "credential-provider", "install"], ["identity", "federated-credential", "create"],
        ] {
            let outcome = try await command(Program.outport, arguments + ["--help"]).succeeded()
            #expect(outcome.output.contains("USAGE: outport"), "\(arguments)")
        }
    }
}
