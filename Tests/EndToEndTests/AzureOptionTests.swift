// The commands and options of `az`, taken from its own table of commands, beside those of outport: what differs is listed here with
// its reason, and a difference that is not listed, or is listed and no more, fails.

import Foundation
import JSON
import Testing

@Suite struct AzureOptionTests {
    /// Prints every command of these groups with its options; a positional argument has none.
    private static let script = """
        import json, sys
        from azure.cli.core import get_default_cli
        from azure.cli.core.file_util import create_invoker_and_load_cmds_and_args
        cli = get_default_cli()
        create_invoker_and_load_cmds_and_args(cli)
        commands = {}
        for name, command in cli.invocation.commands_loader.command_table.items():
            if name.split()[0] not in sys.argv[1:]: continue
            arguments = []
            for argument in command.arguments.values():
                settings = argument.type.settings
                if "IgnoreAction" in str(settings.get("action")): continue
                arguments.append([o if isinstance(o, str) else o.target for o in settings.get("options_list") or []])
            commands[name] = arguments
        print("\\n" + json.dumps(commands))
        """

    private static let groups = [
        "acr", "ad", "role", "identity", "aks", "account", "group", "login", "logout", "provider", "resource", "rest",
    ]

    /// Commands that `az` has and outport has not, by their beginning.
    private static let absent: [String: String] = [
        "account lock": "locks of resources are not kept; images have locks of their own",
        "account management-group": "there are no groups above subscriptions",
        "acr agentpool": "the server builds nothing", "acr build": "the server builds nothing", "acr pack": "the server builds nothing",
        "acr run": "the server builds nothing", "acr task": "the server builds nothing", "acr taskrun": "the server builds nothing",
        "acr artifact-streaming": "a feature of Azure's own engines",
        "acr encryption rotate-key": "az itself refuses it where there is no key vault, which is here",
        "acr helm": "repositories of Helm 2, which Azure has ended; charts are artifacts",
        "acr private-endpoint-connection": "addresses are kept apart with network rules and --management-listen",
        "acr private-link-resource": "addresses are kept apart with network rules and --management-listen",
        "ad app federated-credential": "identities believe clusters: identity federated-credential",
        "ad app permission": "there are no other applications to have permissions at",
        "aks approuting": "the server runs no clusters", "aks browse": "the server runs no clusters",
        "aks check-acr": "outport check --image, which needs no image from elsewhere", "aks command": "the server runs no clusters",
        "aks connection": "the server runs no clusters", "aks disable-addons": "the server runs no clusters",
        "aks enable-addons": "the server runs no clusters", "aks get-upgrades": "the server runs no clusters",
        "aks get-versions": "the server runs no clusters", "aks identity-binding": "the server runs no clusters",
        "aks install-cli": "kubectl comes from elsewhere", "aks install-desktop": "a program of Azure's own",
        "aks machine": "the server runs no clusters", "aks maintenanceconfiguration": "the server runs no clusters",
        "aks mesh": "the server runs no clusters", "aks namespace": "the server runs no clusters",
        "aks nodepool": "the server runs no clusters", "aks oidc-issuer": "the server runs no clusters",
        "aks operation-abort": "the server runs no clusters", "aks remove-dev-spaces": "ended by Azure",
        "aks rotate-certs": "the server runs no clusters", "aks safeguards": "the server runs no clusters",
        "aks scale": "the server runs no clusters", "aks snapshot": "the server runs no clusters",
        "aks start": "the server runs no clusters",
        "aks stop": "the server runs no clusters", "aks trustedaccess": "the server runs no clusters",
        "aks update-credentials": "a kubelet identity has its own credential: node credential-provider install",
        "aks upgrade": "the server runs no clusters", "aks use-dev-spaces": "ended by Azure",
        "group deployment": "there are no templates", "group export": "there are no templates",
        "group lock": "locks of resources are not kept; images have locks of their own",
        "identity list-operations": "a list of Azure's own",
        "identity list-resources": "roles say what an identity may reach: role assignment list",
        "provider operation": "role definition list shows the actions there are",
        "provider permission": "role definition list shows the actions there are", "resource link": "resources have no links",
        "resource lock": "locks of resources are not kept; images have locks of their own",
        "resource move": "a resource stays in its group",
        "role assignment list-changelogs": "the server's log has every change",
        "role assignment update": "an assignment is made anew: nothing of it can change", "role definition create": "no custom roles",
        "role definition delete": "no custom roles", "role definition update": "no custom roles",
        "role deny-assignment": "no denials, roles only",
    ]

