// Proves that the values travel as the plain strings of the wire, and that bad ones are refused on the way in.

import Foundation
import Testing

@testable import Schedule

@Suite struct ScheduleCodingTests {
    private struct Document: Codable, Equatable {
        var schedule: CronSchedule
        var syncWindow: ISODuration
        var messageTtl: MessageTTL
    }

    @Test("Values are coded as strings")
    func coding() throws {
        let text = #"{"messageTtl":"P3D","schedule":"0 1 * * *","syncWindow":"PT4H"}"#
        let document = try JSONDecoder().decode(Document.self, from: Data(text.utf8))
        #expect(document.schedule == (try CronSchedule(parsing: "0 1 * * *")))
        let encoder = JSONEncoder()
        encoder.outputFormatting = .sortedKeys
        #expect(String(decoding: try encoder.encode(document), as: UTF8.self) == text)
        #expect(throws: ScheduleError.self) {
            try JSONDecoder().decode(MessageTTL.self, from: Data(#""P91D""#.utf8))
        }
    }

    @Test("Errors say what, why and what next")
    func errorText() {
        let error = #expect(throws: ScheduleError.self) { try CronSchedule(parsing: "0 25 * * *") }
        #expect(
            error?.description
                == "The schedule '0 25 * * *' cannot be used: the hour '25' has 25, which is out of range. "
                + "Give 0-23, '*', lists such as '1,2', ranges such as '1-5' or steps such as '*/2'.")
    }
}
