// `outport resource …`: resources of any type, by id or by name.

import ArgumentParser
import JSON

/// `outport resource …`
struct ResourceCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "resource", abstract: "Manage resources of any type.",
        subcommands: [
            List.self, Show.self, Create.self, Update.self, Patch.self, Delete.self, Tag.self, InvokeAction.self, Wait.self,
        ])

    /// `--ids`, or everything an id is made of.
    struct Place: ParsableArguments {
        @Option(name: [.customShort("n"), .long], help: "The resource name.")
        var name: String?

        @Option(help: "The resource type, such as Microsoft.ContainerRegistry/registries, or with --namespace registries.")
        var resourceType: String?

        @Option(help: "Provider namespace.")
        var namespace: String?

        @Option(help: "The parent path, such as registries/myregistry.")
        var parent: String?

        @OptionGroup var group: GroupOption

        @Option(help: "The api version. Any is understood.")
        var apiVersion: String?

        @Flag(name: [.customShort("v"), .long], help: "Accepted; any version is understood.")
        var latestIncludePreview = false

        func path(_ session: ManagementSession) throws(ManagementError) -> String {
            guard let name, var type = resourceType else {
                throw .usage("Give --ids, or --name with --resource-type and --resource-group.")
            }
            if let namespace { type = "\(namespace)/\(type)" }
            let words = type.split(separator: "/")
            guard words.count >= 2 else { throw .usage("'\(type)' names no namespace: write Microsoft.ContainerRegistry/registries.") }
            var path = try session.subscriptionPath()
            if let group = group.resourceGroup { path += "/resourceGroups/\(URLText.segment(group))" }
            path += "/providers/\(URLText.segment(words[0]))"
            for part in (parent ?? "").split(separator: "/") { path += "/\(URLText.segment(part))" }
            // A longer type lists its parents' types, of which --parent gives the names.
            path += "/\(URLText.segment(words[words.count - 1]))/\(URLText.segment(name))"
            return path
        }
    }

    /// The same with `--ids`.
    struct Target: ParsableArguments {
        @Option(parsing: .upToNextOption, help: "One or more resource ids.")
        var ids: [String] = []

        @OptionGroup var place: Place

        func paths(_ session: ManagementSession) throws(ManagementError) -> [String] {
            if ids.isEmpty { return [try place.path(session)] }
            for id in ids where !id.hasPrefix("/") { throw .usage("'\(id)' is no resource id.") }
            return ids
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

    private static let sku: JSONValue = ["capacity": nil, "family": nil, "model": nil, "name": nil, "size": nil, "tier": nil]

    private static let identity: JSONValue = ["principalId": nil, "tenantId": nil, "type": nil, "userAssignedIdentities": nil]

    private static let one = ResourceShape(skeleton: [
        "id": nil, "name": nil, "type": nil, "location": nil, "tags": nil, "extendedLocation": nil, "identity": identity, "kind": nil,
        "managedBy": nil, "plan": nil, "properties": nil, "sku": sku,
    ])

    private static let listed = ResourceShape(skeleton: [
        "id": nil, "name": nil, "type": nil, "location": nil, "tags": nil, "extendedLocation": nil, "identity": identity, "kind": nil,
        "managedBy": nil, "plan": nil, "properties": nil, "sku": sku, "changedTime": nil, "createdTime": nil, "provisioningState": nil,
    ])

    static func shape(_ value: JSONValue) -> JSONValue { self.one.whole(value) }

    static func entry(_ value: JSONValue) -> JSONValue { self.listed.whole(value) }

    struct List: ManagementCommand {
        static let configuration = CommandConfiguration(
            commandName: "list", abstract: "List resources.",
            discussion: "Example: outport resource list --resource-type Microsoft.ContainerRegistry/registries --query [].name -o tsv")

        @OptionGroup var group: GroupOption
        @Option(help: "Provider namespace.") var namespace: String?
        @Option(help: "The resource type.") var resourceType: String?
        @Option(name: [.customShort("n"), .long], help: "The resource name.") var name: String?
        @Option(help: "A single tag in 'key[=value]' format.") var tag: String?
        @Option(name: [.customShort("l"), .long], help: "Location.") var location: String?
        @OptionGroup var global: GlobalOptions

        func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
            func quoted(_ text: String) -> String { "'\(text.replacing("'", with: "''"))'" }
            var clauses: [String] = []
            if let group = group.resourceGroup { clauses.append("resourceGroup eq \(quoted(group))") }
            if let resourceType {
                clauses.append("resourceType eq \(quoted(namespace.map { "\($0)/\(resourceType)" } ?? resourceType))")
            }
            if let name { clauses.append("name eq \(quoted(name))") }
            if let location { clauses.append("location eq \(quoted(ResourceText.location(location)))") }
            if let tag {
                let parts = tag.split(separator: "=", maxSplits: 1).map(String.init)
                clauses.append("tagName eq \(quoted(parts.first ?? ""))")
                if parts.count == 2 { clauses.append("tagValue eq \(quoted(parts[1]))") }
            }
            let query = clauses.isEmpty ? [] : [("$filter", clauses.joined(separator: " and "))]
            return .array(
                try await session.client.list("\(try session.subscriptionPath())/resources", query: query).map(ResourceCommand.entry))
        }
    }

    struct Show: ManagementCommand {
        static let configuration = CommandConfiguration(
            commandName: "show", abstract: "Get the details of a resource.",
            discussion: "Example: outport resource show -g mygroup -n myregistry --resource-type Microsoft.ContainerRegistry/registries")

        @OptionGroup var target: Target
        @Option(defaultAsFlag: ThreeState.yes, parsing: .next, help: "Accepted; the body is what is shown.")
        var includeResponseBody: ThreeState?
        @OptionGroup var global: GlobalOptions

        func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
            try await target.each(session) { (path) async throws(ManagementError) in
                ResourceCommand.shape(try await session.client.get(path))
            }
        }
    }

    struct Create: ManagementCommand {
        static let configuration = CommandConfiguration(
            commandName: "create", abstract: "Create a resource.",
            discussion: """
                Example: outport resource create -g mygroup -n plant --resource-type Microsoft.Kubernetes/connectedClusters \\
                -p '{"agentPublicKeyCertificate":""}'
                """)

        @Option(help: "Resource ID.")
        var id: String?
        @OptionGroup var place: Place
        @Option(name: [.customShort("l"), .long], help: "Location. The group's by default.")
        var location: String?
        @Option(name: [.customShort("p"), .long], help: "A JSON-formatted string containing resource properties, or @FILE.")
        var properties: String
        @Flag(help: "The properties are the whole resource, with location, tags, sku and the like.")
        var isFullObject = false
        @OptionGroup var global: GlobalOptions

        func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
            let given = try JSONText.document(properties, option: "--properties")
            var body = isFullObject ? given : ["properties": given]
            if body["location"] == nil {
                if let location {
                    body["location"] = .string(ResourceText.location(location))
                } else if let group = place.group.resourceGroup {
                    body["location"] = try await session.client.get(try session.groupPath(group))["location"] ?? .null
                }
            }
            let path = if let id { id } else { try place.path(session) }
            return ResourceCommand.shape(try await session.client.put(path, body))
        }
    }

    struct Delete: ManagementCommand {
        static let configuration = CommandConfiguration(
            commandName: "delete", abstract: "Delete a resource.", discussion: "Example: outport resource delete --ids /subscriptions/…")

        @OptionGroup var target: Target
        @Flag(help: "Do not wait for the long-running operation to finish.") var noWait = false
        @OptionGroup var global: GlobalOptions

        func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
            for path in try target.paths(session) { try await session.client.delete(path, wait: !noWait) }
            return nil
        }
    }

    struct Tag: ManagementCommand {
        static let configuration = CommandConfiguration(
            commandName: "tag", abstract: "Tag a resource.",
            discussion: "Example: outport resource tag --tags team=edge --ids /subscriptions/…")

        @Option(parsing: .upToNextOption, help: "Space-separated tags: key[=value] [key[=value] ...]. Use \"\" to clear existing tags.")
        var tags: [String]
        @Flag(name: [.customShort("i"), .long], help: "Add to the tags there are.") var isIncremental = false
        @OptionGroup var target: Target
        @OptionGroup var global: GlobalOptions

        func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
            try await target.each(session) { (path) async throws(ManagementError) in
                var body = ResourceText.tags(tags)
                if isIncremental {
                    for (name, value) in try await session.client.get(path)["tags"]?.objectValue ?? [:] where body[name] == nil {
                        body[name] = value
                    }
                }
                return ResourceCommand.shape(try await session.client.patch(path, ["tags": body]))
            }
        }
    }

    struct InvokeAction: ManagementCommand {
        static let configuration = CommandConfiguration(
            commandName: "invoke-action", abstract: "Invoke an action on a resource.",
            discussion: "Example: outport resource invoke-action --action listCredentials --ids /subscriptions/…")

        @Option(help: "The action that will be invoked.") var action: String
        @Option(help: "JSON-encoded parameters of the action.") var requestBody: String?
        @Flag(help: "Accepted; this waits.") var noWait = false
        @OptionGroup var target: Target
        @OptionGroup var global: GlobalOptions

        func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
            let body = try requestBody.map { (text) throws(ManagementError) in try JSONText.document(text, option: "--request-body") }
            return try await target.each(session) { (path) async throws(ManagementError) in
                try await session.client.post("\(path)/\(URLText.segment(action))", body)
            }
        }
    }
}

/// JSON that stands in an option, or in the file it names.
enum JSONText {
    static func document(_ text: String, option: String) throws(ManagementError) -> JSONValue {
        var content = text
        if text.hasPrefix("@") {
            guard let read = TextFile.read(String(text.dropFirst())) else {
                throw ManagementError("The file '\(text.dropFirst())' cannot be read.", advice: "Check \(option).")
            }
            content = read
        }
        do {
            return try JSONValue(parsing: content)
        } catch {
            throw .usage("argument \(option): the value is not JSON: \(error)")
        }
    }
}
