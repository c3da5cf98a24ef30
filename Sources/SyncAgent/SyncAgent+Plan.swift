// Carries out the order to tell what the next synchronisation would move.

internal import GatewayProtocol
internal import OCI
internal import Persistence
internal import RegistryClient
internal import RegistryCore

extension SyncAgent {
    /// Tells the parent what would move, where that has been asked and not been answered. Costs names and sizes, and no content: it is done
    /// outside of the window, too, since an operator wants to know before it opens.
    func planIfOrdered() async throws {
        let memory = await self.memory.memory
        guard let order = memory.settings?.plan, order != memory.planned else { return }
        var plan: SyncPlan
        do {
            plan = try await self.plan(order: order)
        } catch is CancellationError {
            throw CancellationError()
        } catch {
            let error = SyncError(error)
            // What passes is tried again; what does not must not keep this connected registry from its work.
            guard [.parentRefused, .content, .locked].contains(error.code) else { throw error }
            plan = SyncPlan(order: order, computed: self.clock.milliseconds(), problem: error.message)
        }
        let budget = try await self.budget.uses()
        plan.budget = budget.isEmpty ? nil : budget
        try await self.report(.idle, trouble: nil, plan: plan)
        try await self.memory.update { $0.planned = order }
    }

    /// What the next synchronisation would move.
    func plan(order: Int64) async throws -> SyncPlan {
        let memory = await self.memory.memory
        let builder = PlanBuilder(store: self.store, registry: self.registry, gateway: self.gateway)
        if let cursor = memory.cursor {
            do {
                try await self.rehearseFollowing(from: cursor, memory, builder)
            } catch let error as SyncError where error.code == .compareState {
                try await self.rehearseComparison(memory, builder)
            }
            // What could not be had so far and would be asked for again.
            let due = Set(try await self.skipped.due().map(\.digest))
            let waiting = try await self.skipped.all().filter { $0.code == .budget || due.contains($0.digest) }
            for image in memory.prioritized(waiting, by: \.repository) {
                try await builder.add(image.digest, tags: image.tags.sorted { $0.description < $1.description }, in: image.repository)
            }
        } else {
            try await self.rehearseComparison(memory, builder)
        }
        var plan = try await builder.plan(order: order, at: self.clock.milliseconds())
        if memory.isReadWrite { plan.bytesUp = try await self.pendingUploads() }
        return plan
    }

    /// Goes through the parent's log as following it would, page by page: of each tag only the last word of a page counts.
    private func rehearseFollowing(from start: GatewayCursor, _ memory: SyncMemory, _ builder: PlanBuilder) async throws {
        var cursor = start
        while true {
            let page: ChangesPage
            do {
                page = try await self.gateway.changes(after: cursor, wait: 0, settings: nil)
            } catch let refusal as ServerRefusal {
                throw SyncError(refusal)
            }
            let last = LastWords(page.changes)
            for change in memory.prioritized(page.changes) where last.isLast(change) {
                guard let digest = change.digest else { continue }
                let kind = Change.Kind(rawValue: change.kind)
                guard kind == .tagSet && change.tag != nil || kind == .manifestPut && change.tag == nil else { continue }
                if memory.isReadWrite, try await self.isOutdated(change, cursor.log) { continue }
                try await builder.add(digest, tags: change.tag.map { [$0] } ?? [], in: change.repository)
            }
            try await builder.flush()
            guard !page.atHead, page.next != cursor else { return }
            cursor = page.next
        }
    }

    private func rehearseComparison(_ memory: SyncMemory, _ builder: PlanBuilder) async throws {
        let comparison = StateComparison(
            store: self.store, registry: self.registry, gateway: self.gateway, kept: memory.isReadWrite ? memory.selection : nil,
            rank: { memory.rank(of: $0) }, isRehearsal: true,
            replicate: { images in
                for image in images { try await builder.add(image.digest, tags: image.tags, in: image.repository) }
            })
        _ = try await comparison.run()
    }

    /// Bytes of what clients have pushed here that the parent does not have, at most.
    private func pendingUploads() async throws -> Int64 {
        var bytes: Int64 = 0
        var seen: Set<Digest> = []
        for entry in try await self.store.outbox(
            of: self.registry, dueAt: self.clock.seconds + RegistryStore.longestRefusal, limit: 1000)
        {
            let digest: Digest?
            switch (entry.subject, entry.target) {
            case (.tag, let target?): digest = try Digest(target)
            case (.manifest(let subject), .some): digest = subject
            default: digest = nil
            }
            if let digest { bytes += try await self.uploads.missing(digest, in: entry.repository, &seen) }
        }
        return bytes
    }
}

/// Of each tag the last row of a page.
struct LastWords {
    private struct Name: Hashable {
        let repository: RepositoryName
        let tag: Tag
    }

    private var last: [Name: Int64] = [:]

    init(_ changes: [ChangesPage.Change]) {
        for change in changes where change.kind != Change.Kind.locksChanged.rawValue {
            if let tag = change.tag { self.last[Name(repository: change.repository, tag: tag)] = change.sequence }
        }
    }

    /// Whether no later row of the page is about the same tag; always so of rows about none.
    func isLast(_ change: ChangesPage.Change) -> Bool {
        guard let tag = change.tag else { return true }
        return self.last[Name(repository: change.repository, tag: tag)] == change.sequence
    }
}

extension SyncMemory {
    /// The place of a repository in the order of fetching.
    func rank(of name: RepositoryName) -> Int {
        let priorities = self.priorities
        return priorities.firstIndex { $0.matches(name) } ?? priorities.count
    }

    /// The same in the order of fetching; within a repository, and among those of one rank, nothing changes its place.
    func prioritized<Element>(_ elements: [Element], by name: (Element) -> RepositoryName) -> [Element] {
        let priorities = self.priorities
        guard !priorities.isEmpty else { return elements }
        let ranked = elements.enumerated().map { number, element in
            let name = name(element)
            return (rank: priorities.firstIndex { $0.matches(name) } ?? priorities.count, number: number, element: element)
        }
        return ranked.sorted { ($0.rank, $0.number) < ($1.rank, $1.number) }.map(\.element)
    }

    func prioritized(_ changes: [ChangesPage.Change]) -> [ChangesPage.Change] { self.prioritized(changes, by: \.repository) }
}

extension DescendantStatus {
    /// Without its plan where that has been told.
    func withPlan(unless told: Int64?) -> Self {
        guard let told, self.status?.plan?.order == told else { return self }
        var copy = self
        copy.status?.plan = nil
        return copy
    }
}

extension SyncAgent {
    /// That a comparison waits for the budget; images that wait after the log was followed are told one by one.
    func budgetDetails(_ memory: SyncMemory) -> [StatusDetail] {
        guard memory.cursor == nil, let until = self.budget.spentUntil else { return [] }
        return [
            StatusDetail(
                type: "Warning", code: SyncError.Code.budget.rawValue,
                description:
                    "the budget for content from the parent is spent until \(Timestamp.text(seconds: Int64(until))); what is missing comes then",
                timestamp: self.clock.milliseconds())
        ]
    }
}
