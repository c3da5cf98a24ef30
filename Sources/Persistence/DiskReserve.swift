// The last of a disk is not for content: where it is full to the brim nobody can even delete what fills it.

internal import Synchronization

/// Refuses content that would leave the database too little room to commit what is small: tags, deletions, settings.
package final class DiskReserve: Sendable {
    /// Bytes that are left free; on a small disk less, a thirty-second part of it.
    package static let size: Int64 = 64 << 20
    /// How long a measurement is believed, less what has been taken since.
    private static let freshness = Duration.milliseconds(250)

    private struct State {
        var left: Int64 = 0
        var reserve: Int64 = 0
        var measured: ContinuousClock.Instant?
    }

    private let measure: @Sendable () throws(PersistenceError) -> (free: Int64, total: Int64)
    private let state = Mutex(State())

    /// - Parameter measure: bytes free on the disk, and its size.
    package init(_ measure: @escaping @Sendable () throws(PersistenceError) -> (free: Int64, total: Int64)) { self.measure = measure }

    /// Asks for room for so many bytes of content.
    ///
    /// - Throws: ``PersistenceError`` with `noSpace`.
    package func take(_ count: Int64) throws(PersistenceError) {
        let shortage = try self.state.withLock { state throws(PersistenceError) -> (free: Int64, reserve: Int64)? in
            let isFresh = state.measured.map { ContinuousClock.now - $0 < Self.freshness } ?? false
            if !isFresh || state.left < count {
                let (free, total) = try self.measure()
                state.reserve = min(Self.size, total / 32)
                state.left = free - state.reserve
                state.measured = .now
            }
            guard state.left >= count else { return (state.left + state.reserve, state.reserve) }
            state.left -= count
            return nil
        }
        guard let shortage else { return }
        throw .init(
            .noSpace, tried: "store content",
            cause:
                "the data folder's disk has \(shortage.free) bytes left, of which \(shortage.reserve) are kept for tags, deletions and settings",
            advice: "free space on it, or delete images and collect garbage, then repeat the request")
    }
}
