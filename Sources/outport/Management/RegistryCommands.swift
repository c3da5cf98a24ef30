// Registries themselves: create, show, list, update, delete.

import ArgumentParser
import JSON

/// The settings that `create` and `update` share.
struct RegistrySettings: ParsableArguments {
    @Option(defaultAsFlag: ThreeState.yes, parsing: .next, help: "Indicates whether the admin user is enabled.")
    var adminEnabled: ThreeState?

    @Option(defaultAsFlag: ThreeState.yes, parsing: .next, help: "Enable dedicated data endpoint for client firewall configuration.")
    var dataEndpointEnabled: ThreeState?

    @Option(defaultAsFlag: ThreeState.yes, parsing: .next, help: "Allow public network access for the container registry.")
    var publicNetworkEnabled: ThreeState?

    @Option(help: "Default action to apply when no rule matches. Only applicable to Premium SKU.")
    var defaultAction: AllowOrDeny?

    @Option(defaultAsFlag: ThreeState.yes, parsing: .next, help: "Allow trusted services to access network restricted registries.")
    var allowTrustedServices: ThreeState?

    @Option(defaultAsFlag: ThreeState.yes, parsing: .next, help: "Configure exportPolicy to allow/disallow artifacts from being exported.")
    var allowExports: ThreeState?

    @Option(defaultAsFlag: ThreeState.yes, parsing: .next, help: "Enable or disable the metadata-search feature for the registry.")
    var allowMetadataSearch: ThreeState?

    @Option(help: "The IP versions of the registry's endpoint. The server listens where it was told to: only IPv4 is taken.")
    var endpointProtocol: EndpointProtocol?

    @Option(help: "Regional endpoints. The server is in one place: only Disabled is taken.")
    var regionalEndpoints: EnabledOrDisabled?

    @Option(help: "How role assignments are evaluated. Conditions are not: only rbac is taken.")
    var roleAssignmentMode: RoleAssignmentMode?

    @Option(help: "Whether repositories of cache rules can be pushed to. They always can: only Enabled is taken.")
    var writableCacheRepos: EnabledOrDisabled?

    @Option(parsing: .upToNextOption, help: "Space-separated tags: key[=value] [key[=value] ...]. Use \"\" to clear existing tags.")
    var tags: [String] = []

    /// Writes what was given, and nothing else, into a body.
    func apply(to body: inout JSONValue, _ session: ManagementSession) {
        if let adminEnabled { body[path: "properties", "adminUserEnabled"] = .bool(adminEnabled.value) }
        if let dataEndpointEnabled { body[path: "properties", "dataEndpointEnabled"] = .bool(dataEndpointEnabled.value) }
        if let defaultAction { body[path: "properties", "networkRuleSet", "defaultAction"] = .string(defaultAction.rawValue) }
        if let publicNetworkEnabled {
            body[path: "properties", "publicNetworkAccess"] = publicNetworkEnabled.value ? "Enabled" : "Disabled"
            if !publicNetworkEnabled.value {
                body[path: "properties", "networkRuleSet", "defaultAction"] = "Deny"
                session.warn("Disabling the public endpoint overrides all firewall configurations.")
            }
        }
        if let allowTrustedServices {
            body[path: "properties", "networkRuleBypassOptions"] = allowTrustedServices.value ? "AzureServices" : "None"
        }
        if let allowExports {
            body[path: "properties", "policies", "exportPolicy", "status"] = allowExports.value ? "enabled" : "disabled"
        }
        if let allowMetadataSearch { body[path: "properties", "metadataSearch"] = allowMetadataSearch.value ? "Enabled" : "Disabled" }
        if let endpointProtocol { body[path: "properties", "endpointProtocol"] = .string(endpointProtocol.rawValue) }
        if let regionalEndpoints { body[path: "properties", "regionalEndpoints"] = .string(regionalEndpoints.rawValue) }
        if let roleAssignmentMode { body[path: "properties", "roleAssignmentMode"] = .string(roleAssignmentMode.wire) }
        if let writableCacheRepos { body[path: "properties", "writableCacheRepos"] = .string(writableCacheRepos.rawValue) }
        if !tags.isEmpty { body["tags"] = ResourceText.tags(tags) }
    }
}

enum EndpointProtocol: String, Choice {
    case four = "IPv4"
    case both = "IPv4AndIPv6"
}

enum RoleAssignmentMode: String, Choice {
    case rbac
    case conditions = "rbac-abac"

    var wire: String { self == .rbac ? "LegacyRegistryPermissions" : "AbacRepositoryPermissions" }
}

enum NameScope: String, Choice {
    case unsecure = "Unsecure"
    case tenant = "TenantReuse"
    case subscription = "SubscriptionReuse"
    case group = "ResourceGroupReuse"
    case none = "NoReuse"
}

