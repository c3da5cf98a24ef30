// Clusters connected through Arc, as records: commands for extensions ask whether the cluster is there.

internal import HTTPServing
internal import HTTPTypes
internal import Identity
internal import JSON

extension Route {
    private static let action = ResourceKind.connectedCluster.rawValue
    private static let listPath = "providers/microsoft.kubernetes/connectedclusters"
    private static let path = "subscriptions/{subscription}/resourcegroups/{group}/\(listPath)/{resource}"

    static let connectedClusterRoutes: [Route] = [
        Route(.get, "subscriptions/{subscription}:\(listPath)", action + "/read", filtered: true) { operations, call in
            let agents = try await operations.services.extensions?.agents() ?? [:]
            return try await operations.listRecords(.connectedCluster, in: operations.subscription(call).id, call) {
                operations.connectedCluster($0, agents[$0.id.key])
            }
        },
        Route(.get, "subscriptions/{subscription}/resourcegroups/{group}:\(listPath)", action + "/read", filtered: true) {
            operations, call in
            let agents = try await operations.services.extensions?.agents() ?? [:]
            return try await operations.listRecords(.connectedCluster, in: operations.group(call).id, call) {
                operations.connectedCluster($0, agents[$0.id.key])
            }
        },
        Route(.get, path, action + "/read") { operations, call in
            let cluster = try await operations.record(.connectedCluster, call)
            let agent = try await operations.services.extensions?.agent(of: cluster.id)
            return .document(try await operations.signed(operations.connectedCluster(cluster, agent), of: cluster))
        },
        Route(.put, path, action + "/write") { try await $0.putConnectedCluster($1) },
        Route(.patch, path, action + "/write") { try await $0.patchConnectedCluster($1) },
        Route(.delete, path, action + "/delete") { operations, call in
            try await operations.group(call)
            let id = operations.recordID(.connectedCluster, call)
            return ServerResponse(try await operations.resources.deleteRecord(id) ? .ok : .noContent)
        },
    ]
}

extension ResourceOperations {
    func putConnectedCluster(_ call: Call) async throws -> ServerResponse {
        let (id, existing) = try await self.place(.connectedCluster, call)
        let body = try call.document()
        try BodyShape.connectedCluster.check(body)
        var document =
            existing?.document ?? RecordDocument(location: "", tags: [:], body: [:], facts: [:], createdBy: call.principal.objectID)
        document.location = try self.location(body, existing)
        document.tags = try body["tags"].tags() ?? [:]
        document.body = ["properties": try Self.connectedProperties(body)]
        let isNew = existing == nil
        let now = self.services.clock.milliseconds()
        let stored = try await self.resources.put(document, as: id, also: self.signature(call, on: id, isNew: isNew)) { document, session in
            guard isNew else { return }
            let principal = try Directory.createManagedIdentity(id.name, resource: id.description, now: now, session)
            document.facts = ["principalId": principal.objectID]
        }
        return .document(
            isNew ? .created : .ok,
            try await self.signed(self.connectedCluster(stored, try await self.services.extensions?.agent(of: stored.id)), of: stored))
    }

    func patchConnectedCluster(_ call: Call) async throws -> ServerResponse {
        let existing = try await self.record(.connectedCluster, call)
        let body = try call.document()
        try BodyShape.connectedCluster.check(body)
        _ = try self.location(body, existing)
        var document = existing.document
        if let tags = try body["tags"].tags() { document.tags = tags }
        if try body["properties"].isPresent {
            var properties = document.body["properties"] ?? [:]
            properties.apply(mergePatch: try Self.connectedProperties(body))
            document.body["properties"] = properties
        }
        let stored = try await self.resources.put(
            document, as: existing.id, also: self.signature(call, on: existing.id, isNew: false))
        return .document(
            try await self.signed(self.connectedCluster(stored, try await self.services.extensions?.agent(of: stored.id)), of: stored))
    }

    private static func connectedProperties(_ body: BodyField) throws(ResourceError) -> JSONValue {
        guard var properties = try body["properties"].object()?.value else { return [:] }
        for name in ["provisioningState", "connectivityStatus", "lastConnectivityTime"] { properties[name] = nil }
        guard properties.serialized().utf8.count <= 64 << 10 else {
            throw ResourceError(.contentTooLarge, .tooLarge, "The cluster's description is larger than \(64 << 10) bytes.")
        }
        return properties
    }

    /// - Parameter agent: what is known of the one that speaks for the cluster.
    func connectedCluster(_ record: StoredRecord, _ agent: StoredAgent?) -> JSONValue {
        var value = Self.summary(record)
        var properties = record.document.body["properties"] ?? [:]
        properties["provisioningState"] = "Succeeded"
        for (name, member) in self.connectivity(agent) { properties[name] = member }
        value["properties"] = properties
        value["identity"] = [
            "type": "SystemAssigned", "principalId": .string(orNull: record.document.facts["principalId"]),
            "tenantId": .string(self.services.authority.tenantID),
        ]
        return value
    }
}
