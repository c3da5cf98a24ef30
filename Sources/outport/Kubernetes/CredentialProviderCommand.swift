// `outport credential-provider`: run by the kubelet for each image it has no credentials for.

internal import ArgumentParser
internal import Foundation
internal import HTTPServing
internal import Kubernetes
internal import NIOPosix
internal import Persistence
internal import RegistryClient

struct CredentialProviderCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "credential-provider", abstract: "Answer a kubelet's request for image credentials (exec plugin).",
        discussion: """
            Reads a CredentialProviderRequest from standard input and answers in its version (v1, v1beta1, v1alpha1). The configuration is JSON:

              {"registries": [{"registry": "10.0.0.5", "username": "mytoken", "passwordFile": "/etc/outport/password"}]}

            In place of user and password a registry may have an identity, that of the node or that of the pod:

              "identity": {"server": "https://parent.example:8443", "ca": "ca.pem", "clientId": "…", "clientSecretFile": "secret"}
              "identity": {"server": "https://parent.example:8443", "ca": "ca.pem", "serviceAccountToken": true}

            Example: outport credential-provider --config /etc/outport/credentials.json
            """)

    @Option(help: "The file that says which credentials are for which registry.")
    var config: String

    func run() async throws {
        let provider = try CredentialProvider(configuration: try FileSystem.read(self.config)) { try FileSystem.read($0, limit: 64 << 10) }
        let request = try FileHandle.standardInput.read(upToCount: 1 << 20) ?? Data()
        let answer = try await provider.answer(Array(request)) { identity, registry, client, proof in
            guard let server = IdentityExchange.server(identity.server), let host = HostAndPort(registry) else {
                throw CredentialProviderError(description: "'\(identity.server)' is no https address of a control plane")
            }
            let trust =
                try identity.ca.map { TrustPolicy.authorities([String(decoding: try FileSystem.read($0), as: UTF8.self)]) } ?? .system
            let transport = try NIOTransport(group: MultiThreadedEventLoopGroup.singleton, trust: trust)
            defer { transport.close() }
            return try await IdentityExchange(transport: transport, server: server).password(for: host, clientID: client, proof: proof)
        }
        printResult(String(decoding: answer, as: UTF8.self))
    }
}
