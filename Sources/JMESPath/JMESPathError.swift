// Why a query could not be read or answered, pointing at the place in its text.

/// A query that is wrong, or does not suit the document it was put to.
package struct JMESPathError: Error, Hashable, Sendable {
    /// The kinds of error the specification names (https://jmespath.org/specification.html#errors), and one of our own.
    package enum Code: String, Hashable, Sendable {
        case syntax
        case invalidType = "invalid-type"
        case invalidValue = "invalid-value"
        case invalidArity = "invalid-arity"
        case unknownFunction = "unknown-function"
        /// The query is longer or nests deeper than is evaluated.
        case tooComplex = "too-complex"
    }

    package let code: Code
    package let message: String
    package let expression: String
    /// Where in the expression, counted in characters from 1.
    package let column: Int
}

extension JMESPathError: CustomStringConvertible {
    /// Two sentences and, under the query, a caret at the place.
    package var description: String {
        // Only the line with the error is shown, and of a long one only the part around it.
        let lines = expression.split(separator: "\n", omittingEmptySubsequences: false)
        var offset = column - 1
        var line = lines.first ?? ""
        for candidate in lines {
            line = candidate
            if offset <= candidate.count { break }
            offset -= candidate.count + 1
        }
        let start = max(0, offset - 60)
        let excerpt = line.dropFirst(start).prefix(120)
        let caret = String(repeating: " ", count: max(0, offset - start)) + "^"
        return "The query is not usable at column \(column): \(message)\n  \(excerpt)\n  \(caret)"
    }
}
