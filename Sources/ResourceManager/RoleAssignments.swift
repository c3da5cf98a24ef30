// `Microsoft.Authorization`: role definitions, and who has which role where.

internal import HTTPServing
internal import HTTPTypes
internal import Identity
internal import JSON
internal import OCI
internal import Persistence

extension Route {
    private static let assignmentAction = "Microsoft.Authorization/roleAssignments"
    private static let definitionAction = "Microsoft.Authorization/roleDefinitions"
    /// Where roles can be given: everywhere, a subscription, a group, a resource.
    private static let scopes = [
        "", "subscriptions/{subscription}", "subscriptions/{subscription}/resourcegroups/{group}",
        "subscriptions/{subscription}/resourcegroups/{group}/providers/{namespace}/{type}/{resource}",
    ]

    static let authorizationRoutes: [Route] = scopes.flatMap { scope in
        let assignments = "\(scope):providers/microsoft.authorization/roleassignments"
        let definitions = "\(scope):providers/microsoft.authorization/roledefinitions"
        return [
            Route(.get, assignments, assignmentAction + "/read") { try await $0.listAssignments($1) },
            Route(.get, assignments + "/{name}", assignmentAction + "/read") { try await $0.showAssignment($1) },
            Route(.put, assignments + "/{name}", assignmentAction + "/write") { try await $0.putAssignment($1) },
            Route(.delete, assignments + "/{name}", assignmentAction + "/delete") { try await $0.deleteAssignment($1) },
            Route(.get, definitions, definitionAction + "/read") { try await $0.listDefinitions($1) },
            Route(.get, definitions + "/{name}", definitionAction + "/read") { try await $0.showDefinition($1) },
            Route(.put, definitions + "/{name}", definitionAction + "/write") { try await $0.refuseDefinition($1) },
            Route(.delete, definitions + "/{name}", definitionAction + "/delete") { try await $0.refuseDefinition($1) },
        ]
    }
}

/// The `$filter` of role assignments.
private struct AssignmentFilter {
    var includesBelow = true
    /// Assignments of one of these.
    var principals: Set<String>?

    /// - Throws: 400 for a filter that is none of `atScope()`, `principalId eq '…'` and `assignedTo('…')`, joined by `and`.
    init(_ text: String, roles: RoleStore) async throws {
        for clause in text.prefix(2048).split(separator: " and ") {
            let clause = clause.trimmingPrefix { $0 == " " }
            let lowercased = clause.lowercased()
            let quoted = clause.split(separator: "'", omittingEmptySubsequences: false)
            if lowercased == "atscope()" {
                self.includesBelow = false
            } else if lowercased.hasPrefix("principalid eq '"), quoted.count == 3 {
                self.principals = [quoted[1].lowercased()]
            } else if lowercased.hasPrefix("assignedto('"), quoted.count == 3 {
                self.principals = try await roles.identities(of: quoted[1].lowercased())
            } else {
                throw ResourceError.invalid(
                    "$filter", "'\(clause.prefix(100))' is none of atScope(), principalId eq '<id>' and assignedTo('<id>')")
            }
        }
    }
}

extension ResourceOperations {
    private var roles: RoleStore { self.services.directory.roles }

    /// The scope of a call as it is written in answers.
    ///
    /// - Throws: 404 when there is no such scope.
    private func scope(_ call: Call) async throws -> String {
        guard !call["subscription"].isEmpty else { return "/" }
        let subscription = try await self.subscription(call).id
        guard !call["group"].isEmpty else { return subscription.description }
        let group = try await self.group(call).id
        guard !call["resource"].isEmpty else { return group.description }
        let text = "\(group)/providers/\(call["namespace"])/\(call["type"])/\(call["resource"])"
        let stored: ResourceID?
        if let id = ResourceID(text) {
            stored = id.registry != nil ? try await self.resources.registry(id)?.id : try await self.resources.record(id)?.id
        } else {
            stored = nil
        }
        guard let stored else {
            throw ResourceError(
                .notFound, .resourceNotFound,
                "The Resource '\(call["namespace"].prefix(60))/\(call["type"].prefix(60))/\(call["resource"].prefix(60))' under resource group "
                    + "'\(group.name)' was not found.")
        }
        return stored.description
    }

