// A bundle of somebody else's manifests: read, put into an order, applied, waited for.

import JSON
import Synchronization
import Testing

@testable import Kubernetes

@Suite struct BundleTests {
    /// An API server that knows a few kinds, and establishes a definition when it has been asked for it a few times.
    private final class Server: ClusterAPI {
        private let state = Mutex((calls: [String](), objects: [String: JSONValue](), asked: [String: Int]()))
        let establishesAfter: Int

        init(establishesAfter: Int = 3) { self.establishesAfter = establishesAfter }

        var calls: [String] { self.state.withLock { $0.calls } }

        func watch(_ path: String, seconds: Int, _ event: @Sendable (JSONValue) async -> Void) async throws(KubernetesError) {}

        func send(_ method: String, _ path: String, _ body: JSONValue?, contentType: String) async throws(KubernetesError) -> JSONValue {
            func kind(_ name: String, _ plural: String, _ isNamespaced: Bool) -> JSONValue {
                ["name": .string(plural), "kind": .string(name), "namespaced": .bool(isNamespaced)]
            }
            let lists: [String: [JSONValue]] = [
                "/api/v1": [
                    kind("Namespace", "namespaces/status", false), kind("Namespace", "namespaces", false),
                    kind("ConfigMap", "configmaps", true),
                ],
                "/apis/apps/v1": [kind("Deployment", "deployments", true)],
                "/apis/apiextensions.k8s.io/v1": [kind("CustomResourceDefinition", "customresourcedefinitions", false)],
            ]
            if let list = lists[path] { return ["resources": .array(list)] }
            let plain = String(path.prefix { $0 != "?" })
            let answer = self.state.withLock { state -> JSONValue? in
                state.calls.append("\(method) \(plain)")
                if method == "PATCH", let body {
                    state.objects[plain] = body
                    return body
                }
                guard var object = state.objects[plain] else { return nil }
                state.asked[plain, default: 0] += 1
                let isReady = state.asked[plain, default: 0] >= self.establishesAfter
                object["status"] =
                    object["kind"] == "Deployment"
                    ? ["availableReplicas": isReady ? 1 : 0]
                    : ["conditions": [["type": "Established", "status": isReady ? "True" : "False"]]]
                return object
            }
            guard let answer else { throw KubernetesError(.notFound, tried: path, "not found") }
            return answer
        }
    }

    private static let text = """
        # a comment before everything
        ---
        apiVersion: v1
        kind: ConfigMap
        metadata: {name: settings, namespace: cert-manager}
        data: {a: "1"}
        ---
        apiVersion: apps/v1
        kind: Deployment
        metadata: {name: webhook, namespace: cert-manager}
        spec: {replicas: 1}
        ---
        apiVersion: apiextensions.k8s.io/v1
        kind: CustomResourceDefinition
        metadata: {name: issuers.cert-manager.io}
        ---
        ---
        apiVersion: v1
        kind: List
        items:
        - apiVersion: v1
          kind: Namespace
          metadata: {name: cert-manager}
        """

    private static let patience = ManifestBundle.Patience(attempts: 5, pause: .milliseconds(1))

    @Test("K3 a bundle is applied in an order that works whatever its own, and what it defines is waited for")
    func order() async throws {
        let bundle = try ManifestBundle(yaml: Self.text)
        #expect(bundle.documents.count == 4)
        let server = Server()
        try await bundle.apply(to: server, patience: Self.patience)
        let definition = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/issuers.cert-manager.io"
        let deployment = "/apis/apps/v1/namespaces/cert-manager/deployments/webhook"
        #expect(
            server.calls == [
                "PATCH /api/v1/namespaces/cert-manager", "PATCH \(definition)", "GET \(definition)", "GET \(definition)",
                "GET \(definition)", "PATCH /api/v1/namespaces/cert-manager/configmaps/settings", "PATCH \(deployment)",
                "GET \(deployment)",
                "GET \(deployment)", "GET \(deployment)",
            ])
        // Again: nothing stands in the way.
        try await bundle.apply(to: server, patience: Self.patience)
    }

    @Test("K3 what does not come about is told with what was waited for, and nothing that needs it is applied")
    func patience() async throws {
        let server = Server(establishesAfter: 100)
        let error = await #expect(throws: KubernetesError.self) {
            try await ManifestBundle(yaml: Self.text).apply(to: server, patience: Self.patience)
        }
        #expect(error?.message.contains("not established") == true, "\(String(describing: error))")
        #expect(!server.calls.contains { $0.contains("configmaps") || $0.contains("deployments") })
    }

    @Test(
        "K3 what is no bundle is refused with its document",
        arguments: [
            ("", "nothing"), ("a: 1", "document 1"), ("apiVersion: v1\nkind: Namespace", "metadata.name"), ("[1, 2]", "document 1"),
            ("a: [", "expected"), ("apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n---\na: [", "expected"),
        ])
    func refused(yaml: String, sentence: String) {
        let error = #expect(throws: KubernetesError.self) { _ = try ManifestBundle(yaml: yaml) }
        #expect(error?.description.contains(sentence) == true, "\(String(describing: error))")
    }

    @Test("K3 names that would lead elsewhere, and kinds that the cluster does not know, are refused")
    func names() async throws {
        for (yaml, sentence) in [
            ("apiVersion: v1\nkind: Namespace\nmetadata: {name: ../secrets/x}", "no name"),
            ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: 'b/c'}", "no name"),
            ("apiVersion: v1\nkind: Gadget\nmetadata: {name: a}", "knows no Gadget"),
            ("apiVersion: example.test/v1\nkind: Gadget\nmetadata: {name: a}", "another version"),
        ] {
            let error = await #expect(throws: KubernetesError.self) {
                try await ManifestBundle(yaml: yaml).apply(to: Server(), patience: Self.patience)
            }
            #expect(error?.description.contains(sentence) == true, "\(String(describing: error))")
        }
    }
}
