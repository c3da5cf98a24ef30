// Wakes long polls: a counter that moves whenever something a child might want has changed.

internal import Persistence
internal import Synchronization

/// A counter one can wait on.
package final class Activity: Sendable {
    private struct State {
        var count: UInt64 = 0
        var nextWaiter: UInt64 = 0
        var waiters: [UInt64: CheckedContinuation<Void, Never>] = [:]
    }

    private let state = Mutex(State())

    package init() {}

    package var count: UInt64 { self.state.withLock { $0.count } }

    /// Something has changed: everyone who waits looks again.
    package func signal() {
        let waiters = self.state.withLock { state in
            state.count += 1
            defer { state.waiters = [:] }
            return state.waiters.values
        }
        for waiter in waiters { waiter.resume() }
    }

    /// Returns when the counter differs from `seen`, or when the task is cancelled.
    package func wait(beyond seen: UInt64) async {
        let id = self.state.withLock { state in
            state.nextWaiter += 1
            return state.nextWaiter
        }
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let mustWait = self.state.withLock { state in
                    guard state.count == seen, !Task.isCancelled else { return false }
                    state.waiters[id] = continuation
                    return true
                }
                if !mustWait { continuation.resume() }
            }
        } onCancel: {
            self.state.withLock { $0.waiters.removeValue(forKey: id) }?.resume()
        }
    }

    /// The same with a limit on the time.
    package func wait(beyond seen: UInt64, atMost duration: Duration) async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.wait(beyond: seen) }
            group.addTask { try? await Elapsing.sleep(for: duration) }
            await group.next()
            group.cancelAll()
        }
    }
}
