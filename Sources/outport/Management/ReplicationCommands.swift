// `outport acr replication …`: the regions a registry is in, of which this server has one.

import ArgumentParser
import JSON

/// `-r` and `-n` of a replication.
struct ReplicationName: ParsableArguments {
    @Option(name: [.customShort("n"), .long], help: "The name of the replication.")
    var name: String

    @OptionGroup var registry: RegistryOption

    func path(_ session: ManagementSession) async throws(ManagementError) -> String {
        "\(try await Replications.path(registry, session))/\(URLText.segment(name))"
    }
}

private enum Replications {
    static let shape = ResourceShape(skeleton: [
        "id": nil, "name": nil, "type": nil, "location": nil, "tags": nil, "systemData": ResourceShape.systemData, "provisioningState": nil,
        "regionEndpointEnabled": nil, "zoneRedundancy": nil, "status": ["displayStatus": nil, "message": nil, "timestamp": nil],
    ])

    /// Refuses before anything is sent what `az` refuses.
    static func path(_ registry: RegistryOption, _ session: ManagementSession) async throws(ManagementError) -> String {
        let (path, body) = try await session.registry(registry)
        guard body[path: "sku", "name"]?.stringValue == SKU.premium.rawValue else {
            throw ManagementError("Replications are only supported for managed registries in Premium SKU.")
        }
        return path + "/replications"
    }
}

struct ReplicationCreateCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "create", abstract: "Create a replicated region for a container registry.",
        discussion: """
            A server is in one place, so other regions are refused; a connected registry is a replica elsewhere.

            Example: outport acr replication create -r myregistry -l westus
            """)
    static let table = TableLayout.replications

    @Option(name: [.customShort("l"), .long], help: "Location.")
    var location: String

    @Option(name: [.customShort("n"), .long], help: "The name of the replication. Default to the location name.")
    var name: String?

    @OptionGroup var registry: RegistryOption

    @Option(help: "Allow routing to this replication via the registry global endpoint.")
    var globalEndpointRouting: ThreeState?

    @Option(help: "Whether zone redundancy is enabled: the server is in one place, so only Disabled is taken.")
    var zoneRedundancy: EnabledOrDisabled?

    @Option(parsing: .upToNextOption, help: "Space-separated tags: key[=value] [key[=value] ...].")
    var tags: [String] = []

    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let path = try await Replications.path(registry, session)
        let place = location.lowercased().replacing(" ", with: "")
        var body: JSONValue = ["location": .string(location), "properties": [:]]
        if let zoneRedundancy { body[path: "properties", "zoneRedundancy"] = .string(zoneRedundancy.rawValue) }
        if let globalEndpointRouting { body[path: "properties", "regionEndpointEnabled"] = .bool(globalEndpointRouting.value) }
        if !tags.isEmpty { body["tags"] = ResourceText.tags(tags) }
        return Replications.shape.shape(try await session.client.put("\(path)/\(URLText.segment(name ?? place))", body))
    }
}

struct ReplicationListCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List all of the regions for a container registry.",
        discussion: "Example: outport acr replication list -r myregistry")
    static let table = TableLayout.replications

    @OptionGroup var registry: RegistryOption
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        Replications.shape.shape(try await session.client.list(try await Replications.path(registry, session)))
    }
}

struct ReplicationShowCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Get the details of a replicated region.",
        discussion: "Example: outport acr replication show -r myregistry -n eastus")
    static let table = TableLayout.replications

    @OptionGroup var replication: ReplicationName
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        Replications.shape.shape(try await session.client.get(try await replication.path(session)))
    }
}

struct ReplicationUpdateCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "update", abstract: "Update a replication.",
        discussion: "Example: outport acr replication update -r myregistry -n eastus --global-endpoint-routing true")
    static let table = TableLayout.replications

    @OptionGroup var replication: ReplicationName

    @Option(help: "Allow routing to this replication via the registry global endpoint.")
    var globalEndpointRouting: ThreeState?

    @Option(parsing: .upToNextOption, help: "Space-separated tags: key[=value] [key[=value] ...].")
    var tags: [String] = []

    @OptionGroup var changes: GenericUpdate
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        var body: JSONValue = ["properties": [:]]
        if let globalEndpointRouting { body[path: "properties", "regionEndpointEnabled"] = .bool(globalEndpointRouting.value) }
        if !tags.isEmpty { body["tags"] = ResourceText.tags(tags) }
        let path = try await replication.path(session)
        try await changes.apply(to: &body, in: path, session)
        return Replications.shape.shape(try await session.client.patch(path, body))
    }
}

struct ReplicationDeleteCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "delete", abstract: "Delete a replicated region from a container registry.",
        discussion: "Example: outport acr replication delete -r myregistry -n westus")

    @OptionGroup var replication: ReplicationName
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        try await session.client.delete(try await replication.path(session))
        return nil
    }
}
