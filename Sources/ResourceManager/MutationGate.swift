// Changes one after the other: rules that span several stores (a data endpoint stays on while connected registries exist)
// hold only when nothing else changes between the check and the change.

internal import Synchronization

/// Lets one change run at a time, in the order of arrival.
final class MutationGate: Sendable {
    private struct State {
        var isBusy = false
        var waiters: [CheckedContinuation<Void, Never>] = []
    }

    private let state = Mutex(State())

    /// Runs `body` when nothing else runs here. A caller that is cancelled while it waits still takes its turn.
    func run<Value: Sendable>(_ body: @Sendable () async throws -> Value) async throws -> Value {
        await withCheckedContinuation { continuation in
            let isFree = self.state.withLock { state in
                if state.isBusy {
                    state.waiters.append(continuation)
                    return false
                }
                state.isBusy = true
                return true
            }
            if isFree { continuation.resume() }
        }
        defer { self.leave() }
        try Task.checkCancellation()
        return try await body()
    }

    private func leave() {
        let next = self.state.withLock { state -> CheckedContinuation<Void, Never>? in
            guard state.waiters.isEmpty else { return state.waiters.removeFirst() }
            state.isBusy = false
            return nil
        }
        next?.resume()
    }
}
