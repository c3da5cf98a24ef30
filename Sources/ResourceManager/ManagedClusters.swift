// Clusters as records: what `az aks` writes and reads. The identities and their roles are real, the cluster is elsewhere.

internal import HTTPServing
internal import HTTPTypes
internal import Identity
internal import JSON

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

extension Route {
    private static let action = ResourceKind.managedCluster.rawValue
    private static let listPath = "providers/microsoft.containerservice/managedclusters"
    private static let path = "subscriptions/{subscription}/resourcegroups/{group}/\(listPath)/{resource}"

    static let managedClusterRoutes: [Route] = [
        Route(.get, "subscriptions/{subscription}:\(listPath)", action + "/read", filtered: true) { operations, call in
            try await operations.listRecords(.managedCluster, in: operations.subscription(call).id, call) { operations.cluster($0) }
        },
        Route(.get, "subscriptions/{subscription}/resourcegroups/{group}:\(listPath)", action + "/read", filtered: true) {
            operations, call in
            try await operations.listRecords(.managedCluster, in: operations.group(call).id, call) { operations.cluster($0) }
        },
        Route(.get, path, action + "/read") { operations, call in
            let found = try await operations.record(.managedCluster, call)
            return .document(try await operations.signed(operations.cluster(found), of: found))
        },
        Route(.put, path, action + "/write") { try await $0.putCluster($1) },
        Route(.patch, path, action + "/write") { try await $0.patchCluster($1) },
        Route(.delete, path, action + "/delete") { try await $0.deleteCluster($1) },
        Route(.post, path + ":listclusterusercredential", action + "/listClusterUserCredential/action") {
            try await $0.clusterCredential($1, "clusterUser")
        },
        Route(.post, path + ":listclusteradmincredential", action + "/listClusterAdminCredential/action") {
            try await $0.clusterCredential($1, "clusterAdmin")
        },
        // Not Azure's: with what the nodes of a cluster sign in as its kubelet identity.
        Route(.post, path + ":createkubeletcredential", action + "/write") { try await $0.createKubeletCredential($1) },
        // Not Azure's: where the kubeconfig of a cluster that really is somewhere comes from.
        Route(.post, path + ":recordclustercredential", action + "/write") { try await $0.recordClusterCredential($1) },
    ]
}

extension ResourceOperations {
    private static let maximumBody = 256 << 10
    /// Members of `properties` that the server says, whatever a client echoes.
    private static let computed: Set<String> = [
        "provisioningState", "powerState", "fqdn", "currentKubernetesVersion", "identityProfile", "maxAgentPools", "resourceUID",
    ]

    func putCluster(_ call: Call) async throws -> ServerResponse {
        let (id, existing) = try await self.place(.managedCluster, call)
        let body = try call.document()
        try BodyShape.managedCluster.check(body)
        var document =
            existing?.document ?? RecordDocument(location: "", tags: [:], body: [:], facts: [:], createdBy: call.principal.objectID)
        document.location = try self.location(body, existing)
        document.tags = try body["tags"].tags() ?? [:]
        document.body = try Self.clusterBody(body)
        let given = try await self.kubelet(body, call, existing)
        let own = ResourceID(subscription: id.subscription, group: id.group ?? "", .identity, "\(id.name)-agentpool")
        if existing == nil, given == nil, try await self.resources.record(own) != nil {
            throw ResourceError(
                .conflict, .conflict,
                "The identity '\(own.name)', which the cluster would get for its kubelets, is there already. Delete it, or name it with "
                    + "--assign-kubelet-identity.")
        }
        let isNew = existing == nil
        let now = self.services.clock.milliseconds()
        let creator = call.principal.objectID
        let location = document.location
        // The identity it gets for its kubelets is made by the same hand.
        let (signature, ownSignature) = (self.signature(call, on: id, isNew: isNew), self.signature(call, on: own, isNew: true))
        let stored = try await self.resources.put(document, as: id, also: signature) { document, session in
            guard isNew else { return }
            let cluster = try Directory.createManagedIdentity(id.name, resource: id.description, now: now, session)
            document.facts = ["principalId": cluster.objectID, "suffix": String(cluster.objectID.prefix(8))]
            if let given {
                document.facts["kubelet"] = given.id.description
                document.facts["kubeletClient"] = given.document.facts["clientId"]
                document.facts["kubeletObject"] = given.document.facts["principalId"]
                return
            }
            let kubelet = try Directory.createManagedIdentity(own.name, resource: own.description, now: now, session)
            let identity = RecordDocument(
                location: location, tags: [:], body: [:], facts: ["principalId": kubelet.objectID, "clientId": kubelet.appID],
                createdBy: creator)
            try ResourceStore.write(
                String(decoding: try JSONEncoder().encode(identity), as: UTF8.self), as: own, registry: nil, now: now, session)
            try ownSignature(session)
            document.facts["kubelet"] = own.description
            document.facts["kubeletClient"] = kubelet.appID
            document.facts["kubeletObject"] = kubelet.objectID
            document.facts["ownsKubelet"] = "true"
        }
        return .document(isNew ? .created : .ok, try await self.signed(self.cluster(stored), of: stored))
    }

