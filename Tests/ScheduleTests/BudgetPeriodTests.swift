// Proves where hours, days and months of UTC begin and end.

import Testing

@testable import Schedule

@Suite struct BudgetPeriodTests {
    @Test("B3 hours, days and months begin and renew where the calendar says, also in February and before 1970")
    func bounds() {
        // 2024-02-29T23:59:59Z
        let leap = 1_709_251_199
        #expect(BudgetPeriod.hour.begins(at: leap) == 1_709_247_600)
        #expect(BudgetPeriod.day.begins(at: leap) == 1_709_164_800)
        // 2024-02-01 and 2024-03-01
        #expect(BudgetPeriod.month.begins(at: leap) == 1_706_745_600)
        #expect(BudgetPeriod.allCases.map { $0.renews(after: leap) } == [1_709_251_200, 1_709_251_200, 1_709_251_200])
        #expect(BudgetPeriod.month.renews(after: leap + 1) == 1_711_929_600)
        #expect(BudgetPeriod.allCases.map { $0.begins(at: -1) } == [-3600, -86_400, -2_678_400])
        for second in stride(from: -90_000_000, to: 90_000_000, by: 1_234_567) {
            for period in BudgetPeriod.allCases {
                let (begins, renews) = (period.begins(at: second), period.renews(after: second))
                #expect(begins <= second && second < renews)
                #expect(period.begins(at: renews) == renews && period.renews(after: begins) == renews)
            }
        }
    }
}
