// What the agent tells its parent: heartbeats, and how a synchronisation goes.

internal import GatewayProtocol
internal import Persistence

extension SyncAgent {
    func beginSync(trigger: String) async throws {
        let now = self.clock.milliseconds()
        try await self.memory.update {
            let earlier = $0.result
            // Another attempt at the same synchronisation keeps its beginning.
            let started = earlier.flatMap { $0.ended == nil || $0.state == "Failed" ? $0.started : nil } ?? now
            $0.result = SyncResult(trigger: trigger, state: "Syncing", started: started, ended: nil, lastSuccess: earlier?.lastSuccess)
        }
    }

    /// Everything up to the cursor is here.
    func finishSync() async throws {
        let now = self.clock.milliseconds()
        let received = self.engine.takeReceived()
        try await self.memory.update {
            let earlier = $0.result
            $0.result = SyncResult(
                trigger: earlier?.trigger ?? "InitialSync", state: "Succeeded", started: earlier?.started ?? now,
                ended: earlier?.state == "Succeeded" ? earlier?.ended ?? now : now, lastSuccess: now)
            $0.bytesReceived += received
        }
        try await self.report(.idle, trouble: nil)
    }

    /// Records that a synchronisation under way has failed; what it received is counted all the same.
    func failSync(state: String = "Failed") async {
        let now = self.clock.milliseconds()
        let received = self.engine.takeReceived()
        let sent = self.uploads.takeSent()
        try? await self.memory.update {
            $0.bytesReceived += received
            $0.bytesSent += sent
            guard var result = $0.result, result.state == "Syncing" else { return }
            result.state = state
            result.ended = state == "Pending" ? nil : now
            $0.result = result
        }
    }

    /// Runs `work`; when it takes longer than a moment the parent is told that we are syncing, and what it has set anew counts at once.
    ///
    /// - Throws: what `work` throws; that the parent will not have us; ``OutdatedWork``.
    func withProgressReport(_ work: @escaping @Sendable () async throws -> Void) async throws {
        try await withThrowingTaskGroup(of: Bool.self) { group in
            group.addTask {
                try await work()
                return true
            }
            group.addTask {
                let rests = self.progressRests.withLock { $0 }
                try await Elapsing.sleep(for: rests.first)
                while !Task.isCancelled {
                    try await self.reportProgress()
                    try await Elapsing.sleep(for: rests.next)
                }
                return false
            }
            defer { group.cancelAll() }
            while let isWork = try await group.next() {
                if isWork { return }
            }
        }
    }

    private func reportProgress() async throws {
        do {
            if let tag = try await self.report(.syncing, trouble: nil), await self.areNews(tag) { try await self.takeSettingsMeanwhile() }
        } catch {
            if error is OutdatedWork { throw error }
            // Anything else passes, or is met by the work as well.
            let refusal = SyncError(error)
            if [.alreadyActivated, .deactivated, .notFound].contains(refusal.code) { throw refusal }
        }
    }

    /// Whether these are other settings than ours. It is said once before a rest: settings that cannot be taken over are not asked for
    /// again and again.
    func areNews(_ tag: String) async -> Bool {
        let known = await self.memory.memory.settingsTag
        return self.askedSettings.withLock { asked in
            asked = tag == known || tag == asked ? nil : tag
            return asked != nil
        }
    }

    /// One heartbeat at a time: each carries the nonce of the answer before it.
    ///
    /// - Parameter isSparing: whether each byte counts.
    /// - Returns: the tag of the settings that the parent has for us; `nil` where nothing was told.
    @discardableResult
    func report(
        _ phase: StatusReport.Phase, trouble: SyncError?, plan: SyncPlan? = nil, isSparing: Bool = false
    ) async throws -> String? {
        try await self.reporting.withLock {
            let memory = await self.memory.memory
            guard let nonce = memory.nonce else { return nil }
            let space = try? self.folder.space()
            let details =
                (trouble.map {
                    [StatusDetail(type: "Error", code: $0.code.rawValue, description: $0.message, timestamp: self.clock.milliseconds())]
                } ?? self.budgetDetails(memory)) + ((try? await self.skipped.details()) ?? [])
                + (memory.isReadWrite ? (try? await self.outbox.details()) ?? [] : [])
            let pending = memory.isReadWrite ? try? await self.store.outboxCount(of: self.registry).pending : nil
            // A disk that takes no more keeps the root from being told, not the heartbeat.
            let root = phase == .idle ? try? await self.root() : nil
            let reports = self.descendants?.reports.count ?? 0
            // A plan is told once: it may be long.
            let told = self.toldPlans.withLock { $0 }
            let descendants = try await self.descendants?.statuses().map { $0.withPlan(unless: told[$0.name]) }
            let budget = try await self.budget.uses()
            // Where no answer comes back it may have arrived all the same: what the parent believes is then not known.
            self.lastReport.withLock { $0 = nil }
            let status = try StatusReport(
                nonce: nonce, phase: phase, version: self.version, cursor: memory.cursor, result: memory.result, details: details,
                bytesReceived: memory.bytesReceived, diskFree: space?.free, diskTotal: space?.total, root: root,
                resynced: memory.resynced, outboxPending: pending, bytesSent: memory.isReadWrite ? memory.bytesSent : nil,
                descendants: descendants?.isEmpty == true ? nil : descendants,
                bytesLeft: self.engine.bytesLeft == 0 ? nil : self.engine.bytesLeft, budget: budget.isEmpty ? nil : budget,
                plan: plan
            ).bounded.fitting(GatewayLimits.maximumStatus)
            let answer = try await self.gateway.report(status, isSparing: isSparing)
            self.lastReports.withLock { $0 = reports }
            let isWell = phase == .idle && details.isEmpty && root != nil
            self.lastReport.withLock { $0 = (Elapsing.now, isWell) }
            self.toldPlans.withLock { told in
                for one in status.descendants ?? [] { told[one.name] = one.status?.plan?.order ?? told[one.name] }
            }
            try await self.memory.update { $0.nonce = answer.nonce }
            return answer.settings
        }
    }
}
