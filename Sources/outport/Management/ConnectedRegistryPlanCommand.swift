// Outport's own: what the next synchronisation of a connected registry will move, before it moves.

import ArgumentParser
import JSON

struct ConnectedRegistryPlanCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "plan", abstract: "Show what the next synchronisation of a connected registry will move, before it moves.",
        discussion: """
            The connected registry itself works it out, from names and sizes: it knows what it holds. One that waits for its window hears
            of the question within five minutes; one that is away answers when it is back, and the question waits. --no-wait asks and
            shows the last answer; --last only shows it.

            Example: outport acr connected-registry plan -r myregistry -n factory
            """)

    @OptionGroup var connectedRegistry: ConnectedRegistryName

    @Flag(help: "Do not wait for the answer.")
    var noWait = false

    @Flag(help: "Show the last answer without asking anew.")
    var last = false

    @Option(help: "Seconds to wait for the answer.")
    var timeout = 330

    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let path = try await connectedRegistry.path(session).connectedRegistry + "/plan"
        if last { return try await session.client.get(path) }
        var answer = try await session.client.post(path) ?? .null
        var waited = 0
        while !noWait, answer["state"]?.stringValue == "Pending" {
            guard waited < timeout else {
                throw ManagementError(
                    "'\(connectedRegistry.name)' has not answered within \(timeout) seconds. The question waits for it; "
                        + "'outport acr connected-registry plan --last' shows the answer once it is there.")
            }
            try await session.client.pause(1)
            waited += 1
            answer = try await session.client.get(path)
        }
        return answer
    }
}
