// Imports under way and lately ended, by the id of their operation.

internal import Persistence
internal import Synchronization

/// One import.
final class ImportJob: Sendable {
    enum Outcome: Sendable {
        case done
        case failed(ResourceError)
    }

    let id: String
    /// Whoever began it, and alone may ask.
    let owner: String
    private let state = Mutex<(outcome: Outcome, ended: Int64)?>(nil)

    init(id: String, owner: String) {
        self.id = id
        self.owner = owner
    }

    var outcome: Outcome? { self.state.withLock { $0?.outcome } }
    var ended: Int64? { self.state.withLock { $0?.ended } }

    func end(_ outcome: Outcome, at time: Int64) { self.state.withLock { $0 = (outcome, time) } }
}

/// Keeps them. What is under way ends with the process; what has arrived by then is on disk, and importing again goes on behind it.
final class ImportJobs: Sendable {
    private static let maximum = 16
    /// Milliseconds for which the outcome is told.
    private static let kept: Int64 = 3_600_000

    private let clock: WallClock
    private let jobs = Mutex<[String: ImportJob]>([:])

    init(clock: WallClock) { self.clock = clock }

    func job(_ id: String) -> ImportJob? { self.jobs.withLock { $0[id] } }

    /// Begins one.
    ///
    /// - Parameter work: ends with its refusal, or none.
    /// - Throws: 503 while too many are under way.
    func start(_ id: String, owner: String, _ work: @escaping @Sendable () async -> ResourceError?) throws(ResourceError) -> ImportJob {
        let now = self.clock.milliseconds()
        let job = ImportJob(id: id, owner: owner)
        let isFree = self.jobs.withLock { jobs in
            jobs = jobs.filter { $0.value.ended.map { $0 > now - Self.kept } ?? true }
            guard jobs.values.count(where: { $0.outcome == nil }) < Self.maximum else { return false }
            jobs[id] = job
            return true
        }
        guard isFree else {
            throw ResourceError(
                .serviceUnavailable, .busy, "\(Self.maximum) imports are under way, which is as many as there may be. Try again later.")
        }
        let clock = self.clock
        Task {
            let refusal = await work()
            job.end(refusal.map { .failed($0) } ?? .done, at: clock.milliseconds())
        }
        return job
    }
}
