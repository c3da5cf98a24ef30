// `outport agent`: runs in a cluster and brings about there what the control plane wants.

internal import ArgumentParser
internal import ClusterProtocol
internal import Foundation
internal import HTTPServing
internal import JSON
internal import Kubernetes
internal import Logging
internal import NIOPosix
internal import Persistence
internal import RegistryClient
internal import ServiceLifecycle
internal import SyncAgent

struct AgentCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "agent", abstract: "Run the agent of a connected cluster.",
        discussion: """
            'outport connectedk8s connect' starts it in a cluster with everything it needs. It connects outward only: to the control plane,
            and to the API server of its cluster (its service account's, or that of --kube-config).

            Example: outport agent --server https://parent.example:8443 --cluster RESOURCE_ID --tenant TENANT --client-id CLIENT \\
              --client-secret-file secret.txt --image 10.0.0.5:8443/tools/outport:0.1.0
            """)

    @Option(help: "The control plane, https://HOST:PORT.")
    var server: String

    @Option(help: "The control plane's CA in PEM; otherwise what the system trusts.")
    var ca: String?

    @Option(help: "The resource id of the cluster.")
    var cluster: String

    @Option(help: "The directory's id.")
    var tenant: String

    @Option(help: "The client id of the cluster's identity.")
    var clientId: String

    @Option(help: ArgumentHelp("File with the secret of the identity.", valueName: "file"))
    var clientSecretFile: String

    @Option(help: "The image that is installed, REGISTRY/REPOSITORY:TAG: that of this program.")
    var image: String

    @Option(help: "A Secret of the agent's namespace with which the image is pulled.")
    var imagePullSecret: String?

    @Option(help: "Seconds that a change has for becoming healthy, before it is undone.")
    var healthTimeout = 300

    @Option(help: .hidden)
    var nodeRoot = ""

    @Option(help: "Path to a kubeconfig file; otherwise the pod's service account.")
    var kubeConfig: String?

    @Option(help: "Least severity that is logged: debug, info, notice, warning, error.")
    var logLevel = "info"

    func validate() throws {
        guard (1...86_400).contains(self.healthTimeout) else {
            throw ValidationError("--health-timeout is a number of seconds from 1 to 86400")
        }
        guard Logger.Level(rawValue: self.logLevel) != nil else { throw ValidationError("'\(self.logLevel)' is no log level") }
    }

    func run() async throws {
        FileSystem.raiseDescriptorLimit()
        let logger = Node.logger("outport.agent", level: Logger.Level(rawValue: self.logLevel) ?? .info)
        let connection: ClusterConnection =
            if let kubeConfig {
                try .kubeconfig(kubeConfig, context: nil)
            } else {
                try .inCluster(environment: ProcessInfo.processInfo.environment)
            }
        let api = try KubernetesClient(connection)
        let plane = try AgentLink(command: self)
        let place = InstallerPlace(
            image: self.image, namespace: AgentManifests.namespace, pullSecret: self.imagePullSecret, nodeRoot: self.nodeRoot)
        let installer = ExtensionInstaller(
            api: api, place: place, tryConnection: { await Self.refusal(of: $0) }, makeAuthority: { try Self.makeAuthority() })
        var limits = ExtensionMachine.Limits()
        limits.settle = Int64(self.healthTimeout) * 1000
        let agent = ClusterAgent(plane: plane, api: api, installer: installer, limits: limits, version: outportVersion, logger: logger)
        logger.notice("agent begins", metadata: ["cluster": .string(self.cluster), "server": .string(self.server)])
        try await Node.run([ClusterAgentService(agent: agent)])
        await plane.close()
        await api.shutdown()
    }

    /// Why the parent does not take a connection string; `nil` when it does, or when it cannot be asked.
    private static func refusal(of text: String) async -> String? {
        let connection: ConnectionString
        do {
            connection = try ConnectionString(parsing: text)
        } catch {
            return error.description
        }
        let group = MultiThreadedEventLoopGroup.singleton
        guard let transport = try? NIOTransport(group: group, trust: .system) else { return nil }
        defer { transport.close() }
        switch await ConnectionCheck.run(
            connection, transport: transport, makeUntrusted: { try NIOTransport(group: group, trust: .fetchOnly) })
        {
        case .accepted, .unreachable: return nil
        case .refused(let sentence): return sentence
        }
    }

    private static func makeAuthority() throws -> (certificate: String, key: String) {
        let folder = FileManager.default.temporaryDirectory.path + "/outport-authority-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let authority = try CertificateAuthority(folder: folder, commonName: "Outport connected registry CA", now: Date())
        return (authority.pem, String(decoding: try FileSystem.read(folder + "/ca.key"), as: UTF8.self))
    }
}

/// Runs the agent as long as the process lives.
private struct ClusterAgentService: Service {
    let agent: ClusterAgent

    func run() async throws { await cancelWhenGracefulShutdown { await self.agent.run() } }
}

/// The control plane over HTTPS, signed in as the cluster's identity.
private actor AgentLink: ControlPlane {
    private let server: String
    private let cluster: String
    private let tenant: String
    private let clientID: String
    private let secretFile: String
    private let transport: HTTPTransport
    private var client: ManagementClient?
    private var secret = ""

    init(command: AgentCommand) throws {
        self.server = try SignIn.server(command.server)
        self.cluster = command.cluster
        self.tenant = command.tenant
        self.clientID = command.clientId
        self.secretFile = command.clientSecretFile
        self.transport = HTTPTransport(trustFile: command.ca)
    }

    func close() async { await self.transport.shutdown() }

    /// Made when it is needed, and anew when the secret has been replaced.
    private func connected() async throws -> ManagementClient {
        let secret = String(decoding: try FileSystem.read(self.secretFile, limit: 4096), as: UTF8.self).filter { !$0.isWhitespace }
        if let client, secret == self.secret { return client }
        let now: @Sendable () -> Int = { Int(Date().timeIntervalSince1970) }
        let found = try await SignIn(transport: self.transport, now: now).discover(server: self.server, tenant: self.tenant)
        let profile = Profile(
            server: self.server, cloudName: found.cloudName, audience: found.audience, tokenEndpoint: found.tokenEndpoint,
            tenantID: self.tenant, clientID: self.clientID, clientSecret: secret)
        let client = ManagementClient(profile: profile, transport: self.transport, now: now)
        (self.client, self.secret) = (client, secret)
        return client
    }

    func desired(after revision: String?, wait: Int) async throws -> DesiredState {
        let query = [("wait", String(wait))] + (revision.map { [("revision", $0)] } ?? [])
        return try await self.connected().get(self.cluster + "/agent/desiredState", query: query).decode()
    }

    func report(_ report: AgentReport) async throws {
        try await self.connected().post(self.cluster + "/agent/report", try JSONValue(encoding: report))
    }
}
