// The life of a parent: addresses, certificates, secrets, and its end.

import AsyncHTTPClient
import Foundation
import NIOCore
import NIOPosix
import Testing

@Suite struct ParentTests {
    @Test("R8: the own CA vouches for the server to curl; bootstrap.json is the owner's alone") func ownAuthority() async throws {
        try await withSandbox { box in
            let server = OutportServer(.serve, box: box, data: box.path("parent"), port: try Ports.free())
            try await server.start()
            let url = "https://\(server.address)/v2/"
            let trusted = try await command(
                "curl", ["-s", "-o", "/dev/null", "-w", "%{http_code}", "--cacert", server.data + "/tls/ca.pem", url])
            #expect(trusted.trimmed == "404", "there is no registry yet")
            #expect(try await command("curl", ["-s", "-o", "/dev/null", url]).status == 60)
            for file in ["bootstrap.json", "tls/ca.pem"] { #expect(FileManager.default.fileExists(atPath: "\(server.data)/\(file)")) }
            func mode(_ file: String) throws -> Int? {
                try FileManager.default.attributesOfItem(atPath: "\(server.data)/\(file)")[.posixPermissions] as? Int
            }
            #expect(try mode("bootstrap.json") == 0o600)
            // No key may be read by others.
            let open = try await command("find", [server.data, "-name", "*key*", "-type", "f", "-perm", "/077"])
            #expect(open.trimmed == "")
            #expect(server.output.contains("outport login --service-principal"))

            let second = try await OutportServer(.serve, box: box, data: server.data, port: try Ports.free()).attempt()
            #expect(second.status != 0)
            #expect(second.text.contains("\(server.pid)"), "\(second.text)")
            #expect(try await server.stop() == 0)
            let ca = try String(contentsOfFile: server.data + "/tls/ca.pem", encoding: .utf8)
            try await server.start()
            #expect(try String(contentsOfFile: server.data + "/tls/ca.pem", encoding: .utf8) == ca)
        }
    }

    @Test("R8: a newcomer is told what to type next at every start until there is a registry, also after a start whose port was in use")
    func greeting() async throws {
        try await withSandbox { box in
            let port = try Ports.free()
            let server = OutportServer(.serve, box: box, data: box.path("parent"), port: port)
            let other = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton).bind(host: "127.0.0.1", port: port).get()
            let refused = try await server.attempt()
            try await other.close()
            #expect(refused.status != 0)
            #expect(!refused.text.contains("Next, in another terminal"))
            #expect(FileManager.default.fileExists(atPath: server.data + "/bootstrap.json"))

            let parent = try await Parent.start(box, registry: "myregistry", port: port)
            @Sendable func greetings() -> Int { parent.server.output.components(separatedBy: "Next, in another terminal").count - 1 }
            try await eventually("what to type next") { greetings() == 1 }
            try await parent.server.stop()
            try await parent.server.start()
            try await eventually("where it serves") { parent.server.output.components(separatedBy: " serves https://").count == 3 }
            #expect(greetings() == 1)
        }
    }

    @Test("R8: a given certificate is served, and a connection string then has no pin") func givenCertificate() async throws {
        try await withSandbox { box in
            let (key, certificate) = (box.path("tls.key"), box.path("tls.crt"))
            try await command(
                "openssl",
                [
                    "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key, "-out",
                    certificate, "-days", "2",
                    "-subj", "/CN=given", "-addext", "subjectAltName=IP:127.0.0.1",
                ]
            ).succeeded()
            let parent = try await Parent.start(box, arguments: ["--tls-certificate", certificate, "--tls-key", key], ca: certificate)
            let subject = try await command(
                "curl", ["-sv", "-o", "/dev/null", "--cacert", certificate, "https://\(parent.server.address)/v2/"]
            ).succeeded()
            #expect(subject.errors.contains("CN=given"))
            #expect(!FileManager.default.fileExists(atPath: parent.server.data + "/tls/ca.pem"))
            let string = try await parent.connectedRegistry("factory")
            let password = try #require(string.split(separator: ";").first { $0.hasPrefix("SyncTokenPassword=") })
            #expect(!password.contains("."))
            let half = try await OutportServer(
                .serve, box: box, data: box.path("half"), port: try Ports.free(), arguments: ["--tls-key", key]
            ).attempt()
            #expect(half.status != 0)
            #expect(half.text.contains("--tls-certificate"))
        }
    }

