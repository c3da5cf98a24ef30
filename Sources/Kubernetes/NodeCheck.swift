// How the containerd of a node would ask for an image: by which server, and believing whom. Read from the files it reads.

package import HTTPServing
internal import OCI
internal import Persistence

/// What a node's files say about one registry.
package struct NodeRegistry: Sendable {
    /// What was found, with what is in the way.
    package let findings: [CheckFinding]
    /// Whom the node asks: the registry itself, or a mirror of it.
    package let server: HostAndPort
    package let isSecure: Bool
    /// Authorities in PEM; `nil` for those of the system.
    package let authorities: [String]?
}

/// Reads a node's configuration of containerd ("Registry Configuration": `config_path`, `certs.d/<host>/hosts.toml`).
package struct NodeCheck: Sendable {
    private static let folder = "/etc/containerd/certs.d"
    private static let largestFile = 1 << 20

    private let root: String

    /// - Parameter root: where the node's file tree is.
    package init(root: String) { self.root = root == "/" ? "" : root }

    /// What counts for a registry.
    ///
    /// - Throws: ``NodeError`` for a file that cannot be read.
    package func look(at registry: HostAndPort) throws -> NodeRegistry {
        var findings: [CheckFinding] = []
        func stop(_ text: String, _ advice: String) -> NodeRegistry {
            NodeRegistry(
                findings: findings + [CheckFinding(.node, isInTheWay: true, text, advice: advice)], server: registry, isSecure: true,
                authorities: nil)
        }
        switch try NodeTree(root: self.root.isEmpty ? "/" : self.root).containerdPath() {
        case .set: findings.append(CheckFinding(.node, "containerd reads \(Self.folder)"))
        case .unknown: findings.append(CheckFinding(.node, "there is no /etc/containerd/config.toml; \(Self.folder) is taken to be read"))
        case .missing:
            return stop(
                "containerd of this node does not read \(Self.folder)",
                "set config_path = \"\(Self.folder)\" in /etc/containerd/config.toml, once, and restart containerd")
        case .other(let path):
            return stop(
                "containerd of this node reads \(path) and not \(Self.folder)",
                "set config_path in /etc/containerd/config.toml, or put the registry's folder there")
        }
        guard let (folder, hosts) = try self.hosts(of: registry) else {
            findings.append(CheckFinding(.node, "nothing is written for \(registry): the system's authorities count"))
            return NodeRegistry(findings: findings, server: registry, isSecure: true, authorities: nil)
        }
        guard let (server, isSecure) = Self.server(hosts.url ?? "https://\(registry)") else {
            return stop(
                "\(folder)/hosts.toml names the server '\((hosts.url ?? "").prefix(200))', which is no address",
                "write it anew with 'outport node trust --registry \(registry) --ca FILE'")
        }
        findings.append(
            CheckFinding(
                .node, server == registry ? "\(folder)/hosts.toml counts" : "\(registry) is asked for at \(server) first (\(folder))"))
        guard isSecure else { return NodeRegistry(findings: findings, server: server, isSecure: false, authorities: nil) }
        var authorities: [String] = []
        for path in hosts.authorities {
            let place = path.hasPrefix("/") ? path : "\(folder)/\(path)"
            guard let text = try self.read(place) else {
                return stop("\(folder)/hosts.toml names the CA \(place), which is not there", "run 'outport node trust' again")
            }
            guard text.contains("-----BEGIN CERTIFICATE-----") else {
                return stop("the CA \(place) is no certificate in PEM", "run 'outport node trust' again")
            }
            authorities.append(text)
        }
        findings.append(CheckFinding(.node, authorities.isEmpty ? "the system's authorities count" : "a CA of its own is believed"))
        return NodeRegistry(findings: findings, server: server, isSecure: true, authorities: authorities.isEmpty ? nil : authorities)
    }

    /// The file for a registry, or the one for all others.
    private func hosts(of registry: HostAndPort) throws -> (folder: String, HostsFile)? {
        // A port may stand as `_5000_` too: file names with colons are not everywhere.
        var names = ["\(registry)"]
        if let port = registry.port { names.append("\(registry.host)_\(port)_") }
        for name in names + ["_default"] {
            let folder = "\(Self.folder)/\(name)"
            if let text = try self.read("\(folder)/hosts.toml") { return (folder, HostsFile(text)) }
        }
        return nil
    }

    private func read(_ path: String) throws -> String? {
        let place = self.root + path
        guard FileSystem.exists(place) else { return nil }
        do {
            return String(decoding: try FileSystem.read(place, limit: Self.largestFile), as: UTF8.self)
        } catch {
            throw NodeError(description: "cannot read \(place): \(error)")
        }
    }

    private static func server(_ url: String) -> (HostAndPort, isSecure: Bool)? {
        let isSecure = !url.hasPrefix("http://")
        let rest = url.hasPrefix("https://") ? url.dropFirst(8) : url.hasPrefix("http://") ? url.dropFirst(7) : url[...]
        guard let host = HostAndPort(String(rest.prefix { $0 != "/" })) else { return nil }
        return (host, isSecure)
    }
}

/// The members of a `hosts.toml` that say whom containerd asks first: no more of TOML than such files have.
struct HostsFile: Sendable, Equatable {
    /// The first host that may be pulled from, else the server.
    private(set) var url: String?
    private(set) var authorities: [String] = []

    init(_ text: String) {
        struct Section {
            var url: String?
            var authorities: [String] = []
            var pulls = true
        }
        var sections = [Section()]
        for line in text.split(whereSeparator: \.isNewline) {
            let line = line.drop(while: \.isWhitespace)
            if line.hasPrefix("[") {
                // [host."https://10.0.0.5"]; a table below a host belongs to that host.
                let strings = Self.strings(in: line)
                if line.dropFirst().hasPrefix("host."), let url = strings.first, url != sections.last?.url {
                    sections.append(Section(url: url))
                }
                continue
            }
            guard let equals = line.firstIndex(of: "=") else { continue }
            let key = line[..<equals].filter { !$0.isWhitespace }
            let values = Self.strings(in: line[line.index(after: equals)...])
            switch key {
            case "server" where sections.count == 1: sections[0].url = values.first
            case "ca": sections[sections.count - 1].authorities = values
            case "capabilities": sections[sections.count - 1].pulls = values.contains("pull")
            default: continue
            }
        }
        let chosen = sections.dropFirst().first(where: \.pulls) ?? sections[0]
        self.url = chosen.url
        self.authorities = chosen.authorities
    }

    /// What stands in quotes, up to a comment.
    private static func strings(in text: some StringProtocol) -> [String] {
        var found: [String] = []
        var current: String?
        var quote: Character?
        for character in text {
            if let open = quote {
                if character == open {
                    found.append(current ?? "")
                    (current, quote) = (nil, nil)
                } else {
                    current?.append(character)
                }
            } else if character == "\"" || character == "'" {
                (quote, current) = (character, "")
            } else if character == "#" {
                break
            }
        }
        return found
    }
}
