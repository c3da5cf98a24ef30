// Connected registries of a test server.

package import Gateway
package import GatewayProtocol
internal import Identity
internal import Schedule

extension DataPlane {
    /// Creates a connected registry with its sync token `<name>-sync`, or changes it.
    ///
    /// - Returns: the sync token's password.
    @discardableResult
    package func connectedRegistry(
        _ name: String, repositories: [String] = ["*"], mode: ConnectedRegistryMode = .readOnly, parent: String? = nil,
        clientTokens: [String] = [],
        schedule: String = "* * * * *", window: String? = nil, gatewayActions: [String]? = nil
    ) async throws -> String {
        try await self.select(repositories, for: name, mode: mode, gatewayActions: gatewayActions)
        try await self.site.identities.putToken("\(name)-sync", scopeMap: "map-\(name)", isEnabled: true, in: self.site.registry)
        try await self.configure(name, mode: mode, parent: parent, clientTokens: clientTokens, schedule: schedule, window: window)
        let passwords = try await self.site.identities.generatePasswords(
            [.password1], expiry: nil, token: "\(name)-sync", in: self.site.registry)
        return passwords.values[.password1] ?? ""
    }

    package func select(
        _ repositories: [String], for name: String, mode: ConnectedRegistryMode = .readOnly, gatewayActions: [String]? = nil
    ) async throws {
        let gateway = gatewayActions ?? ["config/read", "config/write", "message/read", "message/write"]
        let permissions =
            mode == .readOnly ? ["content/read"] : ["content/read", "content/write", "content/delete", "metadata/read", "metadata/write"]
        let actions =
            repositories.flatMap { name in permissions.map { "repositories/\(name)/\($0)" } } + gateway.map { "gateway/\(name)/\($0)" }
        try await self.site.identities.put(
            ScopeMap(name: "map-\(name)", text: nil, actions: try actions.map { try ScopeMapAction($0) }, created: 0),
            in: self.site.registry)
    }

    package func configure(
        _ name: String, syncToken: String? = nil, mode: ConnectedRegistryMode = .readOnly, parent: String? = nil,
        clientTokens: [String] = [],
        schedule: String = "* * * * *", window: String? = nil, budget: ByteBudget? = nil, priorities: [String]? = nil,
        notifications: [String] = [], auditLogs: Bool = false, onDemand: Bool? = nil, serveAfterRemoval: String? = nil
    ) async throws {
        try await self.connectedRegistries.put(
            name, syncToken: syncToken ?? "\(name)-sync",
            configuration: ConnectedRegistryConfiguration(
                mode: mode, parent: parent, schedule: CronSchedule(parsing: schedule),
                syncWindow: window.map { try ISODuration(parsing: $0) },
                clientTokens: clientTokens, notifications: notifications, auditLogsEnabled: auditLogs,
                garbageCollectionSchedule: CronSchedule(parsing: "0 0 * * *"), budget: budget,
                priorities: priorities, onDemand: onDemand, serveAfterRemoval: serveAfterRemoval.map { try ISODuration(parsing: $0) }),
            in: self.site.registry)
    }

    /// A heartbeat with nothing to say.
    package static func heartbeat(
        _ nonce: String, phase: StatusReport.Phase = .idle, details: [StatusDetail] = []
    ) -> StatusReport {
        StatusReport(
            nonce: nonce, phase: phase, version: "test", cursor: nil, result: nil, details: details, bytesReceived: 0, diskFree: nil,
            diskTotal: nil)
    }
}
