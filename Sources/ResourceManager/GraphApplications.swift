// Applications and service principals through Graph.

internal import HTTPServing
internal import HTTPTypes
internal import Identity
internal import JSON

extension GraphHandler {
    private static let knownOfApplications: Set<String> = [
        "displayName", "keyCredentials", "passwordCredentials", "signInAudience", "isFallbackPublicClient", "@odata.type",
    ]
    private static let knownOfPrincipals: Set<String> = ["appId", "accountEnabled", "keyCredentials", "displayName", "@odata.type"]

    private static func name(_ field: BodyField) throws -> String? {
        guard let name = try field.string(maximum: 256) else { return nil }
        guard !name.isEmpty else { throw Refusal.bad("The displayName must not be empty.", target: "displayName") }
        return name
    }

    // MARK: Applications

    func applications(_ call: GraphCall, _ words: [String]) async throws -> ServerResponse {
        guard words.count > 1 else {
            switch call.request.method {
            case .get: return try await self.page(.applications, call)
            case .post: return try await self.createApplication(call)
            default: throw self.unknown(call)
            }
        }
        guard let application = try await self.directory.application(words[1]) else { throw Refusal.notFound(words[1]) }
        let id = application.objectID
        switch (call.request.method, words.dropFirst(2).first, words.count) {
        case (.get, nil, _):
            try await self.require(.read(id), call)
            return .document(try await self.value(.application(application)))
        case (.patch, nil, _):
            try await self.require(.manage(id), call)
            return try await self.patchApplication(application, call)
        case (.delete, nil, _):
            try await self.require(.manage(id), call)
            try await self.directory.deleteApplication(application)
            return ServerResponse(.noContent)
        case (.post, "addpassword", 3): return try await self.addPassword(id, call)
        case (.post, "removepassword", 3): return try await self.removePassword(id, call)
        case (_, "owners", _): return try await self.owners(call, words, of: id)
        // Sign-in with tokens of others is not there, and neither is any of them.
        case (.get, "federatedidentitycredentials", 3): return .list([])
        default: throw self.unknown(call)
        }
    }

    private func createApplication(_ call: GraphCall) async throws -> ServerResponse {
        try await self.require(.register, call)
        let body = try call.document()
        try self.refuse(body, beyond: Self.knownOfApplications)
        guard let name = try Self.name(body["displayName"]) else {
            throw Refusal.bad("A value is required for property 'displayName' of resource 'Application'.", target: "displayName")
        }
        try Self.refusePasswords(body)
        try Self.requireOwnDirectory(body)
        let certificates = try self.certificates(body["keyCredentials"])?.fresh ?? []
        let application = try await self.directory.createApplication(
            name, certificates: certificates, owner: call.caller.principal.objectID)
        return .document(.created, try await self.value(.application(application)))
    }

    /// There is one directory, so only those in it can sign in.
    private static func requireOwnDirectory(_ body: BodyField) throws {
        guard let audience = try body["signInAudience"].string(), audience != "AzureADMyOrg" else { return }
        throw Refusal.bad(
            "The signInAudience '\(audience.prefix(60))' is not available: there is one directory, whose members sign in (AzureADMyOrg).",
            target: "signInAudience")
    }

    /// Secrets are made here, never given.
    private static func refusePasswords(_ body: BodyField) throws {
        for element in try body["passwordCredentials"].elements(maximum: 100) ?? [] {
            if let text = try element["secretText"].string(), !text.isEmpty {
                throw Refusal.bad("Passwords cannot be given, they are made: use addPassword.", target: "passwordCredentials")
            }
        }
    }

    private func patchApplication(_ application: DirectoryApplication, _ call: GraphCall) async throws -> ServerResponse {
        let body = try call.document()
        try self.refuse(body, beyond: Self.knownOfApplications)
        try Self.refusePasswords(body)
        try Self.requireOwnDirectory(body)
        let certificates = try self.certificates(body["keyCredentials"])
        if let name = try Self.name(body["displayName"]), name != application.displayName {
            try await self.directory.rename(application: application, to: name)
        }
        if let certificates {
            try await self.directory.replaceCertificates(
                of: application.objectID, keeping: certificates.kept, adding: certificates.fresh)
        }
        return ServerResponse(.noContent)
    }

    // MARK: Service principals

