// How results are printed: the formats of `--output`.

import ArgumentParser
import JMESPath
import JSON

/// The formats of `--output`, named as `az` names them.
enum OutputFormat: String, CaseIterable, ExpressibleByArgument, Sendable {
    case json
    case jsonc
    case none
    case table
    case tsv
    case yaml
    case yamlc

    init?(argument: String) { self.init(rawValue: argument.lowercased()) }
}

/// Turns a result into text, after putting the query to it.
struct OutputRenderer: Sendable {
    var format: OutputFormat
    var query: Expression?
    /// The columns of a table when there is no query.
    var table: TableLayout
    /// Whether `jsonc` may use colours, which it does on a terminal only.
    var allowsColor = false

    /// The text to print, empty when there is nothing to show.
    func render(_ result: JSONValue) throws(ManagementError) -> String {
        var result = result
        if let query {
            do {
                result = try query.search(result)
            } catch {
                throw ManagementError("Invalid jmespath query supplied for `--query`: \(error)")
            }
        }
        if result.isNull { return "" }
        switch format {
        case .none: return ""
        case .json: return result.serialized(pretty: true) + "\n"
        case .jsonc:
            let text = result.serialized(pretty: true)
            return (allowsColor ? ColoredJSON.paint(text) : text) + "\n"
        case .yaml, .yamlc: return YAMLText.render(result)
        case .tsv: return TSVText.render(result, memberOrder: query?.memberOrder)
        case .table:
            let rows = query == nil ? table.rows(of: result) : TableLayout.genericRows(of: result, memberOrder: query?.memberOrder)
            return TableText.render(rows) + "\n"
        }
    }
}

/// A scalar as Python's `str` prints it, which is what tables and tab-separated values of `az` show.
enum PythonText {
    static func text(of value: JSONValue) -> String {
        switch value {
        case .null: "None"
        case .bool(let value): value ? "True" : "False"
        case .string(let value): value
        default: value.serialized()
        }
    }
}

/// Tab-separated values: one line for each item, one column for each member, no header.
enum TSVText {
    static func render(_ value: JSONValue, memberOrder: [String]?) -> String {
        (value.arrayValue ?? [value]).map { line($0, memberOrder) + "\n" }.joined()
    }

    private static func line(_ item: JSONValue, _ memberOrder: [String]?) -> String {
        switch item {
        case .object(let members):
            TableLayout.ordered(members, memberOrder).map { cell($0.value) }.joined(separator: "\t")
        case .array(let elements): elements.map(cell).joined(separator: "\t")
        // A boolean alone is lower case, among others it is not. So prints `az`, and scripts compare with it.
        case .bool(let value): value ? "true" : "false"
        default: cell(item)
        }
    }

    private static func cell(_ value: JSONValue) -> String {
        switch value {
        case .array(let elements): String(elements.count)
        case .object: ""
        default: PythonText.text(of: value)
        }
    }
}

/// JSON in colours for a terminal.
enum ColoredJSON {
    private static let member = "\u{1B}[94m"
    private static let string = "\u{1B}[33m"
    private static let other = "\u{1B}[36m"
    private static let reset = "\u{1B}[39;49;00m"

    static func paint(_ text: String) -> String {
        var result = ""
        var rest = text[...]
        while let first = rest.first {
            if first == "\"" {
                let end = closingQuote(in: rest)
                let literal = rest[...end]
                rest = rest[rest.index(after: end)...]
                result += (rest.first == ":" ? member : string) + literal + reset
            } else if first.isLetter || first.isNumber || first == "-" {
                let literal = rest.prefix { $0.isLetter || $0.isNumber || "+-.".contains($0) }
                rest = rest[literal.endIndex...]
                result += other + literal + reset
            } else {
                result.append(first)
                rest = rest.dropFirst()
            }
        }
        return result
    }

    private static func closingQuote(in text: Substring) -> Substring.Index {
        var isEscaped = false
        for index in text.indices.dropFirst() {
            if isEscaped {
                isEscaped = false
            } else if text[index] == "\\" {
                isEscaped = true
            } else if text[index] == "\"" {
                return index
            }
        }
        return text.index(before: text.endIndex)
    }
}
