// What is stored of each kind of resource: that which an operator has set.

package import JSON

/// What is stored of a subscription.
package struct SubscriptionDocument: Codable, Sendable, Hashable {
    package var displayName: String
    /// The name under which it was asked for, so that asking again makes no second one.
    package var alias: String?
    /// Namespaces that have been unregistered.
    package var unregistered: [String]?
}

/// What is stored of a resource group.
package struct GroupDocument: Codable, Sendable, Hashable {
    package var location: String
    package var tags: [String: String]
    package var managedBy: String?
}

/// What is stored of a registry.
package struct RegistryDocument: Codable, Sendable, Hashable {
    package var location: String
    package var tags: [String: String]
    package var sku: RegistrySKU
    /// Values of ``RegistryOption`` by its path; what is not here has its initial value.
    package var settings: [String: JSONValue]
    /// Application ids.
    package var createdBy: String
    package var lastModifiedBy: String
    /// Identities that are assigned to it; those of before have none.
    package var identity: RegistryIdentity?

    package var isDataEndpointEnabled: Bool { self.settings["dataEndpointEnabled"]?.boolValue ?? false }
    package var isAdminUserEnabled: Bool { self.settings["adminUserEnabled"]?.boolValue ?? false }
    package var allowsAnonymousPull: Bool { self.settings["anonymousPullEnabled"]?.boolValue ?? false }
    /// Milliseconds for which manifests that nothing reaches are kept; `nil` for ever.
    package var retention: Int64? {
        guard self.settings["policies.retentionPolicy.status"] == "enabled" else { return nil }
        return Int64(self.settings["policies.retentionPolicy.days"]?.intValue ?? 7) * 86_400_000
    }
    /// Whether what is deleted is kept, and for how many milliseconds.
    package var softDelete: (isOn: Bool, age: Int64) {
        (
            self.settings["policies.softDeletePolicy.status"] == "enabled",
            Int64(self.settings["policies.softDeletePolicy.retentionDays"]?.intValue ?? 7) * 86_400_000
        )
    }
    package var wantsRegistryTokens: Bool { self.settings["policies.azureADAuthenticationAsArmPolicy.status"] == "disabled" }
    /// Whether other registries may import from it.
    package var allowsExport: Bool { self.settings["policies.exportPolicy.status"] != "disabled" }
    package var isReadOnly: Bool { self.settings["readOnly"]?.boolValue ?? false }
    /// Bytes; `nil` for no limit.
    package var quota: Int64? { self.settings["storageQuota"]?.intValue.map(Int64.init) }
}

/// What is stored of an identity or a cluster.
package struct RecordDocument: Codable, Sendable, Hashable {
    package var location: String
    package var tags: [String: String]
    /// Members of the body as they were sent, without secrets and without what is computed.
    package var body: [String: JSONValue]
    /// What was decided when it was made, such as the ids of its principals.
    package var facts: [String: String]
    package var createdBy: String
}

/// Service tiers.
package enum RegistrySKU: String, Codable, Sendable, CaseIterable {
    case basic = "Basic"
    case standard = "Standard"
    case premium = "Premium"
}
