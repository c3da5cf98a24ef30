// Managed identities of registries and connected registries: records with principals, which may be given roles.

internal import HTTPServing
internal import Identity
internal import JSON
internal import Persistence

/// A user-assigned identity as it was when it was assigned; its ids never change.
package struct AssignedIdentity: Codable, Sendable, Hashable {
    /// Its resource, as it is spelt there.
    package let id: String
    package let clientID: String
    package let principalID: String
}

/// The identities of a registry.
package struct RegistryIdentity: Codable, Sendable, Hashable {
    /// Whether it has one of its own, which goes with it.
    package var hasOwn = false
    /// The principal of its own, once there is one.
    package var principalID: String?
    package var assigned: [AssignedIdentity] = []

    var isEmpty: Bool { !self.hasOwn && self.assigned.isEmpty }

    /// `SystemAssigned, UserAssigned` and the like.
    var type: String {
        switch (self.hasOwn, self.assigned.isEmpty) {
        case (true, false): "SystemAssigned, UserAssigned"
        case (true, true): "SystemAssigned"
        case (false, false): "UserAssigned"
        case (false, true): "None"
        }
    }
}

/// The member `identity` of a body.
struct IdentityBody: Sendable {
    let hasOwn: Bool
    let hasAssigned: Bool
    /// Resources that are named, and whether they are to be there: null takes one away.
    let named: [(field: BodyField, id: String, isWanted: Bool)]

    private static let types = ["None", "SystemAssigned", "UserAssigned", "SystemAssigned, UserAssigned"]

    /// - Returns: `nil` where the body says nothing of identities.
    init?(_ field: BodyField) throws(ResourceError) {
        guard try field.object() != nil else { return nil }
        // The same without the blank, as older clients write it.
        let type = try field["type"].choice(Self.types + ["SystemAssigned,UserAssigned"])
        guard let type else { throw try field["type"].invalid("it is one of \(Self.types.joined(separator: "; "))") }
        self.hasOwn = type.hasPrefix("SystemAssigned")
        self.hasAssigned = type.hasSuffix("UserAssigned")
        let users = try field["userAssignedIdentities"]
        guard try users.object() != nil, let members = users.value?.objectValue else {
            self.named = []
            return
        }
        guard members.count <= 100 else { throw users.invalid("it names \(members.count) identities; the limit is 100") }
        var named: [(BodyField, String, Bool)] = []
        for id in members.keys.sorted() {
            let member = try users[id]
            _ = try member.object()
            named.append((member, id, !member.isNull))
        }
        self.named = named
    }
}

extension ResourceOperations {
    /// What a body makes of a registry's identities.
    func identity(_ field: BodyField, of existing: RegistryIdentity?, _ call: Call) async throws -> RegistryIdentity? {
        guard let body = try IdentityBody(field) else { return existing }
        var identity = RegistryIdentity(hasOwn: body.hasOwn, principalID: body.hasOwn ? existing?.principalID : nil)
        if body.hasAssigned {
            identity.assigned = existing?.assigned ?? []
            for (member, id, isWanted) in body.named {
                let found = identity.assigned.firstIndex { $0.id.lowercased() == id.lowercased() }
                if isWanted, found == nil {
                    identity.assigned.append(try await self.assigned(id, member, call))
                } else if !isWanted, let found {
                    identity.assigned.remove(at: found)
                }
            }
            guard !identity.assigned.isEmpty else {
                throw try field["userAssignedIdentities"].invalid("the type says that there are some, and it names none")
            }
        }
        return identity.isEmpty ? nil : identity
    }

    /// The one identity with which a connected registry is to sign in.
    func siteIdentity(_ field: BodyField, _ call: Call) async throws -> AssignedIdentity? {
        guard let body = try IdentityBody(field), body.hasOwn || body.hasAssigned else { return nil }
        guard !body.hasOwn else {
            throw try field["type"].invalid("a connected registry has no identity of its own; assign one, with the type UserAssigned")
        }
        let wanted = body.named.filter(\.isWanted)
        guard wanted.count == 1, let one = wanted.first else {
            throw try field["userAssignedIdentities"].invalid("it must name one identity; it names \(wanted.count)")
        }
        return try await self.assigned(one.id, one.field, call)
    }

    private func assigned(_ text: String, _ field: BodyField, _ call: Call) async throws -> AssignedIdentity {
        guard let id = ResourceID(text), id.recordKind == .identity, let found = try await self.resources.record(id),
            let client = found.document.facts["clientId"], let principal = found.document.facts["principalId"]
        else { throw field.invalid("'\(text.prefix(300))' is no user-assigned identity of this server") }
        // Whoever names an identity here lets something act as it.
        guard call.caller.allows("Microsoft.ManagedIdentity/userAssignedIdentities/assign/action", at: id.key) else {
            throw ResourceError(
                .forbidden, .authorizationFailed,
                "The client '\(call.principal.name)' may not assign the identity '\(id)' "
                    + "(Microsoft.ManagedIdentity/userAssignedIdentities/assign/action).")
        }
        return AssignedIdentity(id: found.id.description, clientID: client, principalID: principal)
    }

    func value(_ identity: RegistryIdentity?) -> JSONValue {
        guard let identity, !identity.isEmpty else { return .null }
        var value: JSONValue = ["type": .string(identity.type)]
        if identity.hasOwn {
            value["principalId"] = .string(orNull: identity.principalID)
            value["tenantId"] = .string(self.services.authority.tenantID)
        }
        if !identity.assigned.isEmpty { value["userAssignedIdentities"] = self.value(identity.assigned) }
        return value
    }

    func value(_ assigned: [AssignedIdentity]) -> JSONValue {
        .object(
            Dictionary(
                assigned.map { ($0.id, ["clientId": .string($0.clientID), "principalId": .string($0.principalID)] as JSONValue) }
            ) { first, _ in first })
    }

    /// What has an identity assigned, in whatever subscription; `nil` for nothing.
    ///
    /// - Parameter outside: a group whose own resources do not count, for they go with it.
    func user(ofIdentity id: ResourceID, outside group: ResourceID? = nil) async throws -> String? {
        func counts(_ user: ResourceID) -> Bool { group.map { !user.key.hasPrefix($0.key + "/") } ?? true }
        // Identities are used across subscriptions.
        for subscription in try await self.resources.subscriptions() {
            for cluster in try await self.resources.records(.managedCluster, in: subscription.id)
            where counts(cluster.id) && cluster.document.facts["kubelet"]?.lowercased() == id.key {
                return "cluster '\(cluster.id.name)' as its kubelet identity: delete that first"
            }
        }
        for registry in try await self.resources.allRegistries() where counts(registry.id) {
            if registry.document.identity?.assigned.contains(where: { $0.id.lowercased() == id.key }) == true {
                return "registry '\(registry.id.name)': 'acr identity remove' takes it away there"
            }
            guard let content = registry.registry else { continue }
            for site in try await self.connectedRegistries.list(in: content)
            where site.configuration.identity?.resource.lowercased() == id.key {
                return "connected registry '\(site.name)' of '\(registry.id.name)': delete that first"
            }
        }
        return nil
    }
}
