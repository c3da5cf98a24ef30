// Results as YAML, laid out as Python's `yaml.safe_dump` lays them out for `az --output yaml`.

import JSON

/// Block-style YAML with sorted members; lists inside objects are not indented.
enum YAMLText {
    static func render(_ value: JSONValue) -> String {
        var text = ""
        switch value {
        case .array(let elements) where !elements.isEmpty: write(list: elements, level: 0, to: &text)
        case .object(let members) where !members.isEmpty: write(object: members, level: 0, to: &text)
        case .array, .object: text = scalar(value) + "\n"
        default: text = scalar(value) + "\n...\n"
        }
        return text
    }

    private static func write(list: [JSONValue], level: Int, to text: inout String, firstIsInline: Bool = false) {
        for (index, element) in list.enumerated() {
            if index > 0 || !firstIsInline { text += indentation(level) }
            text += "-"
            switch element {
            case .array(let elements) where !elements.isEmpty:
                text += " "
                write(list: elements, level: level + 1, to: &text, firstIsInline: true)
            case .object(let members) where !members.isEmpty:
                text += " "
                write(object: members, level: level + 1, to: &text, firstIsInline: true)
            default: text += " \(scalar(element))\n"
            }
        }
    }

    private static func write(object: [String: JSONValue], level: Int, to text: inout String, firstIsInline: Bool = false) {
        for (index, member) in object.sorted(by: { JSONValue.precedes($0.key, $1.key) }).enumerated() {
            if index > 0 || !firstIsInline { text += indentation(level) }
            text += quoted(member.key) + ":"
            switch member.value {
            case .array(let elements) where !elements.isEmpty:
                text += "\n"
                write(list: elements, level: level, to: &text)
            case .object(let members) where !members.isEmpty:
                text += "\n"
                write(object: members, level: level + 1, to: &text)
            default: text += " \(scalar(member.value))\n"
            }
        }
    }

    private static func indentation(_ level: Int) -> String { String(repeating: "  ", count: level) }

    private static func scalar(_ value: JSONValue) -> String {
        switch value {
        case .string(let text): quoted(text)
        case .array: "[]"
        case .object: "{}"
        default: value.serialized()
        }
    }

    /// A string plain where it reads back as itself, in single quotes where it would read as something else, and in
    /// double quotes where it holds control characters.
    private static func quoted(_ text: String) -> String {
        if text.unicodeScalars.contains(where: { $0.value < 0x20 || $0.value == 0x7F }) { return JSONValue.string(text).serialized() }
        return isPlain(text) ? text : "'" + text.replacing("'", with: "''") + "'"
    }

    private static func isPlain(_ text: String) -> Bool {
        guard let first = text.first, let last = text.last else { return false }
        if first == " " || last == " " || last == ":" || text.contains(": ") || text.contains(" #") { return false }
        if "[]{},#&*!|>'\"%@`".contains(first) { return false }
        if "-?:".contains(first), text.count == 1 || text.dropFirst().first == " " { return false }
        if text == "---" || text == "..." || text == "=" || text == "<<" || text == "~" { return false }
        if ["null", "true", "false", "yes", "no", "on", "off"].contains(text.lowercased()) { return false }
        return !looksLikeNumberOrDate(text)
    }

    /// Whether YAML 1.1 would read a number, a time or a date (https://yaml.org/type/float.html, int.html, timestamp.html).
    private static func looksLikeNumberOrDate(_ text: String) -> Bool {
        let text = text.lowercased()
        if [".inf", "-.inf", "+.inf", ".nan"].contains(text) { return true }
        return text.wholeMatch(of: /[-+]?([0-9][0-9_]*(\.[0-9_]*(e[-+][0-9]+)?)?|\.[0-9][0-9_]*(e[-+][0-9]+)?)/) != nil
            || text.wholeMatch(of: /[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?/) != nil
            || text.wholeMatch(of: /[-+]?0(x[0-9a-f_]+|b[01_]+)/) != nil
            || text.wholeMatch(of: /[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([t ].*)?/) != nil
    }
}
