// Parents and connected registries: the real binary in processes of their own.

import Foundation
import Synchronization

/// One `outport serve` or `outport connect` on a data folder and a port; it can be ended and started again.
final class OutportServer: Sendable {
    enum Role: String { case serve, connect }

    let role: Role
    let data: String
    let port: Int
    private let box: Sandbox
    private let arguments: [String]
    private let environment: [String: String]?
    /// The file with the CA its clients trust.
    let ca: String
    private let log: String
    private let process = Mutex<BackgroundProcess?>(nil)

    /// - Parameters:
    ///   - listen: where it listens; 127.0.0.1 by default.
    ///   - environment: the whole environment; `nil` for that of the tests.
    ///   - ca: the CA its clients trust; its own by default.
    init(
        _ role: Role, box: Sandbox, data: String, port: Int, listen: String? = nil, arguments: [String] = [],
        environment: [String: String]? = nil, ca: String? = nil,
        withDataOption: Bool = true
    ) {
        self.role = role
        self.data = data
        self.port = port
        self.box = box
        self.arguments = (withDataOption ? ["--data", data] : []) + ["--listen", listen ?? "127.0.0.1:\(port)"] + arguments
        self.environment = environment
        self.ca = ca ?? data + "/tls/ca.pem"
        self.log = box.path("\(role).log")
        box.atEnd { [self] in
            self.running?.signal(SIGKILL)
            _ = try? await self.running?.wait()
        }
    }

    var address: String { "127.0.0.1:\(self.port)" }
    var output: String { (try? String(contentsOfFile: self.log, encoding: .utf8)) ?? "" }
    var running: BackgroundProcess? { self.process.withLock { $0 } }
    var pid: pid_t { self.running?.pid ?? 0 }

    /// Starts the process and waits for nothing.
    @discardableResult
    func launch() async throws -> BackgroundProcess {
        try FileManager.default.createDirectory(atPath: self.data, withIntermediateDirectories: true)
        let process = try await BackgroundProcess.start(
            Program.outport, [self.role.rawValue] + self.arguments, environment: self.environment, log: self.log)
        self.process.withLock { $0 = process }
        return process
    }

    /// Starts the process and waits until it answers over TLS that its CA vouches for.
    func start() async throws {
        let process = try await self.launch()
        try await eventually("the CA of outport \(self.role)") {
            try self.refuseDead(process)
            return FileManager.default.fileExists(atPath: self.ca)
        }
        let registry = try Registry(self.address, ca: self.ca, box: self.box)
        try await eventually("an answer of outport \(self.role)") {
            try self.refuseDead(process)
            return try await registry.send("GET", "/v2/").status > 0
        }
    }

    /// A program that has ended will never be ready.
    private func refuseDead(_ process: BackgroundProcess) throws {
        guard process.hasEnded else { return }
        throw HarnessError("outport \(self.role) ended: \(self.output.suffix(1500))", isFinal: true)
    }

    /// Runs the same command line in the foreground, for starts that are refused.
    func attempt() async throws -> Outcome {
        try FileManager.default.createDirectory(atPath: self.data, withIntermediateDirectories: true)
        // Where it is not refused it would serve for ever.
        return try await command(
            "timeout", ["-s", "KILL", "600", Program.outport, self.role.rawValue] + self.arguments, environment: self.environment ?? [:])
    }

    /// SIGTERM; the exit code.
    @discardableResult
    func stop() async throws -> Int32 { try await self.running?.stop() ?? 0 }

    /// SIGKILL.
    func kill() async throws {
        self.running?.signal(SIGKILL)
        _ = try await self.running?.wait()
    }

    func registry(_ credentials: Credentials? = nil) throws -> Registry {
        try Registry(self.address, ca: self.ca, credentials: credentials, box: self.box)
    }
}

/// A parent with its command line signed in.
struct Parent: Sendable {
    /// The one that the tests of a suite share.
    @TaskLocal static var shared: Parent?

    let server: OutportServer
    let box: Sandbox
    let registryName: String
    private let configuration: String

    /// Starts a parent with one Premium registry whose data endpoint is on.
    static func start(
        _ box: Sandbox, arguments: [String] = [], registry: String? = "e2eregistry", listen: String? = nil, port: Int? = nil,
        ca: String? = nil
    ) async throws -> Parent {
        let port = try port ?? Ports.free()
        let server = OutportServer(.serve, box: box, data: box.path("parent"), port: port, listen: listen, arguments: arguments, ca: ca)
        try await server.start()
        let parent = Parent(server: server, box: box, registryName: registry ?? "e2eregistry", configuration: try box.newFolder("cli"))
        try await parent.signIn()
        try await parent("group", "create", "-n", "e2e", "-l", "eastus")
        if let registry {
            try await parent("acr", "create", "-n", registry, "-g", "e2e", "--sku", "Premium")
            try await parent("acr", "update", "-n", registry, "--data-endpoint-enabled", "true")
        }
        return parent
    }