    func patchCluster(_ call: Call) async throws -> ServerResponse {
        let existing = try await self.record(.managedCluster, call)
        try BodyShape.managedCluster.check(call.document())
        _ = try self.location(call.document(), existing)
        var document = existing.document
        if let tags = try call.document()["tags"].tags() { document.tags = tags }
        let stored = try await self.resources.put(
            document, as: existing.id, also: self.signature(call, on: existing.id, isNew: false))
        return .document(try await self.signed(self.cluster(stored), of: stored))
    }

    /// Deletes the record, its identities and their roles.
    func deleteCluster(_ call: Call) async throws -> ServerResponse {
        try await self.group(call)
        let id = self.recordID(.managedCluster, call)
        guard let existing = try await self.resources.record(id) else { return ServerResponse(.noContent) }
        let kubelet = existing.document.facts["ownsKubelet"] == nil ? nil : existing.document.facts["kubelet"].flatMap { ResourceID($0) }
        try await self.resources.deleteRecord(existing.id, with: kubelet.map { [$0] } ?? [])
        // 200 is not among the codes that clients accept here.
        return ServerResponse(.noContent)
    }

    func clusterCredential(_ call: Call, _ name: String) async throws -> ServerResponse {
        let cluster = try await self.record(.managedCluster, call)
        guard let kubeconfig = try await self.resources.secret("kubeconfig", of: cluster.id) else {
            throw ResourceError(
                .conflict, .conflict,
                "No kubeconfig is recorded for cluster '\(cluster.id.name)': this server keeps a record of the cluster and does not run it. "
                    + "Record one with 'outport aks record-credentials -n \(cluster.id.name) -g \(cluster.id.group ?? "") --file KUBECONFIG'."
            )
        }
        return .document(
            .ok, ["kubeconfigs": [["name": .string(name), "value": .string(Data(kubeconfig).base64EncodedString())]]],
            headers: [.cacheControl: "no-store"])
    }

    /// A secret for the kubelet identity, for one node or several; those made before go on working.
    func createKubeletCredential(_ call: Call) async throws -> ServerResponse {
        let cluster = try await self.record(.managedCluster, call)
        guard let object = cluster.document.facts["kubeletObject"], let client = cluster.document.facts["kubeletClient"] else {
            throw ResourceError(
                .conflict, .conflict, "The cluster '\(cluster.id.name)' has no kubelet identity. Delete its record and make it anew.")
        }
        // An identity of somebody else's is theirs to hand out.
        if cluster.document.facts["ownsKubelet"] == nil, let identity = cluster.document.facts["kubelet"],
            !call.caller.allows("Microsoft.ManagedIdentity/userAssignedIdentities/assign/action", at: identity.lowercased())
        {
            throw ResourceError(
                .forbidden, .authorizationFailed,
                "The client '\(call.principal.name)' may not assign the identity '\(identity)' "
                    + "(Microsoft.ManagedIdentity/userAssignedIdentities/assign/action).")
        }
        let name = call.body == nil ? nil : try call.document()["displayName"].string(maximum: 120)
        let made = try await self.services.directory.addSecret(to: object, displayName: name ?? "node", start: nil, expiry: nil)
        return .document(
            .ok,
            [
                "clientId": .string(client), "clientSecret": .string(made.secret), "keyId": .string(made.credential.keyID),
                "tenantId": .string(self.services.authority.tenantID),
            ], headers: [.cacheControl: "no-store"])
    }

