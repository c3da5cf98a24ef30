// Outport's own options of connected registries: how many bytes may come, and what comes first.

import ArgumentParser
import JSON

/// A budget of one stretch of time, as it is typed: `hour=500MiB`, `month=none`.
struct BudgetOption: ExpressibleByArgument {
    let period: String
    let quota: StorageQuota

    init?(argument: String) {
        let parts = argument.split(separator: "=", maxSplits: 1).map(String.init)
        guard parts.count == 2, ["hour", "day", "month"].contains(parts[0].lowercased()), let quota = StorageQuota(argument: parts[1])
        else { return nil }
        self.period = parts[0].lowercased()
        self.quota = quota
    }
}

/// `--budget`, `--priorities`, `--on-demand` and `--serve-after-removal`.
struct TrafficOptions: ParsableArguments {
    @Option(
        parsing: .upToNextOption,
        help: "Bytes of content it may receive in each hour, day or month of UTC: --budget hour=500MiB month=20GiB. 'none' ends a limit.")
    var budget: [BudgetOption] = []

    @Option(
        parsing: .upToNextOption,
        help: "Repositories or prefix wildcards in the order in which they are fetched: --priorities base 'app/*'. \"\" ends it.")
    var priorities: [String] = []

    @Option(
        defaultAsFlag: ThreeState.yes, parsing: .next,
        help: "Fetch what clients pull before it has been synchronised while they wait. It is off by default.")
    var onDemand: ThreeState?

    @Option(
        help: """
            How long reads are served once the connected registry has been deleted, deactivated or locked out, as an ISO 8601 duration. \
            'none', the default, is for ever.
            """)
    var serveAfterRemoval: String?

    /// Adds what was given to the properties of a body.
    func add(to properties: inout JSONValue) {
        if !budget.isEmpty {
            var limits: JSONValue = [:]
            for limit in budget { limits[limit.period] = limit.quota.json }
            properties["byteBudget"] = limits
        }
        if let onDemand { properties["onDemand"] = .bool(onDemand.value) }
        if let serveAfterRemoval {
            properties["serveAfterRemoval"] = serveAfterRemoval.lowercased() == "none" ? .null : .string(serveAfterRemoval)
        }
        if !priorities.isEmpty { properties["syncPriorities"] = .strings(priorities.filter { !$0.isEmpty }) }
    }
}
