// Addresses of services, and base64 in settings.

internal import OCI

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// An IPv4 or IPv6 address.
package struct IPAddress: Sendable, Hashable {
    /// 4 or 16, the most significant first.
    package let bytes: [UInt8]

    package init?(_ text: String) {
        guard let bytes = AddressLiteral.bytes(text) else { return nil }
        self.bytes = bytes
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
        let text = text.filter { !$0.isWhitespace }
        return Data(base64Encoded: text).flatMap { String(validating: $0, as: UTF8.self) }
    }

    /// Bytes in base64.
    package static func encode(_ bytes: some Sequence<UInt8>) -> String { Data(bytes).base64EncodedString() }
}
