// Role definitions and assignments through ARM, and the matrix of routes and roles.

import HTTPTypes
import Identity
import JSON
import Testing

@testable import ResourceManager

@Suite struct RoleTests {
    private let pull = "7f951dda-4ed3-4680-a7ca-43fe172d538d"

    private func assignments(_ scope: String, _ filter: String = "") -> String {
        "\(scope)/providers/Microsoft.Authorization/roleAssignments" + (filter.isEmpty ? "" : "?$filter=" + World.encoded(filter))
    }

    private func body(_ principal: String, _ role: String, type: String = "ServicePrincipal") -> JSONValue {
        [
            "properties": [
                "roleDefinitionId": .string("/subscriptions/x/providers/Microsoft.Authorization/roleDefinitions/\(role)"),
                "principalId": .string(principal), "principalType": .string(type),
            ]
        ]
    }

    @Test("I4 definitions have Azure's identifiers and are found by name in any letters")
    func definitions() async throws {
        let world = try await World().withRegistry()
        let path = world.registry() + "/providers/Microsoft.Authorization/roleDefinitions"
        let found = try await world.send(.get, path + "?$filter=" + World.encoded("roleName eq 'acrpull'"))
        #expect(found.names == [self.pull])
        #expect(
            found.values.first?["id"]?.stringValue == "\(world.subscription)/providers/Microsoft.Authorization/roleDefinitions/\(self.pull)"
        )
        #expect(
            found.values.first?[path: "properties", "permissions"]?[0]?["actions"] == ["Microsoft.ContainerRegistry/registries/pull/read"])
        let all = try await world.send(.get, "\(world.subscription)/providers/Microsoft.Authorization/roleDefinitions")
        #expect(
            all.values.compactMap { $0[path: "properties", "roleName"]?.stringValue }.sorted() == [
                "AcrDelete", "AcrPull", "AcrPush", "Contributor", "Owner", "Reader", "User Access Administrator",
            ])
        #expect(try await world.send(.get, path + "/\(self.pull.uppercased())").status == 200)
        #expect(try await world.send(.get, path + "/00000000-0000-0000-0000-000000000000").status == 404)
        #expect(try await world.send(.get, path + "?$filter=nonsense").status == 400)
    }

    @Test("I4 a custom role is refused with what there is instead, and a built-in one is neither changed nor deleted")
    func customRoles() async throws {
        let world = try await World().withRegistry()
        let own = "22222222-2222-2222-2222-222222222222"
        for scope in [world.subscription, world.group, world.registry()] {
            let path = "\(scope)/providers/Microsoft.Authorization/roleDefinitions"
            for name in [own, self.pull] {
                let refused = try await world.send(
                    .put, "\(path)/\(name)",
                    ["properties": ["roleName": "mine", "permissions": [["actions": ["*"]]], "assignableScopes": [.string(scope)]]])
                #expect(refused.status == 400)
                #expect(refused.code == "FeatureNotAvailable")
                #expect(refused.message?.contains("Custom roles") == true && refused.message?.contains("scope map") == true)
            }
            #expect(try await world.send(.delete, "\(path)/\(self.pull)").status == 400)
            #expect(try await world.send(.delete, "\(path)/\(own)").status == 204)
            #expect(try await world.send(.get, "\(path)/\(own)").status == 404)
        }
    }

    @Test("I4 an assignment is made once, listed at, above and below its scope, and removed")
    func assignments() async throws {
        let world = try await World().withRegistry()
        let actor = try await world.actor("ci")
        let name = "11111111-1111-1111-1111-111111111111"
        let made = try await world.send(
            .put, self.assignments(world.registry()) + "/" + name.uppercased(), self.body(actor.objectID, self.pull))
        #expect(made.status == 201)
        #expect(made.body["id"]?.stringValue == self.assignments(world.registry()) + "/" + name)
        #expect(made.body[path: "properties", "scope"]?.stringValue == world.registry())
        #expect(
            made.body[path: "properties", "roleDefinitionId"]?.stringValue
                == "\(world.subscription)/providers/Microsoft.Authorization/roleDefinitions/\(self.pull)")
        #expect(made.body[path: "properties", "principalType"] == "ServicePrincipal")
        #expect(
            try await world.send(.put, self.assignments(world.registry()) + "/" + name, self.body(actor.objectID, self.pull)).status == 200)
        let again = try await world.send(
            .put, self.assignments(world.registry().lowercased()) + "/22222222-2222-2222-2222-222222222222",
            self.body(actor.objectID, self.pull))
        #expect(again.status == 409)
        #expect(again.code == "RoleAssignmentExists")

        func names(_ scope: String, _ filter: String = "") async throws -> [String] {
            try await world.send(.get, self.assignments(scope, filter)).names.filter { $0 == name }
        }
        #expect(try await names(world.registry(), "atScope()") == [name])
        #expect(try await names(world.group, "atScope()") == [])
        #expect(try await names(world.group) == [name])
        #expect(try await names(world.subscription, "principalId eq '\(actor.objectID)'") == [name])
        #expect(try await names(world.subscription, "principalId eq 'x'") == [])
        #expect(try await names(world.subscription, "assignedTo('\(actor.objectID)')") == [name])
        #expect(try await world.send(.get, self.assignments(world.subscription, "createdOn gt 1")).status == 400)
        // The operator's own role is there.
        #expect(try await world.send(.get, self.assignments(world.subscription, "atScope()")).values.count == 1)

        #expect(try await world.send(.delete, self.assignments(world.group) + "/" + name).status == 204)
        #expect(try await world.send(.delete, self.assignments(world.registry()) + "/" + name).status == 200)
        #expect(try await world.send(.delete, self.assignments(world.registry()) + "/" + name).status == 204)
        #expect(try await names(world.registry()) == [])
    }

    @Test("I4 what cannot be assigned is refused with the field")
    func refusals() async throws {
        let world = try await World().withRegistry()
        let actor = try await world.actor("ci")
        func put(_ name: String, _ body: JSONValue, at scope: String? = nil) async throws -> Answer {
            try await world.send(.put, self.assignments(scope ?? world.registry()) + "/" + name, body)
        }
        let good = "11111111-1111-1111-1111-111111111111"
        #expect(try await put("mine", self.body(actor.objectID, self.pull)).target == "name")
        #expect(try await put(good, self.body(actor.objectID, good)).target == "properties.roleDefinitionId")
        #expect(try await put(good, self.body(actor.appID, self.pull)).code == "PrincipalNotFound")
        #expect(try await put(good, self.body(actor.objectID, self.pull, type: "User")).target == "properties.principalType")
        var conditioned = self.body(actor.objectID, self.pull)
        conditioned[path: "properties", "condition"] = "@Resource[x] StringEquals 'y'"
        let condition = try await put(good, conditioned)
        #expect(condition.status == 400)
        #expect(condition.target == "properties.condition")
        #expect(try await put(good, self.body(actor.objectID, self.pull), at: world.registry("nosuch")).status == 404)
        #expect(try await put(good, self.body(actor.objectID, self.pull)).status == 201)
        #expect(try await put(good, self.body(actor.objectID, RoleDefinition.owner.id)).code == "RoleAssignmentUpdateNotPermitted")
    }

    @Test("I8 assignments go with their scope and with their principal")
    func cleanup() async throws {
        let world = try await World().withRegistry()
        let actor = try await world.actor("ci", role: "AcrPull", at: world.registry())
        _ = try await world.actor("other", role: "AcrPush", at: world.registry())
        try await world.directory.deleteServicePrincipal(actor.objectID)
        #expect(try await world.roles.assignments(around: world.registry()).map(\.role.name).sorted() == ["AcrPush", "Owner"])
        #expect(try await world.send(.delete, world.registry()).status == 200)
        #expect(try await world.roles.assignments(around: world.registry()).map(\.role.name) == ["Owner"])
    }

    // MARK: The matrix

    /// A path of a route with its parameters filled in.
    private func path(_ route: Route, _ world: World) -> String {
        route.pattern.replacing(":", with: "/").split(separator: "/").reduce("") { path, piece in
            let value =
                switch piece {
                case "{subscription}": world.installation.subscriptionID
                case "{group}": "Edge"
                case "{registry}": "harbour"
                case "{namespace}": "Microsoft.ContainerRegistry"
                case "{type}": "registries"
                case "{resource}": "harbour"
                case "{name}": "11111111-1111-1111-1111-111111111111"
                default: piece.hasPrefix("{") ? "some" : String(piece)
                }
            return path + "/" + value
        }
    }

    @Test("I8 every route of ARM is decided by the actions of the caller's role", arguments: RoleDefinition.all.map(\.name) + ["none"])
    func matrix(role: String) async throws {
        let definition = RoleDefinition.all.first { $0.name == role }
        var decided = 0
        // Changes that succeed take away what later routes need: each runs against nothing, with a body that cannot be read.
        let world = try await World().withRegistry()
        let actor = try await world.actor("caller", role: definition?.name, at: world.subscription)
        for route in Route.all {
            guard let action = route.action else { continue }
            let path = self.path(route, world)
            // Where the subscription does not hold the scope, roles in it say nothing.
            let isInside = path.lowercased().hasPrefix(world.subscription)
            let isAllowed = isInside && (definition?.permits(action) == true || (route.isFiltered && definition != nil))
            // Deleting what the matrix stands on comes to nothing when it is refused; when it is allowed, it is not sent.
            if route.method == .delete || path.lowercased().hasSuffix("/cancel"), isAllowed { continue }
            let answer = try await world.send(
                route.method, path, text: [.get, .head, .delete].contains(route.method) ? "" : "[]",
                headers: [.authorization: "Bearer \(actor.management)"])
            #expect((answer.status == 403) == !isAllowed, "\(role): \(route.method) \(path) (\(action)) → \(answer.status) \(answer.body)")
            if answer.status == 403 { #expect(answer.code == "AuthorizationFailed" || route.method == .head) }
            decided += 1
        }
        #expect(decided > 60)
    }

    @Test("I8 the rows of the contract, by name")
    func contract() async throws {
        let world = try await World().withRegistry()
        try await world.withToken("client")
        let reader = try await world.actor("reader", role: "Reader", at: world.registry())
        let pull = try await world.actor("pull", role: "AcrPull", at: world.registry())
        let contributor = try await world.actor("contributor", role: "Contributor")
        let owner = try await world.actor("owner", role: "Owner", at: world.registry())
        let generate: JSONValue = ["tokenId": .string(world.registry() + "/tokens/client")]
        for actor in [reader, pull] {
            for operation in ["listCredentials", "regenerateCredential", "importImage", "generateCredentials"] {
                let answer = try await world.send(.post, "\(world.registry())/\(operation)", generate, as: actor)
                #expect(answer.code == "AuthorizationFailed", "\(operation)")
            }
            #expect(try await world.send(.delete, world.registry(), as: actor).status == 403)
        }
        #expect(try await world.send(.get, world.registry(), as: reader).status == 200)
        #expect(try await world.send(.get, world.registry(), as: pull).status == 403)
        // A role at a resource lets its subscription be seen and chosen, and nothing beside the resource.
        #expect(try await world.send(.get, "/subscriptions", as: reader).values.count == 1)
        #expect(try await world.send(.get, "\(world.subscription)/resources", as: reader).names == ["harbour"])
        #expect(try await world.send(.get, "\(world.subscription)/resources", as: pull).names == [])
        #expect(try await world.send(.get, "\(world.subscription)/resourcegroups", as: reader).names == [])
        #expect(try await world.send(.get, "\(world.subscription)/resourcegroups", as: contributor).names == ["Edge"])
        let assignment = "\(world.registry())/providers/Microsoft.Authorization/roleAssignments/11111111-1111-1111-1111-111111111111"
        #expect(try await world.send(.put, assignment, self.body(pull.objectID, RoleDefinition.owner.id), as: contributor).status == 403)
        #expect(try await world.send(.put, assignment, self.body(reader.objectID, self.pull), as: owner).status == 201)
        #expect(try await world.send(.delete, assignment, as: contributor).status == 403)
        // Owner of a registry is nobody outside of it.
        #expect(try await world.send(.put, world.group, ["location": "eastus"], as: owner).status == 403)
        #expect(try await world.send(.post, "\(world.registry())/generateCredentials", generate, as: contributor).status == 200)
        // Removal acts on the next request.
        #expect(
            try await world.send(
                .delete, assignment.replacing(assignment.suffix(36), with: "22222222-2222-2222-2222-222222222222"), as: owner
            ).status == 204)
        let role = try #require(try await world.roles.assignments(around: world.registry()).first { $0.principal == owner.objectID })
        #expect(try await world.roles.remove(role.name))
        #expect(try await world.send(.get, world.registry(), as: owner).status == 403)
    }

    @Test("I7 a role of a group is a role of its members, through groups too, and ends with the membership")
    func groups() async throws {
        let world = try await World().withRegistry()
        let actor = try await world.actor("ci")
        let (outer, inner) = (
            try await world.directory.createGroup("outer", mailNickname: "outer", text: nil, owner: nil),
            try await world.directory.createGroup("inner", mailNickname: "inner", text: nil, owner: nil)
        )
        try await world.directory.addMember(inner.objectID, to: outer.objectID)
        let assignment = "\(world.registry())/providers/Microsoft.Authorization/roleAssignments/11111111-1111-1111-1111-111111111111"
        let reader = try #require(RoleDefinition.all.first { $0.name == "Reader" })
        #expect(try await world.send(.put, assignment, self.body(outer.objectID, reader.id, type: "Group")).status == 201)
        #expect(try await world.send(.get, world.registry(), as: actor).status == 403)
        try await world.directory.addMember(actor.objectID, to: inner.objectID)
        #expect(try await world.send(.get, world.registry(), as: actor).status == 200)
        let assigned = try await world.send(.get, self.assignments(world.subscription, "assignedTo('\(actor.objectID)')"))
        #expect(assigned.values.count == 1)
        try await world.directory.removeMember(inner.objectID, from: outer.objectID)
        #expect(try await world.send(.get, world.registry(), as: actor).status == 403)
    }
}
