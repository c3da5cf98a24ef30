// Resource groups.

internal import HTTPServing
internal import HTTPTypes
internal import JSON
internal import OCI

extension Route {
    private static let groupPath = "subscriptions/{subscription}/resourcegroups/{group}"
    private static let groupAction = "Microsoft.Resources/subscriptions/resourceGroups"

    static let groupRoutes: [Route] = [
        Route(.get, "subscriptions/{subscription}:resourcegroups", groupAction + "/read", filtered: true) { try await $0.listGroups($1) },
        Route(.get, groupPath, groupAction + "/read") { operations, call in .document(operations.value(try await operations.group(call))) },
        Route(.head, groupPath, groupAction + "/read") { try await $0.groupExists($1) },
        Route(.put, groupPath, groupAction + "/write") { try await $0.putGroup($1) },
        Route(.patch, groupPath, groupAction + "/write") { try await $0.patchGroup($1) },
        Route(.delete, groupPath, groupAction + "/delete") { try await $0.deleteGroup($1) },
        Route(.get, groupPath + ":resources", groupAction + "/resources/read", filtered: true) {
            try await $0.genericResources($1, in: $1.groupID)
        },
    ]
}

extension ResourceOperations {
    func listGroups(_ call: Call) async throws -> ServerResponse {
        let subscription = try await self.subscription(call)
        return .list(
            try await self.resources.groups(in: subscription.id).filter {
                call.caller.allows("Microsoft.Resources/subscriptions/resourceGroups/read", at: $0.id.key)
            }.map(self.value))
    }

    func groupExists(_ call: Call) async throws -> ServerResponse {
        try await self.subscription(call)
        return ServerResponse(try await self.resources.group(call.groupID) == nil ? .notFound : .noContent)
    }

    func putGroup(_ call: Call) async throws -> ServerResponse {
        try await self.subscription(call)
        guard Self.isValidGroupName(call["group"]) else {
            throw ResourceError(
                .badRequest, .invalidName,
                "The resource group name '\(call["group"].prefix(100))' is not valid: use 1 to 90 letters, digits, '-', '_', '.', '(' "
                    + "and ')', not ending with '.'.",
                target: "name")
        }
        let body = try call.document()
        let existing = try await self.resources.group(call.groupID)
        guard let location = try body["location"].location() else {
            throw try body["location"].invalid("it is required, such as \(self.names.region)")
        }
        if let existing, existing.document.location != location {
            throw ResourceError(
                .conflict, .locationChanged,
                "The resource group '\(existing.id.name)' is in '\(existing.document.location)' and cannot be moved to '\(location)'.",
                target: "location")
        }
        let document = GroupDocument(location: location, tags: try body["tags"].tags() ?? [:], managedBy: try body["managedBy"].string())
        let (group, isNew) = try await self.resources.put(document, as: existing?.id ?? call.groupID)
        return .document(isNew ? .created : .ok, self.value(group))
    }

    func patchGroup(_ call: Call) async throws -> ServerResponse {
        let existing = try await self.group(call)
        let body = try call.document()
        var document = existing.document
        if let tags = try body["tags"].tags() { document.tags = tags }
        if let managedBy = try body["managedBy"].string() { document.managedBy = managedBy }
        return .document(self.value(try await self.resources.put(document, as: existing.id).group))
    }

    /// Deletes what is in the group, too.
    func deleteGroup(_ call: Call) async throws -> ServerResponse {
        let group = try await self.group(call)
        for identity in try await self.resources.records(.identity, in: group.id) {
            guard let user = try await self.user(ofIdentity: identity.id, outside: group.id) else { continue }
            throw ResourceError(
                .conflict, .conflict,
                "The identity '\(identity.id.name)' of resource group '\(group.id.name)' is assigned to \(user).")
        }
        _ = try await self.resources.deleteGroup(group.id)
        // Sites of registries that were in it hear of it now, not when their polls end.
        self.connectedRegistries.settingsChanged()
        return ServerResponse(.ok)
    }

    func value(_ group: StoredResource<GroupDocument>) -> JSONValue {
        [
            "id": .string(group.id.description), "name": .string(group.id.name), "type": .string(group.id.type),
            "location": .string(group.document.location), "tags": .object(group.document.tags.mapValues { .string($0) }),
            "managedBy": .string(orNull: group.document.managedBy), "properties": ["provisioningState": "Succeeded"],
        ]
    }

    private static func isValidGroupName(_ name: String) -> Bool {
        (1...90).contains(name.utf8.count) && !name.hasSuffix(".")
            && name.utf8.allSatisfy { ASCII.isLetter($0) || ASCII.isDigit($0) || "-_.()".utf8.contains($0) }
    }
}
