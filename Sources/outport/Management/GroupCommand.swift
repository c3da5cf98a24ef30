// Resource groups.

import ArgumentParser
import JSON

/// `outport group …`
struct GroupCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "group", abstract: "Manage resource groups.",
        subcommands: [
            GroupCreateCommand.self, GroupListCommand.self, GroupShowCommand.self, GroupExistsCommand.self, GroupUpdateCommand.self,
            GroupDeleteCommand.self, GroupWaitCommand.self,
        ])
}

/// `-n` for a group, which may also be written `-g`.
struct GroupName: ParsableArguments {
    @Option(name: [.customShort("n"), .customShort("g"), .long, .customLong("resource-group")], help: "Name of resource group.")
    var name: String
}

/// Tags and places, as the command line writes them.
enum ResourceText {
    /// `key[=value] …`; a single empty string removes all.
    static func tags(_ items: [String]) -> JSONValue {
        var tags: [String: JSONValue] = [:]
        for item in items where !item.isEmpty {
            let parts = item.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            tags[String(parts[0])] = .string(parts.count == 2 ? String(parts[1]) : "")
        }
        return .object(tags)
    }

    /// "East US" is `eastus`.
    static func location(_ text: String) -> String {
        text.contains(" ") ? text.lowercased().replacing(" ", with: "") : text
    }
}

struct GroupCreateCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "create", abstract: "Create a new resource group.",
        discussion: "Example: outport group create -n mygroup -l eastus")

    @OptionGroup var group: GroupName

    @Option(name: [.customShort("l"), .long], help: "Location.")
    var location: String

    @Option(help: "The ID of the resource that manages this resource group.")
    var managedBy: String?

    @Option(parsing: .upToNextOption, help: "Space-separated tags: key[=value] [key[=value] ...]. Use \"\" to clear existing tags.")
    var tags: [String] = []

    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        var body: JSONValue = ["location": .string(ResourceText.location(location))]
        if !tags.isEmpty { body["tags"] = ResourceText.tags(tags) }
        if let managedBy { body["managedBy"] = .string(managedBy) }
        return ResourceShape.group(try await session.client.put(try session.groupPath(group.name), body))
    }
}

struct GroupListCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List resource groups.",
        discussion: "Example: outport group list -o table")
    static let table = TableLayout.groups

    @Option(help: "A single tag in 'key[=value]' format. Use \"\" to clear existing tags.")
    var tag: String?

    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let groups = try await session.client.list("\(try session.subscriptionPath())/resourcegroups").map(ResourceShape.group)
        guard let tag, let wanted = ResourceText.tags([tag]).objectValue?.first else { return .array(groups) }
        let hasValue = tag.contains("=")
        return .array(
            groups.filter { group in
                guard let value = group["tags"]?[wanted.key] else { return false }
                return !hasValue || value == wanted.value
            })
    }
}

struct GroupShowCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Gets a resource group.",
        discussion: "Example: outport group show -n mygroup")

    @OptionGroup var group: GroupName
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        ResourceShape.group(try await session.client.get(try session.groupPath(group.name)))
    }
}

struct GroupExistsCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "exists", abstract: "Check if a resource group exists.",
        discussion: "Example: outport group exists -n mygroup")

    @OptionGroup var group: GroupName
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        .bool(try await session.client.exists(try session.groupPath(group.name)))
    }
}

struct GroupDeleteCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "delete", abstract: "Delete a resource group.",
        discussion: "Example: outport group delete -n mygroup --yes")

    @OptionGroup var group: GroupName
    @OptionGroup var consent: YesOption

    @Flag(help: "Do not wait for the long-running operation to finish.")
    var noWait = false

    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        try session.confirm("Are you sure you want to perform this operation?", consent)
        try await session.client.delete(try session.groupPath(group.name), wait: !noWait)
        return nil
    }
}

struct GroupUpdateCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "update", abstract: "Update a resource group.", discussion: "Example: outport group update -n mygroup --tags team=edge"
    )

    @OptionGroup var group: GroupName

    @Option(parsing: .upToNextOption, help: "Space-separated tags: key[=value] [key[=value] ...]. Use \"\" to clear existing tags.")
    var tags: [String] = []

    @OptionGroup var changes: GenericUpdate
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let path = try session.groupPath(group.name)
        let current = try await session.client.get(path)
        // Groups are replaced whole, as `az` does it.
        var body: JSONValue = ["location": current["location"] ?? .null, "tags": current["tags"] ?? [:]]
        if let managedBy = current["managedBy"], !managedBy.isNull { body["managedBy"] = managedBy }
        if !tags.isEmpty { body["tags"] = ResourceText.tags(tags) }
        try changes.apply(to: &body, of: current, isFlat: true)
        return ResourceShape.group(try await session.client.put(path, body))
    }
}
