// Credential sets in ARM's form: with what a cache rule signs in to its source. They name secrets and hold none.

internal import HTTPServing
internal import HTTPTypes
internal import Import
internal import JSON
internal import Persistence

extension Route {
    private static let path = registryPath + "/credentialsets"
    private static let action = ResourceKind.credentialSet.rawValue

    static let credentialSetRoutes: [Route] = [
        Route(.get, path, action + "/read") { try await $0.listCredentialSets($1) },
        Route(.get, path + "/{name}", action + "/read") { try await $0.showCredentialSet($1) },
        Route(.put, path + "/{name}", action + "/write") { try await $0.putCredentialSet($1) },
        Route(.patch, path + "/{name}", action + "/write") { try await $0.patchCredentialSet($1) },
        Route(.delete, path + "/{name}", action + "/delete") { try await $0.deleteCredentialSet($1) },
    ]
}

extension ResourceOperations {
    func listCredentialSets(_ call: Call) async throws -> ServerResponse {
        let registry = try await self.registry(call)
        var values: [JSONValue] = []
        for set in try await self.resources.credentialSets(in: registry.id) { values.append(try await self.value(set, in: registry)) }
        return .list(values)
    }

    private func credentialSet(_ call: Call, in registry: RegistryInCall) async throws -> StoredCredentialSet {
        guard let found = try await self.resources.credentialSet(registry.id.child(.credentialSets, call["name"])) else {
            throw self.notFound(.credentialSets, call["name"], in: registry)
        }
        return found
    }

    func showCredentialSet(_ call: Call) async throws -> ServerResponse {
        let registry = try await self.registry(call)
        return .document(try await self.value(try await self.credentialSet(call, in: registry), in: registry))
    }

    func putCredentialSet(_ call: Call) async throws -> ServerResponse {
        let registry = try await self.registry(call)
        try Self.requirePartName(call["name"], "credential set")
        let body = try call.document()
        // `az` always asks for one of the system's. There is none, and none is shown: secrets are files of the operator's.
        try Self.refuseIdentity(body["identity"])
        let properties = try body["properties"]
        let server = try properties["loginServer"]
        let host = try server.requiredString().lowercased()
        guard !host.hasPrefix("."), (try? ImageImporter.validate(host)) != nil else {
            throw server.invalid("it is no address of a registry; it is HOST or HOST:PORT, such as docker.io")
        }
        let field = try properties["authCredentials"]
        guard let credentials = try Self.credentials(field) else { throw field.invalid("it is required: the identifiers of two secrets") }
        let id = registry.id.child(.credentialSets, call["name"])
        let existing = try await self.resources.credentialSet(id)
        try await self.requireSame(host, as: existing, server, in: registry)
        let document = CredentialSetDocument(loginServer: host, username: credentials.username, password: credentials.password)
        let stored = try await self.resources.put(
            part: document, .credentialSet, as: id, also: self.signature(call, on: id, isNew: existing == nil))
        return .document(existing == nil ? .created : .ok, try await self.value(stored, in: registry))
    }

    /// One that a rule uses goes on being for that rule's source.
    private func requireSame(
        _ host: String, as existing: StoredCredentialSet?, _ field: BodyField, in registry: RegistryInCall
    ) async throws {
        guard let existing, existing.document.loginServer != host else { return }
        if let rule = try await self.rule(using: existing, in: registry) {
            throw field.invalid("the cache rule '\(rule.id.name)' uses this set for \(existing.document.loginServer)")
        }
    }

    private func rule(using set: StoredCredentialSet, in registry: RegistryInCall) async throws -> StoredCacheRule? {
        try await self.resources.cacheRules(in: registry.id).first {
            $0.document.credentialSet.map { registry.id.child(.credentialSets, $0).key } == set.id.key
        }
    }

    func patchCredentialSet(_ call: Call) async throws -> ServerResponse {
        let registry = try await self.registry(call)
        let existing = try await self.credentialSet(call, in: registry)
        let body = try call.document()
        try Self.refuseIdentity(body["identity"])
        let properties = try body["properties"]
        var document = existing.document
        let server = try properties["loginServer"]
        if let host = try server.string(), host.lowercased() != document.loginServer {
            throw server.invalid("it cannot be changed; make another set")
        }
        if let credentials = try Self.credentials(properties["authCredentials"]) {
            (document.username, document.password) = (credentials.username, credentials.password)
        }
        let stored = try await self.resources.put(
            part: document, .credentialSet, as: existing.id, also: self.signature(call, on: existing.id, isNew: false))
        return .document(try await self.value(stored, in: registry))
    }

