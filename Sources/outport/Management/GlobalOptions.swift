// The options every management command has, and those many of them share.

import ArgumentParser

/// `--output`, `--query` and the other options of every command.
struct GlobalOptions: ParsableArguments {
    @Option(name: [.customShort("o"), .long], help: "Output format.")
    var output: OutputFormat = .json

    @Option(help: ArgumentHelp("JMESPath query string. See http://jmespath.org/ for more information.", valueName: "jmespath"))
    var query: String?

    @Option(help: "Name or ID of subscription.")
    var subscription: String?

    @Option(help: "Sign-in to use, of those that 'outport account profile list' shows.")
    var profile: String?

    @Flag(help: "Only show errors, suppressing warnings.")
    var onlyShowErrors = false

    @Flag(help: "Show each request and the status of its answer.")
    var verbose = false

    @Flag(help: "The same as --verbose.")
    var debug = false
}

/// `-g`, where the group can be found out.
struct GroupOption: ParsableArguments {
    @Option(name: [.customShort("g"), .long], help: "Name of resource group.")
    var resourceGroup: String?
}

/// `-n` for a registry.
struct RegistryName: ParsableArguments {
    @Option(name: [.customShort("n"), .long], help: "The name of the container registry.")
    var name: String

    @OptionGroup var group: GroupOption
}

/// `-r` for the registry something belongs to.
struct RegistryOption: ParsableArguments {
    @Option(name: [.customShort("r"), .long], help: "The name of the container registry.")
    var registry: String

    @OptionGroup var group: GroupOption
}

/// `-r` for the registry whose policy is meant, which may also be written `-n`.
struct PolicyRegistry: ParsableArguments {
    @Option(
        name: [.customShort("r"), .customShort("n"), .customLong("registry"), .customLong("name")],
        help: "The name of the container registry.")
    var registry: String

    @OptionGroup var group: GroupOption

    var option: RegistryOption {
        var option = RegistryOption()
        (option.registry, option.group) = (registry, group)
        return option
    }
}

/// `-y`.
struct YesOption: ParsableArguments {
    @Flag(name: [.customShort("y"), .long], help: "Do not prompt for confirmation.")
    var yes = false
}

/// `true` or `false`, true when the option stands alone.
enum ThreeState: String, CaseIterable, CustomStringConvertible, ExpressibleByArgument, Sendable {
    case yes = "true"
    case no = "false"

    var description: String { rawValue }

    init?(argument: String) { self.init(rawValue: argument.lowercased()) }

    var value: Bool { self == .yes }
}

/// A choice that is recognised in any case and has one spelling on the wire.
protocol Choice: RawRepresentable, CaseIterable, ExpressibleByArgument, Sendable where RawValue == String {}

extension Choice {
    init?(argument: String) {
        guard let match = Self.allCases.first(where: { $0.rawValue.lowercased() == argument.lowercased() }) else { return nil }
        self = match
    }
}

enum SKU: String, Choice {
    case basic = "Basic"
    case standard = "Standard"
    case premium = "Premium"
}

enum TokenStatus: String, Choice { case enabled, disabled }

enum ParentProtocol: String, Choice { case http, https }

enum PasswordSlot: String, Choice {
    case first = "1"
    case second = "2"
}

enum ConnectedRegistryMode: String, Choice {
    case readOnly = "ReadOnly"
    case readWrite = "ReadWrite"
}

enum AllowOrDeny: String, Choice {
    case allow = "Allow"
    case deny = "Deny"
}

enum EnabledOrDisabled: String, Choice {
    case enabled = "Enabled"
    case disabled = "Disabled"
}
