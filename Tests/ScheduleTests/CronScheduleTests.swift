// Proves the schedules against a table of known dates and against a slow reading of the same rules.

import Testing

@testable import Schedule

/// Seconds since 1970 of a date and time in UTC.
func utc(_ year: Int, _ month: Int, _ day: Int, _ hour: Int = 0, _ minute: Int = 0, _ second: Int = 0) -> Int {
    CivilDate(year: year, month: month, day: day).dayNumber * 86_400 + hour * 3600 + minute * 60 + second
}

@Suite struct CronScheduleTests {
    @Test("Civil dates convert both ways, also before 1970 and in leap years")
    func civilDates() {
        #expect(utc(1970, 1, 1) == 0)
        #expect(utc(2000, 2, 29) == 951_782_400)
        #expect(utc(2026, 1, 1) == 1_767_225_600)
        #expect(utc(1969, 12, 31, 23, 59, 59) == -1)
        for day in stride(from: -719_162, through: 2_932_896, by: 97) {
            #expect(CivilDate(dayNumber: day).dayNumber == day)
        }
        #expect(CivilDate.weekday(ofDay: 0) == 4)
        #expect(CivilDate.weekday(ofDay: -1) == 3)
        #expect(CivilDate.weekday(ofDay: CivilDate(year: 2026, month: 3, day: 1).dayNumber) == 0)
    }

    @Test(
        "C11 next occurrence in UTC",
        arguments: [
            ("* * * * *", utc(2026, 1, 1), utc(2026, 1, 1, 0, 1)),
            ("* * * * *", utc(2026, 1, 1, 0, 0, 1), utc(2026, 1, 1, 0, 1)),
            ("0 1 * * *", utc(2026, 1, 1), utc(2026, 1, 1, 1)),
            ("0 1 * * *", utc(2026, 1, 1, 1), utc(2026, 1, 2, 1)),
            ("*/15 * * * *", utc(2026, 1, 1, 0, 45), utc(2026, 1, 1, 1)),
            ("5/20 * * * *", utc(2026, 1, 1, 0, 5), utc(2026, 1, 1, 0, 25)),
            ("59 23 31 12 *", utc(2026, 12, 31, 23, 59), utc(2027, 12, 31, 23, 59)),
            ("0 0 29 2 *", utc(2026, 1, 1), utc(2028, 2, 29)),
            ("0 0 29 2 *", utc(2096, 3, 1), utc(2104, 2, 29)),
            ("0 0 31 * *", utc(2026, 1, 31), utc(2026, 3, 31)),
            ("0 0 * * MON", utc(2026, 1, 1), utc(2026, 1, 5)),
            ("0 0 * * 7", utc(2026, 1, 1), utc(2026, 1, 4)),
            ("0 0 * * 5-7", utc(2026, 1, 3), utc(2026, 1, 4)),
            ("30 6 * jan,JUL mon-fri", utc(2026, 1, 30, 7), utc(2026, 7, 1, 6, 30)),
            ("0 0 13 * 5", utc(2026, 1, 1), utc(2026, 1, 2)),
            ("0 0 13 * 5", utc(2026, 1, 10), utc(2026, 1, 13)),
            ("0 0 */2 * 5", utc(2026, 1, 1), utc(2026, 1, 9)),
            ("10-12 4 * * *", utc(2026, 1, 1, 4, 11, 59), utc(2026, 1, 1, 4, 12)),
            ("0 0 1 1 *", utc(1969, 6, 1), 0),
        ])
    func next(text: String, after: Int, expected: Int) throws {
        let schedule = try CronSchedule(parsing: text)
        #expect(schedule.next(after: after) == expected)
        #expect(schedule.previous(atOrBefore: expected) == expected)
        #expect(schedule.previous(atOrBefore: expected + 59) == expected)
        #expect(try #require(schedule.previous(atOrBefore: expected - 1)) <= after)
    }

    @Test("C11 a schedule that never comes ends the search", arguments: ["0 0 31 2 *", "0 0 30 2 *", "0 0 31 4,6,9,11 *"])
    func impossible(text: String) throws {
        let schedule = try CronSchedule(parsing: text)
        #expect(schedule.next(after: utc(2026, 1, 1)) == nil)
        #expect(schedule.previous(atOrBefore: utc(2026, 1, 1)) == nil)
        #expect(!schedule.isContinuous)
    }

    @Test("Instants outside the calendar have no occurrence and do not overflow")
    func extremes() {
        for instant in [Int.min, Int.max, utc(10_000, 1, 1), utc(0, 12, 31)] {
            #expect(CronSchedule.continuous.next(after: instant) == nil)
            #expect(CronSchedule.continuous.previous(atOrBefore: instant) == nil)
        }
        #expect(CronSchedule.continuous.next(after: utc(9999, 12, 31, 23, 58)) == utc(9999, 12, 31, 23, 59))
    }

    @Test("A leap day on one weekday is found across the century")
    func rareDate() throws {
        // One of the two day fields starts with a star, so both must be met: a 29 February that is a Sunday.
        let schedule = try CronSchedule(parsing: "0 0 29 2 */7")
        #expect(schedule.next(after: utc(2026, 1, 1)) == utc(2032, 2, 29))
        #expect(schedule.next(after: utc(2088, 3, 1)) == utc(2128, 2, 29))
    }

