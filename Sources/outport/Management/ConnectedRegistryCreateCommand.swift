// Makes a connected registry, with the token and scope map through which it will synchronise.

import ArgumentParser
import JSON

struct ConnectedRegistryCreateCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "create", abstract: "Create a connected registry.",
        discussion: """
            The data endpoint of the registry is turned on if it is off. The sync token and its scope map, both named after the
            connected registry, are made or overwritten unless --sync-token names others. The scope maps of all ancestors learn
            of the new repositories.

            Example: outport acr connected-registry create -n factory -r myregistry --repository app team/tools
            """)
    static let table = TableLayout.connectedRegistry

    @OptionGroup var connectedRegistry: ConnectedRegistryName

    @Option(parsing: .upToNextOption, help: "Repositories to synchronise: --repository [REPO01] [REPO02] …")
    var repository: [String] = []

    @Option(help: "The sync token, made beforehand with the actions its mode needs.")
    var syncToken: String?

    @Option(name: [.customShort("p"), .long], help: "The name of the parent connected registry.")
    var parent: String?

    @Option(name: [.customShort("m"), .long], help: "Determine the access it will have when synchronized.")
    var mode: ConnectedRegistryMode = .readOnly

    @Option(parsing: .upToNextOption, help: "Tokens that clients of the connected registry may use.")
    var clientTokens: [String] = []

    @Option(name: [.customShort("s"), .long], help: "When to synchronise, as a cron expression in UTC. Continuously by default.")
    var syncSchedule = "* * * * *"

    @Option(
        name: [.customShort("w"), .long], help: "How long each synchronisation may last, as an ISO 8601 duration. Required with a schedule."
    )
    var syncWindow: String?

    @Option(help: "How long changes are kept for it, as an ISO 8601 duration.")
    var syncMessageTtl = "P2D"

    @Option(help: "Log level of the instance: Debug, Information, Warning, Error or None.")
    var logLevel = "Information"

    @Option(defaultAsFlag: ThreeState.yes, parsing: .next, help: .hidden)
    var auditLogsEnabled: ThreeState?

    @Option(parsing: .upToNextOption, help: "Artifact patterns for which notifications are generated.")
    var notifications: [String] = []

    @Option(defaultAsFlag: ThreeState.yes, parsing: .next, help: "Indicate whether garbage collection is enabled. It is by default.")
    var gcEnabled: ThreeState?

    @Option(help: "When garbage is collected, as a cron expression in UTC.")
    var gcSchedule = "0 0 * * *"

    @Option(help: "How it signs in at its parent.")
    var authType: SyncAuthentication = .token

    @Option(help: "Resource id of the user-assigned identity, with --auth-type ManagedIdentity.")
    var identity: String?

    @OptionGroup var traffic: TrafficOptions
    @OptionGroup var consent: YesOption
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        try authType.check(identity)
        if authType == .identity {
            guard syncToken == nil, repository.isEmpty else {
                throw ManagementError("argument error: --sync-token and --repository are not applicable when --auth-type ManagedIdentity.")
            }
            guard parent == nil else {
                throw ManagementError("argument error: --parent is not applicable when --auth-type ManagedIdentity.")
            }
        } else if (syncToken == nil) == repository.isEmpty {
            throw ManagementError("argument error: either --sync-token or --repository must be provided, but not both.")
        }
        let name = connectedRegistry.name
        guard name.count >= 5 else {
            throw ManagementError("argument error: Connected registry name must be at least 5 characters long.")
        }
        let (registry, registryBody) = try await session.registry(connectedRegistry.registry)
        try await enableDataEndpoint(registry, registryBody, session)
        let parentID = try await prepareAncestors(registry, session)
        let tokenID: String?
        if authType == .identity {
            tokenID = nil
        } else if let syncToken {
            tokenID = ManagementSession.childID(registryBody, registry, "tokens", syncToken)
        } else {
            tokenID = try await makeSyncToken(registry, session)
        }
        let created = try await session.client.put(
            "\(registry)/connectedRegistries/\(URLText.segment(name))", body(registry, registryBody, tokenID, parentID))
        return ResourceShape.connectedRegistry.shape(created)
    }

    private func body(_ registry: String, _ registryBody: JSONValue, _ tokenID: String?, _ parentID: String?) -> JSONValue {
        var properties: JSONValue = [
            "mode": .string(mode.rawValue.lowercased()),
            "parent": [
                "syncProperties": [
                    "schedule": .string(syncSchedule), "messageTtl": .string(syncMessageTtl), "authType": .string(authType.rawValue),
                ]
            ],
            "logging": [
                "logLevel": .string(logLevel), "auditLogStatus": auditLogsEnabled?.value == true ? "Enabled" : "Disabled",
            ],
            "garbageCollection": ["enabled": .bool(gcEnabled?.value ?? true), "schedule": .string(gcSchedule)],
        ]
        if let tokenID { properties[path: "parent", "syncProperties", "tokenId"] = .string(tokenID) }
        if let parentID { properties[path: "parent", "id"] = .string(parentID) }
        if let syncWindow { properties[path: "parent", "syncProperties", "syncWindow"] = .string(syncWindow) }
        if !clientTokens.isEmpty {
            properties["clientTokenIds"] = .strings(
                clientTokens.map { ManagementSession.childID(registryBody, registry, "tokens", $0) })
        }
        if !notifications.isEmpty { properties["notificationsList"] = .strings(Set(notifications).sorted()) }
        traffic.add(to: &properties)
        var body: JSONValue = ["properties": properties]
        if let identity { body["identity"] = SyncAuthentication.identity(identity) }
        return body
    }

    /// A connected registry speaks to the data endpoint only, so that must be on.
    private func enableDataEndpoint(
        _ registry: String, _ body: JSONValue, _ session: ManagementSession
    ) async throws(ManagementError) {
        if body[path: "properties", "dataEndpointEnabled"]?.boolValue == true { return }
        try session.confirm(
            "Dedicated data endpoints must be enabled to use connected-registry. Enabling might impact your firewall rules."
                + " Are you sure you want to enable it for '\(connectedRegistry.registry.registry)' registry?",
            consent)
        // `az` sends the whole registry back; what changes is enough.
        _ = try await session.client.patch(registry, ["properties": ["dataEndpointEnabled": true]])
    }

    /// Checks the parent and lets its scope map and those above it know of the new gateway and repositories, before anything
    /// of the new connected registry is written.
    ///
    /// - Returns: the parent's id.
    private func prepareAncestors(_ registry: String, _ session: ManagementSession) async throws(ManagementError) -> String? {
        guard let parent else { return nil }
        let name = connectedRegistry.name
        let collection = "\(registry)/connectedRegistries"
        guard let found = try await session.client.find("\(collection)/\(URLText.segment(parent))") else {
            throw ManagementError("The parent connected registry '\(parent)' could not be found.")
        }
        let tree = ConnectedRegistryTree(try await session.client.list(collection))
        guard !ConnectedRegistries.hasIdentity(found) else {
            throw ManagementError(
                "A connected registry using ManagedIdentity authentication cannot have children.",
                advice: "Choose a SyncToken parent with --parent or omit --parent.")
        }
        let parentMode = ConnectedRegistries.mode(found)
        guard parentMode == .readWrite || parentMode == mode else {
            throw ManagementError(
                "Can't create the registry '\(name)' with mode '\(mode.rawValue.lowercased())' when the connected registry parent"
                    + " '\(parent)' mode is '\(ConnectedRegistries.property(found, "mode")?.stringValue ?? "")'.")
        }
        let added = ScopeMapActions.actions(on: repository, mode) + ScopeMapActions.gatewayActions(name)
        let repositories =
            repository.isEmpty ? "" : " and repo(s) '\(repository.joined(separator: ", "))' \(mode.rawValue.lowercased()) permissions"
        for ancestor in [found] + tree.ancestors(of: found) {
            try await ConnectedRegistries.changeActions(
                of: ancestor, adding: added, removing: [],
                "Adding '\(name)' gateway permissions\(repositories) to connected registry '\(ConnectedRegistries.name(ancestor))'"
                    + " sync scope map.",
                session)
        }
        return found["id"]?.stringValue
    }

    /// Makes the sync token and its scope map, both with the connected registry's name.
    private func makeSyncToken(_ registry: String, _ session: ManagementSession) async throws(ManagementError) -> String {
        let name = connectedRegistry.name
        let actions = ScopeMapActions.actions(on: repository, mode) + ScopeMapActions.gatewayActions(name)
        session.warn("If sync scope map '\(name)' already exists, its actions will be overwritten")
        let scopeMapID = try await DefaultScopeMap.ensure(
            session, registry, name: name, actions, description: "Created by connected registry sync token: \(name)", replaces: true)
        session.warn("If sync token '\(name)' already exists, it properties will be overwritten")
        let path = "\(registry)/tokens/\(URLText.segment(name))"
        let token = try await session.client.put(path, ["properties": ["scopeMapId": .string(scopeMapID), "status": "enabled"]])
        return token["id"]?.stringValue ?? path
    }
}
