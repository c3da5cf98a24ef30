// Webhooks in ARM's form.

internal import HTTPServing
internal import HTTPTypes
internal import JSON
internal import OCI
internal import Persistence
internal import RegistryClient
internal import Webhooks

extension Route {
    private static let action = "\(ResourceKind.registry.rawValue)/webhooks"
    private static let path = registryPath + "/webhooks/{name}"

    static let webhookRoutes: [Route] = [
        Route(.get, registryPath + "/webhooks", action + "/read") { try await $0.listWebhooks($1) },
        Route(.get, path, action + "/read") { try await $0.showWebhook($1) },
        Route(.put, path, action + "/write") { try await $0.putWebhook($1) },
        Route(.patch, path, action + "/write") { try await $0.patchWebhook($1) },
        Route(.delete, path, action + "/delete") { try await $0.deleteWebhook($1) },
        Route(.post, path + ":ping", action + "/ping/action") { try await $0.pingWebhook($1) },
        Route(.post, path + ":getcallbackconfig", action + "/getCallbackConfig/action") { try await $0.showWebhookTarget($1) },
        Route(.post, path + ":listevents", action + "/listEvents/action") { try await $0.listWebhookEvents($1) },
    ]
}

extension RegistrySKU {
    /// How many webhooks a registry may have, as the tiers of Azure.
    var maximumWebhooks: Int {
        switch self {
        case .basic: 2
        case .standard: 10
        case .premium: 500
        }
    }
}

extension ResourceOperations {
    private func store() throws(ResourceError) -> WebhookStore {
        guard let store = self.services.webhooks else { throw .notAvailable("A webhook") }
        return store
    }

    private func webhook(_ call: Call, in registry: RegistryInCall) async throws -> Webhook {
        guard let found = try await self.store().find(call["name"], in: registry.content) else {
            throw self.notFound(.webhooks, call["name"], in: registry)
        }
        return found
    }

    func listWebhooks(_ call: Call) async throws -> ServerResponse {
        let registry = try await self.registry(call)
        let webhooks = try await self.store().list(in: registry.content)
        return .list(
            try await self.signed(
                webhooks.map { (Self.value($0, in: registry), $0.created, $0.updated) }, .webhooks, in: registry))
    }

    func showWebhook(_ call: Call) async throws -> ServerResponse {
        let registry = try await self.registry(call)
        let found = try await self.webhook(call, in: registry)
        return .document(try await self.signed(Self.value(found, in: registry), created: found.created, updated: found.updated))
    }

    func putWebhook(_ call: Call) async throws -> ServerResponse {
        let registry = try await self.registry(call)
        let name = call["name"]
        guard (5...50).contains(name.utf8.count), name.utf8.allSatisfy({ (ASCII.isLetter($0) || ASCII.isDigit($0)) }) else {
            throw ResourceError(
                .badRequest, .invalidName,
                "The webhook name '\(name.prefix(60))' is not valid: use 5 to 50 letters and digits.", target: "name")
        }
        let body = try WebhookBody(call.document())
        guard let location = body.location else { throw try call.document()["location"].invalid("it is required, such as eastus") }
        guard let actions = body.actions else {
            throw try call.document()["properties"]["actions"].invalid("it is required: push, delete or both")
        }
        guard let uri = body.serviceURI else {
            throw try call.document()["properties"]["serviceUri"].invalid("it is required, such as https://example.com/hook")
        }
        let settings = WebhookSettings(
            location: location, tags: body.tags ?? [:], actions: actions, scope: body.scope ?? .all,
            isEnabled: body.isEnabled ?? true)
        return try await self.put(
            name, settings, target: WebhookTarget(serviceURI: uri, customHeaders: body.customHeaders ?? [:]), call, in: registry)
    }

    /// What the body does not say stays. `az` sends empty members for what it was not given.
    func patchWebhook(_ call: Call) async throws -> ServerResponse {
        let registry = try await self.registry(call)
        let existing = try await self.webhook(call, in: registry)
        let body = try WebhookBody(call.document())
        var settings = existing.settings
        if let tags = body.tags { settings.tags = tags }
        if let actions = body.actions { settings.actions = actions }
        if let scope = body.scope { settings.scope = scope }
        if let isEnabled = body.isEnabled { settings.isEnabled = isEnabled }
        var target: WebhookTarget?
        if body.serviceURI != nil || body.customHeaders != nil {
            var changed = try await self.target(of: existing, replacedBy: body)
            if let headers = body.customHeaders { changed.customHeaders = headers }
            target = changed
        }
        return try await self.put(existing.name, settings, target: target, call, in: registry)
    }

