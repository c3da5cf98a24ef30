// What a site may spend, what it will spend, what happened at it, and a way to its parent that is broken, with the real binary.

import Foundation
import Testing

@Suite struct SiteTrafficTests {
    @Test(
        "B3 C17 C19: a budget stops a transfer and a larger one ends the wait, the plan tells what is left, events and logs come to the parent, over the second of two endpoints"
    )
    func budgetPlanAndEvents() async throws {
        try await withSandbox { box in
            // The budget of a day is whole again at midnight, of UTC: not in the middle of this.
            let tillMidnight = 86_400 - Int(Date().timeIntervalSince1970) % 86_400
            if tillMidnight < 300 { try await Task.sleep(for: .seconds(tillMidnight + 1)) }
            let parent = try await Parent.start(box)
            let builder = try await parent.token("builder")
            let string = try await parent.connectedRegistry("factory", tokens: ["builder"])
            try await parent.acr(
                "connected-registry", "update", "-n", "factory", "--budget", "day=1MiB", "--priorities", "app", "--audit-logs-enabled",
                "true",
                "--add-notifications", "app:tag:*")
            let atParent = try parent.registry(by: builder)
            let image = try Artifact.image(layers: [.random(3 << 20)])
            #expect(try await atParent.push(image, "app", "v1"))
            // Nobody listens at the first endpoint.
            let dead = string.replacing("ParentGatewayEndpoint=", with: "ParentGatewayEndpoint=127.0.0.1:1,")
            let child = try await Child.start(box, dead)
            @Sendable func query(_ command: String..., query: String) async throws -> String {
                try await parent.attempt(
                    ["acr", "connected-registry"] + command + [
                        "-r", parent.registryName, "-n", "factory", "--query", query, "-o", "tsv",
                    ]
                ).succeeded().trimmed
            }
            try await eventually("the budget as the reason") {
                try await query("why", "--image", "app:v1", query: "code") == "BudgetExhausted"
            }
            #expect(try await query("show", query: "byteBudget.used[0].used") == "1048576")
            let planned = try #require(Int(try await query("plan", query: "bytes")))
            // What has come is not in the plan, to the byte; the manifest, which is asked for again, is.
            let received = try #require(Int(try await query("show", query: "bytesReceived")))
            #expect(received <= 1_048_576)
            #expect((2 << 20..<3 << 20).contains(planned))
            try await parent.acr("connected-registry", "update", "-n", "factory", "--budget", "day=none")
            let atChild = try child.registry(builder)
            try await eventually("the image") { try await atChild.flaw("app", "v1", digest: image.digest) == nil }
            try await eventually("all of it") { try await query("plan", query: "bytes") == "0" }
            let total = try #require(Int(try await query("show", query: "bytesReceived")))
            #expect(total == received + planned, "the plan said \(planned), \(total - received) came")
            try await eventually("the tag as an event") {
                try await query("events", query: "[0].join(':', [repository, tag])") == "app:v1"
            }
            try await eventually("the sign-in in the logs") {
                try await query("logs", query: "[?event=='SignIn'] | [0].user") == "token:builder"
            }
        }
    }
}
