// What tests of several layers share: a folder that goes away, a clock that stands still, randomness that repeats.

package import Persistence
internal import Synchronization

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// A folder that is removed with the value.
package final class ScratchFolder: Sendable {
    package let path: String

    /// - Parameter parent: where it lies; `nil` for the system's temporary folder.
    package init(in parent: String? = nil) {
        self.path = (parent ?? FileManager.default.temporaryDirectory.path) + "/outport-test-" + UUID().uuidString
    }

    deinit { self.remove() }

    /// Removes the folder before nobody needs it any more.
    package func remove() { try? FileManager.default.removeItem(atPath: self.path) }

    /// Paths of all files below, relative, sorted.
    package func files(below folder: String) -> [String] {
        let contents = try? FileManager.default.subpathsOfDirectory(atPath: self.path + "/" + folder)
        return (contents ?? []).filter { name in
            var isFolder = false
            return FileManager.default.fileExists(atPath: "\(self.path)/\(folder)/\(name)", isDirectory: &isFolder) && !isFolder
        }.sorted()
    }
}

/// A clock that stands still until it is told otherwise.
package final class TestClock: Sendable {
    private let now: Mutex<Int64>

    package init(milliseconds: Int64 = 1_790_000_000_000) { self.now = Mutex(milliseconds) }

    package var wall: WallClock { WallClock { self.now.withLock { $0 } } }
    package var milliseconds: Int64 { self.now.withLock { $0 } }
    package func advance(seconds: Int64) { self.now.withLock { $0 += seconds * 1000 } }
    package func set(milliseconds: Int64) { self.now.withLock { $0 = milliseconds } }
}

/// SplitMix64: the same numbers for the same seed, on every machine.
package struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    package init(seed: UInt64) { self.state = seed }

    package mutating func next() -> UInt64 {
        self.state &+= 0x9e37_79b9_7f4a_7c15
        var value = self.state
        value = (value ^ (value >> 30)) &* 0xbf58_476d_1ce4_e5b9
        value = (value ^ (value >> 27)) &* 0x94d0_49bb_1331_11eb
        return value ^ (value >> 31)
    }

    package mutating func bytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8(truncatingIfNeeded: self.next()) } }
}

/// A gate that tests open, so that they wait for events and not for time.
package final class Gate: Sendable {
    private let state = Mutex<(isOpen: Bool, waiters: [CheckedContinuation<Void, Never>])>((false, []))

    package init() {}

    package func open() {
        let waiters = self.state.withLock { state in
            state.isOpen = true
            defer { state.waiters = [] }
            return state.waiters
        }
        for waiter in waiters { waiter.resume() }
    }

    package func wait() async {
        await withCheckedContinuation { continuation in
            let isOpen = self.state.withLock { state in
                if !state.isOpen { state.waiters.append(continuation) }
                return state.isOpen
            }
            if isOpen { continuation.resume() }
        }
    }
}

/// Waits until `condition` holds, giving way in between, ever longer: many tests that ask often would keep each other from getting on.
///
/// The deadline is for what never comes: a site that has failed often rests for a minute before it tries again, and a machine may be slow.
package func eventually(_ condition: @Sendable () async throws -> Bool) async throws -> Bool {
    let deadline = ContinuousClock.now + .seconds(600)
    var pause = 5
    while ContinuousClock.now < deadline {
        if try await condition() { return true }
        try await Task.sleep(for: .milliseconds(pause))
        pause = min(100, pause + 5)
    }
    return false
}

/// Measures each of `bodies` in turn, again and again, and gives the fastest run of each: whatever else the machine does can only add to
/// a run, so the fastest is what the work itself costs. Ends at the first round after the tenth in which `holds` is true of them, or after
/// three minutes: a promise is broken only by work that never keeps it.
package func quickest(_ bodies: [() async throws -> Void], until holds: ([Duration]) -> Bool) async throws -> [Duration] {
    let clock = ContinuousClock()
    let deadline = clock.now + .seconds(180)
    var best = bodies.map { _ in Duration.seconds(3600) }
    var rounds = 0
    repeat {
        for (index, body) in bodies.enumerated() { best[index] = min(best[index], try await clock.measure { try await body() }) }
        rounds += 1
        // What disturbs comes and goes in longer turns than the rounds take.
        if rounds > 10 { try await Task.sleep(for: .milliseconds(20)) }
    } while rounds < 10 || !holds(best) && clock.now < deadline
    return best
}
