// Works out what images would cost, from names and sizes alone: the same walk that the transfer engine takes, with a parent that is asked
// what is below manifests instead of for them.

internal import GatewayProtocol
internal import OCI
internal import Persistence
internal import RegistryCore

/// Gathers images in the order in which they would be fetched.
actor PlanBuilder {
    private struct Wanted {
        let digest: Digest
        let tags: [Tag]
        let repository: RepositoryName
    }

    private struct Place: Hashable {
        let repository: RepositoryName
        let digest: Digest
    }

    private let store: RegistryStore
    private let registry: RegistryID
    private let gateway: GatewayClient
    private let offsets: TransferOffsets
    /// What has been added and not been looked at: asked for together.
    private var waiting: [Wanted] = []
    /// Manifests that would have come by then, and whether everything below them would be here.
    private var manifests: [Place: Bool] = [:]
    private var blobs: Set<Digest> = []
    private var images: [SyncPlan.Image] = []
    private var total: Int64 = 0
    private var count = 0

    init(store: RegistryStore, registry: RegistryID, gateway: GatewayClient) {
        self.store = store
        self.registry = registry
        self.gateway = gateway
        self.offsets = TransferOffsets(database: store.database)
    }

    func add(_ digest: Digest, tags: [Tag], in name: RepositoryName) async throws {
        self.waiting.append(Wanted(digest: digest, tags: tags, repository: name))
        if self.waiting.count >= 10 * ContentsRequest.maximumDigests { try await self.flush() }
    }

    /// Looks at what has been added so far.
    func flush() async throws {
        let wanted = self.waiting
        self.waiting = []
        var rest = wanted[...]
        while let first = rest.first {
            // As many of one repository as follow each other.
            let run = rest.prefix { $0.repository == first.repository }
            rest = rest.dropFirst(run.count)
            try await self.take(Array(run), in: first.repository)
        }
    }

    private func take(_ run: [Wanted], in name: RepositoryName) async throws {
        var missing: [Digest] = []
        for wanted in run where !missing.contains(wanted.digest) {
            if try await !self.store.holdsWhole(wanted.digest, in: name, of: self.registry) { missing.append(wanted.digest) }
        }
        var known: [Digest: ContentsResponse.Manifest] = [:]
        var rest = missing[...]
        while !rest.isEmpty {
            let some = Array(rest.prefix(ContentsRequest.maximumDigests))
            let answer = try await self.gateway.contents(ContentsRequest(repository: name, digests: some))
            guard answer.covered > 0 else { throw SyncError(.parentRefused, "the parent does not say what is below \(some[0])") }
            for manifest in answer.manifests { known[manifest.digest] = manifest }
            rest = rest.dropFirst(min(answer.covered, some.count))
        }
        let wanted = Set(missing)
        for one in run where wanted.contains(one.digest) {
            var walk = Walk()
            try await self.walk(one.digest, in: name, depth: 0, known, &walk)
            for blob in walk.blobs where !self.blobs.contains(blob.digest) {
                guard try await self.store.content(blob.digest) == nil else { continue }
                self.blobs.insert(blob.digest)
                walk.add(max(0, blob.size - (try await self.staged(blob))))
            }
            self.note(one, bytes: walk.bytes)
        }
    }

    private struct Walk {
        var bytes: Int64 = 0
        var seen: Set<Digest> = []
        var blobs: [ContentsResponse.Blob] = []

        mutating func add(_ bytes: Int64) { self.bytes = (self.bytes + bytes).within(MessageBounds.counts) }
    }

    /// - Returns: whether everything below the manifest would be here.
    @discardableResult
    private func walk(
        _ digest: Digest, in name: RepositoryName, depth: Int, _ known: [Digest: ContentsResponse.Manifest], _ walk: inout Walk
    ) async throws -> Bool {
        let place = Place(repository: name, digest: digest)
        guard walk.seen.insert(digest).inserted else { return self.manifests[place] ?? true }
        if self.manifests[place] == true { return true }
        if depth > 0, try await self.store.holdsWhole(digest, in: name, of: self.registry) { return true }
        guard depth <= 8, let manifest = known[digest] else { return false }
        walk.add(manifest.size)
        var isWhole = true
        for child in manifest.manifests {
            if try await !self.walk(child, in: name, depth: depth + 1, known, &walk) { isWhole = false }
        }
        walk.blobs += manifest.blobs
        self.manifests[place] = isWhole
        return isWhole
    }

    /// Bytes of a blob that have arrived and will be believed.
    private func staged(_ blob: ContentsResponse.Blob) async throws -> Int64 {
        guard let staged = try await self.store.blobs.resume(.transfer(blob.digest)), staged.size <= blob.size else { return 0 }
        return min(staged.size, try await self.offsets.trusted(blob.digest) ?? staged.size)
    }

    private func note(_ wanted: Wanted, bytes: Int64) {
        guard bytes > 0 else {
            // Another tag of an image that is in the plan.
            if let index = self.images.lastIndex(where: { $0.digest == wanted.digest && $0.repository == wanted.repository }) {
                self.images[index].tags += wanted.tags.filter { !self.images[index].tags.contains($0) }
            }
            return
        }
        self.total = (self.total + bytes).within(MessageBounds.counts)
        self.count += 1
        guard self.images.count < SyncPlan.maximumImages else { return }
        self.images.append(.init(repository: wanted.repository, digest: wanted.digest, tags: wanted.tags, bytes: bytes))
    }

    func plan(order: Int64, at time: Int64) async throws -> SyncPlan {
        try await self.flush()
        return SyncPlan(order: order, computed: time, bytes: self.total, imageCount: self.count, images: self.images)
    }
}
