// Registries: create, show, list, change, delete, usage and names.

internal import HTTPServing
internal import HTTPTypes
internal import Identity
internal import JSON
internal import Webhooks

extension Route {
    private static let action = ResourceKind.registry.rawValue

    static let registryRoutes: [Route] = [
        Route(
            .post, "subscriptions/{subscription}:providers/microsoft.containerregistry/checknameavailability",
            "Microsoft.ContainerRegistry/checkNameAvailability/read"
        ) { try await $0.checkName($1) },
        Route(.get, "subscriptions/{subscription}:providers/microsoft.containerregistry/registries", action + "/read", filtered: true) {
            operations, call in try await operations.listRegistries(in: operations.subscription(call).id, for: call)
        },
        Route(
            .get, "subscriptions/{subscription}/resourcegroups/{group}:providers/microsoft.containerregistry/registries", action + "/read",
            filtered: true
        ) {
            operations, call in try await operations.listRegistries(in: operations.group(call).id, for: call)
        },
        Route(.get, registryPath, action + "/read") { operations, call in
            .document(operations.value(try await operations.registry(call).resource))
        },
        Route(.put, registryPath, action + "/write") { try await $0.putRegistry($1) },
        Route(.patch, registryPath, action + "/write") { try await $0.patchRegistry($1) },
        Route(.delete, registryPath, action + "/delete") { try await $0.deleteRegistry($1) },
        // There are none, and who asks is told so.
        Route(.get, registryPath + "/privateendpointconnections", action + "/privateEndpointConnections/read") { operations, call in
            _ = try await operations.registry(call)
            return .list([])
        },
        Route(.get, registryPath + "/privatelinkresources", action + "/privateLinkResources/read") { operations, call in
            _ = try await operations.registry(call)
            return .list([])
        },
        Route(.get, registryPath + ":listusages", action + "/listUsages/read") { try await $0.usages($1) },
    ]
}

extension ResourceOperations {
    func listRegistries(in scope: ResourceID, for call: Call) async throws -> ServerResponse {
        .list(
            try await self.resources.registries(in: scope).filter {
                call.caller.allows("\(ResourceKind.registry.rawValue)/read", at: $0.id.key)
            }.map(self.value))
    }

    func putRegistry(_ call: Call) async throws -> ServerResponse {
        let group = try await self.group(call)
        let existing = try await self.resources.registry(call.registryID)
        // The name comes first: it is the first thing that can be wrong.
        if existing == nil, let refusal = try await self.resources.refusal(ofNew: call["registry"]) { throw refusal }
        var document = try RegistryDocument(
            creating: call.document(), by: call.principal.appID, existing: existing?.document, region: self.names.region)
        document.identity = try await self.identity(call.document()["identity"], of: existing?.document.identity, call)
        guard let existing else {
            let id = ResourceID(subscription: group.id.subscription, group: group.id.group, registry: call["registry"])
            return .document(.created, self.value(try await self.resources.createRegistry(document, as: id)))
        }
        return .document(self.value(try await self.update(existing, to: document)))
    }

    func patchRegistry(_ call: Call) async throws -> ServerResponse {
        let registry = try await self.registry(call)
        var document = registry.document
        try document.apply(patch: call.document(), by: call.principal.appID)
        document.identity = try await self.identity(call.document()["identity"], of: document.identity, call)
        return .document(self.value(try await self.update(registry.resource, to: document)))
    }

    /// - Throws: 409 when connected registries would lose their endpoint.
    private func update(_ registry: StoredResource<RegistryDocument>, to document: RegistryDocument) async throws -> StoredResource<
        RegistryDocument
    > {
        let losesEndpoint = registry.document.isDataEndpointEnabled && !document.isDataEndpointEnabled
        let leavesPremium = registry.document.sku == .premium && document.sku != .premium
        if losesEndpoint || leavesPremium, let content = registry.registry {
            let children = try await self.connectedRegistries.list(in: content)
            if let first = children.first {
                throw ResourceError(
                    .conflict, .conflict,
                    "The registry '\(registry.id.name)' has \(children.count) connected registries ('\(first.name)' among them), "
                        + "which need " + (leavesPremium ? "the SKU Premium" : "its data endpoint") + ". Delete them first.",
                    target: leavesPremium ? "sku.name" : "properties.dataEndpointEnabled")
            }
        }
        return try await self.resources.updateRegistry(document, as: registry.id)
    }

    /// Deletes the registry and its content. What is not there is deleted already.
    func deleteRegistry(_ call: Call) async throws -> ServerResponse {
        try await self.group(call)
        let wasThere = try await self.resources.deleteRegistry(call.registryID)
        if wasThere { self.connectedRegistries.settingsChanged() }
        return ServerResponse(wasThere ? .ok : .noContent)
    }

    func usages(_ call: Call) async throws -> ServerResponse {
        let registry = try await self.registry(call)
        func usage(_ name: String, limit: Int64, _ value: Int64, _ unit: String) -> JSONValue {
            ["name": .string(name), "limit": .integer(limit), "currentValue": .integer(value), "unit": .string(unit)]
        }
        return .list([
            // -1: no limit but the disk.
            usage("Size", limit: registry.document.quota ?? -1, try await self.services.registries.usage(of: registry.content), "Bytes"),
            usage(
                "Webhooks", limit: Int64(registry.document.sku.maximumWebhooks),
                Int64(try await self.services.webhooks?.list(in: registry.content).count ?? 0), "Count"),
            usage(
                "ScopeMaps", limit: Int64(IdentityStore.maximumScopeMaps),
                Int64(try await self.identities.scopeMaps(in: registry.content).count), "Count"),
            usage(
                "Tokens", limit: Int64(IdentityStore.maximumTokens), Int64(try await self.identities.tokens(in: registry.content).count),
                "Count"),
        ])
    }

    func checkName(_ call: Call) async throws -> ServerResponse {
        try await self.subscription(call)
        let body = try call.document()
        let name = try body["name"].requiredString()
        _ = try body["type"].required().choice([ResourceKind.registry.rawValue])
        let scope = try body["autoGeneratedDomainNameLabelScope"]
        if let text = try scope.choice(["Unsecure", "TenantReuse", "SubscriptionReuse", "ResourceGroupReuse", "NoReuse"]),
            text != "Unsecure"
        {
            throw ResourceError.notAvailable("A login server with a hash in its name", target: scope.path)
        }
        _ = try body["resourceGroupName"].string(maximum: 90)
        guard let refusal = try await self.resources.refusal(ofNew: name) else {
            return .document(["nameAvailable": true, "availableLoginServerName": .string(self.names.loginServer(of: name))])
        }
        return .document([
            "nameAvailable": false, "reason": refusal.code == .invalidName ? "Invalid" : "AlreadyExists",
            "message": .string(refusal.message),
        ])
    }
}
