// Changes beside each other and alone.

import Synchronization
import Testing

@testable import ResourceManager

@Suite struct ChangeGateTests {
    /// What has happened, in order.
    private final class Log: Sendable {
        private let lines = Mutex<[String]>([])
        var all: [String] { self.lines.withLock { $0 } }
        func note(_ text: String) { self.lines.withLock { $0.append(text) } }
    }

    @Test("A3 shared changes run beside each other, others alone, and nobody is overtaken for ever")
    func order() async throws {
        let gate = ChangeGate()
        let log = Log()
        let (began, tellBegun) = AsyncStream.makeStream(of: Void.self)
        let (ends, end) = AsyncStream.makeStream(of: Void.self)
        await withTaskGroup(of: Void.self) { group in
            group.addTask {
                await gate.shared {
                    log.note("shared one")
                    tellBegun.yield()
                    for await _ in ends { return }
                }
            }
            for await _ in began { break }
            // Beside the one that is under way.
            await gate.shared { log.note("shared two") }
            group.addTask { await gate.withLock { log.note("alone") } }
            while gate.waiting < 1 { await Task.yield() }
            group.addTask { await gate.shared { log.note("shared three") } }
            while gate.waiting < 2 { await Task.yield() }
            #expect(log.all == ["shared one", "shared two"])
            end.yield()
            await group.waitForAll()
        }
        #expect(log.all == ["shared one", "shared two", "alone", "shared three"])
        #expect(gate.waiting == 0)
    }

    private final class Inside: Sendable {
        private let state = Mutex((shared: 0, alone: 0, wrong: 0))
        var summary: (left: Int, wrong: Int) { self.state.withLock { ($0.shared + $0.alone, $0.wrong) } }

        func enter(alone: Bool) {
            self.state.withLock { state in
                if alone { state.alone += 1 } else { state.shared += 1 }
                if state.alone > 1 || (state.alone == 1 && state.shared > 0) { state.wrong += 1 }
            }
        }

        func leave(alone: Bool) {
            self.state.withLock { state in if alone { state.alone -= 1 } else { state.shared -= 1 } }
        }
    }

    @Test("A3 what has to be alone is alone, whatever runs")
    func exclusion() async {
        let gate = ChangeGate()
        let inside = Inside()
        await withTaskGroup(of: Void.self) { group in
            for index in 0..<400 {
                let isAlone = index.isMultiple(of: 7)
                let body: @Sendable () async -> Void = {
                    inside.enter(alone: isAlone)
                    await Task.yield()
                    inside.leave(alone: isAlone)
                }
                group.addTask { if isAlone { await gate.withLock(body) } else { await gate.shared(body) } }
            }
        }
        #expect(inside.summary.wrong == 0)
        #expect(inside.summary.left == 0)
    }
}
