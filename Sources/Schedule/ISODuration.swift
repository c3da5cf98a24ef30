// Lengths of time as the wire writes them, restricted to those that have one length.

/// A duration of ISO 8601 made of weeks, or of days, hours, minutes and seconds: `P2D`, `PT4H`, `P1DT12H`, `P1W`.
///
/// Months and years are refused, because their length depends on where they start. The text is kept as it was given, so
/// that a client reads back what it wrote; two durations are equal when they are equally long.
package struct ISODuration: Sendable {
    private let text: String
    /// The length in seconds, never negative.
    package let seconds: Int

    /// Parses a duration. It has at least one part, in falling order of size, each a whole number.
    package init(parsing text: String) throws(ScheduleError) {
        func refused(_ cause: String) -> ScheduleError {
            let value = text.utf8.count > 40 ? String(text.prefix(40)) + "…" : text
            let advice = "Give weeks (P1W) or days, hours, minutes and seconds (P2D, PT4H, P1DT12H)."
            return ScheduleError(.invalidDuration, value, cause: cause, advice: advice)
        }
        guard text.first == "P" else { throw refused("it does not start with 'P'") }
        guard text.utf8.count <= 64 else { throw refused("it is longer than 64 characters") }
        var total = 0
        var units = Units.date
        var isEmpty = true
        var rest = text.dropFirst()
        while let character = rest.first {
            if character == "T" {
                guard units != .time else { throw refused("it has 'T' twice") }
                (units, isEmpty) = (.time, true)
                rest = rest.dropFirst()
                if rest.isEmpty { throw refused("nothing follows the 'T'") }
                continue
            }
            let digits = rest.prefix { ("0"..."9").contains($0) && $0.utf8.count == 1 }
            rest = rest.dropFirst(digits.count)
            guard !digits.isEmpty else { throw refused("'\(character)' stands where a number is expected") }
            guard let unit = rest.first else { throw refused("a unit is missing after '\(digits)'") }
            guard unit != ".", unit != "," else { throw refused("fractions are not allowed") }
            rest = rest.dropFirst()
            guard let length = units.take(unit) else {
                if units != .time, unit == "Y" || unit == "M" {
                    throw refused("years and months have no fixed length")
                }
                throw refused("'\(unit)' is no unit that may stand there")
            }
            guard let count = Int(digits), case (let part, let overflow) = count.multipliedReportingOverflow(by: length),
                !overflow,
                case (let sum, let tooLong) = total.addingReportingOverflow(part), !tooLong, sum <= Self.longest
            else {
                throw refused("it is longer than can be counted")
            }
            total = sum
            isEmpty = false
            if unit == "W", !rest.isEmpty { throw refused("weeks cannot be combined with other parts") }
        }
        if isEmpty { throw refused("it has no parts") }
        self.text = text
        seconds = total
    }

    /// The duration of a number of seconds, written with days, hours, minutes and seconds. Negative ones count as none.
    package init(seconds: Int) {
        let seconds = min(max(seconds, 0), Self.longest)
        let (days, hours) = (seconds / 86_400, seconds / 3600 % 24)
        let (minutes, rest) = (seconds / 60 % 60, seconds % 60)
        var text = "P"
        if days > 0 { text += "\(days)D" }
        if hours + minutes + rest > 0 { text += "T" }
        if hours > 0 { text += "\(hours)H" }
        if minutes > 0 { text += "\(minutes)M" }
        if rest > 0 { text += "\(rest)S" }
        self.text = seconds == 0 ? "PT0S" : text
        self.seconds = seconds
    }

    /// A thousand years of 365 days: far beyond every use, and safe to add to any instant.
    private static let longest = 365_000 * 86_400

    /// The units that may still follow, the larger ones gone once a smaller one has been read.
    private struct Units: Hashable {
        var left: [Character]
        let lengths: [Character: Int]

        static let date = Units(left: ["W", "D"], lengths: ["W": 604_800, "D": 86_400])
        static let time = Units(left: ["H", "M", "S"], lengths: ["H": 3600, "M": 60, "S": 1])

        static func == (left: Units, right: Units) -> Bool { left.lengths == right.lengths }
        func hash(into hasher: inout Hasher) { hasher.combine(lengths) }

        mutating func take(_ unit: Character) -> Int? {
            guard let index = left.firstIndex(of: unit) else { return nil }
            left.removeFirst(index + 1)
            return lengths[unit]
        }
    }
}

extension ISODuration: CustomStringConvertible {
    /// The text as it was given.
    package var description: String { text }
}

extension ISODuration: Hashable, Comparable {
    package static func == (left: ISODuration, right: ISODuration) -> Bool { left.seconds == right.seconds }
    package static func < (left: ISODuration, right: ISODuration) -> Bool { left.seconds < right.seconds }
    package func hash(into hasher: inout Hasher) { hasher.combine(seconds) }
}

extension ISODuration: Codable {
    package init(from decoder: any Decoder) throws {
        try self.init(parsing: decoder.singleValueContainer().decode(String.self))
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(text)
    }
}
