// Where this server connects to on somebody else's word: importing and webhooks take addresses from users, who must not
// reach through it what they cannot reach themselves.

package import NIOCore
internal import NIOPosix
internal import OCI

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#else
internal import Darwin
#endif

/// Decides by the address that a connection goes to, not by the name: a name may be made to point anywhere.
///
/// Public addresses are allowed. Loopback and private ones are only where the operator has listed the network or the host.
/// Link-local, multicast and unspecified ones never are: that is where clouds keep their credentials.
package struct AddressPolicy: Sendable, Hashable {
    /// An entry of the list that is neither a network nor a host.
    package struct Invalid: Error, Sendable {
        package let text: String
    }

    private var networks: [IPNetwork] = []
    private var hosts: Set<String> = []

    /// - Parameter entries: networks (`10.1.0.0/16`, `fd00::/8`), addresses, or names of hosts.
    package init(allowing entries: [String] = []) throws(Invalid) {
        for entry in entries {
            if let network = IPNetwork(entry) {
                self.networks.append(network)
            } else if !entry.isEmpty, entry.utf8.allSatisfy({ $0.isHostByte }), !entry.contains(":") {
                self.hosts.insert(entry.lowercased())
            } else {
                throw Invalid(text: entry)
            }
        }
    }

    /// Allows a host that the operator has named elsewhere.
    package mutating func allow(host: String) {
        self.hosts.insert(host.lowercased())
        if let network = IPNetwork(host) { self.networks.append(network) }
    }

    private static func ranges(_ table: [(String, String)]) -> [(network: IPNetwork, what: String)] {
        table.compactMap { text, what in IPNetwork(text).map { ($0, what) } }
    }

    private static let never = ranges([
        ("0.0.0.0/8", "unspecified"), ("169.254.0.0/16", "link-local"), ("224.0.0.0/3", "reserved"), ("fe80::/10", "link-local"),
        ("ff00::/8", "multicast"), ("::/128", "unspecified"),
    ])

    private static let inside = ranges([
        ("127.0.0.0/8", "loopback"), ("10.0.0.0/8", "private"), ("172.16.0.0/12", "private"), ("192.168.0.0/16", "private"),
        ("100.64.0.0/10", "shared"), ("192.0.0.0/24", "reserved"), ("198.18.0.0/15", "reserved"), ("::1/128", "loopback"),
        ("fc00::/7", "private"), ("fec0::/10", "private"),
        // What lies behind a site's own translator (RFC 8215), 6to4 (RFC 7526), Teredo or the old compatible form says nothing of where it leads.
        ("64:ff9b:1::/48", "translated"), ("2002::/16", "translated"), ("2001::/32", "translated"), ("::/96", "translated"),
    ])

    /// Judges an address.
    ///
    /// - Returns: `nil` when a connection may be made, otherwise a sentence.
    package func refusal(of address: SocketAddress, host: String) -> String? {
        guard var bytes = Self.bytes(of: address) else { return "\(host) is no address of the internet" }
        // An IPv4 address in the clothes of IPv6 (mapped, or through a translator) is judged as what it is.
        if bytes.count == 16 {
            let mapped = Array(repeating: UInt8(0), count: 10) + [0xff, 0xff]
            let translated: [UInt8] = [0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0]
            if bytes.starts(with: mapped) || bytes.starts(with: translated) { bytes = Array(bytes.suffix(4)) }
        }
        if let found = Self.never.first(where: { $0.network.contains(bytes) }) {
            return "\(host) has a \(found.what) address, which this server never connects to for others"
        }
        guard let found = Self.inside.first(where: { $0.network.contains(bytes) }) else { return nil }
        if self.hosts.contains(host.lowercased()) || self.networks.contains(where: { $0.contains(bytes) }) { return nil }
        return
            "\(host) has a \(found.what) address, which this server does not connect to for others unless its operator allows it: "
            + "start it with --fetch-allow \(host)"
    }

    private static func bytes(of address: SocketAddress) -> [UInt8]? {
        switch address {
        case .v4(let v4): withUnsafeBytes(of: v4.address.sin_addr) { Array($0) }
        case .v6(let v6): withUnsafeBytes(of: v6.address.sin6_addr) { Array($0) }
        default: nil
        }
    }
}

extension UInt8 {
    fileprivate var isHostByte: Bool {
        switch self {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
            UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"):
            true
        default: false
        }
    }
}

/// All addresses of a name, so that the one which was judged is the one connected to.
enum AddressResolver {
    static func addresses(of host: String, port: Int) async throws -> [SocketAddress] {
        // The system's resolver blocks.
        try await NIOThreadPool.singleton.runIfActive {
            var hints = addrinfo()
            #if canImport(Glibc)
            hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
            #else
            hints.ai_socktype = SOCK_STREAM
            #endif
            var found: UnsafeMutablePointer<addrinfo>?
            let status = getaddrinfo(host, String(port), &hints, &found)
            guard status == 0 else {
                throw TransportError(.unreachable, "the name \(host) cannot be resolved: \(String(cString: gai_strerror(status)))")
            }
            defer { freeaddrinfo(found) }
            var addresses: [SocketAddress] = []
            var next = found
            while let info = next?.pointee {
                if let address = info.ai_addr {
                    if info.ai_family == AF_INET {
                        address.withMemoryRebound(to: sockaddr_in.self, capacity: 1) { addresses.append(SocketAddress($0.pointee)) }
                    } else if info.ai_family == AF_INET6 {
                        address.withMemoryRebound(to: sockaddr_in6.self, capacity: 1) { addresses.append(SocketAddress($0.pointee)) }
                    }
                }
                next = info.ai_next
            }
            return addresses
        }
    }
}
