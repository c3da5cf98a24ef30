// What every implementation of `Database` must do. SQLite is run through it today.

import Dispatch
import Glibc
import Persistence
import TestSupport
import Testing

/// A database under test, and how to open it again.
struct DatabaseUnderTest: Sendable {
    let name: String
    let open: @Sendable (_ path: String, _ migrations: [Migration]) throws -> any Database
    /// Operations that wait for the writer.
    let waiting: @Sendable (any Database) -> Int

    static let all = [
        DatabaseUnderTest(
            name: "SQLite", open: { try SQLiteDatabase(path: $0, migrations: $1) },
            waiting: { ($0 as? SQLiteDatabase)?.waitingOperations ?? 0 })
    ]
}

extension DatabaseUnderTest: CustomTestStringConvertible {
    var testDescription: String { self.name }
}

private struct Refused: Error {}

private let schema = [
    Migration(
        "test-1",
        ["CREATE TABLE item (name TEXT PRIMARY KEY, value INTEGER NOT NULL)", "CREATE TABLE note (item TEXT NOT NULL REFERENCES item)"])
]

@Suite struct DatabaseConformance {
    private let scratch = ScratchFolder()

    init() throws { try FileSystem.createFolder(self.scratch.path) }

    private func open(_ subject: DatabaseUnderTest, _ migrations: [Migration] = schema) throws -> any Database {
        try subject.open(self.scratch.path + "/test.db", migrations)
    }

    private func names(_ database: any Database) async throws -> [String] {
        try await database.read { try $0.rows("SELECT name FROM item ORDER BY name").map { $0.text(0) } }
    }