    /// By object id, or `servicePrincipals(appId='…')`.
    private func principal(_ word: String) async throws -> ServicePrincipal {
        guard let principal = try await self.directory.principal(objectID: word) else { throw Refusal.notFound(word) }
        return principal
    }

    func servicePrincipals(_ call: GraphCall, _ words: [String]) async throws -> ServerResponse {
        guard words.count > 1 else {
            switch call.request.method {
            case .get: return try await self.page(.servicePrincipals, call)
            case .post: return try await self.createPrincipal(call)
            default: throw self.unknown(call)
            }
        }
        let principal = try await self.principal(words[1])
        let id = principal.objectID
        switch (call.request.method, words.dropFirst(2).first, words.count) {
        case (.get, nil, _):
            try await self.require(.read(id), call)
            return .document(try await self.value(.servicePrincipal(principal)))
        case (.patch, nil, _):
            try await self.require(.manage(id), call)
            let body = try call.document()
            try self.refuse(body, beyond: Self.knownOfPrincipals)
            if let certificates = try self.certificates(body["keyCredentials"]) {
                try self.refuseManaged(principal)
                try await self.directory.replaceCertificates(of: id, keeping: certificates.kept, adding: certificates.fresh)
            }
            if let isEnabled = try body["accountEnabled"].bool(lenient: true) {
                try await self.directory.setEnabled(isEnabled, servicePrincipal: id)
            }
            return ServerResponse(.noContent)
        case (.delete, nil, _):
            try await self.require(.manage(id), call)
            try await self.directory.deleteServicePrincipal(id)
            return ServerResponse(.noContent)
        case (.post, "addpassword", 3):
            try self.refuseManaged(principal)
            return try await self.addPassword(id, call)
        case (.post, "removepassword", 3): return try await self.removePassword(id, call)
        case (.post, "revokesigninsessions", 3):
            try await self.require(.manage(id), call)
            try await self.directory.revoke(id)
            return .document(["value": true])
        case (_, "owners", _): return try await self.owners(call, words, of: id)
        case (.get, "approleassignments", 3), (.get, "approleassignedto", 3): return .list([])
        default: throw self.unknown(call)
        }
    }

    private func refuseManaged(_ principal: ServicePrincipal) throws {
        guard principal.kind == .application else {
            throw Refusal.bad("'\(principal.displayName)' is a managed identity, which has no secrets.")
        }
    }

    private func createPrincipal(_ call: GraphCall) async throws -> ServerResponse {
        let body = try call.document()
        try self.refuse(body, beyond: Self.knownOfPrincipals)
        let appID = try body["appId"].requiredString()
        guard let application = try await self.directory.application(appID), application.appID == appID.lowercased() else {
            // Before the decision: who may not register may not search either.
            try await self.require(.register, call)
            throw Refusal.bad("No application with appId '\(appID.prefix(60))' is registered here; register one first.", target: "appId")
        }
        // Who makes a principal owns it, so it takes the application's owner: roles that the owner gives it later would
        // otherwise be somebody else's, too.
        try await self.require(.manage(application.objectID), call)
        let principal = try await self.directory.createServicePrincipal(
            appID: appID, isEnabled: try body["accountEnabled"].bool(lenient: true) ?? true, owner: call.caller.principal.objectID)
        return .document(.created, try await self.value(.servicePrincipal(principal)))
    }

    // MARK: Secrets

    private func addPassword(_ id: String, _ call: GraphCall) async throws -> ServerResponse {
        try await self.require(.manage(id), call)
        let field = try BodyField(body: call.body ?? [:])["passwordCredential"]
        if try field["secretText"].string() != nil {
            throw Refusal.bad("A password cannot be given, it is made.", target: "passwordCredential.secretText")
        }
        let (name, start, end) = try self.period(field)
        let (credential, secret) = try await self.directory.addSecret(to: id, displayName: name, start: start, expiry: end)
        return .document(.ok, Self.value(credential, secret: secret), headers: [.cacheControl: "no-store"])
    }

    private func removePassword(_ id: String, _ call: GraphCall) async throws -> ServerResponse {
        try await self.require(.manage(id), call)
        try await self.directory.removeCredential(try call.document()["keyId"].requiredString(), from: id)
        return ServerResponse(.noContent)
    }
}
