// Tokens and their passwords in ARM's form.

internal import Gateway
internal import HTTPServing
internal import HTTPTypes
internal import Identity
internal import JSON
internal import Persistence

extension Route {
    private static let action = "\(ResourceKind.registry.rawValue)/tokens"

    static let tokenRoutes: [Route] = [
        Route(.get, registryPath + "/tokens", action + "/read") { try await $0.listTokens($1) },
        Route(.get, registryPath + "/tokens/{name}", action + "/read") { try await $0.showToken($1) },
        Route(.put, registryPath + "/tokens/{name}", action + "/write", shared: true) { try await $0.putToken($1) },
        Route(.patch, registryPath + "/tokens/{name}", action + "/write") { try await $0.patchToken($1) },
        Route(.delete, registryPath + "/tokens/{name}", action + "/delete") { try await $0.deleteToken($1) },
        Route(.post, registryPath + ":generatecredentials", "\(ResourceKind.registry.rawValue)/generateCredentials/action") {
            try await $0.generateCredentials($1)
        },
    ]
}

extension ResourceOperations {
    func listTokens(_ call: Call) async throws -> ServerResponse {
        let registry = try await self.registry(call)
        let tokens = try await self.identities.tokens(in: registry.content)
        return .list(
            try await self.signed(tokens.map { (Self.value($0, in: registry), $0.created, nil) }, .tokens, in: registry))
    }

    func showToken(_ call: Call) async throws -> ServerResponse {
        let registry = try await self.registry(call)
        let token = try await self.token(call, in: registry)
        return .document(try await self.signed(Self.value(token, in: registry), created: token.created))
    }

    private func token(_ call: Call, in registry: RegistryInCall) async throws -> TokenRecord {
        guard let token = try await self.identities.token(call["name"], in: registry.content) else {
            throw self.notFound(.tokens, call["name"], in: registry)
        }
        return token
    }

    func putToken(_ call: Call) async throws -> ServerResponse {
        let registry = try await self.registry(call)
        let existing = try await self.identities.token(call["name"], in: registry.content)
        let properties = try call.document()["properties"].required()
        _ = try properties["scopeMapId"].requiredString()
        return try await self.store(
            call, properties, name: existing?.name ?? call["name"], scopeMap: nil, isEnabled: true, in: registry, isNew: existing == nil)
    }

    func patchToken(_ call: Call) async throws -> ServerResponse {
        let registry = try await self.registry(call)
        let existing = try await self.token(call, in: registry)
        return try await self.store(
            call, call.document()["properties"], name: existing.name, scopeMap: existing.scopeMap, isEnabled: existing.isEnabled,
            in: registry, isNew: false)
    }

    /// Reads everything before anything is changed.
    private func store(
        _ call: Call, _ properties: BodyField, name: String, scopeMap: String?, isEnabled: Bool, in registry: RegistryInCall, isNew: Bool
    ) async throws -> ServerResponse {
        var scopeMap = scopeMap ?? ""
        if let id = try properties["scopeMapId"].string() {
            scopeMap = try registry.childName(.scopeMaps, in: id, field: "properties.scopeMapId")
            guard try await self.identities.scopeMap(scopeMap, in: registry.content) != nil else {
                throw ResourceError.invalid("properties.scopeMapId", "scope map '\(scopeMap)' is not in this registry; create it first")
            }
        }
        let status = try properties["status"].choice(["enabled", "disabled"]).map { $0 == "enabled" }
        let credentials = try properties["credentials"]
        let kept = try Self.keptPasswords(credentials)
        if let certificates = try credentials["certificates"].elements(), !certificates.isEmpty {
            throw ResourceError.notAvailable("Signing in with certificates", target: "properties.credentials.certificates")
        }
        let token = try await self.identities.putToken(
            name, scopeMap: scopeMap, isEnabled: status ?? isEnabled, keeping: kept, in: registry.content,
            also: self.signature(call, on: registry.id.child(.tokens, name), isNew: isNew))
        self.connectedRegistries.settingsChanged()
        return .document(
            isNew ? .created : .ok, try await self.signed(Self.value(token, in: registry), created: token.created))
    }

    /// The slots a body keeps; `nil` when it says nothing of passwords.
    private static func keptPasswords(_ credentials: BodyField) throws(ResourceError) -> [PasswordSlot]? {
        guard let passwords = try credentials["passwords"].elements(maximum: 2) else { return nil }
        var slots: [PasswordSlot] = []
        for password in passwords { slots.append(try self.slot(password["name"].required())) }
        return slots
    }