    /// The target of now with the new address; one that cannot be opened any more needs none of the old.
    private func target(of webhook: Webhook, replacedBy body: WebhookBody) async throws -> WebhookTarget {
        do {
            var target = try await self.store().target(of: webhook)
            if let uri = body.serviceURI { target.serviceURI = uri }
            return target
        } catch WebhookError.sealed {
            guard let uri = body.serviceURI else { throw Self.sealed(webhook) }
            return WebhookTarget(serviceURI: uri, customHeaders: [:])
        }
    }

    private func put(
        _ name: String, _ settings: WebhookSettings, target: WebhookTarget?, _ call: Call, in registry: RegistryInCall
    ) async throws -> ServerResponse {
        guard settings.location == registry.document.location else {
            throw ResourceError.invalid("location", "the registry is in '\(registry.document.location)' and nowhere else")
        }
        do {
            let isNew = try await self.store().find(name, in: registry.content) == nil
            let (stored, _) = try await self.store().put(
                name, settings, target: target, in: registry.content, limit: registry.document.sku.maximumWebhooks,
                also: self.signature(call, on: registry.id.child(.webhooks, name), isNew: isNew))
            return .document(
                isNew ? .created : .ok,
                try await self.signed(Self.value(stored, in: registry), created: stored.created, updated: stored.updated))
        } catch WebhookError.tooMany(let limit) {
            throw ResourceError(
                .conflict, .limitExceeded,
                "The registry '\(registry.id.name)' has \(limit) webhooks, which is as many as the SKU \(registry.document.sku.rawValue) "
                    + "allows. Delete one, or change the SKU.")
        }
    }

    func deleteWebhook(_ call: Call) async throws -> ServerResponse {
        let registry = try await self.registry(call)
        let key = registry.id.child(.webhooks, call["name"]).key
        return ServerResponse(
            try await self.store().delete(call["name"], in: registry.content) { try Authorship.forget(key, $0) } ? .ok : .noContent)
    }

    func pingWebhook(_ call: Call) async throws -> ServerResponse {
        let webhook = try await self.webhook(call, in: try await self.registry(call))
        return .document(["id": .string(try await self.store().ping(webhook))])
    }

    private static func sealed(_ webhook: Webhook) -> ResourceError {
        ResourceError(
            .conflict, .conflict,
            "Where the webhook '\(webhook.name)' sends to was sealed with a key that is no longer there. Set it again with --uri.")
    }

    func showWebhookTarget(_ call: Call) async throws -> ServerResponse {
        let webhook = try await self.webhook(call, in: try await self.registry(call))
        do {
            let target = try await self.store().target(of: webhook)
            return .document([
                "serviceUri": .string(target.serviceURI), "customHeaders": .object(target.customHeaders.mapValues { .string($0) }),
            ])
        } catch WebhookError.sealed {
            throw Self.sealed(webhook)
        }
    }

    func listWebhookEvents(_ call: Call) async throws -> ServerResponse {
        let webhook = try await self.webhook(call, in: try await self.registry(call))
        let events = try await self.store().events(of: webhook)
        return .list(
            events.map { event in
                // Address and headers carry keys, so only `getCallbackConfig` tells them.
                var value: JSONValue = [
                    "id": .string(event.id),
                    "eventRequestMessage": ["content": event.body, "method": "POST", "version": "1.1", "headers": [:]],
                ]
                if let answer = event.answer { value.apply(mergePatch: ["eventResponseMessage": answer]) }
                return value
            })
    }

    /// Where events go is not shown here: it may carry keys.
    private static func value(_ webhook: Webhook, in registry: RegistryInCall) -> JSONValue {
        let id = registry.id.child(.webhooks, webhook.name)
        let settings = webhook.settings
        return [
            "id": .string(id.description), "name": .string(webhook.name), "type": .string(id.type), "location": .string(settings.location),
            "tags": .object(settings.tags.mapValues { .string($0) }),
            "properties": [
                "status": settings.isEnabled ? "enabled" : "disabled", "scope": .string(settings.scope.description),
                "actions": .strings(settings.actions.map(\.rawValue)), "provisioningState": "Succeeded",
            ],
        ]
    }
}
