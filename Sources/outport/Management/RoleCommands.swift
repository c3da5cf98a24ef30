// Roles and who has them.

import ArgumentParser
import JSON

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

/// `outport role …`
struct RoleCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "role", abstract: "Manage role-based access control.", subcommands: [Assignment.self, Definition.self])

    struct Assignment: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "assignment", abstract: "Manage role assignments.",
            subcommands: [RoleAssignmentCreateCommand.self, RoleAssignmentListCommand.self, RoleAssignmentDeleteCommand.self])
    }

    struct Definition: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "definition", abstract: "Manage role definitions.",
            subcommands: [RoleDefinitionListCommand.self, RoleDefinitionShowCommand.self])
    }
}

/// The requests behind role assignments.
struct RoleAssignments: Sendable {
    private let client: ManagementClient
    private let session: ManagementSession
    private static let provider = "/providers/Microsoft.Authorization"

    init(_ session: ManagementSession) {
        self.session = session
        client = session.client
    }

    /// The scope that was named, else the group's, else the subscription's.
    func scope(_ scope: String?, _ group: String?) throws(ManagementError) -> String {
        if let scope {
            guard group == nil else { throw .usage("Give one of --scope and --resource-group.") }
            return scope == "/" ? "" : scope
        }
        if let group { return "\(try session.subscriptionPath())/resourceGroups/\(URLText.segment(group))" }
        return try session.subscriptionPath()
    }

