// `outport serve`: the parent. Registry, control plane and gateway in one process on one port.

internal import ArgumentParser
internal import Configuration
internal import DistributionAPI
internal import Foundation
internal import Gateway
internal import HTTPServing
internal import Identity
internal import Import
internal import Logging
internal import NIOPosix
internal import OCI
internal import Persistence
internal import RegistryCore
internal import ResourceManager
internal import Schedule
internal import ServiceLifecycle
internal import Webhooks

/// Runs the parent.
struct ServeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "serve", abstract: "Run a parent registry with its control plane.",
        discussion: """
            Starts on an empty folder with no other input. The first start writes bootstrap.json with everything needed to sign in.
            Each option may also stand in the environment (OUTPORT_DATA, OUTPORT_LISTEN, OUTPORT_SUFFIX, …) or in the file of --config.

            Example: outport serve --data /var/lib/outport --listen 0.0.0.0:8443 --suffix registry.example:8443
            """)

    @OptionGroup var server: ServerOptions

    @Option(help: "Names of registries end in this: <registry>.SUFFIX. HOST[:PORT].")
    var suffix: String?

    @Option(help: "Address under which clients reach this server, where it is not the one listened on. HOST:PORT.")
    var publicAddress: String?

    @Option(help: "Region of registries that name none.")
    var region: String?

    @Option(
        help: """
            Address for the control plane alone (sign-in, resource manager, directory), ADDR:PORT. Registries and sites then reach \
            nothing of it.
            """)
    var managementListen: String?

    @Option(help: ArgumentHelp("Offer the extensions of 'az' (wheels) that lie in this folder.", valueName: "folder"))
    var extensionMirror: String?

    @Option(
        help: ArgumentHelp(
            """
            Secrets that credential sets of cache rules name: FOLDER/<registry>/<login server>/<name of the secret>, one line each.
            """, valueName: "folder"))
    var secrets: String?

    @Option(help: "Client tokens that may be attached to one connected registry: 20, unless this says otherwise, up to 1000.")
    var clientTokenLimit: Int?

    @Option(
        help: """
            Changes of content that are kept for connected registries that are away, 1000 at least: a million, unless this says otherwise. \
            One that is further behind compares its whole state instead.
            """)
    var changeLogLimit: Int?

    @OptionGroup var fetch: FetchOptions

    /// A number of an option, the environment or the file.
    private static func number(_ given: Int?, _ layers: ConfigReader, _ option: String, _ range: ClosedRange<Int>) throws -> Int? {
        let key = String(option.dropFirst(2))
        let text = layers.string(forKey: ConfigKey(key))
        guard let number = given ?? layers.int(forKey: ConfigKey(key)) ?? text.flatMap({ Int($0) }) else {
            guard text == nil else { throw ValidationError("\(option) takes a number, not '\(text ?? "")'") }
            return nil
        }
        guard range.contains(number) else {
            throw ValidationError("\(option) takes a number from \(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }

    func run() async throws {
        let layers = try await self.server.layers([
            "suffix": .text, "public-address": .text, "region": .text, "management-listen": .text, "extension-mirror": .text,
            "secrets": .text, "client-token-limit": .number, "change-log-limit": .number, "upstream": .list, "fetch-allow": .list,
            "fetch-ca": .text,
        ])
        let logger = Node.logger("outport", level: try self.server.logLevel(layers))
        let listen = try self.server.listenAddress(layers, default: "127.0.0.1:8443")
        let management = try (self.managementListen ?? layers.string(forKey: "management-listen")).map {
            try ServerOptions.address($0, "--management-listen")
        }
        let names = try self.names(listen, management: management, layers)
        let isPlain = try self.server.isPlain(layers)
        let clientTokens =
            try Self.number(self.clientTokenLimit, layers, "--client-token-limit", 1...1000)
            ?? ConnectedRegistryConfiguration.maximumClientTokens
        let logLimit = try Self.number(
            self.changeLogLimit, layers, "--change-log-limit", 1000...1_000_000_000
        ).map { Int64($0) }
        let node = try await Node(data: self.server.data ?? layers.string(forKey: "data") ?? "outport-data")
        let certificates =
            isPlain
            ? nil
            : try node.certificates(given: self.server.givenCertificate(layers), names: names, commonName: "Outport CA", logger: logger)
        let authority = certificates?.source.authority

        let directory = Directory(database: node.database)
        let bootstrap = Bootstrap(database: node.database, directory: directory)
        let file = BootstrapFile(folder: node.folder, names: names, hasAuthority: authority != nil)
        let installation: Installation
        if let existing = try await bootstrap.load() {
            installation = existing
        } else {
            installation = try await bootstrap.create { try file.write($0, secret: $1) }
        }

        let tokens = try await TokenAuthority(folder: node.folder.keysPath, tenantID: installation.tenantID)
        let connectedRegistries = ConnectedRegistryStore(
            database: node.database, activity: node.activity, maximumClientTokens: clientTokens, settings: node.settings)
        let lookup = RegistryLookup(names: names) {
            certificates?.cover(names.certificateNames(registries: $0.map { ($0.name, $0.region) }))
        }
        let resources = ResourceStore(database: node.database, registries: node.store, identities: node.identities, lookup: lookup)
        try await resources.load()
        let admins = try AdminUsers(database: node.database, folder: node.folder.keysPath)
        let collector = GarbageCollector(store: node.store, uploads: node.uploads)
        var services = ResourceManagerServices(
            names: names, resources: resources, registries: node.store, identities: node.identities, directory: directory,
            authority: tokens, connectedRegistries: connectedRegistries, admins: admins, garbage: collector,
            trustPin: authority?.pin)
        let outside = try self.fetch.open(layers)
        let importer = ImageImporter(store: node.store, transport: outside.transport, upstreams: outside.upstreams)
        services.importer = importer
        let extensions = try ClusterExtensionStore(database: node.database, folder: node.folder.keysPath)
        services.extensions = extensions
        let webhooks = try WebhookStore(database: node.database, folder: node.folder.keysPath)
        services.webhooks = webhooks
        if let folder = self.extensionMirror ?? layers.string(forKey: "extension-mirror") {
            guard FileSystem.exists(folder) else { throw ValidationError("--extension-mirror: there is no folder \(folder)") }
            services.mirror = ExtensionMirror(folder: folder, pool: node.pool)
        }
        if let folder = self.secrets ?? layers.string(forKey: "secrets") {
            guard FileSystem.exists(folder) else { throw ValidationError("--secrets: there is no folder \(folder)") }
            services.secrets = SecretFolder(folder: folder, pool: node.pool)
        }
        services.imports = try ImportJobs(database: node.database, folder: node.folder.keysPath)
        let manager = ResourceManagerHandler(services)
        let hosts = ParentDirectory(lookup: lookup, names: names)
        let access = AccessController(
            identities: node.identities, directory: directory, tokens: tokens, leases: connectedRegistries, admins: admins)
        let gateway = GatewayHandler(
            connectedRegistries: connectedRegistries, registries: node.store, identities: node.identities, tokens: tokens,
            trustRoot: authority?.pem, lookup: hosts.gateway(for:))
        let hot = HotContent(tokens: tokens, store: node.store)
        let pullThrough = PullThrough(resources: resources, importer: importer, secrets: services.secrets)
        let control: [any RequestHandler] = [manager]
        let listener = HTTPListener(
            address: listen, tls: certificates?.context,
            handlers: [
                NetworkGate(entry: hosts.entry(for:)),
                DistributionHandler(
                    store: node.store, uploads: node.uploads, access: access, directory: hosts, hot: hot,
                    upstream: CachedContent(pullThrough: pullThrough, lookup: lookup)), gateway,
                MetadataHandler(store: node.store, access: access, directory: hosts), TokenEndpoint(access: access, directory: hosts),
            ] + (management == nil ? control : []), hot: hot, eventLoopGroup: MultiThreadedEventLoopGroup.singleton, pool: node.pool,
            logger: logger, segments: node.segments
        ) { _ in
            // Not at the first start alone: that one may have ended before it came so far.
            let isNew = lookup.all.isEmpty && FileSystem.exists(file.path)
            self.greet(names, file, installation, isPlain: isPlain, isNew: isNew, authority: authority != nil)
        }
        let managementListener = management.map {
            HTTPListener(
                address: $0, tls: certificates?.context, handlers: control, hot: nil,
                eventLoopGroup: MultiThreadedEventLoopGroup.singleton, pool: node.pool, logger: logger
            ) { _ in announce("the control plane is at \(names.controlPlane)") }
        }
        let daily = try CronSchedule(parsing: "0 0 * * *")
        let garbage = GarbageService(
            collector: collector, store: node.store, logger: logger
        ) {
            .init(schedule: daily, policy: lookup.garbagePolicy)
        }
        let keeper = LogKeeper(
            store: node.store, connectedRegistries: connectedRegistries, webhooks: webhooks,
            limit: logLimit ?? RegistryStore.defaultLogLimit, logger: logger)
        let sender = WebhookSender(
            store: webhooks, changes: node.activity, transport: outside.transport, version: outportVersion, logger: logger
        ) { id in lookup.all.first { $0.id == id }?.loginServer }
        try await manager.resume(logger)
        // Services end in reverse order: long polls are let go first, then the listener finishes what is under way.
        try await Node.run(
            (managementListener.map { [$0] } ?? []) + [
                listener, LongPollService(gateway: gateway, extensions: extensions), garbage, keeper, WebhookService(sender: sender),
            ]
                + (certificates.map { [$0] } ?? []))
        services.imports?.stop()
        await pullThrough.stop()
        outside.transport.close()
        await node.close()
    }

    private func names(_ listen: HostAndPort, management: HostAndPort?, _ layers: ConfigReader) throws -> ServerNames {
        func parse(_ text: String?, _ option: String) throws -> HostAndPort? {
            guard let text else { return nil }
            guard let address = HostAndPort(text) else {
                throw ValidationError("\(option) takes a host name or address, with a port if needed, not '\(text)'")
            }
            return address
        }
        let suffix = try parse(self.suffix ?? layers.string(forKey: "suffix"), "--suffix")
        let given = try parse(self.publicAddress ?? layers.string(forKey: "public-address"), "--public-address")
        let isWildcard = ServerOptions.isWildcard(listen)
        guard !isWildcard || suffix != nil || given != nil else {
            throw ValidationError(
                "\(listen) is no name that clients could use: add --suffix HOST[:PORT] (a DNS name for this server), or --public-address HOST:PORT, or listen on one address"
            )
        }
        let address = given ?? (isWildcard ? suffix : nil) ?? listen
        // One that listens on all addresses goes by the name of the registries' listener, at its own port.
        let managed = management.map { ServerOptions.isWildcard($0) ? HostAndPort(host: address.host, port: $0.port) : $0 }
        return ServerNames(
            publicAddress: address, aliases: ServerOptions.aliases(of: listen) + (management.map(ServerOptions.aliases) ?? []),
            suffix: suffix, region: self.region ?? layers.string(forKey: "region") ?? "eastus", management: managed)
    }

    /// Says where the server is, and what to type next as long as there is no registry.
    private func greet(
        _ names: ServerNames, _ file: BootstrapFile, _ installation: Installation, isPlain: Bool, isNew: Bool, authority: Bool
    ) {
        announce("outport \(outportVersion) serves \(isPlain ? "http" : "https")://\(names.publicAddress)")
        if isNew {
            announce(
                """

                The sign-in of this server is in \(file.path) (only you can read it). Next, in another terminal:

                  outport login --service-principal -u \(installation.clientID) \\
                    -p "$(sed -n 's/.*"clientSecret" *: *"\\([^"]*\\)".*/\\1/p' \(file.path))" \\
                    --tenant \(installation.tenantID) --server \(names.controlPlane)\(authority ? " --ca \(file.authorityPath)" : "")
                  outport group create --name mygroup --location \(names.region)
                  outport acr create --name myregistry --resource-group mygroup --sku Premium
                  outport acr token create --name mytoken --registry myregistry --scope-map _repositories_admin

                """)
        }
    }
}

/// Ends the long polls of children and agents when the process is to end.
struct LongPollService: Service {
    let gateway: GatewayHandler
    var extensions: ClusterExtensionStore?

    func run() async throws {
        try? await gracefulShutdown()
        self.gateway.stop()
        self.extensions?.stop()
    }
}

/// Tells webhooks until the process is to end; what is not delivered then is after the next start.
private struct WebhookService: Service {
    let sender: WebhookSender

    func run() async throws { await cancelWhenGracefulShutdown { await self.sender.run() } }
}

/// Cache rules as the data plane asks for them.
private struct CachedContent: UpstreamContent {
    let pullThrough: PullThrough
    let lookup: RegistryLookup

    func fetch(_ reference: Reference, in name: RepositoryName, of registry: DataPlaneRegistry, logger: Logger) async throws -> Bool {
        guard let entry = self.lookup.registry(named: registry.name) else { return false }
        return try await self.pullThrough.fetch(reference, in: name, of: entry, logger: logger)
    }

    func refresh(_ tag: Tag, in name: RepositoryName, of registry: DataPlaneRegistry, asks: Bool, logger: Logger) async -> Bool {
        guard let entry = self.lookup.registry(named: registry.name) else { return false }
        return await self.pullThrough.refresh(tag, in: name, of: entry, asks: asks, logger: logger)
    }
}

/// Hosts of the parent.
private struct ParentDirectory: RegistryDirectory {
    let lookup: RegistryLookup
    let names: ServerNames

    private static let readOnly =
        "the registry is read-only: its owner has switched writing off ('outport acr update --read-only false' switches it on again)"

    func entry(for host: HostAndPort?) -> RegistryEntry? {
        switch self.names.match(host) {
        case .registry(let name): self.lookup.registry(named: name)
        case .listener: self.lookup.onlyRegistry()
        case .foreign: nil
        }
    }

    func registry(for host: HostAndPort?) async throws -> (registry: DataPlaneRegistry, host: HostAndPort)? {
        self.entry(for: host).map {
            let registry = DataPlaneRegistry(
                id: $0.id, name: $0.name, audience: $0.audience,
                writeRefusal: $0.isReadOnly ? Self.readOnly : nil, scope: $0.scope, isAdminUserEnabled: $0.isAdminUserEnabled,
                allowsAnonymousPull: $0.allowsAnonymousPull, quota: $0.quota, isRestricted: $0.network != nil,
                wantsRegistryTokens: $0.wantsRegistryTokens)
            return (registry, self.names.canonical(host))
        }
    }

    func gateway(for host: HostAndPort?) async throws -> GatewayRegistry? {
        // A registry whose data endpoint is off has no gateway.
        guard let entry = self.entry(for: host), entry.isDataEndpointEnabled else { return nil }
        return GatewayRegistry(
            id: entry.id, name: entry.name, audience: entry.audience, endpoints: [entry.dataEndpoint],
            writeRefusal: entry.isReadOnly ? Self.readOnly : nil)
    }
}
