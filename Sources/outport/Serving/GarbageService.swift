// Collects garbage by schedule, and by hand.

internal import ArgumentParser
internal import Logging
internal import RegistryCore
internal import Schedule
internal import ServiceLifecycle

/// Runs the collector at each occurrence of a schedule.
struct GarbageService: Service {
    /// What is wanted now; asked again for each round, since settings may change.
    struct Plan {
        let schedule: CronSchedule
        let policy: GarbagePolicy
    }

    /// Longest rest before the plan is looked at again, in seconds.
    private static let longestRest = 600
    /// A round that was missed while the process did not run begins so many seconds after its start: who starts it wants it to serve.
    static let defaultSettling = 300

    let collector: GarbageCollector
    let store: RegistryStore
    let logger: Logger
    /// Moves when the plan may be another one.
    var news = Activity()
    var settling = Self.defaultSettling
    /// `nil` while collection is off.
    let plan: @Sendable () async -> Plan?

    func run() async throws {
        await cancelWhenGracefulShutdown {
            let begun = Int(self.store.clock.seconds)
            // Occurrences up to then have been seen to. A clock that was ahead must not put the next one off.
            var looked = min(begun, await self.lastRound() ?? begun)
            await self.note(looked)
            while !Task.isCancelled {
                let seen = self.news.count
                let plan = await self.plan()
                let now = Int(self.store.clock.seconds)
                var next = plan?.schedule.next(after: now) ?? now + Self.longestRest
                if let plan, let due = plan.schedule.next(after: looked), due <= now {
                    if due <= begun, now < begun + self.settling {
                        next = begun + self.settling
                    } else {
                        await self.collect(plan.policy)
                        looked = now
                        await self.note(looked)
                    }
                } else if plan == nil {
                    // What falls into a time in which collection is off is not made up for.
                    looked = now
                }
                await self.news.wait(beyond: seen, atMost: .seconds(max(1, min(next - now, Self.longestRest))))
            }
        }
    }

    private func lastRound() async -> Int? {
        (try? await MaintenanceRounds(database: self.store.database).last(.garbage)).flatMap { $0.map(Int.init) }
    }

    private func note(_ time: Int) async {
        do {
            try await MaintenanceRounds(database: self.store.database).note(.garbage, at: Int64(time))
        } catch {
            // The next round is looked for from the last one that was noted.
            self.logger.warning("the time of this round cannot be noted", metadata: ["reason": .string("\(error)")])
        }
    }

    private func collect(_ policy: GarbagePolicy) async {
        do {
            let report = try await self.collector.collect(policy)
            self.logger.notice("garbage collected", metadata: report.metadata)
        } catch {
            self.logger.error("garbage collection failed; the next round goes on", metadata: ["error": .string("\(error)")])
        }
    }
}

extension GarbageReport {
    fileprivate var metadata: Logger.Metadata {
        [
            "uploads": .stringConvertible(self.uploads), "manifests": .stringConvertible(self.manifests),
            "purged": .stringConvertible(self.purged), "links": .stringConvertible(self.links),
            "blobs": .stringConvertible(self.blobs), "files": .stringConvertible(self.files), "bytes": .stringConvertible(self.bytes),
        ]
    }
}

/// `outport gc`: once, on a data folder that no process uses.
struct GarbageCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "gc", abstract: "Collect garbage in a data folder that is not in use.",
        discussion: """
            A running server collects by itself once a day. Removed are uploads nobody goes on with, blobs no manifest needs, and with
            --untagged-days manifests that no tag, no index and no subject reaches.

            With --dry-run nothing is removed: each thing that would go is listed with the reason.

            Example: outport gc --data /var/lib/outport --untagged-days 30 --dry-run
            """)

    @Option(help: "The data folder.")
    var data: String

    @Option(help: "Also remove unreached manifests older than this many days.")
    var untaggedDays: Int?

    @Flag(help: "List what would be removed, and remove nothing.")
    var dryRun = false

    @Option(name: [.customShort("o"), .long], help: "Output format of --dry-run: table or json.")
    var output: ReportFormat = .table

    func validate() throws {
        guard (0...36_500).contains(untaggedDays ?? 0) else { throw ValidationError("--untagged-days takes a number of days, up to 36500") }
    }

    func run() async throws {
        let node = try await Node.opened(data: self.data)
        let policy = GarbagePolicy(untaggedAge: self.untaggedDays.map { Int64($0) * GarbagePolicy.day })
        let collector = GarbageCollector(store: node.store, uploads: node.uploads)
        if self.dryRun {
            let survey = GarbageSurveyReport(items: try await collector.survey(policy))
            await node.close()
            printResult(self.output == .json ? survey.json.serialized(pretty: true) : survey.table)
            return
        }
        let report = try await collector.collect(policy)
        await node.close()
        printResult(
            "removed \(report.uploads) uploads, \(report.manifests) manifests, \(report.purged) manifests kept after deletion, \(report.links) links, \(report.blobs) blobs, \(report.files) stray files: \(report.bytes) bytes"
        )
    }
}