struct RegistryCreateCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "create", abstract: "Create a container registry.",
        discussion: "Example: outport acr create -n myregistry -g mygroup --sku Premium")
    static let table = TableLayout.registries

    @Option(name: [.customShort("n"), .long], help: "The name of the container registry: 5 to 50 lower-case letters and digits.")
    var name: String

    @Option(name: [.customShort("g"), .long], help: "Name of resource group.")
    var resourceGroup: String

    @Option(help: "The SKU of the container registry.")
    var sku: SKU

    @Option(name: [.customShort("l"), .long], help: "Location. That of the resource group by default.")
    var location: String?

    @Option(help: "Indicates whether or not zone redundancy should be enabled.")
    var zoneRedundancy: EnabledOrDisabled?

    @Option(help: "Whether the login server's name has a hash in it. Names are as they are asked for: only Unsecure is taken.")
    var dnlScope: NameScope?

    @Option(help: "Identity that opens --key-encryption-key. The server has no key vault and refuses.")
    var identity: String?

    @Option(help: "Key vault key to encrypt the registry with. The server has no key vault and refuses.")
    var keyEncryptionKey: String?

    @OptionGroup var settings: RegistrySettings
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        if settings.defaultAction != nil, sku != .premium {
            throw ManagementError("Network rules are only supported for managed registries in Premium SKU.")
        }
        if name.contains(where: { $0.isUppercase }) {
            throw ManagementError("argument error: Registry name must use only lowercase.")
        }
        if name.contains("-") { throw ManagementError("argument error: Registry name cannot contain dashes.") }
        var place = location.map(ResourceText.location)
        if place == nil { place = try await session.client.get(try session.groupPath(resourceGroup))["location"]?.stringValue }
        var body: JSONValue = [
            "location": .string(orNull: place), "sku": ["name": .string(sku.rawValue)], "properties": ["adminUserEnabled": false],
        ]
        if let dnlScope { body[path: "properties", "autoGeneratedDomainNameLabelScope"] = .string(dnlScope.rawValue) }
        if (identity == nil) != (keyEncryptionKey == nil) {
            throw .usage("Usage error: --identity and --key-encryption-key must be both supplied")
        }
        if let identity, let keyEncryptionKey {
            body["identity"] = ["type": "UserAssigned", "userAssignedIdentities": .object([identity: [:]])]
            body[path: "properties", "encryption"] = [
                "status": "enabled", "keyVaultProperties": ["keyIdentifier": .string(keyEncryptionKey)],
            ]
        }
        if let zoneRedundancy { body[path: "properties", "zoneRedundancy"] = .string(zoneRedundancy.rawValue) }
        settings.apply(to: &body, session)
        let path = try session.registryPath(name, in: resourceGroup)
        return ResourceShape.registry(try await session.client.put(path, body))
    }
}

struct RegistryShowCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Get the details of a container registry.",
        discussion: "Example: outport acr show -n myregistry --query loginServer -o tsv")
    static let table = TableLayout.registries

    @OptionGroup var registry: RegistryName
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        ResourceShape.registry(try await session.client.get(try await session.registryPath(registry.name, registry.group)))
    }
}

struct RegistryListCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List all the container registries under the current subscription.",
        discussion: "Example: outport acr list -o table")
    static let table = TableLayout.registries

    @OptionGroup var group: GroupOption
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        var path = try session.subscriptionPath()
        if let group = group.resourceGroup { path += "/resourceGroups/\(URLText.segment(group))" }
        return .array(try await session.client.list(path + "/providers/Microsoft.ContainerRegistry/registries").map(ResourceShape.registry))
    }
}

struct RegistryUpdateCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "update", abstract: "Update a container registry.",
        discussion: "Example: outport acr update -n myregistry --data-endpoint-enabled true")
    static let table = TableLayout.registries

    @OptionGroup var registry: RegistryName

    @Option(help: "The SKU of the container registry.")
    var sku: SKU?

    @Option(defaultAsFlag: ThreeState.yes, parsing: .next, help: "Enable registry-wide pull from unauthenticated clients.")
    var anonymousPullEnabled: ThreeState?

    @Option(help: "How much content the registry may hold, such as 500MiB or 20GiB; 'none' for no limit. Outport's own.")
    var storageQuota: StorageQuota?

    @Option(defaultAsFlag: ThreeState.yes, parsing: .next, help: "Refuse every write to the registry. Outport's own.")
    var readOnly: ThreeState?

    @OptionGroup var settings: RegistrySettings
    @OptionGroup var changes: GenericUpdate
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let path = try await session.registryPath(registry.name, registry.group)
        let current = try await session.client.get(path)
        if settings.defaultAction != nil, current[path: "sku", "name"]?.stringValue != SKU.premium.rawValue {
            throw ManagementError("Network rules are only supported for managed registries in Premium SKU.")
        }
        var body: JSONValue = [:]
        if let sku { body[path: "sku", "name"] = .string(sku.rawValue) }
        if let anonymousPullEnabled { body[path: "properties", "anonymousPullEnabled"] = .bool(anonymousPullEnabled.value) }
        if let storageQuota { body[path: "properties", "storageQuota"] = storageQuota.json }
        if let readOnly { body[path: "properties", "readOnly"] = .bool(readOnly.value) }
        settings.apply(to: &body, session)
        try changes.apply(to: &body, of: current)
        return ResourceShape.registry(try await session.client.patch(path, body))
    }
}

struct RegistryDeleteCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "delete", abstract: "Deletes a container registry.",
        discussion: "Example: outport acr delete -n myregistry --yes")

    @OptionGroup var registry: RegistryName
    @OptionGroup var consent: YesOption
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        try session.confirm("Are you sure you want to delete the registry '\(registry.name)'?", consent)
        try await session.client.delete(try await session.registryPath(registry.name, registry.group))
        return nil
    }
}
