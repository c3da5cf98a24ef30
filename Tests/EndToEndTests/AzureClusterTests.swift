// Connected clusters, their extensions and federated credentials, with the unmodified `az` and the bodies of its extension.

import Foundation
import JSON
import Testing

@Suite(.serialized) struct AzureClusterTests {
    @Test("K1 az: a connected cluster, its extension by the bodies of k8s-extension, and who an identity believes")
    func records() async throws {
        try await withSandbox { box in
            let parent = try await Parent.start(box)
            let azure = try await AzureCLI.operate(parent)
            let group = try await azure("acr", "show", "-n", parent.registryName, "--query", "resourceGroup", "-o", "tsv")
            let subscription = try await azure("account", "show", "--query", "id", "-o", "tsv")
            let cluster = "/subscriptions/\(subscription)/resourceGroups/\(group)/providers/Microsoft.Kubernetes/connectedClusters/plant"
            let made = try await azure.json(
                "resource", "create", "-g", group, "-n", "plant", "--resource-type", "Microsoft.Kubernetes/connectedClusters", "-l",
                "eastus",
                "--properties", #"{"agentPublicKeyCertificate":"","distribution":"k3s"}"#)
            #expect(made[path: "properties", "connectivityStatus"] == "Offline")
            #expect(
                try await azure(
                    "resource", "list", "--resource-type", "Microsoft.Kubernetes/connectedClusters", "--query", "[].name", "-o", "tsv")
                    == "plant")

            let item = "\(cluster)/providers/Microsoft.KubernetesConfiguration/extensions/myconnectedregistry"
            let url = "https://\(parent.server.address)\(item)?api-version=2023-05-01"
            let connection =
                "ConnectedRegistryName=factory;SyncTokenName=factory;SyncTokenPassword=hush;ParentGatewayEndpoint=p.test;ParentEndpointProtocol=https"
            let body = try box.file(
                "body.json",
                #"{"identity":{"type":"SystemAssigned"},"properties":{"extensionType":"microsoft.containerregistry.connectedregistry","configurationSettings":{"service.clusterIP":"192.100.100.1"},"configurationProtectedSettings":{"connectionString":"\#(connection)"}}}"#
            )
            func rest(_ method: String, _ more: String...) async throws -> JSONValue {
                let resource = "https://\(parent.server.address)/"
                let text = try await azure.attempt(["rest", "--method", method, "--resource", resource] + more).succeeded().trimmed
                return text.isEmpty ? .null : try JSONValue(parsing: text)
            }
            let put = try await rest("put", "--url", url, "--body", "@\(body)")
            #expect(put[path: "properties", "provisioningState"] == "Creating")
            #expect(put[path: "properties", "configurationProtectedSettings"] == ["connectionString": ""])
            let shown = try await rest("get", "--url", url)
            #expect(shown[path: "properties", "configurationSettings", "pvc.storageRequest"] == "250Gi")
            #expect(shown["systemData"]?.isNull == false)
            #expect(!shown.serialized().contains("hush"))
            // outport says the same.
            let ours = try JSONValue(
                parsing: try await parent("k8s-extension", "show", "-n", "myconnectedregistry", "-c", "plant", "-g", group))
            #expect(ours["extensionType"] == "microsoft.containerregistry.connectedregistry")
            let patch = try box.file("patch.json", #"{"properties":{"configurationSettings":{"pvc.storageRequest":"10Gi"}}}"#)
            let changed = try await rest("patch", "--url", url, "--body", "@\(patch)")
            #expect(changed[path: "properties", "configurationSettings", "pvc.storageRequest"] == "10Gi")
            _ = try await rest("delete", "--url", url)
            try await azure.attempt("rest", "--method", "get", "--resource", "https://\(parent.server.address)/", "--url", url).failed()

            // Whom an identity believes: without a connected cluster of that issuer there is nobody to believe.
            try await azure("identity", "create", "-g", group, "-n", "puller")
            let refused = try await azure.attempt(
                "identity", "federated-credential", "create", "-g", group, "--identity-name", "puller", "-n", "web", "--issuer",
                "https://kubernetes.default.svc", "--subject", "system:serviceaccount:web:default", "--audiences",
                "api://AzureADTokenExchange"
            ).failed()
            #expect(refused.errors.contains("connectedk8s connect"))
            #expect(
                try await azure.json("identity", "federated-credential", "list", "-g", group, "--identity-name", "puller") == .array([]))
        }
    }
}
