// The names a server goes by: which registry a host name means, and which names it gives out.

/// Public names of a server.
///
/// With a suffix every registry has a name of its own (`<registry>.<suffix>`, data endpoint
/// `<registry>.<region>.data.<suffix>`). Without one the only registry answers on the bare public address.
package struct ServerNames: Sendable {
    /// Where clients reach the listener: host and port.
    package let publicAddress: HostAndPort
    /// Further names of the listener itself (`localhost` for a loopback address).
    package let aliases: [HostAndPort]
    package let suffix: HostAndPort?
    /// The region of registries that name none, `eastus` style.
    package let region: String
    /// Where the control plane is, when it has a listener of its own.
    package let management: HostAndPort?

    package init(
        publicAddress: HostAndPort, aliases: [HostAndPort] = [], suffix: HostAndPort?, region: String, management: HostAndPort? = nil
    ) {
        self.management = management
        self.publicAddress = publicAddress
        self.aliases = aliases
        self.suffix = suffix
        self.region = region
    }

    /// What a host name means.
    package enum Match: Sendable, Hashable {
        /// A registry by its name, in lower case.
        case registry(String)
        /// The listener itself: the only registry, and the control plane.
        case listener
        /// No name of ours.
        case foreign
    }

    package func match(_ host: HostAndPort?) -> Match {
        guard let host else { return .foreign }
        if let suffix, host.port ?? 443 == suffix.port ?? 443, host.host.hasSuffix("." + suffix.host) {
            let labels = host.host.dropLast(suffix.host.count + 1).split(separator: ".")
            if labels.count == 1 || (labels.count == 3 && labels[2] == "data") { return .registry(String(labels[0])) }
        }
        if let suffix, host.host == suffix.host, host.port ?? 443 == suffix.port ?? 443 { return .listener }
        let isOurs = ([self.publicAddress, self.management].compactMap { $0 } + self.aliases).contains {
            $0.host == host.host && $0.port ?? 443 == host.port ?? 443
        }
        return isOurs ? .listener : .foreign
    }

    /// The host to write into answers: the one the client used when it is ours, else the public address.
    package func canonical(_ host: HostAndPort?) -> HostAndPort {
        if let host, self.match(host) != .foreign { host } else { self.publicAddress }
    }

    package func loginServer(of registry: String) -> String {
        guard let suffix else { return self.publicAddress.description }
        return HostAndPort(host: "\(registry.lowercased()).\(suffix.host)", port: suffix.port).description
    }

    package func dataEndpoint(of registry: String, region: String) -> String {
        guard let suffix else { return self.publicAddress.description }
        return HostAndPort(host: "\(registry.lowercased()).\(region.lowercased()).data.\(suffix.host)", port: suffix.port).description
    }

    /// The control plane's base URL, without a final slash.
    package var controlPlane: String { "https://\(self.management ?? self.publicAddress)" }

    /// Names the server's certificate must cover.
    ///
    /// - Parameter registries: the registries that exist: a wildcard covers one label only, a data endpoint has three.
    package func certificateNames(registries: [(name: String, region: String)] = []) -> [String] {
        var names = [self.publicAddress.host, self.management?.host].compactMap { $0 } + self.aliases.map(\.host)
        if let suffix {
            names += [suffix.host, "*.\(suffix.host)"]
            // `*.<region>.data.<suffix>` covers every registry of a region.
            names += Set([self.region] + registries.map(\.region)).sorted().map { "*.\($0.lowercased()).data.\(suffix.host)" }
        }
        var seen: Set<String> = []
        return names.filter { seen.insert($0).inserted }
    }
}
