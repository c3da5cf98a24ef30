// `outport-fuzz`: the targets of the property tests for as long as one likes, as `make fuzz` starts it.

internal import Foundation
internal import Fuzz

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#else
internal import Darwin
#endif

@main
enum FuzzTool {
    static func main() async {
        do {
            exit(try await self.run(ProcessInfo.processInfo.environment))
        } catch {
            self.say("the harness itself fails: \(error)")
            exit(2)
        }
    }

    private static func run(_ environment: [String: String]) async throws -> Int32 {
        let seconds = environment["SECONDS_EACH"].flatMap { Int($0) } ?? 20
        var seed = environment["SEED"].flatMap { UInt64($0) } ?? UInt64.random(in: 1...1_000_000)
        let targets = try await FuzzTarget.all().filter { environment["TARGET"] == nil || environment["TARGET"] == $0.name }
        guard !targets.isEmpty else {
            self.say("TARGET is none of \(try await FuzzTarget.all().map(\.name).joined(separator: ", "))")
            return 2
        }
        self.say("SEED=\(seed)")
        // The input under way, for the case that it ends the process.
        let last = FileManager.default.temporaryDirectory.appendingPathComponent("outport-fuzz-input")
        var isClean = true
        for target in targets {
            var count = 0
            let corpus = try target.corpus()
            let end = ContinuousClock.now + .seconds(seconds)
            search: while ContinuousClock.now < end {
                var mutator = Mutator(seed: seed, corpus: corpus)
                for _ in 0..<1000 where ContinuousClock.now < end {
                    let input = mutator.next()
                    try Data(input).write(to: last)
                    count += 1
                    guard let problem = await target.check(input) else { continue }
                    let kept = FileManager.default.temporaryDirectory.appendingPathComponent("outport-fuzz-\(target.name)-\(seed)-\(count)")
                    try Data(input).write(to: kept)
                    self.say("PROBLEM \(target.name): \(problem)\n    input kept in \(kept.path)")
                    isClean = false
                    break search
                }
                seed += 1
            }
            self.say("\(target.name): \(count) inputs")
        }
        return isClean ? 0 : 1
    }

    private static func say(_ text: String) { FileHandle.standardOutput.write(Data((text + "\n").utf8)) }
}
