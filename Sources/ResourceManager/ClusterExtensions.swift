// Extensions of connected clusters: the calls of `az k8s-extension`, each a wish that the cluster's agent brings about.

internal import ClusterProtocol
internal import HTTPServing
internal import HTTPTypes
internal import JSON

extension Route {
    private static let action = "Microsoft.KubernetesConfiguration/extensions"
    private static let list = "providers/microsoft.kubernetesconfiguration/extensions"

    /// A managed cluster of the name and group of a connected one is that one: `az k8s-extension --cluster-type managedClusters`.
    static let clusterExtensionRoutes: [Route] = ["microsoft.kubernetes/connectedclusters", "microsoft.containerservice/managedclusters"]
        .flatMap { Route.routes("subscriptions/{subscription}/resourcegroups/{group}/providers/\($0)/{resource}") }

    private static func routes(_ cluster: String) -> [Route] {
        [
            Route(.get, "\(cluster):\(list)", action + "/read") { try await $0.listExtensions($1) },
            Route(.get, "\(cluster):\(list)/{extension}", action + "/read") { operations, call in
                let (cluster, found) = try await operations.clusterExtension(call)
                return .document(try await operations.told(found, of: cluster))
            },
            Route(.put, "\(cluster):\(list)/{extension}", action + "/write") { try await $0.putExtension($1) },
            Route(.patch, "\(cluster):\(list)/{extension}", action + "/write") { try await $0.patchExtension($1) },
            Route(.delete, "\(cluster):\(list)/{extension}", action + "/delete") { try await $0.deleteExtension($1) },
            Route(.get, "\(cluster):\(list)/{extension}/operations/{operation}", action + "/read") { try await $0.extensionOperation($1) },
        ]
    }
}

extension ResourceOperations {
    /// Milliseconds that an operation waits for an agent that is away.
    private static let patience: Int64 = 60_000

    func extensionStore() throws(ResourceError) -> ClusterExtensionStore {
        guard let store = self.services.extensions else { throw .notAvailable("Extensions of clusters") }
        return store
    }

    /// The connected cluster that a call is about, where it names a managed one, too.
    ///
    /// - Throws: 404 where there is none; 409 for a record without an agent; 403 for whoever may use the one and not the other.
    private func extensionCluster(_ call: Call) async throws -> StoredRecord {
        guard call.request.path.lowercased().contains("/microsoft.containerservice/managedclusters/") else {
            return try await self.record(.connectedCluster, call)
        }
        let managed = try await self.record(.managedCluster, call)
        guard let connected = try await self.resources.record(self.recordID(.connectedCluster, call)) else {
            throw ResourceError(
                .conflict, .conflict,
                "The cluster '\(managed.id.name)' is a record and has no agent that could install anything. Connect the cluster under the same "
                    + "name: outport connectedk8s connect -n \(managed.id.name) -g \(managed.id.group ?? "").")
        }
        let verb =
            switch call.request.method {
            case .get, .head: "read"
            case .delete: "delete"
            default: "write"
            }
        guard call.caller.allows("Microsoft.KubernetesConfiguration/extensions/\(verb)", at: connected.id.key) else {
            throw ResourceError(
                .forbidden, .authorizationFailed,
                "The client '\(call.principal.name)' may not do this at '\(connected.id)', which is the cluster behind '\(managed.id)'. Ask "
                    + "for a role there.")
        }
        return connected
    }

    /// - Throws: 404 `ResourceNotFound`.
    func clusterExtension(_ call: Call) async throws -> (StoredRecord, StoredExtension) {
        let cluster = try await self.extensionCluster(call)
        guard let found = try await self.extensionStore().find(call["extension"], of: cluster.id) else {
            throw ResourceError(
                .notFound, .resourceNotFound,
                "The extension '\(call["extension"].prefix(80))' was not found on cluster '\(cluster.id.name)'.")
        }
        return (cluster, found)
    }

    func listExtensions(_ call: Call) async throws -> ServerResponse {
        let cluster = try await self.extensionCluster(call)
        var values: [JSONValue] = []
        for found in try await self.extensionStore().extensions(of: cluster.id) { values.append(try await self.told(found, of: cluster)) }
        return .list(values)
    }

    func putExtension(_ call: Call) async throws -> ServerResponse {
        let cluster = try await self.extensionCluster(call)
        let store = try self.extensionStore()
        let name = call["extension"]
        guard ExtensionSettings.isObjectName(name.lowercased()), name.utf8.count <= 63 else {
            throw ResourceError(
                .badRequest, .invalidName,
                "The extension name '\(name.prefix(60))' is not valid: use 1 to 63 letters, digits, '-' and '.'.",
                target: "name")
        }
        let existing = try await store.find(name, of: cluster.id)
        try Self.refuseWhileRemoved(existing)
        if let other = try await store.extensions(of: cluster.id).first(where: { $0.name.lowercased() != name.lowercased() }) {
            throw ResourceError(
                .conflict, .conflict,
                "Cluster '\(cluster.id.name)' has this extension already, as '\(other.name)': there is one connected registry in a cluster. "
                    + "Delete that one first, or update it.")
        }
        var before: (document: ExtensionDocument, protected: [String: String])?
        if let existing { before = (existing.document, try await store.protectedSettings(of: existing) ?? [:]) }
        let order = try ExtensionOrder(body: call.document(), existing: before, by: call.principal)
        let stored = try await store.put(
            order.document, protected: order.protected, as: existing?.name ?? name,
            id: existing?.id ?? "\(cluster.id)/providers/Microsoft.KubernetesConfiguration/extensions/\(name)", of: cluster.id)
        return self.underWay(existing == nil ? .created : .ok, "put", stored, cluster, call)
    }

