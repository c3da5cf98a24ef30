// `outport credential-provider`: run by the kubelet for each image it has no credentials for.

internal import ArgumentParser
internal import Foundation
internal import Kubernetes
internal import Persistence

struct CredentialProviderCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "credential-provider", abstract: "Answer a kubelet's request for image credentials (exec plugin).",
        discussion: """
            Reads a CredentialProviderRequest from standard input and answers in its version (v1, v1beta1, v1alpha1). The configuration is JSON:

              {"registries": [{"registry": "10.0.0.5", "username": "mytoken", "passwordFile": "/etc/outport/password"}]}

            Example: outport credential-provider --config /etc/outport/credentials.json
            """)

    @Option(help: "The file that says which credentials are for which registry.")
    var config: String

    func run() async throws {
        let provider = try CredentialProvider(configuration: try FileSystem.read(self.config)) { try FileSystem.read($0, limit: 64 << 10) }
        let request = try FileHandle.standardInput.read(upToCount: 1 << 20) ?? Data()
        FileHandle.standardOutput.write(Data(try provider.answer(Array(request)) + [0x0a]))
    }
}