    /// Definitions, by name where one is given.
    func definitions(_ scope: String, name: String? = nil) async throws(ManagementError) -> [JSONValue] {
        try await client.list(
            scope + Self.provider + "/roleDefinitions",
            query: name.map { [("$filter", "roleName eq '\($0.replacing("'", with: "''"))'")] } ?? [])
    }

    /// The id of a role that is named by name, GUID or id.
    func roleID(_ role: String, _ scope: String) async throws(ManagementError) -> String {
        if role.hasPrefix("/") { return role }
        if UUID(uuidString: role) != nil {
            return "\(try session.subscriptionPath())\(Self.provider)/roleDefinitions/\(role.lowercased())"
        }
        guard let id = try await definitions(scope, name: role).first?["id"]?.stringValue else {
            throw ManagementError("Role '\(role)' doesn't exist.", advice: "Run 'outport role definition list' to see those there are.")
        }
        return id
    }

    /// Gives a role. One that is there already is found and returned.
    func create(
        role: String, scope: String, principal: (id: String, type: String?), text: String? = nil, name: String? = nil
    ) async throws(ManagementError) -> JSONValue {
        let id = try await roleID(role, scope)
        var properties: JSONValue = ["roleDefinitionId": .string(id), "principalId": .string(principal.id)]
        if let type = principal.type { properties["principalType"] = .string(type) }
        if let text { properties["description"] = .string(text) }
        do {
            return try await client.put(
                "\(scope)\(Self.provider)/roleAssignments/\(name ?? UUID().uuidString.lowercased())", ["properties": properties])
        } catch {
            guard error.code == "RoleAssignmentExists" else { throw error }
            let guid = id.split(separator: "/").last.map { $0.lowercased() }
            let found = try await list(scope, filter: "atScope()").first {
                $0[path: "properties", "principalId"]?.stringValue == principal.id.lowercased()
                    && $0[path: "properties", "roleDefinitionId"]?.stringValue?.split(separator: "/").last.map { $0.lowercased() } == guid
                    && $0[path: "properties", "scope"]?.stringValue?.lowercased() == scope.lowercased()
            }
            guard let found else { throw error }
            return found
        }
    }

    func list(_ scope: String, filter: String?) async throws(ManagementError) -> [JSONValue] {
        try await client.list(scope + Self.provider + "/roleAssignments", query: filter.map { [("$filter", $0)] } ?? [])
    }

    /// Assignments as `az` selects them.
    func search(
        scope: String?, assignee: String?, role: String?, includesInherited: Bool, includesGroups: Bool
    ) async throws(ManagementError) -> [JSONValue] {
        var filter: String? = scope == nil ? nil : "atScope()"
        if let assignee {
            filter =
                (scope == nil ? "" : "atScope() and ") + (includesGroups ? "assignedTo('\(assignee)')" : "principalId eq '\(assignee)'")
        }
        let place: String
        if let scope { place = scope } else { place = try session.subscriptionPath() }
        var found = try await list(place, filter: filter)
        if let scope {
            found = found.filter { item in
                let other = item[path: "properties", "scope"]?.stringValue?.lowercased() ?? ""
                let wanted = scope.isEmpty ? "/" : scope.lowercased()
                return other == wanted || (includesInherited && (other == "/" || wanted.hasPrefix(other + "/")))
            }
        }
        if let role {
            let id = try await roleID(role, place).split(separator: "/").last.map { $0.lowercased() }
            found = found.filter {
                $0[path: "properties", "roleDefinitionId"]?.stringValue?.split(separator: "/").last.map { $0.lowercased() } == id
            }
        }
        return found
    }

    static let shape = ResourceShape(skeleton: [
        "id": nil, "name": nil, "type": nil, "condition": nil, "conditionVersion": nil, "createdBy": nil, "createdOn": nil,
        "delegatedManagedIdentityResourceId": nil, "description": nil, "principalId": nil, "principalType": nil, "roleDefinitionId": nil,
        "scope": nil, "updatedBy": nil, "updatedOn": nil,
    ])

    /// With the names of roles and, where the directory tells them, of principals.
    func named(
        _ assignments: [JSONValue], _ scope: String, principals asksPrincipals: Bool = true, roles asksRoles: Bool = true
    ) async throws(ManagementError) -> JSONValue {
        guard !assignments.isEmpty else { return [] }
        var roles: [String: JSONValue] = [:]
        for definition in asksRoles ? try await definitions(scope) : [] {
            roles[definition["name"]?.stringValue ?? ""] = definition[path: "properties", "roleName"]
        }
        var names: [String: JSONValue] = [:]
        let ids = Set(assignments.compactMap { $0[path: "properties", "principalId"]?.stringValue }).sorted()
        // Whoever may not ask the directory sees ids.
        for object in asksPrincipals ? (try? await DirectoryLookup(session).objects(ids)) ?? [] : [] {
            names[object["id"]?.stringValue ?? ""] = object["userPrincipalName"] ?? object["appId"] ?? object["displayName"]
        }
        return .array(
            assignments.map { item in
                var item = Self.shape.shape(item)
                // As az lists them: what is not said is not there, and times are Python's.
                if case .object(let members) = item { item = .object(members.filter { !$0.value.isNull }) }
                for key in ["createdOn", "updatedOn"] {
                    if let text = item[key]?.stringValue, let time = PrintedForms.time(text) { item[key] = .string(time) }
                }
                item["principalName"] = names[item["principalId"]?.stringValue ?? ""] ?? ""
                item["roleDefinitionName"] = roles[item["roleDefinitionId"]?.stringValue?.split(separator: "/").last.map(String.init) ?? ""]
                return item
            })
    }
}

extension TableLayout {
    static let roleAssignments = TableLayout { result in
        (result.arrayValue ?? [result]).map { item in
            let principal = item["principalName"]?.stringValue ?? ""
            return [
                ("Principal", principal.isEmpty ? item["principalId"]?.stringValue ?? "" : principal),
                ("Role", item["roleDefinitionName"]?.stringValue ?? ""), ("Scope", item["scope"]?.stringValue ?? ""),
            ]
        }
    }

    static let roleDefinitions = TableLayout { result in
        (result.arrayValue ?? [result]).map { item in
            [
                ("Name", item["roleName"]?.stringValue ?? ""), ("Type", item["type"]?.stringValue ?? ""),
                ("Description", item["description"]?.stringValue ?? ""),
            ]
        }
    }
}

/// `outport role assignment create`
struct RoleAssignmentCreateCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "create", abstract: "Create a role assignment for a user, group, or service principal.",
        discussion: """
            It acts on the next call, and at registries on the next token request.

            Example: outport role assignment create --assignee ana@example.com --role AcrPull --scope REGISTRY_ID
            """)
    static let table = TableLayout.roleAssignments

    @Option(help: "A user name, application id or object id.")
    var assignee: String?

    @Option(help: "An object id, for which the directory is not asked.")
    var assigneeObjectId: String?

    @Option(help: "User, Group or ServicePrincipal, with --assignee-object-id.")
    var assigneePrincipalType: String?

    @Option(help: "Role name or id.")
    var role: String

    @Option(help: "Scope at which the role applies.")
    var scope: String?

    @OptionGroup var group: GroupOption

    @Option(help: "Description of the assignment.")
    var description: String?

    @Option(name: [.customShort("n"), .long], help: "A GUID; made when it is missing.")
    var name: String?

    @Option(help: "Not evaluated by this server, and therefore refused.")
    var condition: String?

    @Option(help: "The version of the condition, with --condition.")
    var conditionVersion: String?

    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        guard (assignee == nil) != (assigneeObjectId == nil) else { throw .usage("Give one of --assignee and --assignee-object-id.") }
        guard condition == nil else {
            throw ManagementError(
                "Conditions of role assignments are not evaluated by this server.", advice: "Assign the role at a narrower scope.")
        }
        let roles = RoleAssignments(session)
        let principal: (id: String, type: String?)
        if let assignee {
            principal = try await DirectoryLookup(session).assignee(assignee)
        } else {
            principal = (assigneeObjectId ?? "", assigneePrincipalType)
        }
        let made = try await roles.create(
            role: role, scope: try roles.scope(scope, group.resourceGroup), principal: principal, text: description, name: name)
        return RoleAssignments.shape.shape(made)
    }
}

/// `outport role assignment list`
struct RoleAssignmentListCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List role assignments.",
        discussion: "Example: outport role assignment list --all -o table")
    static let table = TableLayout.roleAssignments

    @Option(help: "A user name, application id or object id.")
    var assignee: String?

    @Option(help: "An object id, for which the directory is not asked.")
    var assigneeObjectId: String?

    @Option(help: "Role name or id.")
    var role: String?

    @Option(help: "Scope at which the role applies.")
    var scope: String?

    @OptionGroup var group: GroupOption

    @Flag(help: "Show all assignments under the current subscription.")
    var all = false

    @Flag(help: "Include assignments applied on parent scopes.")
    var includeInherited = false

    @Flag(help: "Include extra assignments to the groups of which the user is a member.")
    var includeGroups = false

    @Option(defaultAsFlag: ThreeState.yes, parsing: .next, help: "Ask the directory for the names of principals.")
    var fillPrincipalName: ThreeState?

    @Option(defaultAsFlag: ThreeState.yes, parsing: .next, help: "Ask for the names of roles.")
    var fillRoleDefinitionName: ThreeState?

    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let roles = RoleAssignments(session)
        if all, scope != nil || group.resourceGroup != nil {
            throw .usage("group or scope are not required when --all is used")
        }
        let scope = all ? nil : try roles.scope(scope, group.resourceGroup)
        var principal = assigneeObjectId
        if let assignee { principal = try await DirectoryLookup(session).assignee(assignee).id }
        let found = try await roles.search(
            scope: scope, assignee: principal, role: role, includesInherited: includeInherited, includesGroups: includeGroups)
        let place = if let scope { scope } else { try session.subscriptionPath() }
        return try await roles.named(
            found, place, principals: fillPrincipalName?.value ?? true,
            roles: fillRoleDefinitionName?.value ?? true)
    }
}

