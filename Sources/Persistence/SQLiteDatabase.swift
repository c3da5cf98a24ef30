// SQLite through GRDB: WAL, one writer that groups what is waiting into one commit, a few long-lived readers.

internal import Dispatch
internal import GRDB
internal import Synchronization

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// The SQLite implementation of ``Database``.
///
/// `synchronous` is FULL: in WAL mode a commit is then fsynced before it is acknowledged. (GRDB's own WAL set-up
/// chooses NORMAL, which loses the last commits at power loss; that is why the pragmas are issued here.)
package final class SQLiteDatabase: Database {
    /// Operations that may share one commit.
    private static let groupLimit = 32

    private struct Operation: Sendable {
        /// Runs the operation; returns whether it failed, and what to do once the fate of the commit is known.
        let run: @Sendable (GRDB.Database, _ inSavepoint: Bool) -> (hasFailed: Bool, complete: @Sendable ((any Error)?) -> Void)
        /// Ends the operation without having run it.
        let refuse: @Sendable (any Error) -> Void
    }

    private struct Queue {
        var waiting: [Operation] = []
        var draining = false
    }

    private let writer: DatabaseQueue
    /// `nil` where one thing happens at a time: commits do it then.
    private let checkpoint: LogCheckpoint?
    private let readers: [DatabaseQueue]
    private let nextReader = Atomic<Int>(0)
    private let queue = Mutex(Queue())
    /// Whether calls are made on the caller's thread.
    private let isInline: Bool

    /// Opens or creates the database and brings its schema up to date.
    ///
    /// - Parameters:
    ///   - path: the database file.
    ///   - migrations: all migrations in order.
    ///   - readers: read connections.
    ///   - isInline: whether calls block their caller, for simulations in which one thing happens at a time.
    /// - Throws: ``PersistenceError`` with code `newerSchema` when a newer outport has changed the schema.
    package init(path: String, migrations: [Migration], readers: Int = 2, isInline: Bool = false) throws {
        self.isInline = isInline
        var configuration = Configuration()
        configuration.label = "outport.db.writer"
        configuration.busyMode = .timeout(10)
        configuration.foreignKeysEnabled = true
        configuration.prepareDatabase { db in
            try db.execute(sql: "PRAGMA journal_mode = WAL")
            try db.execute(sql: "PRAGMA synchronous = FULL")
            try db.execute(sql: "PRAGMA temp_store = MEMORY")
            try db.execute(sql: "PRAGMA cache_size = -2048")
            try db.execute(sql: "PRAGMA wal_autocheckpoint = \(LogCheckpoint.threshold)")
        }
        do {
            self.writer = try DatabaseQueue(path: path, configuration: configuration)
            // A process that was killed between writing a commit and flushing it leaves one that is seen but would not survive power loss,
            // and whoever finds his change made already is told so without anything being written. A checkpoint flushes the log first.
            try self.writer.writeWithoutTransaction { _ = try Row.fetchAll($0, sql: "PRAGMA wal_checkpoint(PASSIVE)") }
            try self.writer.writeWithoutTransaction { try Migration.apply(migrations, to: $0) }
            if isInline {
                self.checkpoint = nil
            } else {
                var beside = configuration
                beside.label = "outport.db.checkpoint"
                let checkpoint = LogCheckpoint(connection: try DatabaseQueue(path: path, configuration: beside))
                self.writer.writeWithoutTransaction { checkpoint.watch($0) }
                self.checkpoint = checkpoint
            }
            var reading = Configuration()
            reading.label = "outport.db.reader"
            reading.readonly = true
            reading.busyMode = .timeout(10)
            reading.prepareDatabase { try $0.execute(sql: "PRAGMA cache_size = -1024") }
            self.readers = try (0..<max(1, readers)).map { _ in try DatabaseQueue(path: path, configuration: reading) }
        } catch let error as DatabaseError {
            throw error.explained("open the database \(path)")
        }
    }

    package func read<Value: Sendable>(_ body: @escaping @Sendable (any SQLReader) throws -> Value) async throws -> Value {
        let index = self.nextReader.wrappingAdd(1, ordering: .relaxed).oldValue
        let reader = self.readers[Int(UInt(bitPattern: index) % UInt(self.readers.count))]
        do {
            if self.isInline { return try Self.readNow(reader, body) }
            return try await reader.read { try body(Session(db: $0)) }
        } catch let error as DatabaseError {
            throw error.explained("read the database")
        }
    }

    package func write<Value: Sendable>(_ body: @escaping @Sendable (any SQLWriter) throws -> Value) async throws -> Value {
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Value, any Error>) in
            let operation = Operation(
                run: { db, inSavepoint in
                    let outcome = Result {
                        try inSavepoint
                            ? Self.inSavepoint(db) { try body(Session(db: db)) } : Self.alone { try body(Session(db: db)) }
                    }
                    let hasFailed = if case .failure = outcome { true } else { false }
                    return (
                        hasFailed,
                        { commitError in
                            // A refusal of its own says more than that the commit failed.
                            if let commitError, !hasFailed {
                                continuation.resume(throwing: commitError)
                            } else {
                                continuation.resume(with: outcome)
                            }
                        }
                    )
                },
                refuse: { continuation.resume(throwing: $0) })
            let mustDrain = self.queue.withLock { queue in
                queue.waiting.append(operation)
                defer { queue.draining = true }
                return !queue.draining
            }
            if mustDrain { self.drain() }
        }
    }

    package func close() async throws {
        for reader in self.readers { try reader.close() }
        try self.checkpoint?.close()
        try self.writer.close()
    }

    /// Operations that wait for the writer; tests look at it to know that some will share a commit.
    package var waitingOperations: Int { self.queue.withLock { $0.waiting.count } }

    private static func readNow<Value>(_ reader: DatabaseQueue, _ body: (any SQLReader) throws -> Value) throws -> Value {
        try reader.read { try body(Session(db: $0)) }
    }

    private func drain() {
        guard !self.isInline else { return self.writer.writeWithoutTransaction { self.drain($0) } }
        self.writer.asyncWriteWithoutTransaction { self.drain($0) }
    }

    private func drain(_ db: GRDB.Database) {
        while true {
            let group = self.queue.withLock { queue -> [Operation] in
                let group = Array(queue.waiting.prefix(Self.groupLimit))
                queue.waiting.removeFirst(group.count)
                if group.isEmpty { queue.draining = false }
                return group
            }
            if group.isEmpty { return }
            Self.commit(group, db)
            self.checkpoint?.committed(db)
        }
    }

    /// Runs operations and commits them together.
    ///
    /// A savepoint around each makes SQLite copy every page before the operation changes it, so they are made only when one of several has
    /// refused: then all of them run once more, each in its own.
    private static func commit(_ group: [Operation], _ db: GRDB.Database) {
        if !self.commit(group, inSavepoints: false, db) { _ = self.commit(group, inSavepoints: true, db) }
    }

    /// - Returns: false when one of several operations has failed; nothing is changed and nobody told then.
    private static func commit(_ group: [Operation], inSavepoints: Bool, _ db: GRDB.Database) -> Bool {
        func explain(_ error: any Error) -> any Error { (error as? DatabaseError)?.explained("commit a change") ?? error }
        do {
            try Self.run("BEGIN IMMEDIATE", db)
        } catch {
            for operation in group { operation.refuse(explain(error)) }
            return true
        }
        var hasFailed = false
        var completions: [@Sendable ((any Error)?) -> Void] = []
        for operation in group {
            // A full disk may have ended the transaction: what came after it would be committed on its own and reported as failed.
            guard db.isInsideTransaction else {
                completions.append {
                    operation.refuse(
                        $0
                            ?? PersistenceError(
                                .busy, tried: "commit a change", cause: "the transaction it was part of was undone", advice: "try again"))
                }
                continue
            }
            let complete: @Sendable ((any Error)?) -> Void
            (hasFailed, complete) = operation.run(db, inSavepoints)
            if hasFailed, !inSavepoints, group.count > 1 {
                if db.isInsideTransaction { try? Self.run("ROLLBACK", db) }
                return false
            }
            completions.append(complete)
        }
        do {
            if group.count == 1, hasFailed {
                // What was alone and failed is undone with the whole transaction.
                if db.isInsideTransaction { try? Self.run("ROLLBACK", db) }
            } else {
                try Self.run("COMMIT", db)
            }
            for complete in completions { complete(nil) }
        } catch {
            if db.isInsideTransaction { try? Self.run("ROLLBACK", db) }
            for complete in completions { complete(explain(error)) }
        }
        return true
    }

    /// Runs an operation that is undone with the transaction.
    private static func alone<Value>(_ body: () throws -> Value) throws -> Value {
        do { return try body() } catch { throw (error as? DatabaseError)?.explained("change the database") ?? error }
    }

    /// Runs a statement that is needed for each commit without compiling it each time.
    private static func run(_ sql: String, _ db: GRDB.Database) throws {
        try db.cachedStatement(sql: sql).execute()
    }

    private static func inSavepoint<Value>(_ db: GRDB.Database, _ body: () throws -> Value) throws -> Value {
        try Self.run("SAVEPOINT operation", db)
        do {
            let value = try body()
            try Self.run("RELEASE operation", db)
            return value
        } catch {
            // A full disk may have ended the whole transaction; then there is no savepoint left to go back to.
            if db.isInsideTransaction {
                try Self.run("ROLLBACK TO operation", db)
                try Self.run("RELEASE operation", db)
            }
            throw (error as? DatabaseError)?.explained("change the database") ?? error
        }
    }

    /// A GRDB connection behind the protocol.
    struct Session: SQLWriter {
        let db: GRDB.Database

        func rows(_ sql: String, _ arguments: [SQLValue]) throws -> [SQLRow] {
            let statement = try self.statement(sql, arguments)
            let cursor = try Row.fetchCursor(statement)
            var rows: [SQLRow] = []
            while let row = try cursor.next() { rows.append(SQLRow(row.databaseValues.map { SQLValue($0) })) }
            return rows
        }

        func execute(_ sql: String, _ arguments: [SQLValue]) throws -> Int {
            try self.statement(sql, arguments).execute()
            return self.db.changesCount
        }

        private func statement(_ sql: String, _ arguments: [SQLValue]) throws -> Statement {
            let statement = try self.db.cachedStatement(sql: sql)
            // As existentials: for a sequence of one type GRDB makes a key path anew in each call.
            try statement.setArguments(StatementArguments(arguments.lazy.map { $0.databaseValue as (any DatabaseValueConvertible)? }))
            return statement
        }
    }
}

