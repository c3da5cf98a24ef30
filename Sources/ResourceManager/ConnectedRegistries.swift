// Connected registries: the operations.

internal import Gateway
internal import HTTPServing
internal import HTTPTypes
internal import JSON
internal import OCI

extension Route {
    private static let action = "\(ResourceKind.registry.rawValue)/connectedRegistries"
    private static let path = registryPath + "/connectedregistries/{name}"

    static let connectedRegistryRoutes: [Route] = [
        Route(.get, registryPath + "/connectedregistries", action + "/read") { try await $0.listConnectedRegistries($1) },
        Route(.get, path, action + "/read") { try await $0.showConnectedRegistry($1) },
        Route(.put, path, action + "/write") { try await $0.putConnectedRegistry($1) },
        Route(.patch, path, action + "/write") { try await $0.patchConnectedRegistry($1) },
        Route(.delete, path, action + "/delete") { try await $0.deleteConnectedRegistry($1) },
        Route(.post, path + ":deactivate", action + "/deactivate/action") { try await $0.deactivateConnectedRegistry($1) },
        // Outport's own. A question, so whoever may read it may ask.
        Route(.post, path + ":why", action + "/read", exclusive: false) { try await $0.whyConnectedRegistry($1) },
        Route(.get, path + ":events", action + "/read") { try await $0.listSiteEvents($1, .notification) },
        Route(.get, path + ":logs", action + "/read") { try await $0.listSiteEvents($1, .audit) },
        Route(.post, path + ":plan", action + "/plan/action") { try await $0.orderPlan($1) },
        Route(.get, path + ":plan", action + "/read") { try await $0.showPlan($1) },
        Route(.post, path + ":resync", action + "/resync/action") { try await $0.resyncConnectedRegistry($1) },
    ]
}

extension ResourceOperations {
    func connectedRegistry(_ call: Call, in registry: RegistryInCall) async throws -> ConnectedRegistry {
        guard let found = try await self.connectedRegistries.find(call["name"], in: registry.content) else {
            throw self.notFound(.connectedRegistries, call["name"], in: registry)
        }
        return found
    }

    func listConnectedRegistries(_ call: Call) async throws -> ServerResponse {
        let registry = try await self.registry(call)
        let all = try await self.connectedRegistries.list(in: registry.content)
        return .list(
            try await self.signed(
                all.map { (self.value($0, among: all, in: registry), $0.created, nil) }, .connectedRegistries, in: registry))
    }

    func showConnectedRegistry(_ call: Call) async throws -> ServerResponse {
        let registry = try await self.registry(call)
        return .document(try await self.full(self.connectedRegistry(call, in: registry), in: registry))
    }

    func putConnectedRegistry(_ call: Call) async throws -> ServerResponse {
        let registry = try await self.registry(call)
        let existing = try await self.connectedRegistries.find(call["name"], in: registry.content)
        if existing == nil, !ConnectedRegistry.isValidName(call["name"]) {
            throw ResourceError(
                .badRequest, .invalidName,
                "The connected registry name '\(call["name"].prefix(60))' is not valid: use 5 to 40 characters, "
                    + "a letter first, then letters, digits, '-' and '_'.",
                target: "name")
        }
        try Self.requireEndpoint(of: registry)
        let identity = try await self.siteIdentity(call.document()["identity"], call)
        let (syncToken, configuration) = try ConnectedRegistryBody(registry: registry).creation(call.document(), identity: identity)
        if let existing { try self.requireOffline(existing, for: configuration) }
        let name = existing?.name ?? call["name"]
        let (stored, isNew) = try await self.connectedRegistries.put(
            name, syncToken: syncToken ?? ConnectedRegistryConfiguration.Identity.placeholder(name), configuration: configuration,
            in: registry.content, also: self.signature(call, on: registry.id.child(.connectedRegistries, name), isNew: existing == nil))
        return .document(isNew ? .created : .ok, try await self.full(stored, in: registry))
    }

    /// A site that is there would lose its sign-in without a word when it changes to a managed identity.
    private func requireOffline(_ existing: ConnectedRegistry, for configuration: ConnectedRegistryConfiguration) throws {
        guard configuration.identity != nil, existing.configuration.identity == nil else { return }
        let state = existing.connectionState(now: self.services.clock.milliseconds())
        guard state == .offline else {
            throw ResourceError(
                .conflict, .conflict,
                "The connected registry '\(existing.name)' is \(state.rawValue): deactivate it before it changes to a managed identity.",
                target: "properties.syncProperties.authType")
        }
    }

