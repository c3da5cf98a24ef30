// The shell around the loop: performs its actions, applies what the parent says, and tells the parent how it goes.

package import GatewayProtocol
package import Identity
package import Logging
package import Persistence
package import RegistryClient
package import RegistryCore
internal import Synchronization

/// Keeps a connected registry in step with its parent.
package final class SyncAgent: Sendable {
    let connection: ConnectionString
    let memory: SyncMemoryStore
    let store: RegistryStore
    let identities: IdentityStore
    let registry: RegistryID
    let folder: DataFolder
    let clock: WallClock
    let logger: Logger
    let version: String
    let loginServer: String
    let gateway: GatewayClient
    let engine: TransferEngine
    /// What clients pull before it has been synchronised.
    package let onDemand: OnDemandContent
    let transport: any TrustingTransport
    let makeUntrusted: @Sendable () throws -> any Transport
    let reporting = AsyncMutex()
    let skipped: SkippedImages
    let gate: TransferGate
    let budget: TransferBudget
    let events: SiteEvents
    /// Up to where the own log has been looked through for notifications by this process, and what the parent knows to be dropped.
    let eventState = Mutex(EventState())
    /// The end of the stretch in which a comparison has been made whose content is not affordable before.
    let comparedUntil = Mutex<Int?>(nil)
    /// The plans that the parent has been told of those below, by name.
    let toldPlans = Mutex<[String: Int64]>([:])
    let descendants: DescendantPort?
    let caPin: String?
    private let jitter: @Sendable () -> Double
    let onSettings: @Sendable (GatewaySettings) -> Void
    let uploads: UploadEngine
    let outbox: OutboxSender
    /// When content was last found to differ although the log had been followed.
    let lastDrift = Mutex<ContinuousClock.Instant?>(nil)
    /// The last heartbeat that arrived, and whether it had nothing but good to tell.
    let lastReport = Mutex<(time: ContinuousClock.Instant, isWell: Bool)?>(nil)
    /// Settings that were asked for because of a heartbeat's answer, until the next rest.
    let askedSettings = Mutex<String?>(nil)
    /// The reports of descendants that the last heartbeat knew of.
    let lastReports = Mutex<UInt64>(0)
    /// How long work goes on before the parent is told of it, and between two times.
    let progressRests = Mutex((first: Duration.milliseconds(300), next: Duration.seconds(20)))
    /// The shortest time between two heartbeats that only speak for descendants.
    static let reportInterval = Duration.seconds(1)

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
        self.engine = TransferEngine(
            client: client, store: store, registry: registry, gate: gate, demandClient: demandClient,
            parcels: { try await gateway.parcel($0) })
        self.onDemand = OnDemandContent(
            memory: memory, store: store, registry: registry, engine: self.engine, client: demandClient, clock: clock, logger: logger
        ) {
            try await Self.open(gate, memory)
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
        // There may be another budget than when they began to wait: a process that was killed has not told them.
        try? await self.skipped.wakeUnaffordable()
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
            } catch is OutdatedWork {
                self.logger.info("what is under way begins anew under other settings; what has arrived stays")
                await self.failSync(state: "Pending")
                event = .settingsDiffer
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
        _ = try? await self.report(.stopping, trouble: nil)
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
            // After the last word on the way: one that says "syncing" must not be the one that stays.
            try await self.finishSync()
            return .compared
        case .follow:
            try await self.openGate()
            // The order may have come while something else was under way.
            try await self.planIfOrdered()
            try await self.sendOutbox()
            try await self.tellEvents()
            return .followed(settingsDiffer: try await self.follow())
        case .heartbeatAndRest(let seconds):
            let settings = try await self.report(.idle, trouble: trouble, isSparing: true)
            try await self.planIfOrdered()
            if let settings, await self.areNews(settings) { return .settingsDiffer }
            try await Elapsing.sleep(for: .seconds(seconds))
            return .rested
        case .rest(let milliseconds):
            // A parent that can be reached should know what is wrong here.
            if let trouble, trouble.code == .disk || trouble.code == .content { _ = try? await self.report(.idle, trouble: trouble) }
            try await Elapsing.sleep(for: .milliseconds(milliseconds))
            return .rested
        case .stop: return .rested
        }
    }
}

/// A transport whose trust can be changed.
package protocol TrustingTransport: Transport {
    func setTrust(_ trust: TrustPolicy)
}

extension NIOTransport: TrustingTransport {}
