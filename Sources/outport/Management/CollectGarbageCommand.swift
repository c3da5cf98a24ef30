// Garbage collection of a running server.

import ArgumentParser
import JSON

struct CollectGarbageCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "collect-garbage", abstract: "Collect garbage now, while the server goes on serving.",
        discussion: """
            Outport's own. Content is shared by the registries of a server, so this takes a role at the server itself.

            Example: outport acr collect-garbage --untagged-days 30 --dry-run
            """)

    @Flag(help: "List what would be removed, and remove nothing.")
    var dryRun = false

    @Option(help: "Also remove manifests older than this many days that no tag, no index and no subject reaches.")
    var untaggedDays: Int?

    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        var body: JSONValue = ["dryRun": .bool(dryRun)]
        if let untaggedDays { body["untaggedDays"] = .integer(Int64(untaggedDays)) }
        // As long as a server lets a request go without an answer.
        await session.client.wait(seconds: 600)
        return try await session.client.post("/providers/Microsoft.ContainerRegistry/collectGarbage", body)
    }
}
