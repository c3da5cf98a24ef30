// `outport check`: why an image cannot be pulled from here.

internal import ArgumentParser
internal import Foundation
internal import HTTPServing
internal import Kubernetes
internal import NIOCore
internal import NIOPosix
internal import Persistence
internal import RegistryClient

struct CheckCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check", abstract: "Find out why an image cannot be pulled from here.",
        discussion: """
            Walks the way of a pull: name, connection, certificate, clock, credentials, scope, repository, tag, platform, content. The first
            thing in the way is named with what to do next; the exit code is then 1.

            With --node it is the way of this node's containerd: its config_path, the hosts.toml for the registry, the CA and the mirror
            that stand there.

            Examples:
              outport check --image 10.0.0.5/team/app:v1 --ca ca.pem --username mytoken --password "$PASSWORD"
              outport check --node --image 10.0.0.5/team/app:v1 --authfile /var/lib/kubelet/config.json
            """)

    @Option(help: "The image, with its registry: 10.0.0.5/team/app:v1")
    var image: String

    @Option(help: "The registry's CA in PEM; otherwise what the system trusts.")
    var ca: String?

    @Flag(help: "Ask as this node's containerd does, by its own files.")
    var node = false

    @Option(help: "With --node: where the node's file tree is, / on the node itself.")
    var root = "/"

    @Flag(help: "The registry speaks plain HTTP.")
    var plainHttp = false

    @Option(help: "The user name to sign in with.")
    var username: String?

    @Option(help: "Its password.")
    var password: String?

    @Option(help: "A file as docker and podman keep credentials in (config.json, auth.json).")
    var authfile: String?

    @Option(help: "The platform that is wanted, such as linux/arm64. That of this machine by default.")
    var platform: String?

    func validate() throws {
        guard !self.node || (self.ca == nil && !self.plainHttp) else {
            throw ValidationError("with --node the node's own files say whom to believe: leave out --ca and --plain-http")
        }
    }

    func run() async throws {
        guard let name = PulledImage(self.image) else {
            throw ValidationError("'\(self.image)' names no image: use registry/repository:tag, with the registry's name or address")
        }
        guard (self.username == nil) == (self.password == nil) else { throw ValidationError("--username and --password go together") }
        let parts = (self.platform ?? Self.thisPlatform).split(separator: "/").map(String.init)
        guard parts.count >= 2 else {
            throw ValidationError("--platform takes an operating system and an architecture, such as linux/amd64")
        }
        var trust = try self.ca.map { TrustPolicy.authorities([String(decoding: try FileSystem.read($0), as: UTF8.self)]) } ?? .system
        var (server, isSecure) = (name.registry, !self.plainHttp)
        if self.node {
            let found = try NodeCheck(root: self.root).look(at: name.registry)
            found.findings.forEach(Self.tell)
            guard !found.findings.contains(where: \.isInTheWay) else { throw ExitCode(1) }
            (server, isSecure) = (found.server, found.isSecure)
            if let authorities = found.authorities { trust = .authorities(authorities) }
        }
        let transport = try NIOTransport(group: MultiThreadedEventLoopGroup.singleton, trust: trust)
        defer { transport.close() }
        let check = PullCheck(
            image: name.at(server), isSecure: isSecure, credentials: try self.credentials(for: name), platform: (parts[0], parts[1]),
            transport: transport, resolve: { await Self.addresses(of: $0) }, now: { Int64(Date().timeIntervalSince1970) })
        let findings = await check.run()
        findings.forEach(Self.tell)
        guard !findings.contains(where: \.isInTheWay) else { throw ExitCode(1) }
    }

    private static func tell(_ finding: CheckFinding) {
        printResult(
            "\(finding.isInTheWay ? "✗" : "✓") \(finding.step.rawValue.padding(toLength: 12, withPad: " ", startingAt: 0)) \(finding.text)"
        )
        if let advice = finding.advice { printResult("  \(String(repeating: " ", count: 12)) next: \(advice)") }
    }

    private func credentials(for image: PulledImage) throws -> (user: String, password: String)? {
        if let username, let password { return (username, password) }
        guard let authfile else { return nil }
        struct Entries: Decodable {
            struct Entry: Decodable { let auth: String? }
            let auths: [String: Entry]?
        }
        let entries = try JSONDecoder().decode(Entries.self, from: Data(try FileSystem.read(authfile))).auths ?? [:]
        let found = entries["\(image.registry)"] ?? entries["https://\(image.registry)"]
        guard let text = found?.auth, let bytes = Data(base64Encoded: text) else { return nil }
        let pair = String(decoding: bytes, as: UTF8.self).split(separator: ":", maxSplits: 1).map(String.init)
        return pair.count == 2 ? (pair[0], pair[1]) : nil
    }

    private static let thisPlatform: String = {
        #if arch(arm64)
        "linux/arm64"
        #else
        "linux/amd64"
        #endif
    }()

    /// Addresses of a name, off the cooperative threads: the resolver blocks.
    private static func addresses(of host: String) async -> [String] {
        let found = try? await NIOThreadPool.singleton.runIfActive { () -> [String] in
            var hints = addrinfo()
            hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
            var list: UnsafeMutablePointer<addrinfo>?
            guard getaddrinfo(host, nil, &hints, &list) == 0 else { return [] }
            defer { freeaddrinfo(list) }
            var addresses: [String] = []
            var entry = list
            while let current = entry {
                var text = [CChar](repeating: 0, count: Int(NI_MAXHOST))
                if getnameinfo(current.pointee.ai_addr, current.pointee.ai_addrlen, &text, socklen_t(text.count), nil, 0, NI_NUMERICHOST)
                    == 0
                {
                    let address = text.withUnsafeBufferPointer { $0.baseAddress.map { String(cString: $0) } } ?? ""
                    if !addresses.contains(address) { addresses.append(address) }
                }
                entry = current.pointee.ai_next
            }
            return addresses
        }
        return found ?? []
    }
}
