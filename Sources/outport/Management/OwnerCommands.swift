// Who owns applications, service principals and groups, and in which groups somebody is.

import ArgumentParser
import JSON

/// `--owner-object-id`
struct OwnerOption: ParsableArguments {
    @Option(help: "Owner's object id.")
    var ownerObjectId: String
}

/// Owners of an object of the directory.
enum Owners {
    static func list(_ path: String, _ lookup: DirectoryLookup) async throws(ManagementError) -> JSONValue {
        .array(try await lookup.client.list(path + "/owners"))
    }

    /// Whoever owns it already goes on to.
    static func add(
        _ owner: String, to path: String, _ lookup: DirectoryLookup, _ session: ManagementSession
    ) async throws(ManagementError) {
        let owners = try await lookup.client.list(path + "/owners")
        guard !owners.contains(where: { $0["id"]?.stringValue?.lowercased() == owner.lowercased() }) else { return }
        try await lookup.client.post(path + "/owners/$ref", lookup.reference(owner, session.profile))
    }

    static func remove(_ owner: String, from path: String, _ lookup: DirectoryLookup) async throws(ManagementError) {
        try await lookup.client.delete("\(path)/owners/\(URLText.segment(owner))/$ref")
    }
}

/// `outport ad app owner …`
struct AppOwnerCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "owner", abstract: "Manage application owners.", subcommands: [List.self, Add.self, Remove.self])

    private static func path(_ id: String, _ lookup: DirectoryLookup) async throws(ManagementError) -> String {
        "/v1.0/applications/\(try await lookup.application(id))"
    }

    struct List: ManagementCommand {
        static let configuration = CommandConfiguration(
            commandName: "list", abstract: "List application owners.",
            discussion: "Example: outport ad app owner list --id 00000000-0000-0000-0000-000000000000")
        @OptionGroup var object: ObjectIDOption
        @OptionGroup var global: GlobalOptions
        func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
            let lookup = try DirectoryLookup(session)
            return try await Owners.list(AppOwnerCommand.path(object.id, lookup), lookup)
        }
    }

    struct Add: ManagementCommand {
        static let configuration = CommandConfiguration(
            commandName: "add", abstract: "Add an application owner.",
            discussion:
                "Example: outport ad app owner add --id 00000000-0000-0000-0000-000000000000 --owner-object-id 11111111-1111-1111-1111-111111111111"
        )
        @OptionGroup var object: ObjectIDOption
        @OptionGroup var owner: OwnerOption
        @OptionGroup var global: GlobalOptions
        func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
            let lookup = try DirectoryLookup(session)
            try await Owners.add(owner.ownerObjectId, to: AppOwnerCommand.path(object.id, lookup), lookup, session)
            return nil
        }
    }

    struct Remove: ManagementCommand {
        static let configuration = CommandConfiguration(
            commandName: "remove", abstract: "Remove an application owner.",
            discussion:
                "Example: outport ad app owner remove --id 00000000-0000-0000-0000-000000000000 --owner-object-id 11111111-1111-1111-1111-111111111111"
        )
        @OptionGroup var object: ObjectIDOption
        @OptionGroup var owner: OwnerOption
        @OptionGroup var global: GlobalOptions
        func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
            let lookup = try DirectoryLookup(session)
            try await Owners.remove(owner.ownerObjectId, from: AppOwnerCommand.path(object.id, lookup), lookup)
            return nil
        }
    }
}

/// `outport ad sp owner …`
struct SPOwnerCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "owner", abstract: "Manage service principal owners.", subcommands: [List.self])

    struct List: ManagementCommand {
        static let configuration = CommandConfiguration(
            commandName: "list", abstract: "List service principal owners.",
            discussion: "Example: outport ad sp owner list --id 00000000-0000-0000-0000-000000000000")
        @OptionGroup var object: ObjectIDOption
        @OptionGroup var global: GlobalOptions
        func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
            let lookup = try DirectoryLookup(session)
            return try await Owners.list("/v1.0/servicePrincipals/\(try await lookup.servicePrincipal(object.id))", lookup)
        }
    }
}

