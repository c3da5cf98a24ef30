// `outport image …`: the program as a container image.

internal import ArgumentParser
internal import Foundation
internal import JSON
internal import Kubernetes
internal import NIOPosix
internal import OCI
internal import Persistence
internal import RegistryClient

struct ImageCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "image", abstract: "Make a container image of this program.",
        subcommands: [ImageBuildCommand.self, ImageIndexCommand.self])
}

/// Where an image is pushed, and as whom.
struct PushOptions: ParsableArguments {
    @Option(help: "The CA of the registry in PEM; otherwise what the system trusts.")
    var ca: String?

    @Flag(help: "The registry speaks plain HTTP.")
    var plainHttp = false

    @Option(help: "The user name to sign in with.")
    var username: String?

    @Option(help: ArgumentHelp("File with its password.", valueName: "file"))
    var passwordFile: String?

    func validate() throws {
        guard (self.username == nil) == (self.passwordFile == nil) else {
            throw ValidationError("--username and --password-file go together")
        }
    }

    static func image(_ text: String) throws -> (image: PulledImage, tag: String) {
        guard let image = PulledImage(text), case .tag(let tag) = image.reference else {
            throw ValidationError("'\(text)' names no image: use REGISTRY/REPOSITORY:TAG")
        }
        return (image, "\(tag)")
    }

    /// A pusher to the repository of an image, for the time of `body`.
    func withPusher<Result>(_ image: PulledImage, _ body: (ImagePusher) async throws -> Result) async throws -> Result {
        let trust = try self.ca.map { TrustPolicy.authorities([String(decoding: try FileSystem.read($0), as: UTF8.self)]) } ?? .system
        let transport = try NIOTransport(group: MultiThreadedEventLoopGroup.singleton, trust: trust)
        defer { transport.close() }
        let password = try self.passwordFile.map {
            String(decoding: try FileSystem.read($0, limit: 64 << 10), as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
        }
        let endpoint = ServerEndpoint(
            host: image.registry.host, port: image.registry.port ?? (self.plainHttp ? 80 : 443), isSecure: !self.plainHttp)
        let session = RegistrySession(
            endpoint: endpoint, transport: transport, credentials: self.username.flatMap { user in password.map { (user, $0) } })
        return try await body(ImagePusher(session: session, repository: image.repository))
    }
}

struct ImageBuildCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "build", abstract: "Make an OCI image of this program and the libraries it needs.",
        discussion: """
            No container engine is needed. The image runs as a user without rights and keeps its data in /var/lib/outport. It goes to a
            registry (--push) or into an archive (--output).

            Examples:
              outport image build --push 10.0.0.5:8443/tools/outport:0.1.0 --ca ca.pem --username builder --password-file password.txt
              outport image build --output outport.tar
            """)

    @Option(help: "Where to push it, REGISTRY/REPOSITORY:TAG.")
    var push: String?

    @Option(help: "The archive to write.")
    var output: String?

    @Option(help: "The tag within the archive.")
    var tag = outportVersion

    @OptionGroup var options: PushOptions

    func validate() throws {
        guard (self.push != nil) != (self.output != nil) else {
            throw ValidationError("give --push REGISTRY/REPOSITORY:TAG or --output FILE")
        }
    }

    func run() async throws {
        let builder = try ImageBuilder.current(version: outportVersion)
        if let output {
            let digest = try await builder.write(archive: output, tag: self.tag)
            printResult("\(output) holds \(digest)")
        } else if let push {
            let (image, tag) = try PushOptions.image(push)
            let digest = try await self.options.withPusher(image) { try await builder.push(to: $0, tag: tag) }
            printResult("\(push) is \(digest)")
        }
    }
}

struct ImageIndexCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "index", abstract: "Put images for several platforms under one tag.",
        discussion: """
            Each image has been pushed before, to the same repository, by 'outport image build --push' on a machine of its kind.

            Example: outport image index --push 10.0.0.5:8443/tools/outport:0.1.0 0.1.0-amd64 0.1.0-arm64 \\
              --username builder --password-file password.txt
            """)

    @Option(help: "Where to push it, REGISTRY/REPOSITORY:TAG.")
    var push: String

    @Argument(help: "Tags or digests of the images, in the same repository.")
    var images: [String]

    @OptionGroup var options: PushOptions

    func run() async throws {
        let (image, tag) = try PushOptions.image(self.push)
        let digest = try await self.options.withPusher(image) { pusher in
            var entries: [JSONValue] = []
            for reference in self.images {
                let (bytes, type, digest) = try await pusher.manifest(reference)
                guard let config = try JSONValue(parsing: bytes)[path: "config", "digest"]?.stringValue else {
                    throw RegistrySessionError("\(reference) is no image of one platform (\(type)); name images, not an index")
                }
                let platform = try JSONValue(parsing: try await pusher.blob(config))
                guard let os = platform["os"], let architecture = platform["architecture"] else {
                    throw RegistrySessionError("\(reference) does not say for which platform it is")
                }
                entries.append([
                    "mediaType": .string(type), "digest": .string(digest), "size": .integer(bytes.count),
                    "platform": ["os": os, "architecture": architecture],
                ])
            }
            let type = "application/vnd.oci.image.index.v1+json"
            let index: JSONValue = ["schemaVersion": 2, "mediaType": .string(type), "manifests": .array(entries)]
            let bytes = Array(index.serialized().utf8)
            try await pusher.push(manifest: bytes, type: type, as: tag)
            return "\(Digest.of(bytes))"
        }
        printResult("\(self.push) is \(digest)")
    }
}
