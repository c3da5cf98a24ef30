// Network rules: from where a registry may be reached.

import ArgumentParser
import JSON

/// A change of a registry's list of addresses.
struct NetworkRuleTarget: ParsableArguments {
    @OptionGroup var registry: RegistryName

    @Option(help: "IPv4/IPv6 address or CIDR range.")
    var ipAddress: String

    func change(
        in session: ManagementSession, _ change: ([JSONValue]) -> [JSONValue]
    ) async throws(ManagementError) -> JSONValue {
        let path = try await session.registryPath(registry.name, registry.group)
        let rules = try NetworkRules.list(of: try await session.client.get(path))
        return NetworkRules.shown(
            try await session.client.patch(path, ["properties": ["networkRuleSet": ["ipRules": .array(change(rules))]]]))
    }
}

/// The rules of a registry in the form in which `az` prints them.
enum NetworkRules {
    static func list(of registry: JSONValue) throws(ManagementError) -> [JSONValue] {
        guard registry[path: "sku", "name"]?.stringValue == SKU.premium.rawValue else {
            throw ManagementError("Network rules are only supported for managed registries in Premium SKU.")
        }
        return registry[path: "properties", "networkRuleSet", "ipRules"]?.arrayValue ?? []
    }

    static func rules(_ rules: [JSONValue]) -> JSONValue {
        .array(rules.map { ["action": $0["action"] ?? "Allow", "ipAddressOrRange": $0["value"] ?? .null] })
    }

    static func shown(_ registry: JSONValue) -> JSONValue {
        let set = registry[path: "properties", "networkRuleSet"] ?? .null
        return [
            "name": registry["name"] ?? .null, "provisioningState": registry[path: "properties", "provisioningState"] ?? .null,
            "networkRuleSet": [
                "defaultAction": set["defaultAction"] ?? .null, "ipRules": rules(set["ipRules"]?.arrayValue ?? []),
                "virtualNetworkRules": [],
            ],
        ]
    }
}

struct NetworkRuleListCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List network rules.",
        discussion: "Example: outport acr network-rule list -n myregistry")

    @OptionGroup var registry: RegistryName
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let found = try await session.client.get(try await session.registryPath(registry.name, registry.group))
        return ["ipRules": NetworkRules.rules(try NetworkRules.list(of: found)), "virtualNetworkRules": []]
    }
}

struct NetworkRuleAddCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "add", abstract: "Add a network rule.",
        discussion:
            "Rules count once the default action is Deny: outport acr update -n myregistry --default-action Deny\n\nExample: outport acr network-rule add -n myregistry --ip-address 203.0.113.0/24"
    )

    @OptionGroup var rule: NetworkRuleTarget
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        try await rule.change(in: session) { $0 + [["action": "Allow", "value": .string(rule.ipAddress)]] }
    }
}

struct NetworkRuleRemoveCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "remove", abstract: "Remove a network rule.",
        discussion: "Example: outport acr network-rule remove -n myregistry --ip-address 203.0.113.0/24")

    @OptionGroup var rule: NetworkRuleTarget
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        try await rule.change(in: session) { $0.filter { $0["value"]?.stringValue != rule.ipAddress } }
    }
}
