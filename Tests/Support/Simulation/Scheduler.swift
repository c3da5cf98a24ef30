// One thing at a time, in an order that a seed decides: the executor under everything that a simulation runs, and its time.

internal import Foundation
internal import Persistence
internal import Synchronization
internal import TestSupport

/// Runs the jobs of all lanes on one thread, each time one that the seed picks, and lets time pass when nobody has anything to do.
final class Scheduler: TimeSource {
    private struct Timer {
        let deadline: Int64
        let number: UInt64
        let continuation: CheckedContinuation<Void, Never>
    }

    private struct State {
        var ready: [(job: UnownedJob, lane: Lane)] = []
        var timers: [UInt64: Timer] = [:]
        /// Nanoseconds since the beginning.
        var now: Int64 = 0
        var nextTimer: UInt64 = 0
        var random: SeededGenerator
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        var steps = 0
        var failure: String?
        var isOver = false
        /// What is to happen behind a step.
        var alarms: [Int: [@Sendable () -> Void]] = [:]
        var clocks: [(clock: TestClock, offset: Int64)] = []
    }

    private let base = ContinuousClock.now
    private let state: Mutex<State>
    /// 2026-09-21T14:13:20Z, as the other tests have it.
    static let beginning: Int64 = 1_790_000_000_000

    private let onNote: (@Sendable (String) -> Void)?

    init(seed: UInt64, onNote: (@Sendable (String) -> Void)?) {
        self.onNote = onNote
        self.state = Mutex(State(random: SeededGenerator(seed: seed)))
    }

    // MARK: Randomness, trace and verdict

    /// A number below `bound`, of the seed's row.
    func random(below bound: Int) -> Int { self.state.withLock { Int($0.random.next() % UInt64(max(1, bound))) } }
    func chance(_ perMille: Int) -> Bool { self.random(below: 1000) < perMille }

    /// Notes something that has happened; what is noted must be the same for the same seed.
    func note(_ text: @autoclosure () -> String) {
        let text = text()
        let now = self.state.withLock { state in
            for byte in text.utf8 { state.hash = (state.hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
            state.hash = (state.hash ^ UInt64(bitPattern: state.now)) &* 0x100_0000_01b3
            return state.now
        }
        self.onNote?("\(Double(now / 1_000_000) / 1000) \(text)")
    }

    /// The first promise that was broken ends the run.
    func fail(_ reason: String) {
        self.note("FAILURE \(reason)")
        self.state.withLock { $0.failure = $0.failure ?? reason }
    }

    var failure: String? { self.state.withLock { $0.failure } }
    var hash: UInt64 { self.state.withLock { $0.hash } }
    var steps: Int { self.state.withLock { $0.steps } }
    func finish() { self.state.withLock { $0.isOver = true } }

    // MARK: Time

    /// Milliseconds since the beginning.
    var milliseconds: Int64 { self.state.withLock { $0.now / 1_000_000 } }

    /// A clock that goes on with this time, and is wrong by so much.
    func clock(wrongBy offset: Int64) -> TestClock {
        let clock = TestClock(milliseconds: Self.beginning + self.milliseconds + offset)
        self.state.withLock { $0.clocks.append((clock, offset)) }
        return clock
    }

    var now: ContinuousClock.Instant { self.base + .nanoseconds(self.state.withLock { $0.now }) }

    func sleep(until deadline: ContinuousClock.Instant) async throws {
        let parts = (deadline - self.base).components
        try await self.sleep(toNanosecond: parts.seconds * 1_000_000_000 + parts.attoseconds / 1_000_000_000)
    }

    func sleep(milliseconds: Int) async throws {
        try await self.sleep(toNanosecond: self.state.withLock { $0.now } + Int64(milliseconds) * 1_000_000)
    }

    private func sleep(toNanosecond deadline: Int64) async throws {
        let number = self.state.withLock { state in
            state.nextTimer += 1
            return state.nextTimer
        }
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let mustWait = self.state.withLock { state in
                    guard !Task.isCancelled else { return false }
                    state.timers[number] = Timer(deadline: max(deadline, state.now), number: number, continuation: continuation)
                    return true
                }
                if !mustWait { continuation.resume() }
            }
        } onCancel: {
            self.state.withLock { $0.timers.removeValue(forKey: number) }?.continuation.resume()
        }
        try Task.checkCancellation()
    }

    // MARK: Running

    fileprivate func enqueue(_ job: UnownedJob, _ lane: Lane) { self.state.withLock { $0.ready.append((job, lane)) } }

    /// Does something between two steps, so many steps from now.
    func after(steps: Int, _ action: @escaping @Sendable () -> Void) {
        self.state.withLock { $0.alarms[$0.steps + max(1, steps), default: []].append(action) }
    }

    private enum Next {
        case run(UnownedJob, Lane)
        case wake(CheckedContinuation<Void, Never>)
        case act([@Sendable () -> Void])
        case end(String?)
    }

    /// Runs until somebody calls ``finish()``, a promise is broken, or nothing can ever happen again. Blocks its thread.
    func run(limit: Int) {
        while true {
            let next = self.state.withLock { state -> Next in
                if state.isOver || state.failure != nil { return .end(nil) }
                if let actions = state.alarms.removeValue(forKey: state.steps) { return .act(actions) }
                if state.ready.count > 0 {
                    state.steps += 1
                    guard state.steps < limit else { return .end("more than \(limit) steps: something goes round and round") }
                    let index = state.ready.count == 1 ? 0 : Int(state.random.next() % UInt64(state.ready.count))
                    let (job, lane) = state.ready.remove(at: index)
                    state.hash = (state.hash ^ UInt64(lane.number &* 64 &+ index)) &* 0x100_0000_01b3
                    return .run(job, lane)
                }
                guard let timer = state.timers.values.min(by: { ($0.deadline, $0.number) < ($1.deadline, $1.number) }) else {
                    return .end("nothing can happen any more: somebody waits for ever")
                }
                state.timers[timer.number] = nil
                state.now = timer.deadline
                for (clock, offset) in state.clocks { clock.set(milliseconds: Self.beginning + state.now / 1_000_000 + offset) }
                return .wake(timer.continuation)
            }
            switch next {
            case .run(let job, let lane): lane.run(job)
            case .wake(let continuation): continuation.resume()
            case .act(let actions): for action in actions { action() }
            case .end(let reason):
                if let reason { self.fail(reason) }
                return
            }
        }
    }
}

/// What one process would be: its jobs run as long as it lives, and are never heard of again when it is killed.
final class Lane: TaskExecutor {
    let number: Int
    private let scheduler: Scheduler
    private let isDead = Atomic<Bool>(false)

    init(_ number: Int, _ scheduler: Scheduler) {
        self.number = number
        self.scheduler = scheduler
    }

    func enqueue(_ job: consuming ExecutorJob) { self.scheduler.enqueue(UnownedJob(job), self) }

    var isAlive: Bool { !self.isDead.load(ordering: .relaxed) }
    /// Nothing of it goes on: neither what could nor what waits, and no clean-up runs.
    func kill() { self.isDead.store(true, ordering: .relaxed) }

    fileprivate func run(_ job: UnownedJob) {
        if self.isAlive { job.runSynchronously(on: self.asUnownedTaskExecutor()) }
    }
}
