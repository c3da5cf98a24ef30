// A query's text cut into tokens.

import JSON

/// One word or sign of a query, with the offset of its first character.
struct Token: Hashable, Sendable {
    enum Kind: Hashable, Sendable {
        case identifier(String)
        case quotedIdentifier(String)
        case literal(JSONValue)
        case number(Int)
        case comparator(Comparator)
        case dot, star, flatten, filter, leftBracket, rightBracket, leftBrace, rightBrace, leftParenthesis, rightParenthesis
        case comma, colon, pipe, or, and, not, ampersand, current, end
    }

    let kind: Kind
    let offset: Int
    /// As it was written, for messages.
    let text: String
}

enum Comparator: String, Hashable, Sendable {
    case equal = "=="
    case notEqual = "!="
    case less = "<"
    case lessOrEqual = "<="
    case greater = ">"
    case greaterOrEqual = ">="
}

/// Cuts a query into tokens (https://jmespath.org/specification.html#grammar).
struct Lexer {
    private let text: String
    private let characters: [Unicode.Scalar]
    private var position = 0

    /// More than any query a person writes; it bounds the depth of the tree and so the stack of whoever walks it.
    static let maximumTokens = 1500

    init(_ text: String) {
        self.text = text
        characters = Array(text.unicodeScalars)
    }

    mutating func tokens() throws(JMESPathError) -> [Token] {
        var tokens: [Token] = []
        while true {
            let token = try next()
            tokens.append(token)
            if token.kind == .end { return tokens }
            if tokens.count > Self.maximumTokens {
                throw error(
                    .tooComplex, "it has more than \(Self.maximumTokens) words and signs. Split it with '|' into several queries."
                )
            }
        }
    }

    private func error(_ code: JMESPathError.Code, at offset: Int? = nil, _ message: String) -> JMESPathError {
        JMESPathError(code: code, message: message, expression: text, column: (offset ?? position) + 1)
    }

    private mutating func next() throws(JMESPathError) -> Token {
        while position < characters.count, " \t\r\n".unicodeScalars.contains(characters[position]) { position += 1 }
        let start = position
        guard start < characters.count else { return Token(kind: .end, offset: start, text: "") }
        let kind = try kind(of: characters[start])
        return Token(kind: kind, offset: start, text: Self.string(characters[start..<position]))
    }

    private mutating func kind(of first: Unicode.Scalar) throws(JMESPathError) -> Token.Kind {
        let start = position
        position += 1
        switch first {
        case ".": return .dot
        case "*": return .star
        case "]": return .rightBracket
        case "{": return .leftBrace
        case "}": return .rightBrace
        case "(": return .leftParenthesis
        case ")": return .rightParenthesis
        case ",": return .comma
        case ":": return .colon
        case "@": return .current
        case "[": return take("]") ? .flatten : take("?") ? .filter : .leftBracket
        case "|": return take("|") ? .or : .pipe
        case "&": return take("&") ? .and : .ampersand
        case "!": return take("=") ? .comparator(.notEqual) : .not
        case "<": return .comparator(take("=") ? .lessOrEqual : .less)
        case ">": return .comparator(take("=") ? .greaterOrEqual : .greater)
        case "=":
            guard take("=") else { throw error(.syntax, at: start, "'=' compares nothing. Use '=='.") }
            return .comparator(.equal)
        case "\"": return .quotedIdentifier(try quotedIdentifier(from: start))
        case "'": return .literal(.string(try rawString(from: start)))
        case "`": return .literal(try literal(from: start))
        case "-", "0"..."9": return .number(try number(from: start))
        case "a"..."z", "A"..."Z", "_":
            while position < characters.count, Self.continuesIdentifier(characters[position]) { position += 1 }
            return .identifier(Self.string(characters[start..<position]))
        default:
            throw error(
                .syntax, at: start, "the character '\(first)' has no meaning here. Put names that hold it in double quotes.")
        }
    }

    private mutating func take(_ expected: Unicode.Scalar) -> Bool {
        guard position < characters.count, characters[position] == expected else { return false }
        position += 1
        return true
    }

    private static func continuesIdentifier(_ character: Unicode.Scalar) -> Bool {
        switch character {
        case "a"..."z", "A"..."Z", "0"..."9", "_": true
        default: false
        }
    }

    private static func string(_ scalars: some Sequence<Unicode.Scalar>) -> String {
        var view = String.UnicodeScalarView()
        view.append(contentsOf: scalars)
        return String(view)
    }

    /// What stands before the next delimiter that has no backslash before it; the delimiter is consumed.
    private mutating func content(until delimiter: Unicode.Scalar, from start: Int) throws(JMESPathError) -> [Unicode.Scalar] {
        var content: [Unicode.Scalar] = []
        while position < characters.count {
            let character = characters[position]
            position += 1
            if character == delimiter { return content }
            content.append(character)
            if character == "\\", position < characters.count {
                content.append(characters[position])
                position += 1
            }
        }
        throw error(.syntax, at: start, "the closing \(delimiter) is missing.")
    }

    /// `content` with the backslash before each delimiter removed; other backslashes stay.
    private static func unescape(_ delimiter: Unicode.Scalar, in content: [Unicode.Scalar]) -> String {
        var result: [Unicode.Scalar] = []
        var index = 0
        while index < content.count {
            if content[index] == "\\", index + 1 < content.count {
                if content[index + 1] != delimiter { result.append("\\") }
                result.append(content[index + 1])
                index += 2
            } else {
                result.append(content[index])
                index += 1
            }
        }
        return string(result)
    }

    private mutating func rawString(from start: Int) throws(JMESPathError) -> String {
        Self.unescape("'", in: try content(until: "'", from: start))
    }

    private mutating func quotedIdentifier(from start: Int) throws(JMESPathError) -> String {
        let content = Self.string(try content(until: "\"", from: start))
        do {
            if case .string(let name) = try JSONValue(parsing: "\"\(content)\"") { return name }
        } catch {}
        throw error(.syntax, at: start, "the name in double quotes is not a JSON string. Check its backslashes.")
    }

    /// A JSON value between backticks. As in the reference implementation and so in `az`, a text that is no JSON stands for
    /// itself: `` [?name==`abc`] ``.
    private mutating func literal(from start: Int) throws(JMESPathError) -> JSONValue {
        let content = Self.unescape("`", in: try content(until: "`", from: start))
        if let value = try? JSONValue(parsing: content) { return value }
        let bare = String(content.drop { " \t\r\n".contains($0) })
        if let first = bare.first, !"[{\"".contains(first), let value = try? JSONValue(parsing: "\"\(bare)\"") { return value }
        throw error(.syntax, at: start, "the text between backticks is not JSON. Put plain strings in single quotes.")
    }

    private mutating func number(from start: Int) throws(JMESPathError) -> Int {
        while position < characters.count, ("0"..."9").contains(characters[position]) { position += 1 }
        let digits = Self.string(characters[start..<position])
        if digits == "-" { throw error(.syntax, at: start, "'-' must be followed by a number.") }
        guard let number = Int(digits) else { throw error(.syntax, at: start, "the number is too large.") }
        return number
    }
}
