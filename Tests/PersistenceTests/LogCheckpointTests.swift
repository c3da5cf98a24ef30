// The write-ahead log while much is written: it is emptied beside the writer, and loses nothing.

import Persistence
import TestSupport
import Testing

@Suite struct LogCheckpointTests {
    private static let rows = 400
    /// 200 MiB in all: more than the log may have before commits wait.
    private static let size = 512 << 10

    @Test("R7 a log that is written to without pause is emptied all the same, and what was committed meanwhile is there afterwards")
    func writtenWithoutPause() async throws {
        let scratch = ScratchFolder()
        try FileSystem.createFolder(scratch.path)
        let path = scratch.path + "/test.db"
        let schema = [Migration("test-1", ["CREATE TABLE item (id INTEGER PRIMARY KEY, bytes BLOB NOT NULL)"])]
        let database = try SQLiteDatabase(path: path, migrations: schema)
        let bytes = [UInt8](repeating: 7, count: Self.size)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for writer in 0..<8 {
                group.addTask {
                    for row in stride(from: writer, to: Self.rows, by: 8) {
                        _ = try await database.write {
                            try $0.execute("INSERT INTO item VALUES (?, ?)", .integer(Int64(row)), .blob(bytes))
                        }
                        // Readers go on, too, each in a state of its own.
                        _ = try await database.read { try $0.row("SELECT count(*) FROM item") }
                    }
                }
            }
            try await group.waitForAll()
        }
        let log = try File(path + "-wal", .read).size()
        #expect(log < 160 << 20, "the log has \(log >> 20) MiB")
        try await database.close()
        let again = try SQLiteDatabase(path: path, migrations: schema)
        let found = try await again.read { try $0.row("SELECT count(*), sum(length(bytes)), min(id), max(id) FROM item")?.values }
        #expect(found == [.integer(Int64(Self.rows)), .integer(Int64(Self.rows * Self.size)), 0, .integer(Int64(Self.rows - 1))])
        #expect(try await again.read { try $0.row("PRAGMA integrity_check")?.text(0) } == "ok")
        try await again.close()
    }
}
