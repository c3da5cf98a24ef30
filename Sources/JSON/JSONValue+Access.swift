// Reading and changing parts of a document without unwrapping it case by case.

extension JSONValue {
    package var isNull: Bool { self == .null }

    package var stringValue: String? {
        if case .string(let value) = self { value } else { nil }
    }

    package var boolValue: Bool? {
        if case .bool(let value) = self { value } else { nil }
    }

    /// The number as an integer, if it is a whole one.
    package var intValue: Int? {
        switch self {
        case .integer(let value): Int(exactly: value)
        case .number(let value): Int(exactly: value)
        default: nil
        }
    }

    /// The number as a floating-point one, which may round a large integer.
    package var doubleValue: Double? {
        switch self {
        case .integer(let value): Double(value)
        case .number(let value): value
        default: nil
        }
    }

    package var arrayValue: [JSONValue]? {
        if case .array(let value) = self { value } else { nil }
    }

    package var objectValue: [String: JSONValue]? {
        if case .object(let value) = self { value } else { nil }
    }

    /// The member of an object, nil when there is none or this is no object.
    ///
    /// Assigning nil removes the member; assigning to a value that is no object makes it one, as RFC 7386 does.
    package subscript(key: String) -> JSONValue? {
        get {
            if case .object(let members) = self { members[key] } else { nil }
        }
        set {
            var members = objectValue ?? [:]
            if case .object = self { self = .null }  // so that `members` is the only reference and changes in place
            members[key] = newValue
            self = .object(members)
        }
    }

    /// The element of an array, nil when the index is out of range or this is no array.
    package subscript(index: Int) -> JSONValue? {
        if case .array(let elements) = self, elements.indices.contains(index) { elements[index] } else { nil }
    }

    /// The value below a chain of members: `document[path: "properties", "parent", "id"]`.
    ///
    /// Assigning makes the objects on the way that are missing; assigning nil removes the last member and makes none.
    package subscript(path path: String...) -> JSONValue? {
        get { value(at: path[...]) }
        set { set(newValue, at: path[...]) }
    }

    private func value(at path: ArraySlice<String>) -> JSONValue? {
        var value = self
        for key in path {
            guard let next = value[key] else { return nil }
            value = next
        }
        return value
    }

    private mutating func set(_ newValue: JSONValue?, at path: ArraySlice<String>) {
        guard let key = path.first else {
            if let newValue { self = newValue }
            return
        }
        if path.count == 1 {
            if newValue == nil, self[key] == nil { return }
            self[key] = newValue
        } else {
            if newValue == nil, self[key] == nil { return }
            var child = self[key] ?? .object([:])
            child.set(newValue, at: path.dropFirst())
            self[key] = child
        }
    }

    /// Applies a merge patch (RFC 7386, section 2): members of the patch replace those here, null removes, anything but
    /// an object replaces the whole.
    package mutating func apply(mergePatch patch: JSONValue) {
        guard case .object(let changes) = patch else {
            self = patch
            return
        }
        var members = objectValue ?? [:]
        for (key, change) in changes {
            if change.isNull {
                members[key] = nil
            } else {
                var member = members[key] ?? .null
                member.apply(mergePatch: change)
                members[key] = member
            }
        }
        self = .object(members)
    }

    /// This document with a merge patch applied (RFC 7386).
    package func mergePatch(_ patch: JSONValue) -> JSONValue {
        var result = self
        result.apply(mergePatch: patch)
        return result
    }
}
