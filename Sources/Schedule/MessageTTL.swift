// How long a parent keeps changes for a child that does not come to fetch them.

/// The time to live of messages to a connected registry: 1 to 90 days, 2 unless said otherwise.
package struct MessageTTL: Hashable, Sendable, Codable, CustomStringConvertible {
    package let duration: ISODuration

    /// `P2D`.
    package static let `default` = MessageTTL(unchecked: ISODuration(seconds: 2 * 86_400))

    private init(unchecked duration: ISODuration) { self.duration = duration }

    package init(_ duration: ISODuration) throws(ScheduleError) {
        guard (86_400...90 * 86_400).contains(duration.seconds) else {
            throw ScheduleError(
                .invalidMessageTTL, duration.description, cause: "it must be between 1 and 90 days",
                advice: "Give a duration from P1D to P90D.")
        }
        self.duration = duration
    }

    package init(parsing text: String) throws(ScheduleError) { try self.init(ISODuration(parsing: text)) }

    package var seconds: Int { duration.seconds }
    package var description: String { duration.description }

    package init(from decoder: any Decoder) throws { try self.init(ISODuration(from: decoder)) }
    package func encode(to encoder: any Encoder) throws { try duration.encode(to: encoder) }
}
