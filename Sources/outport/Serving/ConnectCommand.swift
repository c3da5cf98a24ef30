// `outport connect`: a connected registry, started by its connection string alone.

internal import ArgumentParser
internal import DistributionAPI
internal import Foundation
internal import Gateway
internal import HTTPServing
internal import Identity
internal import Logging
internal import NIOPosix
internal import Persistence
internal import RegistryClient
internal import RegistryCore
internal import Schedule
internal import ServiceLifecycle
internal import SyncAgent

/// Runs a connected registry.
struct ConnectCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "connect", abstract: "Run a connected registry.",
        discussion: """
            Needs nothing but the connection string that 'outport acr connected-registry get-settings' prints, and connects outward only.
            The environment of get-settings works too: ACR_REGISTRY_CONNECTION_STRING, ACR_REGISTRY_DATA_VOLUME,
            ACR_REGISTRY_CERTIFICATE_VOLUME (a folder with tls.crt and tls.key), ACR_REGISTRY_LOGIN_SERVER.

            Example: outport connect --connection-string-file site.txt --data /var/lib/outport --listen 10.0.0.5:8443
            """)

    @OptionGroup var server: ServerOptions

    @Option(help: "The connection string. Anyone who can list processes can read it: prefer --connection-string-file.")
    var connectionString: String?

    @Option(help: ArgumentHelp("File that holds the connection string.", valueName: "file"))
    var connectionStringFile: String?

    @Option(help: "Name or address under which clients reach this registry, HOST[:PORT].")
    var loginServer: String?

    @Option(help: ArgumentHelp("Folder with ca.pem and ca.key of an authority to issue the certificate with.", valueName: "folder"))
    var authority: String?

    @Option(help: "Bytes a second that transfers from and to the parent may move together, such as 500KiB or 2MiB.")
    var rateLimit: String?

    @Option(
        help: "Another endpoint of the same parent, HOST[:PORT], tried where the first cannot be reached. May be repeated.")
    var parentEndpoint: [String] = []

    /// Bytes of a rate such as `2MiB`.
    static func rate(_ text: String) throws -> Int {
        let units = ["kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "k": 1000, "m": 1_000_000, "g": 1_000_000_000, "": 1]
        let digits = text.prefix { $0.isASCII && $0.isNumber }
        guard let number = Int(digits), let unit = units[text.dropFirst(digits.count).lowercased()],
            case let (bytes, overflow) = number.multipliedReportingOverflow(by: unit), !overflow, bytes >= 1024
        else {
            throw ValidationError(
                "--rate-limit takes bytes a second, at least 1KiB, such as 500KiB, 2MiB or 1000000, not '\(text.prefix(40))'")
        }
        return bytes
    }

    func run() async throws {
        let layers = try await self.server.layers([
            "connection-string": .text, "connection-string-file": .text, "login-server": .text, "authority": .text, "rate-limit": .text,
            "parent-endpoint": .list,
        ])
        let environment = ProcessInfo.processInfo.environment
        // What the site itself asks for counts; otherwise the parent says how much is logged.
        let levels = LogLevelSwitch(try self.server.logLevel(layers))
        let isLevelGiven = self.server.logLevel != nil || layers.string(forKey: "log-level") != nil
        let logger = levels.logger("outport")
        let rate = try (self.rateLimit ?? layers.string(forKey: "rate-limit")).map(Self.rate)
        let connection = try self.connection(
            environment, layers.string(forKey: "connection-string"), layers.string(forKey: "connection-string-file"),
            endpoints: self.parentEndpoint.isEmpty ? layers.stringArray(forKey: "parent-endpoint") ?? [] : self.parentEndpoint)
        let listen = try self.server.listenAddress(layers, default: "127.0.0.1:8444")
        let names = try self.names(listen, environment, layers.string(forKey: "login-server"))
        let isPlain = try self.server.isPlain(layers)
        guard let data = self.server.data ?? layers.string(forKey: "data") ?? environment["ACR_REGISTRY_DATA_VOLUME"] else {
            throw ValidationError("where shall the content lie? Give a folder with --data")
        }
        let issuer = self.authority ?? layers.string(forKey: "authority")
        if let issuer, !FileSystem.exists(issuer) { throw ValidationError("--authority: there is no folder \(issuer)") }
        let node = try await Node(data: data)
        let memory = try await SyncMemoryStore(database: node.database, connection: connection)
        let registry = try await node.store.registry(named: "local")
        let given = try self.server.givenCertificate(layers) ?? Self.certificateVolume(environment)
        let certificates =
            isPlain
            ? nil
            : try node.certificates(
                given: given, names: names, commonName: "Outport connected registry \(connection.connectedRegistry) CA",
                authority: issuer, logger: logger)
        let tokens = try await TokenAuthority(folder: node.folder.keysPath, tenantID: "")
        // Connected registries below this one speak to it as it speaks to its own parent.
        let children = ConnectedRegistryStore(
            database: node.database, activity: node.activity, owner: connection.connectedRegistry, settings: node.settings)
        let access = AccessController(identities: node.identities, directory: nil, tokens: tokens, leases: children)
        let directory = ReplicaDirectory(registry: registry, connection: connection, names: names, memory: memory)
        let gateway = GatewayHandler(
            connectedRegistries: children, registries: node.store, identities: node.identities, tokens: tokens,
            trustRoot: certificates?.source.authority?.pem, lookup: directory.gateway(for:))
        let group = MultiThreadedEventLoopGroup.singleton
        let network = try NIOTransport(group: group, trust: .system, receiveBuffer: 256 << 10)
        let transport = FailoverTransport(network, endpoints: connection.endpoints)
        let settingsApplied = Activity()
        let agent = SyncAgent(
            connection: connection, memory: memory, store: node.store, identities: node.identities, registry: registry, folder: node.folder,
            transport: transport,
            makeUntrusted: { FailoverTransport(try NIOTransport(group: group, trust: .fetchOnly), endpoints: connection.endpoints) },
            version: outportVersion,
            loginServer: names.publicAddress.description, logger: logger, caPin: certificates?.source.authority?.pin,
            descendants: DescendantPort(
                apply: { try await children.replace(descendants: $0, in: registry) },
                statuses: { try await children.descendantStatuses(in: registry) }, reports: children.reports),
            bytesPerSecond: rate,
            onSettings: {
                if !isLevelGiven { levels.set($0.logLevel) }
                settingsApplied.signal()
            })
        let scheme = isPlain ? "http" : "https"
        let hot = HotContent(tokens: tokens, store: node.store)
        let trail = AuditTrail(
            events: SiteEvents(database: node.database, registry: registry), site: connection.connectedRegistry,
            isWanted: { await memory.memory.settings?.auditLogs == true })
        let clients: [any RequestHandler] = [
            DistributionHandler(
                store: node.store, uploads: node.uploads, access: access, directory: directory, hot: hot, missing: agent.onDemand),
            MetadataHandler(store: node.store, access: access, directory: directory),
            TokenEndpoint(access: access, directory: directory),
        ]
        let listener = HTTPListener(
            address: listen, tls: certificates?.context, handlers: [gateway, AuditedHandler(clients, trail: trail)], hot: hot,
            eventLoopGroup: group, pool: node.pool, logger: logger, segments: node.segments
        ) { _ in
            announce(
                "connected registry '\(connection.connectedRegistry)' of \(connection.parent) serves \(scheme)://\(names.publicAddress)")
            if certificates?.source.authority != nil { announce("clients trust it with \(issuer ?? node.folder.tlsPath)/ca.pem") }
        }
        // On a ReadOnly copy the setting is the asking: what the parent has moved away from goes as well.
        let garbage = GarbageService(
            collector: GarbageCollector(store: node.store, uploads: node.uploads), store: node.store, logger: logger, news: settingsApplied
        ) {
            guard let settings = await memory.memory.settings?.garbageCollection, settings.enabled,
                let schedule = try? CronSchedule(parsing: settings.schedule)
            else { return nil }
            // Where clients push, what no tag names may be just what they want.
            let isReadWrite = await memory.memory.isReadWrite
            return .init(schedule: schedule, policy: GarbagePolicy(untaggedAge: isReadWrite ? nil : GarbagePolicy.day))
        }
        let keeper = LogKeeper(store: node.store, connectedRegistries: children, logger: logger)
        do {
            try await Node.run(
                [listener, AgentService(agent: agent), LongPollService(gateway: gateway), garbage, keeper]
                    + (certificates.map { [$0] } ?? []))
        } catch let refusal as AgentService.Refused {
            await node.close()
            StandardConsole().note("ERROR: (\(refusal.error.code.rawValue)) \(refusal.error.message)")
            throw ExitCode(1)
        }
        network.close()
        await node.close()
    }

    private func connection(
        _ environment: [String: String], _ layered: String?, _ layeredFile: String?, endpoints: [String]
    ) throws -> ConnectionString {
        let text: String
        if let connectionString {
            text = connectionString
        } else if let file = self.connectionStringFile ?? layeredFile {
            text = String(decoding: try FileSystem.read(file, limit: 16 << 10), as: UTF8.self)
        } else if let given = layered ?? environment["ACR_REGISTRY_CONNECTION_STRING"] {
            text = given
        } else {
            throw ValidationError(
                "no connection string: give --connection-string-file, or ACR_REGISTRY_CONNECTION_STRING in the environment; 'outport acr connected-registry get-settings' prints one"
            )
        }
        do {
            var connection = try ConnectionString(parsing: text)
            try connection.add(parentEndpoints: endpoints)
            return connection
        } catch {
            throw ValidationError(error.description)
        }
    }

    private func names(_ listen: HostAndPort, _ environment: [String: String], _ layered: String?) throws -> ServerNames {
        // get-settings prints a hint in place of a login server; it means none was chosen.
        let fromEnvironment = environment["ACR_REGISTRY_LOGIN_SERVER"].flatMap { $0.hasPrefix("<") || $0.isEmpty ? nil : $0 }
        if let text = self.loginServer ?? layered ?? fromEnvironment {
            guard let named = HostAndPort(text) else {
                throw ValidationError("--login-server takes a host name or address, with a port if needed, not '\(text)'")
            }
            let address = HostAndPort(host: named.host, port: named.port ?? (listen.port == 443 ? nil : listen.port))
            return ServerNames(publicAddress: address, aliases: ServerOptions.aliases(of: listen), suffix: nil, region: "")
        }
        guard !ServerOptions.isWildcard(listen) else {
            throw ValidationError("\(listen) is no name that clients could use: add --login-server HOST[:PORT], or listen on one address")
        }
        return ServerNames(publicAddress: listen, aliases: ServerOptions.aliases(of: listen), suffix: nil, region: "")
    }

    /// Certificate and key in the folder that `get-settings` names, where they exist.
    private static func certificateVolume(_ environment: [String: String]) -> (certificate: String, key: String)? {
        guard let folder = environment["ACR_REGISTRY_CERTIFICATE_VOLUME"], !folder.hasPrefix("<") else { return nil }
        let files = (certificate: folder + "/tls.crt", key: folder + "/tls.key")
        return FileSystem.exists(files.certificate) && FileSystem.exists(files.key) ? files : nil
    }
}

