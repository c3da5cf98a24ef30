// IP address literals: told apart from names wherever a host is written.

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#else
internal import Darwin
#endif

/// IPv4 and IPv6 literals.
package enum AddressLiteral {
    /// The 4 or 16 bytes of an address; `nil` for a name.
    package static func bytes(_ text: String) -> [UInt8]? {
        var v4 = in_addr()
        if inet_pton(AF_INET, text, &v4) == 1 { return withUnsafeBytes(of: &v4) { Array($0) } }
        var v6 = in6_addr()
        if inet_pton(AF_INET6, text, &v6) == 1 { return withUnsafeBytes(of: &v6) { Array($0) } }
        return nil
    }
}

/// An address, or a network in CIDR notation (RFC 4632).
package struct IPNetwork: Sendable, Hashable, CustomStringConvertible {
    private let bytes: [UInt8]
    package let prefix: Int
    package let description: String

    /// Parses `10.1.0.0/16`, `fd00::/8` or one address; `nil` when it is none of them.
    package init?(_ text: String) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count <= 2, let bytes = AddressLiteral.bytes(String(parts[0])) else { return nil }
        if parts.count == 2 {
            guard let prefix = Int(parts[1]), (0...bytes.count * 8).contains(prefix) else { return nil }
            self.prefix = prefix
        } else {
            self.prefix = bytes.count * 8
        }
        self.bytes = bytes
        self.description = text
    }

    /// - Parameter address: as ``AddressLiteral`` gives it. An IPv4 address in the clothes of IPv6 is compared as IPv4.
    package func contains(_ address: [UInt8]) -> Bool {
        let mapped = Array(repeating: UInt8(0), count: 10) + [0xff, 0xff]
        let address = address.count == 16 && address.starts(with: mapped) ? Array(address.suffix(4)) : address
        guard address.count == self.bytes.count else { return false }
        return (0..<self.prefix).allSatisfy { (address[$0 / 8] ^ self.bytes[$0 / 8]) & (0x80 >> UInt8($0 % 8)) == 0 }
    }
}
