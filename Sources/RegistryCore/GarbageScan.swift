// How the collector finds what nothing reaches: it walks a table by its key on a read connection, a stretch at a time, and asks about each
// row it has found once more in the transaction that removes it. Pushes never wait for the search.

internal import Persistence

/// A kind of row that may go.
///
/// Its statements take three arguments for the condition (`?1` to `?3`), and behind them a limit, the ends of a stretch, or the key of one row.
struct GarbageScan: Sendable {
    /// Rows of one stretch: some milliseconds on a connection that serves reads, too.
    private static let stretch = 1000

    /// Every row that goes, `?4` of them at most.
    let all: String
    /// A row that was found, if it still goes.
    let one: String
    private let end: String
    private let within: String
    private let rest: String
    /// Below every key.
    private let start: [SQLValue]

    /// - Parameters:
    ///   - columns: what ``all`` and ``one`` give.
    ///   - source: the table and what is joined to it.
    ///   - key: the columns of the table's primary key; those that are no text are row numbers.
    ///   - condition: when a row goes.
    init(_ columns: String, from source: String, key: [(column: String, isText: Bool)], where condition: String) {
        let names = key.map(\.column).joined(separator: ", ")
        func values(from first: Int) -> String { key.indices.map { "?\(first + $0)" }.joined(separator: ", ") }
        let table = source.split(separator: " ")[0]
        self.all = "SELECT \(columns) FROM \(source) WHERE \(condition) LIMIT ?4"
        self.one = "SELECT \(columns) FROM \(source) WHERE (\(names)) = (\(values(from: 4))) AND \(condition)"
        self.end =
            "SELECT \(names) FROM \(table) WHERE (\(names)) > (\(values(from: 4))) ORDER BY \(names) LIMIT 1 OFFSET \(Self.stretch - 1)"
        self.rest = "SELECT \(names) FROM \(source) WHERE (\(names)) > (\(values(from: 4))) AND \(condition)"
        self.within = "\(self.rest) AND (\(names)) <= (\(values(from: 4 + key.count)))"
        self.start = key.map { $0.isText ? .text("") : .integer(0) }
    }

    /// Walks the table from its beginning.
    ///
    /// - Parameter arguments: those of the condition, three.
    func walk(_ arguments: [SQLValue], in database: any Database) -> Walk {
        Walk(scan: self, arguments: arguments, database: database, position: self.start)
    }

    /// Where a walk is.
    struct Walk {
        let scan: GarbageScan
        let arguments: [SQLValue]
        let database: any Database
        /// The last key of the stretch before; `nil` at the end.
        fileprivate var position: [SQLValue]?
        private var found: ArraySlice<[SQLValue]> = []

        fileprivate init(scan: GarbageScan, arguments: [SQLValue], database: any Database, position: [SQLValue]) {
            self.scan = scan
            self.arguments = arguments
            self.database = database
            self.position = position
        }

        /// Keys of rows that seem to go.
        ///
        /// - Parameter count: how many at most.
        /// - Returns: `nil` when the walk is over.
        mutating func next(_ count: Int) async throws -> [[SQLValue]]? {
            while self.found.isEmpty {
                guard let position = self.position else { return nil }
                (self.found, self.position) = try await self.database.read { [scan, arguments] session in
                    let end = try session.rows(scan.end, [.null, .null, .null] + position).first?.values
                    let rows = try session.rows(end == nil ? scan.rest : scan.within, arguments + position + (end ?? []))
                    return (ArraySlice(rows.map(\.values)), end)
                }
            }
            defer { self.found = self.found.dropFirst(count) }
            return Array(self.found.prefix(count))
        }
    }
}
