// Garbage collection of a site as its parent's operator sets it, with the real binary.

import Foundation
import Testing

@Suite struct GarbageSiteTests {
    @Test(
        "C17: a site collects garbage by the schedule that is set at its parent, from when it hears of it, and not when that is switched off"
    )
    func bySchedule() async throws {
        // Past the gate: it sleeps for most of its minutes, and keeps nobody waiting who works.
        try await withOwnFiles { box in
            let parent = try await Parent.start(box)
            let child = try await Child.start(box, try await parent.connectedRegistry("factory"))
            @Sendable func rounds() -> Int { child.output.ranges(of: "garbage collected").count }
            @Sendable func applied() -> Int { child.output.ranges(of: "settings applied").count }
            try await eventually("the settings") { applied() > 0 }
            #expect(rounds() == 0)
            try await parent.acr("connected-registry", "update", "-n", "factory", "--gc-schedule", "* * * * *")
            // It would have been looked at after ten minutes; it is heard of at once.
            try await eventually("a round of every minute") { rounds() > 0 }
            let before = applied()
            try await parent.acr("connected-registry", "update", "-n", "factory", "--gc-enabled", "false")
            try await eventually("the word of the end of it") { applied() > before }
            // A round that had begun by then may end.
            try await Task.sleep(for: .seconds(8))
            let stood = rounds()
            try await Task.sleep(for: .seconds(63))
            #expect(rounds() == stood, "\(rounds() - stood) rounds although it is off")
        }
    }
}
