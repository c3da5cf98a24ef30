// What the extension consists of in a cluster, as manifests: values in, documents out, so that they can be checked without a cluster.

package import ClusterProtocol
internal import Crypto
package import JSON

/// All that the manifests are made of.
package struct InstallationPlan: Sendable, Hashable {
    package var name: String
    package var settings: ExtensionSettings
    /// Repository and tag of this program's image.
    package var image: String
    package var version: String
    /// A Secret of the namespace with which the image is pulled.
    package var pullSecret: String?
    /// The class that was chosen, the default one included.
    package var storageClass: String
    /// The authority that nodes are to trust, in PEM; `nil` for plain HTTP.
    package var authority: String?
    /// Where a node's file tree begins; `""` but in tests.
    package var nodeRoot: String

    package init(
        name: String, settings: ExtensionSettings, image: String, version: String, pullSecret: String?, storageClass: String,
        authority: String?, nodeRoot: String = ""
    ) {
        self.name = name
        self.settings = settings
        self.image = image
        self.version = version
        self.pullSecret = pullSecret
        self.storageClass = storageClass
        self.authority = authority
        self.nodeRoot = nodeRoot
    }
}

/// Renders the objects of an installation.
package struct ExtensionManifests: Sendable {
    package static let name = "connected-registry"
    package static let claim = "connected-registry-data"
    package static let connectionSecret = "connected-registry-connection"
    package static let authoritySecret = "connected-registry-authority"
    package static let certificateSecret = "connected-registry-certificate"
    package static let pullSecret = "connected-registry-pull"
    package static let stateMap = "connected-registry-state"
    /// What was asked for when the registry was healthy last, secrets included.
    package static let stateSecret = "connected-registry-state"
    package static let trustMap = "connected-registry-trust"
    package static let trustName = "connected-registry-trust"
    /// The issuer that signs, and the one that signs the issuer's own certificate.
    package static let issuer = "connected-registry"
    package static let rootIssuer = "connected-registry-root"
    package static let rootCertificate = "connected-registry-root"
    static let managedBy = "app.kubernetes.io/managed-by"
    /// The user of the image.
    private static let user: JSONValue = 65_532
    private static let port: JSONValue = 8443

    package let plan: InstallationPlan

    package init(_ plan: InstallationPlan) { self.plan = plan }

    private var namespace: JSONValue { .string(ExtensionSettings.namespace) }

    private func labels(_ component: String) -> JSONValue {
        [
            "app.kubernetes.io/name": "connected-registry", "app.kubernetes.io/component": .string(component),
            "app.kubernetes.io/part-of": "outport", Self.managedBy: "outport",
        ]
    }

    private func metadata(_ name: String, _ component: String = "registry") -> JSONValue {
        ["name": .string(name), "namespace": self.namespace, "labels": self.labels(component)]
    }

    private func object(_ kind: ObjectKind, _ name: String, _ component: String = "registry", _ members: [String: JSONValue]) -> JSONValue {
        .object(
            members.merging([
                "apiVersion": .string(kind.apiVersion), "kind": .string(kind.kind), "metadata": self.metadata(name, component),
            ]) { $1 })
    }

    /// Everything but the workload and what is made once, in the order of use.
    package var foundations: [JSONValue] {
        var objects = [
            self.object(.serviceAccount, Self.name, ["automountServiceAccountToken": false]),
            self.object(
                .secret, Self.connectionSecret,
                ["type": "Opaque", "stringData": ["connectionString": .string(self.plan.settings.connectionString)]]),
            self.object(
                .volumeClaim, Self.claim,
                [
                    "spec": [
                        "accessModes": ["ReadWriteOnce"], "storageClassName": .string(self.plan.storageClass),
                        "resources": ["requests": ["storage": .string(self.plan.settings.storageRequest)]],
                    ]
                ]),
        ]
        switch self.plan.settings.certificate {
        case .given(let certificate, let key, _):
            objects.append(
                self.object(
                    .secret, Self.certificateSecret,
                    ["type": "kubernetes.io/tls", "stringData": ["tls.crt": .string(certificate), "tls.key": .string(key)]]))
        case .certManager: objects += self.certManager
        case .own, .secret, .none: break
        }
        return objects
    }

    private func object(_ kind: ObjectKind, _ name: String, _ members: [String: JSONValue]) -> JSONValue {
        self.object(kind, name, "registry", members)
    }

    /// A Secret that holds the installation's own authority.
    package func authoritySecret(certificate: String, key: String) -> JSONValue {
        self.object(
            .secret, Self.authoritySecret, ["type": "Opaque", "stringData": ["ca.pem": .string(certificate), "ca.key": .string(key)]])
    }

    /// A copy of the Secret with which the image is pulled.
    package func pullSecret(_ data: JSONValue) -> JSONValue {
        self.object(.secret, Self.pullSecret, ["type": "kubernetes.io/dockerconfigjson", "data": data])
    }

    /// A self-signed root, an issuer of it, and the certificate of the service.
    private var certManager: [JSONValue] {
        let duration: [String: JSONValue] = ["duration": "2160h", "renewBefore": "720h"]
        return [
            self.object(.issuer, Self.rootIssuer, ["spec": ["selfSigned": [:]]]),
            self.object(
                .certificate, Self.rootCertificate,
                [
                    "spec": [
                        "isCA": true, "commonName": "connected registry CA", "secretName": .string(Self.rootCertificate),
                        "duration": "87600h",
                        "privateKey": ["algorithm": "ECDSA", "size": 256],
                        "issuerRef": ["name": .string(Self.rootIssuer), "kind": "Issuer"],
                    ]
                ]),
            self.object(.issuer, Self.issuer, ["spec": ["ca": ["secretName": .string(Self.rootCertificate)]]]),
            self.object(
                .certificate, Self.name,
                [
                    "spec": .object(
                        duration.merging([
                            "secretName": .string(Self.certificateSecret), "ipAddresses": [.string(self.plan.settings.clusterIP)],
                            "dnsNames": [.string("\(Self.name).\(ExtensionSettings.namespace).svc")],
                            "privateKey": ["algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always"],
                            "usages": ["server auth", "digital signature"],
                            "issuerRef": ["name": .string(Self.issuer), "kind": "Issuer"],
                        ]) { $1 })
                ]),
        ]
    }

    /// The service at the chosen address.
    package var service: JSONValue {
        self.object(
            .service, Self.name,
            [
                "spec": [
                    "type": "ClusterIP", "clusterIP": .string(self.plan.settings.clusterIP),
                    "selector": ["app.kubernetes.io/name": "connected-registry", "app.kubernetes.io/component": "registry"],
                    "ports": [
                        [
                            "name": .string(self.plan.settings.isPlain ? "http" : "https"), "protocol": "TCP",
                            "port": .integer(self.plan.settings.port), "targetPort": Self.port,
                        ]
                    ],
                ]
            ])
    }

    // MARK: The registry

    /// The registry itself. One at a time: the volume and the lease at the parent have one holder.
    package var workload: JSONValue {
        let address = self.plan.settings.clusterIP
        let isSix = address.contains(":")
        var arguments = [
            "connect", "--data", "/var/lib/outport/data", "--listen", isSix ? "[::]:8443" : "0.0.0.0:8443", "--login-server",
            "\(isSix ? "[\(address)]" : address):\(self.plan.settings.port)", "--connection-string-file",
            "/etc/outport/connection/connectionString",
        ]
        var mounts: [JSONValue] = [
            ["name": "data", "mountPath": "/var/lib/outport"], ["name": "tmp", "mountPath": "/tmp"],
            ["name": "connection", "mountPath": "/etc/outport/connection", "readOnly": true],
        ]
        var volumes: [JSONValue] = [
            ["name": "data", "persistentVolumeClaim": ["claimName": .string(Self.claim)]],
            ["name": "tmp", "emptyDir": ["medium": "Memory", "sizeLimit": "64Mi"]],
            ["name": "connection", "secret": ["secretName": .string(Self.connectionSecret), "defaultMode": 0o440]],
        ]
        func mount(_ name: String, _ secret: String, _ keys: [String]) {
            mounts.append(["name": .string(name), "mountPath": .string("/etc/outport/\(name)"), "readOnly": true])
            volumes.append([
                "name": .string(name),
                "secret": [
                    "secretName": .string(secret), "defaultMode": 0o440,
                    "items": .array(keys.map { ["key": .string($0), "path": .string($0)] }),
                ],
            ])
        }
        switch self.plan.settings.certificate {
        case .none: arguments.append("--http")
        case .own:
            mount("authority", Self.authoritySecret, ["ca.pem", "ca.key"])
            arguments += ["--authority", "/etc/outport/authority"]
        case .given, .certManager, .secret:
            var name = Self.certificateSecret
            if case .secret(let given, _) = self.plan.settings.certificate { name = given }
            mount("tls", name, ["tls.crt", "tls.key"])
            arguments += ["--tls-certificate", "/etc/outport/tls/tls.crt", "--tls-key", "/etc/outport/tls/tls.key"]
        }
        let probe: JSONValue = ["tcpSocket": ["port": Self.port], "periodSeconds": 5, "timeoutSeconds": 3]
        let container: JSONValue = [
            "name": "registry", "image": .string(self.plan.image), "imagePullPolicy": "IfNotPresent", "args": .strings(arguments),
            "ports": [["name": "registry", "containerPort": Self.port, "protocol": "TCP"]], "volumeMounts": .array(mounts),
            "resources": ["requests": ["cpu": "50m", "memory": "128Mi"]], "readinessProbe": probe.mergePatch(["periodSeconds": 2]),
            "livenessProbe": probe.mergePatch(["initialDelaySeconds": 20, "failureThreshold": 6]),
            // What it says at its end is what the agent reports.
            "terminationMessagePolicy": "FallbackToLogsOnError", "securityContext": Self.confined,
        ]
        var pod: JSONValue = [
            "serviceAccountName": .string(Self.name), "automountServiceAccountToken": false, "enableServiceLinks": false,
            "terminationGracePeriodSeconds": 60, "containers": [container], "volumes": .array(volumes),
            "securityContext": [
                "runAsNonRoot": true, "runAsUser": Self.user, "runAsGroup": Self.user, "fsGroup": Self.user,
                "fsGroupChangePolicy": "OnRootMismatch", "seccompProfile": ["type": "RuntimeDefault"],
            ],
        ]
        if let secret = self.plan.pullSecret { pod["imagePullSecrets"] = [["name": .string(secret)]] }
        return self.object(
            .deployment, Self.name,
            [
                "spec": [
                    "replicas": 1, "strategy": ["type": "Recreate"], "minReadySeconds": 3, "revisionHistoryLimit": 2,
                    "selector": [
                        "matchLabels": ["app.kubernetes.io/name": "connected-registry", "app.kubernetes.io/component": "registry"]
                    ],
                    "template": [
                        "metadata": [
                            "labels": self.labels("registry"),
                            // Another connection string or authority makes another pod.
                            "annotations": ["outport/inputs": .string(self.inputs)],
                        ], "spec": pod,
                    ],
                ]
            ])
    }

    /// A digest of what pods read only at their start.
    private var inputs: String {
        var hash = SHA256()
        hash.update(data: Array(self.plan.settings.connectionString.utf8))
        if case .own = self.plan.settings.certificate { hash.update(data: Array((self.plan.authority ?? "").utf8)) }
        return hash.finalize().prefix(16).map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }

    private var authorityDigest: String {
        SHA256.hash(data: Array((self.plan.authority ?? "").utf8)).prefix(16).map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }

    private static let confined: JSONValue = [
        "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": ["drop": ["ALL"]],
    ]

    // MARK: Nodes

    /// What the pods on nodes read; empty data where the registry speaks plain HTTP.
    package var trustInputs: [JSONValue] {
        guard self.plan.settings.trust != nil else { return [] }
        return [
            self.object(.serviceAccount, Self.trustName, "trust", ["automountServiceAccountToken": false]),
            self.object(.configMap, Self.trustMap, "trust", ["data": self.plan.authority.map { ["ca.crt": .string($0)] } ?? [:]]),
        ]
    }

    /// What a pod on a node does there.
    package enum NodeTask: Sendable { case apply, remove }

    /// One pod on every node, or on every labelled one: it does its task before it counts as ready.
    ///
    /// Root, because containers' configuration belongs to root; with nothing beyond what writing those files takes.
    package func nodes(_ task: NodeTask, selects: Bool) -> JSONValue {
        var arguments = ["node", "trust", "--root", "/host", "--set", Self.name]
        switch task {
        case .remove: arguments += ["--remove"]
        case .apply:
            let address = self.plan.settings.clusterIP
            arguments += ["--registry", address.contains(":") ? "[\(address)]" : address]
            for mirror in self.plan.settings.trust?.mirrors ?? [] { arguments += ["--mirror", mirror] }
            arguments += self.plan.settings.isPlain ? ["--plain-http"] : ["--ca", "/etc/outport/trust/ca.crt"]
        }
        let security: JSONValue = [
            "runAsUser": 0, "runAsGroup": 0, "runAsNonRoot": false, "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
            "capabilities": ["drop": ["ALL"], "add": ["CHOWN", "DAC_OVERRIDE", "FOWNER"]], "seccompProfile": ["type": "RuntimeDefault"],
        ]
        var mounts: [JSONValue] = [["name": "etc", "mountPath": "/host/etc"], ["name": "state", "mountPath": "/host/var/lib"]]
        var volumes: [JSONValue] = [
            ["name": "etc", "hostPath": ["path": .string(self.plan.nodeRoot + "/etc"), "type": "Directory"]],
            ["name": "state", "hostPath": ["path": .string(self.plan.nodeRoot + "/var/lib"), "type": "Directory"]],
        ]
        if task == .apply, !self.plan.settings.isPlain {
            mounts.append(["name": "trust", "mountPath": "/etc/outport/trust", "readOnly": true])
            volumes.append([
                "name": "trust", "configMap": ["name": .string(Self.trustMap), "items": [["key": "ca.crt", "path": "ca.crt"]]],
            ])
        }
        func container(_ name: String, _ arguments: [String]) -> JSONValue {
            [
                "name": .string(name), "image": .string(self.plan.image), "imagePullPolicy": "IfNotPresent", "args": .strings(arguments),
                "volumeMounts": .array(mounts), "securityContext": security, "resources": ["requests": ["cpu": "5m", "memory": "32Mi"]],
                "terminationMessagePolicy": "FallbackToLogsOnError",
            ]
        }
        var pod: JSONValue = [
            "serviceAccountName": .string(Self.trustName), "automountServiceAccountToken": false, "enableServiceLinks": false,
            "terminationGracePeriodSeconds": 5, "tolerations": [["operator": "Exists"]], "volumes": .array(volumes),
            "initContainers": [container("first", arguments)], "containers": [container("stay", arguments + ["--stay"])],
        ]
        if selects { pod["nodeSelector"] = [ExtensionSettings.nodeLabel.name: .string(ExtensionSettings.nodeLabel.value)] }
        if let secret = self.plan.pullSecret { pod["imagePullSecrets"] = [["name": .string(secret)]] }
        return self.object(
            .daemonSet, Self.trustName, "trust",
            [
                "spec": [
                    "selector": ["matchLabels": ["app.kubernetes.io/name": "connected-registry", "app.kubernetes.io/component": "trust"]],
                    "updateStrategy": ["type": "RollingUpdate", "rollingUpdate": ["maxUnavailable": "25%"]],
                    "template": [
                        // Another authority makes other pods: a node that is counted as ready trusts the present one.
                        "metadata": ["labels": self.labels("trust"), "annotations": ["outport/authority": .string(self.authorityDigest)]],
                        "spec": pod,
                    ],
                ]
            ])
    }
}
