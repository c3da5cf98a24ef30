// Where a cluster is and who we are there: a kubeconfig, or what a pod finds in its own file system.

internal import HTTPServing
package import JSON
internal import Persistence
internal import RegistryClient
internal import Yams

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// The way to a cluster's API server.
package struct ClusterConnection: Sendable {
    package enum Credentials: Sendable {
        case token(String)
        /// Read for each request: the cluster replaces it.
        case tokenFile(String)
        /// Certificate chain and key in PEM.
        case certificate(chain: String, key: String)
        case none
    }

    /// `https://host:port`, without a slash at its end.
    package let server: String
    /// PEM; `nil` for what the system trusts.
    package let authority: String?
    package let credentials: Credentials

    package init(server: String, authority: String?, credentials: Credentials) {
        self.server = server
        self.authority = authority
        self.credentials = credentials
    }

    /// Where a pod finds its service account.
    private static let account = "/var/run/secrets/kubernetes.io/serviceaccount"

    /// From within a pod.
    package static func inCluster(environment: [String: String]) throws(KubernetesError) -> ClusterConnection {
        guard let host = environment["KUBERNETES_SERVICE_HOST"], let port = environment["KUBERNETES_SERVICE_PORT"] else {
            throw KubernetesError(
                .configuration, tried: "find the cluster", "this is no pod of a cluster; name a kubeconfig with --kube-config")
        }
        guard let address = HostAndPort("\(host.contains(":") ? "[\(host)]" : host):\(port)"), address.port != 0 else {
            throw KubernetesError(
                .configuration, tried: "find the cluster",
                "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT of the environment are no host and no port from 1 to 65535")
        }
        let authority = try self.file("\(self.account)/ca.crt", base: "")
        return ClusterConnection(
            server: "https://\(address)", authority: authority, credentials: .tokenFile("\(self.account)/token"))
    }

    /// From a kubeconfig.
    ///
    /// - Parameter context: `nil` for the current one.
    package static func kubeconfig(_ path: String, context: String?) throws(KubernetesError) -> ClusterConnection {
        let folder = String(path[..<(path.lastIndex(of: "/") ?? path.startIndex)])
        return try self.parse(try self.file(path, base: ""), folder: path.contains("/") ? folder : ".", context: context, name: path)
    }

    /// A kubeconfig that says the same without any other file: one that can be given away.
    package func kubeconfig(named name: String) throws(KubernetesError) -> JSONValue {
        var user: JSONValue = [:]
        switch self.credentials {
        case .token(let token): user["token"] = .string(token)
        case .tokenFile(let path): user["token"] = .string(try Self.file(path, base: "").filter { !$0.isWhitespace })
        case .certificate(let chain, let key):
            user["client-certificate-data"] = .string(Data(chain.utf8).base64EncodedString())
            user["client-key-data"] = .string(Data(key.utf8).base64EncodedString())
        case .none: break
        }
        var cluster: JSONValue = ["server": .string(self.server)]
        if let authority { cluster["certificate-authority-data"] = .string(Data(authority.utf8).base64EncodedString()) }
        return [
            "apiVersion": "v1", "kind": "Config", "current-context": .string(name),
            "clusters": [["name": .string(name), "cluster": cluster]], "users": [["name": .string("clusterUser_\(name)"), "user": user]],
            "contexts": [["name": .string(name), "context": ["cluster": .string(name), "user": .string("clusterUser_\(name)")]]],
        ]
    }

    /// - Parameter folder: what relative paths in the text start from.
    package static func parse(_ text: String, folder: String, context: String?, name: String) throws(KubernetesError) -> ClusterConnection {
        func fail(_ reason: String) -> KubernetesError { KubernetesError(.configuration, tried: "read \(name)", reason) }
        guard text.utf8.count <= 1 << 20 else { throw fail("it is larger than 1 MiB") }
        let document: JSONValue
        do {
            document = try YAMLValue.parse(text)
        } catch {
            throw fail("it is no YAML: \(error)")
        }
        func entry(_ list: String, _ kind: String, _ name: String) throws(KubernetesError) -> JSONValue {
            guard let found = document[list]?.arrayValue?.first(where: { $0["name"]?.stringValue == name })?[kind] else {
                throw fail("there is no \(kind) '\(name)' in it")
            }
            return found
        }
        guard let chosen = context ?? document["current-context"]?.stringValue, !chosen.isEmpty else {
            throw fail("it has no current-context; name one with --kube-context")
        }
        let pair = try entry("contexts", "context", chosen)
        let clusterName = pair["cluster"]?.stringValue ?? ""
        let cluster = try entry("clusters", "cluster", clusterName)
        guard let server = cluster["server"]?.stringValue, server.hasPrefix("https://") else {
            throw fail("the cluster of context '\(chosen)' has no https server")
        }
        // It may have a password in it, and is not repeated.
        guard SourceURL(server) != nil, !server.contains(where: { "?#".contains($0) }) else {
            throw fail("clusters[name=\(clusterName)].cluster.server is no address https://host:port; a port is a number from 1 to 65535")
        }
        guard cluster["insecure-skip-tls-verify"]?.boolValue != true else {
            throw fail("it asks not to verify the cluster's certificate; put certificate-authority-data in its place")
        }
        let user = try entry("users", "user", pair["user"]?.stringValue ?? "")
        func content(_ value: JSONValue, _ key: String) throws(KubernetesError) -> String? {
            if let text = value["\(key)-data"]?.stringValue {
                guard let bytes = Data(base64Encoded: text) else { throw fail("\(key)-data is not base64") }
                return String(decoding: bytes, as: UTF8.self)
            }
            guard let path = value[key]?.stringValue else { return nil }
            return try self.file(path, base: folder)
        }
        let credentials: Credentials
        if let chain = try content(user, "client-certificate"), let key = try content(user, "client-key") {
            credentials = .certificate(chain: chain, key: key)
        } else if let token = user["token"]?.stringValue {
            credentials = .token(token)
        } else if let path = user["tokenFile"]?.stringValue {
            credentials = .tokenFile(path.hasPrefix("/") ? path : "\(folder)/\(path)")
        } else if user["exec"] != nil || user["auth-provider"] != nil {
            throw fail("its user signs in through another program, which is not available here; use a token or a client certificate")
        } else {
            credentials = .none
        }
        return ClusterConnection(
            server: server.hasSuffix("/") ? String(server.dropLast()) : server, authority: try content(cluster, "certificate-authority"),
            credentials: credentials)
    }

    private static func file(_ path: String, base: String) throws(KubernetesError) -> String {
        let full = path.hasPrefix("/") || base.isEmpty ? path : "\(base)/\(path)"
        do {
            return String(decoding: try FileSystem.read(full), as: UTF8.self)
        } catch {
            throw KubernetesError(.configuration, tried: "read \(full)", "\(error)")
        }
    }
}

