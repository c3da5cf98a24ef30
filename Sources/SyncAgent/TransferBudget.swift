// How many bytes of content may come in an hour, a day and a month of UTC. What is granted is written down before it is asked for, so that
// no crash gives bytes back. See decision 0056.

internal import GatewayProtocol
package import Persistence
internal import RegistryCore
internal import Schedule
internal import Synchronization

/// The budget of a site: grants bytes, durably.
package final class TransferBudget: Sendable {
    /// Bytes that may be received, written down as if they had been.
    struct Grant: Sendable {
        let bytes: Int64
        /// The beginnings of the stretches they were taken from.
        fileprivate let begins: [BudgetPeriod: Int]
    }

    private struct State {
        var limits: [BudgetPeriod: Int64] = [:]
        /// `nil` before it has been read.
        var used: [BudgetPeriod: Use]?
        /// Until when nothing is granted, because something did not fit, and when that was found; seconds since 1970.
        var spent: (until: Int, found: Int)?
    }

    private struct Use: Equatable {
        var begins: Int
        var bytes: Int64
    }

    private let database: any Database
    private let clock: WallClock
    private let state = Mutex(State())
    private let saving = AsyncMutex()
    /// The largest grant: how much a process that is killed may lose of each transfer under way.
    private static let largestGrant: Int64 = 8 << 20
    private static let smallestGrant: Int64 = 64 << 10

    package init(database: any Database, clock: WallClock = .system) {
        self.database = database
        self.clock = clock
    }

    private static func limits(_ budget: ByteBudget?) -> [BudgetPeriod: Int64] {
        let budget = budget?.bounded
        var limits: [BudgetPeriod: Int64] = [:]
        limits[.hour] = budget?.hour
        limits[.day] = budget?.day
        limits[.month] = budget?.month
        return limits
    }

    /// - Returns: whether they are others than before.
    func setLimits(_ budget: ByteBudget?) -> Bool {
        self.state.withLock { state in
            let limits = Self.limits(budget)
            guard limits != state.limits else { return false }
            state.limits = limits
            state.spent = nil
            return true
        }
    }

    /// Whether there is any limit.
    var isLimited: Bool { self.state.withLock { !$0.limits.isEmpty } }

    /// Whether so many bytes at once fit into every limit, when nothing of it is used.
    func mayEverTake(_ bytes: Int64) -> Bool { self.state.withLock { $0.limits.values.allSatisfy { bytes <= $0 } } }

    private var now: Int { Int(self.clock.seconds) }

    /// The use of a stretch at an instant.
    ///
    /// A clock that was set back begins the earlier stretch with what has been used: setting it back and forth gives nothing for free, and
    /// a count that a wrong clock has put into a far year is over when the right one goes on.
    private static func rolled(_ use: Use?, _ period: BudgetPeriod, _ now: Int) -> Use {
        let begins = period.begins(at: now)
        guard let use, use.begins >= begins else { return Use(begins: begins, bytes: 0) }
        return Use(begins: begins, bytes: use.bytes)
    }

    private func load() async throws {
        guard self.state.withLock({ $0.used == nil }) else { return }
        let rows = try await self.database.read { try $0.rows("SELECT period, begins, used FROM sync_budget") }
        var used: [BudgetPeriod: Use] = [:]
        for row in rows {
            if let period = BudgetPeriod(rawValue: row.text(0)) { used[period] = Use(begins: Int(row.integer(1)), bytes: row.integer(2)) }
        }
        let loaded = used
        self.state.withLock { $0.used = loaded }
    }

    /// Changes what is used, durably first.
    private func save(_ used: [BudgetPeriod: Use]) async throws {
        try await self.database.write { session in
            for (period, use) in used {
                try session.execute(
                    """
                    INSERT INTO sync_budget (period, begins, used) VALUES (?, ?, ?)
                    ON CONFLICT (period) DO UPDATE SET begins = excluded.begins, used = excluded.used
                    """, .text(period.rawValue), .integer(Int64(use.begins)), .integer(use.bytes))
            }
        }
        self.state.withLock { $0.used = used }
    }

    /// What is used at an instant, of all stretches.
    private static func current(_ state: State, _ now: Int) -> [BudgetPeriod: Use] {
        var used: [BudgetPeriod: Use] = [:]
        for period in BudgetPeriod.allCases { used[period] = self.rolled(state.used?[period], period, now) }
        return used
    }

    /// Takes bytes of content that are about to be asked for.
    ///
    /// - Parameters:
    ///   - wanted: how many would be of use.
    ///   - whole: whether fewer are of none.
    /// - Returns: how many may be received; `nil` where there is no budget.
    /// - Throws: ``SyncError`` with code `budget` when nothing is left, or less than is of use; with code `content` where no stretch is long enough
    ///   for it, which says nothing about what else may come.
    func take(_ wanted: Int64, whole: Bool = false) async throws -> Grant? {
        guard self.isLimited else { return nil }
        return try await self.saving.withLock {
            try await self.load()
            let now = self.now
            let state = self.state.withLock { $0 }
            if whole { try Self.requireFit(wanted, in: state.limits) }
            var used = Self.current(state, now)
            let left = state.limits.map { $0.value - (used[$0.key]?.bytes ?? 0) }.min() ?? .max
            let share = (state.limits.values.min() ?? .max) / 64
            let bytes = whole ? wanted : min(wanted, left, max(Self.smallestGrant, min(Self.largestGrant, share)))
            guard bytes > 0, bytes <= left, !self.isSpent else {
                self.markSpent(wanting: whole ? wanted : 1, used, now)
                // A stretch that has begun anew because the clock was set back has begun, also where nothing is taken from it.
                if used != state.used { try await self.save(used) }
                throw self.refusal
            }
            for period in BudgetPeriod.allCases { used[period]?.bytes += bytes }
            try await self.save(used)
            return Grant(bytes: bytes, begins: used.mapValues(\.begins))
        }
    }

    private static func requireFit(_ bytes: Int64, in limits: [BudgetPeriod: Int64]) throws {
        guard bytes > 0 else { throw SyncError(.content, "the parent says that a manifest of it has \(bytes) bytes") }
        guard let (period, limit) = limits.min(by: { $0.value < $1.value }), bytes > limit else { return }
        throw SyncError(
            .content,
            "a manifest of it has \(bytes) bytes, which come at once, and the budget is \(limit) in a whole \(period.rawValue): raise that to \(bytes) at least"
        )
    }

    /// Gives back what was not received of a grant, or counts what came beyond it.
    func settle(_ grant: Grant?, received: Int64) async throws {
        guard let grant, received != grant.bytes else { return }
        try await self.saving.withLock {
            var used = Self.current(self.state.withLock { $0 }, self.now)
            // What was taken from a stretch that is over is not missing in the one that goes on.
            for (period, begins) in grant.begins where used[period]?.begins == begins {
                used[period]?.bytes += received - grant.bytes
            }
            try await self.save(used)
        }
    }

    private func markSpent(wanting bytes: Int64, _ used: [BudgetPeriod: Use], _ now: Int) {
        self.state.withLock { state in
            guard state.spent == nil else { return }
            // The last of those that are short to be whole again.
            let short = state.limits.filter { $0.value - (used[$0.key]?.bytes ?? 0) < bytes }.keys
            state.spent = short.map { $0.renews(after: now) }.max().map { ($0, now) }
        }
    }

    /// Whether nothing is granted before a stretch ends.
    private var isSpent: Bool { self.spentUntil != nil }

    /// Until when nothing is granted; seconds since 1970.
    var spentUntil: Int? {
        let now = self.now
        return self.state.withLock { state in
            // A clock that was set back does not make a site wait for what the wrong one had found.
            if let spent = state.spent, spent.until <= now || now < spent.found { state.spent = nil }
            return state.spent?.until
        }
    }

    private var refusal: SyncError {
        let until = self.spentUntil.map { Timestamp.text(seconds: Int64($0)) } ?? "the next hour"
        return SyncError(.budget, "the budget for content from the parent is spent until \(until); what is under way goes on then")
    }

    /// - Throws: ``SyncError`` with code `budget` while nothing is granted.
    func pass() throws {
        if self.isSpent { throw self.refusal }
    }

    /// What is spent of each limit.
    func uses() async throws -> [BudgetUse] {
        guard self.isLimited else { return [] }
        try await self.saving.withLock { try await self.load() }
        let now = self.now
        let state = self.state.withLock { $0 }
        let used = Self.current(state, now)
        return BudgetPeriod.allCases.compactMap { period in
            state.limits[period].map {
                BudgetUse(
                    period: period.rawValue, limit: $0, used: used[period]?.bytes ?? 0, renews: Int64(period.renews(after: now)))
            }
        }
    }
}
