// Content: what the log tells, what a comparison of the state finds, and what has been sent from here.

internal import GatewayProtocol
internal import OCI
internal import Persistence
internal import RegistryCore
internal import Synchronization

extension SyncAgent {
    /// Tells the parent what clients have changed here.
    func sendOutbox() async throws {
        guard await self.memory.memory.isReadWrite, try await self.outbox.isDue else { return }
        try await self.withProgressReport { try await self.outbox.send() }
        let sent = self.uploads.takeSent()
        try await self.memory.update { $0.bytesSent += sent }
        try await self.report(.idle, trouble: nil)
    }

    /// The parent's changes; `nil` when something is to be told to the parent before.
    private func nextPage(after cursor: GatewayCursor, wait: Int, settings: String?, watchesOutbox: Bool) async throws -> ChangesPage? {
        let descendants = self.descendants
        // Taken before the poll begins: what they tell from now on ends it.
        let seen = self.lastReports.withLock { $0 }
        guard watchesOutbox || descendants != nil else {
            return try await self.gateway.changes(after: cursor, wait: wait, settings: settings)
        }
        return try await withThrowingTaskGroup(of: ChangesPage?.self) { group in
            group.addTask { try await self.gateway.changes(after: cursor, wait: wait, settings: settings) }
            if watchesOutbox {
                group.addTask {
                    try await self.outbox.awaitDue()
                    return nil
                }
            }
            if let descendants {
                group.addTask {
                    // Many at once are one heartbeat.
                    try await Elapsing.sleep(for: Self.reportInterval)
                    await descendants.reports.wait(beyond: seen)
                    try Task.checkCancellation()
                    try await self.report(.idle, trouble: nil)
                    return nil
                }
            }
            defer { group.cancelAll() }
            return try await group.next() ?? nil
        }
    }

    /// Waits for changes and applies them.
    ///
    /// - Returns: whether the parent's settings are others than ours.
    func follow() async throws -> Bool {
        let memory = await self.memory.memory
        guard let cursor = memory.cursor else { throw SyncError(.compareState, "there is no cursor yet") }
        // No longer than the window is open, and until something is to be tried again.
        let longest = Self.longestWait
        let wait = min(longest, Int(try await self.skipped.rest() ?? Int64(longest)), self.gate.rest ?? longest)
        guard
            let page = try await self.nextPage(
                after: cursor, wait: wait, settings: memory.settingsTag, watchesOutbox: memory.isReadWrite)
        else { return false }
        let isRetryDue = try await !self.skipped.due().isEmpty
        if !page.changes.isEmpty || isRetryDue {
            try await self.beginSync(trigger: memory.result?.trigger ?? "InitialSync")
            try await self.withProgressReport {
                try await self.apply(page.changes, of: cursor.log)
                // Not before the log has been read to its end: it may say that a tag has moved on.
                if page.atHead { try await self.retrySkipped() }
            }
        }
        let settingsDiffer = page.settings != memory.settingsTag
        // Rows of a selection that is not ours any more may be missing from the page: it is asked for again under the new one.
        if !settingsDiffer {
            if page.next != cursor { try await self.memory.update { $0.cursor = page.next } }
            if memory.isReadWrite {
                try await self.store.forgetConfirmed(
                    before: ChangeCursor(log: page.next.log, sequence: page.next.sequence), of: self.registry)
            }
            if try await self.hasDrifted(from: page) { throw SyncError(.compareState, "the content differs although the log was followed") }
        }
        // A poll that brought nothing is a sign of life itself; what it would tell has been told.
        let isQuiet = page.changes.isEmpty && !isRetryDue && !settingsDiffer && memory.result?.state == "Succeeded"
        if !isQuiet || self.isReportDue { try await self.finishSync() }
        return settingsDiffer
    }

    /// Seconds that a long poll waits: with the time in which an answer that was lost is noticed it is less than that after which a
    /// connected registry counts as offline.
    private static let longestWait = 45
    /// How long nothing is told that has been told.
    private static let longestSilence = Duration.seconds(240)

    /// Whether the parent should hear of us although nothing has happened: for a while it has not, or what it heard last was not that all is well.
    private var isReportDue: Bool {
        self.lastReport.withLock { last in
            guard let last, last.isWell else { return true }
            return Elapsing.now - last.time >= Self.longestSilence
        }
    }

