// Brings the child's content to the parent's by comparing hashes, for when the log cannot be followed: one request when
// nothing differs, and otherwise as much as differs.

internal import GatewayProtocol
internal import OCI
internal import Persistence
internal import RegistryCore

/// One comparison of whole state.
struct StateComparison: Sendable {
    /// Repositories of up to this many entries are listed: that is shorter than the hashes of their buckets.
    static let listedEntries = 256
    /// So many differing buckets are listed with the whole repository.
    private static let bucketsWorthAsking = 256

    let store: RegistryStore
    let registry: RegistryID
    let gateway: GatewayClient
    /// On a ReadWrite connected registry what is selected: everything else here stays as it is. `nil` where only what the parent has may stay.
    let kept: [RepositoryPattern]?
    /// What repositories come first; a lower number sooner.
    var rank: @Sendable (RepositoryName) -> Int = { _ in 0 }
    /// Whether it is only to be known what would be fetched: then nothing here is changed.
    var isRehearsal = false
    /// Makes images complete and moves tags to them; what is damaged at the parent is not its failure.
    let replicate: @Sendable ([WantedImage]) async throws -> Void

    /// - Returns: where to follow the log from.
    func run() async throws -> GatewayCursor {
        // What was taken out of service here is missing although every name stands.
        for (name, digest) in try await self.store.incompleteManifests(in: self.registry) {
            try await self.replicate([WantedImage(repository: name, digest: digest, tags: [])])
        }
        let kept = self.kept
        let local = try await self.store.stateSummary(of: self.registry) { name in kept?.contains { $0.matches(name) } ?? true }
        let summary = try await self.gateway.state(root: local.root)
        if summary.unchanged == true { return summary.cursor }
        let ours = Dictionary(uniqueKeysWithValues: local.repositories.map { ($0.name, $0) })
        let order = summary.repositories.enumerated().map { (rank: self.rank($0.element), number: $0.offset, name: $0.element) }
        // Small repositories that follow each other.
        var run: [RepositoryName] = []
        for (_, number, name) in order.sorted(by: { ($0.rank, $0.number) < ($1.rank, $1.number) }) {
            guard let hashes = summary.hashes, number < hashes.count else {
                try await self.list([name])
                continue
            }
            let (theirs, here) = (hashes[number], ours[name])
            if theirs.hash == here?.hash { continue }
            if theirs.entries <= Self.listedEntries {
                run.append(name)
                if run.count == StatePagesRequest.maximumRepositories { try await self.list(&run) }
                continue
            }
            try await self.list(&run)
            if (here?.entries ?? 0) > Self.listedEntries, try await self.buckets(of: name) { continue }
            try await self.list([name])
        }
        try await self.list(&run)
        guard !self.isRehearsal else { return summary.cursor }
        let selected = Set(summary.repositories)
        for repository in local.repositories where !selected.contains(repository.name) {
            guard kept == nil else {
                // What clients have pushed and the parent has not judged stays.
                let here = try await self.localState(of: repository.name)
                try await self.retract(tags: here.tags.map(\.tag), manifests: here.referrers, from: repository.name)
                continue
            }
            try await self.store.clear(repository.name, in: self.registry, origin: TransferEngine.origin)
        }
        return summary.cursor
    }

    /// Compares by buckets.
    ///
    /// - Returns: whether it could; a repository that differs nearly everywhere is better listed.
    private func buckets(of name: RepositoryName) async throws -> Bool {
        let ours = try await self.store.bucketHashes(of: name, in: self.registry)
        guard let differing = try await self.gateway.bucketHashes(of: name).differing(from: ours),
            differing.count <= Self.bucketsWorthAsking
        else { return false }
        for start in stride(from: 0, to: differing.count, by: BucketEntries.maximumBuckets) {
            let some = Array(differing[start..<min(start + BucketEntries.maximumBuckets, differing.count)])
            let answer = try await self.gateway.entries(of: name, in: some)
            let theirs = answer.entries
            let locked = try await self.store.locks(of: name, in: self.registry, buckets: some)
            let here = try await self.store.stateEntries(of: name, in: self.registry, buckets: some)
            let absent = Dictionary(here.map { ($0.name, $0) }) { first, _ in first }
            var wanted: [Tag: Digest] = [:]
            var referrers: Set<Digest> = []
            var images: [WantedImage] = []
            for entry in theirs {
                if let tag = entry.tag { wanted[tag] = entry.digest } else { referrers.insert(entry.digest) }
                let same = absent[entry.tag?.description ?? entry.digest.description]
                guard same?.digest != entry.digest || same?.absent != entry.absent ?? [] else { continue }
                images.append(WantedImage(repository: name, digest: entry.digest, tags: entry.tag.map { [$0] } ?? []))
            }
            try await self.replicateAll(images)
            try await self.retract(
                tags: here.filter { $0.kind == .tag }.compactMap { try? Tag($0.name) }.filter { wanted[$0] == nil },
                manifests: here.filter { $0.kind == .referrer && !referrers.contains($0.digest) }.map(\.digest)
                    + theirs.flatMap { $0.absent ?? [] }, from: name)
            try await self.apply(answer.locks ?? [], here: locked, in: name)
        }
        return true
    }

