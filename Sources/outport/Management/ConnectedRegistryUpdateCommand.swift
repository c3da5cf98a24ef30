// Changes a connected registry's settings and client tokens.

import ArgumentParser
import JSON

struct ConnectedRegistryUpdateCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "update", abstract: "Update a connected registry.",
        discussion: "Example: outport acr connected-registry update -n factory -r myregistry --sync-schedule '0 3 * * *' --sync-window PT4H"
    )
    static let table = TableLayout.connectedRegistry

    @OptionGroup var connectedRegistry: ConnectedRegistryName

    @Option(parsing: .upToNextOption, help: "Client tokens to be added.")
    var addClientTokens: [String] = []

    @Option(parsing: .upToNextOption, help: "Client tokens to be removed.")
    var removeClientTokens: [String] = []

    @Option(name: [.customShort("s"), .long], help: "When to synchronise, as a cron expression in UTC.")
    var syncSchedule: String?

    @Option(name: [.customShort("w"), .long], help: "How long each synchronisation may last, as an ISO 8601 duration.")
    var syncWindow: String?

    @Option(help: "How long changes are kept for it, as an ISO 8601 duration.")
    var syncMessageTtl: String?

    @Option(help: "Log level of the instance: Debug, Information, Warning, Error or None.")
    var logLevel: String?

    @Option(defaultAsFlag: ThreeState.yes, parsing: .next, help: .hidden)
    var auditLogsEnabled: ThreeState?

    @Option(parsing: .upToNextOption, help: "Artifact patterns to be added to the notifications list.")
    var addNotifications: [String] = []

    @Option(parsing: .upToNextOption, help: "Artifact patterns to be removed from the notifications list.")
    var removeNotifications: [String] = []

    @Option(defaultAsFlag: ThreeState.yes, parsing: .next, help: "Indicate whether garbage collection is enabled.")
    var gcEnabled: ThreeState?

    @Option(help: "When garbage is collected, as a cron expression in UTC.")
    var gcSchedule: String?

    @Option(help: "How it signs in at its parent. One that is Offline may change from SyncToken to ManagedIdentity.")
    var authType: SyncAuthentication?

    @Option(help: "Resource id of the user-assigned identity, with --auth-type ManagedIdentity.")
    var identity: String?

    @OptionGroup var traffic: TrafficOptions
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        try Self.refuseDuplicates(addClientTokens, removeClientTokens, "client token ids", "client-tokens")
        try Self.refuseDuplicates(addNotifications, removeNotifications, "notifications list", "notifications")
        let (registry, registryBody) = try await connectedRegistry.managedRegistry(session)
        let path = "\(registry)/connectedRegistries/\(URLText.segment(connectedRegistry.name))"
        let current = try await session.client.get(path)

        try checkIdentity(of: current)
        var properties: JSONValue = ["syncProperties": [:], "logging": [:], "garbageCollection": [:]]
        func set(_ value: JSONValue?, _ group: String, _ key: String) {
            if let value { properties[path: group, key] = value }
        }
        set(syncSchedule.map { .string($0) }, "syncProperties", "schedule")
        set(syncMessageTtl.map { .string($0) }, "syncProperties", "messageTtl")
        set(syncWindow.map { .string($0) }, "syncProperties", "syncWindow")
        set(logLevel.map { .string($0) }, "logging", "logLevel")
        set(auditLogsEnabled.map { $0.value ? "Enabled" : "Disabled" }, "logging", "auditLogStatus")
        set(gcEnabled.map { .bool($0.value) }, "garbageCollection", "enabled")
        set(gcSchedule.map { .string($0) }, "garbageCollection", "schedule")

        func tokenIDs(_ names: [String]) -> [String] {
            names.map { ManagementSession.childID(registryBody, registry, "tokens", $0) }
        }
        let tokens = Self.list(current, "clientTokenIds")
        if let list = Self.changed(tokens, adding: tokenIDs(addClientTokens), removing: tokenIDs(removeClientTokens), ignoringCase: true) {
            properties["clientTokenIds"] = .strings(list)
        }
        let patterns = Self.list(current, "notificationsList")
        if let list = Self.changed(patterns, adding: addNotifications, removing: removeNotifications, ignoringCase: false) {
            properties["notificationsList"] = .strings(list)
        }
        traffic.add(to: &properties)
        var body: JSONValue = ["properties": properties]
        if let identity {
            body[path: "properties", "syncProperties", "authType"] = .string(SyncAuthentication.identity.rawValue)
            body["identity"] = SyncAuthentication.identity(identity)
        }
        return ResourceShape.connectedRegistry.shape(try await session.client.patch(path, body))
    }

    /// There is one way to change: from a sync token to an identity, while it is away.
    private func checkIdentity(of current: JSONValue) throws(ManagementError) {
        guard authType != nil || identity != nil else { return }
        guard let authType else {
            throw ManagementError("argument error: --auth-type is required when --identity is provided during update.")
        }
        guard authType == .identity else {
            throw ManagementError("argument error: only migration to --auth-type ManagedIdentity is supported.")
        }
        try authType.check(identity)
        guard !ConnectedRegistries.hasIdentity(current) else {
            throw ManagementError(
                "Connected registry is already using 'ManagedIdentity' authentication. Same-mode credential rotation is not supported.")
        }
        let state = ConnectedRegistries.property(current, "connectionState")?.stringValue ?? ""
        guard state == "Offline" else {
            throw ManagementError(
                "Connected registry must be in 'Offline' state to migrate authentication mode. Current state is '\(state)'.",
                advice: "Deactivate it first with 'outport acr connected-registry deactivate' and wait until it is Offline.")
        }
    }

    private static func list(_ item: JSONValue, _ key: String) -> [String] {
        ConnectedRegistries.property(item, key)?.arrayValue?.compactMap(\.stringValue) ?? []
    }

    private static func refuseDuplicates(
        _ added: [String], _ removed: [String], _ what: String, _ option: String
    ) throws(ManagementError) {
        let both = Set(added).intersection(removed).sorted()
        guard !both.isEmpty else { return }
        throw ManagementError(
            "Update ambiguity. Duplicate \(what) were provided with --add-\(option) and --remove-\(option) arguments: \(both.joined(separator: ", "))"
        )
    }

    /// The new list, nil when nothing changes. Ids of resources are the same in any case.
    private static func changed(_ current: [String], adding: [String], removing: [String], ignoringCase: Bool) -> [String]? {
        func key(_ text: String) -> String { ignoringCase ? text.lowercased() : text }
        let removed = Set(removing.map(key))
        var seen: Set<String> = []
        let result = (current + adding).filter { !removed.contains(key($0)) && seen.insert(key($0)).inserted }
        return Set(result.map(key)) == Set(current.map(key)) ? nil : result
    }
}
