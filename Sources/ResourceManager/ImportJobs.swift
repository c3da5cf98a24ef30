// Imports under way and lately ended, by the id of their operation. They lie in the database, so that a restart goes on with them.

internal import Identity
internal import Import
package import Persistence
internal import RegistryCore
internal import Synchronization

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// One import.
final class ImportJob: Sendable {
    enum Outcome: Sendable {
        case done
        case failed(ResourceError)
    }

    let id: String
    /// Whoever began it, and alone may ask.
    let owner: String
    let progress = ImportProgress()
    private let state = Mutex<Outcome?>(nil)

    init(id: String, owner: String) {
        self.id = id
        self.owner = owner
    }

    var outcome: Outcome? { self.state.withLock { $0 } }

    func end(_ outcome: Outcome) { self.state.withLock { $0 = outcome } }
}

/// Keeps them.
package final class ImportJobs: Sendable {
    private static let maximum = 16
    /// Milliseconds for which an outcome is told, and for which an import is taken up again after a restart.
    private static let kept: Int64 = 3_600_000
    private static let resumed: Int64 = 24 * 3_600_000

    typealias Work = @Sendable (ImportOrder, ImportJob) async -> ResourceError?

    private let database: any Database
    private let clock: WallClock
    private let box: SecretBox
    private let jobs = Mutex<[String: ImportJob]>([:])
    /// Places of imports that are being noted.
    private let starting = Mutex(0)
    private let isStopped = Mutex(false)

    /// - Parameter folder: where the key lies that orders are sealed with: they carry the credentials of their sources.
    package init(database: any Database, folder: String, clock: WallClock = .system) throws {
        self.database = database
        self.clock = clock
        self.box = try SecretBox(path: "\(folder)/imports.key", lost: "begin the imports that were under way again")
    }

    /// What the change log says of content that an import has placed.
    static func origin(_ id: String) -> String { "import:\(id)" }

    /// To be called before connections are closed.
    package func stop() { self.isStopped.withLock { $0 = true } }

    func job(_ id: String) -> ImportJob? { self.jobs.withLock { $0[id] } }

    /// Notes an import and begins it.
    ///
    /// - Parameter work: ends with its refusal, or none.
    /// - Throws: 503 while too many are under way.
    func start(_ id: String, owner: String, _ order: ImportOrder, _ work: @escaping Work) async throws -> ImportJob {
        let isFree = self.starting.withLock { starting in
            guard self.jobs.withLock({ $0.values.count(where: { $0.outcome == nil }) }) + starting < Self.maximum else { return false }
            starting += 1
            return true
        }
        // Its job is there when the place is given up.
        defer { if isFree { self.starting.withLock { $0 -= 1 } } }
        guard isFree else {
            throw ResourceError(
                .serviceUnavailable, .busy, "\(Self.maximum) imports are under way, which is as many as there may be. Try again later.")
        }
        let now = self.clock.milliseconds()
        let sealed = try self.box.seal(Array(try JSONEncoder().encode(ImportRecord(order))), for: id)
        let expired = try await self.database.write { session in
            let expired = try session.rows("SELECT id FROM import_job WHERE ended < ?", .integer(now - Self.kept)).map { $0.text(0) }
            try session.execute("DELETE FROM import_job WHERE ended < ?", .integer(now - Self.kept))
            try session.execute(
                "INSERT INTO import_job (id, owner, registry, sealed, created) VALUES (?, ?, ?, ?, ?)", SQLValue(id), SQLValue(owner),
                .integer(order.registry.value), .blob(sealed), .integer(now))
            return expired
        }
        self.jobs.withLock { jobs in for id in expired { jobs[id] = nil } }
        return self.run(id, owner: owner, order, work)
    }

    private func run(_ id: String, owner: String, _ order: ImportOrder, _ work: @escaping Work) -> ImportJob {
        let job = ImportJob(id: id, owner: owner)
        self.jobs.withLock { $0[id] = job }
        Task {
            let refusal = await work(order, job)
            // What fails because the process is ending is the next one's to go on with.
            guard !self.isStopped.withLock({ $0 }) else { return }
            await self.end(job, refusal)
        }
        return job
    }

    private func end(_ job: ImportJob, _ refusal: ResourceError?) async {
        let now = self.clock.milliseconds()
        _ = try? await self.database.write { session in
            // With the outcome the credentials go.
            try session.execute(
                "UPDATE import_job SET ended = ?, sealed = NULL, status = ?, code = ?, message = ?, target = ? WHERE id = ?", .integer(now),
                SQLValue(refusal.map { Int64($0.status.code) }), SQLValue(refusal?.code.rawValue), SQLValue(refusal?.message),
                SQLValue(refusal?.target), SQLValue(job.id))
        }
        job.end(refusal.map { .failed($0) } ?? .done)
    }

    /// Goes on with what the last process left, and remembers what it has ended.
    func resume(_ work: @escaping Work) async throws {
        let now = self.clock.milliseconds()
        let rows = try await self.database.write { session in
            try session.execute(
                "DELETE FROM import_job WHERE ended < ? OR ended IS NULL AND created < ?", .integer(now - Self.kept),
                .integer(now - Self.resumed))
            return try session.rows("SELECT id, owner, sealed, ended, status, code, message, target FROM import_job")
        }
        for row in rows {
            let (id, owner) = (row.text(0), row.text(1))
            if row.optionalInteger(3) != nil {
                let job = ImportJob(id: id, owner: owner)
                job.end(Self.outcome(row))
                self.jobs.withLock { $0[id] = job }
                continue
            }
            guard let plain = self.box.open(row.blob(2), for: id),
                let record = try? JSONDecoder().decode(ImportRecord.self, from: Data(plain)), let order = record.order(id)
            else {
                // Whoever polls is told, and it is not tried again at each start.
                let job = ImportJob(id: id, owner: owner)
                self.jobs.withLock { $0[id] = job }
                await self.end(
                    job,
                    ResourceError(
                        .internalServerError, .importFailed,
                        "The server was started anew while it imported, and cannot read any more what was asked for: its key is another one. "
                            + "Import again."))
                continue
            }
            // It may have placed its content and not come to say so.
            let isPlaced = try await self.database.read {
                try $0.row("SELECT 1 FROM change WHERE origin = ? LIMIT 1", SQLValue(Self.origin(id))) != nil
            }
            if isPlaced {
                let job = ImportJob(id: id, owner: owner)
                self.jobs.withLock { $0[id] = job }
                await self.end(job, nil)
            } else {
                _ = self.run(id, owner: owner, order, work)
            }
        }
    }

    private static func outcome(_ row: SQLRow) -> ImportJob.Outcome {
        guard let status = row.optionalInteger(4) else { return .done }
        return .failed(
            ResourceError(
                .init(code: Int(status)), ResourceError.Code(rawValue: row.text(5)) ?? .importFailed, row.text(6),
                target: row.optionalText(7)))
    }
}
