// Cache rules in ARM's form: which repositories are filled from elsewhere when somebody pulls.

internal import HTTPServing
internal import HTTPTypes
internal import Import
internal import JSON
internal import OCI
internal import Persistence

extension Route {
    private static let path = registryPath + "/cacherules"
    private static let action = ResourceKind.cacheRule.rawValue

    static let cacheRuleRoutes: [Route] = [
        Route(.get, path, action + "/read") { try await $0.listCacheRules($1) },
        Route(.get, path + "/{name}", action + "/read") { try await $0.showCacheRule($1) },
        Route(.put, path + "/{name}", action + "/write") { try await $0.putCacheRule($1) },
        Route(.patch, path + "/{name}", action + "/write") { try await $0.patchCacheRule($1) },
        Route(.delete, path + "/{name}", action + "/delete") { try await $0.deleteCacheRule($1) },
    ]
}

extension ResourceOperations {
    /// The name of a cache rule or credential set.
    static func requirePartName(_ name: String, _ what: String) throws(ResourceError) {
        guard (5...50).contains(name.utf8.count),
            name.utf8.allSatisfy({ ASCII.isLetter($0) || ASCII.isDigit($0) || $0 == UInt8(ascii: "-") })
        else {
            throw ResourceError(
                .badRequest, .invalidName,
                "The \(what) name '\(name.prefix(60))' is not valid: use 5 to 50 letters, digits and '-'.", target: "name")
        }
    }

    /// Identities are those of a cloud that other registries believe; nobody does here.
    static func refuseIdentity(_ field: BodyField) throws(ResourceError) {
        let types = ["None", "SystemAssigned", "UserAssigned", "SystemAssigned, UserAssigned"]
        if let type = try field["type"].choice(types), type.contains("UserAssigned") {
            throw .notAvailable("Signing in to a source with a managed identity", target: "identity")
        }
    }

    func listCacheRules(_ call: Call) async throws -> ServerResponse {
        let registry = try await self.registry(call)
        let rules = try await self.resources.cacheRules(in: registry.id)
        return .list(
            try await self.signed(
                rules.map { (Self.value($0, in: registry), $0.created, $0.updated) }, .cacheRules, in: registry))
    }

    private func cacheRule(_ call: Call, in registry: RegistryInCall) async throws -> StoredCacheRule {
        guard let found = try await self.resources.cacheRule(registry.id.child(.cacheRules, call["name"])) else {
            throw self.notFound(.cacheRules, call["name"], in: registry)
        }
        return found
    }

    func showCacheRule(_ call: Call) async throws -> ServerResponse {
        let registry = try await self.registry(call)
        let rule = try await self.cacheRule(call, in: registry)
        return .document(try await self.signed(Self.value(rule, in: registry), created: rule.created, updated: rule.updated))
    }

    func putCacheRule(_ call: Call) async throws -> ServerResponse {
        let registry = try await self.registry(call)
        try Self.requirePartName(call["name"], "cache rule")
        let body = try call.document()
        try Self.refuseIdentity(body["identity"])
        let properties = try body["properties"]
        let (host, source) = try self.source(properties["sourceRepository"])
        let target = try Self.pattern(properties["targetRepository"])
        guard source.isWildcard == target.isWildcard else {
            throw try properties["targetRepository"].invalid(
                "source and target either both end in '*' or neither does, such as docker.io/library/* and library/*")
        }
        let set = try await self.credentialSet(properties["credentialSetResourceId"], for: host, in: registry)
        let rules = try await self.resources.cacheRules(in: registry.id)
        let id = registry.id.child(.cacheRules, call["name"])
        let others = rules.filter { $0.id.key != id.key }
        if let other = others.first(where: { $0.document.target == target }) {
            throw ResourceError(
                .conflict, .conflict, "The target repository '\(target)' is that of the cache rule '\(other.id.name)' already.",
                target: "properties.targetRepository")
        }
        guard others.count < ResourceStore.maximumCacheRules else {
            throw ResourceError(
                .badRequest, .limitExceeded,
                "The registry has \(others.count) cache rules; the limit is \(ResourceStore.maximumCacheRules). Delete one first.")
        }
        let document = CacheRuleDocument(sourceRegistry: host, source: source, target: target, credentialSet: set)
        let isNew = rules.count == others.count
        let stored = try await self.resources.put(
            part: document, .cacheRule, as: id, also: self.signature(call, on: id, isNew: isNew))
        return .document(
            isNew ? .created : .ok,
            try await self.signed(Self.value(stored, in: registry), created: stored.created, updated: stored.updated))
    }

