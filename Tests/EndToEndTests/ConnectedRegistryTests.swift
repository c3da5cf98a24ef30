// The connected registry: from its connection string to pulls with the parent away.

import Foundation
import Testing

@Suite struct ConnectedRegistryTests {
    @Test("C5 C11 C15 C7: one string starts a child; pushes arrive at once; podman pulls and runs with the parent away; writes are refused")
    func fromStringToEdge() async throws {
        try await withSandbox(alone: true) { box in
            let parent = try await Parent.start(box)
            let line = try await parent.token("line7", repository: "app", "content/read", "metadata/read")
            let builder = try await parent.token("builder")
            let string = try await parent.connectedRegistry("factory", tokens: ["line7"])
            #expect(try await parent.state(of: "factory") == "Offline")
            let child = try await Child.start(box, string)
            try await eventually("Online at the parent") { try await parent.state(of: "factory") == "Online" }

            // A push is pullable at the child within two seconds, three times of as many as it takes; where the machine is so busy that the
            // push itself takes long, within five times of that: what waited for the end of a poll would take longer by far.
            let (atParent, atChild) = (try parent.registry(by: builder), try child.registry(line))
            var seconds: [(pullable: Double, push: Double)] = []
            func prompt() -> Int { seconds.count { $0.pullable <= max(2, 5 * $0.push) } }
            for number in 1...20 where number <= 5 || prompt() < 3 {
                let image = try Artifact.image(layers: [.random(200_000), .random(50_000)])
                let begun = ContinuousClock.now
                #expect(try await atParent.push(image, "app", "t\(number)"))
                let pushed = ContinuousClock.now
                try await eventually("tag t\(number) at the child", every: .milliseconds(5)) {
                    try await atChild.manifest("HEAD", "app", "t\(number)").status == 200
                }
                seconds.append(((ContinuousClock.now - pushed) / .seconds(1), (pushed - begun) / .seconds(1)))
                #expect(try await atChild.flaw("app", "t\(number)", digest: image.digest) == nil)
            }
            #expect(prompt() >= 3, "seconds from push to pullable, and of the push: \(seconds)")

            let clients = try Clients(box)
            let image = try await ImageLayout.busybox(box)
            try await clients.push(image.reference, to: atParent, "app:v1").succeeded()
            try await eventually("app:v1 at the child") { try await atChild.manifest("HEAD", "app", "v1").status == 200 }
            #expect(try await parent.server.stop() == 0)

            try clients.signIn(atChild)
            let trust = try atChild.trustFolder()
            try await clients.podman("pull", "--quiet", "--cert-dir", trust, "\(child.address)/app:v1").succeeded()
            let said = try await clients.podman("run", "--rm", "--net=none", "\(child.address)/app:v1").succeeded()
            #expect(said.output.hasPrefix("hello from the edge"))

            // Restarted with the parent away it serves as before.
            try await child.kill()
            try await child.start()
            #expect(try await atChild.flaw("app", "v1", digest: image.digest) == nil)
            #expect(try await child.stop() == 0)
            try await child.start()
            #expect(try await atChild.flaw("app", "t3") == nil)
            #expect(!child.output.contains(line.password))
        }
    }

    @Test("C7: a ReadOnly child refuses a push whatever the token says, and skopeo shows why")
    func refusesWrites() async throws {
        try await withSandbox { box in
            let parent = try await Parent.start(box)
            let everything = try await parent.token("everything")
            let child = try await Child.start(box, try await parent.connectedRegistry("factory", tokens: ["everything"]))
            let atChild = try child.registry(everything)
            try await eventually("the client token at the child") { try await atChild.token("repository:app:pull,push").status == 200 }
            let reply = try await atChild.ask("POST", "/v2/app/blobs/uploads/", scope: "repository:app:pull,push")
            #expect(reply.status == 405)
            #expect(reply.errorCode == "UNSUPPORTED")
            let put = try await atChild.put(Data("{}".utf8), type: Artifact.imageType, "app", "v1")
            #expect(put.status == 405)
            let removal = try await atChild.ask("DELETE", "/v2/app/manifests/v1", scope: "repository:app:delete")
            #expect(removal.status == 405)
            let clients = try Clients(box)
            let image = try await ImageLayout.busybox(box)
            let push = try await clients.push(image.reference, to: atChild, "app:v1").failed()
            #expect(push.text.contains("ReadOnly"), "skopeo says: \(push.text)")
        }
    }