    func patchExtension(_ call: Call) async throws -> ServerResponse {
        let (cluster, existing) = try await self.clusterExtension(call)
        try Self.refuseWhileRemoved(existing)
        let store = try self.extensionStore()
        let order = try ExtensionOrder(
            patch: call.document(), of: existing.document, protected: try await store.protectedSettings(of: existing) ?? [:],
            by: call.principal)
        let stored = try await store.put(
            order.document, protected: order.protected, as: existing.name, id: existing.id, of: cluster.id)
        return self.underWay(.accepted, "patch", stored, cluster, call)
    }

    func deleteExtension(_ call: Call) async throws -> ServerResponse {
        let cluster = try await self.extensionCluster(call)
        let store = try self.extensionStore()
        guard let existing = try await store.find(call["extension"], of: cluster.id) else { return ServerResponse(.noContent) }
        let isForced = call.request.query("forceDelete")?.lowercased() == "true"
        // Where no agent ever was nothing can be left.
        let agent = try await store.agent(of: cluster.id)
        if isForced || agent == nil || (agent?.seen == nil && existing.report == nil) {
            try await store.forget(existing)
            return ServerResponse(.noContent)
        }
        let removal: Removal = call.request.query("keepData")?.lowercased() == "true" ? .keepingData : .everything
        if existing.removal == removal { return self.underWay(.accepted, "delete", existing, cluster, call) }
        guard let stored = try await store.markRemoved(existing, removal, of: cluster.id) else { return ServerResponse(.noContent) }
        return self.underWay(.accepted, "delete", stored, cluster, call)
    }

    private static func refuseWhileRemoved(_ existing: StoredExtension?) throws(ResourceError) {
        guard let existing, existing.removal != nil else { return }
        throw ResourceError(
            .conflict, .conflict,
            "The extension '\(existing.name)' is being deleted. Wait until it is gone ('outport k8s-extension show'), or delete it with "
                + "--force, which leaves what is in the cluster.")
    }

    // MARK: Operations that take their time

    /// Answers with where to look whether the agent is done. The operation is named by what it waits for, so it outlives the process.
    private func underWay(
        _ status: HTTPResponse.Status, _ verb: String, _ stored: StoredExtension, _ cluster: StoredRecord, _ call: Call
    ) -> ServerResponse {
        let base = CloudMetadata(names: self.names).base(for: call.request)
        let version = call.request.query("api-version").map { "?api-version=\($0)" } ?? ""
        var headers: HTTPFields = [.retryAfter: "1"]
        if let name = HTTPField.Name("Azure-AsyncOperation") {
            headers[name] = "\(base)\(stored.id)/operations/\(verb)-\(stored.generation)\(version)"
        }
        return .document(status, self.value(stored, of: cluster), headers: headers)
    }

    func extensionOperation(_ call: Call) async throws -> ServerResponse {
        let cluster = try await self.extensionCluster(call)
        let parts = call["operation"].split(separator: "-")
        guard parts.count == 2, ["put", "patch", "delete"].contains(parts[0].lowercased()), let generation = Int64(parts[1]) else {
            throw ResourceError(.notFound, .resourceNotFound, "There is no operation '\(call["operation"].prefix(60))'.")
        }
        let store = try self.extensionStore()
        let isDeletion = parts[0].lowercased() == "delete"
        func answer(_ status: String, _ error: JSONValue? = nil) -> ServerResponse {
            var body: [String: JSONValue] = ["name": .string(call["operation"]), "status": .string(status)]
            body["error"] = error
            return .document(.ok, .object(body), headers: [.retryAfter: "1"])
        }
        guard let found = try await store.find(call["extension"], of: cluster.id), found.created <= generation else {
            guard isDeletion else {
                return answer("Canceled", ["code": "ResourceNotFound", "message": "The extension has been deleted meanwhile."])
            }
            return answer("Succeeded")
        }
        guard found.generation == generation else {
            return answer(
                "Canceled", ["code": "Conflict", "message": "The extension was changed again meanwhile; look at its present state."])
        }
        switch found.state {
        case .succeeded where !isDeletion: return answer("Succeeded")
        case .failed:
            let error = found.report?.error
            return answer(
                "Failed",
                [
                    "code": .string(error?.code.rawValue ?? "ExtensionFailed"),
                    "message": .string(error?.message ?? "The agent could not do it and does not say why."),
                ])
        default: break
        }
        let now = self.services.clock.milliseconds()
        let agent = try await store.agent(of: cluster.id)
        if agent?.isConnected(at: now) != true, agent == nil || now - found.updated > Self.patience {
            return answer("Failed", ["code": "AgentNotConnected", "message": .string(Self.absence(of: agent, cluster, isDeletion))])
        }
        return answer("InProgress")
    }

    private static func absence(of agent: StoredAgent?, _ cluster: StoredRecord, _ isDeletion: Bool) -> String {
        let name = cluster.id.name
        let hope = isDeletion ? "It is deleted" : "What was asked for is kept and done"
        let cause =
            agent == nil
            ? "Cluster '\(name)' has no agent: run 'outport connectedk8s connect -n \(name) -g \(cluster.id.group ?? "")' where the cluster can be reached."
            : "The agent of cluster '\(name)' does not answer: look whether its pod runs and reaches this server (kubectl -n outport-agent logs "
                + "deployment/outport-agent)."
        return "\(cause) \(hope) as soon as the agent connects."
    }
}
