// The stretches of time for which a site's budget of bytes is given: hours, days and months of UTC.

/// A stretch of the calendar in UTC. Instants are seconds since 1970.
package enum BudgetPeriod: String, Sendable, CaseIterable, Codable {
    case hour, day, month

    /// The beginning of the stretch in which `seconds` lies.
    package func begins(at seconds: Int) -> Int {
        switch self {
        case .hour: return seconds.flooredDivision(by: 3600) * 3600
        case .day: return seconds.flooredDivision(by: 86_400) * 86_400
        case .month:
            let date = CivilDate(dayNumber: seconds.flooredDivision(by: 86_400))
            return CivilDate(year: date.year, month: date.month, day: 1).dayNumber * 86_400
        }
    }

    /// The beginning of the one after it.
    package func renews(after seconds: Int) -> Int {
        switch self {
        case .hour: self.begins(at: seconds) + 3600
        case .day: self.begins(at: seconds) + 86_400
        case .month: CivilDate(dayNumber: seconds.flooredDivision(by: 86_400)).firstOfNextMonth.dayNumber * 86_400
        }
    }
}