/// The one registry of a child.
private struct ReplicaDirectory: RegistryDirectory {
    let registry: RegistryID
    let connection: ConnectionString
    let names: ServerNames
    let memory: SyncMemoryStore

    func registry(for host: HostAndPort?) async throws -> (registry: DataPlaneRegistry, host: HostAndPort)? {
        // There is one registry here, whatever name a client found it under; what we write into answers is ours.
        let memory = await self.memory.memory
        let name = self.connection.connectedRegistry
        let selection = memory.selection
        return (
            DataPlaneRegistry(
                id: self.registry, name: name, audience: Self.audience(name),
                writeRefusal: self.writeRefusal(memory),
                // What may end at any moment is not answered from memory.
                isRestricted: memory.settings?.serveAfterRemoval != nil,
                refusesWriting: { repository in
                    selection.contains { $0.matches(repository) }
                        ? nil
                        : "repository \(repository) is not among those that connected registry '\(name)' synchronises, so the parent would never get it; "
                            + "add it there with 'outport acr connected-registry permissions update --name \(name) --add \(repository)'"
                }, readRefusal: self.readRefusal(memory)),
            self.names.canonical(host)
        )
    }

    /// This registry for connected registries below it.
    func gateway(for host: HostAndPort?) async throws -> GatewayRegistry? {
        let memory = await self.memory.memory
        let name = self.connection.connectedRegistry
        return GatewayRegistry(
            id: self.registry, name: memory.registry ?? name, audience: Self.audience(name),
            endpoints: [self.names.publicAddress.description],
            writeRefusal: self.writeRefusal(memory), isReady: memory.result?.lastSuccess != nil,
            servesContent: self.readRefusal(memory) == nil)
    }

