// Replications: this server is in one place, so a registry has the one of its own region, and another is refused with what to do
// instead.

internal import HTTPServing
internal import HTTPTypes
internal import JSON
internal import Persistence

extension Route {
    private static let path = registryPath + "/replications"
    private static let action = "\(ResourceKind.registry.rawValue)/replications"

    static let replicationRoutes: [Route] = [
        Route(.get, path, action + "/read") { try await $0.listReplications($1) },
        Route(.get, path + "/{name}", action + "/read") { try await $0.showReplication($1) },
        Route(.put, path + "/{name}", action + "/write") { try await $0.putReplication($1) },
        Route(.patch, path + "/{name}", action + "/write") { try await $0.patchReplication($1) },
        Route(.delete, path + "/{name}", action + "/delete") { try await $0.deleteReplication($1) },
    ]
}

extension ResourceOperations {
    func listReplications(_ call: Call) async throws -> ServerResponse {
        let registry = try await self.registry(call)
        return .list(registry.document.sku == .premium ? [Self.replication(of: registry)] : [])
    }

    func showReplication(_ call: Call) async throws -> ServerResponse {
        let registry = try await self.registry(call)
        try self.requireHome(call, in: registry)
        return .document(Self.replication(of: registry))
    }

    func putReplication(_ call: Call) async throws -> ServerResponse {
        let registry = try await self.registry(call)
        let body = try call.document()
        let field = try body["location"]
        guard let location = try field.location() else { throw field.invalid("it is required, such as \(registry.document.location)") }
        guard registry.document.sku == .premium else {
            throw ResourceError(
                .badRequest, .skuTooSmall,
                "Replications need the SKU Premium, not \(registry.document.sku.rawValue). Change the SKU first.",
                target: "sku.name")
        }
        guard location == registry.document.location else {
            throw ResourceError(
                .badRequest, .notAvailable,
                "Replication to '\(location)' is not available: this server is in one place, '\(registry.document.location)'. For a replica "
                    + "elsewhere make a connected registry with 'acr connected-registry create'. Nothing was changed.", target: "location")
        }
        guard call["name"].lowercased() == location else {
            throw ResourceError(
                .badRequest, .invalidName, "The replication of the home region has its name, '\(location)'.", target: "name")
        }
        try Self.requireUnchanged(body)
        return .document(Self.replication(of: registry))
    }

    func patchReplication(_ call: Call) async throws -> ServerResponse {
        let registry = try await self.registry(call)
        try self.requireHome(call, in: registry)
        try Self.requireUnchanged(call.document())
        return .document(Self.replication(of: registry))
    }

    func deleteReplication(_ call: Call) async throws -> ServerResponse {
        let registry = try await self.registry(call)
        guard Self.isHome(call["name"], of: registry) else { return ServerResponse(.noContent) }
        throw ResourceError(
            .conflict, .conflict,
            "The replication '\(registry.document.location)' is that of the registry's home region and goes with the registry.")
    }

    private static func isHome(_ name: String, of registry: RegistryInCall) -> Bool {
        registry.document.sku == .premium && name.lowercased() == registry.document.location
    }

    private func requireHome(_ call: Call, in registry: RegistryInCall) throws(ResourceError) {
        guard Self.isHome(call["name"], of: registry) else { throw self.notFound(.replications, call["name"], in: registry) }
    }

    /// The one replication cannot be other than it is.
    private static func requireUnchanged(_ body: BodyField) throws(ResourceError) {
        let properties = try body["properties"]
        if try properties["regionEndpointEnabled"].bool() == false {
            throw .notAvailable("A home region that requests are not routed to", target: "properties.regionEndpointEnabled")
        }
        if try properties["zoneRedundancy"].choice(["Disabled", "Enabled"]) == "Enabled" {
            throw .notAvailable("Zone redundancy", target: "properties.zoneRedundancy")
        }
        if let tags = try body["tags"].tags(), !tags.isEmpty {
            throw .notAvailable("A tag of the home region's replication (tag the registry)", target: "tags")
        }
    }

    private static func replication(of registry: RegistryInCall) -> JSONValue {
        let id = registry.id.child(.replications, registry.document.location)
        return [
            "id": .string(id.description), "name": .string(registry.document.location), "type": .string(id.type),
            "location": .string(registry.document.location), "tags": [:],
            // It is there with the registry and as that is.
            "systemData": Self.systemData(registry.resource),
            "properties": [
                "provisioningState": "Succeeded", "regionEndpointEnabled": true, "zoneRedundancy": "Disabled",
                "status": [
                    "displayStatus": "Ready", "message": "This is the home region of the registry.",
                    "timestamp": .string(Timestamp.text(milliseconds: registry.resource.created)),
                ],
            ],
        ]
    }
}
