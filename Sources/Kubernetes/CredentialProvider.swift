// The kubelet's question for credentials, and the answer (kubelet credential provider API, credentialprovider.kubelet.k8s.io).

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// Why there is no answer, with what to do next.
package struct CredentialProviderError: Error, Sendable, CustomStringConvertible {
    package let description: String
}

/// Credentials for registries, as a node's operator has written them down.
package struct CredentialProvider: Sendable {
    /// `{"registries": [{"registry": "10.0.0.1", "username": "mytoken", "passwordFile": "/etc/…"}], "cacheDuration": "5m0s"}`
    private struct Configuration: Decodable {
        struct Entry: Decodable {
            let registry: String
            let username: String
            let password: String?
            let passwordFile: String?
        }

        let registries: [Entry]
        let cacheDuration: String?
    }

    private struct Request: Decodable {
        let apiVersion: String
        let kind: String
        let image: String
    }

    private struct Response: Encodable {
        struct Auth: Encodable {
            let username: String
            let password: String
        }

        let kind = "CredentialProviderResponse"
        let apiVersion: String
        let cacheKeyType = "Registry"
        let cacheDuration: String
        let auth: [String: Auth]
    }

    /// Every version kubelets have asked in; the answer is in the version of the question.
    private static let versions = ["v1", "v1beta1", "v1alpha1"].map { "credentialprovider.kubelet.k8s.io/\($0)" }

    private let configuration: Configuration
    private let readFile: @Sendable (String) throws -> [UInt8]

    /// - Parameter readFile: reads the files that hold passwords, each time one is needed: they may be replaced.
    package init(configuration: [UInt8], readFile: @escaping @Sendable (String) throws -> [UInt8]) throws {
        do {
            self.configuration = try JSONDecoder().decode(Configuration.self, from: Data(configuration))
        } catch {
            throw CredentialProviderError(
                description:
                    "the configuration is no JSON object with 'registries', each with 'registry', 'username' and 'password' or 'passwordFile' (\(error))"
            )
        }
        for entry in self.configuration.registries where (entry.password == nil) == (entry.passwordFile == nil) {
            throw CredentialProviderError(description: "registry '\(entry.registry)' needs either 'password' or 'passwordFile'")
        }
        self.readFile = readFile
    }

    /// Answers one request.
    ///
    /// An image of a registry that is not configured gets an empty answer: the kubelet then pulls without credentials.
    package func answer(_ request: [UInt8]) throws -> [UInt8] {
        guard let question = try? JSONDecoder().decode(Request.self, from: Data(request)), question.kind == "CredentialProviderRequest"
        else {
            throw CredentialProviderError(description: "standard input is no CredentialProviderRequest; this program is run by the kubelet")
        }
        guard Self.versions.contains(question.apiVersion) else {
            throw CredentialProviderError(
                description: "the kubelet asks in \(question.apiVersion.prefix(80)); known are \(Self.versions.joined(separator: ", "))")
        }
        let host = question.image.split(separator: "/", maxSplits: 1).first.map(String.init)?.lowercased() ?? ""
        var auth: [String: Response.Auth] = [:]
        if let entry = self.configuration.registries.first(where: { $0.registry.lowercased() == host }) {
            auth[entry.registry] = Response.Auth(username: entry.username, password: try self.password(entry))
        }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        let response = Response(apiVersion: question.apiVersion, cacheDuration: self.configuration.cacheDuration ?? "5m0s", auth: auth)
        return Array(try encoder.encode(response))
    }

    private func password(_ entry: Configuration.Entry) throws -> String {
        if let password = entry.password { return password }
        let path = entry.passwordFile ?? ""
        do {
            let text = String(decoding: try self.readFile(path), as: UTF8.self)
            return String(text.drop(while: \.isWhitespace).reversed().drop(while: \.isWhitespace).reversed())
        } catch {
            throw CredentialProviderError(description: "the password of '\(entry.registry)' cannot be read from \(path): \(error)")
        }
    }
}
