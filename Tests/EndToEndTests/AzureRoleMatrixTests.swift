// Who may do what: every role with every verb, decided as the published role definitions say, with the tokens that `az` gets.

import Foundation
import JSON
import Testing

/// A role as its published definition has it; not what the server says of it.
private struct PublishedRole: Sendable {
    /// The name under which it is assigned; `nil` for nobody's.
    let name: String?
    let actions: [String]
    let notActions: [String]

    /// Letters for names of resources.
    var label: String { (self.name ?? "none").lowercased() }

    func permits(_ action: String) -> Bool {
        func matches(_ pattern: String) -> Bool {
            let expression = "^" + NSRegularExpression.escapedPattern(for: pattern).replacing("\\*", with: ".*") + "$"
            return action.range(of: expression, options: [.regularExpression, .caseInsensitive]) != nil
        }
        return self.actions.contains(where: matches) && !self.notActions.contains(where: matches)
    }

    private init(_ name: String?, _ actions: [String], not notActions: [String] = []) {
        (self.name, self.actions, self.notActions) = (name, actions, notActions)
    }

    static let all: [PublishedRole] = [
        PublishedRole("Owner", ["*"]),
        PublishedRole(
            "Contributor", ["*"],
            not: ["Microsoft.Authorization/*/Delete", "Microsoft.Authorization/*/Write", "Microsoft.Authorization/elevateAccess/Action"]),
        PublishedRole("Reader", ["*/read"]),
        PublishedRole("AcrPull", ["Microsoft.ContainerRegistry/registries/pull/read"]),
        PublishedRole(
            "AcrPush", ["Microsoft.ContainerRegistry/registries/pull/read", "Microsoft.ContainerRegistry/registries/push/write"]),
        PublishedRole("AcrDelete", ["Microsoft.ContainerRegistry/registries/artifacts/delete"]),
        PublishedRole(nil, []),
    ]
}

/// A call of the resource manager with the operation it is documented as.
private struct Verb: Sendable {
    let method: String
    /// Below the role's own group; `{r}` is its registry.
    let path: String
    let action: String
    let body: JSONValue?
    /// What comes of it when it is allowed.
    let allowed: Int
    /// Whether it is asked of the subscription, where nobody has the role.
    var isAbove = false

    init(_ method: String, _ path: String, _ action: String, _ allowed: Int, _ body: JSONValue? = nil, above: Bool = false) {
        (self.method, self.path, self.action, self.body, self.allowed, self.isAbove) = (method, path, action, body, allowed, above)
    }
}

@Suite(.serialized) struct AzureRoleMatrixTests {
    private static let registry = "/providers/Microsoft.ContainerRegistry/registries/"

