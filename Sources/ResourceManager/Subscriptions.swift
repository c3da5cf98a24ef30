// Subscriptions, tenants, locations, providers and the generic resource list.

internal import HTTPServing
internal import HTTPTypes
internal import JSON

extension Route {
    static let subscriptionRoutes: [Route] = [
        Route(.get, "tenants", nil) { operations, _ in operations.tenants() },
        Route(.get, "providers", nil) { operations, _ in try await operations.providers(in: nil) },
        Route(.get, "providers/{namespace}", nil) { try await $0.provider($1, in: nil) },
        Route(.get, "providers/{namespace}/operations", nil) { try $0.actions($1) },
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
            try await operations.providers(in: operations.subscription(call))
        },
        Route(.get, "subscriptions/{subscription}:providers/{namespace}", "Microsoft.Resources/subscriptions/providers/read") {
            operations, call in
            try await operations.provider(call, in: operations.subscription(call))
        },
        // Every namespace of this server is registered from the start.
        Route(
            .post, "subscriptions/{subscription}:providers/{namespace}/register",
            "Microsoft.Resources/subscriptions/providers/register/action"
        ) { try await $0.register(true, $1) },
        Route(
            .post, "subscriptions/{subscription}:providers/{namespace}/unregister",
            "Microsoft.Resources/subscriptions/providers/unregister/action"
        ) { try await $0.register(false, $1) },
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

    func providers(in subscription: StoredResource<SubscriptionDocument>?) async throws -> ServerResponse {
        let regions = try await self.regions()
        let absent = subscription?.document.unregistered ?? []
        return .list(
            ResourceProviders.names.map {
                ResourceProviders.document($0, in: subscription?.id, regions: regions, isRegistered: !absent.contains($0))
            })
    }

    private func namespace(_ call: Call) throws(ResourceError) -> String {
        guard let name = ResourceProviders.canonical(call["namespace"]) else {
            throw ResourceError(
                .notFound, .invalidNamespace, "The resource namespace '\(call["namespace"].prefix(60))' is not known to this server.")
        }
        return name
    }

    /// The actions of a namespace, by which roles decide: those of the route table, so none that is not there.
    func actions(_ call: Call) throws -> ServerResponse {
        let name = try self.namespace(call)
        let actions = Set(Route.all.compactMap(\.action).filter { $0.lowercased().hasPrefix(name.lowercased() + "/") }).sorted()
        return .list(
            actions.map { action in
                let words = action.split(separator: "/")
                return [
                    "name": .string(action), "isDataAction": false, "origin": "user",
                    "display": [
                        "provider": .string(name), "resource": .string(words.dropFirst().dropLast().joined(separator: "/")),
                        "operation": .string(words.last.map(String.init) ?? ""), "description": .string(action),
                    ],
                ]
            })
    }

    func provider(_ call: Call, in subscription: StoredResource<SubscriptionDocument>?) async throws -> ServerResponse {
        let name = try self.namespace(call)
        return .document(
            ResourceProviders.document(
                name, in: subscription?.id, regions: try await self.regions(),
                isRegistered: subscription?.document.unregistered?.contains(name) != true))
    }

    /// Registers a namespace in a subscription, or takes the registration back while nothing of it is there.
    func register(_ isWanted: Bool, _ call: Call) async throws -> ServerResponse {
        let subscription = try await self.subscription(call)
        let name = try self.namespace(call)
        var absent = subscription.document.unregistered ?? []
        if isWanted == absent.contains(name) {
            if !isWanted {
                guard !ResourceProviders.isFree(name) else {
                    throw ResourceError(.conflict, .conflict, "The namespace '\(name)' cannot be unregistered: nothing goes without it.")
                }
                let registries = try await self.resources.registries(in: subscription.id).map(\.id)
                let ids = registries + (try await self.resources.records(in: subscription.id).map(\.id))
                if let used = ids.first(where: { $0.type.lowercased().hasPrefix(name.lowercased() + "/") }) {
                    throw ResourceError(
                        .conflict, .conflict,
                        "The namespace '\(name)' cannot be unregistered while '\(used)' is there. Delete the resources of the namespace first."
                    )
                }
                absent.append(name)
            } else {
                absent.removeAll { $0 == name }
            }
            var document = subscription.document
            document.unregistered = absent.isEmpty ? nil : absent.sorted()
            try await self.resources.update(document, as: subscription.id)
        }
        return .document(
            ResourceProviders.document(name, in: subscription.id, regions: try await self.regions(), isRegistered: isWanted))
    }

    /// - Throws: 409 for a new resource of a namespace that its subscription has unregistered.
    func requireRegistration(_ segments: [String]) async throws {
        // /subscriptions/S/resourceGroups/G/providers/NAMESPACE/TYPE/NAME: what lies in such a resource needs no look.
        guard segments.count == 8, segments[4].lowercased() == "providers", let name = ResourceProviders.canonical(segments[5]),
            let subscription = try await self.resources.subscription(ResourceID(subscription: segments[1])),
            subscription.document.unregistered?.contains(name) == true
        else { return }
        throw ResourceError(
            .conflict, .missingRegistration,
            "The subscription is not registered to use namespace '\(name)'. Register it with 'provider register --namespace \(name)'.")
    }

    /// Registries in the short form of the generic list, by which `az` finds a registry's group.
    func genericResources(_ call: Call, in scope: ResourceID) async throws -> ServerResponse {
        if scope.group == nil { try await self.subscription(call) } else { try await self.group(call) }
        let filter = ResourceFilter(call.request.query("$filter") ?? "")
        func shows(_ id: ResourceID, _ location: String, _ tags: [String: String]) -> Bool {
            filter.accepts(id, location: location, tags: tags) && call.caller.allows("\(id.type)/read", at: id.key)
        }
        let records = try await self.resources.records(in: scope).filter { shows($0.id, $0.document.location, $0.document.tags) }
        let found = try await self.resources.registries(in: scope).filter { shows($0.id, $0.document.location, $0.document.tags) }
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
