// The instants at which a window opens or a job starts, written the way administrators have written them since cron.

/// A schedule of five fields in UTC: minute, hour, day of month, month, day of week (crontab(5)).
///
///     let nightly = try CronSchedule(parsing: "0 1 * * MON-FRI")
///     nightly.next(after: 1_767_225_600)       // 2026-01-01T00:00:00Z → 2026-01-01T01:00:00Z
///
/// Fields are lists of `*`, values and ranges, each with an optional step; months and weekdays may be named by three
/// letters; 0 and 7 are both Sunday. When both day fields are restricted, a day that meets *either* is chosen; when one of
/// them begins with `*`, a day must meet both (the rule of Vixie cron). Nicknames such as `@daily` are not known to the
/// other side of the wire and refused here.
package struct CronSchedule: Sendable {
    private let text: String
    private let minute: CronField
    private let hour: CronField
    private let dayOfMonth: CronField
    private let month: CronField
    private let dayOfWeek: CronField

    /// `* * * * *`: always. For synchronisation this means "as it happens", not "once a minute".
    package static let continuous = CronSchedule()

    private init() {
        text = "* * * * *"
        minute = CronField(any: .minute)
        hour = CronField(any: .hour)
        dayOfMonth = CronField(any: .dayOfMonth)
        month = CronField(any: .month)
        dayOfWeek = CronField(any: .dayOfWeek)
    }

    /// Parses the five fields, separated by any number of blanks or tabs.
    package init(parsing text: String) throws(ScheduleError) {
        let example = "Give five fields in UTC: minute, hour, day of month, month, day of week, such as '0 1 * * *'."
        if text.utf8.count > 1024 {
            let beginning = String(text.prefix(40)) + "…"
            throw ScheduleError(.invalidCron, beginning, cause: "it is longer than 1024 bytes", advice: example)
        }
        let fields = text.split { $0 == " " || $0 == "\t" }
        guard fields.count == 5 else {
            throw ScheduleError(.invalidCron, text, cause: "it has \(fields.count) fields instead of 5", advice: example)
        }
        minute = try CronField(parsing: fields[0], as: .minute, of: text)
        hour = try CronField(parsing: fields[1], as: .hour, of: text)
        dayOfMonth = try CronField(parsing: fields[2], as: .dayOfMonth, of: text)
        month = try CronField(parsing: fields[3], as: .month, of: text)
        dayOfWeek = try CronField(parsing: fields[4], as: .dayOfWeek, of: text)
        self.text = fields.joined(separator: " ")
    }

    /// Whether every minute is chosen, as in `* * * * *`, however it is written.
    package var isContinuous: Bool { minute.isFull && hour.isFull && choosesEveryDay }

    var choosesEveryDay: Bool {
        guard month.isFull else { return false }
        return daysMustMeetBoth ? dayOfMonth.isFull && dayOfWeek.isFull : dayOfMonth.isFull || dayOfWeek.isFull
    }

    private var daysMustMeetBoth: Bool { dayOfMonth.startsWithStar || dayOfWeek.startsWithStar }
}

extension CronSchedule: CustomStringConvertible {
    /// The fields as they were written, one blank between them. Parsing it gives the same schedule.
    package var description: String { text }
}

extension CronSchedule: Hashable {
    package static func == (left: CronSchedule, right: CronSchedule) -> Bool { left.text == right.text }
    package func hash(into hasher: inout Hasher) { hasher.combine(text) }
}

extension CronSchedule: Codable {
    package init(from decoder: any Decoder) throws {
        try self.init(parsing: decoder.singleValueContainer().decode(String.self))
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(text)
    }
}

// MARK: - Occurrences

extension CronSchedule {
    /// The instants that can be asked about: the years 1 to 9999.
    private static let horizon = -62_135_596_800...253_402_300_799

    /// The first occurrence later than an instant, in seconds since 1970; nil when there is none, as for 31 February.
    package func next(after instant: Int) -> Int? {
        guard Self.horizon.contains(instant) else { return nil }
        let start = (instant.flooredDivision(by: 60) + 1) * 60
        let startDay = start.flooredDivision(by: 86_400)
        let startMinute = start.flooredRemainder(by: 86_400) / 60
        if chooses(day: startDay), let found = firstMinute(from: startMinute) { return startDay * 86_400 + found * 60 }
        guard let first = firstMinute(from: 0) else { return nil }
        var day = startDay + 1
        // After 400 years the calendar repeats; what has not come until then never comes.
        while day <= startDay + CivilDate.cycle {
            let date = CivilDate(dayNumber: day)
            if !month.contains(date.month) {
                day = date.firstOfNextMonth.dayNumber
            } else if chooses(date, day) {
                return day * 86_400 + first * 60
            } else {
                day += 1
            }
        }
        return nil
    }

    /// The last occurrence at or before an instant, in seconds since 1970; nil when there is none.
    package func previous(atOrBefore instant: Int) -> Int? {
        guard Self.horizon.contains(instant) else { return nil }
        let startDay = instant.flooredDivision(by: 86_400)
        let startMinute = instant.flooredRemainder(by: 86_400) / 60
        if chooses(day: startDay), let found = lastMinute(upTo: startMinute) { return startDay * 86_400 + found * 60 }
        guard let last = lastMinute(upTo: 1439) else { return nil }
        var day = startDay - 1
        while day >= startDay - CivilDate.cycle {
            let date = CivilDate(dayNumber: day)
            if !month.contains(date.month) {
                day -= date.day
            } else if chooses(date, day) {
                return day * 86_400 + last * 60
            } else {
                day -= 1
            }
        }
        return nil
    }

    /// The longest pause between two occurrences of chosen days that follow each other, in seconds.
    var longestPauseWithinDays: Int? {
        guard let first = firstMinute(from: 0) else { return nil }
        var longest = 0
        var minute = first
        while let next = firstMinute(from: minute + 1) {
            longest = max(longest, next - minute)
            minute = next
        }
        return max(longest, first + 1440 - minute) * 60
    }

    private func chooses(day: Int) -> Bool { chooses(CivilDate(dayNumber: day), day) }

    private func chooses(_ date: CivilDate, _ day: Int) -> Bool {
        guard month.contains(date.month) else { return false }
        let byDate = dayOfMonth.contains(date.day)
        let byWeekday = dayOfWeek.contains(CivilDate.weekday(ofDay: day))
        return daysMustMeetBoth ? byDate && byWeekday : byDate || byWeekday
    }

    /// The first minute of a chosen day, counted from midnight, that is at least the given one.
    private func firstMinute(from start: Int) -> Int? {
        let startHour = start / 60
        if hour.contains(startHour), let found = minute.first(from: start % 60) { return startHour * 60 + found }
        guard let laterHour = hour.first(from: startHour + 1), let found = minute.first(from: 0) else { return nil }
        return laterHour * 60 + found
    }

    private func lastMinute(upTo end: Int) -> Int? {
        let endHour = end / 60
        if hour.contains(endHour), let found = minute.last(upTo: end % 60) { return endHour * 60 + found }
        guard let earlierHour = hour.last(upTo: endHour - 1), let found = minute.last(upTo: 59) else { return nil }
        return earlierHour * 60 + found
    }
}
