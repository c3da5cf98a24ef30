// Proves how a node or a pod pulls with an identity: what is asked for, what is answered, and what is kept back.

import Foundation
import HTTPServing
import JSON
import NIOCore
import RegistryClient
import Synchronization
import Testing

@testable import Kubernetes

/// A control plane and a registry as one transport, which notes what is sent where.
private final class FakeServers: Transport {
    let sent = Mutex<[(endpoint: ServerEndpoint, target: String, body: String)]>([])
    let status: Int

    init(status: Int = 200) { self.status = status }

    func send(_ request: ClientRequest) async throws -> ClientResponse {
        self.sent.withLock { $0.append((request.endpoint, request.target, String(decoding: request.body, as: UTF8.self))) }
        let isExchange = request.target == "/oauth2/exchange"
        let answer = isExchange ? #"{"refresh_token":"refresh"}"# : #"{"access_token":"access"}"#
        let refusal = #"{"error":"denied","error_description":"no role at the registry"}"#
        let isRefused = isExchange && self.status != 200
        return ClientResponse(
            status: isRefused ? self.status : 200, headers: [],
            body: ClientResponseBody(Parts(buffer: ByteBuffer(string: isRefused ? refusal : answer))))
    }

    private struct Parts: AsyncSequence, Sendable {
        let buffer: ByteBuffer

        struct AsyncIterator: AsyncIteratorProtocol {
            var buffer: ByteBuffer?

            mutating func next() async throws -> ByteBuffer? {
                defer { self.buffer = nil }
                return self.buffer
            }
        }

        func makeAsyncIterator() -> AsyncIterator { AsyncIterator(buffer: self.buffer) }
    }
}

@Suite struct NodeIdentityTests {
    private func provider(_ identity: String) throws -> CredentialProvider {
        let text = #"{"registries":[{"registry":"parent.test:8443","identity":\#(identity)}]}"#
        return try CredentialProvider(configuration: Array(text.utf8)) { _ in Array("node-secret\n".utf8) }
    }

    private func request(_ more: String = "", version: String = "v1") -> [UInt8] {
        Array(
            #"{"kind":"CredentialProviderRequest","apiVersion":"credentialprovider.kubelet.k8s.io/\#(version)","image":"parent.test:8443/a:v1"\#(more)}"#
                .utf8)
    }