    struct Bootstrap: Decodable {
        var tenantId: String
        var subscriptionId: String
        var clientId: String
        var clientSecret: String
        var resourceManager: String
        var caFile: String?
    }

    func bootstrap() throws -> Bootstrap {
        try JSONDecoder().decode(Bootstrap.self, from: try Data(contentsOf: URL(filePath: self.server.data + "/bootstrap.json")))
    }

    func signIn() async throws {
        let bootstrap = try self.bootstrap()
        try await self(
            "login", "--service-principal", "-u", bootstrap.clientId, "-p", bootstrap.clientSecret, "--tenant", bootstrap.tenantId,
            "--server",
            bootstrap.resourceManager, "--ca", bootstrap.caFile ?? self.server.ca)
    }

    /// Runs `outport …` as the operator, whatever comes of it.
    func attempt(_ arguments: [String]) async throws -> Outcome {
        try await command(
            Program.outport, arguments, environment: ["OUTPORT_CONFIG_DIR": self.configuration, "SWIFT_BACKTRACE": "enable=no"])
    }

    /// Runs `outport …` as the operator.
    @discardableResult
    func callAsFunction(_ arguments: String...) async throws -> String { try await self.attempt(arguments).succeeded().trimmed }

    /// Runs `outport acr … -r REGISTRY`.
    @discardableResult
    func acr(_ arguments: String...) async throws -> String {
        try await self.attempt(["acr"] + arguments + ["-r", self.registryName]).succeeded().trimmed
    }

    /// Makes a token: with a scope map of its own for `repository`, or with a named one.
    func token(_ name: String, scopeMap: String = "_repositories_admin") async throws -> Credentials {
        let password = try await self.acr(
            "token", "create", "-n", name, "--scope-map", scopeMap, "--query", "credentials.passwords[0].value", "-o", "tsv")
        return Credentials(name: name, password: password)
    }

    func token(_ name: String, repository: String, _ actions: String...) async throws -> Credentials {
        let answer = try await self.attempt(
            [
                "acr", "token", "create", "-n", name, "-r", self.registryName, "--query", "credentials.passwords[0].value", "-o", "tsv",
                "--repository", repository,
            ] + actions
        ).succeeded()
        return Credentials(name: name, password: answer.trimmed)
    }

    /// The server as a registry, asked by someone who may do everything.
    func registry(by credentials: Credentials) throws -> Registry { try self.server.registry(credentials) }

    /// Makes a connected registry.
    ///
    /// - Returns: its connection string.
    func connectedRegistry(
        _ name: String, repository: String = "app", tokens: [String] = [], mode: String? = nil, parent: String? = nil
    ) async throws -> String {
        var arguments = ["acr", "connected-registry", "create", "-r", self.registryName, "-n", name, "--repository", repository, "--yes"]
        if let mode { arguments += ["--mode", mode] }
        if let parent { arguments += ["--parent", parent] }
        if !tokens.isEmpty { arguments += ["--client-tokens"] + tokens }
        try await self.attempt(arguments).succeeded()
        return try await self.connectionString(name)
    }

    func connectionString(_ name: String, slot: Int = 1) async throws -> String {
        try await self.acr(
            "connected-registry", "get-settings", "-n", name, "--parent-protocol", "https", "--generate-password", "\(slot)", "--query",
            "ACR_REGISTRY_CONNECTION_STRING", "-o", "tsv", "-y")
    }

    func state(of name: String) async throws -> String {
        try await self.acr("connected-registry", "show", "-n", name, "--query", "connectionState", "-o", "tsv")
    }
}

/// A connected registry that was told nothing but its connection string.
enum Child {
    /// Nothing of the tests' environment.
    static var bareEnvironment: [String: String] { ["PATH": "/usr/bin:/bin", "SWIFT_BACKTRACE": "enable=no"] }

    static func make(_ box: Sandbox, _ connectionString: String, data: String? = nil, port: Int? = nil) throws -> OutportServer {
        let file = try box.file("connection-string", connectionString)
        return OutportServer(
            .connect, box: box, data: data ?? box.path("child"), port: try port ?? Ports.free(),
            arguments: ["--connection-string-file", file],
            environment: self.bareEnvironment)
    }

    static func start(_ box: Sandbox, _ connectionString: String, data: String? = nil) async throws -> OutportServer {
        let child = try self.make(box, connectionString, data: data)
        try await child.start()
        return child
    }
}
