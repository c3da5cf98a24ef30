// What a transfer must know besides its bytes: until when they may move, and from where it may go on after a power loss.

internal import NIOCore
internal import OCI
package import Persistence
internal import Schedule
internal import Synchronization

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// Lets content move until the window closes.
package final class TransferGate: Sendable {
    private let clock: WallClock
    private let opening = Mutex(Opening(window: .always))
    private let rate: Mutex<TransferPace?>
    /// What may come in an hour, a day, a month; `nil` where nobody counts.
    let budget: TransferBudget?

    private struct Opening {
        let window: SyncWindow
        /// A stretch of time in which it is open, in seconds since 1970; `until` is `nil` when it does not close.
        var known: (since: Int, until: Int?)?
    }

    /// - Parameters:
    ///   - bytesPerSecond: for all transfers of the site together, both ways; `nil` for no limit.
    ///   - budget: what content from the parent is taken from.
    package init(clock: WallClock = .system, bytesPerSecond: Int? = nil, budget: TransferBudget? = nil) {
        self.budget = budget
        self.clock = clock
        self.rate = Mutex(bytesPerSecond.map { TransferPace(bytesPerSecond: $0) })
    }

    /// Returns when so many bytes may have moved.
    func pace(_ bytes: Int) async throws {
        let now = Elapsing.now
        let due = self.rate.withLock { pace in
            let due = pace?.take(bytes, at: now)
            return due
        }
        if let due, due > now { try await Elapsing.sleep(until: due) }
    }

    /// How much to send at once, where it would otherwise be `size`: a second's worth at most.
    func chunk(of size: Int) -> Int { self.rate.withLock { min(size, max(4096, $0?.bytesPerSecond ?? size)) } }

    /// From here on content moves whenever this window is open.
    func open(_ window: SyncWindow) { self.opening.withLock { $0 = Opening(window: window) } }

    /// Seconds left, 0 outside of the window; `nil` without end.
    var rest: Int? {
        let now = Int(self.clock.seconds)
        return self.opening.withLock { opening in
            // Asked at each network read: the schedule is looked at when the clock has left what is known, forward or back.
            if let known = opening.known, known.since <= now, known.until.map({ now < $0 }) ?? true { return known.until.map { $0 - now } }
            guard case .open(let until) = opening.window.state(at: now) else { return 0 }
            opening.known = (now, until)
            return until.map { $0 - now }
        }
    }

    /// - Throws: ``SyncError`` with code `windowClosed` when the window is over.
    func pass() throws {
        if self.rest == 0 {
            throw SyncError(.windowClosed, "the synchronisation window is over; what is under way goes on in the next one")
        }
    }
}

extension TransferGate {
    /// Lets content from the parent come: as ``pass()``, and while there is budget.
    ///
    /// - Throws: ``SyncError`` with code `windowClosed` or `budget`.
    func passDown() throws {
        try self.pass()
        try self.budget?.pass()
    }
}

/// A rate as a value: says until when what is taken from it has been paid for.
package struct TransferPace: Sendable {
    package let bytesPerSecond: Int
    /// Everything taken so far is paid for at this instant.
    private var paid: ContinuousClock.Instant?

    package init(bytesPerSecond: Int) { self.bytesPerSecond = max(1, bytesPerSecond) }

    /// Takes bytes and returns when to go on. What was not used in a pause is not saved up.
    package mutating func take(_ bytes: Int, at now: ContinuousClock.Instant) -> ContinuousClock.Instant {
        let due = max(self.paid ?? now, now) + .nanoseconds(Int64(Double(bytes) / Double(self.bytesPerSecond) * 1_000_000_000))
        self.paid = due
        return due
    }
}

/// Up to where large content under way is known to be on the disk.
///
/// While the machine runs, a file's length can be trusted, whoever was killed. After a power loss it cannot: the length may be there and
/// the bytes not. The two are told apart by the identity of the boot.
struct TransferOffsets: Sendable {
    /// The identity of this boot of the machine; empty where it is not known, and then no boot is the same.
    static let thisBoot: String = {
        // Files of the kernel give their size as 0.
        var bytes = ByteBuffer()
        guard let file = try? File("/proc/sys/kernel/random/boot_id", .read), (try? file.read(into: &bytes, count: 64, at: 0)) != nil else {
            return ""
        }
        return String(buffer: bytes).trimmingCharacters(in: .whitespacesAndNewlines)
    }()

    let database: any Database
    var boot = Self.thisBoot

    /// Keeps, durably, that the first `size` bytes are on the disk.
    func record(_ digest: Digest, durable size: Int64) async throws {
        try await self.database.write { [boot] session in
            _ = try session.execute(
                """
                INSERT INTO sync_transfer (digest, boot, durable) VALUES (?, ?, ?)
                ON CONFLICT (digest) DO UPDATE SET boot = excluded.boot, durable = excluded.durable
                """, SQLValue(digest), .text(boot), .integer(size))
        }
    }

    /// - Returns: bytes beyond which the file is not to be believed; `nil` when all of it is.
    func trusted(_ digest: Digest) async throws -> Int64? {
        guard
            let row = try await self.database.read({
                try $0.row("SELECT boot, durable FROM sync_transfer WHERE digest = ?", SQLValue(digest))
            }), row.text(0) != self.boot || self.boot.isEmpty
        else { return nil }
        return row.integer(1)
    }

    func forget(_ digest: Digest) async throws {
        _ = try await self.database.write { try $0.execute("DELETE FROM sync_transfer WHERE digest = ?", SQLValue(digest)) }
    }
}
