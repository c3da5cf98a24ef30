// Many scripts, many cuts, many images: the long run and the short one.

internal import OCI
internal import TestSupport

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// What a campaign has seen.
package struct CampaignReport: Sendable {
    package var scripts = 0
    package var cuts = 0
    /// Distinct images that were opened and checked.
    package var images = 0
    /// Scripts with a call that failed.
    package var faults = 0
    package var problems: [String] = []

    package init() {}

    /// Adds what another campaign has seen.
    package mutating func add(_ other: CampaignReport) {
        self.scripts += other.scripts
        self.cuts += other.cuts
        self.images += other.images
        self.faults += other.faults
        self.problems += other.problems
    }
}

/// Runs scripts, cuts the power, looks at what is left.
package struct Campaign: Sendable {
    /// Where folders are made and removed.
    private let scratch: String
    private let now: Int64
    private let tell: @Sendable (String) -> Void
    /// Problems after which it is enough.
    private static let problemLimit = 5

    package init(tell: @escaping @Sendable (String) -> Void = { _ in }) {
        // Memory, where the machine has a file system for it: an image needs no disk.
        let memory = "/dev/shm"
        let base = FileManager.default.isWritableFile(atPath: memory) ? memory : FileManager.default.temporaryDirectory.path
        self.scratch = "\(base)/outport-crash-\(UUID().uuidString.prefix(13))"
        self.now = Int64(Date().timeIntervalSince1970 * 1000)
        self.tell = tell
    }

    // MARK: Power cuts

    /// Runs scripts from `seed` on until `images` distinct images have been checked.
    ///
    /// - Parameters:
    ///   - steps: operations of one script.
    ///   - perCut: images of one cut, at most.
    ///   - mutation: the synchronisation that is taken out; the campaign then ends at the first problem.
    package func powerCuts(seed: UInt64, images: Int, steps: Int, perCut: Int, mutation: SyncSite? = nil) async throws -> CampaignReport {
        defer { try? FileManager.default.removeItem(atPath: self.scratch) }
        var report = CampaignReport()
        var seen: Set<Digest> = []
        var seed = seed
        while report.images < images, report.problems.count < (mutation == nil ? Self.problemLimit : 1) {
            let before = report.images
            try await self.script(seed, images, steps, perCut, mutation, &report, &seen)
            self.tell("seed \(seed): \(report.images - before) images, \(report.images) in all, \(report.problems.count) problems")
            seed += 1
        }
        return report
    }

    private func script(
        _ seed: UInt64, _ images: Int, _ steps: Int, _ perCut: Int, _ mutation: SyncSite?, _ report: inout CampaignReport,
        _ seen: inout Set<Digest>
    ) async throws {
        let folder = "\(self.scratch)/script-\(seed)"
        let workload = try Workload(
            folder, seed: seed, now: self.now, mutation: mutation, directFrom: seed % 8 == 7 ? 0 : 8 << 20)
        do {
            try await workload.run(steps: steps)
        } catch {
            report.problems.append("seed \(seed): the script itself fails: \(error)")
            self.tell(report.problems.last ?? "")
        }
        await workload.end()
        try? FileManager.default.removeItem(atPath: folder)
        report.scripts += 1
        var generator = SeededGenerator(seed: seed ^ 0xd15c)
        var disk = Disk()
        let entries = workload.journal.entries
        for (index, entry) in entries.enumerated() {
            disk.apply(entry, &generator)
            let cut = index + 1
            report.cuts += 1
            let allowed = workload.oracle.allowed(at: cut)
            var survivals: [Disk.Survival] = [.nothing]
            if !disk.isSettled {
                let others: [Disk.Survival] = [.everything, .namesOnly, .dataOnly, .some, .some, .torn, .torn, .few]
                survivals += others.shuffled(using: &generator).prefix(perCut - 1)
            }
            for survival in survivals {
                let image = disk.image(survival, &generator)
                guard seen.insert(image.fingerprint).inserted else { continue }
                report.images += 1
                let expected = Expectation(
                    allowed: allowed, contents: workload.contents, now: workload.clock.milliseconds, tokenTime: workload.start)
                let problems = try await self.check(image, expected)
                if let problem = problems.first { self.tell("seed \(seed), cut \(cut), \(survival): \(problem)") }
                report.problems += problems.map { "seed \(seed), cut \(cut) of \(entries.count), \(survival): \($0)" }
                if report.problems.count >= (mutation == nil ? Self.problemLimit : 1) || report.images >= images { return }
            }
        }
    }

    private func check(_ image: DiskImage, _ expected: Expectation) async throws -> [String] {
        let path = "\(self.scratch)/image"
        try? FileManager.default.removeItem(atPath: path)
        try image.write(to: path)
        return await ImageCheck.problems(in: path, expected)
    }

    // MARK: Failing calls

    /// Lets calls of a script fail, one after another.
    ///
    /// After each: what was acknowledged is there, in the running process, after a restart, and after a power cut at the end.
    ///
    /// - Parameters:
    ///   - stride: every how manieth call is tried; 1 tries each.
    ///   - limit: tries in all.
    package func faults(seed: UInt64, steps: Int, stride step: Int, limit: Int = .max) async throws -> CampaignReport {
        defer { try? FileManager.default.removeItem(atPath: self.scratch) }
        var report = CampaignReport()
        // How many calls there are without any fault.
        let calls = try await self.fault(nil, seed, steps, &report)
        for kind in FaultPlan.Kind.allCases {
            for count in [1, 25] {
                for first in Swift.stride(from: Int(seed) % step, to: calls, by: step) where report.faults < limit {
                    _ = try await self.fault(FaultPlan(kind, first: first, count: count), seed, steps, &report)
                    if report.problems.count >= Self.problemLimit { return report }
                }
                self.tell("seed \(seed): \(kind), \(count) at a time: \(report.faults) runs, \(report.problems.count) problems")
            }
        }
        return report
    }

    private func fault(_ plan: FaultPlan?, _ seed: UInt64, _ steps: Int, _ report: inout CampaignReport) async throws -> Int {
        let folder = "\(self.scratch)/fault"
        try? FileManager.default.removeItem(atPath: folder)
        let workload = try Workload(folder, seed: seed, now: self.now, isTolerant: true)
        workload.journal.setFaults(plan)
        try await workload.run(steps: steps)
        let calls = workload.journal.calls
        workload.journal.setFaults(nil)
        report.faults += 1
        let place = plan.map { "seed \(seed), \($0.kind) at call \($0.first), \($0.count) times" } ?? "seed \(seed), no fault"
        var problems = workload.unexplained.map { "a refusal without a sentence: \($0)" }
        if plan != nil, workload.journal.struck == 0, workload.refusals > 0 { problems.append("operations fail without a fault") }
        let expected = Expectation(
            allowed: workload.oracle.allowed(at: .max), contents: workload.contents, now: workload.clock.milliseconds,
            tokenTime: workload.start)
        if let layers = workload.layers { problems += try await ImageCheck.compare(layers, expected).map { "still running: \($0)" } }
        // The power goes now, then the process alone.
        var generator = SeededGenerator(seed: seed)
        var disk = Disk()
        for entry in workload.journal.entries { disk.apply(entry, &generator) }
        await workload.end()
        for survival in plan == nil ? [] : [Disk.Survival.nothing, .torn] {
            let image = disk.image(survival, &generator)
            report.images += 1
            problems += try await self.check(image, expected).map { "after a power cut (\(survival)): \($0)" }
        }
        problems += await ImageCheck.problems(in: folder, expected).map { "after a restart: \($0)" }
        report.problems += problems.map { "\(place): \($0)" }
        return calls
    }
}