    @Test("C6: a second folder and a copied folder are refused; deactivate frees the name and fences the old instance")
    func activation() async throws {
        try await withSandbox { box in
            let parent = try await Parent.start(box)
            let builder = try await parent.token("builder")
            let string = try await parent.connectedRegistry("factory", tokens: ["builder"])
            let first = try await Child.start(box, string)
            try await eventually("Online") { try await parent.state(of: "factory") == "Online" }

            let second = try await Child.make(box, string).attempt()
            #expect(second.status == 1)
            #expect(second.text.contains("ALREADY_ACTIVATED"))
            #expect(second.text.contains("deactivate"), "it should say what to do: \(second.text)")

            // A copy taken while the first is stopped, started after the first went on: its nonce is an old one.
            try await first.stop()
            let copy = box.path("copied")
            try FileManager.default.copyItem(atPath: first.data, toPath: copy)
            try await first.start()
            try await eventually("Online again") { try await parent.state(of: "factory") == "Online" }
            let copied = try await Child.make(box, string, data: copy).attempt()
            #expect(copied.status == 1, "\(copied.text)")
            #expect(copied.text.contains("ALREADY_ACTIVATED"))
            try await eventually("the first is Online still") { try await parent.state(of: "factory") == "Online" }

            try await parent.acr("connected-registry", "deactivate", "-n", "factory", "--yes")
            // Before another takes its place, so that what it is told is always the same.
            try await eventually("the old instance notices") { first.output.contains("DEACTIVATED") }
            let third = try await Child.start(box, string)
            try await eventually("the new instance is Online") { try await parent.state(of: "factory") == "Online" }
            // The old one serves on but gets nothing new.
            #expect(first.running?.hasEnded == false)
            let atParent = try parent.registry(by: builder)
            let image = try Artifact.image(layers: [.random(1000)])
            #expect(try await atParent.push(image, "app", "after"))
            let (atFirst, atThird) = (try first.registry(builder), try third.registry(builder))
            try await eventually("the tag at the new instance") { try await atThird.manifest("HEAD", "app", "after").status == 200 }
            #expect(try await atFirst.manifest("HEAD", "app", "after").status == 404)
            // Started again it still serves what it has, and disturbs nobody.
            try await first.stop()
            try await first.start()
            try await eventually("the old instance is told again") { first.output.ranges(of: "DEACTIVATED").count >= 2 }
            #expect(first.running?.hasEnded == false)
            try await eventually("the new instance is Online still") { try await parent.state(of: "factory") == "Online" }
        }
    }

    @Test("C15: a client token attached later arrives, a detached one is revoked, a rotated password holds")
    func clientTokens() async throws {
        try await withSandbox { box in
            let parent = try await Parent.start(box)
            let builder = try await parent.token("builder")
            let line = try await parent.token("line7", repository: "app", "content/read")
            let child = try await Child.start(box, try await parent.connectedRegistry("factory"))
            #expect(try await parent.registry(by: builder).push(try .image(layers: [.random(1000)]), "app", "v1"))
            let scope = "repository:app:pull"
            let atChild = try child.registry(line)
            #expect(try await atChild.token(scope).status == 401)
            try await parent.acr("connected-registry", "update", "-n", "factory", "--add-client-tokens", "line7")
            try await eventually("the attached token works") { try await atChild.token(scope).status == 200 }
            try await eventually("the image") { try await atChild.flaw("app", "v1") == nil }

            let renewed = try await parent.acr(
                "token", "credential", "generate", "-n", "line7", "--password1", "--query", "passwords[0].value", "-o", "tsv")
            let byNew = try child.registry(Credentials(name: "line7", password: renewed))
            try await eventually("the new password works") { try await byNew.token(scope).status == 200 }
            #expect(try await atChild.token(scope).status == 401)

            try await parent.acr("connected-registry", "update", "-n", "factory", "--remove-client-tokens", "line7")
            try await eventually("the detached token is revoked") { try await byNew.token(scope).status == 401 }
        }
    }