    /// The calls, those that take away last. `principal` is somebody to give a role to.
    private static func verbs(_ role: PublishedRole, group: String, principal: String) -> [Verb] {
        let (r, m) = (Self.registry + role.label + "registry", "Microsoft.ContainerRegistry/registries")
        func id(_ kind: String, _ name: String) -> JSONValue { .string("\(group)\(r)/\(kind)/\(name)") }
        func site(_ token: String) -> JSONValue {
            ["properties": ["mode": "readonly", "parent": ["syncProperties": ["tokenId": id("tokens", token), "schedule": "* * * * *"]]]]
        }
        let token: JSONValue = ["properties": ["scopeMapId": id("scopeMaps", "_repositories_pull")]]
        let hook: JSONValue = ["location": "eastus", "properties": ["serviceUri": "https://receiver.example/x", "actions": ["push"]]]
        let assignment: JSONValue = [
            "properties": [
                "roleDefinitionId": "/providers/Microsoft.Authorization/roleDefinitions/7f951dda-4ed3-4680-a7ca-43fe172d538d",
                "principalId": .string(principal), "principalType": "ServicePrincipal",
            ]
        ]
        let names = "/providers/Microsoft.Authorization/roleAssignments"
        let identities = "/providers/Microsoft.ManagedIdentity/userAssignedIdentities"
        let clusters = "/providers/Microsoft.ContainerService/managedClusters"
        let rule: JSONValue = ["properties": ["sourceRepository": "docker.io/library/x", "targetRepository": "x"]]
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
        return [
            Verb("GET", "", "Microsoft.Resources/subscriptions/resourceGroups/read", 200),
            Verb("PUT", "", "Microsoft.Resources/subscriptions/resourceGroups/write", 200, ["location": "eastus"]),
            Verb(
                "POST", "/providers/Microsoft.ContainerRegistry/checkNameAvailability",
                "Microsoft.ContainerRegistry/checkNameAvailability/read", 200,
                ["name": "freeregistry", "type": "Microsoft.ContainerRegistry/registries"], above: true),
            Verb("GET", r, m + "/read", 200),
            Verb("GET", r + "/listUsages", m + "/listUsages/read", 200),
            Verb("PUT", Self.registry + role.label + "made", m + "/write", 201, ["location": "eastus", "sku": ["name": "Basic"]]),
            Verb("PATCH", r, m + "/write", 200, ["tags": ["a": "b"]]),
            Verb("PATCH", r, m + "/write", 200, ["properties": ["policies": ["retentionPolicy": ["status": "enabled", "days": 9]]]]),
            Verb("POST", r + "/listCredentials", m + "/listCredentials/action", 200),
            Verb("POST", r + "/regenerateCredential", m + "/regenerateCredential/action", 200, ["name": "password"]),
            Verb(
                "POST", r + "/generateCredentials", m + "/generateCredentials/action", 200,
                ["tokenId": id("tokens", "kept-token"), "name": "password1"]),
            // Allowed, and then refused for its source.
            Verb(
                "POST", r + "/importImage", m + "/importImage/action", 400,
                ["source": ["registryUri": "127.0.0.1:1", "sourceImage": "x:v1"], "targetTags": ["x:v1"]]),
            Verb("GET", r + "/tokens", m + "/tokens/read", 200),
            Verb("GET", r + "/tokens/kept-token", m + "/tokens/read", 200),
            Verb("PUT", r + "/tokens/made-token", m + "/tokens/write", 201, token),
            Verb("PATCH", r + "/tokens/kept-token", m + "/tokens/write", 200, ["properties": ["status": "disabled"]]),
            Verb("GET", r + "/scopeMaps", m + "/scopeMaps/read", 200),
            Verb("PUT", r + "/scopeMaps/made-map", m + "/scopeMaps/write", 201, ["properties": ["actions": []]]),
            Verb("PATCH", r + "/scopeMaps/kept-map", m + "/scopeMaps/write", 200, ["properties": ["description": "x"]]),
            Verb("GET", r + "/connectedRegistries", m + "/connectedRegistries/read", 200),
            Verb("PUT", r + "/connectedRegistries/made-site", m + "/connectedRegistries/write", 201, site("sync-two")),
            Verb(
                "PATCH", r + "/connectedRegistries/kept-site", m + "/connectedRegistries/write", 200,
                ["properties": ["logging": ["logLevel": "Error"]]]),
            Verb("POST", r + "/connectedRegistries/kept-site/deactivate", m + "/connectedRegistries/deactivate/action", 200),
            Verb("POST", r + "/connectedRegistries/kept-site/resync", m + "/connectedRegistries/resync/action", 200),
            Verb("GET", r + "/webhooks", m + "/webhooks/read", 200),
            Verb("PUT", r + "/webhooks/madehook", m + "/webhooks/write", 201, hook),
            Verb("PATCH", r + "/webhooks/kepthook", m + "/webhooks/write", 200, ["properties": ["status": "disabled"]]),
            Verb("POST", r + "/webhooks/kepthook/ping", m + "/webhooks/ping/action", 200),
            Verb("POST", r + "/webhooks/kepthook/getCallbackConfig", m + "/webhooks/getCallbackConfig/action", 200),
            Verb("POST", r + "/webhooks/kepthook/listEvents", m + "/webhooks/listEvents/action", 200),
            Verb("GET", r + "/replications", m + "/replications/read", 200),
            Verb("PUT", r + "/replications/eastus", m + "/replications/write", 200, ["location": "eastus"]),
            Verb("GET", r + "/cacheRules", m + "/cacheRules/read", 200),
            Verb("PUT", r + "/cacheRules/maderule", m + "/cacheRules/write", 201, rule),
            Verb("GET", r + "/credentialSets", m + "/credentialSets/read", 200),
            Verb("PUT", r + "/credentialSets/madeset", m + "/credentialSets/write", 201, set),
            Verb("GET", r + names, "Microsoft.Authorization/roleAssignments/read", 200),
            Verb(
                "PUT",
                r + names + "/11111111-1111-4111-8111-11111111111" + "\(PublishedRole.all.firstIndex { $0.label == role.label } ?? 9)",
                "Microsoft.Authorization/roleAssignments/write", 201, assignment),
            Verb("GET", identities + "/kept-identity", "Microsoft.ManagedIdentity/userAssignedIdentities/read", 200),
            Verb(
                "PUT", identities + "/made-identity", "Microsoft.ManagedIdentity/userAssignedIdentities/write", 201, ["location": "eastus"]),
            Verb("GET", clusters + "/kept", "Microsoft.ContainerService/managedClusters/read", 200),
            Verb(
                "PUT", clusters + "/made", "Microsoft.ContainerService/managedClusters/write", 201,
                ["location": "eastus", "properties": [:]]),

            Verb(
                "DELETE",
                r + names + "/11111111-1111-4111-8111-11111111111" + "\(PublishedRole.all.firstIndex { $0.label == role.label } ?? 9)",
                "Microsoft.Authorization/roleAssignments/delete", 200),
            Verb("DELETE", r + "/cacheRules/maderule", m + "/cacheRules/delete", 204),
            Verb("DELETE", r + "/credentialSets/madeset", m + "/credentialSets/delete", 204),
            Verb("DELETE", r + "/webhooks/kepthook", m + "/webhooks/delete", 200),
            Verb("DELETE", r + "/connectedRegistries/kept-site", m + "/connectedRegistries/delete", 200),
            Verb("DELETE", r + "/tokens/kept-token", m + "/tokens/delete", 200),
            Verb("DELETE", r + "/scopeMaps/kept-map", m + "/scopeMaps/delete", 200),
            Verb("DELETE", identities + "/kept-identity", "Microsoft.ManagedIdentity/userAssignedIdentities/delete", 200),
            Verb("DELETE", r, m + "/delete", 200),
            Verb("DELETE", "", "Microsoft.Resources/subscriptions/resourceGroups/delete", 200),
        ]
    }

