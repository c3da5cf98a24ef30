// What clients of a connected registry pull before it has been synchronised: fetched while they wait, once however many do. See decision 0070.

internal import GatewayProtocol
internal import Logging
package import OCI
package import Persistence
internal import RegistryClient
package import RegistryCore
internal import Schedule
internal import Synchronization

/// Fetches what is selected and not here yet, where the operator allows it.
///
/// What arrives is content like any other: verified, stored, kept by the same rules. Tags are not moved: that is for the synchronisation, which
/// knows their order.
package final class OnDemandContent: MissingContent {
    /// Blobs fetched at a time because clients wait for them, and images completed at a time behind that.
    private static let parallelBlobs = 16
    private static let parallelImages = 2
    /// Orders that may wait.
    private static let longestQueue = 1000
    /// Manifests that are kept in memory until their images are complete.
    private static let shelfSize = 128
    /// Tags that were asked for whose images are not complete.
    private static let longestTags = 256

    private let memory: SyncMemoryStore
    private let store: RegistryStore
    private let registry: RegistryID
    private let engine: TransferEngine
    private let client: RegistryClient
    private let clock: WallClock
    private let logger: Logger
    /// Lets content come as the synchronisation would; throws where the window or the budget does not.
    private let openGate: @Sendable () async throws -> Void
    private let probes = SharedWork<Place, ManifestProbe?>()
    private let lengths = SharedWork<Place, Int64?>()
    private let state = Mutex(State())

    private struct Place: Hashable, Sendable {
        let repository: RepositoryName
        let reference: Reference
    }

    private struct ImageOrder: Sendable {
        let repository: RepositoryName
        let digest: Digest
        let manifest: TransferEngine.FetchedManifest
    }

    private struct State {
        /// Why the parent is not asked; `nil` while it is there.
        var obstacle: String? = "the connected registry has not reached its parent since it was started"
        var deliveries: [Digest: Delivery] = [:]
        /// Images whose completion has been ordered.
        var images: Set<Place> = []
        /// Manifests that have been fetched for clients and are not stored yet, the oldest first.
        var shelf: [Shelved] = []
        /// What tags name that clients have asked for, the oldest first. Some ask for the tag and then for the digest alone.
        var tags: [TagSeen] = []
        /// What carries orders out; `nil` while nobody does.
        var orders: Orders?

        mutating func see(_ seen: TagSeen) {
            self.tags.removeAll { $0.repository == seen.repository && $0.tag == seen.tag }
            if self.tags.count == OnDemandContent.longestTags { self.tags.removeFirst() }
            self.tags.append(seen)
        }

        mutating func takeTags(of digest: Digest, in name: RepositoryName) -> [Tag] {
            defer { self.tags.removeAll { $0.digest == digest && $0.repository == name } }
            return self.tags.filter { $0.digest == digest && $0.repository == name }.map(\.tag)
        }

        mutating func unshelve(_ place: Place) {
            self.images.remove(place)
            self.shelf.removeAll { $0.place == place }
        }
    }

    private struct TagSeen {
        let repository: RepositoryName
        let tag: Tag
        let digest: Digest
    }

    private struct Shelved {
        let place: Place
        let manifest: StoredManifest
        /// Sizes of the blobs that it needs.
        let blobs: [Digest: Int64]
    }

    private struct Orders {
        let blobs: AsyncStream<Delivery>.Continuation
        let images: AsyncStream<ImageOrder>.Continuation
    }

    init(
        memory: SyncMemoryStore, store: RegistryStore, registry: RegistryID, engine: TransferEngine, client: RegistryClient,
        clock: WallClock, logger: Logger, openGate: @escaping @Sendable () async throws -> Void
    ) {
        self.memory = memory
        self.store = store
        self.registry = registry
        self.engine = engine
        self.client = client
        self.clock = clock
        self.logger = logger
        self.openGate = openGate
    }

    /// Whether the parent can be asked, as the loop sees it.
    func setObstacle(_ obstacle: String?) { self.state.withLock { $0.obstacle = obstacle } }

    // MARK: Carrying out

    /// Carries out what clients wait for, until the task is cancelled.
    func run() async {
        let blobs = AsyncStream.makeStream(of: Delivery.self, bufferingPolicy: .bufferingOldest(Self.longestQueue))
        let images = AsyncStream.makeStream(of: ImageOrder.self, bufferingPolicy: .bufferingOldest(Self.longestQueue))
        self.state.withLock { $0.orders = Orders(blobs: blobs.continuation, images: images.continuation) }
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await Self.each(of: blobs.stream, atMost: Self.parallelBlobs) { await self.deliver($0) } }
            group.addTask { await Self.each(of: images.stream, atMost: Self.parallelImages) { await self.complete($0) } }
        }
        // Who still waits is told that nothing comes.
        let left = self.state.withLock { state in
            state.orders = nil
            state.images = []
            state.shelf = []
            state.tags = []
            defer { state.deliveries = [:] }
            return state.deliveries.values
        }
        for delivery in left { delivery.end(.failure(SyncError(.parentUnreachable, "the synchronisation has ended"))) }
    }

    private static func each<Order: Sendable>(
        of orders: AsyncStream<Order>, atMost limit: Int, _ body: @escaping @Sendable (Order) async -> Void
    ) async {
        await withTaskGroup(of: Void.self) { group in
            var running = 0
            for await order in orders {
                if running == limit {
                    await group.next()
                    running -= 1
                }
                group.addTask { await body(order) }
                running += 1
            }
        }
    }

    private func deliver(_ delivery: Delivery) async {
        let result: Result<Void, any Error>
        do {
            try await self.engine.fetch(delivery.digest, size: delivery.size, in: delivery.repository, for: .demand)
            result = .success(())
        } catch {
            result = .failure(error)
        }
        self.state.withLock { state in
            if state.deliveries[delivery.digest] === delivery { state.deliveries[delivery.digest] = nil }
        }
        delivery.end(result)
    }

    /// Makes an image complete whose manifest a client has been given, so that the next one needs no parent.
    private func complete(_ order: ImageOrder) async {
        let place = Place(repository: order.repository, reference: .digest(order.digest))
        do {
            _ = try await self.engine.replicate(
                order.digest, tags: [], in: order.repository, for: .demand,
                known: [.init(repository: order.repository, digest: order.digest): order.manifest])
            try await self.noteTags(of: order.digest, in: order.repository)
        } catch {
            if !Task.isCancelled {
                let error = SyncError(error)
                self.logger.warning(
                    "image that was asked for is not complete",
                    metadata: [
                        "repository": .string(order.repository.description), "digest": .string(order.digest.description),
                        "code": .string(error.code.rawValue), "reason": .string(error.message),
                    ])
            }
        }
        self.state.withLock { $0.unshelve(place) }
    }

    /// Notes under which tags a manifest has been asked for, once it is here. Who asks for one more sees that it is.
    private func noteTags(of digest: Digest, in name: RepositoryName) async throws {
        for tag in self.state.withLock({ $0.takeTags(of: digest, in: name) }) {
            try await self.store.noteProvisional(tag, at: digest, in: name, of: self.registry)
        }
    }

    // MARK: Who may

    private enum Permission {
        case granted
        /// Nothing is fetched for clients in this repository.
        case notOffered
        case refused(String)
    }

    private func permission(_ name: RepositoryName) async throws -> Permission {
        let memory = await self.memory.memory
        guard memory.settings?.onDemand == true, memory.selection.contains(where: { $0.matches(name) }) else { return .notOffered }
        if let stopped = memory.stopped { return .refused(stopped) }
        let window = try SyncAgent.window(memory.settings)
        let now = Int(self.clock.seconds)
        guard window.isOpen(at: now) else {
            let opens = window.opens(after: now).map { " and opens at \(Timestamp.text(seconds: Int64($0)))" } ?? ""
            return .refused("the synchronisation window is closed\(opens)")
        }
        if let obstacle = self.state.withLock({ $0.obstacle }) { return .refused(obstacle) }
        return .granted
    }

    /// Asks, where it is allowed; what fails is a reason, not an error of the request.
    private func ask<Value: Sendable>(
        _ name: RepositoryName, _ body: () async throws -> MissingContentAnswer<Value>
    ) async throws -> MissingContentAnswer<Value> {
        switch try await self.permission(name) {
        case .notOffered: return .notOffered
        case .refused(let reason): return .unavailable(reason)
        case .granted: break
        }
        do {
            try await self.openGate()
            return try await body()
        } catch {
            try Task.checkCancellation()
            return .unavailable(SyncError(error).message)
        }
    }

    // MARK: Manifests

    package func manifest(_ reference: Reference, in name: RepositoryName) async throws -> MissingContentAnswer<StoredManifest> {
        try await self.answer(reference, in: name, here: { $0 }, asking: { try await self.fetch(reference, in: name) })
    }

    package func probe(_ reference: Reference, in name: RepositoryName) async throws -> MissingContentAnswer<AnnouncedManifest> {
        try await self.answer(
            reference, in: name,
            here: { AnnouncedManifest(digest: $0.digest, size: Int64($0.bytes.count), mediaType: $0.mediaType) },
            asking: {
                guard let found = try await self.probeParent(reference, in: name) else { return .absent }
                if try await self.store.holds(found.digest, in: name, of: self.registry) {
                    try await self.noteTags(of: found.digest, in: name)
                }
                return .found(AnnouncedManifest(digest: found.digest, size: found.size, mediaType: found.mediaType))
            })
    }

    /// Asks the parent; where that cannot be done, what a tag named when somebody last asked for it is the answer.
    private func answer<Value: Sendable>(
        _ reference: Reference, in name: RepositoryName, here: (StoredManifest) -> Value,
        asking body: () async throws -> MissingContentAnswer<Value>
    ) async throws -> MissingContentAnswer<Value> {
        if case .tag(let tag) = reference, ConflictTag.isReserved(tag.description) { return .notOffered }
        // What clients have deleted here is not there, whatever the parent has.
        guard try await !self.store.isUnsent(reference, in: name, of: self.registry) else { return .notOffered }
        let answer = try await self.ask(name, body)
        guard case .unavailable = answer, case .tag(let tag) = reference,
            let digest = try await self.store.provisional(tag, in: name, of: self.registry),
            let manifest = try await self.stored(digest, in: name)
        else { return answer }
        return .found(here(manifest))
    }

    private func probeParent(_ reference: Reference, in name: RepositoryName) async throws -> ManifestProbe? {
        let found = try await self.probes.run(Place(repository: name, reference: reference)) {
            try await self.client.probe(reference, in: name)
        }.value
        // Before it is looked whether the manifest is here: whoever completes it takes the tags after it is.
        if let found, case .tag(let tag) = reference {
            self.state.withLock { $0.see(TagSeen(repository: name, tag: tag, digest: found.digest)) }
        }
        return found
    }

    private func fetch(_ reference: Reference, in name: RepositoryName) async throws -> MissingContentAnswer<StoredManifest> {
        if let shelved = self.shelved(Place(repository: name, reference: reference)) { return .found(shelved) }
        guard let probe = try await self.probeParent(reference, in: name) else { return .absent }
        if let stored = try await self.stored(probe.digest, in: name) {
            try await self.noteTags(of: probe.digest, in: name)
            return .found(stored)
        }
        if let shelved = self.shelved(Place(repository: name, reference: .digest(probe.digest))) { return .found(shelved) }
        guard let fetched = try await self.engine.fetchManifest(probe.digest, size: probe.size, in: name, for: .demand) else {
            return .absent
        }
        let new = try TransferEngine.parse(fetched, probe.digest, in: name)
        let stored = StoredManifest(digest: probe.digest, mediaType: fetched.mediaType, bytes: fetched.bytes)
        if new.manifest.manifests.isEmpty {
            self.order(ImageOrder(repository: name, digest: probe.digest, manifest: fetched), stored, new.manifest)
        } else {
            // An index comes alone: the client asks for the image that it wants of it next.
            try await self.store.apply(
                ReplicaUpdate(repository: name, manifests: [new], tags: []), to: self.registry, origin: TransferEngine.origin)
            try await self.noteTags(of: probe.digest, in: name)
        }
        return .found(stored)
    }

    private func stored(_ digest: Digest, in name: RepositoryName) async throws -> StoredManifest? {
        do {
            return try await self.store.manifest(.digest(digest), in: name, of: self.registry)
        } catch let error as RegistryError where error.code == .manifestUnknown || error.code == .nameUnknown {
            return nil
        }
    }

    private func shelved(_ place: Place) -> StoredManifest? {
        self.state.withLock { $0.shelf.first { $0.place == place }?.manifest }
    }

    /// Has an image completed behind the client's back, and remembers what it needs.
    private func order(_ order: ImageOrder, _ stored: StoredManifest, _ manifest: Manifest) {
        let place = Place(repository: order.repository, reference: .digest(order.digest))
        let blobs = Dictionary(manifest.requiredBlobs.map { ($0.digest, $0.size) }) { first, _ in first }
        let orders = self.state.withLock { state -> Orders? in
            guard let orders = state.orders, state.images.insert(place).inserted else { return nil }
            if state.shelf.count == Self.shelfSize { state.shelf.removeFirst() }
            state.shelf.append(Shelved(place: place, manifest: stored, blobs: blobs))
            return orders
        }
        guard let orders else { return }
        if case .enqueued = orders.images.yield(order) { return }
        // So much is waiting that this one comes with the synchronisation, or when somebody asks again.
        self.state.withLock { $0.unshelve(place) }
    }

    // MARK: Blobs

    package func size(ofBlob digest: Digest, in name: RepositoryName) async throws -> MissingContentAnswer<Int64> {
        try await self.ask(name) {
            guard let size = try await self.length(of: digest, in: name) else { return .absent }
            return .found(size)
        }
    }

    package func blob(_ digest: Digest, in name: RepositoryName) async throws -> MissingContentAnswer<any BlobReader> {
        try await self.ask(name) {
            // The parent says whether the blob is part of this repository, before anything of it is given.
            guard let size = try await self.length(of: digest, in: name) else { return .absent }
            if let stored = try await self.store.content(digest) { return .found(try await self.store.open(stored)) }
            guard let delivery = self.delivery(of: digest, size: size, in: name) else {
                return .unavailable("more clients wait for content than can be served; try again in a while")
            }
            try await delivery.awaitBeginning()
            return .found(ArrivingBlob(delivery, store: self.store))
        }
    }

    private func length(of digest: Digest, in name: RepositoryName) async throws -> Int64? {
        let known = self.state.withLock { state in
            state.shelf.lazy.filter { $0.place.repository == name }.compactMap { $0.blobs[digest] }.first
        }
        if let known { return known }
        let place = Place(repository: name, reference: .digest(digest))
        return try await self.lengths.run(place) { try await self.client.size(ofBlob: digest, in: name) }.value
    }

    /// The order to bring a blob: that of somebody else, or a new one; `nil` when too many wait.
    private func delivery(of digest: Digest, size: Int64, in name: RepositoryName) -> Delivery? {
        let (delivery, orders) = self.state.withLock { state -> (Delivery?, Orders?) in
            if let known = state.deliveries[digest], known.size == size { return (known, nil) }
            guard let orders = state.orders else { return (nil, nil) }
            let new = Delivery(digest, size: size, in: name, self.engine.arrivals)
            state.deliveries[digest] = new
            return (new, orders)
        }
        guard let delivery, let orders else { return delivery }
        if case .enqueued = orders.blobs.yield(delivery) { return delivery }
        self.state.withLock { state in
            if state.deliveries[digest] === delivery { state.deliveries[digest] = nil }
        }
        delivery.end(.failure(SyncError(.parentUnreachable, "too many clients wait for content")))
        return nil
    }
}
