// Why a text is not the JSON that was asked for, in words that reach the person who sent it.

/// What went wrong between a text and a JSON value.
package enum JSONError: Error, Hashable, Sendable {
    /// The bytes are no JSON document.
    case malformed(cause: String)
    /// Arrays and objects nest beyond the limit; the offset is that of the first bracket too many.
    case tooDeep(limit: Int, position: Int)
    /// The document is JSON but not of the wanted type.
    case mismatch(type: String, cause: String)
    /// A value has no JSON form.
    case unencodable(type: String, cause: String)
}

extension JSONError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .malformed(let cause):
            "The text is not valid JSON: \(cause) Check quotes, commas and brackets."
        case .tooDeep(let limit, let position):
            "The JSON text nests deeper than \(limit) levels at byte \(position). Send a flatter document."
        case .mismatch(let type, let cause):
            "The JSON document could not be read as \(type): \(cause) Correct that member and send it again."
        case .unencodable(let type, let cause):
            "A value of type \(type) could not be written as JSON: \(cause)"
        }
    }
}
