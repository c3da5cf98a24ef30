// The clients people have, each with its files in the sandbox.

import Foundation
import Subprocess
import Synchronization

/// Runs a client that is written in Go, and again where its own clock of ten seconds for a handshake ran out: on a busy machine both ends
/// of it wait for their turn. Nothing has been said by then.
private func client(_ program: String, _ arguments: [String], environment: [String: String] = [:], input: String = "") async throws
    -> Outcome
{
    for _ in 0..<5 {
        let outcome = try await command(program, arguments, environment: environment, input: input)
        guard !outcome.isSuccess, outcome.text.contains("TLS handshake timeout") else { return outcome }
    }
    return try await command(program, arguments, environment: environment, input: input)
}

/// skopeo, podman and buildah.
struct Clients: Sendable {
    let environment: [String: String]
    private let storage: [String]

    init(_ box: Sandbox) throws {
        let home = try box.newFolder("home")
        let configuration = home + "/.config/containers"
        try FileManager.default.createDirectory(atPath: configuration, withIntermediateDirectories: true)
        try Data(#"{"default": [{"type": "insecureAcceptAnything"}]}"#.utf8).write(to: URL(filePath: configuration + "/policy.json"))
        // What works in a container without systemd and without the right to raise limits.
        let containers = try box.file(
            "containers.conf",
            """
            [containers]
            default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
            [engine]
            cgroup_manager = "cgroupfs"
            events_logger = "file"
            runtime = "runc"
            """)
        self.environment = [
            "HOME": home, "XDG_CONFIG_HOME": home + "/.config", "XDG_DATA_HOME": home + "/.local/share", "CONTAINERS_CONF": containers,
            "REGISTRY_AUTH_FILE": home + "/auth.json",
        ]
        self.storage = [
            "--root", try box.newFolder("containers"), "--runroot", try box.newFolder("containers-run"), "--storage-driver", "vfs",
        ]
        let clients = self
        box.atEnd { if clients.hasStorage { _ = try? await clients.podman("rm", "--all", "--force") } }
    }

    private var hasStorage: Bool { FileManager.default.fileExists(atPath: self.storage[1] + "/vfs") }

    /// Writes the user's credentials for a registry where the clients look for them.
    func signIn(_ registry: Registry) throws {
        guard let credentials = registry.credentials else { return }
        let file = URL(filePath: self.environment["REGISTRY_AUTH_FILE"]!)
        var auths = ((try? JSONSerialization.jsonObject(with: Data(contentsOf: file))) as? [String: [String: Any]])?["auths"] ?? [:]
        auths[registry.address] = ["auth": Data("\(credentials.name):\(credentials.password)".utf8).base64EncodedString()]
        try JSONSerialization.data(withJSONObject: ["auths": auths]).write(to: file)
    }

    func skopeo(_ arguments: String...) async throws -> Outcome { try await client("skopeo", arguments, environment: self.environment) }
    func podman(_ arguments: String...) async throws -> Outcome {
        try await client("podman", self.storage + arguments, environment: self.environment)
    }
    func buildah(_ arguments: String...) async throws -> Outcome {
        try await client("buildah", self.storage + arguments, environment: self.environment)
    }

    /// Copies an image to a registry with skopeo.
    func push(_ source: String, to registry: Registry, _ name: String, _ options: String...) async throws -> Outcome {
        try self.signIn(registry)
        let arguments =
            ["copy", "--quiet", "--dest-cert-dir", try registry.trustFolder()] + options + [source, "docker://\(registry.address)/\(name)"]
        return try await client("skopeo", arguments, environment: self.environment)
    }

    /// Copies an image from a registry into a new OCI layout (or the form that `options` and `target` name) with skopeo.
    func pull(_ registry: Registry, _ name: String, into target: String, _ options: String...) async throws -> Outcome {
        try self.signIn(registry)
        let arguments =
            ["copy", "--quiet", "--src-cert-dir", try registry.trustFolder()] + options + ["docker://\(registry.address)/\(name)", target]
        return try await client("skopeo", arguments, environment: self.environment)
    }

    func curl(_ registry: Registry, _ arguments: String...) async throws -> Outcome {
        var all = ["--silent", "--show-error", "--max-time", "600", "--cacert", registry.ca]
        if let credentials = registry.credentials { all += ["-u", "\(credentials.name):\(credentials.password)"] }
        return try await command("curl", all + arguments)
    }
}

/// A containerd of its own.
struct Containerd: Sendable {
    private let socket: String
    private let box: Sandbox

