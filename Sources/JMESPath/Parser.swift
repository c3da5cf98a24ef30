// Tokens to a tree, by the binding power of each operator.

import JSON

/// A top-down operator precedence parser (Pratt) for the grammar of https://jmespath.org/specification.html#grammar.
///
/// A token has a meaning at the start of an expression (`prefix`) and another one after an operand (`infix`); how tightly
/// it binds decides how much of what follows belongs to it. What stands right of a projection is applied to each element
/// and ends where something binds more loosely than a projection does: at a pipe, a comparison, `&&` and the like.
struct Parser {
    private let text: String
    private let tokens: [Token]
    private var index = 0
    private var depth = 0

    /// How deep brackets, parentheses, arguments and negations may nest.
    static let maximumDepth = 150

    private enum Power {
        static let lowest = 0
        static let pipe = 1
        static let or = 2
        static let and = 3
        static let comparator = 5
        static let flatten = 9
        /// What binds no tighter than this ends a projection.
        static let projectionStop = 10
        static let star = 20
        static let filter = 21
        static let dot = 40
        static let not = 45
        static let bracket = 55
        static let parenthesis = 60
    }

    init(_ text: String) throws(JMESPathError) {
        self.text = text
        var lexer = Lexer(text)
        tokens = try lexer.tokens()
    }

    static func parse(_ text: String) throws(JMESPathError) -> Node {
        var parser = try Parser(text)
        let node = try parser.expression(Power.lowest)
        guard parser.token.kind == .end else { throw parser.unexpected("The query could end before it.") }
        return node
    }

    // MARK: - Tokens

    private var token: Token { tokens[index] }

    private func lookahead() -> Token.Kind { index + 1 < tokens.count ? tokens[index + 1].kind : .end }

    /// Returns the token and goes to the next one; the end is never passed.
    @discardableResult
    private mutating func advance() -> Token {
        let current = tokens[index]
        if index + 1 < tokens.count { index += 1 }
        return current
    }

    private mutating func take(_ kind: Token.Kind) -> Bool {
        guard token.kind == kind else { return false }
        advance()
        return true
    }

    private mutating func expect(_ kind: Token.Kind, _ sign: String) throws(JMESPathError) {
        guard take(kind) else { throw unexpected("Expected '\(sign)'.") }
    }

    private func unexpected(_ advice: String) -> JMESPathError {
        error(
            .syntax, at: token,
            (token.kind == .end ? "the query ends too early. " : "'\(token.text)' cannot stand here. ") + advice)
    }

    private func error(_ code: JMESPathError.Code, at token: Token, _ message: String) -> JMESPathError {
        JMESPathError(code: code, message: message, expression: text, column: token.offset + 1)
    }

    private static func power(_ kind: Token.Kind) -> Int {
        switch kind {
        case .pipe: Power.pipe
        case .or: Power.or
        case .and: Power.and
        case .comparator: Power.comparator
        case .flatten: Power.flatten
        case .star: Power.star
        case .filter: Power.filter
        case .dot: Power.dot
        case .not: Power.not
        case .leftBracket: Power.bracket
        case .leftParenthesis: Power.parenthesis
        default: Power.lowest
        }
    }

    // MARK: - Expressions

    private mutating func expression(_ power: Int) throws(JMESPathError) -> Node {
        depth += 1
        defer { depth -= 1 }
        guard depth <= Self.maximumDepth else {
            throw error(
                .tooComplex, at: token,
                "it nests deeper than \(Self.maximumDepth) levels. Split it with '|' into several queries.")
        }
        let first = advance()
        var left = try prefix(first)
        while power < Self.power(token.kind) {
            let sign = advance()
            left = try infix(sign, after: left, which: first)
        }
        return left
    }

    private mutating func prefix(_ first: Token) throws(JMESPathError) -> Node {
        switch first.kind {
        case .literal(let value): return .literal(value)
        case .identifier(let name): return .field(name)
        case .quotedIdentifier(let name):
            if token.kind == .leftParenthesis { throw unexpected("The name of a function has no quotes.") }
            return .field(name)
        case .current: return .current
        case .not: return .not(try expression(Power.not))
        case .star:
            if token.kind == .rightBracket { return .valueProjection(.current, .current) }
            return .valueProjection(.current, try projected(Power.star))
        case .filter: return try filter(of: .current)
        case .flatten: return .listProjection(.flatten(.current), try projected(Power.flatten))
        case .leftBrace: return try multiSelectHash()
        case .leftParenthesis:
            let inner = try expression(Power.lowest)
            try expect(.rightParenthesis, ")")
            return inner
        case .leftBracket:
            switch token.kind {
            case .number, .colon: return try indexOrSlice(of: .current)
            case .star where lookahead() == .rightBracket:
                advance()
                advance()
                return .listProjection(.current, try projected(Power.star))
            default: return try multiSelectList()
            }
        case .ampersand: throw error(.syntax, at: first, "'&' makes an argument of a function and cannot stand elsewhere.")
        case .end: throw error(.syntax, at: first, "the query ends too early. Expected an expression.")
        default: throw error(.syntax, at: first, "'\(first.text)' cannot stand here. Expected an expression.")
        }
    }

