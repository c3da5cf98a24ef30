// Proves the records of extensions, and what is told to whom: to clients everything but secrets, to the agent of the cluster everything.

import ClusterProtocol
import HTTPTypes
import JSON
import Testing

@testable import ResourceManager

@Suite struct ClusterExtensionTests {
    private static let connection =
        "ConnectedRegistryName=factory;SyncTokenName=factory;SyncTokenPassword=s3cret.pin;ParentGatewayEndpoint=harbour.eastus.data.registry.test:8443;"
        + "ParentEndpointProtocol=https"
    private static let api = "?api-version=2023-05-01"

    private struct Cluster {
        let world: World
        let path: String
        var item: String { "\(self.path)/providers/Microsoft.KubernetesConfiguration/extensions/myext" }

        static func make() async throws -> Cluster {
            let world = try await World()
            #expect([200, 201].contains(try await world.send(.put, world.group, ["location": "eastus"]).status))
            let path = "\(world.group)/providers/Microsoft.Kubernetes/connectedClusters/plant"
            #expect(try await world.send(.put, path, ["location": "eastus"]).status == 201)
            return Cluster(world: world, path: path)
        }

        func body(_ settings: [String: JSONValue] = [:], protected: [String: JSONValue]? = nil) -> JSONValue {
            [
                "identity": ["type": "SystemAssigned"],
                "properties": [
                    "extensionType": "microsoft.containerregistry.connectedregistry",
                    "configurationSettings": .object(["service.clusterIP": "192.100.100.1"].merging(settings) { $1 }),
                    "configurationProtectedSettings": .object(
                        protected ?? ["connectionString": .string(ClusterExtensionTests.connection)]),
                ],
            ]
        }

        func put(_ settings: [String: JSONValue] = [:], protected: [String: JSONValue]? = nil) async throws -> Answer {
            try await self.world.send(.put, self.item + api, self.body(settings, protected: protected))
        }

        /// Signs in as the agent of the cluster.
        func agent() async throws -> Agent {
            let credential = try await self.world.send(.post, self.path + "/createAgentCredential")
            #expect(credential.status == 200)
            let client = try #require(credential.body["clientId"]?.stringValue)
            let secret = try #require(credential.body["clientSecret"]?.stringValue)
            return Agent(cluster: self, token: try await self.world.accessToken(client, secret, World.arm))
        }

        func show() async throws -> JSONValue { try await self.world.send(.get, self.item + api).body }
        func state() async throws -> String? { try await self.show()[path: "properties", "provisioningState"]?.stringValue }

        func operation(_ answer: Answer) async throws -> JSONValue {
            let name = try #require(HTTPField.Name("Azure-AsyncOperation"))
            let url = try #require(answer.headers[name])
            #expect(url.hasPrefix("https://localhost:8443/subscriptions/"))
            let answer = try await self.world.send(.get, String(url.dropFirst("https://localhost:8443".count)))
            #expect(answer.status == 200)
            return answer.body
        }
    }

    private struct Agent {
        let cluster: Cluster
        let token: String

        func send(_ method: HTTPRequest.Method, _ what: String, _ body: JSONValue? = nil) async throws -> Answer {
            try await self.cluster.world.send(
                method, "\(self.cluster.path)/agent/\(what)", text: body?.serialized() ?? "",
                headers: [.authorization: "Bearer \(self.token)"])
        }

        func desired(_ query: String = "") async throws -> DesiredState {
            let answer = try await self.send(.get, "desiredState\(query)")
            #expect(answer.status == 200)
            return try answer.body.decode()
        }

        func report(_ entries: [ExtensionReport]) async throws {
            let report = AgentReport(
                agentVersion: "0.1.0", cluster: ClusterFacts(kubernetesVersion: "v1.20.2", totalNodeCount: 1), extensions: entries)
            #expect(try await self.send(.post, "report", try JSONValue(encoding: report)).status == 204)
        }
    }