    // MARK: Definitions

    func listDefinitions(_ call: Call) async throws -> ServerResponse {
        let scope = try await self.scope(call)
        var definitions = RoleDefinition.all
        if let filter = call.request.query("$filter"), !filter.isEmpty {
            let quoted = filter.prefix(1024).split(separator: "'", omittingEmptySubsequences: false)
            let lowercased = filter.lowercased()
            if lowercased.hasPrefix("rolename eq '"), quoted.count == 3 {
                definitions = definitions.filter { $0.name.lowercased() == quoted[1].lowercased() }
            } else if lowercased.hasPrefix("type eq '"), quoted.count == 3 {
                definitions = quoted[1].lowercased() == "builtinrole" ? definitions : []
            } else if lowercased != "atscopeandbelow()", lowercased != "atscope()" {
                throw ResourceError.invalid("$filter", "'\(filter.prefix(100))' is none of roleName eq '<name>' and type eq '<type>'")
            }
        }
        return .list(definitions.map { Self.value($0, at: scope) })
    }

    func showDefinition(_ call: Call) async throws -> ServerResponse {
        let scope = try await self.scope(call)
        guard let definition = RoleDefinition.find(call["name"]) else {
            throw ResourceError(
                .notFound, .roleDefinitionNotFound,
                "The specified role definition with ID '\(call["name"].prefix(60))' is none of this server's. List them with "
                    + "'outport role definition list'.")
        }
        return .document(Self.value(definition, at: scope))
    }

    /// The roles are those that there are: decisions by a role that somebody has put together would be nobody's promise.
    func refuseDefinition(_ call: Call) async throws -> ServerResponse {
        _ = try await self.scope(call)
        if call.request.method == .delete, RoleDefinition.find(call["name"]) == nil { return ServerResponse(.noContent) }
        throw ResourceError(
            .badRequest, .notAvailable,
            "Custom roles are not available: the role definitions of this server cannot be made, changed or deleted. Assign one of those that "
                + "'outport role definition list' shows, or use a token with a scope map, which says more of repositories.")
    }

    /// One form of the id per subscription: clients compare it letter by letter with that of assignments.
    private static func definitionID(_ definition: RoleDefinition, at scope: String) -> String {
        let subscription = ResourceID(subscription: scope.split(separator: "/").dropFirst().first.map(String.init) ?? "")
        return (scope == "/" ? "" : subscription.description) + "/providers/Microsoft.Authorization/roleDefinitions/\(definition.id)"
    }

    private static func value(_ definition: RoleDefinition, at scope: String) -> JSONValue {
        [
            "id": .string(self.definitionID(definition, at: scope)), "name": .string(definition.id),
            "type": "Microsoft.Authorization/roleDefinitions",
            "properties": [
                "roleName": .string(definition.name), "type": "BuiltInRole", "description": .string(definition.text),
                "assignableScopes": ["/"],
                "permissions": [
                    [
                        "actions": .strings(definition.actions), "notActions": .strings(definition.notActions), "dataActions": [],
                        "notDataActions": [],
                    ]
                ],
            ],
        ]
    }

    // MARK: Assignments

    func listAssignments(_ call: Call) async throws -> ServerResponse {
        let scope = try await self.scope(call)
        let filter = try await AssignmentFilter(call.request.query("$filter") ?? "", roles: self.roles)
        let found = try await self.roles.assignments(around: scope, includesBelow: filter.includesBelow)
            .filter { filter.principals?.contains($0.principal) ?? true }
        return .list(found.map(Self.value))
    }

    func showAssignment(_ call: Call) async throws -> ServerResponse {
        let scope = try await self.scope(call)
        guard let assignment = try await self.roles.assignment(call["name"]), assignment.scopeKey == RoleStore.key(scope) else {
            throw ResourceError(
                .notFound, .resourceNotFound, "The role assignment '\(call["name"].prefix(60))' is not found at scope '\(scope)'.")
        }
        return .document(Self.value(assignment))
    }