    private static func audience(_ name: String) -> String { "connected-registry/\(name.lowercased())" }

    /// Why clients may not read; `nil` when they may.
    private func readRefusal(_ memory: SyncMemory) -> String? {
        guard let until = memory.servesUntil, WallClock.system.seconds >= until else { return nil }
        let reason = memory.stopped.map { ": \($0)" } ?? ", since its sync token is refused: enable it there"
        return
            "connected registry '\(self.connection.connectedRegistry)' serves nothing any more: that ended at "
            + "\(Timestamp.text(seconds: until)), \(memory.settings?.serveAfterRemoval ?? "") after its parent had locked it out, as its operator has set\(reason)"
    }

    /// Why clients may not write; `nil` when they may.
    private func writeRefusal(_ memory: SyncMemory) -> String? {
        let name = self.connection.connectedRegistry
        if let reason = memory.stopped {
            return "connected registry '\(name)' takes no more writes, since they could never reach its parent: \(reason)"
        }
        if memory.settings == nil {
            return
                "connected registry '\(name)' has not been activated at its parent at \(self.connection.parent) yet; try again once it has"
        }
        guard memory.isReadWrite else {
            return
                "connected registry '\(name)' is ReadOnly: push to its parent at \(self.connection.parent) and it arrives here by itself"
        }
        return nil
    }
}

/// Runs the sync agent as long as the process serves.
private struct AgentService: Service {
    /// The parent refused this instance at its start.
    struct Refused: Error {
        let error: SyncError
    }

    let agent: SyncAgent

    func run() async throws {
        let stop = await cancelWhenGracefulShutdown { await self.agent.run() }
        guard let stop else {
            await self.agent.sayGoodbye()
            return
        }
        // A second instance ends at once; one that was active, or has been deactivated, goes on serving what it has.
        if !stop.wasActive, stop.error.code == .alreadyActivated { throw Refused(error: stop.error) }
        try? await gracefulShutdown()
    }
}
