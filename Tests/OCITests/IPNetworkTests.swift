import Testing

@testable import OCI

@Suite struct IPNetworkTests {
    @Test("addresses and networks, in either version of the protocol, and what is none") func parsing() throws {
        for (text, address, expected) in [
            ("10.1.0.0/16", "10.1.255.255", true), ("10.1.0.0/16", "10.2.0.0", false), ("0.0.0.0/0", "203.0.113.9", true),
            ("192.0.2.7", "192.0.2.7", true), ("192.0.2.7", "192.0.2.8", false), ("10.0.0.128/25", "10.0.0.127", false),
            ("10.0.0.0/8", "::ffff:10.9.9.9", true), ("fd00::/8", "fdff::1", true), ("fd00::/8", "fe00::1", false),
            ("::/0", "10.0.0.1", false), ("10.0.0.0/8", "fd00::1", false),
        ] {
            let network = try #require(IPNetwork(text))
            #expect(network.contains(try #require(AddressLiteral.bytes(address))) == expected, "\(text) \(address)")
        }
        for text in ["", "host", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/", "10.0.0/8", "::1/129", "10.0.0.0/8/8", " 10.0.0.1"] {
            #expect(IPNetwork(text) == nil, "\(text)")
        }
    }
}
