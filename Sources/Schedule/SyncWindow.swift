// When content may move between a connected registry and its parent.

/// The times at which a connected registry may synchronise: always, or for a while from each occurrence of a schedule.
///
///     let nights = try SyncWindow(schedule: CronSchedule(parsing: "0 22 * * *"), duration: ISODuration(parsing: "PT6H"))
///     nights.state(at: now)       // .open(until: …) or .closed(until: …)
///
/// A continuous schedule is always open and takes no duration. Any other needs one of 1 hour to 7 days, counted from each
/// occurrence. Windows that overlap or touch are one window: an occurrence while the window is open prolongs it.
package struct SyncWindow: Hashable, Sendable {
    package let schedule: CronSchedule
    /// How long each window lasts, nil when the schedule is continuous.
    package let duration: ISODuration?

    /// Whether transfers may run at an instant.
    package enum State: Hashable, Sendable {
        /// Open until that instant, which is already outside; nil when the window never closes.
        case open(until: Int?)
        /// Closed until that instant, which is inside again; nil when the schedule has no occurrence any more.
        case closed(until: Int?)
    }

    /// Always open.
    package static let always = SyncWindow(unchecked: .continuous)

    private init(unchecked schedule: CronSchedule) {
        self.schedule = schedule
        duration = nil
    }

    package init(schedule: CronSchedule, duration: ISODuration?) throws(ScheduleError) {
        if schedule.isContinuous {
            if let duration {
                throw ScheduleError(
                    .invalidSyncWindow, duration.description, cause: "the schedule '\(schedule)' is continuous and has no window",
                    advice: "Leave the window out, or give a schedule that is not continuous.")
            }
        } else {
            let advice = "Give a duration from PT1H to P7D, counted from each occurrence of the schedule."
            guard let duration else {
                let cause = "the schedule '\(schedule)' is not continuous and needs a window"
                throw ScheduleError(.invalidSyncWindow, "", cause: cause, advice: advice)
            }
            guard (3600...7 * 86_400).contains(duration.seconds) else {
                let cause = "it must be between 1 hour and 7 days"
                throw ScheduleError(.invalidSyncWindow, duration.description, cause: cause, advice: advice)
            }
        }
        self.schedule = schedule
        self.duration = duration
    }

    package func isOpen(at instant: Int) -> Bool { opening(at: instant) != nil }

    /// Open or closed at an instant, and until when.
    package func state(at instant: Int) -> State {
        guard let duration else { return .open(until: nil) }
        guard let opening = opening(at: instant) else { return .closed(until: schedule.next(after: instant)) }
        return .open(until: end(ofWindowWith: opening, lasting: duration.seconds))
    }

    /// The end of the window that is open at an instant; nil when it is closed then or never closes.
    package func closes(after instant: Int) -> Int? {
        if case .open(let end) = state(at: instant) { end } else { nil }
    }

    /// The next beginning of a window later than an instant; while one is open, that of the one after it.
    package func opens(after instant: Int) -> Int? {
        switch state(at: instant) {
        case .closed(let beginning): beginning
        case .open(nil): nil
        case .open(let end?): schedule.next(after: end)
        }
    }

    /// The last occurrence whose window holds the instant.
    private func opening(at instant: Int) -> Int? {
        guard let duration else { return instant }
        guard let occurrence = schedule.previous(atOrBefore: instant), instant - occurrence < duration.seconds else { return nil }
        return occurrence
    }

    /// Follows the window over every occurrence that prolongs it.
    private func end(ofWindowWith opening: Int, lasting length: Int) -> Int? {
        if schedule.choosesEveryDay, let pause = schedule.longestPauseWithinDays, pause <= length { return nil }
        // Twelve years hold every sequence of weekdays, month lengths and the missing leap day of a century that a pause
        // of a week can depend on.
        let horizon = opening + 12 * 366 * 86_400
        var opening = opening
        while opening <= horizon {
            guard let prolonging = schedule.previous(atOrBefore: opening + length), prolonging > opening else {
                return opening + length
            }
            opening = prolonging
        }
        return nil
    }
}

extension SyncWindow: CustomStringConvertible {
    package var description: String { duration.map { "\(schedule) for \($0)" } ?? "\(schedule)" }
}
