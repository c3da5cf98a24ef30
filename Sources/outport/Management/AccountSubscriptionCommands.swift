// Locations, tenants, tokens and further subscriptions.

import ArgumentParser
import JSON

/// `outport account list-locations`
struct AccountListLocationsCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "list-locations", abstract: "List supported regions for the current subscription.",
        discussion: "Example: outport account list-locations -o table")

    @Option(defaultAsFlag: ThreeState.yes, parsing: .next, help: "Whether to include extended locations, of which there are none.")
    var includeExtendedLocations: ThreeState?

    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        .array(try await session.client.list("\(try session.subscriptionPath())/locations"))
    }
}

/// `outport account get-access-token`
struct AccountGetAccessTokenCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "get-access-token", abstract: "Get a token for the server's resource manager, or for something else.",
        discussion: "Example: outport account get-access-token --query accessToken -o tsv")

    enum Kind: String, Choice {
        case arm
        case directory = "ms-graph"
    }

    @Option(name: [.customShort("n"), .customShort("s"), .long], help: "Name or ID of subscription.")
    var name: String?

    @Option(help: "What the token is for, such as https://containerregistry.azure.net.")
    var resource: String?

    @Option(parsing: .upToNextOption, help: "The same as a scope, such as https://containerregistry.azure.net/.default.")
    var scope: [String] = []

    @Option(help: "The same by a known name: arm or ms-graph.")
    var resourceType: Kind?

    @Option(name: [.customShort("t"), .long], help: "Tenant ID for which the token is acquired.")
    var tenant: String?

    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        guard [resource == nil, scope.isEmpty, resourceType == nil].count(where: { !$0 }) <= 1 else {
            throw .usage("Give one of --resource, --scope and --resource-type.")
        }
        if let tenant, !session.profile.tenantID.isEmpty, tenant.lowercased() != session.profile.tenantID.lowercased() {
            throw ManagementError("This sign-in is for the tenant '\(session.profile.tenantID)'.", advice: "Leave --tenant out.")
        }
        let subscription = if let name { try session.profile.subscription(name).id } else { session.subscription?.id }
        let token: Profile.AccessToken
        if let resource = resource ?? scope.first {
            token = try await session.accessToken(for: resource)
        } else if resourceType == .directory {
            token = try await session.directory().accessToken()
        } else {
            token = try await session.client.accessToken()
        }
        return [
            "accessToken": .string(token.value), "expires_on": .integer(token.expires),
            "expiresOn": .string(UTCTime.text(ofSeconds: token.expires)), "subscription": .string(orNull: subscription),
            "tenant": .string(session.profile.tenantID), "tokenType": "Bearer",
        ]
    }
}

/// `outport account tenant`
struct AccountTenantCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tenant", abstract: "Manage tenant.", subcommands: [List.self])

    struct List: ManagementCommand {
        static let configuration = CommandConfiguration(
            commandName: "list", abstract: "Get the tenants for your account.",
            discussion: "Example: outport account tenant list")

        @OptionGroup var global: GlobalOptions

        func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
            .array(try await session.client.list("/tenants"))
        }
    }
}

/// `outport account subscription …`
struct AccountSubscriptionCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "subscription", abstract: "Manage subscriptions.",
        subcommands: [Create.self, Rename.self, Cancel.self, List.self, Show.self])

    struct Create: ManagementCommand {
        static let configuration = CommandConfiguration(
            commandName: "create", abstract: "Create a subscription, of which you are Owner.",
            discussion: "Example: outport account subscription create --name Plants")

        @Option(name: [.customShort("n"), .long, .customLong("display-name")], help: "Name of the subscription.")
        var name: String

        @Option(help: "Asking again under the same alias makes no second subscription. The name by default.")
        var alias: String?

        @OptionGroup var global: GlobalOptions

        func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
            let path = "/providers/Microsoft.Subscription/aliases/\(URLText.segment(alias ?? name))"
            let made = try await session.client.put(path, ["properties": ["displayName": .string(name), "workload": "Production"]])
            _ = try await Accounts.refresh(session)
            guard let id = made[path: "properties", "subscriptionId"]?.stringValue else { return made }
            return try await session.client.get("/subscriptions/\(URLText.segment(id))")
        }
    }

    struct Rename: ManagementCommand {
        static let configuration = CommandConfiguration(
            commandName: "rename", abstract: "Rename a subscription.",
            discussion: "Example: outport account subscription rename --id 00000000-0000-0000-0000-000000000000 --name Plant")

        @Option(name: [.long, .customLong("subscription-id")], help: "Name or ID of the subscription.")
        var id: String

        @Option(name: [.customShort("n"), .long], help: "The new name.")
        var name: String

        @OptionGroup var global: GlobalOptions

        func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
            let id = try session.profile.subscription(id).id
            let path = "/subscriptions/\(URLText.segment(id))"
            try await session.client.post("\(path)/providers/Microsoft.Subscription/rename", ["subscriptionName": .string(name)])
            _ = try await Accounts.refresh(session)
            return try await session.client.get(path)
        }
    }

    struct Cancel: ManagementCommand {
        static let configuration = CommandConfiguration(
            commandName: "cancel", abstract: "Delete an empty subscription.",
            discussion: "Example: outport account subscription cancel --id 00000000-0000-0000-0000-000000000000 --yes")

        @Option(name: [.long, .customLong("subscription-id")], help: "Name or ID of the subscription.")
        var id: String

        @OptionGroup var consent: YesOption

        @OptionGroup var global: GlobalOptions

        func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
            let subscription = try session.profile.subscription(id)
            try session.confirm("Are you sure you want to delete the subscription '\(subscription.name)'?", consent)
            try await session.client.post("/subscriptions/\(URLText.segment(subscription.id))/providers/Microsoft.Subscription/cancel")
            _ = try await Accounts.refresh(session)
            return nil
        }
    }

    struct List: ManagementCommand {
        static let configuration = CommandConfiguration(
            commandName: "list", abstract: "List the subscriptions of this sign-in.",
            discussion: "Example: outport account subscription list -o table")

        @OptionGroup var global: GlobalOptions

        func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
            .array(try await session.client.list("/subscriptions"))
        }
    }

    struct Show: ManagementCommand {
        static let configuration = CommandConfiguration(
            commandName: "show", abstract: "Show a subscription.",
            discussion: "Example: outport account subscription show --id 00000000-0000-0000-0000-000000000000")

        @Option(name: [.long, .customLong("subscription-id")], help: "Name or ID of the subscription.")
        var id: String

        @OptionGroup var global: GlobalOptions

        func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
            try await session.client.get("/subscriptions/\(URLText.segment(try session.profile.subscription(id).id))")
        }
    }
}
