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
        commandName: "login", abstract: "Sign in to a parent.",
        discussion: """
            As a service principal with --service-principal -u ID and -p SECRET, --certificate FILE or --federated-token TOKEN, as a user with -u NAME -p PASSWORD,
            or, without either, in a browser on any machine, with a code that is shown here.
            The sign-in is kept in $OUTPORT_CONFIG_DIR or ~/.config/outport, readable by its owner only. With --profile NAME it is one
            of several, for several servers; 'outport account profile use' chooses, as does $OUTPORT_PROFILE.

            Example: outport login --use-device-code --server https://parent.example:8443 --ca ca.pem
            """)

    @Flag(help: "Sign in with a service principal.")
    var servicePrincipal = false

    @Flag(help: "Sign in with a code that is typed into a browser.")
    var useDeviceCode = false

    @Option(name: [.customShort("u"), .long], help: "User name or service principal client ID.")
    var username: String?

    @Option(name: [.customShort("p"), .long], parsing: .unconditional, help: "Password of a user, or secret of a service principal.")
    var password: String?

    @Option(help: "PEM file with certificate and private key of a service principal.")
    var certificate: String?

    @Option(parsing: .unconditional, help: "A token of somebody else that the service principal believes, such as a cluster's for a pod.")
    var federatedToken: String?

    @Option(name: [.customShort("t"), .long], help: "The Microsoft Entra tenant, by its ID.")
    var tenant: String?

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
            let name = try global.profile.map { (name) throws(ManagementError) in try ProfileFolder.validated(name) }
            let profile = try await signIn(
                store: ProfileStore.chosen(name, environment: environment), environment: environment,
                transport: { HTTPTransport(trustFile: $0) },
                console: console)
            // Whoever signs in under a name goes on with it.
            if let name { try ProfileFolder(root: ProfileStore(environment: environment).folder).use(name) }
            console.write(try renderer.render(Accounts.list(profile)))
        }
    }

    func signIn(
        store: ProfileStore, environment: [String: String] = [:], transport makeTransport: (String?) -> any ManagementTransport,
        console: any Console = StandardConsole(), now: @escaping @Sendable () -> Int = { Int(Date().timeIntervalSince1970) },
        sleep: @escaping @Sendable (Duration) async throws -> Void = { try await Task.sleep(for: $0) }
    ) async throws(ManagementError) -> Profile {
        let way = try way(console)
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
            outcome = .success(try await discover(server, transport, way, console, now, sleep))
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

    /// How somebody signs in.
    private enum Way {
        case secret(clientID: String, String)
        case certificate(clientID: String, file: String)
        case federated(clientID: String, String)
        case password(String, String)
        case deviceCode
    }

    private func way(_ console: any Console) throws(ManagementError) -> Way {
        if servicePrincipal {
            guard let username else { throw .usage("No service principal is named.", advice: "Add -u APP_ID.") }
            guard tenant != nil else { throw .usage("No tenant is named.", advice: "Add --tenant TENANT_ID.") }
            if let certificate { return .certificate(clientID: username, file: certificate) }
            if let federatedToken { return .federated(clientID: username, federatedToken) }
            guard let password else { throw .usage("There is nothing to sign in with.", advice: "Add -p SECRET or --certificate FILE.") }
            return .secret(clientID: username, password)
        }
        if federatedToken != nil {
            throw .usage("Only service principals sign in with a federated token.", advice: "Add --service-principal.")
        }
        if certificate != nil { throw .usage("Only service principals sign in with a certificate.", advice: "Add --service-principal.") }
        guard let username, !useDeviceCode else { return .deviceCode }
        if let password { return .password(username, password) }
        guard console.isInteractive, let password = console.askSecret("Password: ") else {
            throw .usage("No password is given.", advice: "Add -p PASSWORD, or sign in with --use-device-code.")
        }
        return .password(username, password)
    }

    /// The client under which people sign in; it has no secret.
    private static let publicClient = "outport-cli"

    private func discover(
        _ server: String, _ transport: any ManagementTransport, _ way: Way, _ console: any Console, _ now: @escaping @Sendable () -> Int,
        _ sleep: @escaping @Sendable (Duration) async throws -> Void
    ) async throws(ManagementError) -> Profile {
        let signIn = SignIn(transport: transport, now: now)
        let endpoints = try await signIn.discover(server: server, tenant: tenant ?? "organizations")
        var profile = Profile(
            server: server, cloudName: endpoints.cloudName, audience: endpoints.audience, tokenEndpoint: endpoints.tokenEndpoint,
            loginServerSuffix: endpoints.loginServerSuffix, tenantID: tenant ?? "", clientID: Self.publicClient, clientSecret: "",
            directory: endpoints.directory)
        let scope = profile.audience + "/.default offline_access openid profile"
        let grant: SignIn.Grant
        switch way {
        case .secret(let clientID, let secret):
            (profile.clientID, profile.clientSecret) = (clientID, secret)
            grant = try await signIn.token(for: profile)
        case .federated(let clientID, let token):
            (profile.clientID, profile.federatedToken) = (clientID, token)
            grant = try await signIn.token(for: profile)
        case .certificate(let clientID, let file):
            (profile.clientID, profile.certificateFile) = (clientID, URL(filePath: file).standardizedFileURL.path)
            grant = try await signIn.token(for: profile)
        case .password(let name, let password):
            profile.username = name
            grant = try await signIn.grant(
                [("client_id", profile.clientID), ("grant_type", "password"), ("username", name), ("password", password)], scope: scope,
                at: profile.tokenEndpoint)
        case .deviceCode:
            grant = try await signIn.device(
                clientID: profile.clientID, scope: scope, endpoints, sleep: sleep
            ) { console.note("WARNING: \($0)") }
            profile.username = ""
        }
        profile.token = grant.token
        profile.refreshToken = grant.refreshToken
        let client = ManagementClient(profile: profile, transport: transport, now: now)
        if profile.username == "" { profile.username = SignIn.userName(in: grant.token.value) ?? "user" }
        if tenant == nil { profile.tenantID = try await client.list("/tenants").first?["tenantId"]?.stringValue ?? "" }
        if let expires = grant.credentialExpires, expires - now() < 30 * 86_400, !global.onlyShowErrors {
            console.note("WARNING: The credential of this service principal ends in \(max(0, (expires - now()) / 86_400)) days.")
        }
        profile.subscriptions = try await client.list("/subscriptions").compactMap(Accounts.subscription)
        profile.defaultSubscription = profile.subscriptions.first?.id
        if profile.subscriptions.isEmpty, !allowNoSubscriptions {
            throw ManagementError(
                "No subscriptions found for \(profile.accountName).", advice: "Use --allow-no-subscriptions to have tenant level access.")
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
    static let configuration = CommandConfiguration(
        commandName: "logout", abstract: "Forget the sign-in.",
        discussion: "Example: outport logout")

    @Option(help: "Only if this user or service principal is signed in.")
    var username: String?

    @OptionGroup var global: GlobalOptions

    func run() async throws {
        let console = StandardConsole()
        try await AccountListCommand.report(to: console) { () async throws(ManagementError) in
            let store = try ProfileStore.chosen(global.profile, environment: ProcessInfo.processInfo.environment)
            let profile = try? store.load()
            if let username, let profile, profile.accountName != username { return }
            if profile == nil, !global.onlyShowErrors { console.note("WARNING: There are no active accounts.") }
            try store.remove()
        }
    }
}
