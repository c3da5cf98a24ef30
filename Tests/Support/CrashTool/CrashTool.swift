// `outport-crash`: the long run of the crash harness, as `make crash` starts it.

internal import Crash
internal import Foundation

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#else
internal import Darwin
#endif

@main
enum CrashTool {
    /// What the environment asks for.
    private struct Request {
        let seed = UInt64(Request.number("SEED") ?? Int.random(in: 1...1_000_000))
        let images = Request.number("IMAGES") ?? 10_000
        /// Every how manieth call is made to fail.
        let stride = max(1, Request.number("STRIDE") ?? 3)
        /// Campaigns at the same time.
        let jobs = max(1, Request.number("JOBS") ?? ProcessInfo.processInfo.activeProcessorCount)
        let mutation = ProcessInfo.processInfo.environment["MUTATE"] ?? ""

        private static func number(_ name: String) -> Int? { ProcessInfo.processInfo.environment[name].flatMap { Int($0) } }
    }

    static func main() async {
        do {
            exit(try await self.run(Request()))
        } catch {
            self.say("the harness itself fails: \(error)")
            exit(2)
        }
    }

    private static func run(_ request: Request) async throws -> Int32 {
        self.say("SEED=\(request.seed)")
        switch request.mutation {
        case "": return try await self.search(request) ? 0 : 1
        case "no-fsync": return try await self.mutate(SyncSite.allCases, request) ? 0 : 1
        default:
            let prefix = "no-fsync-"
            guard request.mutation.hasPrefix(prefix), let site = SyncSite(rawValue: String(request.mutation.dropFirst(prefix.count))) else {
                self.say("MUTATE is none of no-fsync, \(SyncSite.allCases.map { prefix + $0.rawValue }.joined(separator: ", "))")
                return 2
            }
            return try await self.mutate([site], request) ? 0 : 1
        }
    }

    /// Whether nothing was found.
    private static func search(_ request: Request) async throws -> Bool {
        let images = request.images / request.jobs + 1
        var cuts = CampaignReport()
        try await withThrowingTaskGroup(of: CampaignReport.self) { group in
            for job in 0..<request.jobs {
                // Seeds of one job are far from those of another.
                let seed = request.seed + UInt64(job) * 100_000
                group.addTask { try await Campaign { self.say($0) }.powerCuts(seed: seed, images: images, steps: 24, perCut: 4) }
            }
            for try await report in group { cuts.add(report) }
        }
        self.say(
            "power cuts: \(cuts.images) distinct images at \(cuts.cuts) cuts of \(cuts.scripts) scripts, \(cuts.problems.count) problems")
        let faults = try await Campaign { self.say($0) }.faults(seed: request.seed, steps: 14, stride: request.stride)
        self.say("failing calls: \(faults.faults) runs, \(faults.problems.count) problems")
        for problem in cuts.problems + faults.problems { self.say("PROBLEM \(problem)") }
        return cuts.problems.isEmpty && faults.problems.isEmpty
    }

    /// Takes one synchronisation out after another; whether each was noticed.
    private static func mutate(_ sites: [SyncSite], _ request: Request) async throws -> Bool {
        var areNoticed = true
        for site in sites {
            let report = try await Campaign().powerCuts(seed: request.seed, images: request.images, steps: 24, perCut: 2, mutation: site)
            if let problem = report.problems.first {
                self.say("\(site.rawValue) taken out: noticed after \(report.images) images\n    \(problem)")
            } else {
                self.say("\(site.rawValue) taken out: NOT noticed in \(report.images) images")
                areNoticed = false
            }
        }
        return areNoticed
    }

    /// Prints at once, also into a pipe.
    private static func say(_ text: String) { FileHandle.standardOutput.write(Data((text + "\n").utf8)) }
}
