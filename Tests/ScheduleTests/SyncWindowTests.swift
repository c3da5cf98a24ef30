// Proves when a window is open, how long, and when the next one comes, without waiting for any of it.

import Testing

@testable import Schedule

@Suite struct SyncWindowTests {
    private func window(_ schedule: String, _ duration: String?) throws -> SyncWindow {
        try SyncWindow(schedule: CronSchedule(parsing: schedule), duration: duration.map { try ISODuration(parsing: $0) })
    }

    @Test("C11 continuous is always open and takes no window")
    func continuous() throws {
        let window = try window("* * * * *", nil)
        #expect(window == .always)
        #expect(window.state(at: utc(2026, 1, 1)) == .open(until: nil))
        #expect(window.isOpen(at: 0))
        #expect(window.opens(after: 0) == nil)
        #expect(window.closes(after: 0) == nil)
        let error = #expect(throws: ScheduleError.self) { try self.window("* * * * *", "PT4H") }
        #expect(error?.code == .invalidSyncWindow)
        #expect(throws: ScheduleError.self) { try self.window("*/1 * * * *", "PT4H") }
    }

    @Test(
        "C11 a schedule needs a window of 1 h to 7 d",
        arguments: [
            (String?.none, false), ("PT59M", false), ("PT1H", true), ("P7D", true), ("P1W", true), ("P7DT1S", false),
            ("P0D", false),
        ])
    func bounds(duration: String?, isValid: Bool) throws {
        if isValid {
            #expect(throws: Never.self) { try window("0 1 * * *", duration) }
        } else {
            let error = #expect(throws: ScheduleError.self) { try window("0 1 * * *", duration) }
            #expect(error?.code == .invalidSyncWindow)
        }
    }

    @Test("C11 open from the occurrence, closed at its end")
    func edges() throws {
        let window = try window("0 22 * * *", "PT6H")
        let opens = utc(2026, 1, 1, 22)
        let closes = utc(2026, 1, 2, 4)
        #expect(window.state(at: opens - 1) == .closed(until: opens))
        #expect(window.state(at: opens) == .open(until: closes))
        #expect(window.state(at: closes - 1) == .open(until: closes))
        #expect(window.state(at: closes) == .closed(until: opens + 86_400))
        #expect(window.opens(after: opens - 1) == opens)
        #expect(window.opens(after: opens) == opens + 86_400)
        #expect(window.closes(after: opens) == closes)
        #expect(window.closes(after: closes) == nil)
        #expect(window.description == "0 22 * * * for PT6H")
    }

    @Test("C11 windows that overlap or touch are one")
    func merged() throws {
        let overlapping = try window("0 0,1 * * *", "PT2H")
        #expect(overlapping.state(at: utc(2026, 1, 1, 0, 30)) == .open(until: utc(2026, 1, 1, 3)))
        #expect(overlapping.state(at: utc(2026, 1, 1, 2, 59)) == .open(until: utc(2026, 1, 1, 3)))
        #expect(overlapping.opens(after: utc(2026, 1, 1)) == utc(2026, 1, 2))
        let touching = try window("0 0,2 * * *", "PT2H")
        #expect(touching.state(at: utc(2026, 1, 1)) == .open(until: utc(2026, 1, 1, 4)))
        let weekdays = try window("0 0 * * MON-FRI", "P1D")
        #expect(weekdays.state(at: utc(2026, 1, 5)) == .open(until: utc(2026, 1, 10)))
        #expect(weekdays.state(at: utc(2026, 1, 10)) == .closed(until: utc(2026, 1, 12)))
        let notOnThe31st = try window("0 * 1-30 * *", "PT1H")
        #expect(notOnThe31st.state(at: utc(2026, 1, 1)) == .open(until: utc(2026, 1, 31)))
        #expect(notOnThe31st.state(at: utc(2026, 4, 1)) == .open(until: utc(2026, 5, 31)))
    }

    @Test(
        "C11 a window that never closes says so",
        arguments: [
            ("0 * * * *", "PT1H"), ("0 0 * * *", "P1D"), ("0 0 * * 0", "P7D"), ("0 0 1,8,15,22,29 * *", "P7D"),
            ("*/7 * * * *", "PT1H"),
        ])
    func neverCloses(schedule: String, duration: String) throws {
        let window = try window(schedule, duration)
        #expect(window.state(at: utc(2026, 1, 29)) == .open(until: nil))
        #expect(window.opens(after: utc(2026, 1, 29)) == nil)
    }

    @Test("The leap day closes what February keeps open")
    func leapDay() throws {
        // 7 days from the 22nd end with the 28th: only a leap year has a day left before 1 March.
        let window = try window("0 0 1,8,15,22,29-31 1,3-12 *", "P7D")
        #expect(window.closes(after: utc(2026, 1, 1)) == utc(2026, 2, 7))
        let february = try self.window("0 0 1,8,15,22 2,3 *", "P7D")
        #expect(february.closes(after: utc(2027, 2, 1)) == utc(2027, 3, 29))
        #expect(february.closes(after: utc(2028, 2, 1)) == utc(2028, 2, 29))
    }

    @Test("A schedule without occurrences is closed for good")
    func impossible() throws {
        let window = try window("0 0 31 2 *", "PT1H")
        #expect(window.state(at: utc(2026, 1, 1)) == .closed(until: nil))
        #expect(window.opens(after: utc(2026, 1, 1)) == nil)
    }

    @Test(
        "Open and closed alternate without a gap",
        arguments: ["0 3 * * *", "30 */5 * * *", "15 1 1,15 * 3", "0 0 29 2 *", "0 9-12 * * MON"])
    func consistency(schedule: String) throws {
        let window = try window(schedule, "PT2H")
        var instant = utc(2026, 1, 1)
        var wasOpen = window.isOpen(at: instant)
        for _ in 0..<40 {
            switch window.state(at: instant) {
            case .open(let end?), .closed(let end?):
                #expect(end > instant)
                #expect(window.isOpen(at: end - 1) == wasOpen)
                #expect(window.isOpen(at: end) != wasOpen)
                instant = end
                wasOpen.toggle()
            case .open(nil), .closed(nil):
                Issue.record("\(window) does not go on")
                return
            }
        }
    }
}