    @Test("R7 an operation is applied wholly or not at all", arguments: DatabaseUnderTest.all)
    func atomic(subject: DatabaseUnderTest) async throws {
        let database = try self.open(subject)
        _ = try await database.write { try $0.execute("INSERT INTO item VALUES (?, ?)", "kept", 1) }
        await #expect(throws: Refused.self) {
            try await database.write { session in
                try session.execute("INSERT INTO item VALUES (?, ?)", "undone", 1)
                try session.execute("DELETE FROM item WHERE name = ?", "kept")
                throw Refused()
            }
        }
        #expect(try await self.names(database) == ["kept"])
    }

    @Test("R7 values come back as they were given", arguments: DatabaseUnderTest.all)
    func values(subject: DatabaseUnderTest) async throws {
        let database = try self.open(subject, [Migration("v", ["CREATE TABLE v (a, b, c, d)"])])
        let bytes: [UInt8] = [0, 255, 1]
        let changed = try await database.write {
            try $0.execute("INSERT INTO v VALUES (?, ?, ?, ?)", .integer(.min), .text("üx"), .blob(bytes), .null)
        }
        #expect(changed == 1)
        let row = try #require(try await database.read { try $0.row("SELECT a, b, c, d FROM v") })
        #expect(row.integer(0) == .min)
        #expect(row.text(1) == "üx")
        #expect(row.blob(2) == bytes)
        #expect(row.optionalText(3) == nil)
        #expect(row.optionalInteger(1) == nil)
    }

    @Test("R7 a refusal does not undo its neighbours in the same commit", arguments: DatabaseUnderTest.all)
    func grouped(subject: DatabaseUnderTest) async throws {
        let database = try self.open(subject)
        let waiting = subject.waiting
        // The first operation holds the writer until the others wait behind it, so that they share one commit.
        let outcomes = try await withThrowingTaskGroup(of: (Int, Bool).self) { group in
            let started = Gate()
            group.addTask {
                try await database.write { _ in
                    started.open()
                    while waiting(database) < 9 { sched_yield() }
                }
                return (-1, true)
            }
            await started.wait()
            for number in 0..<9 {
                group.addTask {
                    do {
                        try await database.write { session in
                            try session.execute("INSERT INTO item VALUES (?, ?)", .text("item \(number)"), .integer(Int64(number)))
                            if number % 3 == 1 { throw Refused() }
                            if number % 3 == 2 { try session.execute("INSERT INTO item VALUES (?, ?)", .text("item \(number)"), 0) }
                        }
                        return (number, true)
                    } catch { return (number, false) }
                }
            }
            var outcomes: [Int: Bool] = [:]
            for try await (number, succeeded) in group { outcomes[number] = succeeded }
            return outcomes
        }
        for number in 0..<9 { #expect(outcomes[number] == (number % 3 == 0)) }
        #expect(try await self.names(database) == ["item 0", "item 3", "item 6"])
    }

    @Test("R7 writers at the same time lose no update", arguments: DatabaseUnderTest.all)
    func concurrentWriters(subject: DatabaseUnderTest) async throws {
        let database = try self.open(subject)
        _ = try await database.write { try $0.execute("INSERT INTO item VALUES (?, ?)", "counter", 0) }
        try await withThrowingTaskGroup(of: Int64.self) { group in
            for _ in 0..<200 {
                group.addTask {
                    try await database.write { session in
                        let value = try session.row("SELECT value FROM item WHERE name = ?", "counter")?.integer(0) ?? 0
                        try session.execute("UPDATE item SET value = ? WHERE name = ?", .integer(value + 1), "counter")
                        return value
                    }
                }
            }
            var seen: Set<Int64> = []
            for try await value in group { seen.insert(value) }
            #expect(seen.count == 200)
        }
        #expect(try await database.read { try $0.row("SELECT value FROM item")?.integer(0) } == 200)
    }

    @Test("R7 a read sees one state from its beginning to its end", arguments: DatabaseUnderTest.all)
    func snapshot(subject: DatabaseUnderTest) async throws {
        let database = try self.open(subject)
        _ = try await database.write { try $0.execute("INSERT INTO item VALUES (?, ?)", "first", 1) }
        let reading = Gate()
        let written = DispatchSemaphore(value: 0)
        async let counts = database.read { session in
            let before = try session.rows("SELECT name FROM item").count
            reading.open()
            written.wait()
            return (before, try session.rows("SELECT name FROM item").count)
        }
        await reading.wait()
        _ = try await database.write { try $0.execute("INSERT INTO item VALUES (?, ?)", "second", 1) }
        written.signal()
        let (before, after) = try await counts
        #expect(before == 1)
        #expect(after == 1)
        #expect(try await self.names(database).count == 2)
    }

    @Test("R7 what was acknowledged is there after opening again", arguments: DatabaseUnderTest.all)
    func reopened(subject: DatabaseUnderTest) async throws {
        let first = try self.open(subject)
        _ = try await first.write { try $0.execute("INSERT INTO item VALUES (?, ?)", "kept", 1) }
        try await first.close()
        #expect(try await self.names(self.open(subject)) == ["kept"])
    }

    @Test("R7 constraints are kept and named", arguments: DatabaseUnderTest.all)
    func constraints(subject: DatabaseUnderTest) async throws {
        let database = try self.open(subject)
        let error = await #expect(throws: PersistenceError.self) {
            try await database.write { try $0.execute("INSERT INTO note VALUES (?)", "nowhere") }
        }
        #expect(error?.code == .constraint)
    }

    @Test(
        "K1 R7 an older version goes on with what a newer one has only added to, and the newer one after it",
        arguments: DatabaseUnderTest.all)
    func addedTo(subject: DatabaseUnderTest) async throws {
        let newer =
            schema + [
                Migration(
                    "test-2", ["ALTER TABLE item ADD COLUMN extra TEXT NOT NULL DEFAULT 'none'", "CREATE TABLE more (a TEXT)"],
                    isAdditive: true)
            ]
        try await self.open(subject).close()
        let upgraded = try self.open(subject, newer)
        _ = try await upgraded.write { try $0.execute("INSERT INTO item (name, value, extra) VALUES (?, ?, ?)", "a", 1, "x") }
        try await upgraded.close()
        let older = try self.open(subject)
        _ = try await older.write { try $0.execute("INSERT INTO item (name, value) VALUES (?, ?)", "b", 2) }
        #expect(try await self.names(older) == ["a", "b"])
        try await older.close()
        let again = try self.open(subject, newer)
        #expect(try await again.read { try $0.rows("SELECT extra FROM item ORDER BY name").map { $0.text(0) } } == ["x", "none"])
    }

    @Test("R7 migrations add up, and a newer schema that does more is refused with advice", arguments: DatabaseUnderTest.all)
    func migrations(subject: DatabaseUnderTest) async throws {
        let newer = schema + [Migration("test-2", ["ALTER TABLE item ADD COLUMN extra TEXT"])]
        try await self.open(subject).close()
        let upgraded = try self.open(subject, newer)
        _ = try await upgraded.write { try $0.execute("INSERT INTO item (name, value, extra) VALUES (?, ?, ?)", "a", 1, "x") }
        try await upgraded.close()
        let error = #expect(throws: PersistenceError.self) { try self.open(subject) }
        #expect(error?.code == .newerSchema)
        #expect(error?.description.contains("test-2") == true)
        #expect(try await self.names(self.open(subject, newer)) == ["a"])
    }

    @Test("R7 a migration that fails leaves nothing of itself", arguments: DatabaseUnderTest.all)
    func failedMigration(subject: DatabaseUnderTest) async throws {
        let broken = schema + [Migration("test-2", ["CREATE TABLE half (a)", "CREATE TABLE item (a)"])]
        #expect(throws: (any Error).self) { try self.open(subject, broken) }
        let database = try self.open(subject)
        #expect(try await database.read { try $0.rows("SELECT name FROM sqlite_master WHERE name = ?", "half").isEmpty })
    }
}

