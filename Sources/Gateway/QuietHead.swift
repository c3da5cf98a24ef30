// The head of the log and the root there, for those who ask while nothing changes: a thousand idle children would have them read twenty
// times a second, each time the same.

internal import Persistence
internal import RegistryCore
internal import Synchronization

/// What was found at the head of the log, by what is selected, in memory until content changes.
///
/// ``RegistryStore/activity`` moves behind every change of content. What was read under another count is not believed, nor is anything older than a
/// minute: a root that only damage has changed must not be told for ever.
final class QuietHead: Sendable {
    struct Selection: Hashable {
        let registry: RegistryID
        let repositories: [String]
    }

    private struct Found {
        let head: ChangeCursor
        let root: String
        let time: ContinuousClock.Instant
    }

    private struct State {
        var count: UInt64?
        var found: [Selection: Found] = [:]
    }

    private static let longest = Duration.seconds(60)

    private let state = Mutex(State())
    private let activity: Activity

    init(activity: Activity) { self.activity = activity }

    /// To be asked for before reading what is to be remembered.
    var count: UInt64 { self.activity.count }

    /// - Parameter count: from before it was read.
    func remember(_ root: String, at head: ChangeCursor, of selection: Selection, count: UInt64) {
        let now = Elapsing.now
        self.state.withLock { state in
            // What changed while it was read is not remembered.
            guard self.activity.count == count else { return }
            if state.count != count { state = State(count: count) }
            state.found[selection] = Found(head: head, root: root, time: now)
        }
    }

    /// The root, if `cursor` is the head of the log and nothing has changed since that was read.
    func root(at cursor: ChangeCursor, of selection: Selection) -> String? {
        let found = self.found(selection)
        return found?.head == cursor ? found?.root : nil
    }

    /// The root at the head, wherever that is.
    func root(of selection: Selection) -> String? { self.found(selection)?.root }

    private func found(_ selection: Selection) -> Found? {
        let now = Elapsing.now
        return self.state.withLock { state in
            guard state.count == self.activity.count, let found = state.found[selection], now - found.time < Self.longest else {
                return nil
            }
            return found
        }
    }
}