    /// `az` takes no 200 here.
    func deleteCredentialSet(_ call: Call) async throws -> ServerResponse {
        let registry = try await self.registry(call)
        guard let existing = try await self.resources.credentialSet(registry.id.child(.credentialSets, call["name"])) else {
            return ServerResponse(.noContent)
        }
        if let rule = try await self.rule(using: existing, in: registry) {
            throw ResourceError(
                .conflict, .conflict,
                "The credential set '\(existing.id.name)' is used by the cache rule '\(rule.id.name)'. Take it from the rule first "
                    + "('acr cache update --name \(rule.id.name) --remove-cred-set').")
        }
        _ = try await self.resources.delete(part: existing.id, .credentialSet)
        return ServerResponse(.noContent)
    }

    private static func credentials(
        _ field: BodyField
    ) throws(ResourceError) -> (username: SecretIdentifier, password: SecretIdentifier)? {
        guard let elements = try field.elements(maximum: 1) else { return nil }
        guard let first = elements.first else { throw field.invalid("it has no element") }
        _ = try first["name"].choice(["Credential1"])
        func secret(_ name: String) throws(ResourceError) -> SecretIdentifier {
            let member = try first[name]
            guard let value = SecretIdentifier(try member.requiredString()) else {
                throw member.invalid("it is no identifier of a secret, such as https://myvault.vault.azure.net/secrets/name")
            }
            return value
        }
        return (try secret("usernameSecretIdentifier"), try secret("passwordSecretIdentifier"))
    }

    private func value(_ set: StoredCredentialSet, in registry: RegistryInCall) async throws -> JSONValue {
        let document = set.document
        let problem = try await SourceSignIn(secrets: self.services.secrets, registry: registry.id.name.lowercased()).problem(
            with: document)
        var health: JSONValue = ["status": problem == nil ? "Healthy" : "Unhealthy"]
        if let problem { health.apply(mergePatch: ["errorCode": "SecretNotFound", "errorMessage": .string(problem)]) }
        let value: JSONValue = [
            "id": .string(set.id.description), "name": .string(set.id.name), "type": .string(set.id.type),
            "properties": [
                "loginServer": .string(document.loginServer),
                "authCredentials": [
                    [
                        "name": "Credential1", "usernameSecretIdentifier": .string(document.username.description),
                        "passwordSecretIdentifier": .string(document.password.description), "credentialHealth": health,
                    ]
                ],
                "creationDate": .string(Timestamp.text(milliseconds: set.created)), "provisioningState": "Succeeded",
            ],
        ]
        return try await self.signed(value, created: set.created, updated: set.updated)
    }
}

/// Finds the credentials that a set names.
struct SourceSignIn: Sendable {
    let secrets: SecretFolder?
    /// The registry's name in lower case.
    let registry: String

    /// Why the set cannot be used now; `nil` when it can.
    func problem(with set: CredentialSetDocument) async throws -> String? {
        guard let secrets else {
            return "This server was started without a folder of secrets. Its operator starts it with --secrets FOLDER."
        }
        for secret in [set.username, set.password]
        where try await secrets.read(secret, of: self.registry, for: set.loginServer) == nil {
            return "There is no secret in the file \(SecretFolder.place(secret, of: self.registry, for: set.loginServer)) of the folder "
                + "that the server was given with --secrets. Its operator puts it there, one line."
        }
        return nil
    }

    /// - Throws: ``ImportError`` with the problem.
    func credentials(_ set: CredentialSetDocument) async throws -> SourceCredentials {
        if let problem = try await self.problem(with: set) { throw ImportError(.denied, problem) }
        let username = try await self.secrets?.read(set.username, of: self.registry, for: set.loginServer)
        guard let password = try await self.secrets?.read(set.password, of: self.registry, for: set.loginServer) else {
            throw ImportError(.denied, "the secrets for \(set.loginServer) have just been taken away")
        }
        return SourceCredentials(username: username, password: password)
    }
}