    func recordClusterCredential(_ call: Call) async throws -> ServerResponse {
        let cluster = try await self.record(.managedCluster, call)
        let field = try call.document()["kubeconfig"]
        guard let text = field.value?.stringValue, text.utf8.count <= 1 << 20, let content = Data(base64Encoded: text), !content.isEmpty
        else { throw field.invalid("it must be a kubeconfig in base64, of at most 1 MiB") }
        try await self.resources.keep(secret: Array(content), "kubeconfig", of: cluster.id)
        return ServerResponse(.noContent)
    }

    /// The identity that kubelets are to pull with, where the body names one.
    private func kubelet(_ body: BodyField, _ call: Call, _ existing: StoredRecord?) async throws -> StoredRecord? {
        let field = try body.at(["properties", "identityProfile", "kubeletidentity", "resourceId"])
        guard let text = try field.string() else { return nil }
        if let existing {
            guard existing.document.facts["kubelet"]?.lowercased() == text.lowercased() else {
                throw field.invalid("the kubelet identity of a cluster cannot be changed")
            }
            return nil
        }
        guard let id = ResourceID(text), id.recordKind == .identity, let found = try await self.resources.record(id) else {
            throw field.invalid("'\(text.prefix(300))' is no user-assigned identity of this server")
        }
        // Whoever names an identity here lets a cluster act as it.
        guard call.caller.allows("Microsoft.ManagedIdentity/userAssignedIdentities/assign/action", at: id.key) else {
            throw ResourceError(
                .forbidden, .authorizationFailed,
                "The client '\(call.principal.name)' may not assign the identity '\(id)' "
                    + "(Microsoft.ManagedIdentity/userAssignedIdentities/assign/action).")
        }
        return found
    }

    /// What is kept of a body: no secrets, nothing that is computed.
    private static func clusterBody(_ body: BodyField) throws(ResourceError) -> [String: JSONValue] {
        var kept: [String: JSONValue] = [:]
        for name in ["sku", "identity", "kind", "extendedLocation"] {
            if let value = try body[name].object()?.value { kept[name] = value }
        }
        if case .object(var properties)? = try body["properties"].object()?.value {
            for name in self.computed { properties[name] = nil }
            for (name, secret) in [
                ("servicePrincipalProfile", "secret"), ("windowsProfile", "adminPassword"), ("aadProfile", "serverAppSecret"),
            ] where properties[name] != nil {
                properties[name]?[secret] = nil
            }
            kept["properties"] = .object(properties)
        }
        guard JSONValue.object(kept).serialized().utf8.count <= Self.maximumBody else {
            throw ResourceError(.contentTooLarge, .tooLarge, "The cluster's description is larger than \(Self.maximumBody) bytes.")
        }
        return kept
    }

    func cluster(_ record: StoredRecord) -> JSONValue {
        let (document, facts) = (record.document, record.document.facts)
        let group = record.id.group ?? ""
        var properties = document.body["properties"] ?? [:]
        let version = properties["kubernetesVersion"]?.stringValue.flatMap { $0.isEmpty ? nil : $0 } ?? "1.34"
        properties["kubernetesVersion"] = .string(version)
        properties["currentKubernetesVersion"] = .string(version)
        properties["provisioningState"] = "Succeeded"
        properties["powerState"] = ["code": "Running"]
        properties["fqdn"] = .string("\(record.id.name.lowercased())-\(facts["suffix"] ?? "").\(document.location).invalid")
        if properties["nodeResourceGroup"]?.stringValue == nil {
            properties["nodeResourceGroup"] = .string("MC_\(group)_\(record.id.name)_\(document.location)")
        }
        if properties["servicePrincipalProfile"] == nil { properties["servicePrincipalProfile"] = ["clientId": "msi"] }
        properties["identityProfile"] = [
            "kubeletidentity": [
                "resourceId": .string(orNull: facts["kubelet"]), "clientId": .string(orNull: facts["kubeletClient"]),
                "objectId": .string(orNull: facts["kubeletObject"]),
            ]
        ]
        var value = Self.summary(record)
        value["sku"] = document.body["sku"] ?? ["name": "Base", "tier": "Free"]
        var identity = document.body["identity"] ?? ["type": "SystemAssigned"]
        identity["principalId"] = .string(orNull: facts["principalId"])
        identity["tenantId"] = .string(self.services.authority.tenantID)
        value["identity"] = identity
        value["properties"] = properties
        return value
    }
}
