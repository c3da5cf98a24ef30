// Whom the agent trusts, how it is let in, and what the parent has set for it.

internal import GatewayProtocol
internal import Identity
internal import Persistence
internal import RegistryClient
internal import Schedule

extension SyncAgent {
    // MARK: Trust and activation

    /// Finds out whom to trust: a remembered authority, one that matches the pin, or the system's.
    func establishTrust() async throws {
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

    func activate() async throws {
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

    func fetchSettings() async throws -> SyncMachine.Event {
        let memory = await self.memory.memory
        guard let (settings, tag) = try await self.gateway.settings(tag: memory.settings == nil ? nil : memory.settingsTag) else {
            try await self.planIfOrdered()
            return .settingsApplied(try Self.window(memory.settings), selectionChanged: false)
        }
        let selectionChanged = try await self.putIntoForce(settings, tag: tag)
        try await self.planIfOrdered()
        return .settingsApplied(try Self.window(settings), selectionChanged: selectionChanged)
    }

    /// Takes over what has been set anew while content is on its way: a client whose token was revoked is not to be let in until days of
    /// transfers are over.
    ///
    /// - Throws: ``OutdatedWork`` where the work under way is not what these settings ask for; it begins anew under them.
    func takeSettingsMeanwhile() async throws {
        let memory = await self.memory.memory
        guard let known = memory.settings, let (settings, tag) = try await self.gateway.settings(tag: memory.settingsTag) else { return }
        guard settings.asksForTheSameWork(as: known) else { throw OutdatedWork() }
        // Where the work ends meanwhile they are taken over at the next occasion, or noted and in force: what may fail comes before the note.
        _ = try await self.putIntoForce(settings, tag: tag)
    }

    /// Puts settings into force.
    ///
    /// - Returns: whether content is to be compared under them.
    private func putIntoForce(_ settings: GatewaySettings, tag: String) async throws -> Bool {
        let memory = await self.memory.memory
        // What cannot be followed is not taken over in part.
        _ = try Self.window(settings)
        let credentials = SettingsCredentials(settings, of: self.connection.connectedRegistry)
        // Connected registries before the tokens they sign in with: one that signs in and is not known would be told that it has been deleted,
        // and end for good; one whose token is not known tries again.
        try await self.descendants?.apply(settings.descendants ?? [])
        try await self.identities.replace(
            tokens: credentials.tokens, scopeMaps: credentials.scopeMaps, carried: credentials.carried, in: self.registry)
        let pin = self.connection.pin
        // The authority may have been renewed; the key is the same, or it is not ours.
        let renewed = settings.trustRoots.first { pin != nil && (try? TrustPolicy.pin(ofPEM: $0)) == pin }
        let isResyncDue = memory.settings != nil && settings.resync != nil && settings.resync != memory.settings?.resync
        // Before the first client may write: whatever is acknowledged from here on is told to the parent.
        if settings.mode == "ReadWrite" { try await self.store.keepOutbox(of: self.registry) }
        // What was refused may be welcome under what has been changed there.
        try await self.store.retryOutbox(of: self.registry)
        if settings.budget != memory.settings?.budget { try await self.skipped.wakeUnaffordable() }
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
        _ = self.budget.setLimits(settings.budget)
        self.logger.info(
            "settings applied",
            metadata: [
                "repositories": .stringConvertible(settings.repositories.count),
                "clientTokens": .stringConvertible(settings.clientTokens.count),
            ])
        return selectionChanged
    }

    /// Content moves while the window is open.
    ///
    /// - Throws: ``SyncError`` with code `windowClosed` when it is not.
    func openGate() async throws {
        try await Self.open(self.gate, self.memory)
        try self.gate.pass()
    }

    static func open(_ gate: TransferGate, _ memory: SyncMemoryStore) async throws {
        gate.open(try Self.window(await memory.memory.settings))
    }

    static func window(_ settings: GatewaySettings?) throws -> SyncWindow {
        guard let settings else { return .always }
        return try SyncWindow(
            schedule: CronSchedule(parsing: settings.schedule), duration: try settings.syncWindow.map { try ISODuration(parsing: $0) })
    }
}

/// Why a synchronisation ends before it is through: it would not be made so under the settings of now. No failure.
struct OutdatedWork: Error {}

extension GatewaySettings {
    /// Whether a synchronisation that began under `other` is what these ask for. Everything else counts at once, whatever is under way.
    fileprivate func asksForTheSameWork(as other: GatewaySettings) -> Bool {
        Set(self.repositories) == Set(other.repositories) && self.mode == other.mode && self.schedule == other.schedule
            && self.syncWindow == other.syncWindow && self.resync == other.resync
    }
}