    /// Options that `az` has and outport has not: by command, or everywhere.
    private static let withoutOptions: [String: (options: Set<String>, reason: String)] = [
        "*": (
            ["--acquire-policy-token", "--change-reference"],
            "of the policies of a company's cloud: they are sent along with every change, and no server of ours asks for them"
        ),
        "acr check-health": (["--vnet"], "there are no private endpoints"),
        "acr create": (["--workspace"], "a log workspace of Azure's; logs are the server's own"),
        "acr network-rule add": (["--subnet", "--vnet-name"], "rules are by address: the server knows no virtual networks"),
        "acr network-rule remove": (["--subnet", "--vnet-name"], "rules are by address: the server knows no virtual networks"),
        "ad sp create-for-rbac": (["--service-management-reference"], "a number in a company's service tree"),
        "ad app create": (
            [
                "--app-roles", "--enable-access-token-issuance", "--enable-id-token-issuance", "--end-date", "--identifier-uris",
                "--is-fallback-public-client", "--key-display-name", "--key-type", "--key-usage", "--key-value", "--optional-claims",
                "--public-client-redirect-uris", "--requested-access-token-version", "--required-resource-accesses",
                "--service-management-reference", "--start-date", "--web-home-page-url", "--web-redirect-uris",
            ],
            "an application has a name and credentials: nothing signs in to it. Certificates are given with ad app credential reset --cert"
        ),
        "ad app update": (
            [
                "--app-roles", "--enable-access-token-issuance", "--enable-id-token-issuance", "--end-date", "--identifier-uris",
                "--is-fallback-public-client", "--key-display-name", "--key-type", "--key-usage", "--key-value", "--optional-claims",
                "--public-client-redirect-uris", "--requested-access-token-version", "--required-resource-accesses",
                "--service-management-reference", "--start-date", "--web-home-page-url", "--web-redirect-uris",
            ],
            "an application has a name and credentials: nothing signs in to it. Certificates are given with ad app credential reset --cert"
        ),
        "identity update": (["--isolation-scope", "--resource-restriction"], "the server is in one region"),
        "aks delete": (["--if-match", "--if-none-match"], "records have no ETag"),
        "aks get-credentials": (["--format"], "the kubeconfig is the recorded one"),
        "group delete": (["--force-deletion-types", "-f"], "kinds of machines, which there are none of"),
        "identity create": (["--resource-restriction"], "a preview of Azure's"),
        "identity federated-credential create": (
            ["--claims-matching-expression-value", "--claims-matching-expression-version", "--cme-value", "--cme-version"],
            "a subject is named whole"
        ),
        "identity federated-credential update": (
            ["--claims-matching-expression-value", "--claims-matching-expression-version", "--cme-value", "--cme-version"],
            "a subject is named whole"
        ),
        "identity federated-credential list": (["--max-items", "--next-token", "--skiptoken", "--top"], "lists are read to their end"),
        "identity list": (["--max-items", "--next-token"], "lists are read to their end"),
        "login": (
            [
                "--claims-challenge", "--client-id", "--identity", "--object-id", "--resource-id", "--scope",
                "--skip-sub",
                "--skip-subscription-discovery", "--use-cert-sn-issuer", "-i", "-s",
            ], "ways to sign in that need a machine of Azure's, or other servers than this one"
        ),
    ]

    /// Commands of which only some options have a meaning.
    private static let recordsOnly: Set<String> = ["aks create", "aks update"]

    /// Options that outport has and `az` has not: by command, or everywhere.
    private static let own: [String: (options: Set<String>, reason: String)] = [
        "*": (["--profile", "--subscription"], "several sign-ins; and one way of naming the subscription"),
        "acr check-health": (["--username", "-u", "--password", "-p", "--suffix", "--resource-group", "-g"], "to check as somebody else"),
        "acr config soft-delete show": (["--resource-group", "-g"], "as everywhere"),
        "acr config soft-delete update": (["--resource-group", "-g"], "as everywhere"),
        "acr connected-registry create": (
            ["--budget", "--on-demand", "--priorities", "--serve-after-removal"],
            "how much may move, and what first; pulls before it has moved; how long is served once it ends"
        ),
        "acr connected-registry update": (
            ["--budget", "--on-demand", "--priorities", "--serve-after-removal"],
            "how much may move, and what first; pulls before it has moved; how long is served once it ends"
        ),
        "acr manifest": (["--resource-group", "-g"], "as everywhere"),
        "acr repository list-deleted": (["--resource-group", "-g"], "as everywhere"),
        "acr token create": (["--days"], "an older name of --expiration-in-days"),
        "acr update": (["--read-only", "--storage-quota"], "a quota, and a switch against writes"),
        "ad sp credential reset": (["--name", "-n"], "which the documents still show"),
        "ad sp update": (["--account-enabled"], "the one thing that is updated"),
        "ad user create": (["--directory-administrator"], "who may do everything"),
        "identity federated-credential create": (["--cluster"], "where several clusters have the same issuer"),
        "login": (["--ca", "--server"], "az has clouds for that"),
        "resource wait": (["--latest-include-preview", "-v"], "as in the other resource commands"),
        "role assignment create": (["--resource-group", "-g"], "as in the other role commands"),
    ]

