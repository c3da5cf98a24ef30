// Where the server fetches and sends on its users' word: rules for importing and webhooks.

internal import ArgumentParser
internal import Configuration
internal import HTTPServing
internal import Import
internal import NIOPosix
internal import Persistence
internal import RegistryClient
internal import RegistryCore

/// Options of whatever reaches out for users.
struct FetchOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Fetch what is imported from registry NAME at URL, such as docker.io=https://mirror.example/hub. May be repeated.",
            valueName: "name=url"))
    var upstream: [String] = []

    @Option(
        help: ArgumentHelp(
            "Network (10.1.0.0/16), address or host inside, to which imports and webhooks may go. Public addresses are always allowed. May be repeated.",
            valueName: "cidr|host"))
    var fetchAllow: [String] = []

    @Option(help: ArgumentHelp("Authorities in PEM that are believed besides the system's when importing and sending.", valueName: "file"))
    var fetchCA: String?

    /// The upstreams by the name of their registry.
    private func upstreams(_ layers: ConfigReader) throws -> [String: SourceURL] {
        let entries = self.upstream.isEmpty ? layers.stringArray(forKey: "upstream") ?? [] : self.upstream
        var map: [String: SourceURL] = [:]
        for entry in entries {
            let parts = entry.split(separator: "=", maxSplits: 1).map(String.init)
            guard parts.count == 2, let url = SourceURL(parts[1]) else {
                throw ValidationError("--upstream takes NAME=URL, such as docker.io=https://mirror.example, not '\(entry)'")
            }
            map[parts[0].lowercased()] = url
        }
        return map
    }

    /// What reaches out, and for importing where to.
    func open(_ layers: ConfigReader) throws -> (transport: NIOTransport, upstreams: [String: SourceURL]) {
        let upstreams = try self.upstreams(layers)
        let entries = self.fetchAllow.isEmpty ? layers.stringArray(forKey: "fetch-allow") ?? [] : self.fetchAllow
        var policy: AddressPolicy
        do {
            policy = try AddressPolicy(allowing: entries)
        } catch {
            throw ValidationError("--fetch-allow takes a network such as 10.1.0.0/16, an address or a host, not '\(error.text)'")
        }
        // Whoever names an upstream means it to be reached.
        for url in upstreams.values { policy.allow(host: url.endpoint.host) }
        let file = self.fetchCA ?? layers.string(forKey: "fetch-ca")
        let trust: TrustPolicy =
            try file.map { path in
                let pem = String(decoding: try FileSystem.read(path, limit: 1 << 20), as: UTF8.self)
                guard (try? CertificateAuthority.pin(ofPEM: pem)) != nil else {
                    throw ValidationError("--fetch-ca: there is no certificate in PEM in \(path)")
                }
                return .systemAnd([pem])
            } ?? .system
        return (try NIOTransport(group: MultiThreadedEventLoopGroup.singleton, trust: trust, addresses: policy), upstreams)
    }
}
