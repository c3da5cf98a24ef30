// `outport image …`: the program as a container image.

internal import ArgumentParser
internal import Kubernetes

struct ImageCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "image", abstract: "Make a container image of this program.", subcommands: [ImageBuildCommand.self])
}

struct ImageBuildCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "build", abstract: "Write an OCI image archive of this program and the libraries it needs.",
        discussion: """
            No container engine is needed. The image runs as a user without rights and keeps its data in /var/lib/outport.

            Example: outport image build --output outport.tar && skopeo copy oci-archive:outport.tar docker://registry.example/outport:0.1.0
            """)

    @Option(help: "The archive to write.")
    var output: String

    @Option(help: "The tag within the archive.")
    var tag = outportVersion

    func run() async throws {
        let digest = try ImageBuilder.current(version: outportVersion).write(archive: self.output, tag: self.tag)
        announce("\(self.output) holds \(digest)")
    }
}
