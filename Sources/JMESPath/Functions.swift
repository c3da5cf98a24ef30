// The functions of the language.

import JSON

/// The built-in functions (https://jmespath.org/specification.html#built-in-functions).
enum Function: String, Hashable, Sendable, CaseIterable {
    case abs, avg, ceil, contains, floor, join, keys, length, map, max, merge, min, reverse, sort, sum, type, values
    case endsWith = "ends_with"
    case maxBy = "max_by"
    case minBy = "min_by"
    case notNull = "not_null"
    case sortBy = "sort_by"
    case startsWith = "starts_with"
    case toArray = "to_array"
    case toNumber = "to_number"
    case toString = "to_string"

    var arity: ClosedRange<Int> {
        switch self {
        case .contains, .endsWith, .join, .map, .maxBy, .minBy, .sortBy, .startsWith: 2...2
        case .merge, .notNull: 1...Int.max
        default: 1...1
        }
    }

    /// Which argument is an expression (`&name`) instead of a value.
    var referencePosition: Int? {
        switch self {
        case .map: 0
        case .maxBy, .minBy, .sortBy: 1
        default: nil
        }
    }
}

extension Interpreter {
    func call(_ function: Function, _ nodes: [Node], _ value: JSONValue, _ column: Int) throws(JMESPathError) -> JSONValue {
        var arguments: [JSONValue] = []
        var reference: Node?
        for (position, node) in nodes.enumerated() {
            if case .reference(let inner) = node {
                guard position == function.referencePosition else {
                    throw mismatch(function, column, "takes a value, not an expression with '&', as argument \(position + 1).")
                }
                reference = inner
            } else {
                guard position != function.referencePosition else {
                    throw mismatch(function, column, "takes an expression, such as '&name', as argument \(position + 1).")
                }
                arguments.append(try evaluate(node, value))
            }
        }
        let call = Call(function: function, arguments: arguments, column: column, interpreter: self)
        if let reference { return try call.result(with: reference) }
        return try call.result()
    }

    func mismatch(_ function: Function, _ column: Int, _ message: String) -> JMESPathError {
        JMESPathError(code: .invalidType, message: "'\(function.rawValue)' \(message)", expression: expression, column: column)
    }
}

/// One call with its arguments evaluated. Their number has been checked by the parser.
struct Call {
    let function: Function
    let arguments: [JSONValue]
    let column: Int
    let interpreter: Interpreter

    private var first: JSONValue { arguments.first ?? .null }
    private var second: JSONValue { arguments.count > 1 ? arguments[1] : .null }

    private func refused(_ expected: String, _ value: JSONValue) -> JMESPathError {
        interpreter.mismatch(
            function, column, "takes \(expected), not \(value.isNull ? "null" : "\(value.typeName): \(value.excerpt)").")
    }

    func result() throws(JMESPathError) -> JSONValue {
        switch function {
        case .abs:
            if case .integer(let value) = first, value != .min { return .integer(Swift.abs(value)) }
            return .number(Swift.abs(try number(first)))
        case .avg:
            let values = try numbers(first)
            if values.isEmpty { return .null }
            return .whole(values.reduce(0) { $0 + ($1.doubleValue ?? 0) } / Double(values.count))
        case .ceil: return .whole(try number(first).rounded(.up))
        case .floor: return .whole(try number(first).rounded(.down))
        case .contains:
            if case .array(let elements) = first { return .bool(elements.contains(second)) }
            guard case .string(let text) = first else { throw refused("an array or a string", first) }
            guard case .string(let part) = second else { return false }
            return .bool(text.containsBytes(of: part))
        case .endsWith: return .bool(try string(first).utf8.reversed().starts(with: try string(second).utf8.reversed()))
        case .startsWith: return .bool(try string(first).utf8.starts(with: try string(second).utf8))
        case .join:
            let separator = try string(first)
            var parts: [String] = []
            for element in try array(second) {
                guard case .string(let part) = element else { throw refused("an array of strings", second) }
                parts.append(part)
            }
            return .string(parts.joined(separator: separator))
        case .keys: return .strings(try object(first).sortedByName.map(\.key))
        case .values: return .array(try object(first).sortedByName.map(\.value))
        case .length:
            switch first {
            case .string(let text): return .integer(text.unicodeScalars.count)
            case .array(let elements): return .integer(elements.count)
            case .object(let members): return .integer(members.count)
            default: throw refused("a string, an array or an object", first)
            }
        case .max: return try comparable(array(first), in: first).last ?? .null
        case .min: return try comparable(array(first), in: first).first ?? .null
        case .sort: return .array(try comparable(array(first), in: first))
        case .merge:
            var merged: [String: JSONValue] = [:]
            for argument in arguments { merged.merge(try object(argument)) { _, later in later } }
            return .object(merged)
        case .notNull: return arguments.first { !$0.isNull } ?? .null
        case .reverse:
            if case .string(let text) = first {
                var reversed = String.UnicodeScalarView()
                reversed.append(contentsOf: text.unicodeScalars.reversed())
                return .string(String(reversed))
            }
            guard case .array(let elements) = first else { throw refused("an array or a string", first) }
            return .array(elements.reversed())
        case .sum: return sum(try numbers(first))
        case .toArray: return .array(first.arrayValue ?? [first])
        case .toString: return .string(first.stringValue ?? first.serialized())
        case .toNumber: return toNumber(first)
        case .type: return .string(first.typeName)
        case .map, .maxBy, .minBy, .sortBy:
            throw refused("an expression such as '&name'", first)
        }
    }

