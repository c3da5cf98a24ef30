// Registries between wire and store: bodies in, the full resource out.

internal import HTTPServing
internal import JSON
internal import Persistence

extension RegistryDocument {
    /// The document of a PUT: everything the body does not say has its initial value.
    ///
    /// Read-only members (ids, states, names of hosts) may be sent back and count for nothing.
    init(creating body: BodyField, by principal: String, existing: RegistryDocument?, region: String) throws(ResourceError) {
        guard let location = try body["location"].location() else {
            throw try body["location"].invalid("it is required, such as \(region)")
        }
        guard let sku = try Self.sku(body) else { throw try body["sku"]["name"].invalid("it is required: Basic, Standard or Premium") }
        self.init(
            location: location, tags: try body["tags"].tags() ?? [:], sku: sku, settings: try RegistryOption.values(in: body["properties"]),
            createdBy: existing?.createdBy ?? principal, lastModifiedBy: principal, identity: existing?.identity)
        try self.checkLocation(against: existing)
        try self.checkTier()
    }

    /// Merges a PATCH: what the body does not say stays (JSON merge patch, RFC 7386, where null means no change, too).
    mutating func apply(patch body: BodyField, by principal: String) throws(ResourceError) {
        let existing = self
        if let location = try body["location"].location() { self.location = location }
        if let sku = try Self.sku(body) { self.sku = sku }
        if let tags = try body["tags"].tags() { self.tags = tags }
        for (key, value) in try RegistryOption.values(in: body["properties"]) { self.settings[key] = value }
        self.lastModifiedBy = principal
        try self.checkLocation(against: existing)
        try self.checkTier()
    }

    private static func sku(_ body: BodyField) throws(ResourceError) -> RegistrySKU? {
        try body["sku"]["name"].choice(RegistrySKU.allCases.map(\.rawValue)).flatMap { RegistrySKU(rawValue: $0) }
    }

    private func checkLocation(against existing: RegistryDocument?) throws(ResourceError) {
        guard let existing, existing.location != self.location else { return }
        throw ResourceError(
            .conflict, .locationChanged, "The registry is in '\(existing.location)' and cannot be moved to '\(self.location)'.",
            target: "location")
    }

    /// What the SKU does not include.
    private func checkTier() throws(ResourceError) {
        if self.allowsAnonymousPull, self.sku == .basic {
            throw ResourceError(
                .badRequest, .skuTooSmall,
                "Pulling without credentials needs the SKU Standard or Premium, not \(self.sku.rawValue). Change the SKU, or leave "
                    + "anonymous pull off.", target: "properties.anonymousPullEnabled")
        }
        let premium: [(String, String, Bool)] = [
            ("Closing the registry to networks", "properties.networkRuleSet", NetworkRules(self) != nil),
            ("A retention policy", "properties.policies.retentionPolicy.status", self.retention != nil),
        ]
        for (what, field, isUsed) in premium where isUsed && self.sku != .premium {
            throw ResourceError(
                .badRequest, .skuTooSmall, "\(what) needs the SKU Premium, not \(self.sku.rawValue). Change the SKU, or leave it off.",
                target: field)
        }
        // What a retention policy removes would be kept, and what is kept removed.
        guard self.retention == nil || !self.softDelete.isOn else {
            throw ResourceError(
                .badRequest, .invalidParameter,
                "The retention policy for untagged manifests and the soft-delete policy cannot both be enabled. Disable the other one first.",
                target: "properties.policies.softDeletePolicy.status")
        }
        guard self.allowsExport || self.settings["publicNetworkAccess"] == "Disabled" else {
            throw ResourceError(
                .badRequest, .invalidParameter,
                "Exports can be disabled only where public network access is, too: otherwise images leave by being pulled.",
                target: "properties.policies.exportPolicy.status")
        }
        guard self.isDataEndpointEnabled, self.sku != .premium else { return }
        throw ResourceError(
            .badRequest, .skuTooSmall,
            "A dedicated data endpoint needs the SKU Premium, not \(self.sku.rawValue). Change the SKU, or turn the data endpoint off.",
            target: "properties.dataEndpointEnabled")
    }
}

extension ResourceOperations {
    /// A registry in full, so that clients can send it back.
    func value(_ registry: StoredResource<RegistryDocument>) -> JSONValue {
        let document = registry.document
        let name = registry.id.name
        var properties: JSONValue = [
            "loginServer": .string(self.names.loginServer(of: name)),
            "creationDate": .string(Timestamp.text(milliseconds: registry.created)),
            "provisioningState": "Succeeded",
            "dataEndpointHostNames": document.isDataEndpointEnabled
                ? [.string(self.names.dataEndpoint(of: name, region: document.location))] : [],
            "privateEndpointConnections": [], "regionalEndpointHostNames": [],
        ]
        for option in RegistryOption.all {
            var setting = document.settings[option.key] ?? option.initial
            for key in option.path.reversed() { setting = [key: setting] }
            properties.apply(mergePatch: setting)
        }
        return [
            "id": .string(registry.id.description), "name": .string(name), "type": .string(registry.id.type),
            "location": .string(document.location), "identity": self.value(document.identity),
            "tags": .object(document.tags.mapValues { .string($0) }),
            "sku": ["name": .string(document.sku.rawValue), "tier": .string(document.sku.rawValue)],
            "systemData": Self.systemData(registry),
            "properties": properties,
        ]
    }

    /// Who made a registry stands in its document: an application by its id, which no account of a user is.
    static func systemData(_ registry: StoredResource<RegistryDocument>) -> JSONValue {
        func author(_ name: String) -> Authorship.Author { .init(name: name, kind: self.isGUID(name) ? "Application" : "User") }
        return Authorship(
            creator: author(registry.document.createdBy), modifier: author(registry.document.lastModifiedBy), modified: registry.updated
        ).value(created: registry.created, updated: nil)
    }
}
