// The extension on a real cluster, where its binaries are; and its manifests by the schemas of Kubernetes.

import ClusterProtocol
import Foundation
import JSON
import Testing

@testable import Kubernetes

@Suite(.serialized) struct KubernetesTests {
    /// Where `Scripts/kubernetes-build` keeps its binaries.
    private static let lab: String = {
        let environment = ProcessInfo.processInfo.environment
        let cache = environment["XDG_CACHE_HOME"] ?? "\(environment["HOME"] ?? "")/.cache"
        return environment["LAB_DIR"] ?? "\(cache)/outport/kubernetes"
    }()

    private static let hasLab = FileManager.default.isExecutableFile(atPath: lab + "/bin/kubelet")

    @Test(
        "K1 K2 K3 K4 K5 K8 the extension on a real cluster: refused, installed, pulled from, rolled back, updated, removed without a trace",
        .needsRoot, .enabled(if: hasLab, "no Kubernetes is built on this machine: 'make test-kubernetes' builds one and runs this"))
    func cluster() async throws {
        let outcome = try await command(
            Program.package + "/Scripts/test-kubernetes", [],
            environment: ["LAB_DIR": Self.lab, "OUTPORT_BIN": Program.outport, "TMPDIR": "/tmp"], deadline: .seconds(900))
        // The times of its steps.
        print(try outcome.succeeded().output)
    }

    private func settings(_ more: [String: String], _ address: String = "10.96.0.50") throws -> ExtensionSettings {
        try ExtensionSettings(
            settings: ["service.clusterIP": address].merging(more) { $1 },
            protected: [
                "connectionString":
                    "ConnectedRegistryName=a;SyncTokenName=b;SyncTokenPassword=c;ParentGatewayEndpoint=d;ParentEndpointProtocol=https"
            ])
    }

    @Test("K2 manifests are valid by the strict schemas of Kubernetes 1.20 and of the newest there is") func manifests() async throws {
        let installed = try await command(Program.package + "/Scripts/install-kubernetes-validate", [], deadline: .seconds(600))
        let validators = try installed.succeeded().trimmed
        let pem = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"
        let key = "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n"
        let ways: [([String: String], String)] = [
            ([:], "10.96.0.50"), (["httpEnabled": "true"], "fd00::50"),
            (["tls.crt": pem, "tls.key": key, "tls.cacrt": pem], "10.96.0.50"), (["tls.secret": "mine"], "10.96.0.50"),
            (
                [
                    "trustDistribution.enabled": "true", "trustDistribution.useNodeSelector": "true",
                    "trustDistribution.mirrors": "docker.io, quay.io",
                ], "10.96.0.50"
            ),
        ]
        var objects = AgentManifests(
            AgentPlan(
                image: "r.test/outport:v1", server: "https://r.test", authority: pem, cluster: "/subscriptions/x", tenant: "t",
                clientID: "c",
                clientSecret: "s", pullSecret: "puller")
        ).all
        for (more, address) in ways {
            let manifests = ExtensionManifests(
                InstallationPlan(
                    name: "site", settings: try self.settings(more, address), image: "r.test/outport:v1", version: "v1", pullSecret: "p",
                    storageClass: "standard", authority: pem))
            objects += manifests.foundations + [manifests.service, manifests.workload, ExtensionInstaller.rendered(manifests.workload)]
            objects += manifests.trustInputs + [manifests.nodes(.apply, selects: true), manifests.nodes(.remove, selects: false)]
            objects += [manifests.authoritySecret(certificate: pem, key: key), manifests.pullSecret([".dockerconfigjson": "e30="])]
        }
        // cert-manager's kinds are not Kubernetes' own, so they are not among these.
        let text = objects.map { "---\n" + $0.serialized() + "\n" }.joined()
        try await withOwnFiles { box in
            let file = try box.file("all.yaml", text)
            for version in ["1.20", "newest"] {
                let outcome = try await command("\(validators)/\(version)/bin/kubernetes-validate", ["--strict", file])
                #expect(outcome.isSuccess, "\(version): \(outcome.text.suffix(2000))")
            }
            // One that is wrong is found: the check itself works.
            let service = #"{"apiVersion":"v1","kind":"Service","metadata":{"name":"x"},"spec":{"clusterAddress":"1"}}"#
            let wrong = try box.file("wrong.yaml", service)
            try await command("\(validators)/newest/bin/kubernetes-validate", ["--strict", wrong]).failed()
        }
    }
}
