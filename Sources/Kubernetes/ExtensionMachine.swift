// The life of an extension in a cluster as a value: what happened goes in, what to do next comes out.

package import ClusterProtocol

/// What has been put into the cluster.
package struct Installed: Sendable, Hashable {
    package var version: String
    /// Whether there is an earlier state that was healthy and is another one than this.
    package var canRollBack: Bool
    /// Why this very generation was rolled back before; nothing was changed then.
    package var rolledBack: ExtensionError?
    /// Whether something healthy was there before.
    package var isUpdate: Bool
    /// Settings that were found out.
    package var settings: [String: String]

    package init(
        version: String, canRollBack: Bool, isUpdate: Bool = false, rolledBack: ExtensionError? = nil, settings: [String: String] = [:]
    ) {
        self.version = version
        self.canRollBack = canRollBack
        self.isUpdate = isUpdate
        self.rolledBack = rolledBack
        self.settings = settings
    }
}

/// How the installed objects do.
package struct Health: Sendable, Hashable {
    /// `nil` when the registry runs as it should.
    package var problem: ExtensionError?
    /// Whether trust has arrived on every node that is meant; an installation waits for it, but never fails by it.
    package var isTrusted: Bool
    /// Whether the new registry waits for the old one to end: there is one at a time.
    package var isReplacing: Bool
    package var statuses: [ExtensionStatus]

    package init(problem: ExtensionError?, isTrusted: Bool = true, isReplacing: Bool = false, statuses: [ExtensionStatus] = []) {
        self.problem = problem
        self.isTrusted = isTrusted
        self.isReplacing = isReplacing
        self.statuses = statuses
    }
}

