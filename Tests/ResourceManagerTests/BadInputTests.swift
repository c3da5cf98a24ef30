// Bad input, made from good: every member of every body wrong in turn is refused with its name, and nothing is changed.

import HTTPTypes
import Identity
import JSON
import NIOCore
import RegistryClient
import Testing

@testable import ResourceManager

/// A call whose body is taken apart.
private struct Sample: Sendable {
    let name: String
    let method: HTTPRequest.Method
    let path: String
    let body: JSONValue
    /// What must be as it was after each refusal.
    let watched: String
    /// Members whose wrong value is refused under another name, or that may have more forms than one.
    var exceptions: Set<String> = []
    /// Statuses of an answer to the body as it is.
    var good = [200, 201]

    init(
        _ name: String, _ method: HTTPRequest.Method, _ path: String, _ body: JSONValue, watched: String? = nil, except: Set<String> = [],
        good: [Int] = [200, 201]
    ) {
        (self.name, self.method, self.path, self.body, self.watched) = (name, method, path, body, watched ?? path)
        self.exceptions = except
        self.good = good
    }
}

/// One change of a body.
private struct Mutation: Sendable {
    let path: String
    let kind: String
    let body: JSONValue
}

private enum Mutator {
    private static let long = String(repeating: "x", count: 70_000)

    private static var deep: JSONValue { (0..<60).reduce(JSONValue.string("x")) { value, _ in .array([value]) } }

    /// Every member, elements of arrays too, replaced by what it cannot be.
    static func mutations(of body: JSONValue) -> [Mutation] {
        self.places(in: body, "").flatMap { place, value -> [Mutation] in
            guard !place.isEmpty else { return [] }
            var wrong: [(String, JSONValue)] = [("nested too deep", self.deep)]
            switch value {
            case .string:
                wrong += [("a number", 5), ("true", true), ("an array", []), ("an object", [:]), ("too long", .string(self.long))]
                wrong += [("a control character", "a\u{1}b")]
            case .bool: wrong += [("a word", "perhaps"), ("a number", 5), ("an array", []), ("an object", [:])]
            case .array: wrong += [("a word", "x"), ("a number", 5), ("an object", [:])]
            case .object: wrong += [("a word", "x"), ("a number", 5), ("an array", [])]
            default: wrong += [("a word", "x"), ("true", true), ("an array", []), ("a fraction", 1.5), ("negative", -1)]
            }
            return wrong.map { Mutation(path: place, kind: $0.0, body: self.replacing(place, by: $0.1, in: body)) }
        }
    }

    /// The members by the names under which they are refused: `properties.actions[0]`.
    static func places(in value: JSONValue, _ path: String) -> [(String, JSONValue)] {
        var found = [(path, value)]
        switch value {
        case .object(let members):
            for (key, inner) in members.sorted(by: { $0.key < $1.key }) {
                found += self.places(in: inner, path.isEmpty ? key : "\(path).\(key)")
            }
        case .array(let elements):
            for (index, inner) in elements.enumerated() { found += self.places(in: inner, "\(path)[\(index)]") }
        default: break
        }
        return found
    }

    static func replacing(_ place: String, by replacement: JSONValue, in value: JSONValue, _ path: String = "") -> JSONValue {
        if path == place { return replacement }
        switch value {
        case .object(let members):
            var changed: [String: JSONValue] = [:]
            for (key, inner) in members {
                changed[key] = self.replacing(place, by: replacement, in: inner, path.isEmpty ? key : "\(path).\(key)")
            }
            return .object(changed)
        case .array(let elements):
            return .array(elements.enumerated().map { self.replacing(place, by: replacement, in: $1, "\(path)[\($0)]") })
        default: return value
        }
    }
}

