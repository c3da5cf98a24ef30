// How the installed registry does, what to go back to, and taking everything out again.

package import ClusterProtocol
internal import JSON

/// What an installer remembers in the cluster.
struct InstallerMemory: Sendable {
    struct Undone: Codable, Sendable {
        var generation: Int64
        var error: ExtensionError
    }

    var version: String?
    /// The workload that was healthy.
    var workload: JSONValue?
    /// What was asked for then, and its generation.
    var accepted: DesiredExtension?
    var generation: Int64?
    var rolledBack: Undone?
    var found: [String: String] = [:]
}

extension ExtensionInstaller {
    // MARK: Memory

    func memory() async throws(ExtensionError) -> InstallerMemory {
        let data = try await self.find(.configMap, ExtensionManifests.stateMap)?["data"]
        func parse(_ key: String) -> JSONValue? { data?[key]?.stringValue.flatMap { try? JSONValue(parsing: $0) } }
        let generation = data?["generation"]?.stringValue.flatMap { Int64($0) }
        let secret = generation == nil ? nil : try await self.find(.secret, ExtensionManifests.stateSecret)
        let accepted = secret?[path: "data", "accepted"]?.stringValue.flatMap { Base64Text.decode($0) }
            .flatMap { try? JSONValue(parsing: $0).decode(as: DesiredExtension.self) }
        return InstallerMemory(
            version: data?["version"]?.stringValue, workload: parse("workload"),
            // An agent that ended between writing one and the other leaves two that do not belong together.
            accepted: accepted?.generation == generation ? accepted : nil, generation: generation,
            rolledBack: parse("rolledBack").flatMap { try? $0.decode(as: InstallerMemory.Undone.self) },
            found: parse("found").flatMap { try? $0.decode(as: [String: String].self) } ?? [:])
    }

    private func save(_ memory: InstallerMemory) async throws(ExtensionError) {
        var data: [String: JSONValue] = [:]
        if let version = memory.version { data["version"] = .string(version) }
        if let generation = memory.generation { data["generation"] = .string("\(generation)") }
        if let workload = memory.workload { data["workload"] = .string(workload.serialized()) }
        if let undone = memory.rolledBack, let text = try? JSONValue(encoding: undone).serialized() { data["rolledBack"] = .string(text) }
        if let found = try? JSONValue(encoding: memory.found) { data["found"] = .string(found.serialized()) }
        try await self.apply(Self.state("ConfigMap", ExtensionManifests.stateMap, ["data": .object(data)]))
    }

    private static func state(_ kind: String, _ name: String, _ members: [String: JSONValue]) -> JSONValue {
        let metadata: JSONValue = [
            "name": .string(name), "namespace": .string(Self.namespace),
            "labels": ["app.kubernetes.io/name": "connected-registry", ExtensionManifests.managedBy: "outport"],
        ]
        return .object(members.merging(["apiVersion": "v1", "kind": .string(kind), "metadata": metadata]) { $1 })
    }

    /// Keeps what is there now as what to go back to.
    package func remember(_ wanted: DesiredExtension, _ installed: Installed) async throws(ExtensionError) {
        guard let deployment = try await self.find(.deployment, ExtensionManifests.name) else { return }
        var memory = InstallerMemory(version: installed.version, generation: wanted.generation, found: installed.settings)
        if let accepted = try? JSONValue(encoding: wanted).serialized() {
            try await self.apply(
                Self.state(
                    "Secret", ExtensionManifests.stateSecret,
                    ["type": "Opaque", "data": ["accepted": .string(Base64Text.encode(accepted.utf8))]]))
        }
        memory.workload = Self.applied(deployment)
        try await self.save(memory)
    }

    /// What of an object was applied by us: without what the cluster adds.
    private static func applied(_ object: JSONValue) -> JSONValue? {
        let text = object[path: "metadata", "annotations", ExtensionInstaller.renderedAnnotation]?.stringValue
        guard let text, var manifest = try? JSONValue(parsing: text) else { return nil }
        manifest[path: "metadata", "annotations"] = nil
        return manifest
    }

