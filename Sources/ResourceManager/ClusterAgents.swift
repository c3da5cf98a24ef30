// The agent of a connected cluster: how it gets its identity, asks what is wanted, and reports what it has done.

internal import ClusterProtocol
internal import HTTPServing
internal import HTTPTypes
internal import Identity
internal import JSON
internal import Persistence

extension Route {
    private static let cluster =
        "subscriptions/{subscription}/resourcegroups/{group}/providers/microsoft.kubernetes/connectedclusters/{resource}"

    static let clusterAgentRoutes: [Route] = [
        Route(.post, "\(cluster):createagentcredential", ResourceKind.connectedCluster.rawValue + "/write") {
            try await $0.createAgentCredential($1)
        },
        // Decided by who asks: the agent of this cluster, and nobody else.
        Route(.get, "\(cluster):agent/desiredstate", nil) { try await $0.desiredState($1) },
        Route(.post, "\(cluster):agent/report", nil, exclusive: false) { try await $0.takeReport($1) },
    ]
}

extension ResourceOperations {
    /// Seconds a long poll waits at most.
    private static let longestWait = 60

    /// Gives the cluster's identity a secret with which an agent signs in; the secret of an earlier agent ends.
    func createAgentCredential(_ call: Call) async throws -> ServerResponse {
        let cluster = try await self.record(.connectedCluster, call)
        let store = try self.extensionStore()
        guard let object = cluster.document.facts["principalId"],
            case .servicePrincipal(let principal)? = try await self.services.directory.object(object)
        else {
            throw ResourceError(
                .conflict, .conflict, "The cluster '\(cluster.id.name)' has no identity. Delete its record and connect the cluster again.")
        }
        let secret = Secret.generate()
        try await self.resources.database.write { try ClusterExtensionStore.registerAgent(of: cluster.id, $0) }
        try await self.services.directory.replaceSecrets(of: principal, with: secret, keyID: Directory.identifier(), expiry: nil)
        store.activity.signal()
        return .document(
            .ok,
            [
                "clientId": .string(principal.appID), "principalId": .string(principal.objectID), "clientSecret": .string(secret),
                "tenantId": .string(self.services.authority.tenantID), "cluster": .string(cluster.id.description),
            ], headers: [.cacheControl: "no-store"])
    }

    /// The cluster whose agent calls.
    ///
    /// - Throws: 403 for anybody else, also for owners: protected settings are told to the agent alone.
    private func agentsCluster(_ call: Call) async throws -> StoredRecord {
        let id = self.recordID(.connectedCluster, call)
        guard let cluster = try await self.resources.record(id), cluster.document.facts["principalId"] == call.principal.objectID else {
            throw ResourceError(
                .forbidden, .authorizationFailed,
                "Only the agent of this cluster may do this. If this is the agent, the cluster's record was deleted or made anew: run "
                    + "'outport connectedk8s connect' again.")
        }
        return cluster
    }

    /// Long poll: answers when something else is wanted than what the agent has, or when the wait is over.
    func desiredState(_ call: Call) async throws -> ServerResponse {
        let cluster = try await self.agentsCluster(call)
        let store = try self.extensionStore()
        let known = call.request.query("revision")
        let wait = max(0, min(call.request.query("wait").flatMap(Int.init) ?? 0, Self.longestWait))
        let deadline = ContinuousClock.now + .seconds(wait)
        try await store.sawAgent(of: cluster.id)
        while true {
            let seen = store.activity.count
            let state = try await store.desired(of: cluster.id)
            let remaining = deadline - ContinuousClock.now
            if state.revision != known || remaining <= .zero || store.isStopping {
                return .document(.ok, try JSONValue(encoding: state), headers: [.cacheControl: "no-store"])
            }
            await store.activity.wait(beyond: seen, atMost: remaining)
            try Task.checkCancellation()
            // The record may have gone, or changed hands, while we waited.
            _ = try await self.agentsCluster(call)
        }
    }

    func takeReport(_ call: Call) async throws -> ServerResponse {
        let cluster = try await self.agentsCluster(call)
        guard let body = call.body, body.serialized().utf8.count <= 256 << 10 else {
            throw ResourceError(.badRequest, .invalidContent, "A report is a JSON object of at most 256 KiB.")
        }
        let report: AgentReport
        do {
            report = try body.decode()
        } catch {
            throw ResourceError(.badRequest, .invalidContent, "This is no report of an agent: \(error.description).")
        }
        try await self.extensionStore().take(report, of: cluster.id)
        return ServerResponse(.noContent)
    }

    /// What an agent has said about its cluster, as members of `properties`.
    func connectivity(_ agent: StoredAgent?) -> [String: JSONValue] {
        guard let agent else { return ["connectivityStatus": "Offline"] }
        let isConnected = agent.isConnected(at: self.services.clock.milliseconds())
        var members: [String: JSONValue] = [
            "connectivityStatus": agent.seen == nil ? "Connecting" : isConnected ? "Connected" : "Offline",
            "lastConnectivityTime": .string(orNull: agent.seen.map { Timestamp.text(milliseconds: $0) }),
        ]
        if let report = agent.report {
            members["agentVersion"] = .string(report.agentVersion)
            if let version = report.cluster?.kubernetesVersion { members["kubernetesVersion"] = .string(version) }
            if let count = report.cluster?.totalNodeCount { members["totalNodeCount"] = .integer(count) }
        }
        return members
    }
}
