// What a node must know to pull from a registry with a CA of its own, for each container runtime, as files.
//
// This target holds what runs on nodes and in clusters: trust in a registry, credentials for the kubelet.

package import HTTPServing

/// Whose configuration is written.
package enum ContainerRuntime: String, Sendable, CaseIterable {
    /// `certs.d` with `hosts.toml`, read at each pull (containerd, "Registry Configuration").
    case containerd
    /// `certs.d` of Docker.
    case docker
    /// `certs.d` of podman, skopeo and CRI-O (containers-certs.d(5)).
    case containers

    /// Where the runtime looks.
    var folder: String {
        switch self {
        case .containerd: "/etc/containerd/certs.d"
        case .docker: "/etc/docker/certs.d"
        case .containers: "/etc/containers/certs.d"
        }
    }

    /// The folder that tells whether the runtime is on a node.
    package var home: String { String(self.folder.dropLast("/certs.d".count)) }
}

/// A file as it should be on a node.
package struct NodeFile: Sendable, Hashable {
    /// Absolute, as processes of the node see it.
    package let path: String
    package let content: [UInt8]

    package init(path: String, content: [UInt8]) {
        self.path = path
        self.content = content
    }
}

/// Trust in registries, and what else is served by them.
package struct NodeTrust: Sendable {
    /// Host names or addresses, with ports, under which images are named.
    package let registries: [HostAndPort]
    /// The CA in PEM; `nil` for plain HTTP, on purpose.
    package let authority: [UInt8]?
    /// Names of other registries whose images are asked for here first, such as `docker.io`.
    package let mirrored: [HostAndPort]
    package let runtimes: [ContainerRuntime]

    package init(registries: [HostAndPort], authority: [UInt8]?, mirrored: [HostAndPort], runtimes: [ContainerRuntime]) {
        self.registries = registries
        self.authority = authority
        self.mirrored = mirrored
        self.runtimes = runtimes
    }

    /// Every file, in the order in which it is written: a CA before what names it.
    package var files: [NodeFile] { self.runtimes.flatMap(self.files) }

    private func files(_ runtime: ContainerRuntime) -> [NodeFile] {
        switch runtime {
        case .containerd:
            self.registries.flatMap { self.containerd(as: "\($0)", upstream: nil, hosts: [$0]) }
                + self.mirrored.flatMap { self.containerd(as: "\($0)", upstream: Self.server(of: $0), hosts: self.registries) }
        case .docker, .containers:
            // These know mirrors elsewhere, and plain HTTP, too; what they know here is whom to trust.
            self.registries.compactMap { host in
                self.authority.map { NodeFile(path: "\(runtime.folder)/\(host)/ca.crt", content: $0) }
            }
        }
    }

    private func containerd(as name: String, upstream: String?, hosts: [HostAndPort]) -> [NodeFile] {
        let folder = "\(ContainerRuntime.containerd.folder)/\(name)"
        let scheme = self.authority == nil ? "http" : "https"
        var text = "# Written by outport; it is put back as it was when trust is removed.\n"
        text += "server = \"\(upstream ?? "\(scheme)://\(name)")\"\n"
        for host in hosts {
            // A mirror is asked for what others push elsewhere.
            let capabilities = upstream == nil ? #""pull", "resolve", "push""# : #""pull", "resolve""#
            text += "\n[host.\"\(scheme)://\(host)\"]\n  capabilities = [\(capabilities)]\n"
            if self.authority != nil { text += "  ca = \"\(folder)/outport-ca.crt\"\n" }
        }
        let ca = self.authority.map { [NodeFile(path: "\(folder)/outport-ca.crt", content: $0)] } ?? []
        return ca + [NodeFile(path: "\(folder)/hosts.toml", content: Array(text.utf8))]
    }

    /// Docker Hub answers under another name than its images have.
    private static func server(of host: HostAndPort) -> String {
        "\(host)" == "docker.io" ? "https://registry-1.docker.io" : "https://\(host)"
    }
}