/// YAML as the one value for any document.
package enum YAMLValue {
    /// Parses the first document. Anchors are followed, but not without end: what they make is bounded.
    package static func parse(_ text: String) throws -> JSONValue {
        var budget = 200_000
        return try self.value(try Yams.compose(yaml: text) ?? Node("null"), &budget)
    }

    /// Parses every document.
    package static func parseAll(_ text: String) throws -> [JSONValue] {
        var budget = 2_000_000
        // It is its own iterator, and keeps the mistake that ended it: a file that was cut off must not pass for a short one.
        var documents = try Yams.compose_all(yaml: text)
        var values: [JSONValue] = []
        while let node = documents.next() { values.append(try self.value(node, &budget)) }
        if let error = documents.error { throw error }
        return values
    }

    private static func value(_ node: Node, _ budget: inout Int) throws -> JSONValue {
        budget -= 1
        guard budget > 0 else { throw KubernetesError(.configuration, tried: "read YAML", "it grows without end") }
        switch node {
        case .mapping(let mapping):
            var members: [String: JSONValue] = [:]
            for (key, inner) in mapping { members[key.string ?? ""] = try self.value(inner, &budget) }
            return .object(members)
        case .sequence(let sequence): return .array(try sequence.map { try self.value($0, &budget) })
        case .scalar(let scalar):
            if scalar.style == .singleQuoted || scalar.style == .doubleQuoted { return .string(scalar.string) }
            if node.null != nil { return .null }
            if let flag = node.bool { return .bool(flag) }
            if let number = node.int { return .integer(number) }
            return .string(scalar.string)
        default: throw KubernetesError(.configuration, tried: "read YAML", "it has an alias that leads nowhere")
        }
    }
}
