// Manifests that somebody else has made, such as those of cert-manager: read, put into an order, applied, waited for.

package import JSON
internal import Yams

/// Objects of a YAML file with several documents.
package struct ManifestBundle: Sendable {
    /// How long something may take to come about.
    package struct Patience: Sendable {
        package var attempts: Int
        package var pause: Duration

        package init(attempts: Int = 240, pause: Duration = .milliseconds(500)) {
            self.attempts = attempts
            self.pause = pause
        }
    }

    /// Bytes of a bundle; cert-manager's has about one million.
    package static let largest = 16 << 20

    package let documents: [JSONValue]

    /// - Throws: a sentence naming the document that is no object of Kubernetes.
    package init(yaml: String) throws(KubernetesError) {
        let tried = "read the bundle"
        let values: [JSONValue]
        do {
            values = try YAMLValue.parseAll(yaml)
        } catch {
            throw KubernetesError(.configuration, tried: tried, "\(error)")
        }
        // A List holds what could stand by itself; empty documents are what is left of comments.
        self.documents = values.filter { !$0.isNull }.flatMap { $0["kind"] == "List" ? $0["items"]?.arrayValue ?? [] : [$0] }
        for (index, document) in self.documents.enumerated() {
            for member in [["apiVersion"], ["kind"], ["metadata", "name"]]
            where document[path: member[0]]?[path: member.dropFirst().first ?? ""]?.stringValue == nil
                && document[path: member[0]]?.stringValue == nil
            {
                throw KubernetesError(
                    .configuration, tried: tried,
                    "its document \(index + 1) is no object of Kubernetes: it has no \(member.joined(separator: "."))")
            }
        }
        guard !self.documents.isEmpty else { throw KubernetesError(.configuration, tried: tried, "there is nothing in it") }
    }

    private static func isDefinition(_ document: JSONValue) -> Bool { document["kind"] == "CustomResourceDefinition" }

    /// Applies everything: what others live in first, then what defines kinds, and when those are there all else.
    ///
    /// Applied on the server's side: what is so already is not touched, and fields of others stay. It may be repeated.
    /// - Parameter note: told of each step.
    package func apply(
        to api: any ClusterAPI, patience: Patience = Patience(), note: (String) -> Void = { _ in }
    ) async throws(KubernetesError) {
        var kinds = KindFinder(api: api)
        for document in self.documents where document["kind"] == "Namespace" { try await self.apply(document, &kinds) }
        let definitions = self.documents.filter(Self.isDefinition)
        for document in definitions { try await self.apply(document, &kinds) }
        if !definitions.isEmpty { note("waiting until \(definitions.count) definitions are established") }
        for document in definitions {
            try await self.wait(for: document, &kinds, patience, "established") { object in
                object[path: "status", "conditions"]?.arrayValue?.contains { $0["type"] == "Established" && $0["status"] == "True" } == true
            }
        }
        for document in self.documents where document["kind"] != "Namespace" && !Self.isDefinition(document) {
            try await self.apply(document, &kinds)
        }
        let deployments = self.documents.filter { $0["kind"] == "Deployment" }
        if !deployments.isEmpty { note("waiting until \(deployments.count) deployments are available") }
        for document in deployments {
            try await self.wait(for: document, &kinds, patience, "available") { object in
                let wanted = object[path: "spec", "replicas"]?.intValue ?? 1
                return object[path: "status", "observedGeneration"] == object[path: "metadata", "generation"]
                    && (object[path: "status", "availableReplicas"]?.intValue ?? 0) >= wanted
            }
        }
    }

    private func apply(_ document: JSONValue, _ kinds: inout KindFinder) async throws(KubernetesError) {
        let path = try await kinds.path(of: document)
        _ = try await kinds.api.send(
            "PATCH", "\(path)?fieldManager=outport-bundle&force=true", document, contentType: "application/apply-patch+yaml")
    }

    private func wait(
        for document: JSONValue, _ kinds: inout KindFinder, _ patience: Patience, _ state: String, _ isSo: (JSONValue) -> Bool
    ) async throws(KubernetesError) {
        let path = try await kinds.path(of: document)
        for attempt in 0..<max(1, patience.attempts) {
            if attempt > 0 {
                do {
                    try await Task.sleep(for: patience.pause)
                } catch {
                    throw KubernetesError(.unreachable, tried: "wait for \(path)", "it was interrupted")
                }
            }
            if isSo(try await kinds.api.send("GET", path, nil, contentType: "application/json")) { return }
        }
        throw KubernetesError(
            .refused, tried: "wait for \(path)",
            "it is not \(state) after \(patience.pause * patience.attempts); look at it with kubectl, and run the command again")
    }
}

/// Where the API server keeps objects of any kind, asked of the server itself.
private struct KindFinder {
    let api: any ClusterAPI
    private var known: [String: [JSONValue]] = [:]

    init(api: any ClusterAPI) { self.api = api }

    mutating func path(of document: JSONValue) async throws(KubernetesError) -> String {
        let (version, kind) = (document["apiVersion"]?.stringValue ?? "", document["kind"]?.stringValue ?? "")
        let name = document[path: "metadata", "name"]?.stringValue ?? ""
        let tried = "apply \(kind) '\(name)'"
        for part in [version, kind, name] + [document[path: "metadata", "namespace"]?.stringValue ?? ""] {
            guard !part.contains(".."), part.utf8.allSatisfy({ $0 > 0x20 && $0 != 0x7f && !"?#%\\".utf8.contains($0) }),
                part == version || !part.contains("/")
            else { throw KubernetesError(.configuration, tried: tried, "'\(part.prefix(100))' is no name that Kubernetes has") }
        }
        var resources = self.known[version]
        if resources == nil {
            let path = version.contains("/") ? "/apis/\(version)" : "/api/\(version)"
            do {
                resources = try await self.api.send("GET", path, nil, contentType: "application/json")["resources"]?.arrayValue
            } catch  where error.code == .notFound {
                throw KubernetesError(
                    .configuration, tried: tried, "the cluster has no \(version); the bundle is for another version of Kubernetes")
            }
            self.known[version] = resources
        }
        // Sub-resources have a slash in their name.
        let found = resources?.first { $0["kind"]?.stringValue == kind && $0["name"]?.stringValue?.contains("/") == false }
        guard let found, let plural = found["name"]?.stringValue else {
            throw KubernetesError(.configuration, tried: tried, "the cluster knows no \(kind) of \(version)")
        }
        let isNamespaced = found["namespaced"]?.boolValue ?? false
        let namespace = document[path: "metadata", "namespace"]?.stringValue ?? "default"
        return ObjectKind(version, kind, plural, isNamespaced: isNamespaced).path(name, in: isNamespaced ? namespace : nil)
    }
}
