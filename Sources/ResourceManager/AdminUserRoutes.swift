// The admin user's passwords: shown to whoever may list credentials, and replaced one at a time.

internal import HTTPServing
internal import HTTPTypes
internal import Identity
internal import JSON

extension Route {
    private static let action = ResourceKind.registry.rawValue

    static let adminUserRoutes: [Route] = [
        Route(.post, registryPath + ":listcredentials", action + "/listCredentials/action") { operations, call in
            let registry = try await operations.registryWithAdmin(call)
            return .document(
                operations.credentials(registry, try await operations.services.admins.passwords(in: registry.content)))
        },
        Route(.post, registryPath + ":regeneratecredential", action + "/regenerateCredential/action") { operations, call in
            let registry = try await operations.registryWithAdmin(call)
            let field = try call.document()["name"].required()
            guard let text = try field.choice(AdminPasswordName.allCases.map(\.rawValue)), let name = AdminPasswordName(rawValue: text)
            else { throw field.invalid("it is required: password or password2") }
            try await operations.services.admins.renew(name, in: registry.content)
            return .document(
                operations.credentials(registry, try await operations.services.admins.passwords(in: registry.content)))
        },
    ]
}

extension ResourceOperations {
    /// The registry of a call about its admin user.
    ///
    /// - Throws: 400 while the admin user is disabled: there would be passwords that open nothing.
    fileprivate func registryWithAdmin(_ call: Call) async throws -> RegistryInCall {
        let registry = try await self.registry(call)
        guard registry.document.isAdminUserEnabled else {
            throw ResourceError(
                .badRequest, .adminUserDisabled,
                "The admin user of the registry '\(registry.id.name)' is disabled. Enable it first: properties.adminUserEnabled = true.")
        }
        return registry
    }

    fileprivate func credentials(_ registry: RegistryInCall, _ passwords: [AdminPassword]) -> JSONValue {
        [
            "username": .string(registry.id.name),
            "passwords": .array(passwords.map { ["name": .string($0.name.rawValue), "value": .string($0.value)] }),
        ]
    }
}