    /// Sends JSON with a token.
    private static func send(
        _ http: Registry, _ token: String, _ method: String, _ path: String, _ body: JSONValue? = nil
    ) async throws -> (status: Int, body: JSONValue) {
        let reply = try await http.send(
            method, path + "?api-version=2026-09-01-preview",
            headers: ["Authorization": "Bearer \(token)", "Content-Type": "application/json"],
            body: body.map { Data($0.serialized().utf8) })
        return (reply.status, reply.body.isEmpty ? .null : try JSONValue(parsing: Array(reply.body)))
    }

    @Test("I8: every role with every verb, as the published role definitions have it, by the tokens of az and by az rest")
    func matrix() async throws {
        try await withSandbox { box in
            let parent = try await Parent.start(box, arguments: ["--suffix", "registry.test:8443"], registry: nil)
            let azure = try await AzureCLI.operate(parent)
            let bootstrap = try parent.bootstrap()
            let http = try parent.server.registry()
            let admin = try await azure("account", "get-access-token", "--query", "accessToken", "-o", "tsv")
            let subscription = "/subscriptions/\(bootstrap.subscriptionId)"
            func make(_ method: String, _ path: String, _ body: JSONValue) async throws {
                let answer = try await Self.send(http, admin, method, path, body)
                #expect([200, 201].contains(answer.status), "\(path) \(answer.body)")
            }
            var cells = 0
            for role in PublishedRole.all {
                let group = "\(subscription)/resourceGroups/matrix-\(role.label)"
                let registry = group + Self.registry + role.label + "registry"
                try await make("PUT", group, ["location": "eastus"])
                try await make(
                    "PUT", registry,
                    [
                        "location": "eastus", "sku": ["name": "Premium"],
                        "properties": ["dataEndpointEnabled": true, "adminUserEnabled": true],
                    ])
                for token in ["kept-token", "sync-one", "sync-two"] {
                    try await make(
                        "PUT", "\(registry)/tokens/\(token)",
                        ["properties": ["scopeMapId": .string("\(registry)/scopeMaps/_repositories_pull")]])
                }
                try await make("PUT", registry + "/scopeMaps/kept-map", ["properties": ["actions": []]])
                let sync: JSONValue = ["tokenId": .string("\(registry)/tokens/sync-one"), "schedule": "* * * * *"]
                try await make(
                    "PUT", registry + "/connectedRegistries/kept-site",
                    ["properties": ["mode": "readonly", "parent": ["syncProperties": sync]]])
                try await make(
                    "PUT", registry + "/webhooks/kepthook",
                    ["location": "eastus", "properties": ["serviceUri": "https://receiver.example/x", "actions": ["push"]]])
                try await make(
                    "PUT", group + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/kept-identity", ["location": "eastus"])
                try await make(
                    "PUT", group + "/providers/Microsoft.ContainerService/managedClusters/kept", ["location": "eastus", "properties": [:]])

                // A principal whose one role is this, at its group; az gets its tokens.
                var arguments = ["ad", "sp", "create-for-rbac", "--name", "matrix-\(role.label)"]
                if let name = role.name { arguments += ["--role", name, "--scopes", group] }
                let made = try JSONValue(parsing: try await parent.attempt(arguments).succeeded().trimmed)
                let (appID, secret) = (try #require(made["appId"]?.stringValue), try #require(made["password"]?.stringValue))
                let own = try await AzureCLI(box, server: parent.server, endpoint: bootstrap.resourceManager)
                try await own(
                    "login", "--service-principal", "-u", appID, "-p", secret, "--tenant", bootstrap.tenantId, "--allow-no-subscriptions")
                let token = try await own("account", "get-access-token", "--query", "accessToken", "-o", "tsv")
                let principal = try await parent("ad", "sp", "show", "--id", bootstrap.clientId, "--query", "id", "-o", "tsv")

                // One of each by az itself: reading, and changing something.
                for (method, action) in [("get", "read"), ("patch", "write")] {
                    let outcome = try await own.attempt(
                        [
                            "rest", "--method", method, "--url", bootstrap.resourceManager + registry + "?api-version=2026-09-01-preview",
                        ] + (method == "patch" ? ["--body", #"{"tags":{"by":"az"}}"#] : [])
                            // Without any role az knows no subscription to take a token from.
                            + (role.name == nil ? ["--skip-authorization-header", "--headers", "Authorization=Bearer \(token)"] : []))
                    let isAllowed = role.permits("Microsoft.ContainerRegistry/registries/\(action)")
                    #expect(outcome.isSuccess == isAllowed, "\(role.label) az rest \(method): \(outcome.errors)")
                    if !isAllowed { #expect(outcome.errors.contains("AuthorizationFailed"), "\(outcome.errors)") }
                }
                for verb in Self.verbs(role, group: group, principal: principal) {
                    let path = (verb.isAbove ? subscription : group) + verb.path
                    let answer = try await Self.send(http, token, verb.method, path, verb.body)
                    cells += 1
                    if role.permits(verb.action), !verb.isAbove {
                        #expect(answer.status == verb.allowed, "\(role.label) \(verb.method) \(verb.path): \(answer.status) \(answer.body)")
                        #expect(answer.body[path: "error", "code"] != "AuthorizationFailed")
                    } else {
                        #expect(answer.status == 403, "\(role.label) \(verb.method) \(verb.path): \(answer.status) \(answer.body)")
                        #expect(answer.body[path: "error", "code"] == "AuthorizationFailed", "\(role.label) \(verb.method) \(verb.path)")
                    }
                }
                // What was refused has not happened.
                guard !role.permits("Microsoft.ContainerRegistry/registries/write") else { continue }
                for kept in ["/tokens/kept-token", "/scopeMaps/kept-map", "/connectedRegistries/kept-site", "/webhooks/kepthook"] {
                    #expect(try await Self.send(http, admin, "GET", registry + kept).status == 200, "\(role.label) \(kept)")
                }
                for never in ["/tokens/made-token", "/scopeMaps/made-map", "/connectedRegistries/made-site", "/webhooks/madehook"] {
                    #expect(try await Self.send(http, admin, "GET", registry + never).status == 404, "\(role.label) \(never)")
                }
                let tags = try await Self.send(http, admin, "GET", registry).body["tags"]
                #expect(tags == [:], "\(role.label)")
            }
            print("I8 \(cells) cells of the matrix")
        }
    }

    @Test("I8: the directory: who registers applications, and who resets whose secrets")
    func directory() async throws {
        try await withSandbox { box in
            let parent = try await Parent.start(box)
            let bootstrap = try parent.bootstrap()
            let http = try parent.server.registry()
            let azure = try await AzureCLI.operate(parent)
            let scope = try await azure("acr", "show", "-n", parent.registryName, "--query", "id", "-o", "tsv")
            let graph = "/graph/v1.0"
            let admin = try await azure("account", "get-access-token", "--resource-type", "ms-graph", "--query", "accessToken", "-o", "tsv")
            let other = try await Self.send(http, admin, "POST", graph + "/applications", ["displayName": "somebody else"])
            let otherID = try #require(other.body["id"]?.stringValue)
            let password: JSONValue = ["passwordCredential": ["displayName": "x"]]
            for role in PublishedRole.all {
                var arguments = ["ad", "sp", "create-for-rbac", "--name", "directory-\(role.label)"]
                if let name = role.name { arguments += ["--role", name, "--scopes", scope] }
                let made = try JSONValue(parsing: try await parent.attempt(arguments).succeeded().trimmed)
                let own = try await AzureCLI(box, server: parent.server, endpoint: bootstrap.resourceManager)
                try await own(
                    "login", "--service-principal", "-u", try #require(made["appId"]?.stringValue), "-p",
                    try #require(made["password"]?.stringValue), "--tenant", bootstrap.tenantId, "--allow-no-subscriptions")
                let token = try await own(
                    "account", "get-access-token", "--resource-type", "ms-graph", "--query", "accessToken", "-o", "tsv")
                // Whoever hands out roles makes principals for them; in the directory no role of a resource counts besides.
                let mayRegister = role.permits("Microsoft.Authorization/roleAssignments/write")
                let created = try await Self.send(
                    http, token, "POST", graph + "/applications", ["displayName": .string("of \(role.label)")])
                #expect(created.status == (mayRegister ? 201 : 403), "\(role.label) \(created.body)")
                if !mayRegister { #expect(created.body[path: "error", "code"] == "Authorization_RequestDenied", "\(created.body)") }
                if let id = created.body["id"]?.stringValue {
                    let reset = try await Self.send(http, token, "POST", "\(graph)/applications/\(id)/addPassword", password)
                    #expect(reset.status == 200, "\(role.label) its own: \(reset.body)")
                }
                let refused = try await Self.send(http, token, "POST", "\(graph)/applications/\(otherID)/addPassword", password)
                #expect(refused.status == 403, "\(role.label) another's: \(refused.body)")
                #expect(try await Self.send(http, token, "DELETE", "\(graph)/applications/\(otherID)").status == 403, "\(role.label)")
                #expect(
                    try await Self.send(http, token, "POST", graph + "/users", ["displayName": "x", "userPrincipalName": "x@y"]).status
                        == 403)
            }
            let kept = try await Self.send(http, admin, "GET", "\(graph)/applications/\(otherID)")
            #expect(kept.body["passwordCredentials"] == [])
        }
    }
}
