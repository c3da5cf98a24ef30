// Which repositories a connected registry synchronises, rippled through its ancestors and descendants.

import ArgumentParser
import JSON

struct PermissionsShowCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Show the connected registry sync scope map information.",
        discussion: "Example: outport acr connected-registry permissions show -n factory -r myregistry")
    static let table = TableLayout.scopeMaps

    @OptionGroup var connectedRegistry: ConnectedRegistryName
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let item = try await session.client.get(try await connectedRegistry.path(session).connectedRegistry)
        try PermissionChange.refuseIdentity(item, "show")
        return ResourceShape.scopeMap.shape(try await ConnectedRegistries.scopeMap(of: item, session).body)
    }
}

/// `--add` and `--remove`, and what they do.
struct PermissionChange: ParsableArguments {
    @Option(parsing: .upToNextOption, help: "Repositories to be added to the connected registry and its ancestors.")
    var add: [String] = []

    @Option(parsing: .upToNextOption, help: "Repositories to be removed from the connected registry and its descendants.")
    var remove: [String] = []

    static func refuseIdentity(_ item: JSONValue, _ verb: String) throws(ManagementError) {
        guard ConnectedRegistries.hasIdentity(item) else { return }
        throw ManagementError(
            "'connected-registry permissions \(verb)' is not supported for a connected registry using ManagedIdentity authentication.",
            advice: "Look at the managed identity's role assignments: they are its permissions.")
    }

    func apply(to name: ConnectedRegistryName, _ session: ManagementSession) async throws(ManagementError) {
        if add.isEmpty, remove.isEmpty { throw ManagementError("No repository permissions to update.") }
        let both = Set(add.map { $0.lowercased() }).intersection(remove.map { $0.lowercased() }).sorted()
        if !both.isEmpty {
            throw ManagementError(
                "Update ambiguity. Duplicate repository names were provided with --add and --remove arguments: \(both.joined(separator: ", "))"
            )
        }
        let registry = try await name.managedRegistry(session).path
        let tree = ConnectedRegistryTree(try await session.client.list(registry + "/connectedRegistries"))
        guard let target = tree.named(name.name) else {
            throw ManagementError("Connected registry '\(name.name)' doesn't exist.")
        }
        try Self.refuseIdentity(target, "update")
        let mode = ConnectedRegistries.mode(target) ?? .readOnly
        // Removing takes every action away, whatever the mode: a repository is either synchronised or not.
        let removed = ScopeMapActions.actions(on: remove, .readWrite)
        let added = ScopeMapActions.actions(on: add, mode)
        let (adding, removing) = (add.joined(separator: ", "), remove.joined(separator: ", "))
        // From the leaves up when taking away, from the root down to here when giving: at no time may a child do more than
        // its parent.
        if !remove.isEmpty {
            for descendant in tree.descendants(of: target).reversed() {
                try await ConnectedRegistries.changeActions(
                    of: descendant, adding: [], removing: removed,
                    "Removing '\(removing)' repository permissions from \(ConnectedRegistries.name(descendant))", session)
            }
        }
        if !add.isEmpty {
            for ancestor in tree.ancestors(of: target).reversed() {
                try await ConnectedRegistries.changeActions(
                    of: ancestor, adding: added, removing: [],
                    "Adding '\(adding)' repository permissions to \(ConnectedRegistries.name(ancestor))", session)
            }
        }
        let what =
            if add.isEmpty {
                "Removing '\(removing)' repository permissions from"
            } else if remove.isEmpty {
                "Adding '\(adding)' repository permissions to"
            } else {
                "Adding '\(adding)' and removing '\(removing)' repository permissions in"
            }
        try await ConnectedRegistries.changeActions(
            of: target, adding: added, removing: removed, "\(what) \(ConnectedRegistries.name(target))", session)
    }
}

struct PermissionsUpdateCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "update", abstract: "Update the sync scope map information of a connected registry.",
        discussion: "Example: outport acr connected-registry permissions update -n factory -r myregistry --add app --remove old")

    @OptionGroup var connectedRegistry: ConnectedRegistryName
    @OptionGroup var change: PermissionChange
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        try await change.apply(to: connectedRegistry, session)
        return nil
    }
}

/// `connected-registry repo`, the older name of `permissions update`.
struct ConnectedRegistryRepoCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "repo", abstract: "Deprecated: use permissions update.",
        discussion: "Example: outport acr connected-registry repo -n factory -r myregistry --add app", shouldDisplay: false)

    @OptionGroup var connectedRegistry: ConnectedRegistryName
    @OptionGroup var change: PermissionChange
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        try await change.apply(to: connectedRegistry, session)
        return nil
    }
}