/// `outport role assignment delete`
struct RoleAssignmentDeleteCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "delete", abstract: "Delete role assignments.",
        discussion:
            "Example: outport role assignment delete --assignee 00000000-0000-0000-0000-000000000000 --role AcrPull --scope /subscriptions/…"
    )

    @Option(parsing: .upToNextOption, help: "Space-separated role assignment ids.")
    var ids: [String] = []

    @Option(help: "A user name, application id or object id.")
    var assignee: String?

    @Option(help: "An object id, for which the directory is not asked.")
    var assigneeObjectId: String?

    @Option(help: "Role name or id.")
    var role: String?

    @Option(help: "Scope at which the role applies.")
    var scope: String?

    @OptionGroup var group: GroupOption

    @Flag(help: "Include assignments applied on parent scopes.")
    var includeInherited = false

    @OptionGroup var consent: YesOption

    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        if !ids.isEmpty {
            guard assignee == nil, assigneeObjectId == nil, role == nil, scope == nil, group.resourceGroup == nil else {
                throw .usage("When assignment ids are used, other parameter values are not required")
            }
            for id in ids { try await session.client.delete(id) }
            return nil
        }
        guard assignee != nil || assigneeObjectId != nil || role != nil || scope != nil || group.resourceGroup != nil else {
            throw .usage("Nothing says which assignments are meant.", advice: "Add --ids, or --assignee, --role and --scope.")
        }
        let roles = RoleAssignments(session)
        var principal = assigneeObjectId
        if let assignee { principal = try await DirectoryLookup(session).assignee(assignee).id }
        let found = try await roles.search(
            scope: try roles.scope(scope, group.resourceGroup), assignee: principal, role: role, includesInherited: includeInherited,
            includesGroups: false)
        if found.count > 1, principal == nil {
            try session.confirm("This will delete \(found.count) role assignments. Are you sure?", consent)
        }
        for id in found.compactMap({ $0["id"]?.stringValue }) { try await session.client.delete(id) }
        return nil
    }
}

