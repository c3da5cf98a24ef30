// Policies of a registry: `outport acr config …`

import ArgumentParser
import JSON

/// Reads and changes one policy of a registry.
enum Policy {
    static func show(
        _ name: String, of registry: RegistryOption, _ session: ManagementSession
    ) async throws(ManagementError) -> JSONValue {
        shown(name, try await session.client.get(try await session.registryPath(registry)))
    }

    static func update(
        _ name: String, _ change: JSONValue, of registry: RegistryOption, _ session: ManagementSession
    ) async throws(ManagementError) -> JSONValue {
        let body: JSONValue = ["properties": ["policies": .object([name: change])]]
        return shown(name, try await session.client.patch(try await session.registryPath(registry), body))
    }

    private static func shown(_ name: String, _ registry: JSONValue) -> JSONValue {
        var policy = registry[path: "properties", "policies", name] ?? .null
        // `az` shows the member although no server has to send it.
        if name.hasPrefix("retention") || name.hasPrefix("softDelete"), case .object(var members) = policy {
            members["lastUpdatedTime"] = members["lastUpdatedTime"] ?? .null
            policy = .object(members)
        }
        return policy
    }
}

/// `--status`.
enum PolicyStatus: String, ExpressibleByArgument, CaseIterable {
    case enabled, disabled
}

struct RetentionShowCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Show the configured retention policy.",
        discussion: "Example: outport acr config retention show -r myregistry")

    @OptionGroup var registry: RegistryOption
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        try await Policy.show("retentionPolicy", of: registry, session)
    }
}

struct RetentionUpdateCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "update", abstract: "Update the retention policy.",
        discussion: "Example: outport acr config retention update -r myregistry --status enabled --days 30 --type UntaggedManifests")

    enum Kind: String, ExpressibleByArgument, CaseIterable { case untaggedManifests = "UntaggedManifests" }

    @OptionGroup var registry: RegistryOption

    @Option(help: "Indicates whether the retention policy is enabled.")
    var status: PolicyStatus?

    @Option(help: "The number of days to retain an untagged manifest after which it gets purged (0 to 365).")
    var days: Int = 7

    @Option(help: "The type of retention policy.")
    var type: Kind

    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        guard (0...365).contains(days) else { throw ManagementError("Invalid value for days: should be from 0 to 365") }
        var change: JSONValue = ["days": .integer(days)]
        if let status { change["status"] = .string(status.rawValue) }
        return try await Policy.update("retentionPolicy", change, of: registry, session)
    }
}

struct ArmAuthenticationShowCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Show whether tokens of the resource manager open the registry.",
        discussion: "Example: outport acr config authentication-as-arm show -r myregistry")

    @OptionGroup var registry: PolicyRegistry
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        try await Policy.show("azureADAuthenticationAsArmPolicy", of: registry.option, session)
    }
}

struct ArmAuthenticationUpdateCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "update", abstract: "Update whether tokens of the resource manager open the registry.",
        discussion: "Example: outport acr config authentication-as-arm update -r myregistry --status disabled")

    @OptionGroup var registry: PolicyRegistry

    @Option(help: "Indicates whether authentication-as-arm is enabled.")
    var status: PolicyStatus

    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        try await Policy.update("azureADAuthenticationAsArmPolicy", ["status": .string(status.rawValue)], of: registry.option, session)
    }
}

struct SoftDeleteShowCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Show the soft-delete policy.",
        discussion: "Example: outport acr config soft-delete show -r myregistry")

    @OptionGroup var registry: RegistryOption
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        try await Policy.show("softDeletePolicy", of: registry, session)
    }
}

struct ContentTrustShowCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Show the configured content-trust policy.",
        discussion: "Example: outport acr config content-trust show -r myregistry")

    @OptionGroup var registry: PolicyRegistry
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        try await Policy.show("trustPolicy", of: registry.option, session)
    }
}

struct ContentTrustUpdateCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "update", abstract: "Update the content-trust policy, which can only be disabled.",
        discussion: "Example: outport acr config content-trust update -r myregistry --status disabled --yes")

    @OptionGroup var registry: PolicyRegistry

    @Option(help: "Indicates whether content-trust is enabled. The server has none, so only 'disabled' is taken.")
    var status: PolicyStatus

    @OptionGroup var consent: YesOption
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        try session.confirm("Are you sure you want to update content trust?", consent)
        return try await Policy.update("trustPolicy", ["status": .string(status.rawValue)], of: registry.option, session)
    }
}