    private static func slot(_ field: BodyField) throws(ResourceError) -> PasswordSlot {
        guard let text = try field.choice(PasswordSlot.allCases.map(\.rawValue)), let slot = PasswordSlot(rawValue: text) else {
            throw field.invalid("it must be password1 or password2")
        }
        return slot
    }

    /// - Throws: 409 while a connected registry needs the token.
    func deleteToken(_ call: Call) async throws -> ServerResponse {
        let registry = try await self.registry(call)
        let name = call["name"]
        for child in try await self.connectedRegistries.list(in: registry.content) {
            let use: String
            if child.syncToken.lowercased() == name.lowercased() {
                use = "the sync token of connected registry '\(child.name)'. Delete the connected registry first."
            } else if child.configuration.clientTokens.contains(where: { $0.lowercased() == name.lowercased() }) {
                use = "a client token of connected registry '\(child.name)'. Remove it there first."
            } else {
                continue
            }
            throw ResourceError(.conflict, .conflict, "The token '\(name)' is \(use)")
        }
        return ServerResponse(try await self.identities.deleteToken(name, in: registry.content) ? .ok : .noContent)
    }

    /// Makes new passwords, which are in this answer and nowhere else.
    func generateCredentials(_ call: Call) async throws -> ServerResponse {
        let registry = try await self.registry(call)
        let body = try call.document()
        let name = try registry.childName(.tokens, in: body["tokenId"].requiredString(), field: "tokenId")
        guard let existing = try await self.identities.token(name, in: registry.content) else {
            throw ResourceError.invalid("tokenId", "token '\(name)' is not in this registry; create it first")
        }
        let slots = try body["name"].isPresent ? [Self.slot(body["name"])] : PasswordSlot.allCases
        let expiry = try self.expiry(body["expiry"])
        // The pin lets one string start a child that has never seen the CA of whom it will speak to.
        let pin = try await self.pin(forSyncToken: existing.name, in: registry)
        let suffix = pin.map { "." + $0 } ?? ""
        let (token, values) = try await self.identities.generatePasswords(
            slots, expiry: expiry, suffix: suffix, token: existing.name, in: registry.content,
            also: self.signature(call, on: registry.id.child(.tokens, existing.name), isNew: false))
        self.connectedRegistries.settingsChanged()
        let passwords: [JSONValue] = token.passwords.compactMap { password in
            guard let value = values[password.slot] else { return nil }
            var item = Self.value(password)
            item["value"] = .string(value)
            return item
        }
        return .document(.ok, ["username": .string(token.name), "passwords": .array(passwords)], headers: [.cacheControl: "no-store"])
    }

    /// The authority that a connected registry will meet: this server's, or that of the connected registry which is its parent.
    private func pin(forSyncToken name: String, in registry: RegistryInCall) async throws -> String? {
        guard let child = try await self.connectedRegistries.find(syncToken: name, in: registry.content) else { return nil }
        guard let parent = child.configuration.parent else { return self.services.trustPin }
        return try await self.connectedRegistries.find(parent, in: registry.content)?.report?.caPin
    }

    private func expiry(_ field: BodyField) throws(ResourceError) -> Int64? {
        guard let text = try field.string() else { return nil }
        guard let expiry = Timestamp.parse(text) else {
            throw field.invalid("'\(text.prefix(60))' is not a time such as 2027-12-31T12:59:59Z")
        }
        guard expiry > self.services.clock.milliseconds() else { throw field.invalid("'\(text)' has passed") }
        return expiry
    }

    private static func value(_ password: PasswordVerifier) -> JSONValue {
        var item: JSONValue = [
            "name": .string(password.slot.rawValue), "creationTime": .string(Timestamp.text(milliseconds: password.created)),
        ]
        if let expiry = password.expiry { item["expiry"] = .string(Timestamp.text(milliseconds: expiry)) }
        return item
    }

    /// A token without the values of its passwords, which are not known here.
    private static func value(_ token: TokenRecord, in registry: RegistryInCall) -> JSONValue {
        let id = registry.id.child(.tokens, token.name)
        return [
            "id": .string(id.description), "name": .string(token.name), "type": .string(id.type),
            "properties": [
                "creationDate": .string(Timestamp.text(milliseconds: token.created)), "provisioningState": "Succeeded",
                "scopeMapId": .string(registry.id.child(.scopeMaps, token.scopeMap).description),
                "status": token.isEnabled ? "enabled" : "disabled",
                "credentials": ["certificates": [], "passwords": .array(token.passwords.map { self.value($0) })],
            ],
        ]
    }
}
