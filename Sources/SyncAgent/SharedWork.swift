// Work that several want at once is done once: who comes first does it, the others wait for what becomes of it.

internal import RegistryCore
internal import Synchronization

/// One piece of work for each key, however many ask.
///
/// Whoever does the work does it in a task of their own. If that task is cancelled, one of those who wait takes its place; if the work fails,
/// everybody who waited for it gets the error, and who comes later tries anew.
final class SharedWork<Key: Hashable & Sendable, Value: Sendable>: Sendable {
    fileprivate final class Entry: Sendable {
        struct State {
            var isLed = false
            /// Attempts that have come to an end, and what the last one came to.
            var landings = 0
            var outcome: Result<Value, any Error>?
        }

        let state = Mutex(State())
        let news = Activity()
    }

    private enum Turn {
        case lead
        case landed(Result<Value, any Error>)
        case wait
    }

    private let entries = Mutex<[Key: (entry: Entry, users: Int)]>([:])

    /// - Parameter work: carried out unless somebody else is at it.
    /// - Returns: what became of it, and whether this caller did it.
    func run(_ key: Key, _ work: () async throws -> Value) async throws -> (value: Value, isOwn: Bool) {
        let (entry, joined) = self.join(key)
        defer { self.leave(key) }
        while true {
            let seen = entry.news.count
            switch Self.turn(entry, joined) {
            case .landed(let outcome): return (try outcome.get(), false)
            case .wait:
                await entry.news.wait(beyond: seen)
                try Task.checkCancellation()
            case .lead:
                do {
                    let value = try await work()
                    Self.land(entry, .success(value))
                    return (value, true)
                } catch {
                    // Who was cancelled has found out nothing about the work.
                    Self.land(entry, Task.isCancelled || error is CancellationError ? nil : .failure(error))
                    throw error
                }
            }
        }
    }

    /// Work on one key that is done elsewhere, together with that on others.
    struct Lead: Sendable {
        fileprivate let work: SharedWork
        fileprivate let key: Key
        fileprivate let entry: Entry

        /// Tells those who wait what became of it; to be called once.
        ///
        /// - Parameter value: `nil` where nothing has been found out: one of those who wait takes the place of whoever leads.
        func end(_ value: Value?) {
            SharedWork.land(self.entry, value.map { .success($0) })
            self.work.leave(self.key)
        }
    }

    /// Takes the lead of the work on a key; it must be ended.
    ///
    /// - Returns: `nil` when somebody is at it.
    func lead(_ key: Key) -> Lead? {
        let (entry, _) = self.join(key)
        let isFree = entry.state.withLock { state in
            defer { state.isLed = true }
            return !state.isLed
        }
        guard isFree else {
            self.leave(key)
            return nil
        }
        return Lead(work: self, key: key, entry: entry)
    }

    private func join(_ key: Key) -> (Entry, landings: Int) {
        self.entries.withLock { entries in
            let entry = entries[key]?.entry ?? Entry()
            entries[key] = (entry, (entries[key]?.users ?? 0) + 1)
            return (entry, entry.state.withLock { $0.landings })
        }
    }

    private func leave(_ key: Key) {
        self.entries.withLock { entries in
            guard let (entry, users) = entries[key] else { return }
            entries[key] = users > 1 ? (entry, users - 1) : nil
        }
    }

    private static func turn(_ entry: Entry, _ joined: Int) -> Turn {
        entry.state.withLock { state in
            if state.landings > joined, let outcome = state.outcome { return .landed(outcome) }
            if state.isLed { return .wait }
            state.isLed = true
            return .lead
        }
    }

    private static func land(_ entry: Entry, _ outcome: Result<Value, any Error>?) {
        entry.state.withLock { state in
            state.isLed = false
            guard let outcome else { return }
            state.landings += 1
            state.outcome = outcome
        }
        entry.news.signal()
    }
}
