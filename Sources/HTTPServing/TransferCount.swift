// How many files are on their way: what each connection may hold of its own depends on it.

internal import Synchronization

/// Files that a listener's connections are sending.
final class TransferCount: Sendable {
    private let count = Atomic<Int>(0)

    /// One more; returns how many there are now.
    func begin() -> Int { self.count.wrappingAdd(1, ordering: .relaxed).newValue }

    func end() { self.count.wrappingSubtract(1, ordering: .relaxed) }
}
