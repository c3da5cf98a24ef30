// The shell around the loop: performs its actions, applies what the parent says, and tells the parent how it goes.

package import GatewayProtocol
package import Identity
package import Logging
internal import OCI
package import Persistence
package import RegistryClient
package import RegistryCore
internal import Schedule
internal import Synchronization

/// Keeps a connected registry in step with its parent.
package final class SyncAgent: Sendable {
    let connection: ConnectionString
    let memory: SyncMemoryStore
    let store: RegistryStore
    private let identities: IdentityStore
    let registry: RegistryID
    private let folder: DataFolder
    let clock: WallClock
    let logger: Logger
    private let version: String
    private let loginServer: String
    let gateway: GatewayClient
    let engine: TransferEngine
    /// What clients pull before it has been synchronised.
    package let onDemand: OnDemandContent
    private let transport: any TrustingTransport
    private let makeUntrusted: @Sendable () throws -> any Transport
    private let reporting = AsyncMutex()
    let skipped: SkippedImages
    let gate: TransferGate
    let budget: TransferBudget
    let events: SiteEvents
    /// Up to where the own log has been looked through for notifications by this process, and what the parent knows to be dropped.
    let eventState = Mutex(EventState())
    /// The end of the stretch in which a comparison has been made whose content is not affordable before.
    private let comparedUntil = Mutex<Int?>(nil)
    /// The plans that the parent has been told of those below, by name.
    private let toldPlans = Mutex<[String: Int64]>([:])
    private let descendants: DescendantPort?
    private let caPin: String?
    private let jitter: @Sendable () -> Double
    private let onSettings: @Sendable (GatewaySettings) -> Void
    let uploads: UploadEngine
    private let outbox: OutboxSender
    /// When content was last found to differ although the log had been followed.
    private let lastDrift = Mutex<ContinuousClock.Instant?>(nil)
    /// The last heartbeat that arrived, and whether it had nothing but good to tell.
    private let lastReport = Mutex<(time: ContinuousClock.Instant, isWell: Bool)?>(nil)
    /// The reports of descendants that the last heartbeat knew of.
    private let lastReports = Mutex<UInt64>(0)
    /// The shortest time between two heartbeats that only speak for descendants.
    private static let reportInterval = Duration.seconds(1)

    /// - Parameters:
    ///   - transport: the way to the parent; trusts nobody until ``run()`` has found out whom to trust.
    ///   - makeUntrusted: a way that verifies nothing, for fetching the parent's authority.
    ///   - caPin: that of the own authority, which connected registries below pin.
    ///   - descendants: the gateway for those below.
    ///   - bytesPerSecond: how much all transfers may move together; `nil` for no limit.
    ///   - jitter: 0 to 1, spreads the attempts of many children.
    ///   - onSettings: told of settings at the start and whenever they change.
    package init(
        connection: ConnectionString, memory: SyncMemoryStore, store: RegistryStore, identities: IdentityStore, registry: RegistryID,
        folder: DataFolder,
        transport: any TrustingTransport, makeUntrusted: @escaping @Sendable () throws -> any Transport, version: String,
        loginServer: String,
        logger: Logger, clock: WallClock = .system, caPin: String? = nil, descendants: DescendantPort? = nil,
        bytesPerSecond: Int? = nil, jitter: @escaping @Sendable () -> Double = { .random(in: 0...1) },
        onSettings: @escaping @Sendable (GatewaySettings) -> Void = { _ in }
    ) {
        self.jitter = jitter
        self.onSettings = onSettings
        self.caPin = caPin
        self.descendants = descendants
        self.connection = connection
        self.memory = memory
        self.store = store
        self.identities = identities
        self.registry = registry
        self.folder = folder
        self.transport = transport
        self.makeUntrusted = makeUntrusted
        self.version = version
        self.loginServer = loginServer
        self.logger = logger
        self.clock = clock
        self.skipped = SkippedImages(database: store.database, clock: clock)
        self.events = SiteEvents(database: store.database, registry: registry)
        self.budget = TransferBudget(database: store.database, clock: clock)
        self.gate = TransferGate(clock: clock, bytesPerSecond: bytesPerSecond, budget: self.budget)
        let gateway = GatewayClient(transport: transport, connection: connection)
        self.gateway = gateway
        let client = RegistryClient(transport: transport, endpoint: connection.parent) { try await gateway.bearer() }
        let demandClient = RegistryClient(transport: transport, endpoint: connection.parent, isOnDemand: true) {
            try await gateway.bearer()
        }
        let gate = self.gate
        self.engine = TransferEngine(client: client, store: store, registry: registry, gate: gate, demandClient: demandClient)
        self.onDemand = OnDemandContent(
            memory: memory, store: store, registry: registry, engine: self.engine, client: demandClient, clock: clock, logger: logger
        ) {
            try await Self.open(gate, memory, clock)
            try gate.passDown()
        }
        self.uploads = UploadEngine(client: client, store: store, registry: registry, gate: self.gate)
        self.outbox = OutboxSender(
            store: store, registry: registry, gateway: gateway, uploads: self.uploads, downloads: self.engine, gate: self.gate,
            clock: clock,
            logger: logger)
    }

    /// Bytes of the image under way that have not arrived.
    package var bytesLeft: Int64 { self.engine.bytesLeft }

    /// Why the loop ended although nobody asked it to.
    package struct Stop: Sendable {
        package let error: SyncError
        /// Whether this process had been active before.
        package let wasActive: Bool
    }

    /// Runs until the task is cancelled, or until the parent will not have us.
    package func run() async -> Stop? {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.onDemand.run() }
            let stop = await self.synchronise()
            self.onDemand.setObstacle(stop?.error.message ?? "the connected registry is about to end")
            group.cancelAll()
            return stop
        }
    }

    private func synchronise() async -> Stop? {
        let memory = await self.memory.memory
        await self.gateway.setLease(instance: memory.instance, epoch: memory.epoch)
        if let settings = memory.settings { self.onSettings(settings) }
        _ = self.budget.setLimits(memory.settings?.budget)
        var machine = SyncMachine(hasCursor: memory.cursor != nil)
        var event = SyncMachine.Event.started
        var wasActive = false
        while !Task.isCancelled {
            let action = machine.handle(event, now: Int(self.clock.seconds), jitter: self.jitter())
            self.onDemand.setObstacle(
                machine.isConnected ? nil : machine.trouble?.message ?? "the connected registry has not reached its parent yet")
            if case .stopped(let error) = machine.phase {
                let unsent = (try? await self.store.outboxCount(of: self.registry).pending) ?? 0
                self.logger.error(
                    "synchronisation stopped; content here is served on",
                    metadata: [
                        "code": .string(error.code.rawValue), "reason": .string(error.message),
                        "unsent": .stringConvertible(unsent),
                    ])
                try? await self.memory.update { $0.stopped = error.message }
                return Stop(error: error, wasActive: wasActive)
            }
            do {
                event = try await self.perform(action, trouble: machine.trouble)
                if event == .activated { wasActive = true }
                if machine.isConnected { await self.noteLetIn() }
            } catch is CancellationError {
                return nil
            } catch {
                if Task.isCancelled { return nil }
                let error = SyncError(error)
                await self.noteLockedOut(error)
                if error.code == .budget {
                    self.logger.info("the budget is spent", metadata: ["reason": .string(error.message)])
                    await self.failSync(state: "Pending")
                    event = .budgetSpent(until: self.budget.spentUntil ?? Int(self.clock.seconds) + 60)
                    continue
                }
                guard error.code != .windowClosed else {
                    self.logger.info("the window is over", metadata: ["reason": .string(error.message)])
                    await self.failSync(state: "Pending")
                    event = .failed(error)
                    continue
                }
                self.logger.warning(
                    "synchronisation failed", metadata: ["code": .string(error.code.rawValue), "reason": .string(error.message)])
                await self.failSync()
                event = .failed(error)
            }
        }
        return nil
    }

    /// Remembers since when the parent does not let us in; reads may be served for a limited time only from then on.
    private func noteLockedOut(_ error: SyncError) async {
        guard [.unauthorized, .deactivated, .notFound, .alreadyActivated].contains(error.code) else { return }
        let now = self.clock.seconds
        try? await self.memory.update { $0.lockedOut = $0.lockedOut ?? now }
    }

    private func noteLetIn() async {
        guard await self.memory.memory.lockedOut != nil else { return }
        try? await self.memory.update { $0.lockedOut = nil }
    }

    /// Tells the parent that this instance ends; best effort.
    package func sayGoodbye() async {
        guard await self.memory.memory.nonce != nil else { return }
        try? await self.report(.stopping, trouble: nil)
    }

    private func perform(_ action: SyncMachine.Action, trouble: SyncError?) async throws -> SyncMachine.Event {
        await self.noteNotifications()
        switch action {
        case .activate:
            try await self.establishTrust()
            try await self.activate()
            return .activated
        case .fetchSettings: return try await self.fetchSettings()
        case .compareState:
            try await self.openGate()
            try await self.sendOutbox()
            try await self.withProgressReport { try await self.compareState() }
            return .compared
        case .follow:
            try await self.openGate()
            try await self.sendOutbox()
            try await self.tellEvents()
            return .followed(settingsDiffer: try await self.follow())
        case .heartbeatAndRest(let seconds):
            try await self.report(.idle, trouble: trouble)
            try await Elapsing.sleep(for: .seconds(seconds))
            return .rested
        case .rest(let milliseconds):
            // A parent that can be reached should know what is wrong here.
            if let trouble, trouble.code == .disk || trouble.code == .content { try? await self.report(.idle, trouble: trouble) }
            try await Elapsing.sleep(for: .milliseconds(milliseconds))
            return .rested
        case .stop: return .rested
        }
    }

    // MARK: Trust and activation

    /// Finds out whom to trust: a remembered authority, one that matches the pin, or the system's.
    private func establishTrust() async throws {
        guard self.connection.parent.isSecure else { return }
        guard let pin = self.connection.pin else {
            self.transport.setTrust(.system)
            return
        }
        if let known = await self.memory.memory.trust, try TrustPolicy.pin(ofPEM: known) == pin {
            self.transport.setTrust(.authorities([known]))
            return
        }
        let fetched = try await self.gateway.trust(over: try self.makeUntrusted())
        guard let actual = try? TrustPolicy.pin(ofPEM: fetched), actual == pin else {
            throw SyncError(
                .parentUntrusted,
                "the authority that \(self.connection.parent) shows is not the one pinned in the connection string: someone may stand between, or the parent was set up anew; get a new connection string"
            )
        }
        try await self.memory.update { $0.trust = fetched }
        self.transport.setTrust(.authorities([fetched]))
    }

    private func activate() async throws {
        let memory = await self.memory.memory
        // Activation needs a token without a lease when there is none yet, or when the parent does not know ours.
        await self.gateway.setLease(instance: memory.instance, epoch: nil)
        let answer = try await self.gateway.activate(
            ActivateRequest(
                instanceId: memory.instance, nonce: memory.nonce, version: self.version, loginServer: self.loginServer, caPin: self.caPin,
                gatewayAddress: self.loginServer, cursor: memory.cursor))
        try await self.memory.update {
            $0.stopped = nil
            $0.epoch = answer.epoch
            $0.nonce = answer.nonce
            $0.registry = answer.registry
        }
        await self.gateway.setLease(instance: memory.instance, epoch: answer.epoch)
        // The heartbeat confirms the new nonce: from here on a copy of this folder is told apart.
        try await self.report(.idle, trouble: nil)
        self.logger.notice(
            "activated", metadata: ["connectedRegistry": .string(answer.connectedRegistry), "epoch": .stringConvertible(answer.epoch)])
    }

    // MARK: Settings

    private func fetchSettings() async throws -> SyncMachine.Event {
        let memory = await self.memory.memory
        guard let (settings, tag) = try await self.gateway.settings(tag: memory.settings == nil ? nil : memory.settingsTag) else {
            try await self.planIfOrdered()
            return .settingsApplied(try Self.window(memory.settings), selectionChanged: false)
        }
        let window = try Self.window(settings)
        let credentials = SettingsCredentials(settings, of: self.connection.connectedRegistry)
        try await self.identities.replace(
            tokens: credentials.tokens, scopeMaps: credentials.scopeMaps, carried: credentials.carried, in: self.registry)
        try await self.descendants?.apply(settings.descendants ?? [])
        let pin = self.connection.pin
        // The authority may have been renewed; the key is the same, or it is not ours.
        let renewed = settings.trustRoots.first { pin != nil && (try? TrustPolicy.pin(ofPEM: $0)) == pin }
        let isResyncDue = memory.settings != nil && settings.resync != nil && settings.resync != memory.settings?.resync
        // Before the first client may write: whatever is acknowledged from here on is told to the parent.
        if settings.mode == "ReadWrite" { try await self.store.keepOutbox(of: self.registry) }
        // What was refused may be welcome under what has been changed there.
        try await self.store.retryOutbox(of: self.registry)
        let selectionChanged = isResyncDue || Set(settings.repositories) != Set(memory.settings?.repositories ?? [])
        try await self.memory.update {
            $0.settings = settings
            $0.settingsTag = tag
            // Without a cursor state is compared, also when this process ends before it has been.
            if selectionChanged {
                $0.cursor = nil
                $0.comparison = isResyncDue ? nil : "SyncTokenUpdate"
            }
            if let renewed { $0.trust = renewed }
        }
        if let renewed { self.transport.setTrust(.authorities([renewed])) }
        // Who may read, and for how long, may be another matter now.
        self.store.forgetAnswers()
        self.onSettings(settings)
        if self.budget.setLimits(settings.budget) { try await self.skipped.wakeUnaffordable() }
        self.logger.info(
            "settings applied",
            metadata: [
                "repositories": .stringConvertible(settings.repositories.count),
                "clientTokens": .stringConvertible(settings.clientTokens.count),
            ])
        try await self.planIfOrdered()
        return .settingsApplied(window, selectionChanged: selectionChanged)
    }

    /// Content moves until the window closes.
    private func openGate() async throws { try await Self.open(self.gate, self.memory, self.clock) }

    private static func open(_ gate: TransferGate, _ memory: SyncMemoryStore, _ clock: WallClock) async throws {
        let window = try Self.window(await memory.memory.settings)
        gate.open(until: window.closes(after: Int(clock.seconds)))
    }

    static func window(_ settings: GatewaySettings?) throws -> SyncWindow {
        guard let settings else { return .always }
        return try SyncWindow(
            schedule: CronSchedule(parsing: settings.schedule), duration: try settings.syncWindow.map { try ISODuration(parsing: $0) })
    }

    // MARK: Content

    /// Tells the parent what clients have changed here.
    private func sendOutbox() async throws {
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
    private func follow() async throws -> Bool {
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
                try await self.retrySkipped()
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
    private func apply(_ changes: [ChangesPage.Change], of log: String) async throws {
        let memory = await self.memory.memory
        let isReadWrite = memory.isReadWrite
        let last = LastWords(changes)
        let locked = Change.Kind.locksChanged.rawValue
        for change in memory.prioritized(changes) {
            if change.kind == locked {
                if isReadWrite, try await self.isOutdated(change, log) { continue }
                try await self.lock(change)
                continue
            }
            if let tag = change.tag {
                guard last.isLast(change) else { continue }
                try await self.skipped.supersede(tag, in: change.repository, by: change.digest)
            }
            if isReadWrite, try await self.isOutdated(change, log) { continue }
            switch (Change.Kind(rawValue: change.kind), change.tag, change.digest) {
            case (.tagSet, let tag?, let digest?):
                try await self.replicate(digest, tags: [tag], in: change.repository)
                // A tag that was deleted and set again has lost its locks.
                try await self.lock(change)
            case (.manifestPut, nil, let digest?): try await self.replicate(digest, tags: [], in: change.repository)
            case (.tagDeleted, let tag?, _): try await self.retract([tag], [], from: change.repository)
            case (.manifestDeleted, nil, let digest?):
                try await self.skipped.resolve(digest, in: change.repository)
                try await self.retract([], [digest], from: change.repository)
            default: break
            }
        }
    }

    /// Locks what a row names as it is locked at the parent now.
    private func lock(_ change: ChangesPage.Change) async throws {
        let isTag = change.kind == Change.Kind.tagSet.rawValue
        let entry = LockEntry(tag: change.tag, digest: isTag ? nil : change.digest, locks: change.locks ?? 0)
        try await self.store.apply([entry.carried(in: change.repository)], to: self.registry, origin: TransferEngine.origin)
        // What could not be read there may be readable now.
        if !isTag { try await self.skipped.wake(in: change.repository) }
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

    /// Replicates one image; content that is damaged at the parent does not keep the others waiting, it is tried again later.
    ///
    /// - Parameter waitsForBudget: whether what the budget does not allow is remembered as well, and the rest goes on.
    private func replicate(_ digest: Digest, tags: [Tag], in name: RepositoryName, waitsForBudget: Bool = true) async throws {
        do {
            try await self.engine.replicate(digest, tags: tags, in: name)
            try await self.skipped.resolve(digest, in: name)
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
    private func root() async throws -> String {
        let memory = await self.memory.memory
        let selection = memory.selection
        return try await self.store.stateSummary(of: self.registry) { name in
            !memory.isReadWrite || selection.contains { $0.matches(name) }
        }.root
    }

    /// Compares whole state: at the first start, after a change of the selection, and when the cursor cannot be followed.
    private func compareState() async throws {
        // What costs nothing has been done: asking for the same lists again before there is budget would be for nothing.
        if let until = self.budget.spentUntil, self.comparedUntil.withLock({ $0 }) == until { try self.budget.pass() }
        // An initial synchronisation that was interrupted is still the initial one, and makes up for one by hand.
        let memory = await self.memory.memory
        let began = self.clock.milliseconds()
        let resync = memory.settings?.resync
        let recovery = resync != memory.resynced ? "ManualResync" : memory.comparison ?? "RecoveryService"
        try await self.beginSync(trigger: memory.result?.lastSuccess == nil ? "InitialSync" : recovery)
        try await self.skipped.forgetAll()
        // What the budget does not allow keeps nothing else waiting: tags that move without a byte, deletions, locks.
        let unaffordable = Mutex<SyncError?>(nil)
        let comparison = StateComparison(
            store: self.store, registry: self.registry, gateway: self.gateway, kept: memory.isReadWrite ? memory.selection : nil,
            rank: { memory.rank(of: $0) },
            replicate: { digest, tags, name in
                do {
                    try await self.replicate(digest, tags: tags, in: name, waitsForBudget: false)
                } catch let error as SyncError where error.code == .budget {
                    unaffordable.withLock { $0 = $0 ?? error }
                }
            })
        let cursor = try await comparison.run()
        if let error = unaffordable.withLock({ $0 }) {
            self.comparedUntil.withLock { $0 = self.budget.spentUntil }
            throw error
        }
        try await self.memory.update {
            $0.cursor = cursor
            $0.resynced = resync
            $0.comparison = nil
        }
        try await self.store.forgetProvisional(seenBefore: began, in: self.registry)
        try await self.finishSync()
    }

    // MARK: Reports

    private func beginSync(trigger: String) async throws {
        let now = self.clock.milliseconds()
        try await self.memory.update {
            let earlier = $0.result
            // Another attempt at the same synchronisation keeps its beginning.
            let started = earlier.flatMap { $0.ended == nil || $0.state == "Failed" ? $0.started : nil } ?? now
            $0.result = SyncResult(trigger: trigger, state: "Syncing", started: started, ended: nil, lastSuccess: earlier?.lastSuccess)
        }
    }

    /// Everything up to the cursor is here.
    private func finishSync() async throws {
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
    private func failSync(state: String = "Failed") async {
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

    /// Runs `work`; when it takes longer than a moment the parent is told that we are syncing.
    private func withProgressReport(_ work: @escaping @Sendable () async throws -> Void) async throws {
        try await withThrowingTaskGroup(of: Bool.self) { group in
            group.addTask {
                try await work()
                return true
            }
            group.addTask {
                try await Elapsing.sleep(for: .milliseconds(300))
                while !Task.isCancelled {
                    try? await self.report(.syncing, trouble: nil)
                    try await Elapsing.sleep(for: .seconds(20))
                }
                return false
            }
            defer { group.cancelAll() }
            while let isWork = try await group.next() {
                if isWork { return }
            }
        }
    }

    /// One heartbeat at a time: each carries the nonce of the answer before it.
    func report(_ phase: StatusReport.Phase, trouble: SyncError?, plan: SyncPlan? = nil) async throws {
        try await self.reporting.withLock {
            let memory = await self.memory.memory
            guard let nonce = memory.nonce else { return }
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
            let answer = try await self.gateway.report(
                StatusReport(
                    nonce: nonce, phase: phase, version: self.version, cursor: memory.cursor, result: memory.result, details: details,
                    bytesReceived: memory.bytesReceived, diskFree: space?.free, diskTotal: space?.total, root: root,
                    resynced: memory.resynced, outboxPending: pending, bytesSent: memory.isReadWrite ? memory.bytesSent : nil,
                    descendants: descendants?.isEmpty == true ? nil : descendants,
                    bytesLeft: self.engine.bytesLeft == 0 ? nil : self.engine.bytesLeft, budget: budget.isEmpty ? nil : budget,
                    plan: plan))
            self.lastReports.withLock { $0 = reports }
            let isWell = phase == .idle && details.isEmpty && root != nil
            self.lastReport.withLock { $0 = (Elapsing.now, isWell) }
            self.toldPlans.withLock { told in
                for one in descendants ?? [] { told[one.name] = one.status?.plan?.order ?? told[one.name] }
            }
            try await self.memory.update { $0.nonce = answer.nonce }
        }
    }
}

/// A transport whose trust can be changed.
package protocol TrustingTransport: Transport {
    func setTrust(_ trust: TrustPolicy)
}

extension NIOTransport: TrustingTransport {}
