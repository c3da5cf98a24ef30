// The roles there are, with the identifiers and actions they have in Azure: scripts name both.

/// A built-in role.
package struct RoleDefinition: Sendable, Hashable {
    /// A GUID.
    package let id: String
    package let name: String
    package let text: String
    package let actions: [String]
    package let notActions: [String]

    /// Whether the role alone permits an action, such as `Microsoft.ContainerRegistry/registries/delete`.
    package func permits(_ action: String) -> Bool {
        let action = action.lowercased()
        return self.actions.contains { Self.matches(action, $0) } && !self.notActions.contains { Self.matches(action, $0) }
    }

    /// `*` stands for any characters, slashes among them.
    static func matches(_ action: String, _ pattern: String) -> Bool {
        let pieces = pattern.lowercased().split(separator: "*", omittingEmptySubsequences: false)
        guard let first = pieces.first, let last = pieces.last, pieces.count > 1 else { return action == pattern.lowercased() }
        guard action.hasPrefix(first), action.hasSuffix(last), action.utf8.count >= first.utf8.count + last.utf8.count else { return false }
        var rest = action.dropFirst(first.count).dropLast(last.count)
        for piece in pieces.dropFirst().dropLast() where !piece.isEmpty {
            guard let range = rest.firstRange(of: piece) else { return false }
            rest = rest[range.upperBound...]
        }
        return true
    }

    package static let owner = RoleDefinition(
        id: "8e3af657-a8ff-443c-a75c-2fe8c4bcb635", name: "Owner",
        text: "Grants full access to manage all resources, including the ability to assign roles.", actions: ["*"], notActions: [])

    package static let all: [RoleDefinition] = [
        owner,
        RoleDefinition(
            id: "b24988ac-6180-42a0-ab88-20f7382dd24c", name: "Contributor",
            text: "Grants full access to manage all resources, but does not allow you to assign roles.", actions: ["*"],
            notActions: [
                "Microsoft.Authorization/*/Delete", "Microsoft.Authorization/*/Write", "Microsoft.Authorization/elevateAccess/Action",
            ]),
        RoleDefinition(
            id: "acdd72a7-3385-48ef-bd42-f606fba81ae7", name: "Reader",
            text: "View all resources, but does not allow you to make any changes.", actions: ["*/read"], notActions: []),
        RoleDefinition(
            id: "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9", name: "User Access Administrator",
            text: "Lets you manage user access to resources.", actions: ["*/read", "Microsoft.Authorization/*"], notActions: []),
        RoleDefinition(
            id: "7f951dda-4ed3-4680-a7ca-43fe172d538d", name: "AcrPull", text: "Pull artifacts from a registry.",
            actions: [RegistryRoleAction.pull], notActions: []),
        RoleDefinition(
            id: "8311e382-0749-4cb8-b61a-304f252e45ec", name: "AcrPush", text: "Push artifacts to and pull artifacts from a registry.",
            actions: [RegistryRoleAction.pull, RegistryRoleAction.push], notActions: []),
        RoleDefinition(
            id: "c2f4ef07-c644-48eb-af81-4b1b4947fb11", name: "AcrDelete",
            text: "Delete repositories, tags, or manifests from a registry.", actions: [RegistryRoleAction.delete], notActions: []),
    ]

    /// The definition with this GUID, in any letter case.
    package static func find(_ id: String) -> RoleDefinition? { self.all.first { $0.id == id.lowercased() } }
}

/// The ARM actions that open a registry's content.
package enum RegistryRoleAction {
    package static let pull = "Microsoft.ContainerRegistry/registries/pull/read"
    package static let push = "Microsoft.ContainerRegistry/registries/push/write"
    package static let delete = "Microsoft.ContainerRegistry/registries/artifacts/delete"
    static let metadataRead = "Microsoft.ContainerRegistry/registries/metadata/read"
    static let metadataWrite = "Microsoft.ContainerRegistry/registries/metadata/write"
    static let deletedRead = "Microsoft.ContainerRegistry/registries/deleted/read"
    static let deletedRestore = "Microsoft.ContainerRegistry/registries/deleted/restore/action"

    /// What roles permit on every repository of a registry. Whoever may pull may read metadata, too.
    static func permissions(_ permits: (String) -> Bool) -> Set<RepositoryPermission> {
        var permissions: Set<RepositoryPermission> = []
        if permits(self.pull) { permissions.formUnion([.contentRead, .metadataRead]) }
        if permits(self.push) { permissions.insert(.contentWrite) }
        if permits(self.delete) { permissions.insert(.contentDelete) }
        if permits(self.metadataRead) { permissions.insert(.metadataRead) }
        if permits(self.metadataWrite) { permissions.insert(.metadataWrite) }
        if permits(self.deletedRead) { permissions.insert(.deletedRead) }
        if permits(self.deletedRestore) { permissions.insert(.deletedRestore) }
        return permissions
    }
}
