// Finds objects of the directory by what people type, as `az` does.

import JSON

/// Searches in the directory.
struct DirectoryLookup: Sendable {
    let client: ManagementClient

    init(_ session: ManagementSession) throws(ManagementError) { client = try session.directory() }

    /// A value in a filter.
    static func quoted(_ text: String) -> String { "'\(text.replacing("'", with: "''"))'" }

    func list(_ kind: String, _ clauses: [String]) async throws(ManagementError) -> [JSONValue] {
        try await client.list("/v1.0/\(kind)", query: clauses.isEmpty ? [] : [("$filter", clauses.joined(separator: " and "))])
    }

    private static func isIdentifier(_ text: String) -> Bool {
        text.split(separator: "-", omittingEmptySubsequences: false).map(\.utf8.count) == [8, 4, 4, 4, 12]
    }

    private static func id(_ object: JSONValue) -> String { object["id"]?.stringValue ?? "" }

    private static func missing(_ what: String) -> ManagementError { ManagementError(what, exitCode: 3) }

    /// The object id of a service principal that is named by application id, object id or, as older commands did, display name.
    func servicePrincipal(_ text: String, allowsName: Bool = false) async throws(ManagementError) -> String {
        if let found = try await list("servicePrincipals", ["servicePrincipalNames/any(c:c eq \(Self.quoted(text)))"]).first {
            return Self.id(found)
        }
        if Self.isIdentifier(text) { return text.lowercased() }
        if allowsName {
            let found = try await list("servicePrincipals", ["displayName eq \(Self.quoted(text))"])
            if found.count == 1 { return Self.id(found[0]) }
        }
        throw Self.missing("Service principal '\(text)' doesn't exist")
    }

    /// The object id of an application that is named by application id, object id or display name.
    func application(_ text: String) async throws(ManagementError) -> String {
        if Self.isIdentifier(text) {
            if let found = try await list("applications", ["appId eq \(Self.quoted(text))"]).first { return Self.id(found) }
            return text.lowercased()
        }
        let found = try await list("applications", ["displayName eq \(Self.quoted(text))"])
        guard found.count == 1 else { throw Self.missing("Application '\(text)' doesn't exist") }
        return Self.id(found[0])
    }

    /// The object id of a group that is named by id or display name.
    func group(_ text: String) async throws(ManagementError) -> String {
        if Self.isIdentifier(text) { return text.lowercased() }
        let found = try await list("groups", ["displayName eq \(Self.quoted(text))"])
        guard found.count <= 1 else {
            throw ManagementError("More than one group has the display name '\(text)'.", advice: "Name it by its object id.")
        }
        guard let group = found.first else { throw Self.missing("Group '\(text)' doesn't exist") }
        return Self.id(group)
    }

    /// Whoever can have a role: user name, application id or object id. The type is nil when only the id is known.
    func assignee(_ text: String) async throws(ManagementError) -> (id: String, type: String?) {
        if text.contains("@") {
            let found = try await list("users", ["userPrincipalName eq \(Self.quoted(text))"])
            if let user = found.first { return (Self.id(user), "User") }
        } else {
            let found = try await list("servicePrincipals", ["servicePrincipalNames/any(c:c eq \(Self.quoted(text)))"])
            if let principal = found.first { return (Self.id(principal), "ServicePrincipal") }
        }
        guard Self.isIdentifier(text) else {
            throw ManagementError(
                "Cannot find user or service principal in graph database for '\(text)'.",
                advice: "If the assignee is an appId, make sure the corresponding service principal is created.")
        }
        let stubs = try await objects([text])
        guard let stub = stubs.first else { return (text.lowercased(), nil) }
        let type =
            switch stub["@odata.type"]?.stringValue {
            case "#microsoft.graph.user": "User"
            case "#microsoft.graph.group": "Group"
            default: "ServicePrincipal"
            }
        return (Self.id(stub), type)
    }

    /// Objects of a kind that whoever is signed in owns.
    func owned(_ kind: String) async throws(ManagementError) -> [JSONValue] {
        let own = try await client.get("/v1.0/me")["id"]?.stringValue
        var found: [JSONValue] = []
        for object in try await list(kind, []) {
            let owners = try await client.list("/v1.0/\(kind)/\(Self.id(object))/owners")
            if owners.contains(where: { $0["id"]?.stringValue == own }) { found.append(object) }
        }
        return found
    }

    func objects(_ ids: [String]) async throws(ManagementError) -> [JSONValue] {
        try await client.post(
            "/v1.0/directoryObjects/getByIds",
            ["ids": .strings(ids), "types": ["user", "group", "servicePrincipal", "directoryObjectPartnerReference"]])?["value"]?.arrayValue
            ?? []
    }

    /// `{"@odata.id": …}`
    func reference(_ id: String, _ profile: Profile) -> JSONValue {
        ["@odata.id": .string("\(profile.directory ?? "")/v1.0/directoryObjects/\(id)")]
    }
}
