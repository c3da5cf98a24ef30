// Text to value, with a bound on nesting so that a hostile body cannot exhaust the stack.

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

extension JSONValue {
    /// How deep arrays and objects may nest unless the caller says otherwise. Resource bodies need less than ten levels.
    package static var defaultMaximumDepth: Int { 64 }

    /// Parses one JSON document of UTF-8 bytes, a bare scalar included.
    ///
    /// - Throws: ``JSONError`` when the bytes are no JSON or nest deeper than `maximumDepth`.
    package init(parsing bytes: some Collection<UInt8>, maximumDepth: Int = defaultMaximumDepth) throws(JSONError) {
        if let position = Self.position(in: bytes, nestingDeeperThan: maximumDepth) {
            throw .tooDeep(limit: maximumDepth, position: position)
        }
        do {
            self = try JSONDecoder().decode(JSONValue.self, from: Data(bytes))
        } catch {
            throw .malformed(cause: Self.cause(of: error))
        }
    }

    /// Parses one JSON document.
    package init(parsing text: String, maximumDepth: Int = defaultMaximumDepth) throws(JSONError) {
        try self.init(parsing: text.utf8, maximumDepth: maximumDepth)
    }

    /// Makes a document of any value that can be encoded as one.
    package init(encoding value: some Encodable) throws(JSONError) {
        let data: Data
        do {
            data = try JSONEncoder().encode(value)
        } catch {
            throw .unencodable(type: "\(type(of: value))", cause: Self.cause(of: error))
        }
        try self.init(parsing: data)
    }

    /// Reads the document as a type of its own.
    package func decode<Value: Decodable>(as type: Value.Type = Value.self) throws(JSONError) -> Value {
        do {
            return try JSONDecoder().decode(type, from: Data(serialized().utf8))
        } catch {
            throw .mismatch(type: "\(type)", cause: Self.cause(of: error))
        }
    }

    /// The offset of the first bracket beyond the limit, found without parsing: brackets inside strings do not count.
    private static func position(in bytes: some Collection<UInt8>, nestingDeeperThan limit: Int) -> Int? {
        var depth = 0
        var inString = false
        var escaped = false
        for (position, byte) in bytes.enumerated() {
            if inString {
                if escaped {
                    escaped = false
                } else if byte == UInt8(ascii: "\\") {
                    escaped = true
                } else if byte == UInt8(ascii: "\"") {
                    inString = false
                }
                continue
            }
            switch byte {
            case UInt8(ascii: "\""): inString = true
            case UInt8(ascii: "{"), UInt8(ascii: "["):
                depth += 1
                if depth > limit { return position }
            case UInt8(ascii: "}"), UInt8(ascii: "]"): depth -= 1
            default: break
            }
        }
        return nil
    }

    /// The decoder's own words, with the place in the document where it has one.
    private static func cause(of error: any Error) -> String {
        let context: DecodingError.Context
        switch error {
        case DecodingError.dataCorrupted(let found), DecodingError.valueNotFound(_, let found),
            DecodingError.typeMismatch(_, let found):
            context = found
        case DecodingError.keyNotFound(let key, let found):
            context = .init(codingPath: found.codingPath, debugDescription: "the member '\(key.stringValue)' is missing")
        default:
            return "\(error)"
        }
        var words = context.debugDescription
        if let underlying = context.underlyingError as? any CustomStringConvertible { words += " (\(underlying.description))" }
        let path = context.codingPath.map { key in key.intValue.map { "[\($0)]" } ?? ".\(key.stringValue)" }.joined()
        return path.isEmpty ? words : "at '\(path)': \(words)"
    }
}

extension JSONValue: Codable {
    package init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        // Ordered by how often each occurs in resource bodies, because a wrong guess costs a thrown error.
        if let value = try? container.decode(String.self) {
            self = .string(value)
        } else if let value = try? container.decode([String: JSONValue].self) {
            self = .object(value)
        } else if container.decodeNil() {
            self = .null
        } else if let value = try? container.decode(Bool.self) {
            self = .bool(value)
        } else if let value = try? container.decode(Int64.self) {
            self = .integer(value)
        } else if let value = try? container.decode(Double.self) {
            self = .number(value)
        } else {
            self = .array(try container.decode([JSONValue].self))
        }
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        switch self {
        case .null: try container.encodeNil()
        case .bool(let value): try container.encode(value)
        case .integer(let value): try container.encode(value)
        case .number(let value): try container.encode(value)
        case .string(let value): try container.encode(value)
        case .array(let value): try container.encode(value)
        case .object(let value): try container.encode(value)
        }
    }
}
