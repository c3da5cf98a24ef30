// Proves what is checked before anything is made, what is made then, and that nothing is left afterwards.

import ClusterProtocol
import Foundation
import JSON
import Testing

@testable import Kubernetes

/// Base64 for the fake cluster.
enum Base64 {
    static func encode(_ text: String) -> String { Base64Text.encode(text.utf8) }
}

@Suite struct ExtensionInstallerTests {
    private static let connection =
        "ConnectedRegistryName=factory;SyncTokenName=factory;SyncTokenPassword=hush;ParentGatewayEndpoint=parent.test;ParentEndpointProtocol=https"

    private func installer(_ cluster: FakeCluster, refusal: String? = nil) -> ExtensionInstaller {
        ExtensionInstaller(
            api: cluster, place: InstallerPlace(image: "parent.test:8443/tools/outport:v1", namespace: "outport-agent"),
            tryConnection: { _ in refusal },
            makeAuthority: { ("-----BEGIN CERTIFICATE-----\nmine\n-----END CERTIFICATE-----\n", "-----BEGIN PRIVATE KEY-----\nkey\n") })
    }

    private func wanted(
        _ settings: [String: String] = [:], generation: Int64 = 1, version: String? = nil, protected: [String: String] = [:]
    ) -> DesiredExtension {
        DesiredExtension(
            name: "site", generation: generation, type: ExtensionSettings.type, version: version,
            settings: ["service.clusterIP": "10.96.0.50"].merging(settings) { $1 },
            protectedSettings: ["connectionString": Self.connection].merging(protected) { $1 })
    }

    private func refused(
        _ wanted: DesiredExtension, _ cluster: FakeCluster, refusal: String? = nil
    ) async -> ExtensionError? {
        do throws(ExtensionError) {
            _ = try await self.installer(cluster, refusal: refusal).install(wanted)
            return nil
        } catch {
            return error
        }
    }

    @Test("K2 an address outside of the range, or taken, is refused before anything is created") func addresses() async {
        let cluster = FakeCluster()
        let outside = await self.refused(self.wanted(["service.clusterIP": "192.100.100.1"]), cluster)
        #expect(outside?.code == .addressOutOfRange)
        #expect(outside?.message.contains("10.96.0.0/16") == true)
        let taken = await self.refused(self.wanted(["service.clusterIP": "10.96.0.1"]), cluster)
        #expect(taken?.code == .addressTaken)
        #expect(taken?.message.contains("default/kubernetes") == true)
        #expect(cluster.installed.isEmpty)
        // The trial leaves nothing either.
        #expect(cluster.object(.service, "outport-address-trial", in: "outport-agent") == nil)
    }

    @Test("K2 an address is tried although the trial before is still being deleted") func lingeringTrial() async throws {
        let cluster = FakeCluster()
        cluster.linger(ObjectKind.service.path("outport-address-trial", in: "outport-agent"), times: 2)
        _ = try await self.installer(cluster).install(self.wanted())
        #expect(cluster.object(.service, "connected-registry")?[path: "spec", "clusterIP"] == "10.96.0.50")
        #expect(cluster.object(.service, "outport-address-trial", in: "outport-agent") == nil)
    }

    @Test("K2 storage classes: the default one, a named one, none, one that is not there") func classes() async throws {
        let found = try await self.installer(FakeCluster()).install(self.wanted())
        #expect(found.settings == ["pvc.storageClassName": "standard", "pvc.storageRequest": "250Gi"])
        let named = FakeCluster()
        _ = try await self.installer(named).install(self.wanted(["pvc.storageClassName": "slow", "pvc.storageRequest": "10Gi"]))
        let claim = try #require(named.object(.volumeClaim, "connected-registry-data"))
        #expect(claim[path: "spec", "storageClassName"] == "slow")
        #expect(claim[path: "spec", "resources", "requests", "storage"] == "10Gi")
        let none = FakeCluster(defaultClass: nil)
        let refusal = await self.refused(self.wanted(), none)
        #expect(refusal?.code == .noDefaultStorageClass)
        #expect(refusal?.message.contains("There are slow") == true)
        #expect(await self.refused(self.wanted(["pvc.storageClassName": "fast"]), none)?.code == .storageClassNotFound)
        #expect(none.installed.isEmpty)
        // A volume stays where it is.
        #expect(await self.refused(self.wanted(["pvc.storageClassName": "standard"]), named)?.code == .storageRefused)
    }

