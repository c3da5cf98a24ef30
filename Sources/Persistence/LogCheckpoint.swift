// Brings what is in the write-ahead log into the database file beside the writer: the pages of a long log take tens of milliseconds to
// write and to flush, and nothing is committed meanwhile where the writer does it.

internal import Dispatch
internal import GRDB
internal import GRDBSQLite
internal import Synchronization

/// Checkpoints of one database in two steps: all but the end of the log on a connection of its own while commits go on, then what they have
/// added meanwhile by the writer, which then begins the log anew.
final class LogCheckpoint: Sendable {
    /// Pages in the log from which on a checkpoint begins: 32 MiB. More would be read for longer at the start after a crash.
    static let threshold = 8000
    /// Pages in the log from which on commits wait for the checkpoint that is under way.
    private static let limit = 4 * LogCheckpoint.threshold

    private enum Phase {
        /// - Parameter at: pages at which the next one begins.
        case waiting(at: Int)
        case running
        /// The writer's turn.
        case ending
    }

    private enum Step { case none, begin, wait, end }

    private let connection: DatabaseQueue
    private let pages = Atomic<Int>(0)
    private let phase = Mutex(Phase.waiting(at: LogCheckpoint.threshold))

    /// - Parameter connection: one that nobody else uses.
    init(connection: DatabaseQueue) { self.connection = connection }

    /// Watches the log of the writer's commits.
    func watch(_ writer: GRDB.Database) {
        // Called within commits of the writer, which does not outlive this: both belong to one ``SQLiteDatabase``.
        sqlite3_wal_hook(
            writer.sqliteConnection,
            { context, _, _, pages in
                guard let context else { return SQLITE_OK }
                Unmanaged<LogCheckpoint>.fromOpaque(context).takeUnretainedValue().pages.store(Int(pages), ordering: .relaxed)
                return SQLITE_OK
            }, Unmanaged.passUnretained(self).toOpaque())
    }

    /// The writer has committed.
    func committed(_ writer: GRDB.Database) {
        let pages = self.pages.load(ordering: .relaxed)
        let step = self.phase.withLock { phase -> Step in
            switch phase {
            case .waiting(let at) where pages >= at:
                phase = .running
                return .begin
            case .running where pages >= Self.limit: return .wait
            case .ending: return .end
            case .waiting, .running: return .none
            }
        }
        switch step {
        case .none: break
        case .begin:
            self.connection.asyncWriteWithoutTransaction { [self] db in
                _ = try? db.checkpoint(.passive)
                self.phase.withLock { $0 = .ending }
            }
        case .wait:
            // A disk that is this slow is no faster for more of the log.
            self.connection.writeWithoutTransaction { _ in }
            self.end(writer, pages)
        case .end: self.end(writer, pages)
        }
    }

    private func end(_ writer: GRDB.Database, _ pages: Int) {
        let done = try? writer.checkpoint(.passive)
        // A reader that looks at an older state keeps the log from beginning anew: it is tried again some pages later.
        let isWhole = done.map { $0.walFrameCount == $0.checkpointedFrameCount } ?? false
        self.phase.withLock { $0 = .waiting(at: isWhole ? Self.threshold : pages + Self.threshold / 8) }
    }

    func close() throws { try self.connection.close() }
}
