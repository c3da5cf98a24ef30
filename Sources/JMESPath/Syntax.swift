// The tree of a query, as the parser builds it and the interpreter walks it.

import JSON

/// A node of a query. Every node maps one JSON value to another.
indirect enum Node: Hashable, Sendable {
    /// `@`, and the empty expression on either side of an implied operation.
    case current
    case field(String)
    case literal(JSONValue)
    case index(Int)
    case slice(start: Int?, stop: Int?, step: Int?, column: Int)
    /// `left.right`, `left[0]` and `left | right`: the right one sees the result of the left one.
    case chain(Node, Node)
    /// `left[*].right`: the right one on each element, without nulls.
    case listProjection(Node, Node)
    /// `left.*.right`: the same on the values of an object.
    case valueProjection(Node, Node)
    /// `left[?condition].right`.
    case filterProjection(Node, condition: Node, Node)
    case flatten(Node)
    case comparison(Comparator, Node, Node)
    case or(Node, Node)
    case and(Node, Node)
    case not(Node)
    case multiSelectList([Node])
    case multiSelectHash([Member])
    case call(Function, [Node], column: Int)
    /// `&expression`, only as an argument.
    case reference(Node)

    struct Member: Hashable, Sendable {
        let name: String
        let value: Node
    }
}