    /// Carries the manifest as it was rendered, so that it can be applied once more.
    static let renderedAnnotation = "outport/rendered"

    static func rendered(_ workload: JSONValue) -> JSONValue {
        var copy = workload
        copy[path: "metadata", "annotations", Self.renderedAnnotation] = .string(workload.serialized())
        return copy
    }

    /// Applies what was healthy before, and notes that this generation is not to be tried again.
    package func rollBack(_ wanted: DesiredExtension, because cause: ExtensionError) async throws(ExtensionError) -> String {
        var memory = try await self.memory()
        guard memory.workload != nil, let version = memory.version else {
            throw ExtensionError(.notHealthy, "There is nothing to go back to.")
        }
        memory.rolledBack = .init(
            generation: wanted.generation,
            error: ExtensionError(
                .rolledBack,
                "The change did not become healthy and was undone; version \(version) runs on with its data. The cause: \(cause.message)"))
        // Noted first: an agent that ends here does not try the same again.
        try await self.save(memory)
        try await self.restore(memory)
        return version
    }

    // MARK: Health

    /// Looks at workload, volume and nodes.
    package func look(_ wanted: DesiredExtension) async throws(ExtensionError) -> Health {
        guard let deployment = try await self.find(.deployment, ExtensionManifests.name) else {
            return Health(
                problem: ExtensionError(.notHealthy, "The deployment is gone from the cluster; it is put back with the next look."))
        }
        var statuses: [ExtensionStatus] = []
        let (problem, isReplacing) = Self.isAvailable(deployment) ? (nil, false) : try await self.cause()
        statuses.append(
            ExtensionStatus(
                code: "Workload", displayStatus: problem == nil ? "Ready" : "NotReady", level: problem == nil ? .information : .warning,
                message: problem?.message ?? "The registry is available."))
        var isTrusted = true
        if let nodes = try await self.find(.daemonSet, ExtensionManifests.trustName) {
            let (ready, desired) = Self.progress(nodes)
            isTrusted = ready == desired
            statuses.append(
                ExtensionStatus(
                    code: "TrustDistribution", displayStatus: isTrusted ? "Ready" : "Progressing",
                    level: isTrusted ? .information : .warning,
                    message: "\(ready) of \(desired) nodes trust the registry."))
        } else if wanted.settings["trustDistribution.enabled"]?.lowercased() == "true" {
            isTrusted = false
        }
        return Health(problem: problem, isTrusted: isTrusted, isReplacing: isReplacing, statuses: statuses)
    }

    private static func isAvailable(_ deployment: JSONValue) -> Bool {
        let status = deployment["status"]
        let wanted = deployment[path: "spec", "replicas"]?.intValue ?? 1
        return status?["observedGeneration"]?.intValue ?? 0 >= deployment[path: "metadata", "generation"]?.intValue ?? 0
            && status?["updatedReplicas"]?.intValue ?? 0 == wanted && status?["availableReplicas"]?.intValue ?? 0 == wanted
            && status?["replicas"]?.intValue ?? 0 == wanted
    }

    private static func progress(_ set: JSONValue) -> (ready: Int, desired: Int) {
        let status = set["status"]
        let desired = status?["desiredNumberScheduled"]?.intValue ?? 0
        // A status about an earlier generation says nothing.
        guard status?["observedGeneration"]?.intValue ?? 0 >= set[path: "metadata", "generation"]?.intValue ?? 0 else {
            return (0, max(1, desired))
        }
        return (min(status?["numberReady"]?.intValue ?? 0, status?["updatedNumberScheduled"]?.intValue ?? 0), desired)
    }

    /// Why the registry is not available, from what its pods and its volume say.
    private func cause() async throws(ExtensionError) -> (ExtensionError?, Bool) {
        let pods: [JSONValue]
        do {
            pods = try await self.api.list(.pod, in: Self.namespace, labels: "app.kubernetes.io/component=registry")
        } catch {
            throw Self.translate(error)
        }
        let claim = try await self.find(.volumeClaim, ExtensionManifests.claim)
        let isReplacing = !pods.isEmpty && pods.allSatisfy { $0[path: "metadata", "deletionTimestamp"] != nil }
        return (Self.cause(pods: pods, claim: claim), isReplacing)
    }