    @Test("K1 an extension is created, done by the agent, shown, changed and deleted; secrets are never read back")
    func life() async throws {
        let cluster = try await Cluster.make()
        let agent = try await cluster.agent()
        #expect(try await agent.desired().extensions.isEmpty)
        let created = try await cluster.put()
        #expect(created.status == 201)
        #expect(created.body[path: "properties", "provisioningState"] == "Creating")
        #expect(created.body[path: "properties", "configurationProtectedSettings"] == ["connectionString": ""])
        #expect(created.body[path: "properties", "configurationSettings", "pvc.storageRequest"] == "250Gi")
        #expect(created.body[path: "properties", "scope", "cluster", "releaseNamespace"] == "connected-registry")
        #expect(created.body[path: "properties", "isSystemExtension"] == false)
        #expect(created.body["systemData"]?.isNull == false)
        #expect(try await cluster.operation(created)["status"] == "InProgress")

        let wanted = try #require(try await agent.desired().extensions.first)
        #expect(wanted.protectedSettings == ["connectionString": Self.connection])
        #expect(wanted.settings == ["service.clusterIP": "192.100.100.1"])
        try await agent.report([
            ExtensionReport(
                name: "myext", generation: wanted.generation, state: .succeeded, currentVersion: "0.1.0",
                settings: ["pvc.storageClassName": "standard"])
        ])
        let shown = try await cluster.show()
        #expect(shown[path: "properties", "provisioningState"] == "Succeeded")
        #expect(shown[path: "properties", "currentVersion"] == "0.1.0")
        #expect(shown[path: "properties", "configurationSettings", "pvc.storageClassName"] == "standard")
        #expect(!shown.serialized().contains("s3cret"))
        #expect(try await cluster.operation(created)["status"] == "Succeeded")
        let record = try await cluster.world.send(.get, cluster.path).body
        #expect(record[path: "properties", "connectivityStatus"] == "Connected")
        #expect(record[path: "properties", "kubernetesVersion"] == "v1.20.2")

        let changed = try await cluster.world.send(
            .patch, cluster.item + Self.api, ["properties": ["configurationSettings": ["pvc.storageRequest": "10Gi"], "version": "0.2.0"]])
        #expect(changed.status == 202)
        #expect(changed.body[path: "properties", "provisioningState"] == "Updating")
        let next = try #require(try await agent.desired().extensions.first)
        #expect(next.generation > wanted.generation)
        #expect(next.version == "0.2.0")
        #expect(next.settings == ["service.clusterIP": "192.100.100.1", "pvc.storageRequest": "10Gi"])
        #expect(next.protectedSettings["connectionString"] == Self.connection)
        // A report about what was wanted before says nothing about now.
        try await agent.report([ExtensionReport(name: "myext", generation: wanted.generation, state: .succeeded)])
        #expect(try await cluster.state() == "Updating")
        try await agent.report([
            ExtensionReport(
                name: "myext", generation: next.generation, state: .failed, error: ExtensionError(.imageMissing, "Push it, then update."))
        ])
        #expect(try await cluster.show()[path: "properties", "errorInfo", "code"] == "ImageNotPulled")
        let failed = try await cluster.operation(changed)
        #expect(failed["status"] == "Failed")
        #expect(failed[path: "error", "message"] == "Push it, then update.")

        let deleted = try await cluster.world.send(.delete, cluster.item + "?keepData=true")
        #expect(deleted.status == 202)
        #expect(try await cluster.state() == "Deleting")
        #expect(try await cluster.put().code == "Conflict")
        let removal = try #require(try await agent.desired().extensions.first)
        #expect(removal.removal == .keepingData)
        #expect(try await cluster.operation(deleted)["status"] == "InProgress")
        try await agent.report([ExtensionReport(name: "myext", generation: removal.generation, state: .deleting, isRemoved: true)])
        #expect(try await cluster.operation(deleted)["status"] == "Succeeded")
        #expect(try await cluster.world.send(.get, cluster.item).code == "ResourceNotFound")
        #expect(try await cluster.world.send(.delete, cluster.item).status == 204)
    }