    /// What every command of either has.
    private static let common: Set<String> = [
        "-o", "--output", "--query", "--only-show-errors", "--verbose", "--debug", "-h", "--help", "--version",
    ]

    @Test("A4 every command of az, and each of its options, is one of outport's or is listed with a reason")
    func options() async throws {
        try await withOwnFiles { box in
            let az = try await command(Program.package + "/Scripts/install-azure-cli", [], deadline: .seconds(600)).succeeded().trimmed
            let printed = try await command(
                az.replacing("/bin/az", with: "/bin/python"), [try box.file("table.py", Self.script)] + Self.groups,
                environment: ["AZURE_CONFIG_DIR": try box.newFolder("azure"), "AZURE_CORE_COLLECT_TELEMETRY": "no"], deadline: .seconds(900)
            ).succeeded().output
            let table = try JSONValue(parsing: String(try #require(printed.split(separator: "\n").last { $0.hasPrefix("{") })))
            let theirs = try #require(table.objectValue).mapValues { arguments in
                (
                    options: Set(arguments.arrayValue?.flatMap { $0.arrayValue?.compactMap(\.stringValue) ?? [] } ?? []),
                    hasPositional: arguments.arrayValue?.contains { $0.arrayValue?.isEmpty == true } == true
                )
            }
            #expect(theirs.count > 300)
            let help = try JSONValue(parsing: try await command(Program.outport, ["--experimental-dump-help"]).succeeded().output)
            var ours: [String: (options: Set<String>, hasPositional: Bool)] = [:]
            Self.commands(help["command"] ?? .null, [], &ours)
            #expect(ours.count > 150)

            for name in theirs.keys.sorted() where ours[name] == nil {
                let reasons = Self.absent.keys.filter { name == $0 || name.hasPrefix($0 + " ") }
                #expect(!reasons.isEmpty, "az \(name) is neither a command of outport nor listed")
            }
            for entry in Self.absent.keys.sorted() {
                let matched = theirs.keys.filter { $0 == entry || $0.hasPrefix(entry + " ") }
                #expect(!matched.isEmpty, "'\(entry)' is listed, and no command of az")
                #expect(!matched.contains { ours[$0] != nil }, "'\(entry)' is listed, and a command of outport")
            }
            for (name, command) in ours.sorted(by: { $0.key < $1.key }) {
                guard let other = theirs[name] else { continue }
                let missing = other.options.subtracting(command.options).subtracting(Self.common)
                let listed = Self.withoutOptions[name]?.options ?? []
                if !Self.recordsOnly.contains(name) {
                    #expect(
                        missing.subtracting(Self.withoutOptions["*"]?.options ?? []) == listed,
                        "az \(name): missing \(missing.sorted()), listed \(listed.sorted())")
                }
                let group = name.split(separator: " ").prefix(2).joined(separator: " ")
                let allowed = [name, group, "*"].compactMap { Self.own[$0]?.options }.reduce(into: Self.common) { $0.formUnion($1) }
                let added = command.options.subtracting(other.options).subtracting(allowed)
                #expect(added.isEmpty, "outport \(name) has \(added.sorted()), which az has not")
                #expect(command.hasPositional == other.hasPositional, "\(name): a name without an option")
            }
            for (name, entry) in Self.own where name != "*" {
                let commands = ours.filter { $0.key == name || $0.key.hasPrefix(name + " ") }
                #expect(commands.contains { $0.value.options.isSuperset(of: entry.options) }, "\(name) \(entry) is listed, and not there")
            }
        }
    }

    /// The commands of a tree of help with their options.
    private static func commands(_ tree: JSONValue, _ words: [String], _ found: inout [String: (options: Set<String>, hasPositional: Bool)])
    {
        let children = (tree["subcommands"]?.arrayValue ?? []).filter { $0["commandName"] != "help" }
        for child in children { self.commands(child, words + [child["commandName"]?.stringValue ?? ""], &found) }
        guard children.isEmpty else { return }
        var options: Set<String> = []
        var hasPositional = false
        for argument in tree["arguments"]?.arrayValue ?? [] {
            if argument["kind"] == "positional" { hasPositional = true }
            for name in argument["names"]?.arrayValue ?? [] {
                options.insert((name["kind"] == "long" ? "--" : "-") + (name["name"]?.stringValue ?? ""))
            }
        }
        found[words.joined(separator: " ")] = (options, hasPositional)
    }
}
