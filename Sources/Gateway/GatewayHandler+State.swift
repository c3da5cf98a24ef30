// `GET state`: what a registry holds, for a child that compares and does not follow the log.

internal import GatewayProtocol
internal import HTTPServing
internal import OCI
internal import RegistryCore

extension GatewayHandler {
    @inline(never)
    func state(_ request: ServerRequest, _ call: Call) async throws -> ServerResponse {
        let summary = try await self.registries.stateSummary(of: call.registry.id, isSelected: call.isSelected)
        let cursor = GatewayCursor(log: summary.head.log, sequence: summary.head.sequence)
        guard request.query("root") != summary.root else {
            return try .json(.ok, StateSummary(repositories: [], cursor: cursor, root: summary.root, unchanged: true))
        }
        return try .json(
            .ok,
            StateSummary(
                repositories: summary.repositories.map(\.name), cursor: cursor, root: summary.root,
                hashes: summary.repositories.map { .init(hash: $0.hash, entries: $0.entries) }))
    }

    /// The buckets of a repository that a child asks for: the hashes of all, or the entries of some.
    private func buckets(_ wanted: String, of name: RepositoryName, _ call: Call) async throws -> ServerResponse {
        if wanted == "all" {
            return try .json(.ok, RepositoryBuckets(hashes: try await self.registries.bucketHashes(of: name, in: call.registry.id)))
        }
        let numbers = wanted.split(separator: ",", omittingEmptySubsequences: false).map { Int($0) ?? -1 }
        guard numbers.count <= BucketEntries.maximumBuckets, numbers.allSatisfy((0..<RegistryStore.stateBuckets).contains) else {
            throw Refusal(
                .invalid, 400,
                "buckets takes 'all', or at most \(BucketEntries.maximumBuckets) numbers from 0 to \(RegistryStore.stateBuckets - 1) with commas"
            )
        }
        let entries = try await self.registries.stateEntries(of: name, in: call.registry.id, buckets: Set(numbers).sorted())
        let locks = try await self.registries.locks(of: name, in: call.registry.id, buckets: Set(numbers).sorted())
        return try .json(
            .ok,
            BucketEntries(
                entries: try entries.map {
                    .init(tag: $0.kind == .tag ? try Tag($0.name) : nil, digest: $0.digest, absent: $0.absent.isEmpty ? nil : $0.absent)
                }, locks: locks.isEmpty ? nil : locks.map(LockEntry.init)))
    }

    @inline(never)
    func state(of text: String, _ request: ServerRequest, _ call: Call) async throws -> ServerResponse {
        let name: RepositoryName
        let last: Tag?
        do {
            name = try RepositoryName(text)
            last = try request.query("last").map { try Tag($0) }
        } catch {
            throw Refusal(.invalid, 400, "\(error)")
        }
        guard call.map.permits(.contentRead, on: name) else {
            throw Refusal(.denied, 403, "repository \(name) is not selected for connected registry '\(call.connectedRegistry.name)'")
        }
        if let wanted = request.query("buckets") { return try await self.buckets(wanted, of: name, call) }
        let limit = max(1, min(request.query("limit").flatMap(Int.init) ?? GatewayLimits.maximumPage, GatewayLimits.maximumPage))
        return try .json(.ok, try await self.statePage(of: name, after: last, limit: limit, call))
    }

    /// Tags of a repository, and with the first page everything else of it.
    func statePage(of name: RepositoryName, after last: Tag?, limit: Int, _ call: Call) async throws -> RepositoryStatePage {
        let (state, _) = try await self.registries.state(of: name, in: call.registry.id, after: last, limit: limit)
        let absent = last == nil ? try await self.registries.absentManifests(of: name, in: call.registry.id) : []
        let locks = last == nil ? try await self.registries.locks(of: name, in: call.registry.id) : []
        return RepositoryStatePage(
            tags: state.tags.map { .init(tag: $0.tag, digest: $0.digest) }, referrers: state.referrers,
            next: state.tags.count == limit ? state.tags.last?.tag : nil, absent: absent.isEmpty ? nil : absent,
            locks: locks.isEmpty ? nil : locks.map(LockEntry.init))
    }
}

extension LockEntry {
    fileprivate init(_ lock: CarriedLock) {
        switch lock.target {
        case .repository: self.init(tag: nil, digest: nil, locks: lock.locks.rawValue)
        case .tag(_, let tag): self.init(tag: tag, digest: nil, locks: lock.locks.rawValue)
        case .manifest(_, let digest): self.init(tag: nil, digest: digest, locks: lock.locks.rawValue)
        }
    }
}
