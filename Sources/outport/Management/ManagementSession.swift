// One command's sign-in, client and terminal.

import JSON

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

/// What a command works with while it runs.
struct ManagementSession: Sendable {
    let client: ManagementClient
    let profile: Profile
    let subscription: Profile.Subscription?
    let console: any Console
    let showsWarnings: Bool
    /// Seconds since 1970.
    let now: @Sendable () -> Int
    let transport: any ManagementTransport
    /// Where the sign-in is kept; `nil` in tests.
    var store: ProfileStore?

    init(
        client: ManagementClient, profile: Profile, subscription: Profile.Subscription?, console: any Console,
        transport: any ManagementTransport, showsWarnings: Bool = true,
        now: @escaping @Sendable () -> Int = { Int(Date().timeIntervalSince1970) }
    ) {
        self.client = client
        self.profile = profile
        self.subscription = subscription
        self.console = console
        self.transport = transport
        self.showsWarnings = showsWarnings
        self.now = now
    }

    /// Opens a session with the sign-in kept by `outport login`.
    static func open(_ global: GlobalOptions, _ console: any Console) async throws(ManagementError) -> ManagementSession {
        let store = try ProfileStore.chosen(global.profile, environment: ProcessInfo.processInfo.environment)
        guard let profile = try store.load() else {
            throw ManagementError("Please run 'outport login' to setup account.")
        }
        let subscription = global.subscription == nil && profile.subscriptions.isEmpty ? nil : try profile.subscription(global.subscription)
        let transport = HTTPTransport(trustFile: profile.trustFile)
        let now: @Sendable () -> Int = { Int(Date().timeIntervalSince1970) }
        let isVerbose = global.verbose || global.debug
        let client = ManagementClient(
            profile: profile, transport: transport, now: now,
            // A token that cannot be kept is fetched again by the next command; this one has what it needs.
            keep: { try? store.keepTokens(of: $0) },
            trace: { line in if isVerbose { console.note("DEBUG: \(line)") } })
        var session = ManagementSession(
            client: client, profile: profile, subscription: subscription, console: console, transport: transport,
            showsWarnings: !global.onlyShowErrors, now: now)
        session.store = store
        return session
    }

    /// The directory's client, which has a token of its own.
    func directory() throws(ManagementError) -> ManagementClient {
        guard let server = profile.directory else {
            throw ManagementError("This sign-in does not know where the directory is. Run 'outport login' again.")
        }
        var profile = profile
        (profile.server, profile.audience, profile.token) = (server, server, nil)
        return ManagementClient(profile: profile, transport: transport, now: now)
    }

    func close() async { await transport.shutdown() }

    func warn(_ text: String) {
        if showsWarnings { console.note("WARNING: \(text)") }
    }

    /// Asks for consent unless it was given with `--yes`.
    func confirm(_ question: String, _ consent: YesOption) throws(ManagementError) {
        if consent.yes { return }
        guard console.isInteractive else {
            throw ManagementError("Unable to prompt for confirmation as no tty available. Use --yes.")
        }
        while let answer = console.ask("\(question) (y/n): ") {
            switch answer.lowercased() {
            case "y": return
            case "n": throw ManagementError("Operation cancelled.")
            default: continue
            }
        }
        throw ManagementError("Operation cancelled.")
    }

    // MARK: - Paths

    func subscriptionPath() throws(ManagementError) -> String {
        guard let subscription else {
            throw ManagementError("This sign-in has no subscription. Run 'outport login' again once it has one.")
        }
        return "/subscriptions/\(URLText.segment(subscription.id))"
    }

    func groupPath(_ group: String) throws(ManagementError) -> String {
        "\(try subscriptionPath())/resourcegroups/\(URLText.segment(group))"
    }

    /// The place of a registry in a group, whether or not it is there yet.
    func registryPath(_ name: String, in group: String) throws(ManagementError) -> String {
        "\(try subscriptionPath())/resourceGroups/\(URLText.segment(group))"
            + "/providers/Microsoft.ContainerRegistry/registries/\(URLText.segment(name))"
    }

    // MARK: - Registries

    /// The name of a registry out of what was typed, which may be its login server.
    func registryName(_ text: String) throws(ManagementError) -> String {
        let badName = ManagementError("The registry name '\(text)' is not valid. It must be 5 to 50 letters and digits.")
        let parts = text.split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false)
        var name = String(parts.first ?? "")
        if parts.count == 2 {
            let suffix = "." + parts[1].lowercased()
            guard let known = profile.loginServerSuffix?.lowercased(), suffix == known else {
                throw ManagementError(
                    "The login server suffix of '\(text)' is not '\(profile.loginServerSuffix ?? "")', that of this server.",
                    advice: "Give the registry's name without a suffix.")
            }
            name = String(name.prefix { $0 != "-" })
            warn("Registry name is '\(name)'. The following suffix '\(text.dropFirst(name.count))' is automatically omitted.")
        }
        let isValid =
            (5...50).contains(name.utf8.count)
            && name.unicodeScalars.allSatisfy { scalar in
                switch scalar {
                case "a"..."z", "A"..."Z", "0"..."9": true
                default: false
                }
            }
        guard isValid else { throw badName }
        return name
    }

    /// The registry's id, found by its name in the whole subscription, as `az` finds it.
    func registryID(_ name: String) async throws(ManagementError) -> String {
        let type = "Microsoft.ContainerRegistry/registries"
        let found = try await client.list(
            "\(try subscriptionPath())/resources", query: [("$filter", "resourceType eq '\(type)'")]
        ).filter { $0["name"]?.stringValue?.lowercased() == name.lowercased() }
        guard let id = found.first?["id"]?.stringValue else {
            let place = subscription.map { "'\($0.name) (\($0.id))'" } ?? "the current subscription"
            throw ManagementError(
                "The resource with name '\(name)' and type '\(type)' could not be found in subscription \(place).",
                advice: "Run 'outport acr list' to see the registries there are.")
        }
        if found.count > 1 {
            throw ManagementError(
                "More than one resources with type '\(type)' are found with name '\(name)'.", advice: "Name the group with -g.")
        }
        return id
    }

    /// The path of a registry that is named with or without its group.
    func registryPath(_ text: String, _ group: GroupOption) async throws(ManagementError) -> String {
        let name = try registryName(text)
        if let group = group.resourceGroup { return try registryPath(name, in: group) }
        return try await registryID(name)
    }

    func registryPath(_ option: RegistryOption) async throws(ManagementError) -> String {
        try await registryPath(option.registry, option.group)
    }

    /// A registry and its path.
    func registry(_ option: RegistryOption) async throws(ManagementError) -> (path: String, body: JSONValue) {
        let path = try await registryPath(option)
        return (path, try await client.get(path))
    }

    /// The id of something that belongs to a registry, made of the id that the registry itself states.
    static func childID(_ registry: JSONValue, _ path: String, _ kind: String, _ name: String) -> String {
        "\(registry["id"]?.stringValue ?? path)/\(kind)/\(name)"
    }
}
