// Members of request bodies, read with the name under which they are refused.

internal import JSON
internal import OCI

/// A member of a request body. Null and absent are the same: "no change".
struct BodyField: Sendable {
    /// `properties.parent.id`; empty for the body itself.
    let path: String
    let value: JSONValue?
    /// Whether the body says null, for the few members where that is a value.
    let isNull: Bool

    init(body: JSONValue) {
        self.isNull = false
        self.path = ""
        self.value = body
    }

    private init(path: String, value: JSONValue?) {
        self.path = path
        self.isNull = value?.isNull == true
        self.value = self.isNull ? nil : value
    }

    var isPresent: Bool { self.value != nil }

    /// A member of this one.
    ///
    /// - Throws: when this is there and no object.
    subscript(key: String) -> BodyField {
        get throws(ResourceError) {
            let path = self.path.isEmpty ? key : "\(self.path).\(key)"
            guard let value = self.value else { return BodyField(path: path, value: nil) }
            guard case .object(let members) = value else { throw self.invalid("it must be an object") }
            // Member names are compared as sent first, then in any letter case.
            let member = members[key] ?? members.first { $0.key.lowercased() == key.lowercased() }?.value
            return BodyField(path: path, value: member)
        }
    }

    /// A member below a chain of members.
    func at(_ path: [String]) throws(ResourceError) -> BodyField {
        var field = self
        for key in path { field = try field[key] }
        return field
    }

    func invalid(_ reason: String) -> ResourceError {
        if self.path.isEmpty { return ResourceError(.badRequest, .invalidContent, "The request body cannot be used: \(reason).") }
        return .invalid(self.path, reason)
    }

    /// - Throws: when it is not there.
    func required() throws(ResourceError) -> BodyField {
        guard self.isPresent else { throw self.invalid("it is required") }
        return self
    }

    func object() throws(ResourceError) -> BodyField? {
        guard let value else { return nil }
        guard case .object = value else { throw self.invalid("it must be an object") }
        return self
    }

    /// Text without control characters.
    func string(maximum: Int = 4096) throws(ResourceError) -> String? {
        guard let value else { return nil }
        guard case .string(let text) = value else { throw self.invalid("it must be a string") }
        guard text.utf8.count <= maximum else { throw self.invalid("it is longer than \(maximum) bytes") }
        guard text.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7f }) else { throw self.invalid("it contains control characters") }
        return text
    }

    func requiredString() throws(ResourceError) -> String {
        guard let text = try self.string(), !text.isEmpty else { throw self.invalid("it is required and must be a string") }
        return text
    }

    /// - Parameter lenient: whether the strings `"true"` and `"false"` will do; `az` sends them in places.
    func bool(lenient: Bool = false) throws(ResourceError) -> Bool? {
        guard let value else { return nil }
        switch value {
        case .bool(let flag): return flag
        case .string(let text) where lenient && text.lowercased() == "true": return true
        case .string(let text) where lenient && text.lowercased() == "false": return false
        default: throw self.invalid("it must be true or false")
        }
    }

    func integer(in range: ClosedRange<Int>) throws(ResourceError) -> Int? {
        guard let value else { return nil }
        guard let number = value.intValue, range.contains(number) else {
            throw self.invalid("it must be a whole number from \(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }

    func elements(maximum: Int = 100_000) throws(ResourceError) -> [BodyField]? {
        guard let value else { return nil }
        guard case .array(let elements) = value else { throw self.invalid("it must be an array") }
        guard elements.count <= maximum else { throw self.invalid("it has \(elements.count) elements; the limit is \(maximum)") }
        return elements.enumerated().map { BodyField(path: "\(self.path)[\($0)]", value: $1) }
    }

    func strings(maximum: Int = 100_000) throws(ResourceError) -> [String]? {
        guard let elements = try self.elements(maximum: maximum) else { return nil }
        var texts: [String] = []
        for element in elements { texts.append(try element.requiredString()) }
        return texts
    }

    /// One of `choices` in any letter case, returned as it is written there.
    func choice(_ choices: [String]) throws(ResourceError) -> String? {
        guard let text = try self.string() else { return nil }
        guard let match = choices.first(where: { $0.lowercased() == text.lowercased() }) else {
            throw self.invalid("'\(text.prefix(60))' is none of \(choices.joined(separator: ", "))")
        }
        return match
    }

    /// Tags: at most 50, names to 512 bytes, values to 256, as ARM allows.
    func tags() throws(ResourceError) -> [String: String]? {
        guard try self.object() != nil, let members = self.value?.objectValue else { return nil }
        guard members.count <= 50 else { throw self.invalid("there are \(members.count) tags; the limit is 50") }
        var tags: [String: String] = [:]
        for (name, _) in members {
            guard (1...512).contains(name.utf8.count) else { throw self.invalid("a tag's name has 1 to 512 bytes") }
            tags[name] = try self[name].string(maximum: 1024) ?? ""
        }
        return tags
    }

    /// A region as `East US` or `eastus`; it becomes a label of host names.
    func location() throws(ResourceError) -> String? {
        guard let text = try self.string() else { return nil }
        let name = text.lowercased().filter { $0 != " " }
        guard (1...50).contains(name.utf8.count),
            name.utf8.allSatisfy({ ASCII.isLower($0) || ASCII.isDigit($0) || $0 == UInt8(ascii: "-") }),
            !name.hasPrefix("-"), !name.hasSuffix("-")
        else { throw self.invalid("a region has 1 to 50 letters, digits and '-', such as eastus") }
        return name
    }
}