    private mutating func infix(_ sign: Token, after left: Node, which first: Token) throws(JMESPathError) -> Node {
        switch sign.kind {
        case .dot:
            if take(.star) { return .valueProjection(left, try projected(Power.star)) }
            return .chain(left, try afterDot(Power.dot))
        case .pipe: return .chain(left, try expression(Power.pipe))
        case .or: return .or(left, try expression(Power.or))
        case .and: return .and(left, try expression(Power.and))
        case .comparator(let comparator): return .comparison(comparator, left, try expression(Power.comparator))
        case .flatten: return .listProjection(.flatten(left), try projected(Power.flatten))
        case .filter: return try filter(of: left)
        case .leftParenthesis: return try call(left, named: first)
        case .leftBracket:
            switch token.kind {
            case .number, .colon: return try indexOrSlice(of: left)
            default:
                try expect(.star, "*")
                try expect(.rightBracket, "]")
                return .listProjection(left, try projected(Power.star))
            }
        default: throw error(.syntax, at: sign, "'\(sign.text)' cannot stand here.")
        }
    }

    /// What is applied to each element of a projection, up to what ends it.
    private mutating func projected(_ power: Int) throws(JMESPathError) -> Node {
        if Self.power(token.kind) < Power.projectionStop { return .current }
        switch token.kind {
        case .leftBracket, .filter: return try expression(power)
        case .dot:
            advance()
            return try afterDot(power)
        default: throw unexpected("After a projection expected '.', '[' or '|'.")
        }
    }

    private mutating func afterDot(_ power: Int) throws(JMESPathError) -> Node {
        switch token.kind {
        case .identifier, .quotedIdentifier, .star: return try expression(power)
        case .leftBracket:
            advance()
            return try multiSelectList()
        case .leftBrace:
            advance()
            return try multiSelectHash()
        default: throw unexpected("After '.' expected a name, '*', '[' or '{'.")
        }
    }

    private mutating func filter(of left: Node) throws(JMESPathError) -> Node {
        let condition = try expression(Power.lowest)
        try expect(.rightBracket, "]")
        let right = token.kind == .flatten ? .current : try projected(Power.filter)
        return .filterProjection(left, condition: condition, right)
    }

    private mutating func indexOrSlice(of left: Node) throws(JMESPathError) -> Node {
        if case .number(let index) = token.kind, lookahead() != .colon {
            advance()
            try expect(.rightBracket, "]")
            return .chain(left, .index(index))
        }
        let column = token.offset + 1
        var parts: [Int?] = [nil, nil, nil]
        var part = 0
        while token.kind != .rightBracket {
            if token.kind == .colon {
                part += 1
                guard part < parts.count else { throw unexpected("A slice has three parts at most: start, stop and step.") }
                advance()
            } else if case .number(let number) = token.kind, parts[part] == nil {
                parts[part] = number
                advance()
            } else {
                throw unexpected("Expected a number, ':' or ']'.")
            }
        }
        advance()
        let slice = Node.slice(start: parts[0], stop: parts[1], step: parts[2], column: column)
        return .listProjection(.chain(left, slice), try projected(Power.star))
    }

    private mutating func multiSelectList() throws(JMESPathError) -> Node {
        var values: [Node] = []
        repeat {
            values.append(try expression(Power.lowest))
        } while take(.comma)
        try expect(.rightBracket, "]")
        return .multiSelectList(values)
    }

    private mutating func multiSelectHash() throws(JMESPathError) -> Node {
        var members: [Node.Member] = []
        repeat {
            let name: String
            switch token.kind {
            case .identifier(let found), .quotedIdentifier(let found): name = found
            default: throw unexpected("Expected a name, as in '{name: value}'.")
            }
            advance()
            try expect(.colon, ":")
            members.append(.init(name: name, value: try expression(Power.lowest)))
        } while take(.comma)
        try expect(.rightBrace, "}")
        return .multiSelectHash(members)
    }

    private mutating func call(_ left: Node, named first: Token) throws(JMESPathError) -> Node {
        guard case .field(let name) = left, case .identifier = first.kind else {
            throw error(.syntax, at: first, "'\(first.text)' is no function.")
        }
        var arguments: [Node] = []
        if token.kind != .rightParenthesis {
            repeat {
                if take(.ampersand) {
                    arguments.append(.reference(try expression(Power.lowest)))
                } else {
                    arguments.append(try expression(Power.lowest))
                }
            } while take(.comma)
        }
        try expect(.rightParenthesis, ")")
        guard let function = Function(rawValue: name) else {
            let known = Function.allCases.map(\.rawValue).sorted().joined(separator: ", ")
            throw error(.unknownFunction, at: first, "there is no function '\(name)'. There are: \(known).")
        }
        guard function.arity.contains(arguments.count) else {
            let needed =
                function.arity.upperBound == .max ? "at least \(function.arity.lowerBound)" : "\(function.arity.lowerBound)"
            throw error(.invalidArity, at: first, "'\(name)' takes \(needed) arguments, not \(arguments.count).")
        }
        return .call(function, arguments, column: first.offset + 1)
    }
}
