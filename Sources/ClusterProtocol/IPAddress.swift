// Addresses of services, parsed without the system's resolver: this target has no input or output.

/// An IPv4 or IPv6 address.
package struct IPAddress: Sendable, Hashable {
    /// 4 or 16, the most significant first.
    package let bytes: [UInt8]

    package init?(_ text: String) {
        if text.contains(":") {
            guard let bytes = Self.six(text) else { return nil }
            self.bytes = bytes
        } else {
            guard let bytes = Self.four(text[...]) else { return nil }
            self.bytes = bytes
        }
    }

    private static func four(_ text: Substring) -> [UInt8]? {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 4 else { return nil }
        var bytes: [UInt8] = []
        for part in parts {
            // A leading zero is octal to some and decimal to others.
            guard (1...3).contains(part.utf8.count), part.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
                part == "0" || !part.hasPrefix("0"),
                let byte = UInt8(part)
            else { return nil }
            bytes.append(byte)
        }
        return bytes
    }

    private static func six(_ text: String) -> [UInt8]? {
        func groups(_ text: Substring, endsText: Bool) -> [UInt8]? {
            if text.isEmpty { return [] }
            var bytes: [UInt8] = []
            let parts = text.split(separator: ":", omittingEmptySubsequences: false)
            for (index, part) in parts.enumerated() {
                if endsText, index == parts.count - 1, part.contains(".") {
                    guard let tail = self.four(part) else { return nil }
                    bytes += tail
                } else {
                    guard (1...4).contains(part.utf8.count), part.allSatisfy(\.isHexDigit), let group = UInt16(part, radix: 16) else {
                        return nil
                    }
                    bytes += [UInt8(group >> 8), UInt8(truncatingIfNeeded: group)]
                }
            }
            return bytes
        }
        guard let gap = text.firstRange(of: "::") else { return groups(text[...], endsText: true).flatMap { $0.count == 16 ? $0 : nil } }
        guard let head = groups(text[..<gap.lowerBound], endsText: false), let tail = groups(text[gap.upperBound...], endsText: true),
            head.count + tail.count <= 14
        else {
            return nil
        }
        return head + [UInt8](repeating: 0, count: 16 - head.count - tail.count) + tail
    }

    /// Whether a service can have it: neither nowhere, nor the machine itself, nor many at a time.
    package var isUsable: Bool {
        if self.bytes.count == 4 { return ![0, 127, 255].contains(self.bytes[0]) && !(224...239).contains(self.bytes[0]) }
        return self.bytes[0] != 0xff && self.bytes.dropLast().contains { $0 != 0 }
    }
}

/// Base64 of text (RFC 4648, section 4), for settings that are sent in it.
package enum Base64Text {
    /// The text behind it; `nil` when it is none. Line ends are passed over.
    package static func decode(_ text: String) -> String? {
        var (bits, count, bytes): (UInt32, Int, [UInt8]) = (0, 0, [])
        for byte in text.utf8 where ![0x0a, 0x0d, 0x20, 0x3d].contains(byte) {
            let value: UInt8
            switch byte {
            case 0x41...0x5a: value = byte - 0x41
            case 0x61...0x7a: value = byte - 0x61 + 26
            case 0x30...0x39: value = byte - 0x30 + 52
            case 0x2b: value = 62
            case 0x2f: value = 63
            default: return nil
            }
            bits = (bits << 6) | UInt32(value)
            count += 6
            if count >= 8 {
                count -= 8
                bytes.append(UInt8(truncatingIfNeeded: bits >> UInt32(count)))
            }
        }
        return String(validating: bytes, as: UTF8.self)
    }

    /// Bytes in base64.
    package static func encode(_ bytes: some Sequence<UInt8>) -> String {
        let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
        var (text, bits, count): ([UInt8], UInt32, Int) = ([], 0, 0)
        for byte in bytes {
            bits = (bits << 8) | UInt32(byte)
            count += 8
            while count >= 6 {
                count -= 6
                text.append(alphabet[Int((bits >> UInt32(count)) & 63)])
            }
        }
        if count > 0 { text.append(alphabet[Int((bits << UInt32(6 - count)) & 63)]) }
        while text.count % 4 != 0 { text.append(0x3d) }
        return String(decoding: text, as: UTF8.self)
    }
}
