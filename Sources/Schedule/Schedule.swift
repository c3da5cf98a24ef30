// When a connected registry may talk to its parent, as values without a clock: the caller says what time it is.

/// Schedules, durations and windows of synchronisation.
///
/// Every instant is a number of whole seconds since 1970-01-01T00:00:00Z, leap seconds not counted, and every schedule is
/// in UTC; there is no time zone and so no daylight saving anywhere in this target.
///
/// - ``CronSchedule``: the instants at which something starts
/// - ``ISODuration``: a length of time that is the same everywhere
/// - ``SyncWindow``: both together: open and closed, and until when
/// - ``MessageTTL``: how long changes are kept for an absent child
package enum Schedule {}

/// A schedule, duration or window that does not say what it must.
package struct ScheduleError: Error, Hashable, Sendable, CustomStringConvertible {
    package enum Code: String, Hashable, Sendable, CaseIterable {
        case invalidCron = "InvalidCronSchedule"
        case invalidDuration = "InvalidDuration"
        case invalidSyncWindow = "InvalidSyncWindow"
        case invalidMessageTTL = "InvalidMessageTTL"
    }

    package let code: Code
    /// What was given, as it was given.
    package let value: String
    /// Why it cannot stand.
    package let cause: String
    /// What to give instead.
    package let advice: String

    package init(_ code: Code, _ value: String, cause: String, advice: String) {
        self.code = code
        self.value = value
        self.cause = cause
        self.advice = advice
    }

    package var description: String {
        let name =
            switch code {
            case .invalidCron: "schedule"
            case .invalidDuration: "duration"
            case .invalidSyncWindow: "sync window"
            case .invalidMessageTTL: "message TTL"
            }
        return "The \(name) '\(value)' cannot be used: \(cause). \(advice)"
    }
}
