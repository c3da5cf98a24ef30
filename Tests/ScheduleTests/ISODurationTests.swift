// Proves durations and the message TTL, and that what has no fixed length is refused.

import Testing

@testable import Schedule

@Suite struct ISODurationTests {
    @Test(
        "Durations of one length",
        arguments: [
            ("P2D", 172_800), ("PT4H", 14_400), ("P1DT12H", 129_600), ("P1W", 604_800), ("PT1H", 3600), ("PT90M", 5400),
            ("PT30S", 30), ("P0D", 0), ("P1DT1H1M1S", 90_061), ("P007D", 604_800), ("PT1H5S", 3605), ("P365000D", 31_536_000_000),
        ])
    func parses(text: String, seconds: Int) throws {
        let duration = try ISODuration(parsing: text)
        #expect(duration.seconds == seconds)
        #expect(duration.description == text)
        #expect(try ISODuration(parsing: ISODuration(seconds: seconds).description).seconds == seconds)
    }

    @Test(
        "Written from seconds",
        arguments: [
            (0, "PT0S"), (1, "PT1S"), (60, "PT1M"), (3600, "PT1H"), (86_400, "P1D"), (90_061, "P1DT1H1M1S"), (129_600, "P1DT12H"),
            (-5, "PT0S"),
        ])
    func written(seconds: Int, text: String) {
        #expect(ISODuration(seconds: seconds).description == text)
    }

    @Test(
        "Bad durations are refused",
        arguments: [
            "", "P", "PT", "P1", "PT1", "1D", "2 days", "p2d", "P2d", "-P2D", "P-2D", "+P2D", "P1Y", "P1M", "P1Y2M3D", "P1DT",
            "PT1D", "P1H",
            "P1S", "PT1M1H", "PT1H1H", "P1D1D", "P1D1W", "P1W1D", "P1WT1H", "P0.5D", "PT1,5H", "P1DT1HT1M", "P１D", "P2D ", " P2D",
            "PD",
            "P365001D", "P99999999999999999999D", "P9223372036854775807D", "P1DX",
        ])
    func refused(text: String) {
        let error = #expect(throws: ScheduleError.self) { try ISODuration(parsing: text) }
        #expect(error?.code == .invalidDuration)
    }

    @Test("Months and years are refused for the reason they are")
    func monthsAndYears() {
        for text in ["P1M", "P1Y", "P2D1M"] {
            let error = #expect(throws: ScheduleError.self) { try ISODuration(parsing: text) }
            #expect(error?.cause == "years and months have no fixed length")
        }
        #expect(throws: Never.self) { try ISODuration(parsing: "PT1M") }
    }

    @Test("Equal when equally long; ordered by length")
    func comparison() throws {
        #expect(try ISODuration(parsing: "PT24H") == ISODuration(parsing: "P1D"))
        #expect(try ISODuration(parsing: "PT23H") < ISODuration(parsing: "P1D"))
        #expect(try Set([ISODuration(parsing: "P1W"), ISODuration(parsing: "P7D")]).count == 1)
    }

    @Test(
        "C12 message TTL is 1 to 90 days",
        arguments: [
            ("P1D", true), ("P90D", true), ("PT24H", true), ("P12W", true), ("PT23H59M", false), ("P90DT1S", false),
            ("P0D", false), ("P13W", false),
        ])
    func messageTTL(text: String, isValid: Bool) throws {
        if isValid {
            #expect(try MessageTTL(parsing: text).description == text)
        } else {
            let error = #expect(throws: ScheduleError.self) { try MessageTTL(parsing: text) }
            #expect(error?.code == .invalidMessageTTL)
        }
        #expect(MessageTTL.default.description == "P2D")
        #expect(MessageTTL.default.seconds == 172_800)
    }
}