    /// Applies a page in the order of the log; of each tag only the last word counts.
    ///
    /// Deletions keep their place: a manifest that was deleted and pushed again in one page is here afterwards.
    func apply(_ changes: [ChangesPage.Change], of log: String) async throws {
        let memory = await self.memory.memory
        let isReadWrite = memory.isReadWrite
        let last = LastWords(changes)
        let locked = Change.Kind.locksChanged.rawValue
        // Images that follow each other: rows of other kinds keep their place between them.
        var run: [ChangesPage.Change] = []
        for change in memory.prioritized(changes) {
            if change.kind == locked {
                if isReadWrite, try await self.isOutdated(change, log) { continue }
                try await self.finish(&run)
                try await self.lock([change])
                continue
            }
            if let tag = change.tag {
                guard last.isLast(change) else { continue }
                try await self.skipped.supersede(tag, in: change.repository, by: change.digest)
            }
            if isReadWrite, try await self.isOutdated(change, log) { continue }
            switch (Change.Kind(rawValue: change.kind), change.tag, change.digest) {
            case (.tagSet, _?, _?), (.manifestPut, nil, _?): run.append(change)
            case (.tagDeleted, let tag?, _):
                try await self.finish(&run)
                try await self.retract([tag], [], from: change.repository)
            case (.manifestDeleted, nil, let digest?):
                try await self.finish(&run)
                try await self.skipped.resolve(digest, in: change.repository)
                try await self.retract([], [digest], from: change.repository)
            case (.repositoryDeleted, nil, nil):
                // What was in it has gone with rows of its own. One of that name that is made anew begins without the lock.
                try await self.finish(&run)
                try await self.lock([change])
            default: break
            }
        }
        try await self.finish(&run)
    }

    /// Replicates the images that rows name.
    private func finish(_ run: inout [ChangesPage.Change]) async throws {
        let changes = run
        run = []
        for start in stride(from: 0, to: changes.count, by: TransferEngine.bundleSize) {
            let some = changes[start..<min(start + TransferEngine.bundleSize, changes.count)]
            try await self.replicate(WantedImage.of(some))
            // A tag that was deleted and set again has lost its locks.
            try await self.lock(some.filter { $0.tag != nil })
        }
    }

    /// Locks what rows name as it is locked at the parent now.
    private func lock(_ changes: [ChangesPage.Change]) async throws {
        let tagSet = Change.Kind.tagSet.rawValue
        let locks = changes.map { change in
            LockEntry(tag: change.tag, digest: change.kind == tagSet ? nil : change.digest, locks: change.locks ?? 0)
                .carried(in: change.repository)
        }
        try await self.store.apply(locks, to: self.registry, origin: TransferEngine.origin)
        // What could not be read there may be readable now.
        for change in changes where change.kind != tagSet { try await self.skipped.wake(in: change.repository) }
    }

    /// Whether the row is older than what the parent has taken over from here of the same tag or manifest.
    func isOutdated(_ change: ChangesPage.Change, _ log: String) async throws -> Bool {
        let subject: OutboxEntry.Subject
        if change.kind == Change.Kind.locksChanged.rawValue {
            subject = .locks(LockEntry(tag: change.tag, digest: change.digest, locks: 0).carried(in: change.repository).target)
        } else if let tag = change.tag {
            subject = .tag(tag)
        } else if let digest = change.digest {
            subject = .manifest(digest)
        } else {
            return false
        }
        return try await self.store.isOutdated(
            subject, in: change.repository, at: ChangeCursor(log: log, sequence: change.sequence), of: self.registry)
    }

    private func retract(_ tags: [Tag], _ manifests: [Digest], from name: RepositoryName) async throws {
        try await self.store.retract(tags: tags, manifests: manifests, from: name, of: self.registry, origin: TransferEngine.origin)
    }

    /// Replicates images: what is small of them together, the rest one after the other.
    ///
    /// - Parameter waitsForBudget: as for one.
    func replicate(_ images: [WantedImage], waitsForBudget: Bool = true) async throws {
        let left = try await self.engine.bundle(images)
        let remaining = Set(left.images)
        for image in images where !remaining.contains(image) {
            try await self.skipped.resolve(image.digest, tags: image.tags, in: image.repository)
        }
        var unaffordable: SyncError?
        for image in left.images {
            do {
                try await self.replicate(
                    image.digest, tags: image.tags, in: image.repository, known: left.manifests, waitsForBudget: waitsForBudget)
            } catch let error as SyncError where error.code == .budget {
                unaffordable = unaffordable ?? error
            }
        }
        if let unaffordable { throw unaffordable }
    }

