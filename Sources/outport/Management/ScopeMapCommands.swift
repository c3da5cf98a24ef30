// Scope maps: which repositories a token may use, and how.

import ArgumentParser
import JSON

/// `-r` and `-n` of a scope map.
struct ScopeMapName: ParsableArguments {
    @Option(name: [.customShort("n"), .long], help: "The name of the scope map.")
    var name: String

    @OptionGroup var registry: RegistryOption

    func path(_ session: ManagementSession) async throws(ManagementError) -> String {
        "\(try await session.registryPath(registry))/scopeMaps/\(URLText.segment(name))"
    }
}

struct ScopeMapCreateCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "create", abstract: "Create a scope map for a container registry.",
        discussion: "Example: outport acr scope-map create -n builders -r myregistry --repository app content/read content/write")
    static let table = TableLayout.scopeMaps

    @OptionGroup var scopeMap: ScopeMapName

    @Option(parsing: .upToNextOption, help: "Repository permissions: --repository REPO [ACTION1 ACTION2 ...], once for each repository.")
    var repository: [String] = []

    @Option(parsing: .upToNextOption, help: "Gateway permissions: --gateway GATEWAY [ACTION1 ACTION2 ...], once for each gateway.")
    var gateway: [String] = []

    @Option(help: "Description for the scope map. Maximum 256 characters are allowed.")
    var description: String?

    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let actions = try ScopeMapActions.parse(repositories: repository, gateways: gateway)
        var body: JSONValue = ["properties": ["actions": .strings(actions)]]
        if let description { body[path: "properties", "description"] = .string(description) }
        return ResourceShape.scopeMap.shape(try await session.client.put(try await scopeMap.path(session), body))
    }
}

struct ScopeMapListCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List all scope maps for a container registry.",
        discussion: "Example: outport acr scope-map list -r myregistry -o table")
    static let table = TableLayout.scopeMaps

    @OptionGroup var registry: RegistryOption
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        ResourceShape.scopeMap.shape(try await session.client.list(try await session.registryPath(registry) + "/scopeMaps"))
    }
}

struct ScopeMapShowCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Show details and attributes of a scope map for a container registry.",
        discussion: "Example: outport acr scope-map show -n builders -r myregistry")
    static let table = TableLayout.scopeMaps

    @OptionGroup var scopeMap: ScopeMapName
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        ResourceShape.scopeMap.shape(try await session.client.get(try await scopeMap.path(session)))
    }
}

struct ScopeMapUpdateCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "update", abstract: "Update a scope map for a container registry.",
        discussion: "Example: outport acr scope-map update -n builders -r myregistry --add-repository tools content/read")
    static let table = TableLayout.scopeMaps

    @OptionGroup var scopeMap: ScopeMapName

    @Option(
        name: [.long, .customLong("add")], parsing: .upToNextOption,
        help: "Repository permissions to be added: --add-repository REPO [ACTION1 ACTION2 ...].")
    var addRepository: [String] = []

    @Option(
        name: [.long, .customLong("remove")], parsing: .upToNextOption,
        help: "Repository permissions to be removed: --remove-repository REPO [ACTION1 ACTION2 ...].")
    var removeRepository: [String] = []

    @Option(parsing: .upToNextOption, help: "Gateway permissions to be added: --add-gateway GATEWAY [ACTION1 ACTION2 ...].")
    var addGateway: [String] = []

    @Option(parsing: .upToNextOption, help: "Gateway permissions to be removed: --remove-gateway GATEWAY [ACTION1 ACTION2 ...].")
    var removeGateway: [String] = []

    @Option(help: "Description for the scope map. Maximum 256 characters are allowed.")
    var description: String?

    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        if [addRepository, removeRepository, addGateway, removeGateway].allSatisfy(\.isEmpty), description == nil {
            throw ManagementError("No scope map properties to update.")
        }
        let added = try ScopeMapActions.parse(repositories: addRepository, gateways: addGateway)
        let removed = try ScopeMapActions.parse(repositories: removeRepository, gateways: removeGateway)
        let both = Set(added).intersection(removed)
        if !both.isEmpty {
            let list = both.sorted().map { $0.split(separator: "/").dropFirst().joined(separator: "/") }.joined(separator: ", ")
            throw ManagementError("Update ambiguity. Duplicate actions were provided with --add and --remove arguments: \(list)")
        }
        let path = try await scopeMap.path(session)
        let current = ScopeMapActions.list(try await session.client.get(path))
        let actions = ScopeMapActions.changed(current, adding: added, removing: removed) ?? current
        var body: JSONValue = ["properties": ["actions": .strings(actions)]]
        if let description { body[path: "properties", "description"] = .string(description) }
        return ResourceShape.scopeMap.shape(try await session.client.patch(path, body))
    }
}

struct ScopeMapDeleteCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "delete", abstract: "Delete a scope map for a container registry.",
        discussion: "Example: outport acr scope-map delete -n builders -r myregistry --yes")

    @OptionGroup var scopeMap: ScopeMapName
    @OptionGroup var consent: YesOption
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        try session.confirm(
            "Deleting the scope map '\(scopeMap.name)' will remove its permissions with associated tokens. Proceed?", consent)
        try await session.client.delete(try await scopeMap.path(session))
        return nil
    }
}
