// The child's loop as a value: events in, the next action out. The shell around it does the input and output, so every
// path can be tested without a clock or a network.

package import Schedule

/// The loop of a connected registry.
///
///     starting → activating → settings → (comparing) → following ⇄ applying
///                    ↑                        window closed ⇄ resting
///                    └── offline (back-off) ←── any failure that may pass
///     stopped: the parent will not have us; reads are served on
package struct SyncMachine: Sendable {
    /// What the shell does next; it answers with one ``Event``.
    package enum Action: Sendable, Equatable {
        case activate
        case fetchSettings
        case compareState
        /// Waits for changes and applies what comes.
        case follow
        /// Sends a heartbeat, then rests for this many seconds (at most; shutting down ends it).
        case heartbeatAndRest(seconds: Int)
        /// Rests without a word.
        case rest(milliseconds: Int)
        /// Nothing more to do until the process ends.
        case stop
    }

    package enum Event: Sendable, Equatable {
        case started
        case activated
        /// Settings are in force.
        case settingsApplied(SyncWindow, selectionChanged: Bool)
        case settingsUnchanged
        case compared
        /// All changes of a page are applied; whether it reached the head, and whether settings differ.
        case followed(settingsDiffer: Bool)
        case rested
        /// The answer to a heartbeat says that the parent has other settings than ours.
        case settingsDiffer
        case failed(SyncError)
        /// What is to be compared waits for the budget; until then, in seconds since 1970.
        case budgetSpent(until: Int)
    }

    package enum Phase: Sendable, Equatable {
        case starting, activating, settings, comparing, following, resting
        case offline(attempt: Int)
        case stopped(SyncError)
    }

    /// Longest rest between attempts to reach the parent, in milliseconds.
    static let longestBackOff = 60_000
    /// Longest rest before a sync token that is refused is tried again, in milliseconds. The first is short: a parent that is a connected
    /// registry itself may not have been told of its children yet.
    static let unauthorizedRest = 60_000
    /// The first such rest.
    static let firstUnauthorizedRest = 1000
    /// Seconds between heartbeats while the window is closed.
    static let heartbeatInterval = 300
    /// Seconds between heartbeats while the window is open and there is nothing to spend: as often as a long poll would be answered, so
    /// that it counts as online and hears of a larger budget.
    static let openInterval = 30

    package private(set) var phase = Phase.starting
    /// The last failure, until something succeeds.
    package private(set) var trouble: SyncError?
    private var window = SyncWindow.always
    private var mustCompare: Bool
    private var isActivated = false
    /// Failures in a row, so that the back-off grows although attempts begin with other phases.
    private var failures = 0

    /// - Parameter hasCursor: whether there is a place in the parent's log to go on from.
    package init(hasCursor: Bool) { self.mustCompare = !hasCursor }

    /// Whether the parent is being followed.
    package var isConnected: Bool {
        switch self.phase {
        case .settings, .comparing, .following, .resting: true
        case .starting, .activating, .offline, .stopped: false
        }
    }

    /// Takes an event.
    ///
    /// - Parameters:
    ///   - now: seconds since 1970.
    ///   - jitter: 0 to 1, spreads the attempts of many children.
    package mutating func handle(_ event: Event, now: Int, jitter: Double) -> Action {
        if case .stopped = self.phase { return .stop }
        switch event {
        case .started: return self.enter(.activating, .activate)
        case .activated:
            self.isActivated = true
            return self.enter(.settings, .fetchSettings)
        case .settingsApplied(let window, let selectionChanged):
            self.window = window
            // The parent has answered: what kept us from it is over, also while the window is closed.
            if let trouble, [.parentUnreachable, .parentUntrusted, .unauthorized].contains(trouble.code) { self.trouble = nil }
            if selectionChanged { self.mustCompare = true }
            return self.proceed(now)
        case .settingsUnchanged:
            return self.proceed(now)
        case .compared:
            self.trouble = nil
            self.failures = 0
            self.mustCompare = false
            return self.proceed(now)
        case .followed(let settingsDiffer):
            self.trouble = nil
            self.failures = 0
            return settingsDiffer ? self.enter(.settings, .fetchSettings) : self.proceed(now)
        case .rested:
            guard self.isActivated else { return self.enter(.activating, .activate) }
            // While the window is closed a heartbeat is all that is said: its answer tells of other settings.
            if case .resting = self.phase, !self.window.isOpen(at: now) { return self.proceed(now) }
            // After silence: settings first, then content.
            return self.enter(.settings, .fetchSettings)
        case .settingsDiffer: return self.enter(.settings, .fetchSettings)
        case .failed(let error) where error.code == .windowClosed:
            // What is under way goes on in the next window.
            return self.proceed(now)
        case .failed(let error): return self.fail(error, now, jitter)
        case .budgetSpent(let until):
            // The parent was reached. Settings are asked for after each rest: a larger budget ends the wait.
            self.trouble = nil
            self.failures = 0
            return self.enter(.resting, .heartbeatAndRest(seconds: max(1, min(Self.openInterval, until - now))))
        }
    }

    private mutating func enter(_ phase: Phase, _ action: Action) -> Action {
        self.phase = phase
        return action
    }

    private mutating func proceed(_ now: Int) -> Action {
        guard self.window.isOpen(at: now) else {
            let opens = self.window.opens(after: now) ?? now + Self.heartbeatInterval
            return self.enter(.resting, .heartbeatAndRest(seconds: max(1, min(Self.heartbeatInterval, opens - now))))
        }
        return self.mustCompare ? self.enter(.comparing, .compareState) : self.enter(.following, .follow)
    }

    private mutating func fail(_ error: SyncError, _ now: Int, _ jitter: Double) -> Action {
        self.trouble = error
        switch error.code {
        case .compareState:
            self.mustCompare = true
            self.trouble = nil
            // The poll that ends with the window may find it, too.
            return self.proceed(now)
        case .alreadyActivated, .deactivated, .notFound, .wrongFolder:
            return self.enter(.stopped(error), .stop)
        case .unauthorized:
            // It may be enabled again, or our lease may have to be confirmed: begin at the beginning.
            self.isActivated = false
            self.failures += 1
            self.phase = .offline(attempt: self.failures)
            return .rest(milliseconds: min(Self.unauthorizedRest, Self.firstUnauthorizedRest << min(self.failures - 1, 6)))
        case .parentUnreachable, .parentUntrusted, .disk, .parentRefused, .content, .locked, .windowClosed, .budget:
            self.failures += 1
            self.phase = .offline(attempt: self.failures)
            let base = min(Self.longestBackOff, 250 << min(self.failures, 12))
            return .rest(milliseconds: Int(Double(base) * (0.5 + jitter / 2)))
        }
    }
}
