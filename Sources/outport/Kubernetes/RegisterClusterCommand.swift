// `outport aks register`: a cluster that is somewhere, behind the commands that know clusters by name.

import ArgumentParser
import Foundation
import JSON
import Kubernetes

struct RegisterClusterCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "register", abstract: "Record a cluster that runs somewhere, with the kubeconfig to reach it.",
        discussion: """
            'az aks get-credentials' then gives out that kubeconfig, and 'az aks update --attach-acr' decides what the cluster's kubelet
            identity may pull. The cluster is asked for its version, so that a kubeconfig that does not work is noticed now.

            Example: outport aks register -n plant -g mygroup --kubeconfig plant.kubeconfig --attach-acr myregistry
            """)
    @OptionGroup var place: GroupedName
    @Option(
        name: [.customLong("kubeconfig"), .customLong("kube-config")],
        help: "The kubeconfig. Files that it names are put into what is recorded.")
    var kubeconfig: String
    @Option(help: "Context of the kubeconfig. The current one by default.")
    var kubeContext: String?
    @Option(name: [.customShort("l"), .long], help: "Location. The group's by default.")
    var location: String?
    @Option(help: "Name or resource ID of the registry that the nodes may pull from.")
    var attachAcr: String?
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        func connection() throws(KubernetesError) -> ClusterConnection { try .kubeconfig(kubeconfig, context: kubeContext) }
        let (content, version, nodes) = try await ClusterOptions.withClient(of: connection) { client, connection throws(KubernetesError) in
            let content = YAMLText.render(try connection.kubeconfig(named: place.name))
            let version = try await client.send("GET", "/version", nil, contentType: "application/json")["gitVersion"]?.stringValue
            return (content, version, try await client.list(.node).count)
        }
        let location = try await GroupedResources.location(location, place.resourceGroup, session)
        let path = try place.path(GroupedResources.cluster, session)
        let body: JSONValue = [
            "location": .string(location), "identity": ["type": "SystemAssigned"],
            "properties": [
                "dnsPrefix": .string(place.name), "kubernetesVersion": .string((version ?? "").filter { $0 != "v" }),
                "agentPoolProfiles": [["name": "nodes", "count": .integer(nodes), "mode": "System"]],
            ],
        ]
        let cluster = try await session.client.put(path, body)
        try await session.client.post(path + "/recordClusterCredential", ["kubeconfig": .string(Data(content.utf8).base64EncodedString())])
        if let attachAcr { try await AKSCommand.attach(attachAcr, cluster, session) }
        return GroupedResources.clusterShape.shape(cluster)
    }
}