    /// Only the credential set of a rule can be changed; null takes it away.
    func patchCacheRule(_ call: Call) async throws -> ServerResponse {
        let registry = try await self.registry(call)
        let existing = try await self.cacheRule(call, in: registry)
        let body = try call.document()
        try Self.refuseIdentity(body["identity"])
        let properties = try body["properties"]
        var document = existing.document
        for (member, value) in [
            ("sourceRepository", "\(document.sourceRegistry)/\(document.source)"), ("targetRepository", document.target.description),
        ] {
            let field = try properties[member]
            if let text = try field.string(), text != value { throw field.invalid("it cannot be changed; make another rule") }
        }
        let field = try properties["credentialSetResourceId"]
        if field.isNull {
            document.credentialSet = nil
        } else if field.isPresent {
            document.credentialSet = try await self.credentialSet(field, for: document.sourceRegistry, in: registry)
        }
        let stored = try await self.resources.put(
            part: document, .cacheRule, as: existing.id, also: self.signature(call, on: existing.id, isNew: false))
        return .document(try await self.signed(Self.value(stored, in: registry), created: stored.created, updated: stored.updated))
    }

    /// `az` takes no 200 here.
    func deleteCacheRule(_ call: Call) async throws -> ServerResponse {
        let registry = try await self.registry(call)
        _ = try await self.resources.delete(part: registry.id.child(.cacheRules, call["name"]), .cacheRule)
        return ServerResponse(.noContent)
    }

    // MARK: The body

    /// `docker.io/library/ubuntu`: the registry and a repository in it.
    private func source(_ field: BodyField) throws(ResourceError) -> (host: String, pattern: CachePattern) {
        let text = try field.requiredString()
        guard let slash = text.firstIndex(of: "/") else {
            throw field.invalid("it is a registry and a repository, such as docker.io/library/ubuntu")
        }
        let host = text[..<slash].lowercased()
        guard host.contains(where: { $0 == "." || $0 == ":" }), !host.hasPrefix("."), (try? ImageImporter.validate(host)) != nil else {
            throw field.invalid("'\(host.prefix(200))' is no address of a registry; it is HOST or HOST:PORT, then the repository")
        }
        guard !self.resources.lookup.all.contains(where: { $0.loginServer.lowercased() == host || $0.dataEndpoint.lowercased() == host })
        else { throw field.invalid("'\(host)' is a registry of this server; import from it instead") }
        do {
            return (host, try CachePattern(text[text.index(after: slash)...]))
        } catch {
            throw field.invalid(error.description)
        }
    }

    private static func pattern(_ field: BodyField) throws(ResourceError) -> CachePattern {
        do {
            return try CachePattern(try field.requiredString())
        } catch let error as OCIParseError {
            throw field.invalid(error.description)
        } catch let error as ResourceError {
            throw error
        } catch {
            throw field.invalid("\(error)")
        }
    }

    private func credentialSet(_ field: BodyField, for host: String, in registry: RegistryInCall) async throws -> String? {
        guard let text = try field.string() else { return nil }
        let name = try registry.childName(.credentialSets, in: text, field: field.path)
        guard let set = try await self.resources.credentialSet(registry.id.child(.credentialSets, name)) else {
            throw field.invalid("there is no credential set '\(name.prefix(60))' in this registry; create it first")
        }
        guard set.document.loginServer == host else {
            throw field.invalid("the credential set '\(set.id.name)' is for \(set.document.loginServer), not for \(host)")
        }
        return set.id.name
    }

    private static func value(_ rule: StoredCacheRule, in registry: RegistryInCall) -> JSONValue {
        let document = rule.document
        return [
            "id": .string(rule.id.description), "name": .string(rule.id.name), "type": .string(rule.id.type),
            "properties": [
                "sourceRepository": .string("\(document.sourceRegistry)/\(document.source)"),
                "targetRepository": .string(document.target.description),
                "credentialSetResourceId": document.credentialSet.map {
                    .string(registry.id.child(.credentialSets, $0).description)
                } ?? .null,
                "creationDate": .string(Timestamp.text(milliseconds: rule.created)), "provisioningState": "Succeeded",
            ],
        ]
    }
}
