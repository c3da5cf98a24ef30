// `outport node …`: what is done on a node.

internal import ArgumentParser
internal import HTTPServing
internal import Kubernetes
internal import Persistence
internal import ServiceLifecycle

struct NodeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "node", abstract: "Prepare a node for pulling from a registry.",
        subcommands: [NodeTrustCommand.self, NodeCredentialProviderCommand.self])
}

extension ContainerRuntime: ExpressibleByArgument {}

/// Writes, or puts back, the configuration of a node's container runtimes.
struct NodeTrustCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "trust", abstract: "Make a node's container runtimes trust a registry.",
        discussion: """
            Writes certs.d of containerd, and of docker and podman where they are. Nothing is restarted. What was there is kept, and
            --remove puts it back byte for byte, with modes and owners, also after a run that was cut short.

            Examples:
              outport node trust --registry 10.0.0.5 --ca ca.pem --dry-run
              outport node trust --root /host --registry 10.0.0.5 --ca ca.pem --mirror docker.io
              outport node trust --root /host --remove
            """)

    @Option(help: "Where the node's file tree is: / on the node itself, the mount in a container.")
    var root = "/"

    @Option(help: "A name or address of the registry, with a port unless it is 443. Can be given again.")
    var registry: [String] = []

    @Option(help: "The CA of the registry, in PEM.")
    var ca: String?

    @Flag(help: "The registry speaks plain HTTP, on purpose.")
    var plainHttp = false

    @Option(
        help: "Another registry's name, such as docker.io, whose images are asked for here first (containerd only). Can be given again.")
    var mirror: [String] = []

    @Option(help: "A runtime to configure: containerd, docker or containers. By default containerd, and the others where they are.")
    var runtime: [ContainerRuntime] = []

    @Option(help: "A name for what is written: --remove puts back what was written under it, and nothing else.")
    var set = NodeTree.defaultSet

    @Flag(help: "Put everything back.")
    var remove = false

    @Flag(help: "Show what would be done, and do nothing.")
    var dryRun = false

    @Flag(help: "Stay until told to end, and follow changes of the CA: for a pod on each node.")
    var stay = false

    func validate() throws {
        guard self.set.wholeMatch(of: /[a-z0-9][a-z0-9-]{0,62}/) != nil else {
            throw ValidationError("--set takes lower-case letters, digits and '-'")
        }
        if self.remove {
            guard self.registry.isEmpty, self.ca == nil, self.mirror.isEmpty else {
                throw ValidationError("--remove takes no registry: it puts back all that was written")
            }
        } else {
            guard !self.stay || !self.dryRun else { throw ValidationError("--stay and --dry-run do not go together") }
            guard !self.registry.isEmpty else { throw ValidationError("--registry is needed, or --remove") }
            guard (self.ca != nil) != self.plainHttp else { throw ValidationError("give the registry's CA with --ca, or say --plain-http") }
        }
    }

    func run() async throws {
        try self.once(quietly: false)
        guard self.stay else { return }
        try await Node.run([NodeKeeper(command: self)])
    }

    /// - Parameter quietly: whether to say nothing where there was nothing to do.
    fileprivate func once(quietly: Bool) throws {
        let tree = NodeTree(root: self.root, set: self.set)
        if self.remove {
            let changes = self.dryRun ? try tree.planRemoval() : try tree.remove()
            if !quietly || !changes.isEmpty { self.report(changes) }
            return
        }
        let files = try self.trust(tree).files
        let changes = self.dryRun ? try tree.plan(files) : try tree.apply(files)
        if quietly, changes.isEmpty { return }
        self.report(changes)
        switch try tree.containerdPath() {
        case .set, .unknown: break
        case .missing:
            announce(
                "containerd of this node does not read \(ContainerRuntime.containerd.home)/certs.d yet: set config_path to it in config.toml once, and restart containerd"
            )
        case .other(let path): announce("containerd of this node reads \(path) instead of \(ContainerRuntime.containerd.home)/certs.d")
        }
    }

    private func trust(_ tree: NodeTree) throws -> NodeTrust {
        func hosts(_ texts: [String], _ option: String) throws -> [HostAndPort] {
            try texts.map { text in
                guard let host = HostAndPort(text) else {
                    throw ValidationError("\(option) takes a name or an address, with a port if needed, not '\(text)'")
                }
                return host
            }
        }
        let runtimes =
            self.runtime.isEmpty ? ContainerRuntime.allCases.filter { $0 == .containerd || tree.exists($0.home) } : self.runtime
        var authority: [UInt8]?
        if let ca {
            let bytes = try FileSystem.read(ca)
            guard String(decoding: bytes, as: UTF8.self).contains("-----BEGIN CERTIFICATE-----") else {
                throw ValidationError("\(ca) holds no certificate in PEM")
            }
            authority = bytes
        }
        return NodeTrust(
            registries: try hosts(self.registry, "--registry"), authority: authority, mirrored: try hosts(self.mirror, "--mirror"),
            runtimes: runtimes)
    }

    private func report(_ changes: [NodeChange]) {
        if changes.isEmpty { announce("nothing to do") }
        for change in changes {
            announce(
                "\(self.dryRun ? "would " : "")\(change.kind.rawValue) \(change.path)\(change.kind == .leave ? " (somebody else has changed it)" : "")"
            )
        }
    }
}

/// Looks again now and then, so that a new CA or a file that somebody has removed is seen to.
private struct NodeKeeper: Service {
    /// Seconds.
    private static let interval = 20

    let command: NodeTrustCommand

    func run() async throws {
        await cancelWhenGracefulShutdown {
            while (try? await Task.sleep(for: .seconds(Self.interval))) != nil {
                do {
                    try self.command.once(quietly: true)
                } catch {
                    announce("the node was not looked after: \(error)")
                }
            }
        }
    }
}