    /// The first thing that is in the way.
    static func cause(pods: [JSONValue], claim: JSONValue?) -> ExtensionError {
        let phase = claim?[path: "status", "phase"]?.stringValue
        if let pod = pods.first(where: { $0[path: "metadata", "deletionTimestamp"] == nil }) {
            for container in (pod[path: "status", "initContainerStatuses"]?.arrayValue ?? [])
                + (pod[path: "status", "containerStatuses"]?.arrayValue ?? [])
            {
                let waiting = container[path: "state", "waiting"]
                let reason = waiting?["reason"]?.stringValue ?? ""
                let words = waiting?["message"]?.stringValue ?? ""
                let image = container["image"]?.stringValue ?? "the image"
                if ["ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"].contains(reason) {
                    return ExtensionError(
                        .imageMissing,
                        "The image \(image) cannot be pulled (\(reason): \(words)). Push it ('outport image build --push'), see that nodes trust "
                            + "its registry, and that the agent has a pull secret for it.")
                }
                let last = container[path: "lastState", "terminated"] ?? container[path: "state", "terminated"]
                if let last, ["CrashLoopBackOff", "Error", "RunContainerError", ""].contains(reason) || reason.isEmpty {
                    let tail = (last["message"]?.stringValue ?? "").split(whereSeparator: \.isNewline).suffix(3).joined(separator: " ")
                    return ExtensionError(
                        tail.contains("ALREADY_ACTIVATED") ? .parentRefused : .notHealthy,
                        "The registry ends with code \(last["exitCode"]?.intValue ?? 0)\(tail.isEmpty ? "" : ": \(tail)"). kubectl -n "
                            + "\(Self.namespace) logs deployment/\(ExtensionManifests.name) --previous shows more.")
                }
                if !reason.isEmpty, !["ContainerCreating", "PodInitializing"].contains(reason) {
                    return ExtensionError(
                        .notHealthy,
                        "The registry does not start (\(reason): \(words)). Look at 'kubectl -n \(Self.namespace) describe pods'.")
                }
            }
            let scheduled = pod[path: "status", "conditions"]?.arrayValue?.first { $0["type"] == "PodScheduled" }
            if scheduled?["status"] == "False", phase == "Bound" || phase == nil {
                return ExtensionError(
                    .notHealthy, "No node can take the registry: \(scheduled?["message"]?.stringValue ?? ""). Make room, or another node.")
            }
        }
        if let phase, phase != "Bound" {
            return ExtensionError(
                .volumeNotBound,
                "The volume of class '\(claim?[path: "spec", "storageClassName"]?.stringValue ?? "")' is \(phase). Look at 'kubectl -n "
                    + "\(Self.namespace) describe pvc \(ExtensionManifests.claim)': the class needs a provisioner, or a volume that fits.")
        }
        return ExtensionError(
            .notHealthy, "The registry is not ready yet. Look at 'kubectl -n \(Self.namespace) describe pods' if it stays so.")
    }

    // MARK: Removing

    /// Makes the pods on nodes put back what was there; `nil` once they have, and are gone.
    func takeBackTrust() async throws(ExtensionError) -> ExtensionError? {
        guard let set = try await self.find(.daemonSet, ExtensionManifests.trustName) else { return nil }
        let arguments = set[path: "spec", "template", "spec", "initContainers"]?[0]?["args"]?.arrayValue ?? []
        if !arguments.contains("--remove") {
            try await self.apply(Self.removing(set))
            return ExtensionError(.nodesNotReady, "Nodes are being put back.")
        }
        let (ready, desired) = Self.progress(set)
        guard ready == desired else {
            return ExtensionError(
                .nodesNotReady,
                "\(desired - ready) of \(desired) nodes have not put back their configuration. Look at 'kubectl -n \(Self.namespace) get pods -o wide': "
                    + "a node that is gone for good is to be deleted from the cluster (kubectl delete node); the removal goes on by itself."
            )
        }
        do {
            try await self.api.delete(.daemonSet, ExtensionManifests.trustName, in: Self.namespace)
        } catch {
            throw Self.translate(error)
        }
        return ExtensionError(.nodesNotReady, "The pods on nodes are ending.")
    }

