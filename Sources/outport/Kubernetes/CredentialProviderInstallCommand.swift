// `outport node credential-provider install`: lets the kubelet of this node pull with the cluster's kubelet identity.

import ArgumentParser
import Foundation
import JSON
import Persistence

struct NodeCredentialProviderCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "credential-provider", abstract: "Let the kubelet of this node pull without pull secrets.",
        subcommands: [Install.self])

    /// Writes what the kubelet and the plugin read.
    struct Install: ManagementCommand {
        static let configuration = CommandConfiguration(
            commandName: "install", abstract: "Write the configuration of the kubelet's credential provider.",
            discussion: """
                Gives the kubelet identity of a cluster ('outport aks create') a secret for this node, and writes, for root alone: the
                secret, the plugin's configuration, the kubelet's configuration of it, and a folder with a link to this program. The flags
                for the kubelet are printed; it is to be restarted with them once. What the identity may pull is decided by 'outport aks
                update --attach-acr' and '--detach-acr', without touching the node again.

                Example: outport node credential-provider install -n plant -g mygroup --registry myregistry.example:8443
                """)
        @OptionGroup var place: GroupedName
        @Option(help: "A registry as images are named, with a port unless it is 443. Can be given again.")
        var registry: [String]
        @Option(help: "Where to write.")
        var folder = "/etc/outport/credential-provider"
        @Option(help: "The version of the kubelet, such as 1.20; it decides the form of its configuration.")
        var kubeletVersion = "1.26"
        @OptionGroup var global: GlobalOptions

        /// The API versions of the kubelet's configuration and of the plugin's, by the kubelet's minor version.
        private func versions() throws(ManagementError) -> String {
            let parts = kubeletVersion.drop { $0 == "v" }.split(separator: ".").compactMap { Int($0) }
            guard parts.count >= 2, parts[0] == 1, parts[1] >= 20 else {
                throw .usage("argument --kubelet-version: '\(kubeletVersion)' is none from 1.20 on.")
            }
            return parts[1] >= 26 ? "v1" : parts[1] >= 24 ? "v1beta1" : "v1alpha1"
        }

        func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
            let version = try versions()
            let made = try await session.client.post(
                try place.path(GroupedResources.cluster, session) + "/createKubeletCredential",
                ["displayName": .string(ProcessInfo.processInfo.hostName)])
            guard let client = made?["clientId"]?.stringValue, let secret = made?["clientSecret"]?.stringValue else {
                throw ManagementError("The server gave no credential.")
            }
            var identity: JSONValue = [
                "server": .string(session.profile.server), "clientId": .string(client), "clientSecretFile": .string("\(folder)/secret"),
            ]
            do {
                try FileSystem.createFolder(folder + "/bin")
                if let file = session.profile.trustFile {
                    identity["ca"] = .string("\(folder)/ca.pem")
                    try FileSystem.replace("\(folder)/ca.pem", with: try FileSystem.read(file), mode: 0o644)
                }
                try FileSystem.replace("\(folder)/secret", with: (secret + "\n").utf8)
                let plugin: JSONValue = [
                    "registries": .array(registry.map { ["registry": .string($0), "identity": identity] })
                ]
                try FileSystem.replace("\(folder)/registries.json", with: (plugin.serialized(pretty: true) + "\n").utf8)
                let kubelet: JSONValue = [
                    "apiVersion": .string("kubelet.config.k8s.io/\(version)"), "kind": "CredentialProviderConfig",
                    "providers": [
                        [
                            "name": "outport", "apiVersion": .string("credentialprovider.kubelet.k8s.io/\(version)"),
                            "matchImages": .strings(registry), "defaultCacheDuration": "1m0s",
                            "args": ["credential-provider", "--config", .string("\(folder)/registries.json")],
                        ]
                    ],
                ]
                try FileSystem.replace("\(folder)/kubelet.yaml", with: YAMLText.render(kubelet).utf8)
                let link = "\(folder)/bin/outport"
                try? FileManager.default.removeItem(atPath: link)
                let program = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
                try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: program)
            } catch let error as ManagementError {
                throw error
            } catch {
                throw ManagementError("The files in \(folder) could not be written: \(error)", advice: "Run this as root on the node.")
            }
            var flags = "--image-credential-provider-config=\(folder)/kubelet.yaml --image-credential-provider-bin-dir=\(folder)/bin"
            if version == "v1alpha1" { flags += " --feature-gates=KubeletCredentialProviders=true" }
            return ["kubeletFlags": .string(flags), "folder": .string(folder)]
        }
    }
}
