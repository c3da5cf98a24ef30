// User-assigned identities: resources with a service principal in the directory, to which roles are given.

internal import HTTPServing
internal import HTTPTypes
internal import Identity
internal import JSON
internal import OCI

extension Route {
    private static let action = ResourceKind.identity.rawValue
    private static let listPath = "providers/microsoft.managedidentity/userassignedidentities"
    private static let path = "subscriptions/{subscription}/resourcegroups/{group}/\(listPath)/{resource}"

    static let identityRoutes: [Route] = [
        Route(.get, "subscriptions/{subscription}:\(listPath)", action + "/read", filtered: true) { operations, call in
            try await operations.listRecords(.identity, in: operations.subscription(call).id, call) { operations.identity($0) }
        },
        Route(.get, "subscriptions/{subscription}/resourcegroups/{group}:\(listPath)", action + "/read", filtered: true) {
            operations, call in
            try await operations.listRecords(.identity, in: operations.group(call).id, call) { operations.identity($0) }
        },
        Route(.get, path, action + "/read") { operations, call in
            let found = try await operations.record(.identity, call)
            return .document(try await operations.signed(operations.identity(found), of: found))
        },
        Route(.put, path, action + "/write") { try await $0.putIdentity($1) },
        Route(.patch, path, action + "/write") { try await $0.patchIdentity($1) },
        Route(.delete, path, action + "/delete") { try await $0.deleteIdentity($1) },
    ]
}

extension ResourceOperations {
    // MARK: Records of any kind

    func recordID(_ kind: ResourceKind, _ call: Call) -> ResourceID {
        ResourceID(subscription: call["subscription"], group: call["group"], kind, call["resource"])
    }

    /// - Throws: 404 `ResourceNotFound`.
    func record(_ kind: ResourceKind, _ call: Call) async throws -> StoredRecord {
        let group = try await self.group(call)
        guard let found = try await self.resources.record(self.recordID(kind, call)) else {
            throw ResourceError(
                .notFound, .resourceNotFound,
                "The Resource '\(kind.rawValue)/\(call["resource"].prefix(80))' under resource group '\(group.id.name)' was not found.")
        }
        return found
    }

    func listRecords(
        _ kind: ResourceKind, in scope: ResourceID, _ call: Call, _ value: @Sendable (StoredRecord) -> JSONValue
    ) async throws -> ServerResponse {
        var values: [JSONValue] = []
        for record in try await self.resources.records(kind, in: scope) where call.caller.allows("\(kind.rawValue)/read", at: record.id.key)
        {
            values.append(try await self.signed(value(record), of: record))
        }
        return .list(values)
    }

    /// Adds who made a record and who changed it. Those from before that was kept know the object id of their creator.
    func signed(_ value: JSONValue, of record: StoredRecord) async throws -> JSONValue {
        var value = try await self.signed(value, created: record.created, updated: record.updated)
        if value[path: "systemData", "createdBy"] == nil { value["systemData"]?["createdBy"] = .string(record.document.createdBy) }
        return value
    }

    /// Where the record is, in the letters of its group, and what is stored there.
    func place(_ kind: ResourceKind, _ call: Call) async throws -> (id: ResourceID, existing: StoredRecord?) {
        let group = try await self.group(call)
        let name = call["resource"]
        guard (1...128).contains(name.utf8.count),
            name.utf8.allSatisfy({ ASCII.isLetter($0) || ASCII.isDigit($0) || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: "_") })
        else {
            throw ResourceError(
                .badRequest, .invalidName,
                "The resource name '\(name.prefix(60))' is not valid: use 1 to 128 letters, digits, '-' and '_'.", target: "name")
        }
        let existing = try await self.resources.record(self.recordID(kind, call))
        return (
            existing?.id ?? ResourceID(subscription: group.id.subscription, group: group.id.group ?? "", kind, name), existing
        )
    }

    /// The location of a body, which cannot change.
    func location(_ body: BodyField, _ existing: StoredRecord?) throws(ResourceError) -> String {
        let location = try body["location"].location()
        if let existing, let location, existing.document.location != location {
            throw ResourceError(
                .conflict, .locationChanged,
                "'\(existing.id.name)' is in '\(existing.document.location)' and cannot be moved to '\(location)'.", target: "location")
        }
        guard let location = location ?? existing?.document.location else {
            throw try body["location"].invalid("it is required, such as \(self.names.region)")
        }
        return location
    }

    /// The short form of the generic list.
    static func summary(_ record: StoredRecord) -> JSONValue {
        [
            "id": .string(record.id.description), "name": .string(record.id.name), "type": .string(record.id.type),
            "location": .string(record.document.location), "tags": .object(record.document.tags.mapValues { .string($0) }),
        ]
    }

    // MARK: Identities

    func putIdentity(_ call: Call) async throws -> ServerResponse {
        let (id, existing) = try await self.place(.identity, call)
        let body = try call.document()
        var document =
            existing?.document
            ?? RecordDocument(location: "", tags: [:], body: [:], facts: [:], createdBy: call.principal.objectID)
        document.location = try self.location(body, existing)
        document.tags = try body["tags"].tags() ?? [:]
        try Self.checkIsolation(body)
        let now = self.services.clock.milliseconds()
        let isNew = existing == nil
        let stored = try await self.resources.put(document, as: id, also: self.signature(call, on: id, isNew: isNew)) { document, session in
            guard isNew else { return }
            let principal = try Directory.createManagedIdentity(id.name, resource: id.description, now: now, session)
            document.facts = ["principalId": principal.objectID, "clientId": principal.appID]
        }
        return .document(isNew ? .created : .ok, try await self.signed(self.identity(stored), of: stored))
    }

    /// The server is in one region, so an identity cannot be kept to another.
    private static func checkIsolation(_ body: BodyField) throws(ResourceError) {
        guard try body.at(["properties", "isolationScope"]).choice(["None", "Regional"]) == "Regional" else { return }
        throw .notAvailable("An identity of one region alone", target: "properties.isolationScope")
    }

    func patchIdentity(_ call: Call) async throws -> ServerResponse {
        let existing = try await self.record(.identity, call)
        _ = try self.location(call.document(), existing)
        try Self.checkIsolation(call.document())
        var document = existing.document
        if let tags = try call.document()["tags"].tags() { document.tags = tags }
        let stored = try await self.resources.put(
            document, as: existing.id, also: self.signature(call, on: existing.id, isNew: false))
        return .document(try await self.signed(self.identity(stored), of: stored))
    }

    /// Deletes an identity with its roles, unless a cluster pulls with it.
    func deleteIdentity(_ call: Call) async throws -> ServerResponse {
        try await self.group(call)
        let id = self.recordID(.identity, call)
        if let user = try await self.user(ofIdentity: id) {
            throw ResourceError(.conflict, .conflict, "The identity '\(id.name)' is assigned to \(user).")
        }
        return ServerResponse(try await self.resources.deleteRecord(id) ? .ok : .noContent)
    }

    func identity(_ record: StoredRecord) -> JSONValue {
        var value = Self.summary(record)
        value["properties"] = [
            "tenantId": .string(self.services.authority.tenantID), "principalId": .string(orNull: record.document.facts["principalId"]),
            "clientId": .string(orNull: record.document.facts["clientId"]), "isolationScope": "None",
        ]
        return value
    }
}
