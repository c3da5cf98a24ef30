// Shows who is signed in. None of it asks the server.

import ArgumentParser
import JSON

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

/// `outport account …`
struct AccountCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "account", abstract: "Show and choose subscriptions.",
        subcommands: [
            AccountShowCommand.self, AccountListCommand.self, AccountSetCommand.self, AccountListLocationsCommand.self,
            AccountGetAccessTokenCommand.self, AccountClearCommand.self, AccountTenantCommand.self, AccountSubscriptionCommand.self,
            AccountProfileCommand.self,
        ])
}

/// Subscriptions in the form in which `az account` prints them.
enum Accounts {
    /// A subscription as the server lists it; nil when it is not enabled.
    static func subscription(_ item: JSONValue) -> Profile.Subscription? {
        guard let id = item["subscriptionId"]?.stringValue else { return nil }
        let state = item["state"]?.stringValue ?? "Enabled"
        guard state == "Enabled" else { return nil }
        return Profile.Subscription(
            id: id, name: item["displayName"]?.stringValue ?? id, state: state, tenantID: item["tenantId"]?.stringValue ?? "")
    }

    /// Reads the subscriptions again and keeps them.
    static func refresh(_ session: ManagementSession) async throws(ManagementError) -> Profile {
        var (store, profile) = try self.profile(session)
        profile.subscriptions = try await session.client.list("/subscriptions").compactMap(subscription)
        if !profile.subscriptions.contains(where: { $0.id == profile.defaultSubscription }) {
            profile.defaultSubscription = profile.subscriptions.first?.id
        }
        try store.save(profile)
        return profile
    }

    static func list(_ profile: Profile) -> JSONValue {
        .array(profile.subscriptions.map { entry($0, profile, cloudKey: "cloudName") })
    }

    static func entry(_ subscription: Profile.Subscription, _ profile: Profile, cloudKey: String) -> JSONValue {
        let tenant = subscription.tenantID.isEmpty ? profile.tenantID : subscription.tenantID
        return [
            cloudKey: .string(profile.cloudName), "homeTenantId": .string(profile.tenantID), "id": .string(subscription.id),
            "isDefault": .bool(subscription.id == profile.defaultSubscription), "managedByTenants": [],
            "name": .string(subscription.name), "state": .string(subscription.state), "tenantId": .string(tenant),
            "user": ["name": .string(profile.accountName), "type": profile.username == nil ? "servicePrincipal" : "user"],
        ]
    }

    static func profile(_ session: ManagementSession) throws(ManagementError) -> (ProfileStore, Profile) {
        let kept = session.store
        let store = if let kept { kept } else { try ProfileStore.chosen(nil, environment: ProcessInfo.processInfo.environment) }
        guard let profile = try store.load() else { throw ManagementError("Please run 'outport login' to setup account.") }
        return (store, profile)
    }
}

/// `outport account show`
struct AccountShowCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Get the details of a subscription.",
        discussion: "Example: outport account show --query tenantId -o tsv")

    @Option(name: [.customShort("n"), .customShort("s"), .long], help: "Name or ID of subscription.")
    var name: String?

    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        Accounts.entry(try session.profile.subscription(name ?? global.subscription), session.profile, cloudKey: "environmentName")
    }
}

/// `outport account list`
struct AccountListCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "Get a list of subscriptions for the signed in account.",
        discussion: "Example: outport account list -o table")
    static let table = TableLayout.accounts

    @Flag(help: "List all subscriptions, rather than just 'Enabled' ones.")
    var all = false

    @Flag(help: "Retrieve up-to-date subscriptions from server.")
    var refresh = false

    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        guard refresh else { return Accounts.list(session.profile) }
        return Accounts.list(try await Accounts.refresh(session))
    }
}

/// `outport account set`
struct AccountSetCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "set", abstract: "Set a subscription to be the current active subscription.",
        discussion: "Example: outport account set -s mysubscription")

    @Option(name: [.customShort("n"), .customShort("s"), .long], help: "Name or ID of subscription.")
    var name: String?

    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        guard let wanted = name ?? global.subscription else { throw .usage("No subscription is named.", advice: "Add -s NAME_OR_ID.") }
        var (store, profile) = try Accounts.profile(session)
        profile.defaultSubscription = try profile.subscription(wanted).id
        try store.save(profile)
        return nil
    }
}

/// `outport account clear`
struct AccountClearCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "clear", abstract: "Clear all subscriptions from the local cache: forget the sign-in.",
        discussion: "Example: outport account clear")

    @OptionGroup var global: GlobalOptions

    func run() async throws {
        let console = StandardConsole()
        try await AccountListCommand.report(to: console) { () async throws(ManagementError) in
            try ProfileStore.chosen(global.profile, environment: ProcessInfo.processInfo.environment).remove()
        }
    }
}
