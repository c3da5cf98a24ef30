// `outport provider …`: the namespaces of resources, which scripts register before they use them.

import ArgumentParser
import JSON

/// `outport provider …`
struct ProviderCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "provider", abstract: "Manage resource providers.",
        subcommands: [List.self, Show.self, Register.self, Unregister.self])

    /// `-n`
    struct Namespace: ParsableArguments {
        @Option(
            name: [.customShort("n"), .customLong("namespace")], help: "The resource provider namespace, such as Microsoft.Kubernetes.")
        var name: String

        func path(_ session: ManagementSession) throws(ManagementError) -> String {
            "\(try session.subscriptionPath())/providers/\(URLText.segment(name))"
        }
    }

    static let shape = ResourceShape(skeleton: [
        "id": nil, "namespace": nil, "registrationState": nil, "registrationPolicy": nil, "providerAuthorizationConsentState": nil,
        "resourceTypes": [
            [
                "aliases": nil, "apiProfiles": nil, "apiVersions": nil, "capabilities": nil, "defaultApiVersion": nil,
                "locationMappings": nil, "locations": nil, "properties": nil, "resourceType": nil, "zoneMappings": nil,
            ]
        ],
    ])

    static let providers = TableLayout { result in
        (result.arrayValue ?? [result]).map { item in
            [
                ("Namespace", item["namespace"]?.stringValue ?? ""),
                ("RegistrationPolicy", item["registrationPolicy"]?.stringValue ?? ""),
                ("RegistrationState", item["registrationState"]?.stringValue ?? ""),
            ]
        }
    }

    struct List: ManagementCommand {
        static let configuration = CommandConfiguration(
            commandName: "list", abstract: "Gets all resource providers for a subscription.",
            discussion: "Example: outport provider list -o table")
        static let table = ProviderCommand.providers
        @Option(help: "Accepted; nothing more is told of providers.")
        var expand: String?
        @OptionGroup var global: GlobalOptions
        func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
            .array(try await session.client.list("\(try session.subscriptionPath())/providers").map(ProviderCommand.shape.whole))
        }
    }

    struct Show: ManagementCommand {
        static let configuration = CommandConfiguration(
            commandName: "show", abstract: "Gets the specified resource provider.",
            discussion: "Example: outport provider show -n Microsoft.ContainerRegistry --query registrationState -o tsv")
        static let table = ProviderCommand.providers
        @OptionGroup var namespace: Namespace
        @Option(help: "Accepted; nothing more is told of providers.")
        var expand: String?
        @OptionGroup var global: GlobalOptions
        func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
            ProviderCommand.shape.whole(try await session.client.get(try namespace.path(session)))
        }
    }

    struct Register: ManagementCommand {
        static let configuration = CommandConfiguration(
            commandName: "register", abstract: "Register a provider.",
            discussion: "Example: outport provider register --namespace Microsoft.Kubernetes --wait")
        @OptionGroup var namespace: Namespace
        @Flag(help: "Wait for the registration to finish. It has, when this returns.")
        var wait = false
        @Option(name: [.customShort("m"), .long], help: "Refused: there are no management groups here.")
        var managementGroupId: String?
        @Flag(name: [.customShort("c"), .long], help: "Accepted; there are no permissions to consent to.")
        var consentToPermissions = false
        @Flag(help: .hidden)
        var acceptTerms = false
        @OptionGroup var global: GlobalOptions
        func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
            guard managementGroupId == nil else {
                throw .usage(
                    "There are no management groups here.", advice: "Register the provider in each subscription with --subscription.")
            }
            try await session.client.post(try namespace.path(session) + "/register")
            return nil
        }
    }

    struct Unregister: ManagementCommand {
        static let configuration = CommandConfiguration(
            commandName: "unregister", abstract: "Unregister a provider of which the subscription has no resources.",
            discussion: "Example: outport provider unregister --namespace Microsoft.Kubernetes")
        @OptionGroup var namespace: Namespace
        @Flag(help: "Wait for unregistration to finish. It has, when this returns.")
        var wait = false
        @OptionGroup var global: GlobalOptions
        func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
            try await session.client.post(try namespace.path(session) + "/unregister")
            return nil
        }
    }
}