    @Test("Random schedules agree with a minute-by-minute search", arguments: 0..<60)
    func againstBruteForce(seed: Int) throws {
        var random = SplitMix(state: UInt64(seed))
        func field(_ lower: Int, _ upper: Int) -> String {
            switch Int.random(in: 0..<6, using: &random) {
            case 0, 1: return "*"
            case 2: return "*/\(Int.random(in: 1...9, using: &random))"
            case 3:
                let a = Int.random(in: lower...upper, using: &random)
                return "\(a)-\(Int.random(in: a...upper, using: &random))/\(Int.random(in: 1...3, using: &random))"
            case 4: return "\(Int.random(in: lower...upper, using: &random))"
            default: return "\(Int.random(in: lower...upper, using: &random)),\(Int.random(in: lower...upper, using: &random))"
            }
        }
        let fields = [field(0, 59), field(0, 23), field(1, 31), "*", field(0, 7)]
        let schedule = try CronSchedule(parsing: fields.joined(separator: " "))
        let slow = try SlowCron(fields)
        let start = utc(2024, 2, 20) + Int.random(in: 0..<20 * 86_400, using: &random)
        let end = start + 9 * 86_400
        var expected = (start / 60 + 1) * 60
        while expected <= end, !slow.matches(expected) { expected += 60 }
        let found = schedule.next(after: start)
        if expected <= end {
            #expect(found == expected, "\(schedule)")
            #expect(schedule.previous(atOrBefore: expected) == expected, "\(schedule)")
            #expect(schedule.next(after: expected - 1) == expected, "\(schedule)")
        } else {
            #expect(found.map { $0 > end } ?? true, "\(schedule)")
        }
        var earlier = start / 60 * 60
        while earlier >= start - 9 * 86_400, !slow.matches(earlier) { earlier -= 60 }
        if earlier >= start - 9 * 86_400 { #expect(schedule.previous(atOrBefore: start) == earlier, "\(schedule)") }
    }

    @Test(
        "Continuous is what chooses every minute, however written",
        arguments: [
            ("* * * * *", true), ("*/1 * * * *", true), ("0-59 0-23 1-31 1-12 0-6", true), ("* * 1-31 * 1", true),
            ("* * 1-31 * 1-7", true), ("* * * * 1", false), ("*/2 * * * *", false), ("* * * 2 *", false), ("* 0-22 * * *", false),
        ])
    func continuous(text: String, expected: Bool) throws {
        #expect(try CronSchedule(parsing: text).isContinuous == expected)
    }

    @Test("The text survives, blanks apart")
    func roundTrip() throws {
        let schedule = try CronSchedule(parsing: "  0\t1  *  jan-MAR  Mon ")
        #expect(schedule.description == "0 1 * jan-MAR Mon")
        #expect(try CronSchedule(parsing: schedule.description) == schedule)
        #expect(CronSchedule.continuous.description == "* * * * *")
        #expect(try CronSchedule(parsing: "* * * * *") == .continuous)
    }

    @Test(
        "Bad schedules are refused with the field and the way out",
        arguments: [
            "", "*", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * 32 * *", "* * * 13 *", "* * * 0 *",
            "* * * * 8", "-1 * * * *", "a * * * *", "1,,2 * * * *", ", * * * *", "1- * * * *", "-5 * * * *", "5-1 * * * *",
            "1-2-3 * * * *", "*/0 * * * *", "*/ * * * *", "*/a * * * *", "*/2/2 * * * *", "** * * * *", "* * * FOO *",
            "* * MON * *",
            "* * * * JAN", "+1 * * * *", "１ * * * *", "@daily", "99999999999999999999 * * * *", "/5 * * * *", "*\n* * * *",
        ])
    func refused(text: String) {
        let error = #expect(throws: ScheduleError.self) { try CronSchedule(parsing: text) }
        #expect(error?.code == .invalidCron)
        #expect(error?.value == text)
        #expect(error?.advice.isEmpty == false)
    }

    @Test("A very long schedule is refused without being repeated")
    func longText() {
        let error = #expect(throws: ScheduleError.self) {
            try CronSchedule(parsing: String(repeating: "1,", count: 100_000) + "1 * * * *")
        }
        #expect((error?.description.utf8.count ?? .max) < 300)
    }
}

/// A generator with a seed, so that a failing case can be run again.
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

/// Cron's rules written down a second time, with sets and no shortcuts.
private struct SlowCron {
    let sets: [Set<Int>]
    let stars: [Bool]

    init(_ fields: [String]) throws {
        let ranges = [0...59, 0...23, 1...31, 1...12, 0...7]
        sets = zip(fields, ranges).map { field, range in
            var values: Set<Int> = []
            for item in field.split(separator: ",") {
                let parts = item.split(separator: "/")
                let ends =
                    parts[0] == "*"
                    ? [range.lowerBound, range.upperBound] : parts[0].split(separator: "-").compactMap { Int($0) }
                let upper = parts[0] == "*" && range.upperBound == 7 ? 6 : ends[ends.count - 1]
                values.formUnion(stride(from: ends[0], through: upper, by: parts.count > 1 ? Int(parts[1]) ?? 1 : 1))
            }
            return Set(values.map { range.upperBound == 7 && $0 == 7 ? 0 : $0 })
        }
        stars = fields.map { $0.hasPrefix("*") }
    }

    func matches(_ instant: Int) -> Bool {
        let day = instant / 86_400
        let date = CivilDate(dayNumber: day)
        guard sets[0].contains(instant / 60 % 60), sets[1].contains(instant / 3600 % 24), sets[3].contains(date.month) else {
            return false
        }
        let byDate = sets[2].contains(date.day)
        let byWeekday = sets[4].contains((day + 4) % 7)
        return stars[2] || stars[4] ? byDate && byWeekday : byDate || byWeekday
    }
}