    @Test("K1 a wrong connection string, missing rights and foreign objects are told with what to do") func refusals() async throws {
        let cluster = FakeCluster()
        let wrong = await self.refused(self.wanted(), cluster, refusal: "the password is not valid")
        #expect(wrong?.code == .parentRefused)
        #expect(wrong?.message.contains("the password is not valid") == true)
        #expect(wrong?.message.contains("hush") == false)
        #expect(cluster.installed.isEmpty)
        cluster.forbid("/apis/storage.k8s.io")
        let forbidden = await self.refused(self.wanted(), cluster)
        #expect(forbidden?.code == .forbidden)
        #expect(forbidden?.message.contains("outport connectedk8s connect") == true)
        let other = FakeCluster()
        other.set(ObjectKind.deployment.path("connected-registry", in: "connected-registry"), ["spec": [:]])
        #expect(await self.refused(self.wanted(), other)?.code == .foreign)
        #expect(other.installed == ["deployments/connected-registry"])
        let plain = FakeCluster()
        #expect(await self.refused(self.wanted(["cert-manager.enabled": "true"]), plain)?.code == .certManagerMissing)
        let installs = await self.refused(self.wanted(["cert-manager.enabled": "true", "cert-manager.install": "true"]), plain)
        #expect(installs?.message.contains("bundle") == true)
        #expect(await self.refused(self.wanted(["tls.secret": "mine"]), plain)?.code == .secretMissing)
        #expect(plain.installed.isEmpty)
    }