    static func start(_ box: Sandbox) async throws -> Containerd {
        let folder = try box.newFolder("containerd")
        let configuration = try box.file(
            "containerd.toml",
            """
            version = 2
            root = "\(folder)/root"
            state = "\(folder)/state"
            disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs"]
            [grpc]
              address = "\(folder)/c.sock"
            """)
        let process = try await BackgroundProcess.start("containerd", ["--config", configuration], log: box.path("containerd.log"))
        box.atEnd { _ = try? await process.stop() }
        let containerd = Containerd(socket: folder + "/c.sock", box: box)
        try await eventually("an answer of containerd") { try await containerd.ctr("version").isSuccess }
        return containerd
    }

    func ctr(_ arguments: String...) async throws -> Outcome { try await self.ctr(arguments) }
    private func ctr(_ arguments: [String]) async throws -> Outcome { try await client("ctr", ["--address", self.socket] + arguments) }

    private func access(_ registry: Registry) throws -> [String] {
        let folder = try self.box.newFolder("certs.d")
        try FileManager.default.createDirectory(atPath: "\(folder)/\(registry.address)", withIntermediateDirectories: true)
        let hosts = """
            server = "https://\(registry.address)"
            [host."https://\(registry.address)"]
              capabilities = ["pull", "resolve", "push"]
              ca = "\(registry.ca)"
            """
        try Data(hosts.utf8).write(to: URL(filePath: "\(folder)/\(registry.address)/hosts.toml"))
        return ["--hosts-dir", folder] + (registry.credentials.map { ["-u", "\($0.name):\($0.password)"] } ?? [])
    }

    func pull(_ registry: Registry, _ name: String) async throws -> Outcome {
        try await self.ctr(["images", "pull", "--snapshotter", "native"] + (try self.access(registry)) + ["\(registry.address)/\(name)"])
    }

    /// Pulls as a node would whose `/etc/containerd` is that of a tree: the paths within its files are those of the node.
    func pull(_ registry: Registry, _ name: String, asNode root: String) async throws -> Outcome {
        let user = registry.credentials.map { "-u '\($0.name):\($0.password)'" } ?? ""
        let script =
            "mkdir -p /etc/containerd && mount --bind '\(root)/etc/containerd' /etc/containerd && ctr --address '\(self.socket)' images pull "
            + "--snapshotter native --hosts-dir /etc/containerd/certs.d \(user) '\(registry.address)/\(name)'"
        return try await client("unshare", ["--mount", "bash", "-c", script])
    }

    func push(_ registry: Registry, _ name: String, from local: String) async throws -> Outcome {
        try await self.ctr(["images", "push"] + (try self.access(registry)) + ["\(registry.address)/\(name)", local])
    }

    /// The digest under which containerd keeps an image.
    func digest(_ registry: Registry, _ name: String) async throws -> String? {
        let lines = try await self.ctr("images", "ls", "name==\(registry.address)/\(name)").succeeded().output.split(separator: "\n")
        return lines.dropFirst().first?.split(separator: " ").first { $0.hasPrefix("sha256:") }.map(String.init)
    }
}

/// A Docker engine of its own that leaves the network alone. Docker takes 127.0.0.0/8 for insecure, so this shows the
/// protocol and not the trust.
struct Docker: Sendable {
    private let socket: String
    private let configuration: String

    static func start(_ box: Sandbox) async throws -> Docker {
        let folder = try box.newFolder("docker")
        let process = try await BackgroundProcess.start(
            "dockerd",
            [
                "--data-root", folder + "/data", "--exec-root", folder + "/exec", "--pidfile", folder + "/pid", "-H",
                "unix://\(folder)/d.sock",
                "--iptables=false", "--ip6tables=false", "--ip-masq=false", "--bridge=none", "--storage-driver", "vfs",
            ], log: box.path("dockerd.log"))
        box.atEnd { _ = try? await process.stop() }
        let docker = Docker(socket: "unix://\(folder)/d.sock", configuration: try box.newFolder("docker-config"))
        try await eventually("an answer of dockerd") {
            guard !process.hasEnded else { throw HarnessError("dockerd ended: \(process.output.suffix(1000))") }
            return try await docker.run("version").isSuccess
        }
        return docker
    }

    func run(_ arguments: String..., input: String = "") async throws -> Outcome {
        try await client("docker", ["--config", self.configuration, "-H", self.socket] + arguments, input: input)
    }

    func signIn(_ registry: Registry) async throws {
        guard let credentials = registry.credentials else { return }
        try await self.run("login", "-u", credentials.name, "--password-stdin", registry.address, input: credentials.password).succeeded()
    }
}
