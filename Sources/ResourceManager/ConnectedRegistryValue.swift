// A connected registry as the control plane shows it: what was set, and what its instance reports.

internal import Gateway
internal import GatewayProtocol
internal import HTTPServing
internal import JSON
internal import Persistence
internal import Schedule

extension ResourceOperations {
    /// - Parameter all: the connected registries of the registry, for canonical names of parents.
    func value(_ connected: ConnectedRegistry, among all: [ConnectedRegistry], in registry: RegistryInCall) -> JSONValue {
        let configuration = connected.configuration
        let status = connected.report?.status
        let id = registry.id.child(.connectedRegistries, connected.name)
        let parent = configuration.parent.map { name in all.first { $0.name.lowercased() == name.lowercased() } }
        func time(_ milliseconds: Int64?) -> JSONValue { .string(orNull: milliseconds.map { Timestamp.text(milliseconds: $0) }) }
        func tokenID(_ name: String) -> JSONValue { .string(registry.id.child(.tokens, name).description) }

        var properties: JSONValue = [
            "provisioningState": "Succeeded", "mode": .string(configuration.mode.rawValue),
            "version": .string(orNull: connected.report?.version),
            "connectionState": .string(connected.connectionState(now: self.services.clock.milliseconds()).rawValue),
            "lastActivityTime": time(connected.lastActivity), "activation": ["status": connected.isActive ? "Active" : "Inactive"],
            "parent": [
                // Clients look this up among the listed ids, byte for byte.
                "id": .string(
                    orNull: configuration.parent.map {
                        registry.id.child(.connectedRegistries, parent.flatMap { $0?.name } ?? $0).description
                    }),
                "syncProperties": [
                    "tokenId": configuration.identity == nil ? tokenID(connected.syncToken) : .null,
                    "schedule": .string(configuration.schedule.description),
                    "syncWindow": .string(orNull: configuration.syncWindow?.description),
                    "messageTtl": .string(configuration.messageTtl.description),
                    "lastSyncTime": time(status?.result?.lastSuccess),
                    "authType": configuration.identity == nil ? "SyncToken" : "ManagedIdentity",
                    "gatewayEndpoint": .string(orNull: self.gatewayEndpoint(parent, of: registry)),
                ],
            ],
            "clientTokenIds": .array(configuration.clientTokens.map(tokenID)),
            "logging": [
                "logLevel": .string(configuration.logLevel), "auditLogStatus": configuration.auditLogsEnabled ? "Enabled" : "Disabled",
            ],
            "statusDetails": .array(
                (status?.details ?? []).map { detail in
                    [
                        "type": .string(detail.type), "code": .string(detail.code), "description": .string(detail.description),
                        "timestamp": time(detail.timestamp), "correlationId": nil,
                    ]
                }),
            "notificationsList": .strings(configuration.notifications),
            "garbageCollection": [
                "enabled": .bool(configuration.garbageCollectionEnabled),
                "schedule": .string(configuration.garbageCollectionSchedule.description),
            ],
        ]
        if let host = connected.report?.loginServer { properties["loginServer"] = ["host": .string(host), "tls": ["status": "Enabled"]] }
        // Beyond what the cloud has: what the link has carried.
        if let status { properties["bytesReceived"] = .integer(status.bytesReceived) }
        if let sent = status?.bytesSent { properties["bytesSent"] = .integer(sent) }
        if let left = status?.bytesLeft { properties["bytesLeft"] = .integer(left) }
        properties["byteBudget"] = Self.budget(connected)
        properties["syncPriorities"] = .strings(configuration.priorities ?? [])
        properties["onDemand"] = .bool(configuration.onDemand == true)
        properties["serveAfterRemoval"] = .string(orNull: configuration.serveAfterRemoval?.description)
        properties["nextSyncWindow"] = self.window(configuration)
        properties["syncHistory"] = .array(
            (connected.report?.history ?? []).map { result in
                [
                    "syncTrigger": .string(result.trigger), "syncState": .string(result.state), "startTime": time(result.started),
                    "endTime": time(result.ended),
                ]
            })
        // What its clients have changed and this registry does not have yet.
        if let pending = status?.outboxPending { properties["pendingChanges"] = .integer(pending) }
        properties["inStepSince"] = time(connected.report?.inStepSince)
        if connected.isResyncPending, status?.result?.trigger != "ManualResync" || status?.result?.state == "Succeeded" {
            // Ordered, and not begun: the connected registry is away, busy or outside of its window.
            properties["registrySyncResult"] = [
                "syncTrigger": "ManualResync", "syncState": "Pending", "lastSyncStartTime": time(connected.resync),
                "lastSyncEndTime": nil, "lastSuccessfulSyncEndTime": time(status?.result?.lastSuccess),
            ]
        } else if let result = status?.result {
            properties["registrySyncResult"] = [
                "syncTrigger": .string(result.trigger), "syncState": .string(result.state), "lastSyncStartTime": time(result.started),
                "lastSyncEndTime": time(result.ended), "lastSuccessfulSyncEndTime": time(result.lastSuccess),
            ]
        }
        var value: JSONValue = [
            "id": .string(id.description), "name": .string(connected.name), "type": .string(id.type), "properties": properties,
        ]
        if let identity = configuration.identity {
            value["identity"] = [
                "type": "UserAssigned",
                "userAssignedIdentities": .object([
                    identity.resource: ["clientId": .string(identity.client), "principalId": .string(identity.principal)]
                ]),
            ]
        }
        return value
    }

    /// When content moves next; `null` where it always may.
    private func window(_ configuration: ConnectedRegistryConfiguration) -> JSONValue {
        guard !configuration.schedule.isContinuous,
            let window = try? SyncWindow(schedule: configuration.schedule, duration: configuration.syncWindow)
        else { return .null }
        let now = Int(self.services.clock.seconds)
        func time(_ seconds: Int?) -> JSONValue { .string(orNull: seconds.map { Timestamp.text(seconds: Int64($0)) }) }
        return [
            "state": window.isOpen(at: now) ? "Open" : "Closed", "opens": time(window.opens(after: now)),
            "closes": time(window.closes(after: now)),
        ]
    }

    /// Where the connected registry finds its gateway: at the registry's data endpoint, or at its parent's login server,
    /// once that has said what it is.
    private func gatewayEndpoint(_ parent: ConnectedRegistry??, of registry: RegistryInCall) -> String? {
        guard let parent else { return self.names.dataEndpoint(of: registry.id.name, region: registry.document.location) }
        return parent?.report?.loginServer
    }
}