    private func list(_ run: inout [RepositoryName]) async throws {
        let names = run
        run = []
        try await self.list(names)
    }

    /// What the parent holds of a repository.
    private struct Listing {
        let name: RepositoryName
        var wanted: [Tag: Digest] = [:]
        var referrers: Set<Digest> = []
        var absent: Set<Digest> = []
        var locks: [LockEntry] = []

        init(_ name: RepositoryName) { self.name = name }

        mutating func add(_ page: RepositoryStatePage) {
            for entry in page.tags { self.wanted[entry.tag] = entry.digest }
            self.referrers.formUnion(page.referrers)
            self.absent.formUnion(page.absent ?? [])
            self.locks += page.locks ?? []
        }

        /// Several tags of one image move together.
        var images: [WantedImage] {
            let byDigest = Dictionary(grouping: self.wanted.keys) { self.wanted[$0] }
            let tagged = byDigest.map { (digest: $0.key, tags: $0.value.sorted { $0.description < $1.description }) }
            return tagged.sorted { ($0.tags.first?.description ?? "") < ($1.tags.first?.description ?? "") }.compactMap { digest, tags in
                digest.map { WantedImage(repository: self.name, digest: $0, tags: tags) }
            } + self.referrers.sorted().map { WantedImage(repository: self.name, digest: $0, tags: []) }
        }
    }

    /// Compares by listing repositories.
    private func list(_ names: [RepositoryName]) async throws {
        var rest = names[...]
        while let first = rest.first {
            // As many as the parent gives at once; one that is asked for alone goes to its end.
            var pages = rest.count > 1 ? try await self.gateway.states(of: Array(rest)) : nil
            if pages == nil { pages = [try await self.gateway.state(of: first, after: nil)] }
            var listings: [Listing] = []
            for (name, page) in zip(rest, pages ?? []) {
                var listing = Listing(name)
                listing.add(page)
                var next = page.next
                while let last = next {
                    let more = try await self.gateway.state(of: name, after: last)
                    listing.add(more)
                    next = more.next
                }
                listings.append(listing)
            }
            guard !listings.isEmpty else { throw SyncError(.parentRefused, "the parent does not say what repository \(first) holds") }
            rest = rest.dropFirst(listings.count)
            try await self.replicateAll(listings.flatMap(\.images))
            for listing in listings { try await self.settle(listing) }
        }
    }

    /// Some at a time.
    private func replicateAll(_ images: [WantedImage]) async throws {
        for start in stride(from: 0, to: images.count, by: TransferEngine.bundleSize) {
            try await self.replicate(Array(images[start..<min(start + TransferEngine.bundleSize, images.count)]))
        }
    }

    /// Takes away what the parent does not have, and locks what it has locked.
    private func settle(_ listing: Listing) async throws {
        let here = try await self.localState(of: listing.name)
        try await self.retract(
            tags: here.tags.map(\.tag).filter { listing.wanted[$0] == nil },
            manifests: here.referrers.filter { !listing.referrers.contains($0) } + listing.absent.sorted(), from: listing.name)
        try await self.apply(
            listing.locks, here: try await self.store.locks(of: listing.name, in: self.registry), in: listing.name)
    }

    /// Locks what the parent has locked, and unlocks the rest.
    private func apply(_ theirs: [LockEntry], here: [CarriedLock], in name: RepositoryName) async throws {
        guard !self.isRehearsal else { return }
        let wanted = theirs.map { $0.carried(in: name) }
        let targets = Set(wanted.map(\.target))
        let open = here.filter { !targets.contains($0.target) }.map { CarriedLock(target: $0.target, locks: []) }
        try await self.store.apply(wanted + open, to: self.registry, origin: TransferEngine.origin)
    }

    private func retract(tags: [Tag], manifests: [Digest], from name: RepositoryName) async throws {
        guard !tags.isEmpty || !manifests.isEmpty, !self.isRehearsal else { return }
        try await self.store.retract(tags: tags, manifests: manifests, from: name, of: self.registry, origin: TransferEngine.origin)
    }

    private func localState(of name: RepositoryName) async throws -> RepositoryState {
        var tags: [RepositoryState.TagEntry] = []
        var referrers: [Digest] = []
        while true {
            let page = try await self.store.state(of: name, in: self.registry, after: tags.last?.tag, limit: 1000).state
            tags += page.tags
            referrers += page.referrers
            guard page.tags.count == 1000 else { return RepositoryState(tags: tags, referrers: referrers) }
        }
    }
}

extension LockEntry {
    func carried(in name: RepositoryName) -> CarriedLock {
        let target: LockTarget =
            if let tag = self.tag {
                .tag(name, tag)
            } else if let digest = self.digest {
                .manifest(name, digest)
            } else {
                .repository(name)
            }
        return CarriedLock(target: target, locks: ImageLocks(rawValue: self.locks))
    }
}
