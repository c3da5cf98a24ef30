// What connecting a cluster puts into it: the agent with its identity, and rights for nothing but its task.

internal import ClusterProtocol
package import JSON
internal import OCI

/// What the agent is started with.
package struct AgentPlan: Sendable, Hashable {
    package var image: String
    /// The control plane, `https://…`.
    package var server: String
    /// Its CA in PEM; `nil` for what the system trusts.
    package var authority: String?
    /// The resource id of the cluster.
    package var cluster: String
    package var tenant: String
    package var clientID: String
    package var clientSecret: String
    /// A Secret of type `kubernetes.io/dockerconfigjson` in the agent's namespace.
    package var pullSecret: String?
    /// Passed on as they are.
    package var options: [String]

    package init(
        image: String, server: String, authority: String?, cluster: String, tenant: String, clientID: String, clientSecret: String,
        pullSecret: String? = nil, options: [String] = []
    ) {
        self.image = image
        self.server = server
        self.authority = authority
        self.cluster = cluster
        self.tenant = tenant
        self.clientID = clientID
        self.clientSecret = clientSecret
        self.pullSecret = pullSecret
        self.options = options
    }
}

/// Renders the objects of an agent.
package struct AgentManifests: Sendable {
    package static let namespace = "outport-agent"
    package static let name = "outport-agent"

    package let plan: AgentPlan

    package init(_ plan: AgentPlan) { self.plan = plan }

    private static let labels: JSONValue = [
        "app.kubernetes.io/name": "outport-agent", "app.kubernetes.io/part-of": "outport", "app.kubernetes.io/managed-by": "outport",
    ]

    private static func object(_ kind: ObjectKind, _ name: String, in namespace: String? = nil, _ members: [String: JSONValue] = [:])
        -> JSONValue
    {
        var metadata: JSONValue = ["name": .string(name), "labels": self.labels]
        if let namespace { metadata["namespace"] = .string(namespace) }
        return .object(
            members.merging(["apiVersion": .string(kind.apiVersion), "kind": .string(kind.kind), "metadata": metadata]) { $1 })
    }

    private static func rule(_ group: String, _ resources: [String], _ verbs: [String], names: [String] = []) -> JSONValue {
        var rule: JSONValue = ["apiGroups": [.string(group)], "resources": .strings(resources), "verbs": .strings(verbs)]
        if !names.isEmpty { rule["resourceNames"] = .strings(names) }
        return rule
    }

    private static func binding(_ kind: ObjectKind, _ role: ObjectKind, in namespace: String?) -> JSONValue {
        self.object(
            kind, self.name, in: namespace,
            [
                "roleRef": ["apiGroup": "rbac.authorization.k8s.io", "kind": .string(role.kind), "name": .string(self.name)],
                "subjects": [["kind": "ServiceAccount", "name": .string(self.name), "namespace": .string(self.namespace)]],
            ])
    }

    /// Everything, in an order in which it can be applied.
    package var all: [JSONValue] {
        let registry = ExtensionSettings.namespace
        let manage = ["get", "list", "watch", "create", "update", "patch", "delete"]
        var registryNamespace = Self.object(.namespace, registry)
        // Pods on nodes write the configuration of container runtimes.
        for mode in ["enforce", "audit", "warn"] {
            registryNamespace[path: "metadata", "labels", "pod-security.kubernetes.io/\(mode)"] = "privileged"
        }
        var agentNamespace = Self.object(.namespace, Self.namespace)
        agentNamespace[path: "metadata", "labels", "pod-security.kubernetes.io/enforce"] = "restricted"
        return [
            agentNamespace, registryNamespace, Self.object(.serviceAccount, Self.name, in: Self.namespace),
            // The whole cluster: looking at addresses, storage classes and nodes, nothing else.
            Self.object(
                .clusterRole, Self.name, in: nil,
                [
                    "rules": [
                        Self.rule("", ["services", "nodes"], ["get", "list"]),
                        Self.rule("storage.k8s.io", ["storageclasses"], ["get", "list"]),
                    ]
                ]),
            Self.binding(.clusterRoleBinding, .clusterRole, in: nil),
            Self.object(
                .role, Self.name, in: registry,
                [
                    "rules": [
                        Self.rule("", ["secrets", "configmaps", "services", "serviceaccounts", "persistentvolumeclaims"], manage),
                        Self.rule("", ["pods"], ["get", "list", "watch"]), Self.rule("apps", ["deployments", "daemonsets"], manage),
                        Self.rule("cert-manager.io", ["issuers", "certificates"], manage),
                    ]
                ]),
            Self.binding(.roleBinding, .role, in: registry),
            // Its own namespace: trying addresses, and reading the one Secret it passes on.
            Self.object(
                .role, Self.name, in: Self.namespace,
                [
                    "rules": .array(
                        [
                            Self.rule("", ["services"], ["create"]),
                            Self.rule("", ["services"], ["get", "delete"], names: ["outport-address-trial"]),
                        ]
                            + (self.plan.pullSecret.map { [Self.rule("", ["secrets"], ["get"], names: [$0])] } ?? []))
                ]),
            Self.binding(.roleBinding, .role, in: Self.namespace),
            Self.object(
                .secret, Self.name, in: Self.namespace, ["type": "Opaque", "stringData": ["clientSecret": .string(self.plan.clientSecret)]]),
            Self.object(
                .configMap, Self.name, in: Self.namespace, ["data": self.plan.authority.map { ["ca.crt": .string($0)] } ?? [:]]),
            self.deployment,
        ]
    }

    private var deployment: JSONValue {
        var arguments = [
            "agent", "--server", self.plan.server, "--cluster", self.plan.cluster, "--tenant", self.plan.tenant, "--client-id",
            self.plan.clientID, "--client-secret-file", "/etc/outport/identity/clientSecret", "--image", self.plan.image,
        ]
        var mounts: [JSONValue] = [
            ["name": "tmp", "mountPath": "/tmp"], ["name": "identity", "mountPath": "/etc/outport/identity", "readOnly": true],
        ]
        var volumes: [JSONValue] = [
            ["name": "tmp", "emptyDir": ["medium": "Memory", "sizeLimit": "16Mi"]],
            ["name": "identity", "secret": ["secretName": .string(Self.name), "defaultMode": 0o440]],
        ]
        if self.plan.authority != nil {
            arguments += ["--ca", "/etc/outport/server/ca.crt"]
            mounts.append(["name": "server", "mountPath": "/etc/outport/server", "readOnly": true])
            volumes.append(["name": "server", "configMap": ["name": .string(Self.name)]])
        }
        if let secret = self.plan.pullSecret { arguments += ["--image-pull-secret", secret] }
        var pod: JSONValue = [
            "serviceAccountName": .string(Self.name), "enableServiceLinks": true, "terminationGracePeriodSeconds": 10,
            "containers": [
                [
                    "name": "agent", "image": .string(self.plan.image), "imagePullPolicy": "IfNotPresent",
                    "args": .strings(arguments + self.plan.options), "volumeMounts": .array(mounts),
                    "resources": ["requests": ["cpu": "10m", "memory": "64Mi"]], "terminationMessagePolicy": "FallbackToLogsOnError",
                    "securityContext": [
                        "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": ["drop": ["ALL"]],
                    ],
                ]
            ], "volumes": .array(volumes),
            "securityContext": [
                "runAsNonRoot": true, "runAsUser": 65_532, "runAsGroup": 65_532, "fsGroup": 65_532,
                "seccompProfile": ["type": "RuntimeDefault"],
            ],
        ]
        if let secret = self.plan.pullSecret { pod["imagePullSecrets"] = [["name": .string(secret)]] }
        let selector: JSONValue = ["app.kubernetes.io/name": "outport-agent"]
        return Self.object(
            .deployment, Self.name, in: Self.namespace,
            [
                "spec": [
                    "replicas": 1, "strategy": ["type": "Recreate"], "revisionHistoryLimit": 2, "selector": ["matchLabels": selector],
                    // A renewed secret makes another pod.
                    "template": [
                        "metadata": [
                            "labels": Self.labels,
                            "annotations": ["outport/identity": .string(String(Digest.of(self.plan.clientSecret.utf8).hex.prefix(16)))],
                        ], "spec": pod,
                    ],
                ]
            ])
    }

    /// Takes everything out of a cluster that is no longer connected.
    ///
    /// A namespace takes the volumes in it along. One that was kept when its extension was deleted is not to be lost by the command after
    /// that: where there is a volume claim the namespace stays, and of it only the agent's rights there go.
    ///
    /// - Returns: claims for whose sake the namespace of the extension is still there.
    package static func remove(from api: some ClusterAPI) async throws(KubernetesError) -> [String] {
        let registry = ExtensionSettings.namespace
        let claims = try await api.list(.volumeClaim, in: registry).filter { $0[path: "metadata", "deletionTimestamp"] == nil }
            .compactMap { $0[path: "metadata", "name"]?.stringValue }.sorted()
        try await api.delete(.clusterRoleBinding, self.name)
        try await api.delete(.clusterRole, self.name)
        try await api.delete(.namespace, self.namespace)
        if claims.isEmpty {
            try await api.delete(.namespace, registry)
        } else {
            try await api.delete(.roleBinding, self.name, in: registry)
            try await api.delete(.role, self.name, in: registry)
        }
        return claims
    }

    /// What is said of a namespace that stays.
    package static func farewell(keeping claims: [String]) -> String {
        "Namespace \(ExtensionSettings.namespace) stays with the data in it (volume claim \(claims.joined(separator: ", "))): an extension that is "
            + "created anew goes on with it. 'kubectl delete namespace \(ExtensionSettings.namespace)' deletes it for good."
    }
}
