// What an operator asks and sets at the parent about a site, with the real binary.

import Foundation
import Testing

@Suite struct SiteTests {
    @Test(
        "B5 B3 C17: why names what is in the way, the log level comes from the parent, a rate limit holds, the schedule shows its next window"
    )
    func asked() async throws {
        try await withSandbox { box in
            let parent = try await Parent.start(box)
            let builder = try await parent.token("builder")
            let string = try await parent.connectedRegistry("factory", tokens: ["builder"])
            let atParent = try parent.registry(by: builder)
            let image = try Artifact.image(layers: [.random(3 << 20)])
            #expect(try await atParent.push(image, "app", "v1"))
            @Sendable func why(_ image: String) async throws -> String {
                try await parent.acr("connected-registry", "why", "-n", "factory", "--image", image, "--query", "code", "-o", "tsv")
            }
            #expect(try await why("app:v1") == "NotActivated")
            #expect(try await why("app:v2") == "NotAtParent")
            let file = try box.file("connection-string", string)
            let child = OutportServer(
                .connect, box: box, data: box.path("child"), port: try Ports.free(),
                arguments: ["--connection-string-file", file, "--rate-limit", "1MiB"], environment: Child.bareEnvironment)
            let started = ContinuousClock.now
            try await child.start()
            let atChild = try child.registry(builder)
            try await eventually("the image") { try await atChild.flaw("app", "v1", digest: image.digest) == nil }
            #expect(ContinuousClock.now - started > .milliseconds(2900), "three MiB at one a second")
            try await eventually("it is there") { try await why("app:v1") == "Present" }
            #expect(try await atParent.push(image, "elsewhere", "v1"))
            #expect(try await why("elsewhere:v1") == "NotSelected")
            let nobody = try await parent.attempt(
                ["acr", "connected-registry", "why", "-r", parent.registryName, "-n", "nobody", "--image", "app:v1"])
            #expect(nobody.status == 3)

            func applied() -> Int { child.output.ranges(of: "settings applied").count }
            #expect(applied() > 0)
            try await parent.acr("connected-registry", "update", "-n", "factory", "--log-level", "Error")
            // What comes with and after the new level is not logged at the old one.
            try await parent.acr("connected-registry", "update", "-n", "factory", "--remove-client-tokens", "builder")
            try await eventually("the token is gone") { try await atChild.token("repository:app:pull").status == 401 }
            #expect(applied() <= 2)

            try await eventually("a synchronisation that has succeeded") {
                try await parent.acr("connected-registry", "show", "-n", "factory", "--query", "syncHistory[0].syncState", "-o", "tsv")
                    == "Succeeded"
            }
            let opens = try await parent.acr(
                "connected-registry", "create", "-n", "office", "--repository", "app", "-s", "0 3 * * *", "-w", "PT1H", "--yes", "--query",
                "nextSyncWindow.opens", "-o", "tsv")
            #expect(opens.contains("T03:00:00"), "\(opens)")
            // With a limit it serves for that long once it has been removed; the token is its own until then.
            try await parent.acr(
                "connected-registry", "update", "-n", "factory", "--add-client-tokens", "builder", "--serve-after-removal", "PT5S")
            try await eventually("the token is back") { try await atChild.flaw("app", "v1", digest: image.digest) == nil }
            // Nothing of it is left at the parent.
            try await parent.acr("connected-registry", "delete", "-n", "factory", "--cleanup", "--yes")
            try await eventually("the site says why it stopped") { child.output.contains("CONNECTED_REGISTRY_NOT_FOUND") }
            #expect(child.running?.hasEnded == false)
            try await eventually("it serves nothing any more") {
                let answer = try await atChild.manifest("GET", "app", "v1")
                return answer.status == 403 && answer.errorCode == "DENIED" && answer.text.contains("as its operator has set")
            }
            for collection in ["token", "scope-map"] {
                let names = try await parent.acr(collection, "list", "--query", "[].name", "-o", "tsv")
                #expect(!names.split(whereSeparator: \.isWhitespace).contains("factory"), "\(names)")
            }
        }
    }
}