/// `outport role definition list`
struct RoleDefinitionListCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List role definitions.", discussion: "Example: outport role definition list --name AcrPull")
    static let table = TableLayout.roleDefinitions

    @Option(name: [.customShort("n"), .long], help: "The role's name or GUID.")
    var name: String?

    @Option(help: "Scope at which the roles apply.")
    var scope: String?

    @Flag(help: "Return custom roles only, of which there are none.")
    var customRoleOnly = false

    @OptionGroup var group: GroupOption

    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let roles = RoleAssignments(session)
        let isGUID = name.flatMap { UUID(uuidString: $0) } != nil
        var found = try await roles.definitions(try roles.scope(scope, group.resourceGroup), name: isGUID ? nil : name)
        if customRoleOnly { found = found.filter { $0[path: "properties", "type"]?.stringValue == "CustomRole" } }
        if isGUID { found = found.filter { $0["name"]?.stringValue == name?.lowercased() } }
        return .array(
            found.map { item in
                var flat = item["properties"] ?? [:]
                flat["roleType"] = flat["type"]
                for key in ["id", "name", "type"] { flat[key] = item[key] }
                return flat
            })
    }
}

/// `outport role definition show`
struct RoleDefinitionShowCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Show a role definition.",
        discussion: "Example: outport role definition show --id ROLE_DEFINITION_ID")
    static let table = TableLayout.roleDefinitions

    @Option(name: [.customShort("n"), .long], help: "The role's GUID, with --scope.")
    var name: String?

    @Option(help: "The role's whole id.")
    var id: String?

    @Option(help: "Scope at which the role applies.")
    var scope: String?

    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        guard (id == nil) != (name == nil) else { throw .usage("Give --id, or --name with --scope.") }
        let path: String
        if let id {
            path = id
        } else {
            let place = try RoleAssignments(session).scope(scope, nil)
            path = "\(place)/providers/Microsoft.Authorization/roleDefinitions/\(URLText.segment(name ?? ""))"
        }
        let item = try await session.client.get(path)
        var flat = item["properties"] ?? [:]
        flat["roleType"] = flat["type"]
        for key in ["id", "name", "type"] { flat[key] = item[key] }
        return flat
    }
}
