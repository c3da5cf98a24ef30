// `outport acr identity …` and `outport acr encryption show`: what a registry is to others, and with what it is locked.

import ArgumentParser
import JSON

/// `--identities`
private enum IdentityNames {
    static let system = "[system]"

    /// The ids that were meant: a name stands for one in the registry's group.
    static func ids(_ names: [String], _ registry: JSONValue) -> [String] {
        let group = registry["id"]?.stringValue?.split(separator: "/").prefix(4).joined(separator: "/") ?? ""
        return names.filter { $0.lowercased() != system }.map {
            $0.hasPrefix("/") ? $0 : "/\(group)/providers/\(GroupedResources.identity)/\($0)"
        }
    }

    static func type(system: Bool, user: Bool) -> String {
        switch (system, user) {
        case (true, true): "SystemAssigned, UserAssigned"
        case (true, false): "SystemAssigned"
        case (false, true): "UserAssigned"
        case (false, false): "None"
        }
    }

    static func has(_ kind: String, _ identity: JSONValue?) -> Bool {
        identity?["type"]?.stringValue?.lowercased().split(separator: ",").contains { $0.drop { $0 == " " } == kind.lowercased()[...] }
            == true
    }
}

struct RegistryIdentityShowCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Show the managed identities of a registry.",
        discussion: "Example: outport acr identity show -n myregistry")

    @OptionGroup var registry: RegistryName
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        ResourceShape.registry(try await session.client.get(try await session.registryPath(registry.name, registry.group)))["identity"]
    }
}

struct RegistryIdentityAssignCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "assign", abstract: "Assign a managed identity to a registry.",
        discussion: "Example: outport acr identity assign -n myregistry --identities [system] myidentity")
    static let table = TableLayout.registries

    @OptionGroup var registry: RegistryName
    @Option(parsing: .upToNextOption, help: "Space-separated identities: names, resource ids, or '[system]' for one of the registry's own.")
    var identities: [String]
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let path = try await session.registryPath(registry.name, registry.group)
        let current = try await session.client.get(path)
        let added = IdentityNames.ids(identities, current)
        var users = current[path: "identity", "userAssignedIdentities"]?.objectValue?.mapValues { _ in JSONValue.object([:]) } ?? [:]
        for id in added { users[id] = [:] }
        let isSystem =
            IdentityNames.has("SystemAssigned", current["identity"]) || identities.contains { $0.lowercased() == IdentityNames.system }
        var identity: JSONValue = ["type": .string(IdentityNames.type(system: isSystem, user: !users.isEmpty))]
        if !users.isEmpty { identity["userAssignedIdentities"] = .object(users) }
        return ResourceShape.registry(try await session.client.patch(path, ["identity": identity]))
    }
}

struct RegistryIdentityRemoveCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "remove", abstract: "Remove a managed identity from a registry.",
        discussion: "Example: outport acr identity remove -n myregistry --identities [system]")
    static let table = TableLayout.registries

    @OptionGroup var registry: RegistryName
    @Option(parsing: .upToNextOption, help: "Space-separated identities: names, resource ids, or '[system]' for the registry's own.")
    var identities: [String]
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let path = try await session.registryPath(registry.name, registry.group)
        let current = try await session.client.get(path)
        var isSystem = IdentityNames.has("SystemAssigned", current["identity"])
        var users = current[path: "identity", "userAssignedIdentities"]?.objectValue?.mapValues { _ in JSONValue.object([:]) } ?? [:]
        guard isSystem || !users.isEmpty else {
            throw ManagementError("The registry \(registry.name) has no system or user assigned identities.")
        }
        if identities.contains(where: { $0.lowercased() == IdentityNames.system }) {
            guard isSystem else { throw ManagementError("The registry does not have a system identity assigned.") }
            isSystem = false
        }
        for id in IdentityNames.ids(identities, current) {
            guard let found = users.keys.first(where: { $0.lowercased() == id.lowercased() }) else {
                throw ManagementError("The registry does not have specified user identity '\(id)' assigned.")
            }
            users[found] = nil
        }
        var identity: JSONValue = ["type": .string(IdentityNames.type(system: isSystem, user: !users.isEmpty))]
        if !users.isEmpty { identity["userAssignedIdentities"] = .object(users) }
        return ResourceShape.registry(try await session.client.patch(path, ["identity": identity]))
    }
}

struct EncryptionShowCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Show a registry's encryption settings.",
        discussion: "Example: outport acr encryption show -n myregistry")

    @OptionGroup var registry: RegistryName
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        ResourceShape.registry(try await session.client.get(try await session.registryPath(registry.name, registry.group)))["encryption"]
    }
}