    @Test("K6 a node signs in with its identity; what it gets is kept for a minute", arguments: ["v1", "v1beta1", "v1alpha1"])
    func node(version: String) async throws {
        let provider = try self.provider(#"{"server":"https://parent.test:8443","clientId":"client","clientSecretFile":"/secret"}"#)
        let answer = try await provider.answer(self.request(version: version)) { identity, registry, client, proof in
            #expect(registry == "parent.test:8443")
            #expect(client == "client")
            guard case .secret("node-secret") = proof else { throw CredentialProviderError(description: "wrong proof") }
            return "refresh"
        }
        let document = try JSONValue(parsing: answer)
        #expect(document["apiVersion"]?.stringValue == "credentialprovider.kubelet.k8s.io/\(version)")
        #expect(document["cacheDuration"] == "1m0s")
        #expect(document["cacheKeyType"] == "Registry")
        #expect(document["auth"]?["parent.test:8443"] == ["username": .string(IdentityExchange.user), "password": "refresh"])
    }

    @Test("K6 a pod's service account token is the proof, for the identity that the account names") func workload() async throws {
        let provider = try self.provider(#"{"server":"https://parent.test:8443","serviceAccountToken":true}"#)
        let annotated = #","serviceAccountToken":"pod-token","serviceAccountAnnotations":{"outport/client-id":"pods"}"#
        let answer = try await provider.answer(self.request(annotated)) { _, _, client, proof in
            guard case .assertion("pod-token") = proof, client == "pods" else { throw CredentialProviderError(description: "wrong proof") }
            return "refresh"
        }
        // One pod's credentials are not another's.
        #expect(try JSONValue(parsing: answer)["cacheKeyType"] == "Image")
        for more in ["", #","serviceAccountToken":"pod-token""#] {
            await #expect(throws: CredentialProviderError.self) { try await provider.answer(self.request(more)) }
        }
    }

    @Test("K6 an identity that is neither the node's nor the pod's, or has a password besides, is refused") func configurations() {
        for identity in [
            #"{"server":"https://p"}"#, #"{"server":"https://p","clientSecretFile":"/s"}"#,
            #"{"server":"https://p","clientId":"c","clientSecretFile":"/s","serviceAccountToken":true}"#,
        ] {
            #expect(throws: CredentialProviderError.self) { try self.provider(identity) }
        }
        let both =
            #"{"registries":[{"registry":"a","username":"u","password":"p","identity":{"server":"https://p","serviceAccountToken":true}}]}"#
        #expect(throws: CredentialProviderError.self) { try CredentialProvider(configuration: Array(both.utf8)) { _ in [] } }
    }

    @Test("K6 the secret goes to the control plane, the access token to the registry, and a refusal says what to do") func exchange()
        async throws
    {
        let servers = FakeServers()
        let server = try #require(IdentityExchange.server("https://parent.test:8443"))
        let exchange = IdentityExchange(transport: servers, server: server)
        let host = try #require(HostAndPort("registry.test"))
        #expect(try await exchange.password(for: host, clientID: "c", proof: .secret("s+/=")) == "refresh")
        let sent = servers.sent.withLock { $0 }
        #expect(
            sent.map { "\($0.endpoint)\($0.target)" } == [
                "https://parent.test:8443/adfs/oauth2/token", "https://registry.test/oauth2/exchange",
            ])
        #expect(sent[0].body.contains("client_secret=s%2B%2F%3D"))
        #expect(!sent[1].body.contains("client_secret"))
        #expect(sent[1].body.contains("access_token=access"))
        #expect(IdentityExchange.server("http://parent.test") == nil)
        let denied = IdentityExchange(transport: FakeServers(status: 403), server: server)
        do {
            _ = try await denied.password(for: host, clientID: "c", proof: .secret("s"))
            Issue.record("it was not refused")
        } catch {
            #expect("\(error)".contains("no role at the registry"))
            #expect("\(error)".contains("--attach-acr"))
        }
    }

    @Test("K5 a pull secret is what docker would have written, under the registry's name or address") func pullSecret() throws {
        let secret = PullSecret(registry: "10.96.0.50", user: "puller", password: "p:w").manifest(name: "site", namespace: "web")
        #expect(secret["type"] == "kubernetes.io/dockerconfigjson")
        let text = try #require(secret[path: "data", ".dockerconfigjson"]?.stringValue)
        let document = try JSONValue(parsing: Array(try #require(Data(base64Encoded: text))))
        let entry = try #require(document["auths"]?["10.96.0.50"])
        #expect(entry["username"] == "puller")
        #expect(entry["auth"]?.stringValue.flatMap { Data(base64Encoded: $0) }.map { String(decoding: $0, as: UTF8.self) } == "puller:p:w")
    }

    @Test("K5 a service account keeps the Secrets that others have given it, also while they are at it; once more changes nothing")
    func serviceAccount() async throws {
        let cluster = FakeCluster()
        let path = ObjectKind.serviceAccount.path("default", in: "web")
        func use() async throws(KubernetesError) {
            try await PullSecret.use(name: "site", serviceAccount: "default", namespace: "web", in: cluster)
        }
        func secrets() -> [String?]? {
            cluster.object(.serviceAccount, "default", in: "web")?["imagePullSecrets"]?.arrayValue?.map { $0["name"]?.stringValue }
        }
        cluster.set(path, ["imagePullSecrets": [["name": "theirs"]], "secrets": [["name": "token"]]])
        cluster.interfere(
            path,
            [
                ["imagePullSecrets": [["name": "theirs"], ["name": "second"]]],
                ["imagePullSecrets": [["name": "theirs"], ["name": "second"], ["name": "third"]]],
            ])
        try await use()
        #expect(secrets() == ["theirs", "second", "third", "site"])
        #expect(cluster.object(.serviceAccount, "default", in: "web")?["secrets"] == [["name": "token"]])
        let changes = cluster.changes
        #expect(changes.count == 3)
        try await use()
        #expect(cluster.changes == changes)

        // Where others never rest, it is told and not forced.
        cluster.set(path, ["imagePullSecrets": [["name": "theirs"]]])
        cluster.interfere(path, (0..<100).map { ["metadata": ["annotations": ["round": .integer(Int64($0))]]] })
        do throws(KubernetesError) {
            try await use()
            Issue.record("it was written over what somebody else has written")
        } catch {
            #expect(error.code == .conflict)
        }
        #expect(secrets() == ["theirs"])

        // One that is not there is made.
        cluster.interfere(path, [])
        cluster.remove(path)
        try await use()
        #expect(secrets() == ["site"])
        #expect(cluster.changes.last == .init(method: "POST", path: ObjectKind.serviceAccount.path(in: "web")))
    }

    @Test("K7 a kubeconfig that is recorded names no files") func recorded() throws {
        let connection = ClusterConnection(
            server: "https://10.0.0.1:6443", authority: "CA", credentials: .certificate(chain: "CERT", key: "KEY"))
        let text = try connection.kubeconfig(named: "plant").serialized()
        let again = try ClusterConnection.parse(text, folder: "/nowhere", context: nil, name: "test")
        #expect(again.server == connection.server)
        #expect(again.authority == "CA")
        guard case .certificate("CERT", "KEY") = again.credentials else { return #expect(Bool(false), "no certificate") }
    }
}
