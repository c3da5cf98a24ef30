// Speaks to a cluster's API server: the few verbs that installing something needs.

internal import AsyncHTTPClient
package import JSON
internal import NIOCore
internal import NIOFoundationCompat
internal import NIOSSL
internal import Persistence

/// Names one kind of objects, with where the API server keeps them.
package struct ObjectKind: Sendable, Hashable {
    package let apiVersion: String
    package let kind: String
    /// In lower case and plural, as paths have it.
    package let plural: String
    package let isNamespaced: Bool

    package init(_ apiVersion: String, _ kind: String, _ plural: String, isNamespaced: Bool = true) {
        self.apiVersion = apiVersion
        self.kind = kind
        self.plural = plural
        self.isNamespaced = isNamespaced
    }

    package static let namespace = ObjectKind("v1", "Namespace", "namespaces", isNamespaced: false)
    package static let node = ObjectKind("v1", "Node", "nodes", isNamespaced: false)
    package static let pod = ObjectKind("v1", "Pod", "pods")
    package static let secret = ObjectKind("v1", "Secret", "secrets")
    package static let configMap = ObjectKind("v1", "ConfigMap", "configmaps")
    package static let service = ObjectKind("v1", "Service", "services")
    package static let serviceAccount = ObjectKind("v1", "ServiceAccount", "serviceaccounts")
    package static let volumeClaim = ObjectKind("v1", "PersistentVolumeClaim", "persistentvolumeclaims")
    package static let deployment = ObjectKind("apps/v1", "Deployment", "deployments")
    package static let daemonSet = ObjectKind("apps/v1", "DaemonSet", "daemonsets")
    package static let storageClass = ObjectKind("storage.k8s.io/v1", "StorageClass", "storageclasses", isNamespaced: false)
    package static let role = ObjectKind("rbac.authorization.k8s.io/v1", "Role", "roles")
    package static let roleBinding = ObjectKind("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings")
    package static let clusterRole = ObjectKind("rbac.authorization.k8s.io/v1", "ClusterRole", "clusterroles", isNamespaced: false)
    package static let clusterRoleBinding = ObjectKind(
        "rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "clusterrolebindings", isNamespaced: false)
    package static let issuer = ObjectKind("cert-manager.io/v1", "Issuer", "issuers")
    package static let certificate = ObjectKind("cert-manager.io/v1", "Certificate", "certificates")

    /// Every kind that is made here.
    static let all: [ObjectKind] = [
        .namespace, .secret, .configMap, .service, .serviceAccount, .volumeClaim, .deployment, .daemonSet, .role, .roleBinding,
        .clusterRole,
        .clusterRoleBinding, .issuer, .certificate,
    ]

    /// The kind of a manifest.
    package init?(of manifest: JSONValue) {
        guard
            let found = Self.all.first(where: {
                $0.apiVersion == manifest["apiVersion"]?.stringValue && $0.kind == manifest["kind"]?.stringValue
            })
        else { return nil }
        self = found
    }

    /// The path of one object, or of all.
    package func path(_ name: String? = nil, in namespace: String? = nil) -> String {
        var path = self.apiVersion.contains("/") ? "/apis/\(self.apiVersion)" : "/api/\(self.apiVersion)"
        if let namespace, self.isNamespaced { path += "/namespaces/\(namespace)" }
        path += "/\(self.plural)"
        if let name { path += "/\(name)" }
        return path
    }
}

/// What installing needs of a cluster; tests put a cluster of their own here.
package protocol ClusterAPI: Sendable {
    /// - Parameter contentType: of the body.
    func send(_ method: String, _ path: String, _ body: JSONValue?, contentType: String) async throws(KubernetesError) -> JSONValue
    /// Events of a list, one document each, until the server ends the watch.
    func watch(_ path: String, seconds: Int, _ event: @Sendable (JSONValue) async -> Void) async throws(KubernetesError)
}

extension ClusterAPI {
    /// Who owns the fields that are applied here (server-side apply).
    package static var fieldManager: String { "outport" }

    package func get(_ kind: ObjectKind, _ name: String, in namespace: String? = nil) async throws(KubernetesError) -> JSONValue? {
        do {
            return try await self.send("GET", kind.path(name, in: namespace), nil, contentType: "application/json")
        } catch {
            if error.code == .notFound { return nil }
            throw error
        }
    }

    package func list(
        _ kind: ObjectKind, in namespace: String? = nil, labels: String? = nil
    ) async throws(KubernetesError) -> [JSONValue] {
        var (items, next): ([JSONValue], String?) = ([], nil)
        repeat {
            var query = ["limit=500"]
            if let labels { query.append("labelSelector=\(Self.encode(labels))") }
            if let next { query.append("continue=\(Self.encode(next))") }
            let page = try await self.send(
                "GET", kind.path(in: namespace) + "?" + query.joined(separator: "&"), nil, contentType: "application/json")
            items += page["items"]?.arrayValue ?? []
            next = page[path: "metadata", "continue"]?.stringValue.flatMap { $0.isEmpty ? nil : $0 }
        } while next != nil
        return items
    }

    /// Server-side apply: fields that are no longer named here are given up, those of others stay.
    @discardableResult
    package func apply(_ manifest: JSONValue) async throws(KubernetesError) -> JSONValue {
        guard let kind = ObjectKind(of: manifest), let name = manifest[path: "metadata", "name"]?.stringValue else {
            throw KubernetesError(.configuration, tried: "apply a manifest", "it is of no kind that is made here")
        }
        let path = kind.path(name, in: manifest[path: "metadata", "namespace"]?.stringValue)
        return try await self.send(
            "PATCH", "\(path)?fieldManager=\(Self.fieldManager)&force=true", manifest, contentType: "application/apply-patch+yaml")
    }

    @discardableResult
    package func create(_ manifest: JSONValue, _ kind: ObjectKind, in namespace: String?) async throws(KubernetesError) -> JSONValue {
        try await self.send("POST", kind.path(in: namespace), manifest, contentType: "application/json")
    }

    /// Merges members into an object (RFC 7386).
    ///
    /// - Parameter version: the object's `resourceVersion` as it was read; `conflict` is thrown when it is another by now.
    package func patch(
        _ kind: ObjectKind, _ name: String, in namespace: String?, _ members: JSONValue, version: JSONValue?
    ) async throws(KubernetesError) {
        var body = members
        body[path: "metadata", "resourceVersion"] = version
        _ = try await self.send(
            "PATCH", "\(kind.path(name, in: namespace))?fieldManager=\(Self.fieldManager)", body,
            contentType: "application/merge-patch+json")
    }

    /// Deletes, dependants first; what is not there is fine.
    package func delete(_ kind: ObjectKind, _ name: String, in namespace: String? = nil) async throws(KubernetesError) {
        do {
            _ = try await self.send(
                "DELETE", kind.path(name, in: namespace),
                ["apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Foreground"], contentType: "application/json")
        } catch {
            if error.code != .notFound { throw error }
        }
    }

    private static func encode(_ text: String) -> String {
        text.utf8.map { byte in
            let isPlain =
                (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte) || "-._~".utf8.contains(byte)
            return isPlain
                ? String(decoding: [byte], as: UTF8.self) : "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true)
        }.joined()
    }
}

/// A client of one API server over HTTP/1.1.
package final class KubernetesClient: ClusterAPI {
    private static let largestAnswer = 32 << 20

    private let connection: ClusterConnection
    private let client: HTTPClient

    package init(_ connection: ClusterConnection) throws(KubernetesError) {
        self.connection = connection
        do {
            var tls = TLSConfiguration.makeClientConfiguration()
            if let authority = connection.authority {
                tls.trustRoots = .certificates(try NIOSSLCertificate.fromPEMBytes(Array(authority.utf8)))
            }
            if case .certificate(let chain, let key) = connection.credentials {
                tls.certificateChain = try NIOSSLCertificate.fromPEMBytes(Array(chain.utf8)).map { .certificate($0) }
                tls.privateKey = .privateKey(try NIOSSLPrivateKey(bytes: Array(key.utf8), format: .pem))
            }
            var configuration = HTTPClient.Configuration(tlsConfiguration: tls, redirectConfiguration: .disallow)
            configuration.timeout.connect = .seconds(10)
            configuration.timeout.read = .seconds(330)
            configuration.httpVersion = .http1Only
            self.client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
        } catch {
            throw KubernetesError(.configuration, tried: "read the certificates for \(connection.server)", "\(error)")
        }
    }

    package func shutdown() async { try? await self.client.shutdown() }

    package func send(
        _ method: String, _ path: String, _ body: JSONValue?, contentType: String
    ) async throws(KubernetesError) -> JSONValue {
        let tried = "\(method) \(path.prefix { $0 != "?" })"
        let request = try self.request(method, path, body, contentType)
        let (status, bytes): (Int, [UInt8])
        do {
            let response = try await self.client.execute(request, timeout: .seconds(60))
            status = Int(response.status.code)
            bytes = Array((try await response.body.collect(upTo: Self.largestAnswer)).readableBytesView)
        } catch {
            throw KubernetesError(.unreachable, tried: tried, "\(self.connection.server) does not answer: \(error)")
        }
        let answer = bytes.isEmpty ? JSONValue.null : (try? JSONValue(parsing: bytes)) ?? .null
        guard (200..<300).contains(status) else { throw Self.error(status, answer, tried) }
        return answer
    }

    package func watch(
        _ path: String, seconds: Int, _ event: @Sendable (JSONValue) async -> Void
    ) async throws(KubernetesError) {
        let tried = "watch \(path)"
        let query = "watch=1&timeoutSeconds=\(seconds)"
        let request = try self.request("GET", path + (path.contains("?") ? "&" : "?") + query, nil, "application/json")
        do {
            let response = try await self.client.execute(request, timeout: .seconds(Int64(seconds) + 30))
            guard response.status.code == 200 else {
                let bytes = Array((try await response.body.collect(upTo: 1 << 20)).readableBytesView)
                throw Self.error(Int(response.status.code), (try? JSONValue(parsing: bytes)) ?? .null, tried)
            }
            var rest: [UInt8] = []
            for try await part in response.body {
                rest += part.readableBytesView
                while let end = rest.firstIndex(of: 0x0a) {
                    if let document = try? JSONValue(parsing: rest[..<end]) { await event(document) }
                    rest.removeSubrange(...end)
                }
                guard rest.count <= Self.largestAnswer else { return }
            }
        } catch let error as KubernetesError {
            throw error
        } catch {
            throw KubernetesError(.unreachable, tried: tried, "\(self.connection.server) does not answer: \(error)")
        }
    }

    private func request(
        _ method: String, _ path: String, _ body: JSONValue?, _ contentType: String
    ) throws(KubernetesError) -> HTTPClientRequest {
        var request = HTTPClientRequest(url: self.connection.server + path)
        request.method = .init(rawValue: method)
        request.headers.add(name: "Accept", value: "application/json, application/jwk-set+json")
        request.headers.add(name: "User-Agent", value: "outport")
        switch self.connection.credentials {
        case .token(let token): request.headers.add(name: "Authorization", value: "Bearer \(token)")
        case .tokenFile(let path):
            do {
                let token = String(decoding: try FileSystem.read(path), as: UTF8.self).filter { !$0.isWhitespace }
                request.headers.add(name: "Authorization", value: "Bearer \(token)")
            } catch {
                throw KubernetesError(.configuration, tried: "read \(path)", "\(error)")
            }
        case .certificate, .none: break
        }
        if let body {
            request.headers.add(name: "Content-Type", value: contentType)
            request.body = .bytes(ByteBuffer(string: body.serialized()))
        }
        return request
    }

    private static func error(_ status: Int, _ answer: JSONValue, _ tried: String) -> KubernetesError {
        let code: KubernetesError.Code =
            switch status {
            case 401: .unauthorized
            case 403: .forbidden
            case 404: .notFound
            case 409: .conflict
            case 400, 422: .invalid
            case 429, 500, 502, 503, 504: .unreachable
            default: .refused
            }
        return KubernetesError(code, tried: tried, answer["message"]?.stringValue ?? "the cluster answers \(status)")
    }
}
