// JMESPath is the language of `--query`; this is its front door.

package import JSON

/// A query of JMESPath (https://jmespath.org/specification.html), parsed once and put to any number of documents.
///
///     let query = try Expression(parsing: "[?sku.name=='Premium'].{name: name, server: loginServer}")
///     let answer = try query.search(registries)
///
/// All of the specification is there, with two habits of the reference implementation that `az` users rely on: a literal
/// that is no JSON stands for itself, and strings may be ordered. Members of an object are visited in the order of their
/// names, because a ``JSONValue`` keeps no other.
package struct Expression: Hashable, Sendable {
    private let text: String
    private let root: Node

    /// - Throws: ``JMESPathError`` with the column, when the text is no query.
    package init(parsing text: String) throws(JMESPathError) {
        self.text = text
        root = try Parser.parse(text)
    }

    /// Puts the query to a document. What is not there is null.
    ///
    /// - Throws: ``JMESPathError`` when a function is given a value of a type it does not take.
    package func search(_ document: JSONValue) throws(JMESPathError) -> JSONValue {
        try Interpreter(expression: text).evaluate(root, document)
    }

    /// The names of a result's members in the order in which the query lists them, when it ends in `{…}`.
    ///
    /// A table shows its columns in that order. Nil when the query does not choose the members itself.
    package var memberOrder: [String]? { Self.memberOrder(of: root) }

    private static func memberOrder(of node: Node) -> [String]? {
        switch node {
        case .multiSelectHash(let members):
            var seen: Set<String> = []
            return members.map(\.name).filter { seen.insert($0).inserted }
        case .chain(let left, let right), .listProjection(let left, let right), .valueProjection(let left, let right),
            .filterProjection(let left, _, let right):
            return memberOrder(of: right) ?? (handsOnMembers(right) ? memberOrder(of: left) : nil)
        case .flatten(let inner): return memberOrder(of: inner)
        case .or(let left, let right): return memberOrder(of: left) ?? memberOrder(of: right)
        case .and(_, let right): return memberOrder(of: right)
        case .call(let function, let arguments, _):
            switch function {
            case .sortBy, .reverse, .maxBy, .minBy, .toArray: return arguments.first.flatMap { memberOrder(of: $0) }
            case .map: if case .reference(let inner)? = arguments.first { return memberOrder(of: inner) }
            default: break
            }
            return nil
        default: return nil
        }
    }

    /// Whether a node's results are parts of what it is applied to, and so have its members.
    private static func handsOnMembers(_ node: Node) -> Bool {
        switch node {
        case .current, .index, .slice: true
        case .chain(let left, let right), .listProjection(let left, let right), .filterProjection(let left, _, let right):
            handsOnMembers(left) && handsOnMembers(right)
        case .flatten(let inner): handsOnMembers(inner)
        default: false
        }
    }
}

extension Expression: CustomStringConvertible {
    package var description: String { text }
}
