// What a cache rule does: content that is pulled and not here is fetched from the rule's source, stored, and served.

package import Import
package import Logging
package import OCI
package import Persistence
internal import RegistryClient
internal import RegistryCore
internal import Synchronization

/// Fetches by cache rules.
///
/// An index is stored as it is and its images when somebody pulls them, an image with all its blobs before it is visible.
/// Whoever pulls the same at the same time waits for the same fetch, which goes on when they leave.
package final class PullThrough: Sendable {
    /// Fetches at a time; more are refused, since each holds connections and disk.
    private static let maximum = 32
    /// Milliseconds for which it is believed that a source does not have something: clients ask again and again.
    private static let absence: Int64 = 30_000
    private static let maximumAbsent = 10_000

    private struct Key: Hashable {
        let registry: RegistryID
        let name: RepositoryName
        let reference: String
    }

    private struct State {
        var running: [Key: Task<Bool, any Error>] = [:]
        var absent: [Key: Int64] = [:]
        /// When the source was last asked whether a tag has moved.
        var asked: [Key: Int64] = [:]
        var refreshing: [Key: Refresh] = [:]
        var isStopped = false
    }

    /// A look at the source under way.
    private struct Refresh: Sendable {
        let task: Task<Void, Never>
        /// Moves when it has ended: waiting for it can be given up, waiting for a task cannot.
        let ended: Activity
    }

    private let resources: ResourceStore
    private let importer: ImageImporter
    private let secrets: SecretFolder?
    private let clock: WallClock
    private let state = Mutex(State())
    private let patience: Duration

    /// - Parameter patience: how long a pull waits to hear whether its tag has moved; what is here is served then, and the next pull finds
    ///   what came.
    package init(
        resources: ResourceStore, importer: ImageImporter, secrets: SecretFolder?, clock: WallClock = .system,
        patience: Duration = .seconds(10)
    ) {
        self.patience = patience
        self.resources = resources
        self.importer = importer
        self.secrets = secrets
        self.clock = clock
    }

    /// Ends what is under way; to be called before connections are closed. What has arrived is kept for the next time.
    package func stop() async {
        let (running, refreshing) = self.state.withLock { state in
            state.isStopped = true
            return (Array(state.running.values), Array(state.refreshing.values))
        }
        for task in running { task.cancel() }
        for refresh in refreshing { refresh.task.cancel() }
        for task in running { _ = try? await task.value }
        for refresh in refreshing { await refresh.task.value }
    }

    /// Brings a manifest here that a rule promises.
    ///
    /// - Parameter entry: the registry that is pulled from.
    /// - Returns: whether it is here now; false where no rule is about the repository, or the source does not have it.
    /// - Throws: `RegistryError` that says why the source could not be asked or what it refused.
    package func fetch(_ reference: Reference, in name: RepositoryName, of entry: RegistryEntry, logger: Logger) async throws -> Bool {
        guard let id = ResourceID(entry.scope), let (rule, source) = try await self.rule(for: name, in: id) else { return false }
        let key = Key(registry: entry.id, name: name, reference: reference.description)
        let now = self.clock.milliseconds()
        let task: Task<Bool, any Error>? = try self.state.withLock { state in
            if let task = state.running[key] { return task }
            if let since = state.absent[key], (0..<Self.absence).contains(now - since) { return nil }
            guard !state.isStopped, state.running.count < Self.maximum else {
                throw RegistryError(
                    .unavailable, "\(Self.maximum) images are being fetched from elsewhere, which is as many as there may be; try again")
            }
            let task = Task {
                defer { self.state.withLock { _ = $0.running.removeValue(forKey: key) } }
                return try await self.fetch(reference, in: name, of: entry, by: rule, from: source, logger)
            }
            state.running[key] = task
            return task
        }
        guard let task else { return false }
        guard try await task.value else {
            self.state.withLock { state in
                if state.absent.count >= Self.maximumAbsent { state.absent.removeAll() }
                state.absent[key] = now
            }
            return false
        }
        return true
    }

    /// The rule that settles most of the name, and the source's name for it.
    private func rule(for name: RepositoryName, in registry: ResourceID) async throws -> (rule: StoredCacheRule, source: String)? {
        try await self.resources.cacheRules(in: registry)
            .compactMap { rule in rule.document.source(of: name).map { (rule: rule, source: $0) } }
            .max { $0.rule.document.target.weight < $1.rule.document.target.weight }
    }

    private func fetch(
        _ reference: Reference, in name: RepositoryName, of entry: RegistryEntry, by rule: StoredCacheRule, from source: String,
        _ logger: Logger
    ) async throws -> Bool {
        let host = rule.document.sourceRegistry
        let tag: Tag? = if case .tag(let tag) = reference { tag } else { nil }
        func refuse(_ code: ErrorCode, _ reason: String) -> RegistryError {
            logger.warning(
                "cache rule could not fetch",
                metadata: ["rule": .string(rule.id.name), "source": "\(host)/\(source)", "reason": .string(reason)])
            return RegistryError(
                code, "\(name):\(reference) is not here and cache rule '\(rule.id.name)' cannot get it from \(host)/\(source): \(reason)",
                detail: ["name": name.description, "rule": rule.id.name])
        }
        do {
            let order = ImportOrder(
                source: .remote(registry: host, repository: source, credentials: try await self.credentials(of: rule, entry)),
                reference: reference, targets: [.init(repository: name, tag: tag)], replacesTags: false, registry: entry.id,
                quota: entry.quota, origin: CachedTags.origin(ofRule: rule.id.name), isShallow: true)
            try await self.importer.run(order, logger: logger)
            logger.info("cached", metadata: ["rule": .string(rule.id.name), "source": "\(host)/\(source)", "reference": "\(reference)"])
            return true
        } catch let error as ImportError {
            switch error.code {
            case .notFound: return false
            case .denied: throw refuse(.denied, error.message)
            case .failed: throw refuse(.unavailable, error.message)
            }
        } catch let error as TransportError {
            throw refuse(.unavailable, error.message)
        } catch let error as PersistenceError where error.code == .digestMismatch || error.code == .sizeMismatch {
            throw refuse(.unavailable, "it sends content that is not what its manifest says")
        } catch let error as RegistryError where error.status == 409 {
            // Somebody has pushed the tag meanwhile.
            return true
        }
    }

    // MARK: Tags that move

    /// Milliseconds for which a tag is served without asking whether it has moved.
    private static let freshness: Int64 = 30_000
    private static let maximumAsked = 100_000

    /// Asks the source whether a tag that a rule has set names something else by now, and fetches that.
    ///
    /// Whatever comes of it, what is here can be served: a source that is away, or has the tag no more, changes nothing.
    /// - Parameter asks: whether the source may be asked in the name of whoever pulls.
    /// - Returns: whether a rule is about the repository, so that an answer must not be remembered.
    package func refresh(_ tag: Tag, in name: RepositoryName, of entry: RegistryEntry, asks: Bool, logger: Logger) async -> Bool {
        guard let id = ResourceID(entry.scope), let (rule, source) = try? await self.rule(for: name, in: id) else { return false }
        guard asks else { return true }
        let key = Key(registry: entry.id, name: name, reference: tag.description)
        let now = self.clock.milliseconds()
        let refresh: Refresh? = self.state.withLock { state in
            if let refresh = state.refreshing[key] { return refresh }
            if let since = state.asked[key], (0..<Self.freshness).contains(now - since) { return nil }
            guard !state.isStopped, state.running.count + state.refreshing.count < Self.maximum else { return nil }
            if state.asked.count >= Self.maximumAsked { state.asked.removeAll() }
            state.asked[key] = now
            let ended = Activity()
            let task = Task {
                defer {
                    self.state.withLock { _ = $0.refreshing.removeValue(forKey: key) }
                    ended.signal()
                }
                do {
                    try await self.update(tag, in: name, of: entry, by: rule, from: source, logger)
                } catch {
                    logger.warning(
                        "cached tag not refreshed",
                        metadata: ["rule": .string(rule.id.name), "reference": "\(name):\(tag)", "reason": .string("\(error)")])
                }
            }
            let refresh = Refresh(task: task, ended: ended)
            state.refreshing[key] = refresh
            return refresh
        }
        await refresh?.ended.wait(beyond: 0, atMost: self.patience)
        return true
    }

    private func update(
        _ tag: Tag, in name: RepositoryName, of entry: RegistryEntry, by rule: StoredCacheRule, from source: String, _ logger: Logger
    ) async throws {
        guard let cached = try await self.resources.cachedTag(tag, in: name, of: entry.id),
            // A tag that somebody has moved here is theirs.
            try await self.importer.stored(.tag(tag), in: name, of: entry.id) == cached
        else { return }
        let order = ImportOrder(
            source: .remote(
                registry: rule.document.sourceRegistry, repository: source, credentials: try await self.credentials(of: rule, entry)),
            reference: .tag(tag), targets: [.init(repository: name, tag: tag)], replacesTags: true, registry: entry.id, quota: entry.quota,
            origin: CachedTags.origin(ofRule: rule.id.name), isShallow: true, replaced: cached)
        guard try await self.importer.digest(of: order) != cached else { return }
        do {
            try await self.importer.run(order, logger: logger)
        } catch let error as RegistryError where error.status == 409 {
            // Somebody has moved or removed it while its image came.
            return
        }
        logger.info("cached tag moved", metadata: ["rule": .string(rule.id.name), "reference": "\(name):\(tag)"])
    }

    private func credentials(of rule: StoredCacheRule, _ entry: RegistryEntry) async throws -> SourceCredentials? {
        guard let name = rule.document.credentialSet, let registry = rule.id.parent else { return nil }
        guard let set = try await self.resources.credentialSet(registry.child(.credentialSets, name)) else {
            throw ImportError(.denied, "its credential set '\(name)' is gone")
        }
        return try await SourceSignIn(secrets: self.secrets, registry: entry.name).credentials(set.document)
    }
}