/// A registry elsewhere that has nothing.
private struct EmptySource: Transport {
    func send(_ request: ClientRequest) async throws -> ClientResponse {
        let (stream, source) = AsyncStream.makeStream(of: ByteBuffer.self)
        source.yield(ByteBuffer(string: #"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"no"}]}"#))
        source.finish()
        return ClientResponse(status: 404, headers: [], body: ClientResponseBody(stream))
    }
}

@Suite struct BadInputTests {
    /// A world with one of everything.
    private func world() async throws -> (world: World, samples: [Sample]) {
        let world = try await World(source: EmptySource()).withRegistry()
        let r = world.registry()
        for token in ["reader", "sync-one", "sync-two"] { try await world.withToken(token) }
        let site = "\(r)/connectedRegistries/factory"
        #expect(try await world.send(.put, site, self.site(r, "sync-one")).status == 201)
        let principal = try #require(try await world.services.directory.administrator()).objectID
        let set: JSONValue = [
            "properties": [
                "loginServer": "docker.io",
                "authCredentials": [
                    [
                        "name": "Credential1", "usernameSecretIdentifier": "https://v.vault.azure.net/secrets/u",
                        "passwordSecretIdentifier": "https://v.vault.azure.net/secrets/p",
                    ]
                ],
            ]
        ]
        #expect(try await world.send(.put, "\(r)/credentialSets/hubset", set).status == 201)
        let hook: JSONValue = [
            "location": "eastus", "tags": ["a": "b"],
            "properties": [
                "serviceUri": "https://receiver.example/x", "customHeaders": ["X-Key": "v"], "actions": ["push", "delete"],
                "scope": "app:*", "status": "enabled",
            ],
        ]
        #expect(try await world.send(.put, "\(r)/webhooks/hookone", hook).status == 201)
        let map: JSONValue = [
            "properties": ["description": "what", "actions": ["repositories/app/content/read", "gateway/factory/config/read"]]
        ]
        #expect(try await world.send(.put, "\(r)/scopeMaps/mapone", map).status == 201)
        let registry: JSONValue = [
            "location": "eastus", "sku": ["name": "Premium"], "tags": ["team": "edge"],
            "properties": [
                "adminUserEnabled": true, "dataEndpointEnabled": true, "anonymousPullEnabled": false, "readOnly": false,
                "storageQuota": 1000, "publicNetworkAccess": "Enabled", "networkRuleBypassOptions": "AzureServices",
                "networkRuleSet": ["defaultAction": "Allow", "ipRules": [["value": "203.0.113.0/24", "action": "Allow"]]],
                "policies": [
                    "retentionPolicy": ["status": "disabled", "days": 7], "softDeletePolicy": ["status": "enabled", "retentionDays": 7],
                    "exportPolicy": ["status": "enabled"], "azureADAuthenticationAsArmPolicy": ["status": "enabled"],
                    "trustPolicy": ["type": "Notary", "status": "disabled"], "quarantinePolicy": ["status": "disabled"],
                ],
                "zoneRedundancy": "Disabled", "encryption": ["status": "disabled"],
            ],
        ]
        let assignments = "\(r)/providers/Microsoft.Authorization/roleAssignments"
        let identities = world.group + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities"
        #expect(try await world.send(.put, identities + "/one", ["location": "eastus"]).status == 201)
        let samples = [
            Sample("group", .put, world.group, ["location": "eastus", "tags": ["a": "b"], "managedBy": "somebody"]),
            Sample("registry", .put, r, registry),
            Sample("registry", .patch, r, registry),
            Sample(
                "name", .post, world.subscription + "/providers/Microsoft.ContainerRegistry/checkNameAvailability",
                ["name": "freeregistry", "type": "Microsoft.ContainerRegistry/registries"], watched: r),
            Sample("scope map", .put, "\(r)/scopeMaps/mapone", map),
            Sample("scope map", .patch, "\(r)/scopeMaps/mapone", map),
            Sample(
                "token", .put, "\(r)/tokens/reader",
                [
                    "properties": [
                        "scopeMapId": .string("\(r)/scopeMaps/mapone"), "status": "enabled",
                        "credentials": ["passwords": [["name": "password1"]]],
                    ]
                ]),
            Sample("token", .patch, "\(r)/tokens/reader", ["properties": ["status": "disabled"]]),
            Sample(
                "credentials", .post, "\(r)/generateCredentials",
                ["tokenId": .string("\(r)/tokens/reader"), "name": "password1", "expiry": "2099-12-31T12:59:59Z"],
                watched: "\(r)/tokens/reader"),
            Sample("admin user", .post, "\(r)/regenerateCredential", ["name": "password"], watched: r),
            Sample(
                "site", .put, site, self.site(r, "sync-one"),
                except: ["properties.garbageCollection.enabled true", "properties.logging.auditLogStatus true"]),
            Sample(
                "site", .patch, site,
                [
                    "properties": [
                        "syncProperties": ["schedule": "0 3 * * *", "syncWindow": "PT4H", "messageTtl": "P3D", "authType": "SyncToken"],
                        "clientTokenIds": [.string("\(r)/tokens/reader")], "notificationsList": ["app:tag:*"],
                        "logging": ["logLevel": "Error", "auditLogStatus": "Enabled"],
                        "garbageCollection": ["enabled": false, "schedule": "0 1 * * *"],
                    ]
                ], except: ["properties.logging.auditLogStatus true"]),
            Sample("webhook", .put, "\(r)/webhooks/hookone", hook),
            Sample("webhook", .patch, "\(r)/webhooks/hookone", hook),
            Sample(
                "cache rule", .put, "\(r)/cacheRules/ruleone",
                [
                    "properties": [
                        "sourceRepository": "docker.io/library/x", "targetRepository": "x",
                        "credentialSetResourceId": .string("\(r)/credentialSets/hubset"),
                    ]
                ], watched: "\(r)/cacheRules"),
            Sample("credential set", .put, "\(r)/credentialSets/hubset", set),
            Sample("credential set", .patch, "\(r)/credentialSets/hubset", set),
            Sample(
                "replication", .put, "\(r)/replications/eastus",
                ["location": "eastus", "properties": ["regionEndpointEnabled": true, "zoneRedundancy": "Disabled"]]),
            Sample(
                "role assignment", .put, "\(assignments)/22222222-2222-4222-8222-222222222222",
                [
                    "properties": [
                        "roleDefinitionId": "/providers/Microsoft.Authorization/roleDefinitions/7f951dda-4ed3-4680-a7ca-43fe172d538d",
                        "principalId": .string(principal), "principalType": "ServicePrincipal",
                    ]
                ], watched: assignments),
            Sample("identity", .put, identities + "/one", ["location": "eastus", "tags": ["a": "b"]]),
            Sample(
                "identities of a registry", .patch, r,
                [
                    "identity": [
                        "type": "SystemAssigned, UserAssigned", "userAssignedIdentities": .object([identities + "/one": [:]]),
                    ]
                ]),
            Sample(
                "import", .post, "\(r)/importImage",
                [
                    "source": [
                        "registryUri": "docker.io", "sourceImage": "library/nothing:v1", "credentials": ["username": "u", "password": "p"],
                    ], "targetTags": ["nothing:v1"], "untaggedTargetRepositories": ["nothing"], "mode": "NoForce",
                ], watched: r, good: [404]),
        ]
        return (world, samples + (try await self.clusters(world, identities + "/one")))
    }

    /// Clusters as `az aks` and `az connectedk8s` send them, the extension, and whom an identity believes.
    private func clusters(_ world: World, _ identity: String) async throws -> [Sample] {
        let managed = world.group + "/providers/Microsoft.ContainerService/managedClusters/nodes"
        let connected = world.group + "/providers/Microsoft.Kubernetes/connectedClusters/plant"
        let item = connected + "/providers/Microsoft.KubernetesConfiguration/extensions/myext"
        let cluster: JSONValue = [
            "location": "eastus", "tags": ["a": "b"], "identity": ["type": "SystemAssigned"], "sku": ["name": "Base", "tier": "Free"],
            "properties": [
                "dnsPrefix": "plant", "kubernetesVersion": "1.33", "enableRBAC": true, "nodeResourceGroup": "nodes",
                "agentPoolProfiles": [
                    [
                        "name": "nodepool1", "count": 3, "vmSize": "", "osType": "Linux", "mode": "System", "enableFIPS": false,
                        "type": "VirtualMachineScaleSets", "availabilityZones": ["1"], "nodeTaints": ["a=b:NoSchedule"],
                    ]
                ], "linuxProfile": ["adminUsername": "azureuser", "ssh": ["publicKeys": [["keyData": "ssh-rsa AAAA"]]]],
                "networkProfile": ["loadBalancerSku": "standard", "outboundType": "loadBalancer"],
                "servicePrincipalProfile": ["clientId": "msi"], "bootstrapProfile": ["artifactSource": "Direct"], "addonProfiles": [:],
                "storageProfile": [:],
            ],
        ]
        let arc: JSONValue = [
            "location": "eastus", "tags": ["a": "b"], "identity": ["type": "SystemAssigned"],
            "properties": [
                "agentPublicKeyCertificate": "", "distribution": "k3s", "infrastructure": "generic",
                "arcAgentryConfigurations": [["feature": "x", "settings": ["a": "b"]]],
            ],
        ]
        #expect(try await world.send(.put, managed, cluster).status == 201)
        #expect(try await world.send(.put, connected, arc).status == 201)
        let connection =
            "ConnectedRegistryName=factory;SyncTokenName=factory;SyncTokenPassword=s3cret.pin;ParentGatewayEndpoint=h:8443;"
            + "ParentEndpointProtocol=https"
        let wanted: JSONValue = [
            "identity": ["type": "SystemAssigned"],
            "properties": [
                "extensionType": "microsoft.containerregistry.connectedregistry", "autoUpgradeMinorVersion": true, "releaseTrain": "stable",
                "version": "0.1.0", "scope": ["cluster": ["releaseNamespace": "connected-registry"]],
                "configurationSettings": ["service.clusterIP": "192.100.100.1", "httpEnabled": "false", "pvc.storageRequest": "10Gi"],
                "configurationProtectedSettings": ["connectionString": .string(connection)],
            ],
        ]
        let change: JSONValue = [
            "properties": [
                "autoUpgradeMinorVersion": false, "releaseTrain": "preview", "version": "0.2.0",
                "configurationSettings": ["service.clusterIP": "192.100.100.2"],
            ]
        ]
        #expect(try await world.send(.put, item, wanted).status == 201)
        // A number is a quantity of storage and a version of one figure; a truth value may be said in words.
        let loose: Set<String> = [
            "properties.configurationSettings.pvc.storageRequest a number", "properties.configurationSettings.httpEnabled true",
            "properties.configurationSettings.pvc.storageRequest true",
        ]
        return [
            Sample("managed cluster", .put, managed, cluster), Sample("managed cluster", .patch, managed, cluster),
            Sample("connected cluster", .put, connected, arc), Sample("connected cluster", .patch, connected, arc),
            Sample("extension", .put, item, wanted, except: loose, good: [200, 201]),
            Sample("extension", .patch, item, change, good: [202]),
            Sample(
                "kubeconfig", .post, managed + "/recordClusterCredential", ["kubeconfig": "YXBpVmVyc2lvbjogdjE="], watched: managed,
                except: ["kubeconfig too long"], good: [204]),
            Sample("secret of nodes", .post, managed + "/createKubeletCredential", ["displayName": "node"], watched: managed),
            Sample(
                "federated credential", .put, identity + "/federatedIdentityCredentials/web",
                [
                    "properties": [
                        "issuer": "https://kubernetes.default.svc", "subject": "system:serviceaccount:web:default",
                        "audiences": ["api://AzureADTokenExchange"],
                    ]
                ], watched: identity + "/federatedIdentityCredentials", good: [400]),
        ]
    }

    private func site(_ r: String, _ token: String) -> JSONValue {
        [
            "properties": [
                "mode": "ReadOnly",
                "parent": [
                    "syncProperties": [
                        "tokenId": .string("\(r)/tokens/\(token)"), "schedule": "* * * * *", "messageTtl": "P2D", "authType": "SyncToken",
                    ]
                ],
                "clientTokenIds": [.string("\(r)/tokens/reader")], "notificationsList": ["app:tag:*"],
                "logging": ["logLevel": "Information", "auditLogStatus": "Disabled"],
                "garbageCollection": ["enabled": "true", "schedule": "0 0 * * *"],
            ]
        ]
    }

    @Test("I8 A3 each member of each body wrong in turn is 400 with its name, and nothing is changed")
    func members() async throws {
        let (world, samples) = try await self.world()
        var count = 0
        for sample in samples {
            let before = try await world.send(.get, sample.watched).body
            let mutations = Mutator.mutations(of: sample.body).filter { !sample.exceptions.contains("\($0.path) \($0.kind)") }
            for (index, mutation) in mutations.enumerated() {
                let answer = try await world.send(sample.method, sample.path, mutation.body)
                count += 1
                #expect(answer.status == 400, "\(sample.name) \(sample.method) \(mutation.path) is \(mutation.kind): \(answer.body)")
                // What is nested too deep is no document at all, and is refused before anybody looks for members.
                if mutation.kind != "nested too deep" || answer.target != nil {
                    let target = answer.target ?? ""
                    #expect(
                        target == mutation.path || target.hasPrefix(mutation.path + ".") || target.hasPrefix(mutation.path + "["),
                        "\(sample.name) \(sample.method) \(mutation.path) is \(mutation.kind): \(answer.body)")
                }
                // Looked at once for each member, after all that it cannot be.
                guard index + 1 == mutations.count || mutations[index + 1].path != mutation.path else { continue }
                #expect(try await world.send(.get, sample.watched).body == before, "\(sample.name) \(mutation.path)")
            }
            // As it is it is good, and so no refusal was for another reason.
            let good = try await world.send(sample.method, sample.path, sample.body)
            #expect(sample.good.contains(good.status), "\(sample.name) \(sample.method): \(good.body)")
        }
        print("bad input: \(count) bodies")
    }

    @Test("I8 A3 null is the same as not being there, in every member of every body")
    func nulls() async throws {
        let (world, samples) = try await self.world()
        for sample in samples {
            // Null takes an identity away, and that is refused by the name of what is left empty.
            for (place, _) in Mutator.places(in: sample.body, "")
            where !place.isEmpty && !place.hasSuffix("]") && !place.hasPrefix("identity.userAssignedIdentities.") {
                let null = try await world.send(sample.method, sample.path, Mutator.replacing(place, by: .null, in: sample.body))
                #expect((sample.good + [200, 201, 400, 409]).contains(null.status), "\(sample.name) \(place): \(null.body)")
                // A role assignment may also say everything one level up.
                guard null.status == 400, !sample.good.contains(400), sample.name != "role assignment" || place != "properties" else {
                    continue
                }
                #expect(null.target == place || null.target?.hasPrefix(place + ".") == true, "\(sample.name) \(place): \(null.body)")
            }
        }
    }

    @Test("A2: any api-version is accepted, unknown routes are 404 in ARM's form, 4 MiB is the most a body may have")
    func shape() async throws {
        let world = try await World().withRegistry()
        for version in ["1999-01-01", "x", "", "2026-09-01-preview&api-version=other"] {
            #expect(try await world.send(.get, world.registry() + "?api-version=\(version)").status == 200, "\(version)")
        }
        for path in [
            world.subscription + "/nothing", world.registry() + "/nothing", world.registry() + "/tokens/a/b",
            world.group + "/providers/Microsoft.Unknown/things", "/subscriptions/x/y/z", "/providers/Microsoft.Nothing",
        ] {
            let answer = try await world.send(.get, path)
            #expect(answer.status == 404, "\(path) \(answer.body)")
            #expect(answer.code?.isEmpty == false && answer.message?.isEmpty == false, "\(path) \(answer.body)")
        }
        let huge = try await world.send(.put, world.registry(), text: "{\"x\":\"" + String(repeating: "y", count: 4 << 20) + "\"}")
        #expect(huge.status == 413)
        #expect(huge.code == "RequestEntityTooLarge")
        for text in ["", "null", "[]", "5", "\"x\"", "{", "{\"a\":1,}", "\u{feff}{}", String(repeating: "[", count: 100_000)] {
            let answer = try await world.send(.put, world.registry() + "/scopeMaps/mapone", text: text)
            #expect(answer.status == 400, "\(text.prefix(20)) \(answer.body)")
        }
    }

    @Test("I3 I8 the directory: each member of each body wrong in turn is 400 with its name, and nothing is changed")
    func directory() async throws {
        let world = try await World()
        let admin = try await world.administrator()
        func send(_ method: HTTPRequest.Method, _ path: String, _ body: JSONValue?) async throws -> Answer {
            try await world.graph(method, path, body, as: admin)
        }
        let application = try await send(.post, "/applications", ["displayName": "one"])
        let id = try #require(application.body["id"]?.stringValue)
        let samples: [(method: HTTPRequest.Method, path: String, body: JSONValue, list: String)] = [
            (.post, "/applications", ["displayName": "two"], "/applications"),
            (.patch, "/applications/\(id)", ["displayName": "one"], "/applications"),
            (
                .post, "/applications/\(id)/addPassword",
                [
                    "passwordCredential": [
                        "displayName": "x", "startDateTime": "2026-01-01T00:00:00Z", "endDateTime": "2099-01-01T00:00:00Z",
                    ]
                ], "/applications"
            ),
            (
                .post, "/users",
                [
                    "userPrincipalName": "ann@example.test", "displayName": "Ann", "mailNickname": "ann", "accountEnabled": true,
                    "passwordProfile": ["password": "a long and good password 1", "forceChangePasswordNextSignIn": false],
                ], "/users"
            ),
            (
                .post, "/groups",
                [
                    "displayName": "people", "mailNickname": "people", "description": "who", "mailEnabled": false, "securityEnabled": true,
                ], "/groups"
            ),
        ]
        var count = 0
        for sample in samples {
            let before = try await send(.get, sample.list, nil).body["value"]
            for mutation in Mutator.mutations(of: sample.body) {
                let answer = try await send(sample.method, sample.path, mutation.body)
                count += 1
                #expect(answer.status == 400, "\(sample.path) \(mutation.path) is \(mutation.kind): \(answer.body)")
                if mutation.kind != "nested too deep" {
                    let name = mutation.path.split(separator: ".").last.map(String.init) ?? ""
                    #expect(
                        answer.message?.contains(name) == true || answer.target?.contains(name) == true,
                        "\(sample.path) \(mutation.path) is \(mutation.kind): \(answer.body)")
                }
                #expect(try await send(.get, sample.list, nil).body["value"] == before, "\(sample.path) \(mutation.path)")
            }
            let good = try await send(sample.method, sample.path, sample.body)
            #expect([200, 201, 204].contains(good.status), "\(sample.path): \(good.body)")
        }
        print("bad input to the directory: \(count) bodies")
    }
}
