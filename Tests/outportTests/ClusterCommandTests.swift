// Proves the commands for extensions and pull secrets down to the requests they send.

import Foundation
import JSON
import TestSupport
import Testing

@testable import outport

@Suite struct ClusterCommandTests {
    private let harness = Harness()
    private static let path =
        "/subscriptions/sub-1/resourceGroups/g/providers/Microsoft.Kubernetes/connectedClusters/plant/providers/Microsoft.KubernetesConfiguration/extensions/site"
    private static let place = ["-n", "site", "-g", "g", "-c", "plant", "-t", "connectedClusters"]

    private func run(_ verb: String, _ more: [String]) async -> Int32 {
        await self.harness.run(list: ["k8s-extension", verb] + Self.place + more)
    }

    @Test("K1 k8s-extension create sends the body of az; the type in lower case, unset values left out") func create() async throws {
        let scratch = ScratchFolder()
        try FileManager.default.createDirectory(atPath: scratch.path, withIntermediateDirectories: true)
        let file = scratch.path + "/protected.json"
        try Data(#"{"connectionString":"hush"}"#.utf8).write(to: URL(filePath: file))
        let type = ["--extension-type", "Microsoft.ContainerRegistry.ConnectedRegistry"]
        let code = await self.run(
            "create", type + ["--config", "service.clusterIP=10.96.0.50", "pvc.storageRequest=1Gi", "--config-protected-file", file])
        #expect(code == 0)
        let put = try #require(await self.harness.server.sent.last)
        #expect(put.method == "PUT")
        #expect(put.path == Self.path)
        #expect(
            put.body == [
                "identity": ["type": "SystemAssigned"],
                "properties": [
                    "extensionType": "microsoft.containerregistry.connectedregistry",
                    "configurationSettings": ["service.clusterIP": "10.96.0.50", "pvc.storageRequest": "1Gi"],
                    "configurationProtectedSettings": ["connectionString": "hush"],
                ],
            ])
        #expect(await self.run("create", type + ["--config", "nothing"]) == 2)
        #expect(await self.run("create", type + ["--config-protected", "a=b", "--config-protected-file", file]) == 2)
        #expect(await self.run("create", type + ["--config-protected-file", "/none"]) == 1)
        #expect(await self.run("create", type + ["--scope", "namespace"]) == 2)
        withExtendedLifetime(scratch) {}
    }

    @Test("K1 k8s-extension update sends what changes alone; show finds it; delete asks, and may keep the data") func change() async throws
    {
        await self.harness.server.set(Self.path, ["properties": ["provisioningState": "Succeeded"]])
        #expect(await self.run("update", ["--version", "v2", "--config", "httpEnabled=true"]) == 0)
        let patch = try #require(await self.harness.server.sent.last { $0.method == "PATCH" })
        #expect(patch.body == ["properties": ["version": "v2", "configurationSettings": ["httpEnabled": "true"]]])
        #expect(await self.run("update", []) == 2)
        #expect(await self.run("show", ["--query", "provisioningState", "-o", "tsv"]) == 0)
        #expect(self.harness.console.output.contains("Succeeded"))
        #expect(await self.run("delete", []) == 1)
        #expect(await self.run("delete", ["--keep-data", "--yes"]) == 0)
        let gone = try #require(await self.harness.server.sent.last { $0.method == "DELETE" })
        #expect(gone.query.contains("keepData=true"))
        #expect(gone.query.contains("forceDelete=false"))
    }

    @Test("K1 connectedk8s connect refuses an address that pods cannot reach, and prints manifests when asked") func connect() async throws
    {
        let connect = ["connectedk8s", "connect", "-n", "plant", "-g", "g", "-l", "eastus", "--image", "r.test/outport:v1", "--print"]
        #expect(await self.harness.run(list: connect + ["--server", "https://127.0.0.1:8443"]) == 1)
        await self.harness.server.script { sent in
            guard sent.path.hasSuffix("/createAgentCredential") else { return nil }
            return ManagementResponse(
                status: 200,
                body: Array(#"{"clientId":"agent-1","clientSecret":"agent-secret","tenantId":"t","cluster":"/subscriptions/sub-1/x"}"#.utf8)
            )
        }
        #expect(await self.harness.run(list: connect) == 0)
        let printed = self.harness.console.output
        #expect(printed.contains("kind: ClusterRole"))
        #expect(printed.contains("clientSecret: agent-secret"))
        // Rights for nothing but its task: nowhere everything.
        #expect(!printed.contains("'*'"))
        #expect(await self.harness.run(list: connect + ["--image", "r.test:5000/outport"]) == 2)
    }

    @Test("K5 pull-secret wants one way of naming namespaces and one of naming credentials") func pullSecret() async {
        for arguments in [
            ["--namespace", "a"], ["--namespace", "a", "-A", "--token", "t", "-r", "myregistry"], ["--namespace", "a", "--token", "t"],
            ["-A", "--username", "u"],
        ] {
            #expect(await self.harness.run(list: ["kubernetes", "pull-secret"] + arguments) == 2, "\(arguments)")
        }
    }
}