    /// Replicates one image; content that is damaged at the parent does not keep the others waiting, it is tried again later.
    ///
    /// - Parameter waitsForBudget: whether what the budget does not allow is remembered as well, and the rest goes on.
    private func replicate(
        _ digest: Digest, tags: [Tag], in name: RepositoryName, known: [TransferEngine.ManifestPlace: TransferEngine.FetchedManifest] = [:],
        waitsForBudget: Bool = true
    ) async throws {
        do {
            _ = try await self.engine.replicate(digest, tags: tags, in: name, for: .synchronisation, known: known)
            try await self.skipped.resolve(digest, tags: tags, in: name)
        } catch {
            let error = SyncError(error)
            if error.code == .budget, waitsForBudget {
                try await self.skipped.record(
                    digest, tags: tags, in: name, code: error.code, reason: error.message, until: self.budget.spentUntil)
                return
            }
            guard error.code == .content || error.code == .locked else { throw error }
            try Task.checkCancellation()
            self.logger.warning(
                "image cannot be taken",
                metadata: [
                    "repository": .string(name.description), "digest": .string(digest.description), "reason": .string(error.message),
                ])
            try await self.skipped.record(digest, tags: tags, in: name, code: error.code, reason: error.message)
        }
    }

    private func retrySkipped() async throws {
        let memory = await self.memory.memory
        // One by one: what was damaged once is looked at for itself.
        for image in memory.prioritized(try await self.skipped.due(), by: \.repository) {
            try await self.replicate(image.digest, tags: image.tags.sorted { $0.description < $1.description }, in: image.repository)
        }
    }

    /// Whether the child, having applied everything up to the head, holds something else than the parent: then the log was not enough.
    private func hasDrifted(from page: ChangesPage) async throws -> Bool {
        guard page.atHead, let root = page.root, try await self.skipped.all().isEmpty else { return false }
        guard try await self.store.outboxCount(of: self.registry).pending == 0 else { return false }
        guard try await self.root() != root else { return false }
        // Rarely: what a comparison cannot mend would be compared for ever.
        return self.lastDrift.withLock { last in
            guard last.map({ Elapsing.now - $0 > .seconds(3600) }) ?? true else { return false }
            last = Elapsing.now
            return true
        }
    }

    /// The root of what is compared with the parent: a ReadWrite connected registry may hold more than what is selected.
    func root() async throws -> String {
        let memory = await self.memory.memory
        let selection = memory.selection
        return try await self.store.stateSummary(of: self.registry) { name in
            !memory.isReadWrite || selection.contains { $0.matches(name) }
        }.root
    }

    /// Compares whole state: at the first start, after a change of the selection, and when the cursor cannot be followed.
    func compareState() async throws {
        // An initial synchronisation that was interrupted is still the initial one, and makes up for one by hand.
        let memory = await self.memory.memory
        let isInitial = memory.result?.lastSuccess == nil
        // What costs nothing has been done: asking for the same lists again before there is budget would be for nothing.
        if isInitial, let until = self.budget.spentUntil, self.comparedUntil.withLock({ $0 }) == until { try self.budget.pass() }
        let began = self.clock.milliseconds()
        let resync = memory.settings?.resync
        let recovery = resync != memory.resynced ? "ManualResync" : memory.comparison ?? "RecoveryService"
        try await self.beginSync(trigger: isInitial ? "InitialSync" : recovery)
        try await self.skipped.forgetAll()
        // What the budget does not allow keeps nothing else waiting: tags that move without a byte, deletions, locks. Who has been in step once
        // goes on with the log, and what waits is remembered image by image.
        let unaffordable = Mutex<SyncError?>(nil)
        let comparison = StateComparison(
            store: self.store, registry: self.registry, gateway: self.gateway, kept: memory.isReadWrite ? memory.selection : nil,
            rank: { memory.rank(of: $0) },
            replicate: { images in
                do {
                    try await self.replicate(images, waitsForBudget: !isInitial)
                } catch let error as SyncError where error.code == .budget {
                    unaffordable.withLock { $0 = $0 ?? error }
                }
            })
        let cursor = try await comparison.run()
        if let error = unaffordable.withLock({ $0 }) {
            self.comparedUntil.withLock { $0 = self.budget.spentUntil }
            throw error
        }
        // Before the cursor: with one the log is followed, and nobody would look for what this has found to be gone.
        try await self.store.forgetProvisional(seenBefore: began, in: self.registry)
        try await self.memory.update {
            $0.cursor = cursor
            $0.resynced = resync
            $0.comparison = nil
        }
    }
}
