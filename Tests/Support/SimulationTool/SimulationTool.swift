// `outport-simulate`: runs of the simulator, as `make simulate` starts it.

internal import Foundation
internal import Simulation

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#else
internal import Darwin
#endif

@main
enum SimulationTool {
    private static func number(_ name: String) -> UInt64? { ProcessInfo.processInfo.environment[name].flatMap { UInt64($0) } }
    private static func flag(_ name: String) -> Bool { ProcessInfo.processInfo.environment[name].map { !$0.isEmpty && $0 != "0" } ?? false }

    static func main() {
        self.hashDeterministically()
        let first = self.number("SEED") ?? UInt64.random(in: 1...1_000_000)
        let count = max(1, self.number("SEEDS") ?? 1)
        let isSabotaged = self.flag("SABOTAGE")
        let isTracing = self.flag("TRACE")
        self.say("SEED=\(first) SEEDS=\(count)\(isSabotaged ? " SABOTAGE=1" : "")")
        var note: (@Sendable (String) -> Void)?
        if isTracing { note = { Self.say($0) } }
        var failures = 0
        var writes = 0
        let start = ContinuousClock.now
        for seed in first..<first + count {
            let outcome = Simulation(seed: seed, isSabotaged: isSabotaged, onNote: note).run()
            writes += outcome.writes
            if let failure = outcome.failure {
                failures += 1
                self.say("seed \(seed): \(failure)\n  family: \(outcome.scenario)\n  again: make simulate SEED=\(seed) TRACE=1")
                // With a bug put in, one seed that finds it is enough.
                if isSabotaged { break }
            }
            if count <= 20 || outcome.failure != nil || self.flag("HASHES") {
                self.say(
                    "seed \(seed) hash \(String(outcome.hash, radix: 16)) steps \(outcome.steps) seconds \(outcome.seconds) writes \(outcome.writes)"
                )
            }
        }
        self.say("\(count) seeds, \(writes) writes, \(failures) failures, \(ContinuousClock.now - start)")
        exit((failures > 0) == isSabotaged ? 0 : 1)
    }

    /// Starts this program again where sets would have another order in each process.
    private static func hashDeterministically() {
        guard getenv("SWIFT_DETERMINISTIC_HASHING") == nil else { return }
        setenv("SWIFT_DETERMINISTIC_HASHING", "1", 1)
        var arguments = CommandLine.arguments.map { strdup($0) } + [nil]
        execv("/proc/self/exe", &arguments)
        self.say("the program could not be started again with SWIFT_DETERMINISTIC_HASHING=1; set it yourself")
        exit(2)
    }

    private static func say(_ text: String) { FileHandle.standardOutput.write(Data((text + "\n").utf8)) }
}