/// What only SQLite has.
@Suite struct SQLiteTests {
    private let scratch = ScratchFolder()

    init() throws { try FileSystem.createFolder(self.scratch.path) }

    @Test("R7 the writer's commits are flushed: synchronous is FULL in WAL mode, foreign keys are on")
    func pragmas() async throws {
        let database = try SQLiteDatabase(path: self.scratch.path + "/test.db", migrations: schema)
        let (synchronous, mode, keys) = try await database.write { session in
            (
                try session.row("PRAGMA synchronous")?.integer(0), try session.row("PRAGMA journal_mode")?.text(0),
                try session.row("PRAGMA foreign_keys")?.integer(0)
            )
        }
        #expect(synchronous == 2)
        #expect(mode == "wal")
        #expect(keys == 1)
    }

    @Test("R7 readers cannot write")
    func readersCannotWrite() async throws {
        let database = try SQLiteDatabase(path: self.scratch.path + "/test.db", migrations: schema)
        await #expect(throws: PersistenceError.self) { try await database.read { _ = try $0.rows("DELETE FROM item") } }
    }

    @Test("R7 a full disk refuses what did not fit, and nothing that was refused is there")
    func fullDisk() async throws {
        let database = try SQLiteDatabase(path: self.scratch.path + "/test.db", migrations: schema)
        try await database.write { session in
            let pages = try session.row("PRAGMA page_count")?.integer(0) ?? 0
            _ = try session.rows("PRAGMA max_page_count = \(pages + 8)")
        }
        let outcomes = try await withThrowingTaskGroup(of: (Int, PersistenceError?).self) { group in
            let started = Gate()
            group.addTask {
                try await database.write { _ in
                    started.open()
                    while database.waitingOperations < 6 { sched_yield() }
                }
                return (-1, nil)
            }
            await started.wait()
            for number in 0..<6 {
                group.addTask {
                    let text = number == 3 ? String(repeating: "x", count: 200_000) : "small \(number)"
                    do {
                        try await database.write {
                            _ = try $0.execute("INSERT INTO item VALUES (?, ?)", .text(text), .integer(Int64(number)))
                        }
                        return (number, nil)
                    } catch let error as PersistenceError { return (number, error) }
                }
            }
            var outcomes: [Int: PersistenceError?] = [:]
            for try await (number, error) in group where number >= 0 { outcomes.updateValue(error, forKey: number) }
            return outcomes
        }
        #expect(outcomes[3]??.code == .noSpace)
        let there = try await Set(database.read { try $0.rows("SELECT value FROM item").map { Int($0.integer(0)) } })
        // Whatever was acknowledged is there, whatever was refused is not.
        for number in 0..<6 { #expect(there.contains(number) == (outcomes[number]! == nil)) }
        _ = try await database.write { _ = try $0.rows("PRAGMA max_page_count = 1000000") }
        _ = try await database.write { try $0.execute("INSERT INTO item VALUES (?, ?)", "afterwards", 100) }
    }

    @Test("R7 a file that is no database is refused and left alone")
    func noDatabase() throws {
        let path = self.scratch.path + "/test.db"
        let bytes = Array(String(repeating: "this is not a database. ", count: 200).utf8)
        try FileSystem.replace(path, with: bytes)
        #expect(throws: PersistenceError.self) { try SQLiteDatabase(path: path, migrations: schema) }
        #expect(try FileSystem.read(path) == bytes)
    }
}
