// Shows, lists and stops connected registries.

import ArgumentParser
import JSON

struct ConnectedRegistryShowCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Show connected registry details.",
        discussion: "Example: outport acr connected-registry show -n factory -r myregistry -o table")
    static let table = TableLayout.connectedRegistry

    @OptionGroup var connectedRegistry: ConnectedRegistryName
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let path = try await connectedRegistry.path(session).connectedRegistry
        return ResourceShape.connectedRegistry.shape(try await session.client.get(path))
    }
}

struct ConnectedRegistryListCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "Lists all the connected registries under the current parent registry.",
        discussion: "Example: outport acr connected-registry list -r myregistry -o table")
    static let table = TableLayout.connectedRegistries

    @OptionGroup var registry: RegistryOption

    @Option(name: [.customShort("p"), .long], help: "The name of the parent connected registry.")
    var parent: String?

    @Flag(help: "Used to remove all children from the list.")
    var noChildren = false

    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let path = try await session.registry(registry).path
        let all = try await session.client.list(path + "/connectedRegistries")
        let tree = ConnectedRegistryTree(all)
        let chosen: [JSONValue]
        if let parent {
            guard let item = tree.named(parent) else {
                throw ManagementError("Parent connected registry '\(parent)' doesn't exist.")
            }
            chosen = noChildren ? tree.children(of: item) : tree.descendants(of: item)
        } else {
            chosen = noChildren ? tree.topLevel : all
        }
        return ResourceShape.connectedRegistry.shape(chosen)
    }
}

struct ConnectedRegistryListClientTokensCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "list-client-tokens", abstract: "Lists all the client tokens associated to a specific connected registry.",
        discussion: "Example: outport acr connected-registry list-client-tokens -n factory -r myregistry")
    static let table = TableLayout.tokens

    @OptionGroup var connectedRegistry: ConnectedRegistryName
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let item = try await session.client.get(try await connectedRegistry.path(session).connectedRegistry)
        var tokens: [JSONValue] = []
        for id in ConnectedRegistries.property(item, "clientTokenIds")?.arrayValue ?? [] {
            tokens.append(try await session.client.get(try ConnectedRegistries.path(id, "tokens")))
        }
        return ResourceShape.token.shape(tokens)
    }
}

struct ConnectedRegistryDeactivateCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "deactivate", abstract: "Deactivate a connected registry.",
        discussion: "Example: outport acr connected-registry deactivate -n factory -r myregistry --yes")

    @OptionGroup var connectedRegistry: ConnectedRegistryName
    @OptionGroup var consent: YesOption
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let path = try await connectedRegistry.path(session).connectedRegistry
        try session.confirm(
            "Are you sure you want to deactivate the connected registry '\(connectedRegistry.name)' in"
                + " '\(connectedRegistry.registry.registry)'?",
            consent)
        try await session.client.post(path + "/deactivate")
        return nil
    }
}

struct ConnectedRegistryResyncCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "resync", abstract: "Resync a connected registry.",
        discussion: "Example: outport acr connected-registry resync -n factory -r myregistry")
    static let table = TableLayout.connectedRegistry

    @OptionGroup var connectedRegistry: ConnectedRegistryName
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let path = try await connectedRegistry.path(session).connectedRegistry
        return try await session.client.post(path + "/resync").map(ResourceShape.connectedRegistry.shape)
    }
}

struct ConnectedRegistryDeleteCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "delete", abstract: "Delete a connected registry.",
        discussion: "Example: outport acr connected-registry delete -n factory -r myregistry --cleanup --yes")

    @OptionGroup var connectedRegistry: ConnectedRegistryName

    @Flag(help: "Delete the sync token and scope map too, and what ancestors were allowed for it.")
    var cleanup = false

    @OptionGroup var consent: YesOption
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let name = connectedRegistry.name
        let registryName = connectedRegistry.registry.registry
        let (registry, path) = try await connectedRegistry.path(session)
        let item = try await session.client.get(path)
        let hasToken = !ConnectedRegistries.hasIdentity(item)
        try session.confirm(
            "Are you sure you want to delete the connected registry '\(name)' in '\(registryName)'\(cleanup || !hasToken ? "" : " without cleanup flag enabled")?",
            consent)
        try await session.client.delete(path)
        guard hasToken else {
            if cleanup {
                session.warn(
                    "'--cleanup' has no effect for connected registry '\(name)' using ManagedIdentity authentication. The managed identity "
                        + "and role assignments are retained.")
            }
            return nil
        }
        let tokenPath = try ConnectedRegistries.path(
            ConnectedRegistries.property(item, "parent", "syncProperties", "tokenId"), "tokens")
        let token = try await session.client.get(tokenPath)
        let scopeMapPath = try ConnectedRegistries.path(token[path: "properties", "scopeMapId"], "scopeMaps")
        guard cleanup else {
            let scopeMapName = scopeMapPath.split(separator: "/").last ?? ""
            session.warn(
                """
                Connected registry successfully deleted. Please cleanup your sync tokens and scope maps. \
                Run the following commands for cleanup: 
                \toutport acr token delete -n \(ConnectedRegistries.name(token)) -r \(registryName) --yes
                \toutport acr scope-map delete -n \(scopeMapName) -r \(registryName) --yes
                Run the following command on all ascendency to remove the deleted registry gateway access: 
                \toutport acr scope-map update -n <scope-map-name> -r \(registryName) --remove-gateway \(name) \
                \(ScopeMapActions.gateway.joined(separator: " "))
                """)
            return nil
        }
        try session.confirm(
            "Deleting the token '\(ConnectedRegistries.name(token))' will invalidate access to anyone using its credentials. Proceed?",
            consent)
        try await session.client.delete(tokenPath)
        try await session.client.delete(scopeMapPath)
        let tree = ConnectedRegistryTree(try await session.client.list(registry + "/connectedRegistries"))
        for ancestor in tree.ancestors(of: item) {
            try await ConnectedRegistries.changeActions(
                of: ancestor, adding: [], removing: ScopeMapActions.gatewayActions(name),
                "Removing '\(name)' gateway permissions to connected registry '\(ConnectedRegistries.name(ancestor))' sync scope map.",
                session)
        }
        return nil
    }
}
