// A host and a port, wherever one is written.

internal import OCI

/// A host and a port, as given by operators and by `Host` headers.
package struct HostAndPort: Hashable, Sendable, CustomStringConvertible {
    package let host: String
    package let port: Int?

    /// Parses `name`, `name:port`, `1.2.3.4:port`, `[::1]:port`; `nil` when it is none of them.
    package init?(_ text: some StringProtocol) {
        let text = String(text)
        guard text.utf8.count <= 260, !text.isEmpty,
            text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f && $0 != UInt8(ascii: "/") && $0 != UInt8(ascii: "@") })
        else {
            return nil
        }
        var (host, port): (Substring, Substring?) = (text[...], nil)
        if text.hasPrefix("[") {
            guard let end = text.firstIndex(of: "]") else { return nil }
            host = text[text.index(after: text.startIndex)..<end]
            let rest = text[text.index(after: end)...]
            if !rest.isEmpty {
                guard rest.hasPrefix(":") else { return nil }
                port = rest.dropFirst()
            }
            guard AddressLiteral.bytes(String(host))?.count == 16 else { return nil }
        } else if let colon = text.lastIndex(of: ":") {
            if text.filter({ $0 == ":" }).count > 1 {
                guard AddressLiteral.bytes(text) != nil else { return nil }
            } else {
                (host, port) = (text[..<colon], text[text.index(after: colon)...])
            }
        }
        guard !host.isEmpty else { return nil }
        if let port {
            guard let number = UInt16(port) else { return nil }
            self.port = Int(number)
        } else {
            self.port = nil
        }
        self.host = host.lowercased()
    }

    package init(host: String, port: Int?) {
        self.host = host
        self.port = port
    }

    package var description: String {
        let host = self.host.contains(":") ? "[\(self.host)]" : self.host
        return self.port.map { "\(host):\($0)" } ?? host
    }
}
