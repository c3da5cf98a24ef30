// Further subscriptions: made under an alias, renamed, and cancelled when they are empty.

internal import HTTPServing
internal import HTTPTypes
internal import Identity
internal import JSON

extension Route {
    private static let aliasPath = ":providers/microsoft.subscription/aliases"

    static let subscriptionAliasRoutes: [Route] = [
        Route(.put, aliasPath + "/{alias}", "Microsoft.Subscription/aliases/write") { try await $0.putAlias($1) },
        Route(.get, aliasPath + "/{alias}", "Microsoft.Subscription/aliases/read") { try await $0.showAlias($1) },
        Route(
            .post, "subscriptions/{subscription}:providers/microsoft.subscription/rename", "Microsoft.Subscription/rename/action"
        ) { try await $0.renameSubscription($1) },
        Route(
            .post, "subscriptions/{subscription}:providers/microsoft.subscription/cancel", "Microsoft.Subscription/cancel/action"
        ) { try await $0.cancelSubscription($1) },
    ]
}

extension ResourceOperations {
    /// Subscriptions of one server, at most.
    private static let maximumSubscriptions = 1000

    private static func displayName(_ field: BodyField) throws(ResourceError) -> String {
        guard let name = try field.string(maximum: 128), !name.isEmpty, name.count <= 64 else {
            throw field.invalid("a subscription's name has 1 to 64 characters")
        }
        return name
    }

    func putAlias(_ call: Call) async throws -> ServerResponse {
        let alias = call["alias"]
        guard alias.utf8.count <= 63 else { throw ResourceError.invalid("aliasName", "it has more than 63 bytes") }
        let properties = try call.document()["properties"].required()
        let existing = try await self.resources.subscriptions()
        if let found = existing.first(where: { $0.document.alias?.lowercased() == alias.lowercased() }) {
            return .document(Self.alias(found))
        }
        guard existing.count < Self.maximumSubscriptions else {
            throw ResourceError(
                .badRequest, .limitExceeded,
                "There are \(existing.count) subscriptions, which is the limit of \(Self.maximumSubscriptions).")
        }
        let document = SubscriptionDocument(displayName: try Self.displayName(properties["displayName"]), alias: alias)
        return .document(.created, Self.alias(try await self.resources.createSubscription(document, owner: call.principal)))
    }

    func showAlias(_ call: Call) async throws -> ServerResponse {
        guard
            let found = try await self.resources.subscriptions().first(where: {
                $0.document.alias?.lowercased() == call["alias"].lowercased()
            })
        else {
            throw ResourceError(.notFound, .resourceNotFound, "There is no subscription under the alias '\(call["alias"].prefix(63))'.")
        }
        return .document(Self.alias(found))
    }

    private static func alias(_ subscription: StoredResource<SubscriptionDocument>) -> JSONValue {
        let alias = subscription.document.alias ?? ""
        return [
            "id": .string("/providers/Microsoft.Subscription/aliases/\(alias)"), "name": .string(alias),
            "type": "Microsoft.Subscription/aliases",
            "properties": [
                "subscriptionId": .string(subscription.id.subscription), "displayName": .string(subscription.document.displayName),
                "provisioningState": "Succeeded",
            ],
        ]
    }

    func renameSubscription(_ call: Call) async throws -> ServerResponse {
        let subscription = try await self.subscription(call)
        var document = subscription.document
        document.displayName = try Self.displayName(call.document()["subscriptionName"])
        try await self.resources.update(document, as: subscription.id)
        return .document(["subscriptionId": .string(subscription.id.subscription)])
    }

    func cancelSubscription(_ call: Call) async throws -> ServerResponse {
        let subscription = try await self.subscription(call)
        guard try await self.resources.subscriptions().count > 1 else {
            throw ResourceError(.conflict, .conflict, "This is the only subscription; nobody could use the server without one.")
        }
        try await self.resources.deleteSubscription(subscription.id)
        return .document(["subscriptionId": .string(subscription.id.subscription)])
    }
}
