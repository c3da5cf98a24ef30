// The small protocol behind which the SQL engine stands. SQLite implements it today; another engine must pass
// the same conformance suite.

/// A value bound to or read from a statement.
package enum SQLValue: Sendable, Hashable {
    case null
    case integer(Int64)
    case text(String)
    case blob([UInt8])

    package init(_ value: Int64?) { self = value.map(SQLValue.integer) ?? .null }
    package init(_ value: String?) { self = value.map(SQLValue.text) ?? .null }
    package init(_ value: some CustomStringConvertible) { self = .text(value.description) }
}

extension SQLValue: ExpressibleByIntegerLiteral, ExpressibleByStringLiteral, ExpressibleByNilLiteral, ExpressibleByBooleanLiteral {
    package init(integerLiteral value: Int64) { self = .integer(value) }
    package init(stringLiteral value: String) { self = .text(value) }
    package init(nilLiteral: ()) { self = .null }
    package init(booleanLiteral value: Bool) { self = .integer(value ? 1 : 0) }
}

/// One row of a result; columns by position.
package struct SQLRow: Sendable {
    package let values: [SQLValue]

    package init(_ values: [SQLValue]) { self.values = values }

    package subscript(column: Int) -> SQLValue { self.values[column] }

    /// The column as an integer; 0 when it holds something else.
    package func integer(_ column: Int) -> Int64 {
        if case .integer(let value) = self.values[column] { value } else { 0 }
    }

    package func optionalInteger(_ column: Int) -> Int64? {
        if case .integer(let value) = self.values[column] { value } else { nil }
    }

    /// The column as text; empty when it holds something else.
    package func text(_ column: Int) -> String {
        if case .text(let value) = self.values[column] { value } else { "" }
    }

    package func optionalText(_ column: Int) -> String? {
        if case .text(let value) = self.values[column] { value } else { nil }
    }

    package func blob(_ column: Int) -> [UInt8] {
        if case .blob(let value) = self.values[column] { value } else { [] }
    }

    package func flag(_ column: Int) -> Bool { self.integer(column) != 0 }
}

/// Reads within one consistent snapshot.
package protocol SQLReader {
    /// All rows of a statement. `?` marks arguments.
    func rows(_ sql: String, _ arguments: [SQLValue]) throws -> [SQLRow]
}

extension SQLReader {
    package func rows(_ sql: String, _ arguments: SQLValue...) throws -> [SQLRow] { try self.rows(sql, arguments) }
    package func row(_ sql: String, _ arguments: SQLValue...) throws -> SQLRow? { try self.rows(sql, arguments).first }
}

/// Reads and changes within one transaction.
package protocol SQLWriter: SQLReader {
    /// Runs a statement; returns the number of rows it changed.
    @discardableResult
    func execute(_ sql: String, _ arguments: [SQLValue]) throws -> Int
}

extension SQLWriter {
    @discardableResult
    package func execute(_ sql: String, _ arguments: SQLValue...) throws -> Int { try self.execute(sql, arguments) }
}

/// A transactional store.
package protocol Database: Sendable {
    /// Runs `body` on a consistent snapshot, off the caller's thread.
    func read<Value: Sendable>(_ body: @escaping @Sendable (any SQLReader) throws -> Value) async throws -> Value

    /// Runs `body` as one operation: wholly applied or, when it throws, not at all.
    ///
    /// Returns only when the operation is durable (survives power loss). Operations that wait together may share
    /// one commit; a refusal of one never undoes its neighbours, but may run them again: `body` changes nothing but the database.
    func write<Value: Sendable>(_ body: @escaping @Sendable (any SQLWriter) throws -> Value) async throws -> Value

    func close() async throws
}
