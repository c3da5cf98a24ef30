// Federated credentials of user-assigned identities: which service account of which connected cluster an identity believes.

internal import HTTPServing
internal import HTTPTypes
internal import Identity
internal import JSON

extension Route {
    private static let action = "\(ResourceKind.identity.rawValue)/federatedIdentityCredentials"
    private static let identity =
        "subscriptions/{subscription}/resourcegroups/{group}/providers/microsoft.managedidentity/userassignedidentities/{resource}"

    static let federatedCredentialRoutes: [Route] = [
        Route(.get, "\(identity):federatedidentitycredentials", action + "/read") { try await $0.listFederatedCredentials($1) },
        Route(.get, "\(identity):federatedidentitycredentials/{name}", action + "/read") { operations, call in
            let (identity, object) = try await operations.federatedIdentity(call)
            let found = try await operations.services.directory.federatedCredentials(of: object).first {
                $0.name.lowercased() == call["name"].lowercased()
            }
            guard let found else {
                throw ResourceError(.notFound, .resourceNotFound, "The federated credential '\(call["name"].prefix(80))' was not found.")
            }
            return .document(try await operations.federatedValues([found], of: identity, object)[0])
        },
        Route(.put, "\(identity):federatedidentitycredentials/{name}", action + "/write") { try await $0.putFederatedCredential($1) },
        Route(.delete, "\(identity):federatedidentitycredentials/{name}", action + "/delete") { operations, call in
            let (identity, object) = try await operations.federatedIdentity(call)
            let key = ResourceOperations.federatedKey(call["name"], of: identity)
            let found = try await operations.services.directory.removeFederatedCredential(call["name"], of: object) {
                try Authorship.forget(key, $0)
            }
            return ServerResponse(found ? .ok : .noContent)
        },
    ]
}

extension ResourceOperations {
    /// The identity of a call and its principal.
    func federatedIdentity(_ call: Call) async throws -> (StoredRecord, String) {
        let identity = try await self.record(.identity, call)
        guard let object = identity.document.facts["principalId"] else {
            throw ResourceError(.conflict, .conflict, "The identity '\(identity.id.name)' has no principal. Delete it and make it anew.")
        }
        return (identity, object)
    }

    func listFederatedCredentials(_ call: Call) async throws -> ServerResponse {
        let (identity, object) = try await self.federatedIdentity(call)
        return .list(try await self.federatedValues(self.services.directory.federatedCredentials(of: object), of: identity, object))
    }

    func putFederatedCredential(_ call: Call) async throws -> ServerResponse {
        let (identity, object) = try await self.federatedIdentity(call)
        let name = call["name"]
        guard name.wholeMatch(of: /[A-Za-z0-9][A-Za-z0-9_-]{2,119}/) != nil else {
            throw ResourceError(
                .badRequest, .invalidName, "The name '\(name.prefix(60))' is not valid: use 3 to 120 letters, digits, '-' and '_'.",
                target: "name")
        }
        let properties = try call.document()["properties"].required()
        let issuer = try properties["issuer"].requiredString()
        let subject = try properties["subject"].requiredString()
        let audiences = try properties["audiences"].strings(maximum: 1) ?? []
        guard let audience = audiences.first, !audience.isEmpty else {
            throw try properties["audiences"].invalid("it must name one audience")
        }
        let source = try await self.issuingCluster(issuer, properties)
        let before = try await self.services.directory.federatedCredentials(of: object).first { $0.name.lowercased() == name.lowercased() }
        let credential = FederatedCredential(
            name: before?.name ?? name, keyID: Directory.identifier(), issuer: issuer, subject: subject, audience: audience,
            source: source.key)
        try await self.services.directory.put(
            credential, of: object,
            also: self.signature(call, onKey: Self.federatedKey(credential.name, of: identity), isNew: before == nil))
        return .document(before == nil ? .created : .ok, try await self.federatedValues([credential], of: identity, object)[0])
    }

    /// The connected cluster that an issuer is.
    ///
    /// Many clusters have the same issuer's name, so the cluster is settled now, once: another one that takes the name later is not believed.
    private func issuingCluster(_ issuer: String, _ properties: BodyField) async throws -> ResourceID {
        let field = try properties["issuer"]
        let agents = try await self.extensionStore().agents().values.filter { $0.report?.cluster?.issuer == issuer }
        let named = try properties["clusterId"].string()
        let candidates = agents.compactMap { ResourceID($0.cluster) }
        if let named {
            guard let found = candidates.first(where: { $0.key == named.lowercased() }) else {
                throw try properties["clusterId"].invalid(
                    "it is no connected cluster whose agent has reported the issuer '\(issuer.prefix(200))'")
            }
            return found
        }
        guard let only = candidates.first else {
            throw field.invalid(
                "no connected cluster has it; connect the cluster first ('outport connectedk8s connect'), its agent reports the issuer and its keys"
            )
        }
        guard candidates.count == 1 else {
            throw field.invalid(
                "\(candidates.count) connected clusters have it; name the one that is meant in properties.clusterId ('--cluster')")
        }
        return only
    }

    static func federatedKey(_ name: String, of identity: StoredRecord) -> String {
        "\(identity.id.key)/federatedidentitycredentials/\(name.lowercased())"
    }

    func federatedValues(
        _ credentials: [FederatedCredential], of identity: StoredRecord, _ object: String
    ) async throws -> [JSONValue] {
        let times = try await self.services.directory.federatedCredentialTimes(of: object)
        var values: [JSONValue] = []
        for credential in credentials {
            values.append(
                try await self.signed(self.value(credential, of: identity), created: times[credential.name] ?? identity.created))
        }
        return values
    }

    func value(_ credential: FederatedCredential, of identity: StoredRecord) -> JSONValue {
        [
            "id": .string("\(identity.id)/federatedIdentityCredentials/\(credential.name)"), "name": .string(credential.name),
            "type": "Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials",
            "properties": [
                "issuer": .string(credential.issuer), "subject": .string(credential.subject), "audiences": [.string(credential.audience)],
                "clusterId": .string(credential.source),
            ],
        ]
    }
}