    @Test(
        "C5 C4: the string by option, by a file with CR/LF, and by the environment of get-settings; a used folder takes a new password and no other string"
    )
    func connectionStrings() async throws {
        try await withSandbox { box in
            let parent = try await Parent.start(box)
            let string = try await parent.connectedRegistry("factory")
            let other = try await parent.connectedRegistry("office")
            let data = box.path("site")
            var ends: [Duration] = []
            func expectOnline(_ server: OutportServer) async throws {
                try await server.start()
                try await eventually("Online") { try await parent.state(of: "factory") == "Online" }
                let stopping = ContinuousClock.now
                #expect(try await server.stop() == 0)
                ends.append(.now - stopping)
                #expect(try await parent.state(of: "factory") == "Offline", "a child that ends says so")
                let password = try #require(string.split(separator: ";").first { $0.hasPrefix("SyncTokenPassword=") }).dropFirst(
                    "SyncTokenPassword=".count)
                #expect(!server.output.contains(password), "the password is in the log")
            }
            try await expectOnline(
                OutportServer(
                    .connect, box: box, data: data, port: Ports.free(), arguments: ["--connection-string", string],
                    environment: Child.bareEnvironment))
            try await expectOnline(Child.make(box, "\r\n\(string)\r\n", data: data))
            // What get-settings prints, placeholders included, as the environment of a container would hold it.
            let environment = [
                "ACR_REGISTRY_CONNECTION_STRING": string, "ACR_REGISTRY_DATA_VOLUME": data,
                "ACR_REGISTRY_CERTIFICATE_VOLUME": "/var/acr/certs",
                "ACR_REGISTRY_LOGIN_SERVER":
                    "<Optional: connected registry login server. More info at https://aka.ms/acr/connected-registry>",
            ]
            try await expectOnline(
                OutportServer(
                    .connect, box: box, data: data, port: Ports.free(), environment: Child.bareEnvironment.merging(environment) { $1 },
                    withDataOption: false))

            let wrong = try await Child.make(box, other, data: data).attempt()
            #expect(wrong.status != 0)
            #expect(wrong.text.contains("belongs to connected registry 'factory'"), "\(wrong.text)")
            let second = try await parent.connectionString("factory", slot: 2)
            #expect(second != string)
            try await expectOnline(Child.make(box, second, data: data))
            // Slot 1 is still good.
            try await expectOnline(Child.make(box, string, data: data))
            // The quickest of them: the disk of a busy machine may hold one up.
            #expect(try #require(ends.min()) < .seconds(4), "the end of a child does not wait for its long poll")

            let hint = try await parent.acr(
                "connected-registry", "get-settings", "-n", "factory", "--parent-protocol", "https", "--query",
                "ACR_REGISTRY_CONNECTION_STRING", "-o", "tsv")
            #expect(hint.contains("<use --generate-password"))
            for (bad, reason) in [
                (hint, "--generate-password"), (string.replacing("ParentGatewayEndpoint=", with: "Other="), "unknown field"),
                (string.split(separator: ";").dropLast(2).joined(separator: ";"), "ParentGatewayEndpoint"), ("", "empty"),
            ] {
                let refused = try await Child.make(box, bad).attempt()
                #expect(refused.status != 0)
                #expect(refused.text.contains(reason), "\(refused.text)")
            }
        }
    }

    @Test("C4 C5: a pinned parent that is not the one pinned gets no password")
    func wrongPin() async throws {
        try await withSandbox { box in
            let parent = try await Parent.start(box)
            let string = try await parent.connectedRegistry("factory")
            let password = try #require(string.split(separator: ";").first { $0.hasPrefix("SyncTokenPassword=") })
            let pin = try #require(password.split(separator: ".").last)
            #expect(pin.count == 64)
            let child = try await Child.start(box, string.replacing(pin, with: String(pin.reversed())))
            try await eventually("the refusal in the log") { child.output.contains("ParentUntrusted") }
            #expect(try await parent.state(of: "factory") == "Offline")
            #expect(!child.output.contains(password.dropFirst("SyncTokenPassword=".count)))
        }
    }

    @Test("C16 C1: Syncing while content moves, Online after it, Offline after a graceful end; list and table say so")
    func states() async throws {
        try await withSandbox { box in
            let port = try Ports.free()
            let link = try Ports.free()
            let proxy = try await LinkProxy.start(box, port: link, target: port, bandwidth: 64 << 20)
            let parent = try await Parent.start(box, arguments: ["--public-address", "127.0.0.1:\(link)"], port: port)
            let builder = try await parent.token("builder")
            let child = try await Child.start(box, try await parent.connectedRegistry("factory", tokens: ["builder"]))
            try await eventually("Online") { try await parent.state(of: "factory") == "Online" }
            // A link on which it takes minutes, until somebody has seen it.
            proxy.setBandwidth(128 << 10)
            #expect(try await parent.registry(by: builder).push(try .image(layers: [.random(16 << 20)]), "app", "big"))
            try await eventually("Syncing") { try await parent.state(of: "factory") == "Syncing" }
            proxy.setBandwidth(64 << 20)
            try await eventually("Online again") { try await parent.state(of: "factory") == "Online" }
            #expect(proxy.carried.down > 16 << 20)
            let received = try await parent.acr("connected-registry", "show", "-n", "factory", "--query", "bytesReceived", "-o", "tsv")
            #expect(try #require(Int(received)) >= 16 << 20)
            let shown = try await parent.acr(
                "connected-registry", "list", "--query", "[0].[name, mode, activation.status, registrySyncResult.syncState]", "-o", "tsv")
            #expect(shown.split(whereSeparator: \.isWhitespace) == ["factory", "ReadOnly", "Active", "Succeeded"], "\(shown)")
            #expect(try await child.stop() == 0)
            #expect(try await parent.state(of: "factory") == "Offline")
            let table = try await parent.acr("connected-registry", "list", "-o", "table")
            #expect(table.contains("CONNECTION STATE") && table.contains("Offline"))
        }
    }
}
