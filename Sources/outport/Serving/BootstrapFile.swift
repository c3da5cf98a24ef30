// `bootstrap.json`: the operator's copy of the first sign-in.

internal import ArgumentParser
internal import Foundation
internal import HTTPServing
internal import Identity
internal import Persistence
internal import ResourceManager

/// Writes `bootstrap.json`, readable by its owner only.
struct BootstrapFile: Sendable {
    let path: String
    let authorityPath: String
    private let resourceManager: String
    private let hasAuthority: Bool

    init(folder: DataFolder, names: ServerNames, hasAuthority: Bool) {
        self.path = folder.path + "/bootstrap.json"
        self.authorityPath = folder.tlsPath + "/ca.pem"
        self.resourceManager = names.controlPlane
        self.hasAuthority = hasAuthority
    }

    struct Content: Codable {
        var tenantId: String
        var subscriptionId: String
        var clientId: String
        var clientSecret: String
        var resourceManager: String
        var caFile: String?
    }

    func write(_ installation: Installation, secret: String) throws {
        try Self.write(
            Content(
                tenantId: installation.tenantID, subscriptionId: installation.subscriptionID, clientId: installation.clientID,
                clientSecret: secret,
                resourceManager: self.resourceManager, caFile: self.hasAuthority ? self.authorityPath : nil), to: self.path)
    }

    static func write(_ content: Content, to path: String) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        try FileSystem.replace(path, with: try encoder.encode(content) + Data("\n".utf8))
    }

    static func read(_ path: String) throws -> Content {
        try JSONDecoder().decode(Content.self, from: Data(try FileSystem.read(path)))
    }
}

/// `outport bootstrap`: what concerns the first sign-in.
struct BootstrapCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bootstrap", abstract: "Manage the first sign-in of a parent.", subcommands: [Reset.self])

    /// `outport bootstrap reset`
    struct Reset: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Make a new secret for the administrator; earlier ones end.",
            discussion:
                "The server must not be running. The new secret is written to bootstrap.json in the data folder.\n\nExample: outport bootstrap reset --data /var/lib/outport"
        )

        @Option(help: "The data folder of the parent.")
        var data: String

        func run() async throws {
            let node = try await Node.opened(data: self.data)
            let path = node.folder.path + "/bootstrap.json"
            let bootstrap = Bootstrap(database: node.database, directory: Directory(database: node.database))
            let (installation, secret) = try await bootstrap.resetSecret()
            let earlier = try? BootstrapFile.read(path)
            try BootstrapFile.write(
                .init(
                    tenantId: installation.tenantID, subscriptionId: installation.subscriptionID, clientId: installation.clientID,
                    clientSecret: secret, resourceManager: earlier?.resourceManager ?? "", caFile: earlier?.caFile), to: path)
            await node.close()
            printResult("a new secret is in \(path)")
        }
    }
}
