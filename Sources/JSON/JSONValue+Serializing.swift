// Value to text, always the same text for the same value, and laid out as command-line users know it from `az`.

extension JSONValue {
    /// The document as text: members sorted by code point, slashes and non-ASCII characters as they are.
    ///
    /// - Parameter pretty: two spaces of indentation and a blank after each colon, as `az --output json` prints; otherwise
    ///   no blanks at all.
    package func serialized(pretty: Bool = false) -> String {
        var text = ""
        write(to: &text, pretty: pretty, level: 0)
        return text
    }

    private func write(to text: inout String, pretty: Bool, level: Int) {
        switch self {
        case .null: text += "null"
        case .bool(let value): text += value ? "true" : "false"
        case .integer(let value): text += String(value)
        case .number(let value): text += Self.text(of: value)
        case .string(let value): Self.write(quoted: value, to: &text)
        case .array(let elements):
            Self.write(list: elements, "[", "]", to: &text, pretty: pretty, level: level) { element, text in
                element.write(to: &text, pretty: pretty, level: level + 1)
            }
        case .object(let members):
            let sorted = members.sorted { Self.precedes($0.key, $1.key) }
            Self.write(list: sorted, "{", "}", to: &text, pretty: pretty, level: level) { member, text in
                Self.write(quoted: member.key, to: &text)
                text += pretty ? ": " : ":"
                member.value.write(to: &text, pretty: pretty, level: level + 1)
            }
        }
    }

    private static func write<Element>(
        list: [Element], _ open: String, _ close: String, to text: inout String, pretty: Bool, level: Int,
        item: (Element, inout String) -> Void
    ) {
        text += open
        let indentation = String(repeating: "  ", count: level)
        var isFirst = true
        for element in list {
            if !isFirst { text += "," }
            isFirst = false
            if pretty { text += "\n\(indentation)  " }
            item(element, &text)
        }
        if pretty, !isFirst { text += "\n\(indentation)" }
        text += close
    }

    /// Order by Unicode code point, which is that of the UTF-8 bytes, so that it does not depend on a locale.
    package static func precedes(_ left: String, _ right: String) -> Bool {
        left.utf8.lexicographicallyPrecedes(right.utf8)
    }

    /// The shortest text that reads back as the same number. JSON has no infinities and no NaN; null stands for them.
    private static func text(of number: Double) -> String {
        number.isFinite ? number.description : "null"
    }

    /// A string in quotes, escaped as RFC 8259, section 7, requires and no further.
    private static func write(quoted value: String, to text: inout String) {
        text += "\""
        for scalar in value.unicodeScalars {
            switch scalar {
            case "\"": text += "\\\""
            case "\\": text += "\\\\"
            case "\n": text += "\\n"
            case "\r": text += "\\r"
            case "\t": text += "\\t"
            case "\u{8}": text += "\\b"
            case "\u{c}": text += "\\f"
            case _ where scalar.value < 0x20:
                let digits = String(scalar.value, radix: 16)
                text += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: text.unicodeScalars.append(scalar)
            }
        }
        text += "\""
    }
}

extension JSONValue: CustomStringConvertible {
    /// Compact JSON.
    package var description: String { serialized() }
}
