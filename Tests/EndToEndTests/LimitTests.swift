// The limits that an operator may move when the server is started, with the real binary.

import Foundation
import Testing

@Suite struct LimitTests {
    @Test(
        "C15 C12: --client-token-limit and --change-log-limit take numbers within reason",
        arguments: [
            (["--client-token-limit", "0"], "--client-token-limit takes a number from 1 to 1000"),
            (["--client-token-limit", "1001"], "--client-token-limit takes a number from 1 to 1000"),
            (["--change-log-limit", "999"], "--change-log-limit takes a number from 1000 to 1000000000"),
        ])
    func outOfReason(arguments: [String], sentence: String) async throws {
        try await withSandbox { box in
            let server = OutportServer(.serve, box: box, data: box.path("parent"), port: try Ports.free(), arguments: arguments)
            let refused = try await server.attempt()
            #expect(refused.status != 0)
            #expect(refused.errors.contains(sentence), "\(refused.errors)")
        }
    }

    @Test(
        "C15 C12: more client tokens than 20 where the operator says so, and a log that is cut where he says: who is behind it compares, and ends identical"
    )
    func moved() async throws {
        try await withSandbox { box in
            let parent = try await Parent.start(box, arguments: ["--client-token-limit", "22", "--change-log-limit", "1000"])
            let builder = try await parent.token("builder")
            let others = (1...22).map { "client\($0)" }
            for token in others {
                try await parent.acr("token", "create", "-n", token, "--scope-map", "_repositories_pull", "--no-passwords", "true")
            }
            let tokens = ["builder"] + others[..<21]
            let string = try await parent.connectedRegistry("factory", tokens: tokens)
            let refused = try await parent.attempt([
                "acr", "connected-registry", "update", "-r", parent.registryName, "-n", "factory", "--add-client-tokens", others[21],
            ])
            #expect(refused.status != 0)
            #expect(refused.errors.contains("23 client tokens are attached; the limit is 22"), "\(refused.errors)")
            let (atParent, one, two) = (
                try parent.registry(by: builder), try Artifact.image(layers: [.random(1000)]), try Artifact.image(layers: [.random(1000)])
            )
            #expect(try await atParent.push(one, "app", "v0"))
            let child = try await Child.start(box, string)
            let atChild = try child.registry(builder)
            try await eventually("the image") { try await atChild.flaw("app", "v0", digest: one.digest) == nil }
            try await child.stop()
            // More rows than are kept, each a tag of its own.
            #expect(try await atParent.push(two, "app", "w"))
            for number in 0..<20 {
                let tags = (0..<60).map { "tag=t\(number)-\($0)" }.joined(separator: "&")
                let answer = try await atParent.ask(
                    "PUT", "/v2/app/manifests/u\(number)?\(tags)", scope: "repository:app:pull,push",
                    headers: ["Content-Type": two.mediaType], body: two.manifest)
                #expect(answer.status == 201)
            }
            try await eventually("the log is cut") { parent.server.output.contains("change log trimmed") }
            try await child.start()
            try await eventually("the last of the tags") {
                try await atChild.flaw("app", "t19-59", digest: two.digest) == nil
            }
            try await eventually("a comparison as the reason") {
                try await parent.acr(
                    "connected-registry", "show", "-n", "factory", "--query", "registrySyncResult.syncTrigger", "-o", "tsv")
                    == "RecoveryService"
            }
            #expect(try await atChild.flaw("app", "v0", digest: one.digest) == nil)
            #expect(try await atChild.flaw("app", "t0-0", digest: two.digest) == nil)
        }
    }
}