    func result(with reference: Node) throws(JMESPathError) -> JSONValue {
        let elements = try array(first)
        if function == .map {
            var results: [JSONValue] = []
            for element in elements { results.append(try interpreter.evaluate(reference, element)) }
            return .array(results)
        }
        var keys: [JSONValue] = []
        for element in elements { keys.append(try interpreter.evaluate(reference, element)) }
        try requireComparable(keys, in: .array(keys))
        // Sorting keeps the order of equals, and of equals the first one is the least and the greatest.
        let order = keys.indices.sorted { keys[$0].isOrdered(before: keys[$1]) ?? false }
        switch function {
        case .sortBy: return .array(order.map { elements[$0] })
        case .minBy: return order.first.map { elements[$0] } ?? .null
        default:
            return order.first { !(keys[$0].isOrdered(before: keys[order[order.count - 1]]) ?? false) }.map { elements[$0] }
                ?? .null
        }
    }

    // MARK: - Types

    private func number(_ value: JSONValue) throws(JMESPathError) -> Double {
        guard let number = value.doubleValue else { throw refused("a number", value) }
        return number
    }

    private func string(_ value: JSONValue) throws(JMESPathError) -> String {
        guard case .string(let text) = value else { throw refused("a string", value) }
        return text
    }

    private func array(_ value: JSONValue) throws(JMESPathError) -> [JSONValue] {
        guard case .array(let elements) = value else { throw refused("an array", value) }
        return elements
    }

    private func object(_ value: JSONValue) throws(JMESPathError) -> [String: JSONValue] {
        guard case .object(let members) = value else { throw refused("an object", value) }
        return members
    }

    private func numbers(_ value: JSONValue) throws(JMESPathError) -> [JSONValue] {
        let elements = try array(value)
        for element in elements where element.doubleValue == nil { throw refused("an array of numbers", value) }
        return elements
    }

    /// Sorted, if all are numbers or all are strings.
    private func comparable(_ elements: [JSONValue], in whole: JSONValue) throws(JMESPathError) -> [JSONValue] {
        try requireComparable(elements, in: whole)
        return elements.sorted { $0.isOrdered(before: $1) ?? false }
    }

    private func requireComparable(_ values: [JSONValue], in whole: JSONValue) throws(JMESPathError) {
        let areNumbers = values.allSatisfy { $0.doubleValue != nil }
        let areStrings = values.allSatisfy { $0.stringValue != nil }
        guard areNumbers || areStrings else { throw refused("numbers only or strings only", whole) }
    }

    private func sum(_ values: [JSONValue]) -> JSONValue {
        var total: Int64 = 0
        for value in values {
            guard case .integer(let number) = value, case (let sum, let overflow) = total.addingReportingOverflow(number),
                !overflow
            else { return .number(values.reduce(0) { $0 + ($1.doubleValue ?? 0) }) }
            total = sum
        }
        return .integer(total)
    }

    private func toNumber(_ value: JSONValue) -> JSONValue {
        switch value {
        case .integer, .number: return value
        case .string(let text):
            // JSON's grammar for numbers, so that "inf", "0x1" and " 1" are none.
            guard let parsed = try? JSONValue(parsing: text), parsed.doubleValue != nil, text.utf8.allSatisfy({ $0 > 0x20 })
            else {
                return .null
            }
            return parsed
        default: return .null
        }
    }
}

extension JSONValue {
    /// A whole number as an integer where it fits.
    fileprivate static func whole(_ number: Double) -> JSONValue {
        Int64(exactly: number).map { .integer($0) } ?? .number(number)
    }

    /// https://jmespath.org/specification.html#type
    fileprivate var typeName: String {
        switch self {
        case .null: "null"
        case .bool: "boolean"
        case .integer, .number: "number"
        case .string: "string"
        case .array: "array"
        case .object: "object"
        }
    }

    /// The beginning of the value, for messages.
    fileprivate var excerpt: String {
        let text = serialized()
        return text.utf8.count > 60 ? String(text.prefix(60)) + "…" : text
    }
}

extension String {
    /// Whether another string's bytes occur in this one's. `Character`s would not do: a part may start inside one.
    fileprivate func containsBytes(of part: String) -> Bool {
        let (whole, part) = (Array(utf8), Array(part.utf8))
        if part.isEmpty { return true }
        if part.count > whole.count { return false }
        return (0...whole.count - part.count).contains { whole[$0..<$0 + part.count].elementsEqual(part) }
    }
}
