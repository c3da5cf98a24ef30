// Instants as the wire writes them, without a calendar library: the command line needs no more.

enum UTCTime {
    /// Seconds since 1970 as `2027-12-31T12:59:59Z`, bounded by the year 9999.
    static func text(ofSeconds seconds: Int) -> String {
        let seconds = min(max(seconds, 0), 253_402_300_799)
        // Civil date from a day number, years starting in March (Howard Hinnant, "chrono-compatible low-level date algorithms").
        let shifted = seconds / 86_400 + 719_468
        let (era, dayOfEra) = (shifted / 146_097, shifted % 146_097)
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let month = (5 * dayOfYear + 2) / 153
        let day = dayOfYear - (153 * month + 2) / 5 + 1
        let civilMonth = month < 10 ? month + 3 : month - 9
        let year = yearOfEra + era * 400 + (civilMonth <= 2 ? 1 : 0)
        let time = seconds % 86_400
        return "\(padded(year, 4))-\(padded(civilMonth, 2))-\(padded(day, 2))"
            + "T\(padded(time / 3600, 2)):\(padded(time / 60 % 60, 2)):\(padded(time % 60, 2))Z"
    }

    /// Whether a text is a date and time of the form `2027-12-31T12:59:59Z`.
    static func isValid(_ text: String) -> Bool {
        let bytes = Array(text.utf8)
        guard bytes.count == 20 else { return false }
        for (byte, expected) in zip(bytes, "0000-00-00T00:00:00Z".utf8) {
            if expected == UInt8(ascii: "0") ? !(UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) : byte != expected { return false }
        }
        func number(_ start: Int, _ count: Int) -> Int { bytes[start..<start + count].reduce(0) { $0 * 10 + Int($1) - 48 } }
        let (year, month, day) = (number(0, 4), number(5, 2), number(8, 2))
        let isLeap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
        let lengths = [31, isLeap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
        guard year > 0, (1...12).contains(month), (1...lengths[month - 1]).contains(day) else { return false }
        return number(11, 2) < 24 && number(14, 2) < 60 && number(17, 2) < 60
    }

    /// Seconds since 1970 of `2027-12-31T12:59:59Z`; `nil` where that is no such text.
    static func seconds(_ text: String) -> Int? {
        guard self.isValid(text) else { return nil }
        let bytes = Array(text.utf8)
        func number(_ start: Int, _ count: Int) -> Int { bytes[start..<start + count].reduce(0) { $0 * 10 + Int($1) - 48 } }
        let month = number(5, 2)
        let year = month <= 2 ? number(0, 4) - 1 : number(0, 4)
        let (era, yearOfEra) = (year / 400, year % 400)
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + number(8, 2) - 1
        let day = era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
        return day * 86_400 + number(11, 2) * 3600 + number(14, 2) * 60 + number(17, 2)
    }

    /// `2026-01-30T…` and some days, the time of day as it is; `text` where that is no date.
    static func text(_ text: String, plusDays days: Int) -> String {
        let parts = text.prefix(10).split(separator: "-").compactMap { Int($0) }
        guard parts.count == 3, (1...9999).contains(parts[0]), (1...12).contains(parts[1]), (1...31).contains(parts[2]) else { return text }
        let year = parts[1] <= 2 ? parts[0] - 1 : parts[0]
        let (era, yearOfEra) = (year / 400, year % 400)
        let dayOfYear = (153 * (parts[1] > 2 ? parts[1] - 3 : parts[1] + 9) + 2) / 5 + parts[2] - 1
        let day = era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
        return String(self.text(ofSeconds: (day + days) * 86_400).prefix(10)) + text.dropFirst(10)
    }

    private static func padded(_ number: Int, _ width: Int) -> String {
        let digits = String(number)
        return String(repeating: "0", count: max(0, width - digits.count)) + digits
    }
}
