// Outport's own: what has happened at a connected registry, as it has told.

import ArgumentParser
import JSON

/// `--top` of both lists.
struct NewestOption: ParsableArguments {
    @Option(help: "How many of the newest to show, 1000 at most.")
    var top = 100

    func list(_ what: String, of connectedRegistry: ConnectedRegistryName, _ session: ManagementSession) async throws(ManagementError)
        -> JSONValue
    {
        let path = try await connectedRegistry.path(session).connectedRegistry
        let answer = try await session.client.get("\(path)/\(what)", query: [("$top", String(top))])
        if let dropped = answer["dropped"]?.intValue, dropped > 0 {
            session.warn("\(dropped) older ones had to go before anybody read them: there was no room for more.")
        }
        return answer["value"] ?? []
    }
}

struct ConnectedRegistryEventsCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "events", abstract: "List changes at a connected registry that match its notifications, the newest first.",
        discussion: """
            What is listed is said by --notifications of 'create' and --add-notifications of 'update': REPOSITORY[:REFERENCE]:ACTION, such as
            hello-world:tag:push, 'sample/repo/*:*' or 'app:v1*:delete'.

            Example: outport acr connected-registry events -n factory -r myregistry -o table
            """)

    @OptionGroup var connectedRegistry: ConnectedRegistryName
    @OptionGroup var newest: NewestOption
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        try await newest.list("events", of: connectedRegistry, session)
    }
}

struct ConnectedRegistryLogsCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "logs", abstract: "List sign-ins, pushes, deletions and refusals at a connected registry, the newest first.",
        discussion: """
            They are gathered where 'update --audit-logs-enabled true' has been said, and told to the registry while it can be reached.

            Example: outport acr connected-registry logs -n factory -r myregistry -o table
            """)

    @OptionGroup var connectedRegistry: ConnectedRegistryName
    @OptionGroup var newest: NewestOption
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        try await newest.list("logs", of: connectedRegistry, session)
    }
}
