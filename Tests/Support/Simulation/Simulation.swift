// Whole families of registries in one thread, in virtual time, over links that fail: the same seed is the same run, to the bit.
// docs/simulation.md tells how it is used.

internal import Foundation
internal import Persistence
internal import RegistryCore
internal import Synchronization
internal import TestSupport

/// One run by its seed.
package struct Simulation: Sendable {
    /// What came of a run.
    package struct Outcome: Sendable {
        package let seed: UInt64
        /// Of everything that happened, in order.
        package let hash: UInt64
        package let steps: Int
        /// Seconds of virtual time.
        package let seconds: Int64
        package let writes: Int
        /// The first promise that was broken.
        package let failure: String?
        package let scenario: String
    }

    package let seed: UInt64
    /// Told of everything that happens, with its time in seconds.
    private let onNote: (@Sendable (String) -> Void)?
    /// Whether a bug is put in: one comparison is skipped.
    package let isSabotaged: Bool

    package init(seed: UInt64, isSabotaged: Bool = false, onNote: (@Sendable (String) -> Void)? = nil) {
        self.seed = seed
        self.onNote = onNote
        self.isSabotaged = isSabotaged
    }

    /// Steps after which a run counts as going round and round.
    private static let stepLimit = 400_000

    /// Runs on the caller's thread. Needs deterministic hashing (`SWIFT_DETERMINISTIC_HASHING` in the environment of the process), for
    /// otherwise the order of sets is another each time.
    package func run() -> Outcome {
        let scheduler = Scheduler(seed: self.seed, onNote: self.onNote)
        // Memory, where there is such a folder: flushes cost nothing there.
        let memory = "/dev/shm"
        // One folder for all machines: what a killed process was about to do is never done, so what it holds is never given up.
        let scratch = ScratchFolder(in: FileManager.default.isWritableFile(atPath: memory) ? memory : nil)
        try? FileManager.default.createDirectory(atPath: scratch.path, withIntermediateDirectories: true)
        defer { scratch.remove() }
        return Elapsing.$source.withValue(scheduler) {
            Sabotage.$skipsComparison.withValue(self.isSabotaged) {
                let world = World(scheduler, folder: scratch.path)
                world.begin()
                scheduler.run(limit: Self.stepLimit)
                return Outcome(
                    seed: self.seed, hash: scheduler.hash, steps: scheduler.steps, seconds: scheduler.milliseconds / 1000,
                    writes: world.ledger.count, failure: scheduler.failure, scenario: world.scenario.text)
            }
        }
    }
}
