// `outport acr import`: the server fetches, this command waits.

import ArgumentParser
import JSON

struct ImportCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "import", abstract: "Imports an image to a container registry from another container registry.",
        discussion: """
            The server fetches the image; nothing passes through here. docker.io/nginx means docker.io/library/nginx:latest.

            Example: outport acr import -n myregistry --source docker.io/library/nginx:1.27 -t nginx:1.27
            """)

    @OptionGroup var registry: RegistryName

    @Option(help: "The source identifier: HOST/REPOSITORY:TAG, HOST/REPOSITORY@DIGEST, or with --registry REPOSITORY:TAG.")
    var source: String

    @Option(name: [.customShort("t"), .customLong("image")], help: "The name and tag of the image: REPOSITORY:TAG. May be repeated.")
    var image: [String] = []

    @Option(help: "The repository for a manifest-only copy, without a tag. May be repeated.")
    var repository: [String] = []

    @Option(name: [.customShort("r"), .customLong("registry")], help: "The source registry of this server, by name or resource id.")
    var sourceRegistry: String?

    @Option(name: [.customShort("u"), .long], help: "The username of the source registry.")
    var username: String?

    @Option(name: [.customShort("p"), .long], help: "The password of the source registry.")
    var password: String?

    @Flag(help: "Overwrite the existing tag of the image to be imported.")
    var force = false

    @Flag(help: "Do not wait for the long-running operation to finish.")
    var noWait = false

    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        if username != nil, password == nil {
            throw .usage("the following arguments are required: --password (with --username)")
        }
        var source: JSONValue = [:]
        var name = self.source
        if let sourceRegistry {
            let id =
                sourceRegistry.hasPrefix("/")
                ? sourceRegistry : try await session.registryID(try session.registryName(sourceRegistry))
            source[path: "resourceId"] = .string(id)
        } else {
            guard let slash = name.firstIndex(of: "/"), name[..<slash].contains(where: { $0 == "." || $0 == ":" }) else {
                throw .usage(
                    "'\(name)' names no registry: write HOST/REPOSITORY:TAG, such as docker.io/library/nginx:latest, or add --registry")
            }
            source[path: "registryUri"] = .string(String(name[..<slash]))
            name = String(name[name.index(after: slash)...])
        }
        source[path: "sourceImage"] = .string(name)
        if let password {
            source[path: "credentials"] = ["password": .string(password)]
            if let username { source[path: "credentials", "username"] = .string(username) }
        }
        var body: JSONValue = ["source": source, "mode": force ? "Force" : "NoForce"]
        let targets = image.isEmpty && repository.isEmpty && !name.contains("@") ? [name] : image
        body[path: "targetTags"] = .strings(targets)
        if !repository.isEmpty { body[path: "untaggedTargetRepositories"] = .strings(repository) }
        let path = try await session.registryPath(registry.name, registry.group) + "/importImage"
        if noWait {
            try await session.client.start(path, body)
            return nil
        }
        let bar = ProgressBar(console: session.console)
        defer { bar.end() }
        try await session.client.post(path, body) { bar.show($0[path: "properties"] ?? .null) }
        return nil
    }
}
