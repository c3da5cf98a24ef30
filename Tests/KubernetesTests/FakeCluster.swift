// A cluster in memory: objects by path, a service range, storage classes, and refusals in the words of a real API server.

import JSON
import Synchronization

@testable import Kubernetes

final class FakeCluster: ClusterAPI {
    struct Call: Sendable, Hashable {
        var method: String
        var path: String
    }

    private struct State {
        var objects: [String: JSONValue] = [:]
        var calls: [Call] = []
        var forbidden: Set<String> = []
        /// How often an object that has been deleted still stands in the way.
        var lingering: [String: Int] = [:]
        /// What somebody else makes of an object just before it is written next.
        var interferences: [String: [JSONValue]] = [:]
        var version = 0

        mutating func put(_ object: JSONValue, at path: String) {
            self.version += 1
            var object = object
            object[path: "metadata", "resourceVersion"] = .string("\(self.version)")
            self.objects[path] = object
        }

        /// RFC 7386, for the version of the object that the patch names.
        mutating func merge(_ patch: JSONValue, at path: String, _ tried: String) -> Result<JSONValue, KubernetesError> {
            guard var object = self.objects[path] else { return .failure(KubernetesError(.notFound, tried: tried, "not found")) }
            let version = patch[path: "metadata", "resourceVersion"]
            guard version == nil || version == object[path: "metadata", "resourceVersion"] else {
                return .failure(KubernetesError(.conflict, tried: tried, "the object has been modified"))
            }
            object.apply(mergePatch: patch)
            self.put(object, at: path)
            return .success(object)
        }
    }

    /// Kinds of which there may be none.
    private static let listed: Set<String> = ["pods", "services", "storageclasses", "issuers", "nodes", "persistentvolumeclaims"]

    private let state = Mutex(State())
    /// Whether cert-manager's API is there.
    let hasCertManager: Bool

    init(hasCertManager: Bool = false, defaultClass: String? = "standard") {
        self.hasCertManager = hasCertManager
        self.set(ObjectKind.service.path("kubernetes", in: "default"), ["spec": ["clusterIP": "10.96.0.1"]])
        self.set(ObjectKind.storageClass.path("slow"), [:])
        if let defaultClass {
            self.set(
                ObjectKind.storageClass.path(defaultClass),
                ["metadata": ["annotations": ["storageclass.kubernetes.io/is-default-class": "true"]]])
        }
    }

    func set(_ path: String, _ object: JSONValue) {
        var object = object
        let parts = path.split(separator: "/").map(String.init)
        object[path: "metadata", "name"] = .string(parts.last ?? "")
        if let index = parts.firstIndex(of: "namespaces"), parts.count > index + 3 {
            object[path: "metadata", "namespace"] = .string(parts[index + 1])
        }
        let made = object
        self.state.withLock { $0.put(made, at: path) }
    }

    /// Somebody else writes these members, one for each of the next writes, just before them.
    func interfere(_ path: String, _ members: [JSONValue]) { self.state.withLock { $0.interferences[path] = members } }

    func remove(_ path: String) { self.state.withLock { $0.objects[path] = nil } }
    func linger(_ path: String, times: Int) { self.state.withLock { $0.lingering[path] = times } }
    func forbid(_ path: String) { _ = self.state.withLock { $0.forbidden.insert(path) } }
    func permit(_ path: String) { _ = self.state.withLock { $0.forbidden.remove(path) } }
    func object(_ kind: ObjectKind, _ name: String, in namespace: String = "connected-registry") -> JSONValue? {
        self.state.withLock { $0.objects[kind.path(name, in: namespace)] }
    }

    /// Objects of the extension's namespace.
    var installed: [String] {
        self.state.withLock { state in
            state.objects.keys.filter { $0.contains("/namespaces/connected-registry/") }.map {
                $0.split(separator: "/").suffix(2).joined(separator: "/")
            }.sorted()
        }
    }

    /// What was changed, oldest first, without reads.
    var changes: [Call] { self.state.withLock { $0.calls.filter { $0.method != "GET" } } }

    func watch(_ path: String, seconds: Int, _ event: @Sendable (JSONValue) async -> Void) async throws(KubernetesError) {}

