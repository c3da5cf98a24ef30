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
    /// Makes an image complete and moves tags to it; what is damaged at the parent is not its failure.
    let replicate: @Sendable (Digest, [Tag], RepositoryName) async throws -> Void

    /// - Returns: where to follow the log from.
    func run() async throws -> GatewayCursor {
        // What was taken out of service here is missing although every name stands.
        for (name, digest) in try await self.store.incompleteManifests(in: self.registry) { try await self.replicate(digest, [], name) }
        let kept = self.kept
        let local = try await self.store.stateSummary(of: self.registry) { name in kept?.contains { $0.matches(name) } ?? true }
        let summary = try await self.gateway.state(root: local.root)
        if summary.unchanged == true { return summary.cursor }
        let ours = Dictionary(uniqueKeysWithValues: local.repositories.map { ($0.name, $0) })
        let order = summary.repositories.enumerated().map { (rank: self.rank($0.element), number: $0.offset, name: $0.element) }
        for (_, number, name) in order.sorted(by: { ($0.rank, $0.number) < ($1.rank, $1.number) }) {
            guard let hashes = summary.hashes, number < hashes.count else {
                try await self.list(name)
                continue
            }
            let (theirs, here) = (hashes[number], ours[name])
            if theirs.hash == here?.hash { continue }
            if theirs.entries > Self.listedEntries, (here?.entries ?? 0) > Self.listedEntries, try await self.buckets(of: name) { continue }
            try await self.list(name)
        }
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
            for entry in theirs {
                if let tag = entry.tag { wanted[tag] = entry.digest } else { referrers.insert(entry.digest) }
                let same = absent[entry.tag?.description ?? entry.digest.description]
                guard same?.digest != entry.digest || same?.absent != entry.absent ?? [] else { continue }
                try await self.replicate(entry.digest, entry.tag.map { [$0] } ?? [], name)
            }
            try await self.retract(
                tags: here.filter { $0.kind == .tag }.compactMap { try? Tag($0.name) }.filter { wanted[$0] == nil },
                manifests: here.filter { $0.kind == .referrer && !referrers.contains($0.digest) }.map(\.digest)
                    + theirs.flatMap { $0.absent ?? [] }, from: name)
            try await self.apply(answer.locks ?? [], here: locked, in: name)
        }
        return true
    }

    /// Compares by listing the repository.
    private func list(_ name: RepositoryName) async throws {
        var wanted: [Tag: Digest] = [:]
        var referrers: Set<Digest> = []
        var absent: Set<Digest> = []
        var locks: [LockEntry] = []
        var next: Tag?
        repeat {
            let page = try await self.gateway.state(of: name, after: next)
            for entry in page.tags { wanted[entry.tag] = entry.digest }
            referrers.formUnion(page.referrers)
            absent.formUnion(page.absent ?? [])
            locks += page.locks ?? []
            next = page.next
        } while next != nil
        // Several tags of one image move together.
        let byDigest = Dictionary(grouping: wanted.keys) { wanted[$0] }
        for (digest, tags) in byDigest.sorted(by: { ($0.value.map(\.description).min() ?? "") < ($1.value.map(\.description).min() ?? "") })
        {
            if let digest { try await self.replicate(digest, tags.sorted { $0.description < $1.description }, name) }
        }
        for digest in referrers.sorted() { try await self.replicate(digest, [], name) }
        let here = try await self.localState(of: name)
        try await self.retract(
            tags: here.tags.map(\.tag).filter { wanted[$0] == nil },
            manifests: here.referrers.filter { !referrers.contains($0) } + absent.sorted(), from: name)
        try await self.apply(locks, here: try await self.store.locks(of: name, in: self.registry), in: name)
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
