// Content from the parent: each blob once, from the byte where it stood, and an image only when all of it is here.

internal import NIOCore
package import OCI
package import Persistence
package import RegistryClient
package import RegistryCore
internal import Synchronization

/// Fetches what tags and digests reach.
package final class TransferEngine: Sendable {
    /// Blobs fetched at a time.
    private static let parallelBlobs = 4
    /// Bytes between two flushes of a blob under way.
    private static let flushInterval: Int64 = 8 << 20
    /// How deep indexes may nest.
    static let maximumDepth = 8

    /// For whom content is fetched.
    package enum Purpose: Sendable {
        case synchronisation
        /// Somebody waits for it: a parent that is a connected registry itself may fetch it, too.
        case demand
    }

    private let client: RegistryClient
    private let demandClient: RegistryClient
    let store: RegistryStore
    let registry: RegistryID
    let received = Atomic<Int64>(0)
    let gate: TransferGate
    /// Asks for many small things at once; `nil` where everything is asked for alone.
    let parcels: ParcelSource?
    /// What has not arrived of the blobs of the image under way.
    let missing = Mutex<[Digest: Int64]>([:])
    private let offsets: TransferOffsets
    /// One transfer for each blob and each manifest, however many ask.
    let transfers = SharedWork<Digest, Void>()
    let manifests = SharedWork<ManifestPlace, FetchedManifest?>()
    /// What is told to those who read blobs while they arrive.
    let arrivals = Arrivals()
    /// Blobs that broke off, until they have arrived.
    let stalls = Mutex<[Digest: Stall]>([:])

    /// A manifest of the parent, as it arrived.
    struct FetchedManifest: Sendable {
        let bytes: [UInt8]
        let mediaType: MediaType
    }

    struct ManifestPlace: Hashable, Sendable {
        let repository: RepositoryName
        let digest: Digest
    }

    /// - Parameters:
    ///   - demandClient: the way to the parent for what somebody waits for; `nil` for the same.
    ///   - parcels: asks the parent for many small things at once; `nil` for never.
    package init(
        client: RegistryClient, store: RegistryStore, registry: RegistryID, gate: TransferGate = TransferGate(),
        demandClient: RegistryClient? = nil, parcels: ParcelSource? = nil
    ) {
        self.parcels = parcels
        self.demandClient = demandClient ?? client
        self.gate = gate
        self.offsets = TransferOffsets(database: store.database)
        self.client = client
        self.store = store
        self.registry = registry
    }

    /// Bytes of content received since this was last asked.
    package func takeReceived() -> Int64 { self.received.exchange(0, ordering: .relaxed) }

    /// Bytes of the image under way that have not arrived.
    package var bytesLeft: Int64 { self.missing.withLock { $0.values.reduce(0, +) } }

    /// Makes `digest` complete in `name` and moves `tags` to it, in one transaction.
    ///
    /// - Returns: whether the parent still had it; superseded content that is gone is no error.
    @discardableResult
    package func replicate(
        _ digest: Digest, tags: [Tag], in name: RepositoryName, for purpose: Purpose = .synchronisation
    ) async throws -> Bool {
        try await self.replicate(digest, tags: tags, in: name, for: purpose, known: [:])
    }

    /// The same with manifests that have been fetched already.
    func replicate(
        _ digest: Digest, tags: [Tag], in name: RepositoryName, for purpose: Purpose, known: [ManifestPlace: FetchedManifest]
    ) async throws -> Bool {
        let entries = tags.map { RepositoryState.TagEntry(tag: $0, digest: digest) }
        // What became visible in one transaction stays complete, unless damage has been taken out of service since.
        if try await self.store.holdsWhole(digest, in: name, of: self.registry) {
            if tags.isEmpty { return true }
            let update = ReplicaUpdate(repository: name, manifests: [], tags: entries, whole: [digest])
            if try await self.applyUnlessCollected(update) { return true }
        }
        // An image that takes longer than a lease may lose a blob or a child to the collector before it is complete.
        var attempts = 2
        while true {
            attempts -= 1
            var image = Gathered()
            guard try await self.collect(digest, in: name, for: purpose, known: known, depth: 0, &image) else { return false }
            let optional = try await self.optionalBlobs(of: image.manifests, in: name, for: purpose)
            try await self.fetchBlobs(image.manifests.flatMap(\.manifest.requiredBlobs) + optional, in: name, for: purpose)
            let update = ReplicaUpdate(
                repository: name, manifests: image.manifests, tags: entries, whole: image.whole, optionalBlobs: optional.map(\.digest))
            if attempts > 0 {
                if try await self.applyUnlessCollected(update) { return true }
            } else {
                try await self.store.apply(update, to: self.registry, origin: Self.origin)
                return true
            }
        }
    }

    /// - Returns: false where something has been collected that was found here.
    private func applyUnlessCollected(_ update: ReplicaUpdate) async throws -> Bool {
        do {
            try await self.store.apply(update, to: self.registry, origin: Self.origin)
            return true
        } catch let error as RegistryError where error.code == .manifestBlobUnknown {
            return false
        }
    }

    /// What an image consists of.
    private struct Gathered {
        /// Children first.
        var manifests: [NewManifest] = []
        /// Children that are here with everything below them.
        var whole: [Digest] = []
        var seen: Set<Digest> = []
    }

    static let origin = ChangeOrigin.parent

    /// Gathers the manifests below `digest`, children first.
    private func collect(
        _ digest: Digest, size: Int64? = nil, in name: RepositoryName, for purpose: Purpose, known: [ManifestPlace: FetchedManifest],
        depth: Int, _ image: inout Gathered
    ) async throws -> Bool {
        guard image.seen.insert(digest).inserted else { return true }
        guard depth <= Self.maximumDepth else {
            throw SyncError(.content, "indexes in repository \(name) nest deeper than \(Self.maximumDepth) levels at \(digest)")
        }
        if depth > 0, try await self.store.holdsWhole(digest, in: name, of: self.registry) {
            image.whole.append(digest)
            return true
        }
        var fetched = known[ManifestPlace(repository: name, digest: digest)]
        if fetched == nil { fetched = try await self.fetchManifest(digest, size: size, in: name, for: purpose) }
        guard let fetched else { return false }
        let new = try Self.parse(fetched, digest, in: name)
        for child in new.manifest.manifests {
            // An index may list what its registry does not hold; the copy is then as sparse as the original.
            _ = try await self.collect(
                child.digest, size: child.size, in: name, for: purpose, known: known, depth: depth + 1, &image)
        }
        image.manifests.append(new)
        return true
    }

    /// - Throws: ``SyncError`` with code `content`.
    static func parse(_ fetched: FetchedManifest, _ digest: Digest, in name: RepositoryName) throws -> NewManifest {
        do {
            return try NewManifest(fetched.bytes, declared: fetched.mediaType, expected: digest)
        } catch {
            throw SyncError(.content, "manifest \(digest) of repository \(name) cannot be taken: \(error.message)")
        }
    }

    private func client(for purpose: Purpose) -> RegistryClient { purpose == .demand ? self.demandClient : self.client }

    /// A manifest of the parent, paid for; one that several want at once comes once.
    ///
    /// - Returns: `nil` when the parent does not have it.
    func fetchManifest(
        _ digest: Digest, size: Int64? = nil, in name: RepositoryName, for purpose: Purpose
    ) async throws -> FetchedManifest? {
        try await self.manifests.run(ManifestPlace(repository: name, digest: digest)) {
            try self.gate.passDown()
            let found = try await Self.asking(for: "manifest \(digest)", in: name) {
                try await self.manifest(digest, size: size, in: name, self.client(for: purpose))
            }
            self.received.add(Int64(found?.bytes.count ?? 0), ordering: .relaxed)
            return found.map { FetchedManifest(bytes: $0.bytes, mediaType: $0.mediaType) }
        }.value
    }

    private func manifest(
        _ digest: Digest, size: Int64?, in name: RepositoryName, _ client: RegistryClient
    ) async throws -> (bytes: [UInt8], mediaType: MediaType)? {
        guard let budget = self.gate.budget, budget.isLimited else { return try await client.manifest(digest, in: name) }
        // What an index says is not compared with anything: where it cannot be, the parent is asked.
        var known = size.flatMap { (1...Int64(Manifest.maximumSize)).contains($0) && budget.mayEverTake($0) ? $0 : nil }
        if known == nil { known = try await client.size(ofManifest: digest, in: name) }
        guard let known else {
            // The answer to a GET tells a registry that does not have it from something else that stands between.
            guard try await client.manifest(digest, in: name) != nil else { return nil }
            throw TransportError(.interrupted, "the parent says both that it has manifest \(digest) and that it has not")
        }
        let grant = try await budget.take(known, whole: true)
        // Where it fails, how much came of it is not known: all of it counts.
        let found = try await client.manifest(digest, in: name)
        try await budget.settle(grant, received: Int64(found?.bytes.count ?? 0))
        return found
    }

    /// What the manifests need not have and the parent has in this repository.
    private func optionalBlobs(of manifests: [NewManifest], in name: RepositoryName, for purpose: Purpose) async throws -> [Descriptor] {
        var seen: Set<Digest> = []
        var waiting = manifests.flatMap(\.manifest.optionalBlobs).filter { seen.insert($0.digest).inserted }.makeIterator()
        return try await withThrowingTaskGroup(of: Descriptor?.self) { group in
            func startNext() {
                guard let blob = waiting.next() else { return }
                group.addTask {
                    try self.gate.passDown()
                    let size = try await Self.asking(for: "the size of blob \(blob.digest)", in: name) {
                        try await self.client(for: purpose).size(ofBlob: blob.digest, in: name)
                    }
                    return size.map { Descriptor(mediaType: blob.mediaType, digest: blob.digest, size: $0) }
                }
            }
            for _ in 0..<Self.parallelBlobs { startNext() }
            var found: [Descriptor] = []
            while let next = try await group.next() {
                if let next { found.append(next) }
                startNext()
            }
            return found
        }
    }

    private func fetchBlobs(_ blobs: [Descriptor], in name: RepositoryName, for purpose: Purpose) async throws {
        var missing: [Descriptor] = []
        var seen: Set<Digest> = []
        for descriptor in blobs where seen.insert(descriptor.digest).inserted {
            if try await self.store.content(descriptor.digest) == nil { missing.append(descriptor) }
        }
        // Small before large: a cut link then leaves more of the image done.
        missing.sort { $0.size < $1.size }
        // What clients wait for is no part of the synchronisation under way.
        if purpose == .synchronisation {
            self.missing.withLock { $0 = Dictionary(missing.map { ($0.digest, $0.size) }) { first, _ in first } }
        }
        try await withThrowingTaskGroup(of: Void.self) { group in
            var waiting = missing.makeIterator()
            for _ in 0..<Self.parallelBlobs {
                guard let next = waiting.next() else { break }
                group.addTask { try await self.fetch(next.digest, size: next.size, in: name, for: purpose) }
            }
            while try await group.next() != nil {
                if let next = waiting.next() {
                    group.addTask { try await self.fetch(next.digest, size: next.size, in: name, for: purpose) }
                }
            }
        }
    }

    /// Brings one blob here; several that want it share one transfer.
    func fetch(_ digest: Digest, size: Int64, in name: RepositoryName, for purpose: Purpose) async throws {
        let blob = Wanted(digest: digest, size: size, repository: name, purpose: purpose)
        do {
            try await self.share(blob)
        } catch let failure as Failure {
            // Somebody else asked for it in another repository, or expected another size: what came of that says little about this.
            guard failure.of != blob else { throw failure.error }
            do {
                try await self.share(blob)
            } catch let failure as Failure {
                throw failure.error
            }
        }
        self.missing.withLock { $0[digest] = nil }
    }

    private struct Wanted: Sendable, Hashable {
        let digest: Digest
        let size: Int64
        let repository: RepositoryName
        let purpose: Purpose
    }

    /// Why a transfer failed, and whose it was.
    private struct Failure: Error {
        let error: any Error
        let of: Wanted
    }

    private func share(_ blob: Wanted) async throws {
        _ = try await self.transfers.run(blob.digest) {
            do {
                try await self.fetchVerified(blob)
            } catch let error where !(error is CancellationError) {
                throw Failure(error: error, of: blob)
            }
        }
    }

    /// Fetches one blob; content that arrives damaged is fetched once more from the start.
    private func fetchVerified(_ blob: Wanted) async throws {
        let arrival = self.arrivals.join(blob.digest)
        defer { self.arrivals.leave(blob.digest) }
        // Who was at it before may have brought it.
        guard try await self.store.content(blob.digest) == nil else { return }
        // Or may have been killed between storing it and writing that down.
        if try await self.store.takeOver(blob.digest, size: blob.size, of: self.registry) { return }
        do {
            try await self.fetchOnce(blob, arrival)
        } catch let error as PersistenceError where error.code == .digestMismatch || error.code == .sizeMismatch {
            try await self.fetchOnce(blob, arrival)
        }
    }

    private func fetchOnce(_ descriptor: Wanted, _ arrival: Arrival) async throws {
        let name = descriptor.repository
        let blobs = self.store.blobs
        let staging = StagingName.transfer(descriptor.digest)
        // What is smaller is fetched again sooner than its offset were written.
        let isLarge = descriptor.size > Self.flushInterval
        if isLarge, let trusted = try await self.offsets.trusted(descriptor.digest) { try await blobs.shorten(staging, to: trusted) }
        var staged: any StagedBlob
        if let earlier = try await blobs.resume(staging), earlier.size <= descriptor.size {
            staged = earlier
        } else {
            staged = try await blobs.stage(staging)
            arrival.restart()
        }
        self.note(staged, descriptor, arrival)
        while staged.size < descriptor.size {
            try self.gate.passDown()
            // Under a budget content comes in ranges that have been paid for, otherwise in one.
            let grant = try await self.gate.budget?.take(descriptor.size - staged.size)
            let meter = Meter(limit: grant?.bytes)
            do {
                let place = staged.size
                let answer = try await Self.asking(for: "blob \(descriptor.digest)", in: name) {
                    try await self.client(for: descriptor.purpose).blob(descriptor.digest, in: name, from: place, count: grant?.bytes)
                }
                guard let (body, offset) = answer else {
                    throw SyncError(.content, "the parent lists blob \(descriptor.digest) in repository \(name) but does not have it")
                }
                if offset == 0, staged.size > 0 {
                    // In ranges from the start again and again it would never be whole, and each of them would be paid for.
                    guard grant == nil else { throw Self.withoutRanges(descriptor.digest) }
                    staged = try await blobs.stage(staging)
                    arrival.restart()
                }
                // From here on the file's length counts, as long as this boot lasts.
                if isLarge { try await self.offsets.record(descriptor.digest, durable: try await self.flushed(staged)) }
                try await self.receive(body, of: descriptor, into: staged, meter, arrival)
            } catch {
                try? await self.gate.budget?.settle(grant, received: meter.bytes)
                throw self.failure(error, of: descriptor, at: staged.size)
            }
            try await self.gate.budget?.settle(grant, received: meter.bytes)
            // A body may end early and look whole (a proxy that answers a shorter range): what came is kept.
            guard staged.size == descriptor.size || meter.isFull else {
                let short = "blob \(descriptor.digest) ended after \(staged.size) of \(descriptor.size) bytes"
                throw self.failure(TransportError(.interrupted, short), of: descriptor, at: staged.size)
            }
        }
        let stored = try await blobs.commit(staged, as: descriptor.digest, size: descriptor.size)
        try await self.store.admitArrived(stored, of: self.registry)
        self.stalls.withLock { $0[descriptor.digest] = nil }
        if isLarge { try await self.offsets.forget(descriptor.digest) }
    }

    private func failure(_ error: any Error, of blob: Wanted, at offset: Int64) -> any Error {
        // Clients ask as often as they like, also while the link is down.
        guard blob.purpose == .synchronisation else { return error }
        return self.meaning(of: error, blob: blob.digest, size: blob.size, in: blob.repository, at: offset)
    }

    private func note(_ staged: any StagedBlob, _ descriptor: Wanted, _ arrival: Arrival) {
        self.missing.withLock { missing in
            guard missing[descriptor.digest] != nil else { return }
            missing[descriptor.digest] = max(0, descriptor.size - staged.size)
        }
        arrival.reach(staged.size)
    }

    private func flushed(_ staged: any StagedBlob) async throws -> Int64 {
        if staged.size > 0 { try await staged.synchronize() }
        return staged.size
    }

    /// Writes each network read at once: a process that is killed loses what its sockets held and nothing else.
    private func receive(
        _ body: ClientResponseBody, of descriptor: Wanted, into staged: any StagedBlob, _ meter: Meter, _ arrival: Arrival
    ) async throws {
        try await withThrowingTaskGroup(of: Void.self) { flushing in
            var flushed = staged.size
            for try await part in body {
                self.received.add(Int64(part.readableBytes), ordering: .relaxed)
                meter.add(part.readableBytes)
                guard staged.size + Int64(part.readableBytes) <= descriptor.size else {
                    throw PersistenceError(
                        .sizeMismatch, tried: "receive \(staged.name.text)",
                        cause: "the parent sends more than the \(descriptor.size) bytes it announced")
                }
                try await staged.append(part)
                self.note(staged, descriptor, arrival)
                // The reader waits, and the parent with it.
                try await self.gate.pace(part.readableBytes)
                if staged.size - flushed >= Self.flushInterval {
                    // The disk flushes one part while the next arrives.
                    try await flushing.next()
                    let size = staged.size
                    flushed = size
                    flushing.addTask {
                        try await staged.synchronize()
                        try await self.offsets.record(descriptor.digest, durable: size)
                    }
                }
                // What has arrived is kept: the next window goes on behind it.
                if staged.size < descriptor.size { try self.gate.pass() }
                // One that does not know ranges sends on: it is not listened to beyond what has been paid for.
                if meter.isFull { break }
            }
            try await flushing.next()
        }
    }

    /// Counts what one request brings.
    private final class Meter: Sendable {
        private let limit: Int64?
        private let count = Atomic<Int64>(0)

        init(limit: Int64?) { self.limit = limit }

        var bytes: Int64 { self.count.load(ordering: .relaxed) }
        /// Whether all that was paid for has come.
        var isFull: Bool { self.limit.map { self.bytes >= $0 } ?? false }

        func add(_ bytes: Int) { self.count.add(Int64(bytes), ordering: .relaxed) }
    }
}
