// Character classes used by the grammars of this target, on bytes: names from outside are ASCII by definition.

/// Classes of ASCII bytes.
package enum ASCII {
    @inlinable package static func isDigit(_ byte: UInt8) -> Bool { byte &- 0x30 < 10 }
    @inlinable package static func isLower(_ byte: UInt8) -> Bool { byte &- 0x61 < 26 }
    @inlinable package static func isUpper(_ byte: UInt8) -> Bool { byte &- 0x41 < 26 }
    @inlinable package static func isLetter(_ byte: UInt8) -> Bool { self.isLower(byte | 0x20) }
    @inlinable package static func isLowerHex(_ byte: UInt8) -> Bool { self.isDigit(byte) || byte &- 0x61 < 6 }

    /// Lower-case hexadecimal text of `bytes`.
    package static func hex(_ bytes: some Sequence<UInt8>) -> String {
        let digits: StaticString = "0123456789abcdef"
        var text: [UInt8] = []
        text.reserveCapacity(bytes.underestimatedCount * 2)
        digits.withUTF8Buffer { digits in
            for byte in bytes {
                text.append(digits[Int(byte >> 4)])
                text.append(digits[Int(byte & 15)])
            }
        }
        return String(decoding: text, as: UTF8.self)
    }
}
