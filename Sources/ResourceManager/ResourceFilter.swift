// The `$filter` of the generic resource list (the part of OData that clients of ARM use there).

/// `name eq 'value'` clauses joined by `and`. Clauses of other forms exclude nothing.
struct ResourceFilter: Sendable {
    private var clauses: [(field: String, value: String)] = []

    init(_ text: String) {
        for clause in Self.clauses(of: text.prefix(2048)) {
            let parts = clause.split(separator: " ", maxSplits: 2).map(String.init)
            guard parts.count == 3, parts[1].lowercased() == "eq", parts[2].count >= 2, parts[2].hasPrefix("'"), parts[2].hasSuffix("'")
            else { continue }
            self.clauses.append((parts[0].lowercased(), parts[2].dropFirst().dropLast().replacing("''", with: "'").lowercased()))
        }
    }

    /// Splits at ` and ` outside quotes.
    private static func clauses(of text: Substring) -> [String] {
        var clauses = [""]
        var isQuoted = false
        var rest = text
        while let character = rest.first {
            if character == "'" { isQuoted.toggle() }
            if !isQuoted, rest.prefix(5).lowercased() == " and " {
                clauses.append("")
                rest = rest.dropFirst(5)
            } else {
                clauses[clauses.count - 1].append(character)
                rest = rest.dropFirst()
            }
        }
        return clauses
    }

    func accepts(_ id: ResourceID, location: String, tags: [String: String]) -> Bool {
        let name = self.clauses.first { $0.field == "tagname" }?.value
        return self.clauses.allSatisfy { clause in
            switch clause.field {
            case "resourcetype": id.type.lowercased() == clause.value
            case "resourcegroup": id.group?.lowercased() == clause.value
            case "name": id.name.lowercased() == clause.value
            case "location": location.lowercased() == clause.value.filter { $0 != " " }
            case "tagname": tags.contains { $0.key.lowercased() == clause.value }
            // A value belongs to the name beside it.
            case "tagvalue":
                tags.contains { (name == nil || $0.key.lowercased() == name) && $0.value.lowercased() == clause.value }
            default: true
            }
        }
    }
}
