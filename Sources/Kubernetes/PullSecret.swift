// Secrets that pods name in `imagePullSecrets`.

internal import ClusterProtocol
package import JSON

/// Credentials for one registry, as container runtimes and Kubernetes keep them.
package struct PullSecret: Sendable {
    package let registry: String
    package let user: String
    package let password: String

    package init(registry: String, user: String, password: String) {
        self.registry = registry
        self.user = user
        self.password = password
    }

    /// The document of docker's `config.json`.
    private var document: JSONValue {
        [
            "auths": [
                self.registry: [
                    "username": .string(self.user), "password": .string(self.password),
                    "auth": .string(Base64Text.encode("\(self.user):\(self.password)".utf8)),
                ]
            ]
        ]
    }

    package func manifest(name: String, namespace: String) -> JSONValue {
        [
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
            "metadata": [
                "name": .string(name), "namespace": .string(namespace), "labels": ["app.kubernetes.io/managed-by": "outport"],
            ],
            "data": [".dockerconfigjson": .string(Base64Text.encode(self.document.serialized().utf8))],
        ]
    }

    /// How often a service account that others are changing at the same time is read again.
    private static let attempts = 8

    /// Makes pods of a service account use the Secret without naming it; other Secrets of the account stay.
    ///
    /// `imagePullSecrets` is one value to the cluster: who applies it takes out what others have put in. So it is read, and what is written
    /// holds for the version that was read alone. An account that is not there is made.
    package static func use(
        name: String, serviceAccount: String, namespace: String, in api: some ClusterAPI
    ) async throws(KubernetesError) {
        var attempt = 1
        while true {
            do throws(KubernetesError) {
                return try await self.tryUse(name, serviceAccount, namespace, api)
            } catch {
                guard error.code == .conflict, attempt < self.attempts else { throw error }
                try? await Task.sleep(for: .milliseconds(Int.random(in: 5...20) * attempt))
                attempt += 1
            }
        }
    }

    private static func tryUse(
        _ name: String, _ serviceAccount: String, _ namespace: String, _ api: some ClusterAPI
    ) async throws(KubernetesError) {
        guard let account = try await api.get(.serviceAccount, serviceAccount, in: namespace) else {
            try await api.create(
                [
                    "apiVersion": "v1", "kind": "ServiceAccount",
                    "metadata": ["name": .string(serviceAccount), "namespace": .string(namespace)],
                    "imagePullSecrets": [["name": .string(name)]],
                ], .serviceAccount, in: namespace)
            return
        }
        let secrets = account["imagePullSecrets"]?.arrayValue ?? []
        guard !secrets.contains(where: { $0["name"]?.stringValue == name }) else { return }
        try await api.patch(
            .serviceAccount, serviceAccount, in: namespace, ["imagePullSecrets": .array(secrets + [["name": .string(name)]])],
            version: account[path: "metadata", "resourceVersion"])
    }
}
