// Signs in and out.

import ArgumentParser
import JSON

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

/// `outport login`: finds the server's addresses, gets a token, lists subscriptions and keeps the sign-in.
struct LoginCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "login", abstract: "Sign in to a parent with a service principal.",
        discussion: "The sign-in is kept in $OUTPORT_CONFIG_DIR or ~/.config/outport, readable by its owner only.")

    @Flag(help: "Sign in with a service principal.")
    var servicePrincipal = false

    @Option(name: [.customShort("u"), .long], help: "Service principal client ID.")
    var username: String

    @Option(name: [.customShort("p"), .long], parsing: .unconditional, help: "Service principal secret.")
    var password: String

    @Option(name: [.customShort("t"), .long], help: "The Microsoft Entra tenant, by its ID.")
    var tenant: String

    @Option(help: "Address of the parent, https://HOST:PORT. The last one by default.")
    var server: String?

    @Option(help: "File with the CA of the parent in PEM. The system's roots by default.")
    var ca: String?

    @Flag(help: "Support accessing tenants without subscriptions.")
    var allowNoSubscriptions = false

    @OptionGroup var global: GlobalOptions

    func run() async throws {
        let console = StandardConsole()
        try await AccountListCommand.report(to: console) { () async throws(ManagementError) in
            let environment = ProcessInfo.processInfo.environment
            let renderer = try AccountListCommand.renderer(global, console)
            let profile = try await signIn(
                store: ProfileStore(environment: environment), environment: environment, transport: HTTPTransport.init(trustFile:))
            console.write(try renderer.render(Accounts.list(profile)))
        }
    }

    func signIn(
        store: ProfileStore, environment: [String: String] = [:], transport makeTransport: (String?) -> any ManagementTransport,
        now: @escaping @Sendable () -> Int = { Int(Date().timeIntervalSince1970) }
    ) async throws(ManagementError) -> Profile {
        guard servicePrincipal else {
            throw .usage("Only service principals can sign in here.", advice: "Add --service-principal.")
        }
        // A profile that cannot be read is about to be replaced.
        let previous = try? store.load()
        guard let address = server ?? environment["OUTPORT_SERVER"] ?? previous?.server else {
            throw .usage("No server is named.", advice: "Add --server https://HOST:PORT.")
        }
        let server = try SignIn.server(address)
        let certificates = try ca.map(Self.certificates)
        let keepsTrust = certificates == nil && previous?.server == server
        let transport = makeTransport(ca ?? (keepsTrust ? previous?.trustFile : nil))
        let outcome: Result<Profile, ManagementError>
        do {
            outcome = .success(try await discover(server, transport, now))
        } catch {
            outcome = .failure(error)
        }
        await transport.shutdown()
        var profile = try outcome.get()
        if let certificates {
            profile.trustFile = try store.keep(certificates: certificates)
        } else if keepsTrust {
            profile.trustFile = previous?.trustFile
        }
        try store.save(profile)
        return profile
    }

    private func discover(
        _ server: String, _ transport: any ManagementTransport, _ now: @escaping @Sendable () -> Int
    ) async throws(ManagementError) -> Profile {
        let signIn = SignIn(transport: transport, now: now)
        let endpoints = try await signIn.discover(server: server, tenant: tenant)
        var profile = Profile(
            server: server, cloudName: endpoints.cloudName, audience: endpoints.audience, tokenEndpoint: endpoints.tokenEndpoint,
            loginServerSuffix: endpoints.loginServerSuffix, tenantID: tenant, clientID: username, clientSecret: password)
        profile.token = try await signIn.token(for: profile)
        let client = ManagementClient(profile: profile, transport: transport, now: now)
        profile.subscriptions = try await client.list("/subscriptions").compactMap(Accounts.subscription)
        profile.defaultSubscription = profile.subscriptions.first?.id
        if profile.subscriptions.isEmpty, !allowNoSubscriptions {
            throw ManagementError(
                "No subscriptions found for \(username).", advice: "Use --allow-no-subscriptions to have tenant level access.")
        }
        return profile
    }

    private static func certificates(_ path: String) throws(ManagementError) -> String {
        let text: String
        do {
            text = String(decoding: try Data(contentsOf: URL(filePath: path)), as: UTF8.self)
        } catch {
            throw ManagementError("The CA file '\(path)' cannot be read: \(error)", advice: "Check --ca.")
        }
        guard text.contains("-----BEGIN CERTIFICATE-----") else {
            throw ManagementError("The file '\(path)' holds no certificate in PEM.", advice: "Check --ca.")
        }
        return text
    }
}

/// `outport logout`: forgets the sign-in.
struct LogoutCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "logout", abstract: "Forget the sign-in.")

    @Option(help: "Only if this service principal is signed in.")
    var username: String?

    @OptionGroup var global: GlobalOptions

    func run() async throws {
        let console = StandardConsole()
        try await AccountListCommand.report(to: console) { () async throws(ManagementError) in
            let store = try ProfileStore(environment: ProcessInfo.processInfo.environment)
            let profile = try? store.load()
            if let username, let profile, profile.clientID != username { return }
            if profile == nil, !global.onlyShowErrors { console.note("WARNING: There are no active accounts.") }
            try store.remove()
        }
    }
}