    func putAssignment(_ call: Call) async throws -> ServerResponse {
        let scope = try await self.scope(call)
        guard Self.isGUID(call["name"]) else {
            throw ResourceError.invalid("name", "'\(call["name"].prefix(60))' is no GUID; choose a new one for each role assignment")
        }
        let body = try call.document()
        // Older versions of the interface put the members on top.
        let properties = try body["properties"].isPresent ? body["properties"] : body
        let roleID = try properties["roleDefinitionId"].requiredString()
        guard let role = RoleDefinition.find(roleID.split(separator: "/").last.map(String.init) ?? "") else {
            throw ResourceError(
                .badRequest, .roleDefinitionNotFound,
                "The specified role definition with ID '\(roleID.prefix(200))' is none of this server's. List them with "
                    + "'outport role definition list'.", target: "properties.roleDefinitionId")
        }
        let principal = try properties["principalId"].requiredString().lowercased()
        let text = try properties["description"].string(maximum: 1024)
        if let condition = try properties["condition"].string(), !condition.isEmpty {
            throw ResourceError(
                .badRequest, .conditionsNotSupported,
                "Conditions of role assignments are not evaluated by this server, so an assignment with one is refused: it would give more "
                    + "than is meant. Assign the role at a narrower scope, or use a token with a scope map.", target: "properties.condition"
            )
        }
        if let id = try properties["delegatedManagedIdentityResourceId"].string(), !id.isEmpty {
            throw ResourceError.notAvailable(
                "Delegated managed identities", target: "properties.delegatedManagedIdentityResourceId")
        }
        if let type = try properties["principalType"].choice(["User", "Group", "ServicePrincipal", "ForeignGroup", "Device"]),
            let object = try await self.services.directory.object(principal), let actual = object.principalType, actual != type
        {
            throw ResourceError(
                .badRequest, .principalNotFound,
                "The principal \(principal) has type '\(actual)', which is different from the specified principal type '\(type)'.",
                target: "properties.principalType")
        }
        do {
            let (assignment, isNew) = try await self.roles.assign(
                role, to: principal, at: scope, name: call["name"].lowercased(), text: text, by: call.principal.objectID)
            return .document(isNew ? .created : .ok, Self.value(assignment))
        } catch let error as IdentityError {
            switch error.code {
            case .alreadyExists: throw ResourceError(.conflict, .roleAssignmentExists, error.message + ".")
            case .inUse: throw ResourceError(.conflict, .roleAssignmentUpdate, "Changing a role assignment is refused: \(error.message).")
            case .notFound:
                throw ResourceError(.badRequest, .principalNotFound, error.message + ".", target: "properties.principalId")
            default: throw error
            }
        }
    }

    /// Takes a role away. What is not there is gone already.
    func deleteAssignment(_ call: Call) async throws -> ServerResponse {
        let scope = try await self.scope(call)
        guard let assignment = try await self.roles.assignment(call["name"]), assignment.scopeKey == RoleStore.key(scope),
            try await self.roles.remove(assignment.name)
        else { return ServerResponse(.noContent) }
        return .document(Self.value(assignment))
    }

    static func isGUID(_ text: String) -> Bool {
        let parts = text.split(separator: "-", omittingEmptySubsequences: false)
        return parts.map(\.utf8.count) == [8, 4, 4, 4, 12]
            && parts.allSatisfy { $0.utf8.allSatisfy { ASCII.isDigit($0) || (0x61...0x66).contains($0 | 0x20) } }
    }

    private static func value(_ assignment: RoleAssignment) -> JSONValue {
        let prefix = assignment.scope == "/" ? "" : assignment.scope
        return [
            "id": .string("\(prefix)/providers/Microsoft.Authorization/roleAssignments/\(assignment.name)"),
            "name": .string(assignment.name), "type": "Microsoft.Authorization/roleAssignments",
            "properties": [
                "scope": .string(assignment.scope),
                "roleDefinitionId": .string(Self.definitionID(assignment.role, at: assignment.scope)),
                "principalId": .string(assignment.principal), "principalType": .string(assignment.principalType),
                "description": .string(orNull: assignment.text), "condition": nil, "conditionVersion": nil,
                "delegatedManagedIdentityResourceId": nil,
                "createdOn": .string(Timestamp.text(milliseconds: assignment.created)),
                "updatedOn": .string(Timestamp.text(milliseconds: assignment.updated)), "createdBy": .string(assignment.createdBy),
                "updatedBy": .string(assignment.updatedBy),
            ],
        ]
    }
}
