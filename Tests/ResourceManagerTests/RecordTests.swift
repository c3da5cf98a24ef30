// Identities, clusters and further subscriptions as resources.

import HTTPTypes
import Identity
import JSON
import ResourceManager
import Testing

@Suite struct RecordTests {
    private func identity(_ world: World, _ name: String = "puller") -> String {
        "\(world.group)/providers/Microsoft.ManagedIdentity/userAssignedIdentities/\(name)"
    }
    private func cluster(_ world: World, _ name: String = "plant") -> String {
        "\(world.group)/providers/Microsoft.ContainerService/managedClusters/\(name)"
    }

    @Test("I7 an identity has a principal in the directory, which has no secrets and goes with it")
    func identities() async throws {
        let world = try await World().withRegistry()
        let made = try await world.send(.put, self.identity(world), ["location": "eastus", "tags": ["a": "b"]])
        #expect(made.status == 201)
        let principal = try #require(made.body[path: "properties", "principalId"]?.stringValue)
        #expect(
            try await world.send(.put, self.identity(world).lowercased(), ["location": "eastus"]).body[path: "properties", "principalId"]?
                .stringValue == principal)
        #expect(try await world.send(.put, self.identity(world), ["location": "westus"]).target == "location")
        #expect(
            try await world.send(.get, "\(world.subscription)/providers/Microsoft.ManagedIdentity/userAssignedIdentities").names == [
                "puller"
            ])
        #expect(try await world.send(.get, "\(world.group)/resources").names.sorted() == ["harbour", "puller"])
        let shown = try await world.graph(.get, "/servicePrincipals/\(principal)")
        #expect(shown.body["servicePrincipalType"] == "ManagedIdentity")
        #expect(shown.body["alternativeNames"]?[1]?.stringValue == self.identity(world))
        #expect(try await world.graph(.post, "/servicePrincipals/\(principal)/addPassword", [:]).status == 400)
        #expect(try await world.graph(.delete, "/servicePrincipals/\(principal)").status == 400)
        let assignment = "\(self.identity(world))/providers/Microsoft.Authorization/roleAssignments/11111111-1111-1111-1111-111111111111"
        let role: JSONValue = ["properties": ["roleDefinitionId": .string(RoleDefinition.owner.id), "principalId": .string(principal)]]
        #expect(try await world.send(.put, assignment, role).status == 201)
        #expect(try await world.send(.delete, self.identity(world)).status == 200)
        #expect(try await world.send(.delete, self.identity(world)).status == 204)
        #expect(try await world.graph(.get, "/servicePrincipals/\(principal)").status == 404)
        #expect(try await world.roles.assignment("11111111-1111-1111-1111-111111111111") == nil)
    }

    @Test("I7 I3 what would not be acted on is refused: an identity of one region, an application of other directories")
    func notActedOn() async throws {
        let world = try await World().withRegistry()
        let path = world.group + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/puller"
        func body(_ scope: String) -> JSONValue { ["location": "eastus", "properties": ["isolationScope": .string(scope)]] }
        let refused = try await world.send(.put, path, body("Regional"))
        #expect(refused.status == 400 && refused.target == "properties.isolationScope", "\(refused.body)")
        #expect(try await world.send(.put, path, body("None")).status == 201)
        #expect(try await world.send(.patch, path, body("Regional")).target == "properties.isolationScope")
        #expect(try await world.send(.get, path).body[path: "properties", "isolationScope"] == "None")
        func application(_ audience: String) async throws -> Answer {
            try await world.graph(.post, "/applications", ["displayName": "ci", "signInAudience": .string(audience)])
        }
        let elsewhere = try await application("AzureADMultipleOrgs")
        #expect(elsewhere.status == 400 && elsewhere.message?.contains("AzureADMyOrg") == true, "\(elsewhere.body)")
        let made = try await application("AzureADMyOrg")
        #expect(made.status == 201)
        let id = try #require(made.body["id"]?.stringValue)
        #expect(try await world.graph(.patch, "/applications/\(id)", ["signInAudience": "PersonalMicrosoftAccount"]).status == 400)
    }

    @Test("I7 a cluster keeps what was sent and gets an identity for its nodes; secrets are nowhere in it")
    func clusters() async throws {
        let world = try await World().withRegistry()
        let body: JSONValue = [
            "location": "eastus", "sku": ["name": "Base", "tier": "Free"], "identity": ["type": "SystemAssigned"],
            "properties": [
                "dnsPrefix": "plant", "agentPoolProfiles": [["name": "nodepool1", "count": 3]], "enableRBAC": true,
                "servicePrincipalProfile": ["clientId": "x", "secret": "s3cret"], "provisioningState": "Failed",
            ],
        ]
        let made = try await world.send(.put, self.cluster(world), body)
        #expect(made.status == 201)
        #expect(made.body[path: "properties", "provisioningState"] == "Succeeded")
        #expect(made.body[path: "properties", "agentPoolProfiles"]?[0]?["count"] == 3)
        #expect(!made.body.serialized().contains("s3cret"))
        let kubelet = try #require(made.body[path: "properties", "identityProfile", "kubeletidentity", "resourceId"]?.stringValue)
        #expect(kubelet == self.identity(world, "plant-agentpool"))
        // az echoes the whole object.
        let echoed = try await world.send(.put, self.cluster(world), made.body)
        #expect(echoed.status == 200)
        #expect(echoed.body == made.body)
        #expect(try await world.send(.delete, kubelet).status == 409)
        #expect(try await world.send(.post, self.cluster(world) + "/listClusterUserCredential").status == 409)
        #expect(try await world.send(.post, self.cluster(world) + "/recordClusterCredential", ["kubeconfig": "!"]).target == "kubeconfig")
        #expect(try await world.send(.post, self.cluster(world) + "/recordClusterCredential", ["kubeconfig": "aGVsbG8="]).status == 204)
        let credential = try await world.send(.post, self.cluster(world) + "/listClusterUserCredential")
        #expect(credential.body["kubeconfigs"]?[0]?["value"] == "aGVsbG8=")
        let reader = try await world.actor("reader", role: "Reader")
        #expect(try await world.send(.get, self.cluster(world), as: reader).status == 200)
        #expect(try await world.send(.post, self.cluster(world) + "/listClusterUserCredential", as: reader).status == 403)
        #expect(try await world.send(.delete, self.cluster(world)).status == 204)
        #expect(try await world.send(.get, kubelet).status == 404)
        #expect(try await world.send(.get, self.cluster(world)).status == 404)
        // A new cluster of that name has another identity, and none of the secrets.
        let again = try await world.send(.put, self.cluster(world), body)
        #expect(again.body[path: "properties", "identityProfile"] != made.body[path: "properties", "identityProfile"])
        #expect(try await world.send(.post, self.cluster(world) + "/listClusterUserCredential").status == 409)
    }

    @Test("I7 an identity that is given is used, if the caller may hand it out")
    func givenIdentity() async throws {
        let world = try await World().withRegistry()
        let made = try await world.send(.put, self.identity(world), ["location": "eastus"])
        let body: JSONValue = [
            "location": "eastus", "properties": ["identityProfile": ["kubeletidentity": ["resourceId": .string(self.identity(world))]]],
        ]
        let cluster = try await world.send(.put, self.cluster(world), body)
        #expect(
            cluster.body[path: "properties", "identityProfile", "kubeletidentity", "objectId"]
                == made.body[path: "properties", "principalId"])
        #expect(try await world.send(.delete, self.cluster(world)).status == 204)
        #expect(try await world.send(.get, self.identity(world)).status == 200)
        var unknown = body
        unknown[path: "properties", "identityProfile", "kubeletidentity", "resourceId"] = .string(self.identity(world, "nobody"))
        #expect(try await world.send(.put, self.cluster(world), unknown).target == "properties.identityProfile.kubeletidentity.resourceId")
    }

    @Test("A2 subscriptions: made once under an alias, with their maker as Owner; renamed; cancelled when empty")
    func subscriptions() async throws {
        let world = try await World()
        let path = "/providers/Microsoft.Subscription/aliases/plants"
        let body: JSONValue = ["properties": ["displayName": "Plants"]]
        let owner = try await world.actor("owner", role: "Owner")
        #expect(try await world.send(.put, path, body, as: owner).status == 403)
        let made = try await world.send(.put, path, body)
        #expect(made.status == 201)
        let id = try #require(made.body[path: "properties", "subscriptionId"]?.stringValue)
        #expect(try await world.send(.put, path, body).body[path: "properties", "subscriptionId"]?.stringValue == id)
        #expect(try await world.send(.get, "/subscriptions").values.count == 2)
        #expect(try await world.send(.get, "/subscriptions", as: owner).values.count == 1)
        #expect(try await world.send(.get, "/subscriptions/\(id)", as: owner).status == 403)
        #expect(
            try await world.send(.post, "/subscriptions/\(id)/providers/Microsoft.Subscription/rename", ["subscriptionName": "Ships"])
                .status == 200)
        #expect(try await world.send(.get, "/subscriptions/\(id)").body["displayName"] == "Ships")
        #expect(try await world.send(.put, "/subscriptions/\(id)/resourceGroups/g", ["location": "eastus"]).status == 201)
        #expect(try await world.send(.post, "/subscriptions/\(id)/providers/Microsoft.Subscription/cancel").code == "Conflict")
        #expect(try await world.send(.delete, "/subscriptions/\(id)/resourceGroups/g").status == 200)
        #expect(try await world.send(.post, "/subscriptions/\(id)/providers/Microsoft.Subscription/cancel").status == 200)
        #expect(try await world.send(.get, "/subscriptions/\(id)").code == "SubscriptionNotFound")
        #expect(try await world.send(.post, "\(world.subscription)/providers/Microsoft.Subscription/cancel").code == "Conflict")
    }

    @Test("Deleting a group deletes its identities and clusters with their principals")
    func group() async throws {
        let world = try await World().withRegistry()
        let made = try await world.send(.put, self.identity(world), ["location": "eastus"])
        let arc = "\(world.group)/providers/Microsoft.Kubernetes//connectedClusters/arc"
        #expect(try await world.send(.put, arc, ["location": "eastus", "properties": ["distribution": "k3s"]]).status == 201)
        #expect(try await world.send(.patch, arc, ["tags": ["a": "b"]]).body["tags"] == ["a": "b"])
        #expect(try await world.send(.get, arc).body[path: "properties", "distribution"] == "k3s")
        #expect(try await world.send(.delete, world.group).status == 200)
        let principal = try #require(made.body[path: "properties", "principalId"]?.stringValue)
        #expect(try await world.directory.object(principal) == nil)
        #expect(try await world.send(.put, world.group, ["location": "eastus"]).status == 201)
        #expect(try await world.send(.get, "\(world.group)/resources").values == [])
    }

    @Test("K6 nodes sign in as the kubelet identity; each secret stands by itself, and all end with the cluster") func kubelets()
        async throws
    {
        let world = try await World().withRegistry()
        let path = self.cluster(world)
        let made = try await world.send(.put, path, ["location": "eastus"])
        let object = try #require(made.body[path: "properties", "identityProfile", "kubeletidentity", "objectId"]?.stringValue)
        var tokens: [String] = []
        for node in ["one", "two"] {
            let credential = try await world.send(.post, path + "/createKubeletCredential", ["displayName": .string(node)])
            #expect(credential.status == 200)
            let client = try #require(credential.body["clientId"]?.stringValue)
            let secret = try #require(credential.body["clientSecret"]?.stringValue)
            tokens.append(try await world.accessToken(client, secret, World.arm))
        }
        #expect(try await world.directory.credentials(of: object).count == 2)
        for token in tokens {
            // Known, and without any right.
            let headers: HTTPFields = [.authorization: "Bearer \(token)"]
            #expect(try await world.send(.get, world.registry(), text: "", headers: headers).status == 403)
        }
        #expect(try await world.send(.delete, path).status == 204)
        let headers: HTTPFields = [.authorization: "Bearer \(tokens[0])"]
        #expect(try await world.send(.get, world.registry(), text: "", headers: headers).status == 401)
    }
}