extension SQLValue {
    fileprivate var databaseValue: DatabaseValue {
        switch self {
        case .null: .null
        case .integer(let value): value.databaseValue
        case .text(let value): value.databaseValue
        case .blob(let value): Data(value).databaseValue
        }
    }

    fileprivate init(_ value: DatabaseValue) {
        switch value.storage {
        case .null: self = .null
        case .int64(let integer): self = .integer(integer)
        // A sum beyond the largest integer becomes one of these.
        case .double(let number): self = .integer(Int64(exactly: number.rounded(.towardZero)) ?? (number < 0 ? .min : .max))
        case .string(let text): self = .text(text)
        case .blob(let data): self = .blob([UInt8](data))
        }
    }
}

extension DatabaseError {
    fileprivate func explained(_ tried: String) -> PersistenceError {
        let cause = self.message ?? "SQLite error \(self.resultCode.rawValue)"
        return switch self.resultCode {
        case .SQLITE_FULL: .init(.noSpace, tried: tried, cause: cause, advice: "free space on the data folder's disk")
        case .SQLITE_BUSY, .SQLITE_LOCKED: .init(.busy, tried: tried, cause: cause, advice: "try again")
        case .SQLITE_CONSTRAINT: .init(.constraint, tried: tried, cause: cause)
        default: .init(.io, tried: tried, cause: cause)
        }
    }
}