    /// The same pods with the opposite task, rendered from what is there: settings may have changed since.
    private static func removing(_ set: JSONValue) -> JSONValue {
        let spec = set[path: "spec", "template", "spec"]
        let root = spec?["volumes"]?.arrayValue?.first { $0["name"] == "etc" }?[path: "hostPath", "path"]?.stringValue ?? "/etc"
        let settings = try? ExtensionSettings(
            settings: ["service.clusterIP": "10.0.0.1", "httpEnabled": "true", "trustDistribution.enabled": "true"],
            protected: [
                "connectionString":
                    "ConnectedRegistryName=none;SyncTokenName=none;SyncTokenPassword=none;ParentGatewayEndpoint=none;ParentEndpointProtocol=https"
            ])
        guard let settings else { return set }
        let plan = InstallationPlan(
            name: "", settings: settings, image: spec?["containers"]?[0]?["image"]?.stringValue ?? "", version: "",
            pullSecret: spec?["imagePullSecrets"]?[0]?["name"]?.stringValue, storageClass: "", authority: nil,
            nodeRoot: String(root.dropLast("/etc".count)))
        return ExtensionManifests(plan).nodes(.remove, selects: spec?["nodeSelector"]?.objectValue?.isEmpty == false)
    }

    /// One step of taking everything out; what is left, or `nil`.
    package func remove(_ removal: Removal) async throws(ExtensionError) -> ExtensionError? {
        if let left = try await self.takeBackTrust() { return left }
        var kinds: [(ObjectKind, [String])] = [
            (.deployment, [ExtensionManifests.name]), (.service, [ExtensionManifests.name]),
            (
                .secret,
                [
                    ExtensionManifests.connectionSecret, ExtensionManifests.authoritySecret, ExtensionManifests.certificateSecret,
                    ExtensionManifests.pullSecret, ExtensionManifests.rootCertificate, ExtensionManifests.stateSecret,
                ]
            ), (.configMap, [ExtensionManifests.stateMap, ExtensionManifests.trustMap]),
            (.serviceAccount, [ExtensionManifests.name, ExtensionManifests.trustName]),
        ]
        if removal == .everything { kinds.append((.volumeClaim, [ExtensionManifests.claim])) }
        do throws(KubernetesError) {
            // Certificates first: their Secrets would be made anew.
            do throws(KubernetesError) {
                for name in [ExtensionManifests.name, ExtensionManifests.rootCertificate] {
                    try await self.api.delete(.certificate, name, in: Self.namespace)
                }
                for name in [ExtensionManifests.issuer, ExtensionManifests.rootIssuer] {
                    try await self.api.delete(.issuer, name, in: Self.namespace)
                }
            } catch {
                // Without cert-manager there are none.
                if error.code != .notFound { throw error }
            }
            var left: [String] = []
            for (kind, names) in kinds {
                for name in names {
                    guard let found = try await self.api.get(kind, name, in: Self.namespace),
                        found[path: "metadata", "labels", ExtensionManifests.managedBy] == "outport"
                            || found[path: "metadata", "annotations", "cert-manager.io/certificate-name"] != nil
                    else { continue }
                    left.append("\(kind.kind) \(name)")
                    if found[path: "metadata", "deletionTimestamp"] == nil { try await self.api.delete(kind, name, in: Self.namespace) }
                }
            }
            let pods = try await self.api.list(.pod, in: Self.namespace, labels: "app.kubernetes.io/name=connected-registry")
            left += pods.compactMap { $0[path: "metadata", "name"]?.stringValue.map { "Pod \($0)" } }
            guard !left.isEmpty else { return nil }
            return ExtensionError(
                .notHealthy,
                "Still there: \(left.joined(separator: ", ")). Look at 'kubectl -n \(Self.namespace) get all,pvc': something holds them; the removal goes on by itself."
            )
        } catch {
            throw Self.translate(error)
        }
    }
}
