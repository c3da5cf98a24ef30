// Tables as `az` prints them: headers, dashes, two blanks between columns.

import JSON

/// One row of a table: cells under their headers, in order.
typealias TableRow = [(header: String, cell: String)]

/// Lays out rows in the `simple` format of Python's tabulate, which knack uses.
enum TableText {
    static func render(_ rows: [TableRow]) -> String {
        var headers: [String] = []
        for row in rows {
            for column in row where !headers.contains(column.header) { headers.append(column.header) }
        }
        if headers.isEmpty { return "" }
        let cells = rows.map { row in
            headers.map { header in row.first { $0.header == header }.map { trimmed($0.cell) } ?? "" }
        }
        let widths = headers.indices.map { column in
            cells.reduce(width(headers[column]) + 2) { max($0, width($1[column])) }
        }
        let lines =
            [headers, widths.map { String(repeating: "-", count: $0) }] + cells
        return lines.map { line(of: $0, widths) }.joined(separator: "\n")
    }

    private static func line(of cells: [String], _ widths: [Int]) -> String {
        var line = zip(cells, widths).map { cell, width in cell + String(repeating: " ", count: max(0, width - self.width(cell))) }
            .joined(separator: "  ")
        while line.hasSuffix(" ") { line.removeLast() }
        return line
    }

    private static func width(_ text: String) -> Int { text.unicodeScalars.count }

    /// Without blanks around it, and on one line.
    private static func trimmed(_ text: String) -> String {
        var text = text[...]
        while text.first?.isWhitespace == true { text.removeFirst() }
        while text.last?.isWhitespace == true { text.removeLast() }
        return text.split { $0.isNewline }.joined(separator: " ")
    }
}

/// Which columns a result has.
struct TableLayout: Sendable {
    private let makeRows: @Sendable (JSONValue) -> [TableRow]

    init(rows: @escaping @Sendable (JSONValue) -> [TableRow]) { makeRows = rows }

    /// One row for each item of a list, or one for a single item.
    init(row: @escaping @Sendable (JSONValue) -> TableRow) {
        makeRows = { result in (result.arrayValue ?? [result]).map(row) }
    }

    func rows(of result: JSONValue) -> [TableRow] { makeRows(result) }

    /// Every scalar that is there, under its name with a capital letter, by name.
    static let generic = TableLayout { genericRows(of: $0, memberOrder: nil) }

    static func genericRows(of result: JSONValue, memberOrder: [String]?) -> [TableRow] {
        (result.arrayValue ?? [result]).map { item in
            switch item {
            case .object(let members):
                return ordered(members, memberOrder).compactMap { key, value in
                    if ["id", "type", "etag"].contains(key) { return nil }
                    switch value {
                    case .null, .array, .object: return nil
                    default: return (key.prefix(1).uppercased() + key.dropFirst(), PythonText.text(of: value))
                    }
                }
            case .array(let elements):
                return elements.enumerated().map { ("Column\($0.offset + 1)", PythonText.text(of: $0.element)) }
            case .null: return []
            default: return [("Result", PythonText.text(of: item))]
            }
        }
    }

    /// The members in the order of the query, those it does not name after them by name.
    static func ordered(_ members: [String: JSONValue], _ order: [String]?) -> [(key: String, value: JSONValue)] {
        let sorted = members.sorted { JSONValue.precedes($0.key, $1.key) }
        guard let order else { return sorted.map { ($0.key, $0.value) } }
        return order.compactMap { key in members[key].map { (key, $0) } }
            + sorted.filter { !order.contains($0.key) }.map { ($0.key, $0.value) }
    }
}
