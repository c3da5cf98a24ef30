// Identities by name or by id, and changes of theirs.

import ArgumentParser
import JSON

/// `-n` and `-g` of an identity, or `--ids` of several.
struct IdentityTarget: ParsableArguments {
    @Option(name: [.customShort("n"), .long, .customLong("resource-name")], help: "The name of the identity.")
    var name: String?

    @Option(name: [.customShort("g"), .long], help: "Name of resource group.")
    var resourceGroup: String?

    @Option(parsing: .upToNextOption, help: "One or more resource ids, in place of name and group.")
    var ids: [String] = []

    private func paths(_ session: ManagementSession) throws(ManagementError) -> [String] {
        guard ids.isEmpty else {
            for id in ids where !id.hasPrefix("/") { throw .usage("'\(id)' is no resource id.") }
            return ids
        }
        guard let name, let resourceGroup else { throw .usage("Give --ids, or --name with --resource-group.") }
        return ["\(try session.groupPath(resourceGroup))/providers/\(GroupedResources.identity)/\(URLText.segment(name))"]
    }

    /// The result of each, or of the only one.
    func each(
        _ session: ManagementSession, _ work: (String) async throws(ManagementError) -> JSONValue?
    ) async throws(ManagementError) -> JSONValue? {
        var results: [JSONValue] = []
        for path in try paths(session) {
            if let result = try await work(path) { results.append(result) }
        }
        return results.count > 1 ? .array(results) : results.first
    }
}

extension IdentityCommand {
    /// `outport identity update`
    struct Update: ManagementCommand {
        static let configuration = CommandConfiguration(
            commandName: "update", abstract: "Update an identity's tags.",
            discussion: "Example: outport identity update -n myidentity -g mygroup --tags site=north")
        @OptionGroup var target: IdentityTarget
        @Option(parsing: .upToNextOption, help: "Space-separated tags: key[=value] [key[=value] ...]. Use \"\" to clear existing tags.")
        var tags: [String] = []
        @OptionGroup var changes: GenericUpdate
        @OptionGroup var global: GlobalOptions

        func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
            try await target.each(session) { (path) async throws(ManagementError) in
                var body: JSONValue = [:]
                if !tags.isEmpty { body["tags"] = ResourceText.tags(tags) }
                if !changes.isEmpty { try changes.apply(to: &body, of: try await session.client.get(path)) }
                return GroupedResources.identityShape.shape(try await session.client.patch(path, body))
            }
        }
    }
}
