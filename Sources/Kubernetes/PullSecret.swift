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

    /// Makes pods of a service account use the Secret without naming it; other Secrets of the account stay.
    package static func use(name: String, serviceAccount: String, namespace: String) -> JSONValue {
        [
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": ["name": .string(serviceAccount), "namespace": .string(namespace)],
            "imagePullSecrets": [["name": .string(name)]],
        ]
    }
}
