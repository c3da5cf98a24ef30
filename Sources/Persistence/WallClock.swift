// The time of day as a parameter, so that tests can lie about it.

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// Tells the time of day.
package struct WallClock: Sendable {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    package let milliseconds: @Sendable () -> Int64

    package init(milliseconds: @escaping @Sendable () -> Int64) { self.milliseconds = milliseconds }

    /// Seconds since 1970-01-01T00:00:00Z.
    package var seconds: Int64 { self.milliseconds() / 1000 }

    /// The machine's clock.
    package static let system = WallClock { Int64(Date().timeIntervalSince1970 * 1000) }
}

/// Text forms of an instant.
package enum Timestamp {
    /// Seconds since 1970 of the years 1900 to 9999: others have no text that everybody reads alike.
    private static let seconds: ClosedRange<Int64> = -2_208_988_800...253_402_300_799

    /// `2026-01-01T00:00:00.000Z`, as ARM and the metadata API print times (RFC 3339); of an instant that has no text, the nearest that has.
    package static func text(milliseconds: Int64) -> String {
        let milliseconds = min(max(milliseconds, self.seconds.lowerBound * 1000), self.seconds.upperBound * 1000 + 999)
        // The fraction is written here: a formatter of seconds in floating point loses a millisecond now and then.
        let fraction = (milliseconds % 1000 + 1000) % 1000
        let whole = Date(timeIntervalSince1970: Double((milliseconds - fraction) / 1000)).formatted(
            Date.ISO8601FormatStyle(includingFractionalSeconds: false))
        return "\(whole.dropLast()).\(String(1000 + fraction).dropFirst())Z"
    }

    /// The same of seconds since 1970.
    package static func text(seconds: Int64) -> String {
        self.text(milliseconds: min(max(seconds, self.seconds.lowerBound), self.seconds.upperBound) * 1000)
    }

    /// Parses RFC 3339 with or without a fraction; milliseconds since 1970.
    package static func parse(_ text: String) -> Int64? {
        let date =
            (try? Date(text, strategy: Date.ISO8601FormatStyle(includingFractionalSeconds: true)))
            ?? (try? Date(text, strategy: Date.ISO8601FormatStyle(includingFractionalSeconds: false)))
        return date.map { Int64(($0.timeIntervalSince1970 * 1000).rounded()) }
    }
}
