// Scope maps in ARM's form.

internal import HTTPServing
internal import HTTPTypes
internal import Identity
internal import JSON
internal import Persistence

extension Route {
    private static let action = "\(ResourceKind.registry.rawValue)/scopeMaps"

    static let scopeMapRoutes: [Route] = [
        Route(.get, registryPath + "/scopemaps", action + "/read") { try await $0.listScopeMaps($1) },
        Route(.get, registryPath + "/scopemaps/{name}", action + "/read") { try await $0.showScopeMap($1) },
        Route(.put, registryPath + "/scopemaps/{name}", action + "/write", shared: true) { try await $0.putScopeMap($1) },
        Route(.patch, registryPath + "/scopemaps/{name}", action + "/write") { try await $0.patchScopeMap($1) },
        Route(.delete, registryPath + "/scopemaps/{name}", action + "/delete") { try await $0.deleteScopeMap($1) },
    ]
}

extension ResourceOperations {
    func listScopeMaps(_ call: Call) async throws -> ServerResponse {
        let registry = try await self.registry(call)
        let maps = try await self.identities.scopeMaps(in: registry.content)
        return .list(
            try await self.signed(maps.map { (Self.value($0, in: registry), $0.created, nil) }, .scopeMaps, in: registry))
    }

    func showScopeMap(_ call: Call) async throws -> ServerResponse {
        let registry = try await self.registry(call)
        let map = try await self.scopeMap(call, in: registry)
        return .document(try await self.signed(Self.value(map, in: registry), created: map.created))
    }

    private func scopeMap(_ call: Call, in registry: RegistryInCall) async throws -> ScopeMap {
        guard let map = try await self.identities.scopeMap(call["name"], in: registry.content) else {
            throw self.notFound(.scopeMaps, call["name"], in: registry)
        }
        return map
    }

    func putScopeMap(_ call: Call) async throws -> ServerResponse {
        let registry = try await self.registry(call)
        let existing = try await self.identities.scopeMap(call["name"], in: registry.content)
        let properties = try call.document()["properties"].required()
        guard let actions = try Self.actions(properties["actions"]) else { throw try properties["actions"].invalid("it is required") }
        let map = ScopeMap(
            name: existing?.name ?? call["name"], text: try properties["description"].string(), actions: actions,
            created: existing?.created ?? self.services.clock.milliseconds())
        return try await self.store(map, call, in: registry, isNew: existing == nil)
    }

    func patchScopeMap(_ call: Call) async throws -> ServerResponse {
        let registry = try await self.registry(call)
        let existing = try await self.scopeMap(call, in: registry)
        let properties = try call.document()["properties"]
        let map = ScopeMap(
            name: existing.name, text: try properties["description"].string() ?? existing.text,
            actions: try Self.actions(properties["actions"]) ?? existing.actions, created: existing.created)
        return try await self.store(map, call, in: registry, isNew: false)
    }

    private func store(_ map: ScopeMap, _ call: Call, in registry: RegistryInCall, isNew: Bool) async throws -> ServerResponse {
        try await self.identities.put(
            map, in: registry.content, also: self.signature(call, on: registry.id.child(.scopeMaps, map.name), isNew: isNew))
        self.connectedRegistries.settingsChanged()
        return .document(isNew ? .created : .ok, try await self.signed(Self.value(map, in: registry), created: map.created))
    }

    func deleteScopeMap(_ call: Call) async throws -> ServerResponse {
        let registry = try await self.registry(call)
        return ServerResponse(try await self.identities.deleteScopeMap(call["name"], in: registry.content) ? .ok : .noContent)
    }

    private static func actions(_ field: BodyField) throws -> [ScopeMapAction]? {
        guard let elements = try field.elements(maximum: 10_000) else { return nil }
        return try elements.map { element in
            let text = try element.requiredString()
            do throws(IdentityError) {
                return try ScopeMapAction(text)
            } catch {
                throw element.invalid(error.message)
            }
        }
    }

    private static func value(_ map: ScopeMap, in registry: RegistryInCall) -> JSONValue {
        let id = registry.id.child(.scopeMaps, map.name)
        return [
            "id": .string(id.description), "name": .string(map.name), "type": .string(id.type),
            "properties": [
                "description": .string(orNull: map.text), "type": map.isSystemDefined ? "SystemDefined" : "UserDefined",
                "creationDate": .string(Timestamp.text(milliseconds: map.created)), "provisioningState": "Succeeded",
                "actions": .strings(map.actions.map(\.description)),
            ],
        ]
    }
}