/// Decides what the agent does about one extension.
package struct ExtensionMachine: Sendable {
    /// Milliseconds.
    package struct Limits: Sendable {
        /// For becoming healthy.
        package var settle: Int64
        package var look: Int64
        package var watch: Int64
        /// Between two times of putting everything in place, which mends what somebody has changed.
        package var resync: Int64
        package var retry: Int64
        /// After which a removal that does not come to its end is told as failed; it is tried on.
        package var removal: Int64

        package init(
            settle: Int64 = 300_000, look: Int64 = 1000, watch: Int64 = 15_000, resync: Int64 = 120_000, retry: Int64 = 20_000,
            removal: Int64 = 300_000
        ) {
            self.settle = settle
            self.look = look
            self.watch = watch
            self.resync = resync
            self.retry = retry
            self.removal = removal
        }
    }

    package enum Event: Sendable, Hashable {
        /// What the control plane wants now; `nil` when it knows of no extension.
        case wanted(DesiredExtension?)
        case installed(Installed)
        case failed(ExtensionError)
        case health(Health)
        /// Back at an earlier version.
        case rolledBack(version: String)
        /// What is still there after a step of the removal; `nil` when nothing is.
        case removal(left: ExtensionError?)
        /// Time has passed, or something in the cluster has changed.
        case tick
    }

    package enum Action: Sendable, Hashable {
        case install(DesiredExtension)
        case look
        /// Keeps the present state as one to go back to.
        case remember(DesiredExtension)
        case rollBack(DesiredExtension, because: ExtensionError)
        case remove(Removal)
        case report(ExtensionReport)
    }

    package enum Phase: Sendable, Hashable {
        /// Nothing is wanted.
        case idle
        case installing
        /// Everything is in place and has until then to become healthy.
        case settling(until: Int64)
        case rollingBack(ExtensionError)
        /// In place; with what is wrong, and since when.
        case steady(problem: ExtensionError?, since: Int64)
        /// It could not be put in place.
        case refused
        case removing(since: Int64, isTold: Bool)
    }

    package private(set) var phase = Phase.idle
    package private(set) var wanted: DesiredExtension?
    /// When to come back without an event.
    package private(set) var wake: Int64?
    private let limits: Limits
    private var installed: Installed?
    private var statuses: [ExtensionStatus] = []
    private var nextResync: Int64 = 0
    private var lastReport: ExtensionReport?
    /// Until when waiting for the old registry may put the end of settling off.
    private var latest: Int64 = 0

    package init(limits: Limits = Limits()) { self.limits = limits }

    package mutating func handle(_ event: Event, now: Int64) -> [Action] {
        if case .wanted(let wanted) = event { return self.begin(wanted, now) }
        guard let wanted else { return [] }
        switch (event, self.phase) {
        case (.installed(let found), .installing), (.installed(let found), .refused):
            self.installed = found
            self.nextResync = now + self.limits.resync
            if let error = found.rolledBack {
                self.phase = .steady(problem: error, since: now)
                self.wake = now + self.limits.watch
                return self.report(.failed, error)
            }
            self.phase = .settling(until: now + self.limits.settle)
            self.latest = now + 4 * self.limits.settle
            self.nextResync = now + self.limits.retry
            return [.look]
        case (.installed, .settling):
            self.nextResync = now + self.limits.retry
            return [.look]
        case (.installed(let found), .steady):
            self.installed?.settings = found.settings
            self.nextResync = now + self.limits.resync
            return [.look]
        case (.installed, .rollingBack): return []
        case (.failed(let error), .steady(let problem, let since)) where error.code != .unreachable && problem?.code != .rolledBack:
            self.phase = .steady(problem: error, since: since)
            self.wake = now + self.limits.retry
            return self.report(.failed, error)
        case (.failed, .steady), (.failed, .settling), (.failed, .removing):
            self.wake = now + self.limits.look
            return []
        case (.failed(let error), .rollingBack(let cause)):
            self.wake = now + self.limits.retry
            return self.report(
                .failed, ExtensionError(cause.code, "\(cause.message) Going back failed, too, and is tried again: \(error.message)"))
        case (.failed(let error), _):
            self.phase = .refused
            self.wake = now + self.limits.retry
            return self.report(.failed, error)
        case (.health(let health), .settling(let until)): return self.settle(health, until, wanted, now)
        case (.health(let health), .steady(let problem, let since)): return self.watch(health, problem, since, wanted, now)
        case (.rolledBack(let version), .rollingBack(let cause)):
            self.installed = Installed(version: version, canRollBack: false, settings: self.installed?.settings ?? [:])
            let error = ExtensionError(
                .rolledBack,
                "The change did not become healthy and was undone; version \(version) runs on with its data. The cause: \(cause.message)")
            self.phase = .steady(problem: error, since: now)
            self.wake = now + self.limits.watch
            return self.report(.failed, error)
        case (.removal(nil), .removing):
            self.phase = .idle
            self.wanted = nil
            self.wake = nil
            return [.report(ExtensionReport(name: wanted.name, generation: wanted.generation, state: .deleting, isRemoved: true))]
        case (.removal(let left?), .removing(let since, let isTold)):
            self.wake = now + self.limits.look
            guard !isTold, now - since >= self.limits.removal else { return [] }
            self.phase = .removing(since: since, isTold: true)
            return self.report(.failed, left)
        case (.tick, _): return self.tick(wanted, now)
        default: return []
        }
    }

    private mutating func begin(_ wanted: DesiredExtension?, _ now: Int64) -> [Action] {
        guard let wanted else {
            // Forgotten by force, or by a control plane that lost its data: what runs in the cluster is left alone.
            self = ExtensionMachine(limits: self.limits)
            return []
        }
        if let current = self.wanted, current.generation == wanted.generation { return [] }
        self.wanted = wanted
        self.wake = nil
        self.lastReport = nil
        self.statuses = []
        if let removal = wanted.removal {
            self.phase = .removing(since: now, isTold: false)
            return self.report(.deleting) + [.remove(removal)]
        }
        // That it is under way the control plane knows by itself: nothing was reported of this generation yet.
        self.phase = .installing
        return [.install(wanted)]
    }

    private mutating func settle(_ health: Health, _ until: Int64, _ wanted: DesiredExtension, _ now: Int64) -> [Action] {
        self.statuses = health.statuses
        if health.problem == nil, health.isTrusted || now >= until {
            self.phase = .steady(problem: nil, since: now)
            self.wake = now + self.limits.watch
            return [.remember(wanted)] + self.report(.succeeded)
        }
        self.wake = now + self.limits.look
        // The time of the old one's end is not the new one's: it may have pulls to finish.
        if health.isReplacing, now < self.latest { self.phase = .settling(until: min(now + self.limits.settle, self.latest)) }
        guard let problem = health.problem, now >= until, !(health.isReplacing && now < self.latest) else {
            return self.report(self.installed?.isUpdate == true ? .updating : .creating)
        }
        guard self.installed?.canRollBack == true else {
            self.phase = .steady(problem: problem, since: now)
            return self.report(.failed, problem)
        }
        self.phase = .rollingBack(problem)
        self.wake = nil
        return [.rollBack(wanted, because: problem)]
    }

    private mutating func watch(
        _ health: Health, _ problem: ExtensionError?, _ since: Int64, _ wanted: DesiredExtension, _ now: Int64
    ) -> [Action] {
        self.statuses = health.statuses
        self.wake = now + (problem == nil && health.problem == nil ? self.limits.watch : self.limits.look)
        // What was undone stays undone until somebody asks for something else.
        if problem?.code == .rolledBack {
            self.wake = now + self.limits.watch
            return []
        }
        guard let found = health.problem else {
            self.phase = .steady(problem: nil, since: now)
            self.wake = now + self.limits.watch
            return (problem == nil ? [] : [.remember(wanted)]) + self.report(.succeeded)
        }
        if problem != nil {
            self.phase = .steady(problem: found, since: since)
            return self.report(.failed, found)
        }
        // A pod that moves is away for a moment: that is no failure.
        guard now - since >= self.limits.settle else { return [] }
        self.phase = .steady(problem: found, since: since)
        return self.report(.failed, found)
    }

    private mutating func tick(_ wanted: DesiredExtension, _ now: Int64) -> [Action] {
        switch self.phase {
        case .refused:
            guard now >= self.wake ?? 0 else { return [] }
            self.wake = nil
            return [.install(wanted)]
        case .settling, .steady:
            guard now >= self.nextResync else { return [.look] }
            self.nextResync = now + self.limits.resync
            return [.install(wanted)]
        case .removing: return [.remove(wanted.removal ?? .everything)]
        case .rollingBack(let cause):
            guard let wake, now >= wake else { return [] }
            self.wake = nil
            return [.rollBack(wanted, because: cause)]
        case .idle, .installing: return []
        }
    }

    /// Says how it stands, unless that was said before.
    private mutating func report(_ state: ExtensionReport.State, _ error: ExtensionError? = nil) -> [Action] {
        guard let wanted else { return [] }
        let report = ExtensionReport(
            name: wanted.name, generation: wanted.generation, state: state, currentVersion: self.installed?.version,
            statuses: self.statuses,
            error: error, settings: self.installed?.settings ?? [:])
        guard report != self.lastReport else { return [] }
        self.lastReport = report
        return [.report(report)]
    }
}