    func patchConnectedRegistry(_ call: Call) async throws -> ServerResponse {
        let registry = try await self.registry(call)
        let existing = try await self.connectedRegistry(call, in: registry)
        let identity = try await self.siteIdentity(call.document()["identity"], call)
        let configuration = try ConnectedRegistryBody(registry: registry).patch(
            call.document(), of: existing.configuration, identity: identity)
        try self.requireOffline(existing, for: configuration)
        let (stored, _) = try await self.connectedRegistries.put(
            existing.name,
            syncToken: configuration.identity == nil
                ? existing.syncToken : ConnectedRegistryConfiguration.Identity.placeholder(existing.name), configuration: configuration,
            in: registry.content, also: self.signature(call, on: registry.id.child(.connectedRegistries, existing.name), isNew: false))
        return .document(try await self.full(stored, in: registry))
    }

    /// Connected registries reach their parent through its data endpoint.
    private static func requireEndpoint(of registry: RegistryInCall) throws(ResourceError) {
        guard registry.document.sku == .premium else {
            throw ResourceError(
                .badRequest, .skuTooSmall,
                "Connected registries need the SKU Premium; the registry '\(registry.id.name)' is \(registry.document.sku.rawValue). "
                    + "Change it with 'acr update --name \(registry.id.name) --sku Premium'.")
        }
        guard registry.document.isDataEndpointEnabled else {
            throw ResourceError(
                .badRequest, .dataEndpointRequired,
                "Connected registries need the dedicated data endpoint of the registry '\(registry.id.name)', which is off. "
                    + "Turn it on with 'acr update --name \(registry.id.name) --data-endpoint-enabled true'.")
        }
    }

    /// Its token and scope map stay.
    ///
    /// - Throws: 409 while it has children.
    func deleteConnectedRegistry(_ call: Call) async throws -> ServerResponse {
        let registry = try await self.registry(call)
        return ServerResponse(try await self.connectedRegistries.delete(call["name"], in: registry.content) ? .ok : .noContent)
    }

    func deactivateConnectedRegistry(_ call: Call) async throws -> ServerResponse {
        let registry = try await self.registry(call)
        guard let freed = try await self.connectedRegistries.deactivate(call["name"], in: registry.content) else {
            throw self.notFound(.connectedRegistries, call["name"], in: registry)
        }
        return .document(try await self.full(freed, in: registry))
    }

    func resyncConnectedRegistry(_ call: Call) async throws -> ServerResponse {
        let registry = try await self.registry(call)
        guard let ordered = try await self.connectedRegistries.resync(call["name"], in: registry.content) else {
            throw self.notFound(.connectedRegistries, call["name"], in: registry)
        }
        return .document(try await self.full(ordered, in: registry))
    }

    /// `{"image": "repository[:tag]"}`: the one thing that keeps an image from the connected registry.
    func whyConnectedRegistry(_ call: Call) async throws -> ServerResponse {
        let registry = try await self.registry(call)
        let field = try call.document()["image"]
        let text = try field.requiredString()
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        let (repository, tag): (RepositoryName, Tag?)
        do {
            repository = try RepositoryName(parts[0])
            tag = try parts.count > 1 ? Tag(parts[1]) : nil
        } catch {
            throw field.invalid("it must be repository or repository:tag: \(error.description)")
        }
        let diagnostician = PullDiagnostician(
            connectedRegistries: self.connectedRegistries, registries: self.services.registries, identities: self.identities,
            clock: self.services.clock)
        guard let found = try await diagnostician.why(call["name"], repository, tag: tag, in: registry.content) else {
            throw self.notFound(.connectedRegistries, call["name"], in: registry)
        }
        return .document([
            "image": .string(text), "code": .string(found.code.rawValue), "connectedRegistry": .string(found.connectedRegistry),
            "reason": .string(found.reason),
        ])
    }

    private func full(_ connected: ConnectedRegistry, in registry: RegistryInCall) async throws -> JSONValue {
        // Only what has a parent needs the others.
        let all = connected.configuration.parent == nil ? [] : try await self.connectedRegistries.list(in: registry.content)
        return try await self.signed(self.value(connected, among: all, in: registry), created: connected.created)
    }
}