    @Test("K1 an extension whose protected settings cannot be opened any more is shown, set again and deleted")
    func lostKey() async throws {
        let cluster = try await Cluster.make()
        let agent = try await cluster.agent()
        #expect(try await cluster.put().status == 201)
        // Another key has sealed them: the folder of keys has come from elsewhere.
        try await cluster.world.database.write {
            _ = try $0.execute("UPDATE cluster_extension SET sealed = ?", .blob([UInt8](repeating: 7, count: 80)))
        }
        #expect(try await cluster.state() == "Creating")
        let refused = try await agent.send(.get, "desiredState")
        #expect(refused.status == 409 && refused.message?.contains("--config-protected-file") == true, "\(refused.body)")
        // As it was set the rest goes on; what is needed has to come again.
        let without = try await cluster.world.send(
            .patch, cluster.item + Self.api, ["properties": ["configurationSettings": ["pvc.storageRequest": "10Gi"]]])
        #expect(without.status == 400, "\(without.body)")
        let again = try await cluster.world.send(
            .patch, cluster.item + Self.api,
            ["properties": ["configurationProtectedSettings": ["connectionString": .string(Self.connection)]]])
        #expect(again.status == 202, "\(again.body)")
        #expect(try await agent.desired().extensions.first?.protectedSettings["connectionString"] == Self.connection)
        // Or it is removed, which needs none of it.
        try await agent.report([
            ExtensionReport(
                name: "myext", generation: try #require(try await agent.desired().extensions.first?.generation), state: .succeeded)
        ])
        try await cluster.world.database.write {
            _ = try $0.execute("UPDATE cluster_extension SET sealed = ?", .blob([UInt8](repeating: 7, count: 80)))
        }
        #expect(try await cluster.world.send(.delete, cluster.item).status == 202)
        let removal = try #require(try await agent.desired().extensions.first)
        try await agent.report([ExtensionReport(name: "myext", generation: removal.generation, state: .deleting, isRemoved: true)])
        #expect(try await cluster.world.send(.get, cluster.item).status == 404)
    }

    @Test(
        "K1 what a setting cannot be is said before anything is stored",
        arguments: [
            ("service.clusterIP", "", "configurationSettings.service.clusterIP"),
            ("service.clusterIP", "300.1.1.1", "configurationSettings.service.clusterIP"),
            ("service.clusterIP", "127.0.0.1", "configurationSettings.service.clusterIP"),
            ("service.clusterIP", "None", "configurationSettings.service.clusterIP"),
            ("pvc.storageRequest", "-1Gi", "configurationSettings.pvc.storageRequest"),
            ("pvc.storageRequest", "many", "configurationSettings.pvc.storageRequest"),
            ("pvc.storageClassName", "Not A Name", "configurationSettings.pvc.storageClassName"),
            ("httpEnabled", "perhaps", "configurationSettings.httpEnabled"),
            ("cert-manager.install", "true", "configurationSettings.cert-manager.install"),
            ("trustDistribution.useNodeSelector", "true", "configurationSettings.trustDistribution.useNodeSelector"),
            ("tls.crt", "no PEM", "configurationSettings.tls.crt"),
            ("service.ClusterIp", "10.0.0.1", "configurationSettings.service.ClusterIp"),
        ])
    func refusals(name: String, value: String, target: String) async throws {
        let cluster = try await Cluster.make()
        let answer = try await cluster.put([name: .string(value)])
        #expect(answer.status == 400)
        #expect(answer.target == "properties." + target)
        #expect(try await cluster.world.send(.get, cluster.item).status == 404)
    }

    @Test("K1 a record of AKS has the extensions of the connected cluster of its name; one without an agent says what to do")
    func managed() async throws {
        let cluster = try await Cluster.make()
        let world = cluster.world
        let managed = "\(world.group)/providers/Microsoft.ContainerService/managedClusters"
        let item = "providers/Microsoft.KubernetesConfiguration/extensions/myext" + Self.api
        for name in ["plant", "alone"] { #expect(try await world.send(.put, "\(managed)/\(name)", ["location": "eastus"]).status == 201) }
        let made = try await world.send(.put, "\(managed)/plant/\(item)", cluster.body())
        #expect(made.status == 201, "\(made.body)")
        #expect(try await cluster.show()["id"] == made.body["id"])
        #expect(try await world.send(.get, "\(managed)/PLANT/\(item)").body["id"] == made.body["id"])
        #expect(try await cluster.operation(made)[path: "error", "code"] == "AgentNotConnected")
        let alone = try await world.send(.put, "\(managed)/alone/\(item)", cluster.body())
        #expect(alone.status == 409 && alone.message?.contains("outport connectedk8s connect -n alone") == true, "\(alone.body)")
        #expect(try await world.send(.put, "\(managed)/nobody/\(item)", cluster.body()).status == 404)
        // A role at the record alone is no role at the cluster.
        let actor = try await world.actor("halfway", role: "Contributor", at: "\(managed)/plant")
        let refused = try await world.send(
            .get, "\(managed)/plant/\(item)", text: "", headers: [.authorization: "Bearer \(actor.management)"])
        #expect(refused.status == 403 && refused.message?.contains("connectedClusters/plant") == true, "\(refused.body)")
        #expect([202, 204].contains(try await world.send(.delete, "\(managed)/plant/\(item)").status))
    }

    @Test("K1 C6 a connected registry that was deactivated is told in errorInfo, though its pods are well")
    func deactivated() async throws {
        let cluster = try await Cluster.make()
        let world = cluster.world
        try await world.withRegistry()
        try await world.withConnectedRegistry("factory")
        #expect(try await cluster.put().status == 201)
        let agent = try await cluster.agent()
        let generation = try #require(try await agent.desired().extensions.first?.generation)
        try await agent.report([ExtensionReport(name: "myext", generation: generation, state: .succeeded, currentVersion: "0.1.0")])
        func site() async throws -> JSONValue? {
            try await cluster.show()[path: "properties", "statuses"]?.arrayValue?.first { $0["code"] == "ConnectedRegistry" }
        }
        #expect(try await site()?["displayStatus"] == "Offline")
        let registry = try #require(world.lookup.registry(named: "harbour")).id
        _ = try await world.services.connectedRegistries.activate(
            "factory", instance: "one", nonce: nil, version: "1", loginServer: "192.100.100.1:443", in: registry)
        #expect(try await cluster.show()[path: "properties", "errorInfo"]?.isNull == true)
        #expect(try await world.send(.post, "\(world.registry())/connectedRegistries/factory/deactivate").status == 200)
        let shown = try await cluster.show()
        #expect(shown[path: "properties", "provisioningState"] == "Succeeded")
        #expect(shown[path: "properties", "errorInfo", "code"] == "Deactivated", "\(shown)")
        #expect(shown[path: "properties", "errorInfo", "message"]?.stringValue?.contains("Delete the extension") == true)
        #expect(try await site()?["level"] == "Warning")
        // Active again, by another instance: all is well.
        _ = try await world.services.connectedRegistries.activate(
            "factory", instance: "two", nonce: nil, version: "1", loginServer: "192.100.100.1:443", in: registry)
        #expect(try await cluster.show()[path: "properties", "errorInfo"]?.isNull == true)
    }

    @Test("K1 a connection string that is none, and another type, are refused without repeating the string")
    func strings() async throws {
        let cluster = try await Cluster.make()
        for string in ["", "ConnectedRegistryName=a;SyncTokenPassword=hush", Self.connection.replacing("s3cret.pin", with: "<use …>")] {
            let answer = try await cluster.put(protected: ["connectionString": .string(string)])
            #expect(answer.status == 400)
            #expect(answer.target?.hasSuffix("Settings.connectionString") == true)
            #expect(answer.message?.contains("hush") == false)
        }
        var body = cluster.body()
        body[path: "properties", "extensionType"] = "microsoft.flux"
        #expect(try await cluster.world.send(.put, cluster.item, body).code == "FeatureNotAvailable")
        // A certificate in its two halves goes with its key, which is a secret wherever it was sent.
        let pem = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"
        let key = "-----BEGIN PRIVATE KEY-----\nS0VZ\n-----END PRIVATE KEY-----\n"
        let given = try await cluster.put(["tls.crt": .string(pem), "tls.key": .string(Base64Text.encode(key.utf8))])
        #expect(given.status == 201)
        #expect(given.body[path: "properties", "configurationProtectedSettings", "tls.key"] == "")
        #expect(!(try await cluster.show()).serialized().contains(Base64Text.encode(key.utf8)))
    }

    @Test("K1 the agent sees its own cluster alone, and nobody else sees what it is told") func own() async throws {
        let cluster = try await Cluster.make()
        let agent = try await cluster.agent()
        #expect(try await cluster.put().status == 201)
        // The administrator of everything is no agent.
        let nosy = try await cluster.world.send(.get, cluster.path + "/agent/desiredState")
        #expect(nosy.status == 403)
        let other = "\(cluster.world.group)/providers/Microsoft.Kubernetes/connectedClusters/other"
        #expect(try await cluster.world.send(.put, other, ["location": "eastus"]).status == 201)
        let headers: HTTPFields = [.authorization: "Bearer \(agent.token)"]
        for path in [other + "/agent/desiredState", cluster.path, cluster.item, cluster.world.group] {
            #expect(try await cluster.world.send(.get, path, text: "", headers: headers).status == 403, "\(path)")
        }
        // A second agent ends the first one.
        _ = try await cluster.agent()
        #expect(try await agent.send(.get, "desiredState").status == 401)
        // A record that is gone takes its extensions and its agent along.
        let last = try await cluster.agent()
        #expect(try await cluster.world.send(.delete, cluster.path).status == 200)
        #expect(try await last.send(.get, "desiredState").status == 401)
        #expect(try await cluster.world.send(.put, cluster.path, ["location": "eastus"]).status == 201)
        #expect(try await cluster.world.send(.get, cluster.item).status == 404)
    }

    @Test("K1 an operation says that there is no agent, or that it is away, and does not wait for ever") func absent() async throws {
        let cluster = try await Cluster.make()
        let lonely = try await cluster.put()
        let told = try await cluster.operation(lonely)
        #expect(told["status"] == "Failed")
        #expect(told[path: "error", "code"] == "AgentNotConnected")
        #expect(told[path: "error", "message"]?.stringValue?.contains("outport connectedk8s connect") == true)
        #expect(try await cluster.state() == "Creating")
        let agent = try await cluster.agent()
        let wanted = try #require(try await agent.desired().extensions.first)
        #expect(try await cluster.operation(lonely)["status"] == "InProgress")
        cluster.world.clock.advance(seconds: 600)
        #expect(try await cluster.operation(lonely)["status"] == "Failed")
        let record = try await cluster.world.send(.get, cluster.path).body
        #expect(record[path: "properties", "connectivityStatus"] == "Offline")
        try await agent.report([ExtensionReport(name: "myext", generation: wanted.generation, state: .succeeded)])
        #expect(try await cluster.operation(lonely)["status"] == "Succeeded")
        // By force it is forgotten at once.
        #expect(try await cluster.world.send(.delete, cluster.item + "?forceDelete=true").status == 204)
        #expect(try await agent.desired().extensions.isEmpty)
    }

    @Test("K1 a long poll answers as soon as something else is wanted") func longPoll() async throws {
        let cluster = try await Cluster.make()
        let agent = try await cluster.agent()
        let first = try await agent.desired()
        let store = try #require(cluster.world.services.extensions)
        async let next = agent.desired("?revision=\(first.revision)&wait=60")
        #expect(try await cluster.put().status == 201)
        let state = try await next
        #expect(state.revision != first.revision)
        #expect(state.extensions.map(\.name) == ["myext"])
        // The end of the process lets it go, too.
        store.stop()
        #expect(try await agent.desired("?revision=\(state.revision)&wait=60").revision == state.revision)
    }
}
