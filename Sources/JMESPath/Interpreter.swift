// Puts the tree of a query to a document.

import JSON

/// Evaluates nodes. The tree is bounded in size by the parser, so that recursion is safe.
struct Interpreter {
    /// The text of the query, for messages.
    let expression: String

    func evaluate(_ node: Node, _ value: JSONValue) throws(JMESPathError) -> JSONValue {
        switch node {
        case .current: return value
        case .field(let name): return value[name] ?? .null
        case .literal(let literal): return literal
        case .index(let index):
            guard case .array(let elements) = value else { return .null }
            return value[index < 0 ? index + elements.count : index] ?? .null
        case .slice(let start, let stop, let step, let column):
            return try slice(value, start, stop, step ?? 1, column)
        case .chain(let left, let right): return try evaluate(right, evaluate(left, value))
        case .listProjection(let left, let right):
            guard case .array(let elements) = try evaluate(left, value) else { return .null }
            return try project(elements, right)
        case .valueProjection(let left, let right):
            guard case .object(let members) = try evaluate(left, value) else { return .null }
            return try project(members.sortedByName.map(\.value), right)
        case .filterProjection(let left, let condition, let right):
            guard case .array(let elements) = try evaluate(left, value) else { return .null }
            var kept: [JSONValue] = []
            for element in elements where try evaluate(condition, element).isTruthy { kept.append(element) }
            return try project(kept, right)
        case .flatten(let inner):
            guard case .array(let elements) = try evaluate(inner, value) else { return .null }
            return .array(elements.flatMap { $0.arrayValue ?? [$0] })
        case .comparison(let comparator, let left, let right):
            return compare(try evaluate(left, value), comparator, try evaluate(right, value))
        case .or(let left, let right):
            let first = try evaluate(left, value)
            return first.isTruthy ? first : try evaluate(right, value)
        case .and(let left, let right):
            let first = try evaluate(left, value)
            return first.isTruthy ? try evaluate(right, value) : first
        case .not(let inner): return .bool(!(try evaluate(inner, value)).isTruthy)
        case .multiSelectList(let nodes):
            if value.isNull { return .null }
            var results: [JSONValue] = []
            for node in nodes { results.append(try evaluate(node, value)) }
            return .array(results)
        case .multiSelectHash(let members):
            if value.isNull { return .null }
            var results: [String: JSONValue] = [:]
            for member in members { results[member.name] = try evaluate(member.value, value) }
            return .object(results)
        case .call(let function, let arguments, let column): return try call(function, arguments, value, column)
        case .reference: return .null  // Only ever an argument, which `call` takes apart.
        }
    }

    private func project(_ elements: [JSONValue], _ node: Node) throws(JMESPathError) -> JSONValue {
        if case .current = node { return .array(elements.filter { !$0.isNull }) }
        var results: [JSONValue] = []
        for element in elements {
            let result = try evaluate(node, element)
            if !result.isNull { results.append(result) }
        }
        return .array(results)
    }

    /// https://jmespath.org/specification.html#slices, which is Python's rule.
    private func slice(
        _ value: JSONValue, _ start: Int?, _ stop: Int?, _ step: Int, _ column: Int
    ) throws(JMESPathError) -> JSONValue {
        guard case .array(let elements) = value else { return .null }
        if step == 0 {
            throw JMESPathError(
                code: .invalidValue, message: "the step of a slice cannot be 0.", expression: expression, column: column)
        }
        let count = elements.count
        // With a negative step one goes from the last element down to before the first one, which is -1.
        let (lower, upper) = step > 0 ? (0, count) : (-1, count - 1)
        func bounded(_ index: Int) -> Int { min(max(index < 0 ? index + count : index, lower), upper) }
        let from = start.map(bounded) ?? (step > 0 ? lower : upper)
        let to = stop.map(bounded) ?? (step > 0 ? upper : lower)
        // A step beyond the length reaches one element only; bounding it keeps the sum from overflowing.
        let stride = stride(from: from, to: to, by: min(max(step, -count - 1), count + 1))
        return .array(stride.map { elements[$0] })
    }

    private func compare(_ left: JSONValue, _ comparator: Comparator, _ right: JSONValue) -> JSONValue {
        switch comparator {
        case .equal: return .bool(left == right)
        case .notEqual: return .bool(left != right)
        case .less: return left.isOrdered(before: right).map { .bool($0) } ?? .null
        case .greater: return right.isOrdered(before: left).map { .bool($0) } ?? .null
        case .lessOrEqual: return right.isOrdered(before: left).map { .bool(!$0) } ?? .null
        case .greaterOrEqual: return left.isOrdered(before: right).map { .bool(!$0) } ?? .null
        }
    }
}

extension JSONValue {
    /// False are false, null and what is empty (https://jmespath.org/specification.html#or-expressions).
    var isTruthy: Bool {
        switch self {
        case .null: false
        case .bool(let value): value
        case .string(let value): !value.isEmpty
        case .array(let elements): !elements.isEmpty
        case .object(let members): !members.isEmpty
        case .integer, .number: true
        }
    }

    /// The order of two numbers or two strings; nil for anything else.
    func isOrdered(before other: JSONValue) -> Bool? {
        switch (self, other) {
        case (.integer(let a), .integer(let b)): a < b
        case (.string(let a), .string(let b)): JSONValue.precedes(a, b)
        default:
            if let a = doubleValue, let b = other.doubleValue { a < b } else { nil }
        }
    }
}

extension [String: JSONValue] {
    /// The members in the order of their names, so that the same document always gives the same answer.
    var sortedByName: [(key: String, value: JSONValue)] { sorted { JSONValue.precedes($0.key, $1.key) } }
}
