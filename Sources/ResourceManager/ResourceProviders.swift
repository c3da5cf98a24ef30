// The namespaces that clients register and ask for before they use them.

internal import JSON

/// Resource providers: all of them are registered until a subscription unregisters one.
enum ResourceProviders {
    /// Namespaces of the documented commands, each with the types this server has.
    private static let types: [String: [String]] = [
        "Microsoft.Authorization": ["roleAssignments", "roleDefinitions"],
        "Microsoft.ContainerRegistry": [
            "registries", "registries/scopeMaps", "registries/tokens", "registries/connectedRegistries", "registries/replications",
            "registries/webhooks", "registries/cacheRules", "registries/credentialSets", "checkNameAvailability", "operations",
        ],
        "Microsoft.ContainerService": ["managedClusters"],
        "Microsoft.ExtendedLocation": [],
        "Microsoft.Kubernetes": ["connectedClusters"],
        "Microsoft.KubernetesConfiguration": ["extensions"],
        "Microsoft.ManagedIdentity": ["userAssignedIdentities"],
        "Microsoft.Resources": ["subscriptions", "resourceGroups", "resources"],
        "Microsoft.Subscription": ["aliases"],
    ]

    static let names = types.keys.sorted()

    static func canonical(_ namespace: String) -> String? { self.names.first { $0.lowercased() == namespace.lowercased() } }

    static func isKnown(_ namespace: String) -> Bool { self.canonical(namespace) != nil }

    /// Those without which nothing goes are always there, as on Azure.
    private static let free: Set<String> = ["Microsoft.Authorization", "Microsoft.Resources", "Microsoft.Subscription"]

    static func isFree(_ name: String) -> Bool { self.free.contains(name) }

    static func document(_ name: String, in subscription: ResourceID?, regions: [String], isRegistered: Bool = true) -> JSONValue {
        let locations = JSONValue.strings(regions.map(self.displayName))
        return [
            "id": .string("\(subscription?.description ?? "")/providers/\(name)"), "namespace": .string(name),
            "registrationState": isRegistered ? "Registered" : "Unregistered",
            "registrationPolicy": self.isFree(name) ? "RegistrationFree" : "RegistrationRequired",
            "resourceTypes": .array(
                (self.types[name] ?? []).map { type in
                    // `az resource` uses the first version that is no preview.
                    ["resourceType": .string(type), "locations": locations, "apiVersions": ["2025-11-01", "2026-09-01-preview"]]
                }),
        ]
    }

    private static let displayNames = [
        "eastus": "East US", "eastus2": "East US 2", "westus": "West US", "westus2": "West US 2", "westus3": "West US 3",
        "centralus": "Central US", "northeurope": "North Europe", "westeurope": "West Europe", "germanywestcentral": "Germany West Central",
        "uksouth": "UK South", "southeastasia": "Southeast Asia", "japaneast": "Japan East", "australiaeast": "Australia East",
    ]

    static func displayName(of region: String) -> String { self.displayNames[region.lowercased()] ?? region }
}
