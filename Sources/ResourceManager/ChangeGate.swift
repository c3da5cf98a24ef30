// Which changes may run side by side.

internal import Synchronization

/// Runs changes in the order of arrival: those whose rules are kept by one transaction of the database beside each other, so that they
/// share its commits, and every other one alone.
///
/// A caller that is cancelled while it waits still takes its turn.
final class ChangeGate: Sendable {
    private struct Waiter {
        let isShared: Bool
        let continuation: CheckedContinuation<Void, Never>
    }

    private struct State {
        var running = 0
        var isAlone = false
        var waiters: [Waiter] = []

        func admits(shared: Bool) -> Bool { !self.isAlone && (shared || self.running == 0) }

        mutating func enter(shared: Bool) {
            self.running += 1
            self.isAlone = !shared
        }
    }

    private let state = Mutex(State())

    /// How many wait for their turn.
    var waiting: Int { self.state.withLock { $0.waiters.count } }

    /// Runs while no other change does.
    func withLock<Value: Sendable>(_ body: @Sendable () async throws -> Value) async rethrows -> Value {
        try await self.run(shared: false, body)
    }

    /// Runs while no change does that has to be alone.
    func shared<Value: Sendable>(_ body: @Sendable () async throws -> Value) async rethrows -> Value {
        try await self.run(shared: true, body)
    }

    private func run<Value: Sendable>(shared: Bool, _ body: @Sendable () async throws -> Value) async rethrows -> Value {
        await withCheckedContinuation { continuation in
            let isFree = self.state.withLock { state in
                // Behind those who wait: otherwise one that has to be alone might wait for ever.
                guard state.waiters.isEmpty, state.admits(shared: shared) else {
                    state.waiters.append(Waiter(isShared: shared, continuation: continuation))
                    return false
                }
                state.enter(shared: shared)
                return true
            }
            if isFree { continuation.resume() }
        }
        defer { self.leave() }
        return try await body()
    }

    private func leave() {
        let next = self.state.withLock { state in
            state.running -= 1
            state.isAlone = false
            var admitted: [CheckedContinuation<Void, Never>] = []
            while let first = state.waiters.first, state.admits(shared: first.isShared) {
                state.enter(shared: first.isShared)
                admitted.append(first.continuation)
                state.waiters.removeFirst()
            }
            return admitted
        }
        for continuation in next { continuation.resume() }
    }
}
