// One of the five fields of a schedule: which values of its range are chosen.

/// The values one field of a schedule chooses, as a set of bits, and what may stand in it.
struct CronField: Hashable, Sendable {
    enum Kind: CaseIterable {
        case minute, hour, dayOfMonth, month, dayOfWeek

        var name: String {
            switch self {
            case .minute: "minute"
            case .hour: "hour"
            case .dayOfMonth: "day of month"
            case .month: "month"
            case .dayOfWeek: "day of week"
            }
        }

        /// The values that may be written. Both 0 and 7 are Sunday.
        var range: ClosedRange<Int> {
            switch self {
            case .minute: 0...59
            case .hour: 0...23
            case .dayOfMonth: 1...31
            case .month: 1...12
            case .dayOfWeek: 0...7
            }
        }

        /// The values there are, once Sunday is 0 only.
        var distinct: ClosedRange<Int> { self == .dayOfWeek ? 0...6 : range }

        /// Names for values, the first one standing for the lower end of `distinct`.
        var names: [String] {
            switch self {
            case .month: ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
            case .dayOfWeek: ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]
            default: []
            }
        }
    }

    private let bits: UInt64
    /// Whether the field begins with `*`. Cron's rule for the two day fields asks for the star, not for what it chooses.
    let startsWithStar: Bool
    /// Whether every value is chosen.
    let isFull: Bool

    func contains(_ value: Int) -> Bool { bits & (1 << UInt64(value)) != 0 }

    /// The lowest value chosen that is at least `value`.
    func first(from value: Int) -> Int? {
        guard value < 64 else { return nil }
        let rest = bits & (~0 << UInt64(max(value, 0)))
        return rest == 0 ? nil : rest.trailingZeroBitCount
    }

    /// The highest value chosen that is at most `value`.
    func last(upTo value: Int) -> Int? {
        guard value >= 0 else { return nil }
        let rest = value >= 63 ? bits : bits & ((1 << UInt64(value + 1)) - 1)
        return rest == 0 ? nil : 63 - rest.leadingZeroBitCount
    }

    /// A field that chooses everything.
    init(any kind: Kind) {
        bits = Self.bits(kind.distinct, by: 1)
        startsWithStar = true
        isFull = true
    }

    /// Parses a list of `*`, values and ranges, each with an optional step.
    ///
    /// A step after a single value (`5/15`) runs to the end of the range, as Azure's scheduler reads it.
    init(parsing text: Substring, as kind: Kind, of schedule: String) throws(ScheduleError) {
        func refused(_ cause: String) -> ScheduleError {
            let range = "\(kind.range.lowerBound)-\(kind.range.upperBound)"
            let advice = "Give \(range), '*', lists such as '1,2', ranges such as '1-5' or steps such as '*/2'."
            return ScheduleError(.invalidCron, schedule, cause: "the \(kind.name) '\(text)' \(cause)", advice: advice)
        }
        var bits: UInt64 = 0
        for item in text.split(separator: ",", omittingEmptySubsequences: false) {
            let parts = item.split(separator: "/", omittingEmptySubsequences: false)
            guard let base = parts.first, !base.isEmpty else { throw refused("has an empty item in its list") }
            guard parts.count <= 2 else { throw refused("has more than one step") }
            var step = 1
            if parts.count == 2 {
                guard let number = Self.number(parts[1]), number >= 1 else {
                    throw refused("has the step '\(parts[1])', which is not a number of at least 1")
                }
                step = number
            }
            let range: ClosedRange<Int>
            if base == "*" {
                range = kind.distinct
            } else {
                let ends = base.split(separator: "-", omittingEmptySubsequences: false)
                guard ends.count <= 2 else { throw refused("has a range with more than two ends") }
                var values: [Int] = []
                for end in ends {
                    guard let value = Self.value(end, as: kind) else { throw refused("has '\(end)', which is not a value of it") }
                    guard kind.range.contains(value) else { throw refused("has \(value), which is out of range") }
                    values.append(value)
                }
                let lower = values[0]
                let upper = values.count == 2 ? values[1] : parts.count == 2 ? kind.distinct.upperBound : lower
                guard lower <= upper else { throw refused("has a range that ends before it starts") }
                range = lower...upper
            }
            bits |= Self.bits(range, by: step)
        }
        if kind == .dayOfWeek, bits & (1 << 7) != 0 { bits = (bits & ~(1 << 7)) | 1 }
        self.bits = bits
        startsWithStar = text.first == "*"
        isFull = bits == Self.bits(kind.distinct, by: 1)
    }

    private static func bits(_ range: ClosedRange<Int>, by step: Int) -> UInt64 {
        var bits: UInt64 = 0
        for value in stride(from: range.lowerBound, through: range.upperBound, by: step) { bits |= 1 << UInt64(value) }
        return bits
    }

    private static func value(_ text: Substring, as kind: Kind) -> Int? {
        if let number = number(text) { return number }
        return kind.names.firstIndex(of: text.uppercased()).map { $0 + kind.distinct.lowerBound }
    }

    /// A number of one to three digits and nothing else: no sign, no blanks.
    private static func number(_ text: Substring) -> Int? {
        guard (1...3).contains(text.utf8.count), text.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
        return Int(text)
    }
}
