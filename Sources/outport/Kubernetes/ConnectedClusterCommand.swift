// `outport connectedk8s …`: clusters with an agent, under the names that `az connectedk8s` uses.

import ArgumentParser
import ClusterProtocol
import Foundation
import JSON
import Kubernetes
import Persistence

/// Requests about connected clusters.
enum ConnectedClusters {
    static let type = "Microsoft.Kubernetes/connectedClusters"

    static let shape = ResourceShape(skeleton: [
        "id": nil, "name": nil, "type": nil, "location": nil, "tags": nil, "identity": nil, "provisioningState": nil,
        "connectivityStatus": nil, "lastConnectivityTime": nil, "agentVersion": nil, "kubernetesVersion": nil, "totalNodeCount": nil,
        "distribution": nil, "infrastructure": nil,
    ])
}

/// `outport connectedk8s …`
struct ConnectedClusterCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "connectedk8s", abstract: "Connect clusters, so that extensions can be installed in them.",
        subcommands: [Connect.self, Show.self, List.self, Delete.self])

    struct Connect: ManagementCommand {
        static let configuration = CommandConfiguration(
            commandName: "connect", abstract: "Record a cluster and start its agent there.",
            discussion: """
                Makes the record and an identity for the agent, and applies the agent's manifests with your kubeconfig; --print writes them
                to standard output instead, with the secret in them. Connecting again renews identity and rights.

                Example: outport connectedk8s connect -n plant -g mygroup --image registry.example/outport:0.1.0
                """)
        @OptionGroup var place: GroupedName
        @Option(name: [.customShort("l"), .long], help: "Location. The group's by default.")
        var location: String?
        @Option(parsing: .upToNextOption, help: "Space-separated tags: key[=value] [key[=value] ...].")
        var tags: [String] = []
        @OptionGroup var cluster: ClusterOptions
        @Option(help: "This program's image, REGISTRY/REPOSITORY:TAG ('outport image build --push' makes it).")
        var image: String
        @Option(help: "A Secret of namespace outport-agent with which the image is pulled.")
        var imagePullSecret: String?
        @Option(help: "Where the cluster reaches this server, where that is not the address signed in at. https://HOST:PORT.")
        var server: String?
        @Option(help: "The Kubernetes distribution, for the record.")
        var distribution = "generic"
        @Option(help: "The infrastructure, for the record.")
        var infrastructure = "generic"
        @Option(
            parsing: .unconditionalSingleValue, help: "A further option for the agent, such as --health-timeout=600. Can be given again.")
        var agentOption: [String] = []
        @Option(
            help: ArgumentHelp(
                "Install cert-manager from this bundle first (cert-manager.yaml of its release), for extensions with cert-manager.enabled.",
                valueName: "file"))
        var certManagerBundle: String?
        @Flag(help: "Write the manifests to standard output and apply nothing. They contain the agent's secret.")
        var print = false
        @Flag(help: "Do not wait until the agent has connected.")
        var noWait = false
        @OptionGroup var global: GlobalOptions

        func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
            let path = try place.path(ConnectedClusters.type, session)
            let server = try SignIn.server(server ?? session.profile.server)
            if let host = URL(string: server)?.host(), host == "localhost" || host.hasPrefix("127.") {
                throw ManagementError(
                    "Pods of a cluster cannot reach this server at \(server).",
                    advice:
                        "Give the address they reach it at with --server; the server must be started with it (--public-address or --suffix)."
                )
            }
            guard let colon = image.lastIndex(of: ":"), !image[colon...].contains("/") else {
                throw .usage("--image needs a tag: REGISTRY/REPOSITORY:TAG.")
            }
            guard !print || certManagerBundle == nil else {
                throw .usage("--cert-manager-bundle is applied, and --print applies nothing.", advice: "Apply the bundle with kubectl.")
            }
            var bundle: ManifestBundle?
            if let certManagerBundle { bundle = try Self.bundle(certManagerBundle) }
            let location = try await GroupedResources.location(location, place.resourceGroup, session)
            var record = try await session.client.find(path)
            if record == nil || !tags.isEmpty {
                record = try await session.client.put(
                    path,
                    [
                        "location": .string(location), "tags": ResourceText.tags(tags), "identity": ["type": "SystemAssigned"],
                        "properties": [
                            "agentPublicKeyCertificate": "", "distribution": .string(distribution),
                            "infrastructure": .string(infrastructure),
                        ],
                    ])
            }
            let credential = try await session.client.post(path + "/createAgentCredential") ?? .null
            func member(_ name: String) -> String { credential[name]?.stringValue ?? "" }
            var authority: String?
            if let file = session.profile.trustFile {
                guard let text = try? String(contentsOfFile: file, encoding: .utf8) else {
                    throw ManagementError("The server's CA in \(file) cannot be read.", advice: "Run 'outport login --ca FILE' again.")
                }
                authority = text
            }
            let manifests = AgentManifests(
                AgentPlan(
                    image: image, server: server, authority: authority, cluster: member("cluster"), tenant: member("tenantId"),
                    clientID: member("clientId"), clientSecret: member("clientSecret"), pullSecret: imagePullSecret, options: agentOption))
            if print {
                session.console.write(manifests.all.map { "---\n" + YAMLText.render($0) }.joined())
                return nil
            }
            try await cluster.withClient { client throws(KubernetesError) in
                try await bundle?.apply(to: client) { session.console.note($0) }
                for object in manifests.all { try await client.apply(object) }
            }
            guard !noWait else { return ConnectedClusters.shape.shape(record ?? .null) }
            return ConnectedClusters.shape.shape(try await Self.await(path, session))
        }

        private static func bundle(_ path: String) throws(ManagementError) -> ManifestBundle {
            do {
                return try ManifestBundle(yaml: String(decoding: try FileSystem.read(path, limit: ManifestBundle.largest), as: UTF8.self))
            } catch {
                throw ManagementError("The bundle '\(path)' cannot be used: \(error)", advice: "Take the cert-manager.yaml of a release.")
            }
        }

        /// The record, once the agent has connected.
        private static func `await`(_ path: String, _ session: ManagementSession) async throws(ManagementError) -> JSONValue {
            for _ in 0..<300 {
                let record = try await session.client.get(path)
                if record[path: "properties", "connectivityStatus"] == "Connected" { return record }
                do {
                    try await Task.sleep(for: .seconds(1))
                } catch {
                    throw ManagementError("The command was interrupted while the agent was starting.")
                }
            }
            throw ManagementError(
                "The agent has not connected within five minutes.",
                advice:
                    "Look at 'kubectl -n \(AgentManifests.namespace) get pods' and 'kubectl -n \(AgentManifests.namespace) logs deployment/"
                    + "\(AgentManifests.name)': the image may not be pulled, or the server not be reached.")
        }
    }

    struct Show: ManagementCommand {
        static let configuration = CommandConfiguration(
            commandName: "show", abstract: "Show a connected cluster.",
            discussion: "Example: outport connectedk8s show -n mycluster -g mygroup")
        @OptionGroup var place: GroupedName
        @OptionGroup var global: GlobalOptions
        func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
            ConnectedClusters.shape.shape(try await session.client.get(try place.path(ConnectedClusters.type, session)))
        }
    }

    struct List: ManagementCommand {
        static let configuration = CommandConfiguration(
            commandName: "list", abstract: "List connected clusters.",
            discussion: "Example: outport connectedk8s list -g mygroup")
        @OptionGroup var group: GroupOption
        @OptionGroup var global: GlobalOptions
        func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
            ConnectedClusters.shape.shape(try await GroupedResources.list(ConnectedClusters.type, group, session))
        }
    }

    struct Delete: ManagementCommand {
        static let configuration = CommandConfiguration(
            commandName: "delete", abstract: "Take the agent out of a cluster and delete the record.",
            discussion:
                """
                Extensions are deleted first. A volume that is there all the same ('k8s-extension delete --keep-data') stays, and with it the
                namespace connected-registry. With --force the record goes at once and the cluster is left as it is.

                Example: outport connectedk8s delete -n mycluster -g mygroup --yes
                """
        )
        @OptionGroup var place: GroupedName
        @OptionGroup var cluster: ClusterOptions
        @Flag(help: "Delete the record alone.")
        var force = false
        @OptionGroup var consent: YesOption
        @OptionGroup var global: GlobalOptions
        func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
            try session.confirm("Are you sure you want to perform this operation?", consent)
            let path = try place.path(ConnectedClusters.type, session)
            if !force {
                for item in try await session.client.list("\(path)/\(ClusterExtensions.type)") {
                    if let id = item["id"]?.stringValue { try await session.client.delete(id) }
                }
                let kept = try await cluster.withClient { client throws(KubernetesError) in try await AgentManifests.remove(from: client) }
                if !kept.isEmpty { session.warn(AgentManifests.farewell(keeping: kept)) }
            }
            try await session.client.delete(path)
            return nil
        }
    }
}