    @Test("K2 K3 everything is installed; installing again changes nothing; another version goes in place") func install() async throws {
        let cluster = FakeCluster()
        let installer = self.installer(cluster)
        let first = try await installer.install(self.wanted())
        #expect(!first.canRollBack)
        #expect(
            cluster.installed == [
                "deployments/connected-registry", "persistentvolumeclaims/connected-registry-data",
                "secrets/connected-registry-authority", "secrets/connected-registry-connection", "serviceaccounts/connected-registry",
                "services/connected-registry",
            ])
        let service = try #require(cluster.object(.service, "connected-registry"))
        #expect(service[path: "spec", "clusterIP"] == "10.96.0.50")
        #expect(service[path: "spec", "ports"]?[0]?["port"] == 443)
        let authority = cluster.object(.secret, "connected-registry-authority")
        cluster.makeReady()
        #expect(try await installer.look(self.wanted()).problem == nil)
        try await installer.remember(self.wanted(), first)
        let generation = cluster.object(.deployment, "connected-registry")?[path: "metadata", "generation"]
        let again = try await installer.install(self.wanted())
        #expect(!again.canRollBack)
        #expect(cluster.object(.deployment, "connected-registry")?[path: "metadata", "generation"] == generation)
        // The authority is made once: whoever trusts it goes on doing so.
        #expect(cluster.object(.secret, "connected-registry-authority") == authority)
        let next = try await installer.install(self.wanted(generation: 2, version: "v2"))
        #expect(next.canRollBack)
        let pod = cluster.object(.deployment, "connected-registry")?[path: "spec", "template", "spec"]
        #expect(pod?["containers"]?[0]?["image"] == "parent.test:8443/tools/outport:v2")
        // Back, and noted, so that an agent that starts anew does not try again.
        let cause = ExtensionError(.imageMissing, "no image")
        #expect(try await installer.rollBack(self.wanted(generation: 2, version: "v2"), because: cause) == "v1")
        let old = cluster.object(.deployment, "connected-registry")?[path: "spec", "template", "spec"]
        #expect(old?["containers"]?[0]?["image"] == "parent.test:8443/tools/outport:v1")
        let told = try await installer.install(self.wanted(generation: 2, version: "v2"))
        #expect(told.rolledBack?.code == .rolledBack)
        #expect(
            cluster.object(.deployment, "connected-registry")?[path: "spec", "template", "spec", "containers"]?[0]?["image"]
                == "parent.test:8443/tools/outport:v1")
        #expect(try await installer.install(self.wanted(generation: 3)).rolledBack == nil)
    }

    @Test("K1 going back takes address, secrets and trust back as well, and is gone on with where it was cut off") func wholeRollBack()
        async throws
    {
        let cluster = FakeCluster()
        let installer = self.installer(cluster)
        let first = try await installer.install(self.wanted())
        cluster.makeReady()
        try await installer.remember(self.wanted(), first)
        func kept() -> [JSONValue?] {
            [
                cluster.object(.service, "connected-registry")?["spec"],
                cluster.object(.secret, "connected-registry-connection")?["stringData"],
                cluster.object(.volumeClaim, "connected-registry-data")?["spec"],
                cluster.object(.deployment, "connected-registry")?[path: "spec", "template", "spec"],
            ]
        }
        let before = kept()
        let changed = self.wanted(
            ["httpEnabled": "true", "service.clusterIP": "10.96.0.60"], generation: 2, version: "v2",
            protected: ["connectionString": Self.connection.replacing("hush", with: "other")])
        #expect(try await installer.install(changed).canRollBack)
        #expect(kept() != before)
        // The API server is away in the middle: noted, but not done.
        let deployments = ObjectKind.deployment.path("connected-registry", in: "connected-registry")
        cluster.forbid(deployments)
        let cause = ExtensionError(.imageMissing, "no image")
        await #expect(throws: ExtensionError.self) { try await installer.rollBack(changed, because: cause) }
        #expect(kept() != before)
        cluster.permit(deployments)
        // An agent that starts anew goes on with it.
        let told = try await self.installer(cluster).install(changed)
        #expect(told.rolledBack?.code == .rolledBack)
        #expect(kept() == before)
        // So does one that looks again after somebody has changed something.
        cluster.remove(ObjectKind.service.path("connected-registry", in: "connected-registry"))
        _ = try await installer.install(changed)
        #expect(kept() == before)
        // Secrets lie in a Secret.
        let state = try #require(cluster.object(.configMap, "connected-registry-state"))
        #expect(!state.serialized().contains("SyncTokenPassword"))
        #expect(try await self.drain(installer, cluster, .everything) == nil)
        #expect(cluster.installed.isEmpty)
    }

    @Test("K2 plain HTTP on purpose is port 80 without certificates; a changed address is a new service") func plain() async throws {
        let cluster = FakeCluster()
        _ = try await self.installer(cluster).install(self.wanted(["httpEnabled": "true"]))
        #expect(cluster.object(.service, "connected-registry")?[path: "spec", "ports"]?[0]?["port"] == 80)
        #expect(cluster.object(.secret, "connected-registry-authority") == nil)
        _ = try await self.installer(cluster).install(
            self.wanted(["httpEnabled": "true", "service.clusterIP": "10.96.0.51"], generation: 2))
        #expect(cluster.object(.service, "connected-registry")?[path: "spec", "clusterIP"] == "10.96.0.51")
    }

    @Test("K3 with cert-manager its objects are made, with the service's address in the certificate") func certManager() async throws {
        let cluster = FakeCluster(hasCertManager: true)
        _ = try await self.installer(cluster).install(self.wanted(["cert-manager.enabled": "true"]))
        let certificate = try #require(cluster.object(.certificate, "connected-registry"))
        #expect(certificate[path: "spec", "ipAddresses"] == ["10.96.0.50"])
        #expect(certificate[path: "spec", "secretName"] == "connected-registry-certificate")
        #expect(cluster.object(.issuer, "connected-registry-root") != nil)
        #expect(cluster.object(.secret, "connected-registry-authority") == nil)
        #expect(try await self.drain(self.installer(cluster), cluster, .everything) == nil)
        #expect(cluster.installed.isEmpty)
    }

    /// Removes step by step, as the agent does.
    private func drain(_ installer: ExtensionInstaller, _ cluster: FakeCluster, _ removal: Removal) async throws -> ExtensionError? {
        var left: ExtensionError?
        for _ in 0..<6 {
            left = try await installer.remove(removal)
            guard left != nil else { return nil }
            cluster.makeReady()
        }
        return left
    }

    @Test("K4 K8 nodes are put back before the pods on them go, and nothing is left but what was asked to stay") func removal() async throws
    {
        let cluster = FakeCluster()
        let installer = self.installer(cluster)
        let settings = [
            "trustDistribution.enabled": "true", "trustDistribution.useNodeSelector": "true", "trustDistribution.mirrors": "docker.io",
        ]
        _ = try await installer.install(self.wanted(settings))
        let pod = cluster.object(.daemonSet, "connected-registry-trust")?[path: "spec", "template", "spec"]
        #expect(pod?["nodeSelector"] == ["containerd-configured-by": "connected-registry"])
        #expect(pod?["initContainers"]?[0]?["args"]?.arrayValue?.contains("docker.io") == true)
        cluster.makeReady(false)
        #expect(try await installer.look(self.wanted(settings)).isTrusted == false)
        cluster.makeReady()
        #expect(try await installer.look(self.wanted(settings)).isTrusted)
        // First the pods' task is turned round; as long as a node has not answered, the set stays.
        #expect(try await installer.remove(.keepingData)?.code == .nodesNotReady)
        let turned = cluster.object(.daemonSet, "connected-registry-trust")?[path: "spec", "template", "spec"]
        #expect(turned?["initContainers"]?[0]?["args"]?.arrayValue?.contains("--remove") == true)
        #expect(turned?["nodeSelector"] == pod?["nodeSelector"])
        cluster.makeReady(false)
        #expect(try await installer.remove(.keepingData)?.message.contains("1 of 2 nodes") == true)
        #expect(cluster.object(.daemonSet, "connected-registry-trust") != nil)
        #expect(cluster.object(.deployment, "connected-registry") != nil)
        cluster.makeReady()
        #expect(try await self.drain(installer, cluster, .keepingData) == nil)
        #expect(cluster.installed == ["persistentvolumeclaims/connected-registry-data"])
        // On the kept volume it is installed again, and taken out wholly.
        _ = try await installer.install(self.wanted(generation: 9))
        #expect(try await self.drain(installer, cluster, .everything) == nil)
        #expect(cluster.installed.isEmpty)
    }

    @Test("K4 switching trust distribution off puts the nodes back and leaves the registry") func untrust() async throws {
        let cluster = FakeCluster()
        let installer = self.installer(cluster)
        _ = try await installer.install(self.wanted(["trustDistribution.enabled": "true"]))
        for _ in 0..<3 {
            _ = try await installer.install(self.wanted(generation: 2))
            cluster.makeReady()
        }
        #expect(cluster.object(.daemonSet, "connected-registry-trust") == nil)
        #expect(cluster.object(.deployment, "connected-registry") != nil)
    }

    @Test("K1 a volume that was kept stays when its cluster is no longer connected, and nothing else; without one all goes")
    func keptVolume() async throws {
        let cluster = FakeCluster()
        let plan = AgentPlan(
            image: "r.test/outport:v1", server: "https://parent.test", authority: nil, cluster: "c", tenant: "t", clientID: "i",
            clientSecret: "s")
        for object in AgentManifests(plan).all { try await cluster.apply(object) }
        _ = try await self.installer(cluster).install(self.wanted())
        while try await self.installer(cluster).remove(.keepingData) != nil {}
        #expect(try await AgentManifests.remove(from: cluster) == ["connected-registry-data"])
        #expect(cluster.object(.namespace, "connected-registry") != nil)
        #expect(cluster.installed == ["persistentvolumeclaims/connected-registry-data"])
        #expect(cluster.object(.namespace, "outport-agent") == nil)
        #expect(cluster.object(.clusterRole, "outport-agent") == nil)
        #expect(cluster.object(.clusterRoleBinding, "outport-agent") == nil)
        #expect(
            AgentManifests.farewell(keeping: ["connected-registry-data"]).contains("'kubectl delete namespace connected-registry'"))

        // Once more says the same; connected anew, the extension takes the volume again, and goes with it.
        #expect(try await AgentManifests.remove(from: cluster) == ["connected-registry-data"])
        for object in AgentManifests(plan).all { try await cluster.apply(object) }
        _ = try await self.installer(cluster).install(self.wanted())
        while try await self.installer(cluster).remove(.everything) != nil {}
        #expect(try await AgentManifests.remove(from: cluster).isEmpty)
        #expect(cluster.object(.namespace, "connected-registry") == nil)

        // One that is on its way out holds nothing up.
        cluster.set(
            ObjectKind.volumeClaim.path("connected-registry-data", in: "connected-registry"),
            ["metadata": ["deletionTimestamp": "2026-01-01T00:00:00Z"]])
        #expect(try await AgentManifests.remove(from: cluster).isEmpty)
    }

    @Test("K1 what pods say becomes one cause and one next step") func causes() {
        func pod(_ state: JSONValue, _ last: JSONValue = [:]) -> [JSONValue] {
            [["metadata": ["name": "p"], "status": ["containerStatuses": [["image": "r/i:v2", "state": state, "lastState": last]]]]]
        }
        let bound: JSONValue = ["status": ["phase": "Bound"]]
        let pull = ExtensionInstaller.cause(pods: pod(["waiting": ["reason": "ErrImagePull", "message": "not found"]]), claim: bound)
        #expect(pull.code == .imageMissing)
        #expect(pull.message.contains("r/i:v2"))
        let crash = ExtensionInstaller.cause(
            pods: pod(
                ["waiting": ["reason": "CrashLoopBackOff"]],
                ["terminated": ["exitCode": 1, "message": "ERROR: (ALREADY_ACTIVATED) another instance is active"]]), claim: bound)
        #expect(crash.code == .parentRefused)
        // Gone back to an older version, to which the data is too new.
        let newer = ExtensionInstaller.cause(
            pods: pod(
                ["waiting": ["reason": "CrashLoopBackOff"]],
                [
                    "terminated": [
                        "exitCode": 1,
                        "message": "could not open the database: a newer version of outport has changed it (x-2); start that version again",
                    ]
                ]), claim: bound)
        #expect(newer.code == .notHealthy && newer.message.contains("start that version again"))
        let volume = ExtensionInstaller.cause(
            pods: [], claim: ["spec": ["storageClassName": "slow"], "status": ["phase": "Pending"]])
        #expect(volume.code == .volumeNotBound)
        #expect(ExtensionInstaller.cause(pods: [], claim: bound).code == .notHealthy)
    }

    @Test(
        "K1 the image in another version",
        arguments: [
            ("r.test:8443/a/outport:v1", nil, "r.test:8443/a/outport:v1", "v1"),
            ("r.test:8443/a/outport:v1", "v2", "r.test:8443/a/outport:v2", "v2"),
            ("r.test:8443/a/outport", "v2", "r.test:8443/a/outport:v2", "v2"), ("r/a:v1@sha256:ab", "v3", "r/a:v3", "v3"),
            ("r/a@sha256:ab", nil, "r/a@sha256:ab", "sha256:ab"),
        ] as [(String, String?, String, String)])
    func images(given: String, version: String?, image: String, tag: String) {
        let found = InstallerPlace(image: given, namespace: "n").image(version: version)
        #expect(found.image == image)
        #expect(found.version == tag)
    }
}
