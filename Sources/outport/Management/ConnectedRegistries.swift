// What the commands for connected registries have in common.

import ArgumentParser
import JSON

/// What the commands for connected registries share.
enum ConnectedRegistries {
    /// A property, whether the resource is in the form of the wire or in the form that is printed.
    static func property(_ item: JSONValue, _ path: String...) -> JSONValue? {
        var value = item["properties"] ?? item
        for key in path {
            guard let next = value[key] else { return nil }
            value = next
        }
        return value
    }

    static func mode(_ item: JSONValue) -> ConnectedRegistryMode? {
        property(item, "mode")?.stringValue.flatMap { ConnectedRegistryMode(argument: $0) }
    }

    /// The scope map of the sync token: found through the token, wherever that is.
    static func scopeMap(
        of item: JSONValue, _ session: ManagementSession
    ) async throws(ManagementError) -> (path: String, body: JSONValue) {
        let token = try await session.client.get(try path(property(item, "parent", "syncProperties", "tokenId"), "tokens"))
        let path = try path(token[path: "properties", "scopeMapId"], "scopeMaps")
        return (path, try await session.client.get(path))
    }

    /// An id that is used as a path, after a look at its shape: it must be that of something in a registry.
    static func path(_ id: JSONValue?, _ kind: String) throws(ManagementError) -> String {
        let text = id?.stringValue ?? ""
        let parts = text.split(separator: "/")
        guard text.hasPrefix("/"), parts.count == 10, parts[8].lowercased() == kind.lowercased() else {
            throw ManagementError("The server named '\(text)', which is not the id of one of a registry's \(kind).")
        }
        return "/" + parts.map { URLText.segment($0) }.joined(separator: "/")
    }

    /// Adds and removes actions of the scope map of a connected registry's sync token, if that changes anything.
    static func changeActions(
        of item: JSONValue, adding: [String], removing: [String], _ message: String, _ session: ManagementSession
    ) async throws(ManagementError) {
        let (path, body) = try await scopeMap(of: item, session)
        guard let actions = ScopeMapActions.changed(ScopeMapActions.list(body), adding: adding, removing: removing) else { return }
        session.warn(message)
        _ = try await session.client.patch(path, ["properties": ["actions": .strings(actions)]])
    }

    static func name(_ item: JSONValue) -> String { item["name"]?.stringValue ?? "" }
}

extension ConnectedRegistries {
    /// Whether it signs in at its parent with an identity instead of a sync token.
    static func hasIdentity(_ item: JSONValue) -> Bool {
        property(item, "parent", "syncProperties", "authType")?.stringValue == SyncAuthentication.identity.rawValue
    }
}

/// `--auth-type`
enum SyncAuthentication: String, Choice {
    case token = "SyncToken"
    case identity = "ManagedIdentity"

    func check(_ identity: String?) throws(ManagementError) {
        switch (self, identity.map { !$0.allSatisfy(\.isWhitespace) }) {
        case (.identity, true?), (.token, nil): return
        case (.identity, _):
            throw ManagementError(
                "argument error: --identity <user-assigned-managed-identity-resource-id> is required when --auth-type ManagedIdentity.")
        case (.token, _): throw ManagementError("argument error: --identity is only applicable with --auth-type ManagedIdentity.")
        }
    }

    static func identity(_ id: String) -> JSONValue { ["type": "UserAssigned", "userAssignedIdentities": .object([id: [:]])] }
}

/// `-r` and `-n` of a connected registry.
struct ConnectedRegistryName: ParsableArguments {
    @Option(name: [.customShort("n"), .long], help: "Name for the connected registry: 5 to 40 characters.")
    var name: String

    @OptionGroup var registry: RegistryOption

    /// The registry's path and body, after checking that it can have connected registries at all.
    func managedRegistry(_ session: ManagementSession) async throws(ManagementError) -> (path: String, body: JSONValue) {
        let found = try await session.registry(registry)
        guard let sku = found.body[path: "sku", "name"]?.stringValue, SKU(argument: sku) != nil else {
            throw ManagementError("This operation is only supported for managed registries.")
        }
        return found
    }

    /// The path of the connected registry and that of its registry.
    func path(_ session: ManagementSession) async throws(ManagementError) -> (registry: String, connectedRegistry: String) {
        let registry = try await managedRegistry(session).path
        return (registry, "\(registry)/connectedRegistries/\(URLText.segment(name))")
    }
}
