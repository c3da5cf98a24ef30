// The kubelet's question for credentials, and the answer (kubelet credential provider API, credentialprovider.kubelet.k8s.io).

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// Why there is no answer, with what to do next.
package struct CredentialProviderError: Error, Sendable, CustomStringConvertible {
    package let description: String

    package init(description: String) { self.description = description }
}

/// An identity of the directory with which a node pulls.
package struct NodeIdentity: Decodable, Sendable {
    /// The control plane, `https://…`.
    package let server: String
    /// A file with its CA, and the registry's, in PEM; otherwise what the system trusts.
    package let ca: String?
    /// `nil` where the pod says who it is.
    package let clientId: String?
    package let clientSecretFile: String?
    /// Whether the kubelet's token of the pod's service account is the proof.
    package let serviceAccountToken: Bool?
}

/// Credentials for registries, as a node's operator has written them down.
package struct CredentialProvider: Sendable {
    /// `{"registries": [{"registry": "10.0.0.1", "username": "mytoken", "passwordFile": "/etc/…"}], "cacheDuration": "5m0s"}`, or
    /// `{"registries": [{"registry": "parent.example", "identity": {"server": "https://parent.example", "clientId": "…", "clientSecretFile": "…"}}]}`
    private struct Configuration: Decodable {
        struct Entry: Decodable {
            let registry: String
            let username: String?
            let password: String?
            let passwordFile: String?
            let identity: NodeIdentity?
        }

        let registries: [Entry]
        let cacheDuration: String?
    }

    private struct Request: Decodable {
        let apiVersion: String
        let kind: String
        let image: String
        /// What the kubelet has of the pod's service account, from version 1.33 on where it is told to.
        let serviceAccountToken: String?
        let serviceAccountAnnotations: [String: String]?
    }

    private struct Response: Encodable {
        struct Auth: Encodable {
            let username: String
            let password: String
        }

        let kind = "CredentialProviderResponse"
        let apiVersion: String
        /// What a pod's own identity has fetched is for that very request: the kubelet keeps it apart by service account besides.
        let cacheKeyType: String
        let cacheDuration: String
        let auth: [String: Auth]
    }

    /// Every version kubelets have asked in; the answer is in the version of the question.
    private static let versions = ["v1", "v1beta1", "v1alpha1"].map { "credentialprovider.kubelet.k8s.io/\($0)" }

    /// The annotations of a service account that name its identity.
    private static let clientAnnotations = ["outport/client-id", "azure.workload.identity/client-id"]
    /// How long a kubelet keeps what an identity has fetched: detaching a registry shows within this time.
    private static let identityCache = "1m0s"

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
        for entry in self.configuration.registries {
            if let identity = entry.identity {
                guard entry.username == nil, entry.password == nil, entry.passwordFile == nil else {
                    throw CredentialProviderError(
                        description: "registry '\(entry.registry)' has an identity and a password; keep one of them")
                }
                let isPods = identity.serviceAccountToken == true
                guard isPods != (identity.clientSecretFile != nil), isPods || identity.clientId != nil else {
                    throw CredentialProviderError(
                        description:
                            "the identity for '\(entry.registry)' needs either 'clientId' with 'clientSecretFile', or 'serviceAccountToken': true"
                    )
                }
                continue
            }
            guard entry.username != nil, (entry.password == nil) != (entry.passwordFile == nil) else {
                throw CredentialProviderError(
                    description: "registry '\(entry.registry)' needs 'username' and either 'password' or 'passwordFile', or an 'identity'")
            }
        }
        self.readFile = readFile
    }

    /// Answers one request.
    ///
    /// An image of a registry that is not configured gets an empty answer: the kubelet then pulls without credentials.
    ///
    /// - Parameter signIn: gets a password for a registry with an identity.
    package func answer(
        _ request: [UInt8],
        signIn:
            @Sendable (_ identity: NodeIdentity, _ registry: String, _ clientID: String, _ proof: IdentityProof) async throws -> String = {
                _, registry, _, _ in throw CredentialProviderError(description: "nothing signs in for '\(registry)' here")
            }
    ) async throws -> [UInt8] {
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
        var cache = self.configuration.cacheDuration ?? "5m0s"
        if let entry = self.configuration.registries.first(where: { $0.registry.lowercased() == host }) {
            if let identity = entry.identity {
                let (client, proof) = try self.proof(identity, question)
                let password = try await signIn(identity, entry.registry, client, proof)
                auth[entry.registry] = Response.Auth(username: IdentityExchange.user, password: password)
                cache = Self.identityCache
            } else {
                auth[entry.registry] = Response.Auth(username: entry.username ?? "", password: try self.password(entry))
            }
        }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        let response = Response(
            apiVersion: question.apiVersion, cacheKeyType: question.serviceAccountToken == nil ? "Registry" : "Image", cacheDuration: cache,
            auth: auth)
        return Array(try encoder.encode(response))
    }

    /// Who signs in, and with what: the node, or the pod for which it pulls.
    private func proof(_ identity: NodeIdentity, _ question: Request) throws -> (client: String, proof: IdentityProof) {
        guard identity.serviceAccountToken == true else {
            let secret = String(decoding: try self.readFile(identity.clientSecretFile ?? ""), as: UTF8.self).filter { !$0.isWhitespace }
            return (identity.clientId ?? "", .secret(secret))
        }
        guard let token = question.serviceAccountToken, !token.isEmpty else {
            throw CredentialProviderError(
                description:
                    "the kubelet sends no token of the pod's service account; set tokenAttributes in its credential provider configuration (Kubernetes 1.33 and newer)"
            )
        }
        let named = Self.clientAnnotations.compactMap { question.serviceAccountAnnotations?[$0] }.first
        guard let client = named ?? identity.clientId else {
            throw CredentialProviderError(
                description: "the pod's service account names no identity; annotate it with \(Self.clientAnnotations[0])=CLIENT-ID")
        }
        return (client, .assertion(token))
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
