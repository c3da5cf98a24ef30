// The hierarchy of connected registries, read from their list.

import JSON

/// Connected registries by id, with their parents and children. Ids are compared without case.
///
/// A parent that is not in the list counts as none, and a loop, which no server should make, ends where it closes.
struct ConnectedRegistryTree: Sendable {
    private let items: [JSONValue]
    private let byID: [String: JSONValue]
    private let children: [String: [JSONValue]]

    /// - Parameter items: in the form of the wire or in the form that is printed.
    init(_ items: [JSONValue]) {
        self.items = items
        byID = Dictionary(items.map { (Self.key($0), $0) }) { first, _ in first }
        children = Dictionary(grouping: items) { Self.parentKey($0) ?? "" }
    }

    /// Parents before their children, children after their own parent.
    var ordered: [JSONValue] {
        let roots = items.filter { item in Self.parentKey(item).map { byID[$0] == nil } ?? true }
        var result: [JSONValue] = []
        var visited: Set<String> = []
        for root in roots { append(root, to: &result, &visited) }
        // What is left hangs in a loop; it is shown rather than lost.
        for item in items { append(item, to: &result, &visited) }
        return result
    }

    func named(_ name: String) -> JSONValue? {
        items.first { $0["name"]?.stringValue?.lowercased() == name.lowercased() }
    }

    /// Those without a parent.
    var topLevel: [JSONValue] { items.filter { Self.parentKey($0) == nil } }

    func children(of item: JSONValue) -> [JSONValue] { children[Self.key(item)] ?? [] }

    /// Everything below, nearest first within each branch.
    func descendants(of item: JSONValue) -> [JSONValue] {
        var result: [JSONValue] = []
        var visited: Set<String> = [Self.key(item)]
        for child in children(of: item) { append(child, to: &result, &visited) }
        return result
    }

    /// The chain above, nearest first.
    func ancestors(of item: JSONValue) -> [JSONValue] {
        var result: [JSONValue] = []
        var visited: Set<String> = [Self.key(item)]
        var next = Self.parentKey(item).flatMap { byID[$0] }
        while let ancestor = next, visited.insert(Self.key(ancestor)).inserted {
            result.append(ancestor)
            next = Self.parentKey(ancestor).flatMap { byID[$0] }
        }
        return result
    }

    private func append(_ item: JSONValue, to result: inout [JSONValue], _ visited: inout Set<String>) {
        var stack = [item]
        while let next = stack.popLast() {
            guard visited.insert(Self.key(next)).inserted else { continue }
            result.append(next)
            stack += children(of: next).reversed()
        }
    }

    private static func key(_ item: JSONValue) -> String { item["id"]?.stringValue?.lowercased() ?? "" }

    /// The id of the parent in lower case, nil when the parent is the registry itself.
    static func parentKey(_ item: JSONValue) -> String? {
        let id = ConnectedRegistries.property(item, "parent", "id")?.stringValue?.lowercased() ?? ""
        return id.contains("/") ? id : nil
    }
}
