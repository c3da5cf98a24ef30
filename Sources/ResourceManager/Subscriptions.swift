// Subscriptions, tenants, locations, providers and the generic resource list.

internal import HTTPServing
internal import HTTPTypes
internal import JSON

extension Route {
    static let subscriptionRoutes: [Route] = [
        Route(.get, "tenants", nil) { operations, _ in operations.tenants() },
        Route(.get, "providers", nil) { operations, _ in try await operations.providers(in: nil) },
        Route(.get, "providers/{namespace}", nil) { try await $0.provider($1, in: nil) },
        Route(.get, "subscriptions", nil) { try await $0.subscriptions($1) },
        Route(.get, "subscriptions/{subscription}", "Microsoft.Resources/subscriptions/read", filtered: true) { operations, call in
            operations.document(try await operations.subscription(call))
        },
        Route(.get, "subscriptions/{subscription}:locations", "Microsoft.Resources/subscriptions/locations/read") {
            try await $0.locations($1)
        },
        Route(.get, "subscriptions/{subscription}:resources", "Microsoft.Resources/subscriptions/resources/read", filtered: true) {
            try await $0.genericResources($1, in: $1.subscriptionID)
        },
        Route(.get, "subscriptions/{subscription}:providers", "Microsoft.Resources/subscriptions/providers/read") { operations, call in
            try await operations.providers(in: operations.subscription(call).id)
        },
        Route(.get, "subscriptions/{subscription}:providers/{namespace}", "Microsoft.Resources/subscriptions/providers/read") {
            operations, call in
            try await operations.provider(call, in: operations.subscription(call).id)
        },
        // Every namespace of this server is registered from the start.
        Route(
            .post, "subscriptions/{subscription}:providers/{namespace}/register",
            "Microsoft.Resources/subscriptions/providers/register/action"
        ) {
            operations, call in try await operations.provider(call, in: operations.subscription(call).id)
        },
        Route(
            .post, "subscriptions/{subscription}:providers/{namespace}/unregister",
            "Microsoft.Resources/subscriptions/providers/unregister/action"
        ) {
            operations, call in
            try await operations.subscription(call)
            throw ResourceError.notAvailable("Unregistering a provider")
        },
    ]
}

extension ResourceOperations {
    func tenants() -> ServerResponse {
        let tenant = self.services.authority.tenantID
        return .list([
            [
                "id": .string("/tenants/\(tenant)"), "tenantId": .string(tenant), "displayName": "Outport",
                "defaultDomain": .string(self.names.publicAddress.host), "tenantCategory": "Home",
            ]
        ])
    }

    func subscriptions(_ call: Call) async throws -> ServerResponse {
        var values: [JSONValue] = []
        for subscription in try await self.resources.subscriptions()
        where call.caller.touches(subscription.id.key) {
            values.append(self.value(subscription))
        }
        return .list(values)
    }

    func document(_ subscription: StoredResource<SubscriptionDocument>) -> ServerResponse { .document(self.value(subscription)) }

    func value(_ subscription: StoredResource<SubscriptionDocument>) -> JSONValue {
        [
            "id": .string(subscription.id.description), "subscriptionId": .string(subscription.id.subscription),
            "tenantId": .string(self.services.authority.tenantID), "displayName": .string(subscription.document.displayName),
            "state": "Enabled",
            "managedByTenants": [], "authorizationSource": "RoleBased",
            "subscriptionPolicies": ["locationPlacementId": "Public_2014-09-01", "quotaId": "Outport", "spendingLimit": "Off"],
        ]
    }

    /// The server's region and those in use.
    func locations(_ call: Call) async throws -> ServerResponse {
        let subscription = try await self.subscription(call)
        return .list(
            try await self.regions().map { name in
                let display = ResourceProviders.displayName(of: name)
                return [
                    "id": .string("\(subscription.id)/locations/\(name)"), "name": .string(name), "displayName": .string(display),
                    "regionalDisplayName": .string(display), "type": "Region",
                    "metadata": ["regionType": "Physical", "regionCategory": "Recommended"],
                ]
            })
    }

    private func regions() async throws -> [String] {
        let used = try await self.resources.allRegistries().map(\.document.location)
        return Set([self.names.region.lowercased()] + used).sorted()
    }

    func providers(in subscription: ResourceID?) async throws -> ServerResponse {
        let regions = try await self.regions()
        return .list(ResourceProviders.names.map { ResourceProviders.document($0, in: subscription, regions: regions) })
    }

    func provider(_ call: Call, in subscription: ResourceID?) async throws -> ServerResponse {
        guard let name = ResourceProviders.canonical(call["namespace"]) else {
            throw ResourceError(
                .notFound, .invalidNamespace, "The resource namespace '\(call["namespace"].prefix(60))' is not known to this server.")
        }
        return .document(ResourceProviders.document(name, in: subscription, regions: try await self.regions()))
    }

    /// Registries in the short form of the generic list, by which `az` finds a registry's group.
    func genericResources(_ call: Call, in scope: ResourceID) async throws -> ServerResponse {
        if scope.group == nil { try await self.subscription(call) } else { try await self.group(call) }
        let filter = ResourceFilter(call.request.query("$filter") ?? "")
        func shows(_ id: ResourceID) -> Bool { filter.accepts(id) && call.caller.allows("\(id.type)/read", at: id.key) }
        let records = try await self.resources.records(in: scope).filter { shows($0.id) }
        let found = try await self.resources.registries(in: scope).filter { shows($0.id) }
        return .list(
            records.map(Self.summary)
                + found.map { registry in
                    [
                        "id": .string(registry.id.description), "name": .string(registry.id.name), "type": .string(registry.id.type),
                        "location": .string(registry.document.location), "tags": .object(registry.document.tags.mapValues { .string($0) }),
                        "sku": ["name": .string(registry.document.sku.rawValue), "tier": .string(registry.document.sku.rawValue)],
                    ]
                })
    }
}
