// `outport identity federated-credential …`: which service accounts of which clusters an identity believes.

import ArgumentParser
import JSON

/// `outport identity federated-credential …`
struct FederatedCredentialCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "federated-credential", abstract: "Let pods of a connected cluster act as an identity.",
        subcommands: [Create.self, Show.self, Update.self, List.self, Delete.self])

    private static let shape = ResourceShape(
        skeleton: [
            "id": nil, "name": nil, "type": nil, "issuer": nil, "subject": nil, "audiences": nil, "systemData": nil,
        ], keepsTimes: true)

    /// `-n`, `--identity-name` and `-g`, as `az` has them.
    struct Place: ParsableArguments {
        @Option(help: "The name of the identity.")
        var identityName: String

        @Option(name: [.customShort("g"), .long], help: "Name of resource group.")
        var resourceGroup: String

        func path(_ session: ManagementSession, _ name: String? = nil) throws(ManagementError) -> String {
            let path =
                "\(try session.subscriptionPath())/resourceGroups/\(URLText.segment(resourceGroup))/providers/\(GroupedResources.identity)/"
                + "\(URLText.segment(identityName))/federatedIdentityCredentials"
            return name.map { "\(path)/\(URLText.segment($0))" } ?? path
        }
    }

    struct Create: ManagementCommand {
        static let configuration = CommandConfiguration(
            commandName: "create", abstract: "Believe one service account of a cluster.",
            discussion: """
                Example: outport identity federated-credential create -n web --identity-name puller -g mygroup \\
                --issuer https://kubernetes.default.svc --subject system:serviceaccount:web:default --cluster /subscriptions/…/plant
                """)
        @Option(name: [.customShort("n"), .long], help: "The name of the credential.")
        var name: String
        @OptionGroup var place: Place
        @Option(help: "The issuer of the cluster's service account tokens.")
        var issuer: String
        @Option(help: "The service account: system:serviceaccount:NAMESPACE:NAME.")
        var subject: String
        @Option(parsing: .upToNextOption, help: "The audience that tokens are made out to.")
        var audiences: [String] = ["api://AzureADTokenExchange"]
        @Option(help: "The id of the connected cluster, where several have the same issuer.")
        var cluster: String?
        @OptionGroup var global: GlobalOptions
        func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
            var properties: JSONValue = ["issuer": .string(issuer), "subject": .string(subject), "audiences": .strings(audiences)]
            if let cluster { properties["clusterId"] = .string(cluster) }
            return FederatedCredentialCommand.shape.shape(
                try await session.client.put(try place.path(session, name), ["properties": properties]))
        }
    }

    struct Show: ManagementCommand {
        static let configuration = CommandConfiguration(
            commandName: "show", abstract: "Show whom a credential believes.",
            discussion: "Example: outport identity federated-credential show -g mygroup --identity-name myidentity -n mycredential")
        @Option(name: [.customShort("n"), .long], help: "The name of the credential.")
        var name: String
        @OptionGroup var place: Place
        @OptionGroup var global: GlobalOptions
        func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
            FederatedCredentialCommand.shape.shape(try await session.client.get(try place.path(session, name)))
        }
    }

    struct Update: ManagementCommand {
        static let configuration = CommandConfiguration(
            commandName: "update", abstract: "Change whom a credential believes.",
            discussion: """
                Example: outport identity federated-credential update -g mygroup --identity-name myidentity -n web \\
                --subject system:serviceaccount:web:other
                """)
        @Option(name: [.customShort("n"), .long], help: "The name of the credential.")
        var name: String
        @OptionGroup var place: Place
        @Option(help: "The issuer of the cluster's service account tokens.")
        var issuer: String?
        @Option(help: "The service account: system:serviceaccount:NAMESPACE:NAME.")
        var subject: String?
        @Option(parsing: .upToNextOption, help: "The audience that tokens are made out to.")
        var audiences: [String] = []
        @OptionGroup var changes: GenericUpdate
        @OptionGroup var global: GlobalOptions
        func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
            let path = try place.path(session, name)
            let current = try await session.client.get(path)
            var body: JSONValue = ["properties": current["properties"] ?? [:]]
            if let issuer { body[path: "properties", "issuer"] = .string(issuer) }
            if let subject { body[path: "properties", "subject"] = .string(subject) }
            if !audiences.isEmpty { body[path: "properties", "audiences"] = .strings(audiences) }
            try changes.apply(to: &body, of: current)
            return FederatedCredentialCommand.shape.shape(try await session.client.put(path, body))
        }
    }

    struct List: ManagementCommand {
        static let configuration = CommandConfiguration(
            commandName: "list", abstract: "List whom an identity believes.",
            discussion: "Example: outport identity federated-credential list -g mygroup --identity-name myidentity")
        @OptionGroup var place: Place
        @OptionGroup var global: GlobalOptions
        func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
            FederatedCredentialCommand.shape.shape(try await session.client.list(try place.path(session)))
        }
    }

    struct Delete: ManagementCommand {
        static let configuration = CommandConfiguration(
            commandName: "delete", abstract: "Believe a service account no longer.",
            discussion: "Example: outport identity federated-credential delete -g mygroup --identity-name myidentity -n mycredential --yes")
        @Option(name: [.customShort("n"), .long], help: "The name of the credential.")
        var name: String
        @OptionGroup var place: Place
        @OptionGroup var consent: YesOption
        @OptionGroup var global: GlobalOptions
        func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
            try session.confirm("Are you sure you want to perform this operation?", consent)
            try await session.client.delete(try place.path(session, name))
            return nil
        }
    }
}
