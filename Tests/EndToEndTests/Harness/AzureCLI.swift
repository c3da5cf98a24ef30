// The unmodified Azure CLI, signed in to a server under test.

import Foundation
import JSON

/// `az` with a configuration of its own: its caches are keyed by host name without port, so two servers must not share one.
struct AzureCLI: Sendable {
    private let program: String
    private let environment: [String: String]

    /// Where the script keeps `az`; found once per run.
    private static let installed = Task<String, any Error> {
        let outcome = try await command(Program.package + "/Scripts/install-azure-cli", [], deadline: .seconds(600))
        return try outcome.succeeded().trimmed
    }

    /// Registers the server as a cloud, with nothing else configured but its CA.
    init(_ box: Sandbox, server: OutportServer, endpoint: String? = nil) async throws {
        self.program = try await Self.installed.value
        self.environment = [
            "AZURE_CONFIG_DIR": try box.newFolder("azure"), "HOME": try box.newFolder("azure-home"), "REQUESTS_CA_BUNDLE": server.ca,
            "AZURE_CORE_COLLECT_TELEMETRY": "no", "AZURE_CORE_NO_COLOR": "yes",
        ]
        try await self("cloud", "register", "--name", "self", "--endpoint-resource-manager", endpoint ?? "https://\(server.address)")
        try await self("cloud", "set", "--name", "self")
    }

    /// Registers the server and signs in as its operator.
    static func operate(_ parent: Parent) async throws -> AzureCLI {
        let bootstrap = try parent.bootstrap()
        let azure = try await AzureCLI(parent.box, server: parent.server, endpoint: bootstrap.resourceManager)
        try await azure(
            "login", "--service-principal", "-u", bootstrap.clientId, "-p", bootstrap.clientSecret, "--tenant", bootstrap.tenantId)
        return azure
    }

    /// Runs `az …`, whatever comes of it.
    func attempt(_ arguments: [String], deadline: Duration = .seconds(900)) async throws -> Outcome {
        try await command(self.program, arguments, environment: self.environment, deadline: deadline)
    }

    func attempt(_ arguments: String...) async throws -> Outcome { try await self.attempt(arguments) }

    /// Runs `az …` to success; what it printed.
    @discardableResult
    func callAsFunction(_ arguments: String...) async throws -> String { try await self.attempt(arguments).succeeded().trimmed }

    /// Runs `az … -o json` to success; what it printed, `null` for nothing.
    func json(_ arguments: String...) async throws -> JSONValue {
        let text = try await self.attempt(arguments + ["-o", "json"]).succeeded().trimmed
        return text.isEmpty ? .null : try JSONValue(parsing: text)
    }

    /// Begins a command in the background, for sign-ins that wait for somebody.
    func start(_ arguments: String..., log: String) async throws -> BackgroundProcess {
        let whole = ProcessInfo.processInfo.environment.merging(self.environment) { _, own in own }
        return try await BackgroundProcess.start(self.program, arguments, environment: whole, log: log)
    }
}