    @Test("A6: a wildcard address needs a name; --public-address is the name that is given out") func addresses() async throws {
        try await withSandbox { box in
            let refused = try await OutportServer(
                .serve, box: box, data: box.path("refused"), port: 0, listen: "0.0.0.0:\(try Ports.free())"
            ).attempt()
            #expect(refused.status != 0)
            #expect(refused.text.contains("--suffix") && refused.text.contains("--public-address"), "\(refused.text)")
            let (port, outside) = (try Ports.free(), try Ports.free())
            _ = try await LinkProxy.start(box, port: outside, target: port, bandwidth: 100 << 20)
            let parent = try await Parent.start(box, arguments: ["--public-address", "127.0.0.1:\(outside)"], port: port)
            #expect(
                try await parent("acr", "show", "-n", parent.registryName, "--query", "loginServer", "-o", "tsv") == "127.0.0.1:\(outside)")
            let builder = try await parent.token("builder")
            let registry = try Registry("127.0.0.1:\(outside)", ca: parent.server.data + "/tls/ca.pem", credentials: builder, box: box)
            let clients = try Clients(box)
            let image = try await ImageLayout.busybox(box)
            try await clients.push(image.reference, to: registry, "app:v1").succeeded()
            #expect(try await registry.flaw("app", "v1", digest: image.digest) == nil)
        }
    }

    @Test("A6 R8: with --suffix two registries are told apart by host; a running pull survives a new certificate") func suffix()
        async throws
    {
        try await withSandbox { box in
            let port = try Ports.free()
            let parent = try await Parent.start(box, arguments: ["--suffix", "outport.test:\(port)"], registry: nil, port: port)
            for name in ["firstreg", "secondreg"] {
                let server = try await parent(
                    "acr", "create", "-n", name, "-g", "e2e", "--sku", "Premium", "--query", "loginServer", "-o", "tsv")
                #expect(server == "\(name).outport.test:\(port)")
            }
            let password = try await parent(
                "acr", "token", "create", "-n", "builder", "-r", "firstreg", "--scope-map", "_repositories_admin", "--query",
                "credentials.passwords[0].value", "-o", "tsv")
            @Sendable func curl(_ host: String, _ path: String, _ more: String...) async throws -> Outcome {
                try await command(
                    "curl",
                    [
                        "-s", "--cacert", parent.server.data + "/tls/ca.pem", "--resolve", "\(host):\(port):127.0.0.1", "-u",
                        "builder:\(password)", "-w",
                        "\n%{http_code}",
                    ] + more + ["https://\(host):\(port)\(path)"])
            }
            let blob = try box.file("blob", "only in the first")
            let digest = Data("only in the first".utf8).digest
            let pushed = try await curl(
                "firstreg.outport.test", "/v2/app/blobs/uploads/?digest=\(digest)", "-X", "POST", "-H",
                "Content-Type: application/octet-stream", "--data-binary", "@\(blob)")
            #expect(pushed.trimmed.hasSuffix("201"), "\(pushed.text)")
            #expect(try await curl("firstreg.outport.test", "/v2/app/blobs/\(digest)").succeeded().output == "only in the first\n200")
            // The token belongs to the first registry.
            #expect(try await curl("secondreg.outport.test", "/v2/app/blobs/\(digest)").trimmed.hasSuffix("401"))
            let challenge = try await curl("secondreg.outport.test", "/v2/", "-I", "-u", ":")
            #expect(challenge.output.contains("https://secondreg.outport.test:\(port)/oauth2/token"), "\(challenge.text)")
            let unknown = try await curl("nonereg.outport.test", "/v2/")
            #expect(unknown.trimmed.hasSuffix("404") || unknown.trimmed.hasSuffix("401"), "\(unknown.text)")
            #expect(try await curl("firstreg.eastus.data.outport.test", "/v2/").succeeded().trimmed.hasSuffix("200"))

            // A registry in a new region needs a certificate with more names: a pull that is running does not notice.
            // More than sockets and pipes hold: it is under way for as long as nobody reads on.
            let big = Data.random(40 << 20)
            try big.write(to: URL(filePath: blob))
            let sent = try await curl(
                "firstreg.outport.test", "/v2/app/blobs/uploads/?digest=\(big.digest)", "-X", "POST", "-H",
                "Content-Type: application/octet-stream", "--data-binary", "@\(blob)")
            #expect(sent.trimmed.hasSuffix("201"), "\(sent.text)")
            let (pipe, copy, goOn) = (box.path("pipe"), box.path("copy"), box.path("go-on"))
            let reading =
                "{ head -c 1000000 <&3 > '\(copy)'; until [ -e '\(goOn)' ]; do sleep 0.05; done; cat <&3 >> '\(copy)'; } 3< '\(pipe)'"
            try await command("mkfifo", [pipe]).succeeded()
            async let read = command("bash", ["-c", reading])
            async let pulled = curl("firstreg.outport.test", "/v2/app/blobs/\(big.digest)", "-o", pipe)
            try await eventually("the pull is under way") {
                try FileManager.default.attributesOfItem(atPath: copy)[.size] as? Int == 1_000_000
            }
            #expect(try await curl("thirdreg.westeurope.data.outport.test", "/v2/").status == 60, "not covered yet")
            try await parent("acr", "create", "-n", "thirdreg", "-g", "e2e", "--sku", "Premium", "-l", "westeurope")
            try await eventually("the new certificate") {
                try await curl("thirdreg.westeurope.data.outport.test", "/v2/").isSuccess
            }
            try Data().write(to: URL(filePath: goOn))
            #expect(try await pulled.succeeded().trimmed.hasSuffix("200"))
            try await read.succeeded()
            #expect(try Data(contentsOf: URL(filePath: copy)) == big)
        }
    }

    @Test("R7: SIGTERM lets an upload and a download that are under way end; the process ends with 0") func gracefulEnd() async throws {
        try await withSandbox { box in
            let parent = try await Parent.start(box)
            let registry = try parent.registry(by: try await parent.token("builder"))
            let big = Data.random(32 << 20)
            #expect(try await registry.push(blob: big, "app"))
            let content = Data.random(1 << 20)
            let scope = "repository:app:pull,push"
            let location = try #require(try await registry.ask("POST", "/v2/app/blobs/uploads/", scope: scope)["Location"])
            let url = location + (location.contains("?") ? "&" : "?") + "digest=\(content.digest)"
            let parts = SlowParts(content: content, part: 64 << 10, pause: .milliseconds(120))
            let begun = parts.isUnderWay
            async let uploaded = registry.upload("PUT", url, scope: scope, size: content.count, parts)
            let download = try await registry.stream("app", big.digest)
            var received = Data()
            var coming = download.body.makeAsyncIterator()
            while received.count < 1 << 20, let part = try await coming.next() { received.append(contentsOf: part.readableBytesView) }
            #expect(received.count < big.count / 2)
            await begun.wait()
            parent.server.running?.signal(SIGTERM)
            // New clients are turned away while the others are served.
            try await eventually("the port is closed") {
                let port = parent.server.port
                return try await command("curl", ["-s", "-o", "/dev/null", "--max-time", "2", "-k", "https://127.0.0.1:\(port)/v2/"]).status
                    == 7
            }
            #expect(parent.server.running?.hasEnded == false)
            while let part = try await coming.next() { received.append(contentsOf: part.readableBytesView) }
            #expect(received == big)
            #expect(try await uploaded == 201)
            #expect(try await parent.server.running?.wait() == 0)
            try await parent.server.start()
            #expect(try await registry.blob("GET", "app", content.digest).body == content)
        }
    }

    @Test("I5: the secrets of bootstrap, tokens and sync are in no file of the data folders and in no log; reset replaces the secret")
    func secrets() async throws {
        try await withSandbox { box in
            let parent = try await Parent.start(box)
            let first = try parent.bootstrap()
            let builder = try await parent.token("builder")
            let string = try await parent.connectedRegistry("factory", tokens: ["builder"])
            let child = try await Child.start(box, string)
            let atChild = try child.registry(builder)
            try await eventually("the client token") { try await atChild.token("repository:app:pull").status == 200 }
            #expect(try await parent.registry(by: builder).push(try .image(layers: [.random(1000)]), "app", "v1"))
            try await eventually("the image") { try await atChild.flaw("app", "v1") == nil }

            let running = try await command(Program.outport, ["bootstrap", "reset", "--data", parent.server.data])
            #expect(running.status != 0)
            #expect(running.text.contains("\(parent.server.pid)"))
            #expect(try await child.stop() == 0)
            #expect(try await parent.server.stop() == 0)

            let sync = try #require(string.split(separator: ";").first { $0.hasPrefix("SyncTokenPassword=") }).dropFirst(
                "SyncTokenPassword=".count)
            for secret in [first.clientSecret, builder.password, String(sync)] {
                let found = try await command("grep", ["-rlaF", "--exclude=bootstrap.json", "--", secret, parent.server.data, child.data])
                #expect(found.trimmed == "", "a secret is in \(found.trimmed)")
                #expect(!parent.server.output.contains(secret))
                #expect(!child.output.contains(secret))
            }

            try await command(Program.outport, ["bootstrap", "reset", "--data", parent.server.data]).succeeded()
            let second = try parent.bootstrap()
            #expect(second.clientSecret != first.clientSecret)
            #expect(second.clientId == first.clientId)
            let permissions =
                try FileManager.default.attributesOfItem(atPath: parent.server.data + "/bootstrap.json")[.posixPermissions] as? Int
            #expect(permissions == 0o600)
            try await parent.server.start()
            let old = try await parent.attempt([
                "login", "--service-principal", "-u", first.clientId, "-p", first.clientSecret, "--tenant", first.tenantId, "--server",
                first.resourceManager,
                "--ca", parent.server.data + "/tls/ca.pem",
            ])
            #expect(old.status == 1, "\(old.text)")
            try await parent.signIn()
            #expect(try await parent("acr", "list", "--query", "length(@)", "-o", "tsv") == "1")
        }
    }
}