    func send(_ method: String, _ path: String, _ body: JSONValue?, contentType: String) async throws(KubernetesError) -> JSONValue {
        let tried = "\(method) \(path)"
        let plain = String(path.prefix { $0 != "?" })
        let result: Result<JSONValue, KubernetesError> = self.state.withLock { state in
            state.calls.append(Call(method: method, path: plain))
            if state.forbidden.contains(where: { plain.hasPrefix($0) }) {
                return .failure(KubernetesError(.forbidden, tried: tried, "user cannot do that"))
            }
            if plain.contains("cert-manager.io"), !self.hasCertManager {
                return .failure(KubernetesError(.notFound, tried: tried, "the server could not find the requested resource"))
            }
            if method != "GET", let members = state.interferences[plain]?.first {
                state.interferences[plain]?.removeFirst()
                var object = state.objects[plain] ?? [:]
                object.apply(mergePatch: members)
                state.put(object, at: plain)
            }
            switch method {
            case "PATCH" where contentType == "application/merge-patch+json": return state.merge(body ?? .null, at: plain, tried)
            case "GET":
                if let object = state.objects[plain] { return .success(object) }
                // Lists end in the plural of a kind; those over all namespaces have none in their path.
                let parts = plain.split(separator: "/")
                let items = state.objects.filter { key, _ in
                    let segments = key.split(separator: "/")
                    return segments.count >= 2 && segments[segments.count - 2] == parts.last
                        && (plain.contains("/namespaces/") ? key.hasPrefix(plain + "/") : true)
                }
                if items.isEmpty, Self.listed.contains(parts.last.map(String.init) ?? "") {
                    return .success(["items": []])
                }
                if items.isEmpty { return .failure(KubernetesError(.notFound, tried: tried, "not found")) }
                return .success(["items": .array(items.sorted { $0.key < $1.key }.map(\.value))])
            case "DELETE":
                guard state.objects.removeValue(forKey: plain) != nil else {
                    return .failure(KubernetesError(.notFound, tried: tried, "not found"))
                }
                return .success([:])
            case "PATCH", "POST":
                guard var object = body else { return .failure(KubernetesError(.invalid, tried: tried, "no body")) }
                let key = method == "POST" ? "\(plain)/\(object[path: "metadata", "name"]?.stringValue ?? "")" : plain
                if method == "POST", let times = state.lingering[key], times > 0 {
                    state.lingering[key] = times - 1
                    return .failure(KubernetesError(.conflict, tried: tried, "object is being deleted: it already exists"))
                }
                if let refusal = Self.refusal(of: object, at: key, state.objects) {
                    return .failure(KubernetesError(.invalid, tried: tried, refusal))
                }
                // What stringData holds is read back as data.
                if let texts = object["stringData"]?.objectValue {
                    for (name, text) in texts { object[path: "data", name] = .string(Self.base64(text.stringValue ?? "")) }
                    object["stringData"] = nil
                }
                let before = state.objects[key]
                if before?["spec"] != object["spec"] {
                    object[path: "metadata", "generation"] = .integer((before?[path: "metadata", "generation"]?.intValue ?? 0) + 1)
                } else {
                    object[path: "metadata", "generation"] = before?[path: "metadata", "generation"]
                }
                object["status"] = before?["status"]
                state.put(object, at: key)
                return .success(object)
            default: return .failure(KubernetesError(.refused, tried: tried, "unknown method"))
            }
        }
        return try result.get()
    }

    private static func refusal(of object: JSONValue, at key: String, _ objects: [String: JSONValue]) -> String? {
        guard object["kind"] == "Service", let address = object[path: "spec", "clusterIP"]?.stringValue else { return nil }
        if !address.hasPrefix("10.96.") {
            return
                "Service \"x\" is invalid: spec.clusterIPs: Invalid value: []string{\"\(address)\"}: failed to allocated ip:\(address) with error:"
                + "provided IP is not in the valid range. The range of valid IPs is 10.96.0.0/16"
        }
        let taken = objects.contains {
            $0.key != key && $0.key.contains("/services/") && $0.value[path: "spec", "clusterIP"]?.stringValue == address
        }
        return taken ? "Service \"x\" is invalid: spec.clusterIPs: Invalid value: provided IP is already allocated" : nil
    }

    private static func base64(_ text: String) -> String { Base64.encode(text) }

    /// Makes the workload and the pods on nodes ready.
    func makeReady(_ isReady: Bool = true) {
        for (kind, name) in [(ObjectKind.deployment, "connected-registry"), (.daemonSet, "connected-registry-trust")] {
            let path = kind.path(name, in: "connected-registry")
            self.state.withLock { state in
                guard let object = state.objects[path] else { return }
                let generation = object[path: "metadata", "generation"] ?? 1
                state.objects[path]?["status"] =
                    kind == .deployment
                    ? [
                        "observedGeneration": generation, "replicas": 1, "updatedReplicas": 1, "availableReplicas": isReady ? 1 : 0,
                    ]
                    : [
                        "observedGeneration": generation, "desiredNumberScheduled": 2, "updatedNumberScheduled": 2,
                        "numberReady": isReady ? 2 : 1,
                    ]
            }
        }
    }
}