/// `outport ad group owner …`
struct ADGroupOwnerCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "owner", abstract: "Manage group owners.", subcommands: [List.self, Add.self, Remove.self])

    private static func path(_ group: String, _ lookup: DirectoryLookup) async throws(ManagementError) -> String {
        "/v1.0/groups/\(try await lookup.group(group))"
    }

    struct List: ManagementCommand {
        static let configuration = CommandConfiguration(
            commandName: "list", abstract: "List group owners.", discussion: "Example: outport ad group owner list -g builders")
        @OptionGroup var group: DirectoryGroupOption
        @OptionGroup var global: GlobalOptions
        func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
            let lookup = try DirectoryLookup(session)
            return try await Owners.list(ADGroupOwnerCommand.path(group.group, lookup), lookup)
        }
    }

    struct Add: ManagementCommand {
        static let configuration = CommandConfiguration(
            commandName: "add", abstract: "Add a group owner.",
            discussion: "Example: outport ad group owner add -g builders --owner-object-id 00000000-0000-0000-0000-000000000000")
        @OptionGroup var group: DirectoryGroupOption
        @OptionGroup var owner: OwnerOption
        @OptionGroup var global: GlobalOptions
        func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
            let lookup = try DirectoryLookup(session)
            try await Owners.add(owner.ownerObjectId, to: ADGroupOwnerCommand.path(group.group, lookup), lookup, session)
            return nil
        }
    }

    struct Remove: ManagementCommand {
        static let configuration = CommandConfiguration(
            commandName: "remove", abstract: "Remove a group owner.",
            discussion: "Example: outport ad group owner remove -g builders --owner-object-id 00000000-0000-0000-0000-000000000000")
        @OptionGroup var group: DirectoryGroupOption
        @OptionGroup var owner: OwnerOption
        @OptionGroup var global: GlobalOptions
        func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
            let lookup = try DirectoryLookup(session)
            try await Owners.remove(owner.ownerObjectId, from: ADGroupOwnerCommand.path(group.group, lookup), lookup)
            return nil
        }
    }
}

/// `outport ad group get-member-groups`
struct ADGroupMemberGroupsCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "get-member-groups", abstract: "Get the groups of which a group is a member, directly or through others.",
        discussion: "Example: outport ad group get-member-groups -g builders")
    @OptionGroup var group: DirectoryGroupOption
    @Flag(help: "Accepted: every group here is a security group.")
    var securityEnabledOnly = false
    @OptionGroup var global: GlobalOptions
    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let lookup = try DirectoryLookup(session)
        return try await lookup.client.post(
            "/v1.0/groups/\(try await lookup.group(group.group))/getMemberGroups", ["securityEnabledOnly": .bool(securityEnabledOnly)])?[
                "value"]
    }
}

/// `outport ad user get-member-groups`
struct UserMemberGroupsCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "get-member-groups", abstract: "Get the groups of which a user is a member, directly or through others.",
        discussion: "Example: outport ad user get-member-groups --id ann@example.test")
    @OptionGroup var user: UserIDOption
    @Flag(help: "Accepted: every group here is a security group.")
    var securityEnabledOnly = false
    @OptionGroup var global: GlobalOptions
    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let lookup = try DirectoryLookup(session)
        let ids =
            try await lookup.client.post(user.path + "/getMemberGroups", ["securityEnabledOnly": .bool(securityEnabledOnly)])?["value"]?
            .arrayValue?.compactMap(\.stringValue) ?? []
        let names = ids.isEmpty ? [] : try await lookup.objects(ids)
        return .array(
            ids.map { id in
                let found = names.first { $0["id"]?.stringValue?.lowercased() == id.lowercased() }
                return ["id": .string(id), "displayName": found?["displayName"] ?? .null]
            })
    }
}

/// `outport ad signed-in-user list-owned-objects`
struct OwnedObjectsCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "list-owned-objects", abstract: "Get the directory objects that are owned by the user who is signed in.",
        discussion: "Example: outport ad signed-in-user list-owned-objects --type application")
    @Option(name: [.customShort("t"), .long], help: "Object type filter, e.g. \"application\", \"servicePrincipal\", \"group\".")
    var type: String?
    @OptionGroup var global: GlobalOptions
    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let owned = try await session.directory().list("/v1.0/me/ownedObjects")
        guard let type = type?.lowercased() else { return .array(owned) }
        return .array(
            owned.filter { object in
                let name = object["@odata.type"]?.stringValue?.lowercased() ?? ""
                return name == type || name.hasSuffix(".\(type)")
            })
    }
}
