// Two counters by which caches know that what they hold may have changed, and how they hear that files have gone.

internal import Synchronization

/// Moves before the change is acknowledged to whoever made it.
package final class ContentVersions: Sendable {
    private let tagCount = Atomic<UInt64>(0)
    private let removalCount = Atomic<UInt64>(0)
    private let watchers = Mutex<[@Sendable () -> Void]>([])

    init() {}

    /// Calls `body` whenever the collector has removed files: whoever keeps one of them open keeps its space from being free.
    package func whenFilesGo(_ body: @escaping @Sendable () -> Void) { self.watchers.withLock { $0.append(body) } }

    func filesRemoved() { for body in self.watchers.withLock({ $0 }) { body() } }

    /// Another value means that some tag may name another manifest, or none.
    package var tags: UInt64 { self.tagCount.load(ordering: .acquiring) }
    /// Another value means that something may have been removed, unlinked or locked.
    package var removals: UInt64 { self.removalCount.load(ordering: .acquiring) }

    func tagsMoved() { self.tagCount.add(1, ordering: .releasing) }

    func contentRemoved() {
        self.removalCount.add(1, ordering: .releasing)
        self.tagsMoved()
    }
}
