// Several images at once: what is small of them comes with few requests and is kept with few commits. What does not come that way, for whatever
// reason, comes as if this file did not exist. See decision 0075.

package import GatewayProtocol
internal import NIOCore
internal import OCI
internal import Persistence
package import RegistryClient
internal import RegistryCore
internal import Synchronization

/// An image that is to be complete here, and the tags to move to it then.
struct WantedImage: Sendable, Hashable {
    let repository: RepositoryName
    let digest: Digest
    let tags: [Tag]
}

extension WantedImage {
    /// The images that rows of the log name: one that is told of several times is one, with all its tags.
    static func of(_ changes: some Sequence<ChangesPage.Change>) -> [WantedImage] {
        var images: [WantedImage] = []
        var places: [TransferEngine.ManifestPlace: Int] = [:]
        for change in changes {
            guard let digest = change.digest else { continue }
            let tags = change.tag.map { [$0] } ?? []
            let place = TransferEngine.ManifestPlace(repository: change.repository, digest: digest)
            if let known = places[place] {
                images[known] = WantedImage(repository: change.repository, digest: digest, tags: images[known].tags + tags)
            } else {
                places[place] = images.count
                images.append(WantedImage(repository: change.repository, digest: digest, tags: tags))
            }
        }
        return images
    }
}

extension TransferEngine {
    /// Images that are looked at together.
    static let bundleSize = 100
    /// Manifests that are kept in memory for them, in bytes.
    private static let manifestMemory = 4 << 20
    /// Parcels of blobs at a time.
    private static let parallelParcels = 2
    /// Bytes of blobs in one commit: as much as a process that is killed has fetched in vain, of each parcel.
    private static let commitSize = 128 << 10

    /// Asks the parent for many small things; `nil` where it does not know how.
    package typealias ParcelSource = @Sendable (ParcelRequest) async throws -> ClientResponseBody?

    /// What is left of a bundle: images to be completed one by one, and manifests of theirs that are here already.
    struct Leftover: Sendable {
        var images: [WantedImage]
        var manifests: [ManifestPlace: FetchedManifest] = [:]
    }

    /// Makes visible, in one commit, those images that are whole once everything small has been fetched.
    ///
    /// - Returns: the others.
    func bundle(_ images: [WantedImage]) async throws -> Leftover {
        // A budget is for the images that come first, the large parts of them included.
        guard self.parcels != nil, images.count > 1, self.gate.budget?.isLimited != true else { return Leftover(images: images) }
        var survey = Survey()
        guard try await self.fetchManifests(of: images, &survey) else { return Leftover(images: images, manifests: survey.fetched) }
        try await self.fetchSmallBlobs(survey.blobs)
        let here = try await self.store.contents(Array(survey.required))
        var (updates, ready, left): ([ReplicaUpdate], [WantedImage], [WantedImage]) = ([], [], [])
        for image in images {
            let entries = image.tags.map { RepositoryState.TagEntry(tag: $0, digest: image.digest) }
            let place = ManifestPlace(repository: image.repository, digest: image.digest)
            guard let (manifests, whole) = survey.manifests(below: place, here: here) else {
                left.append(image)
                continue
            }
            ready.append(image)
            if manifests.isEmpty, entries.isEmpty { continue }
            updates.append(ReplicaUpdate(repository: image.repository, manifests: manifests, tags: entries, whole: whole))
        }
        do {
            try await self.store.apply(updates, to: self.registry, origin: Self.origin)
        } catch let error as RegistryError where error.code == .manifestBlobUnknown {
            // Collected in this moment: fetched again for the image that it is part of.
            left = ready + left
        }
        return Leftover(images: left, manifests: survey.fetched)
    }

    /// What is known of a bundle.
    private struct Survey {
        /// Manifests that are here with everything below them.
        var whole: Set<ManifestPlace> = []
        var fetched: [ManifestPlace: FetchedManifest] = [:]
        var parsed: [ManifestPlace: NewManifest] = [:]
        /// Small blobs, each once.
        var blobs: [SmallBlob] = []
        var required: Set<Digest> = []

        /// Manifests to be stored for an image, children first, and those below it that are here; `nil` where something of it is not.
        func manifests(below place: ManifestPlace, here: Set<Digest>) -> ([NewManifest], whole: [Digest])? {
            var (manifests, seen): ([NewManifest], Set<Digest>) = ([], [])
            guard self.gather(place, here, 0, &manifests, &seen) else { return nil }
            let whole = seen.filter { self.whole.contains(ManifestPlace(repository: place.repository, digest: $0)) }
            return (manifests, Array(whole))
        }

        private func gather(
            _ place: ManifestPlace, _ here: Set<Digest>, _ depth: Int, _ manifests: inout [NewManifest], _ seen: inout Set<Digest>
        ) -> Bool {
            guard seen.insert(place.digest).inserted, !self.whole.contains(place) else { return true }
            // Whether the parent has what may lie elsewhere is asked when the image is looked at alone.
            guard depth <= TransferEngine.maximumDepth, let new = self.parsed[place], new.manifest.optionalBlobs.isEmpty,
                new.manifest.requiredBlobs.allSatisfy({ here.contains($0.digest) })
            else { return false }
            for child in new.manifest.manifests {
                let below = ManifestPlace(repository: place.repository, digest: child.digest)
                guard self.gather(below, here, depth + 1, &manifests, &seen) else { return false }
            }
            manifests.append(new)
            return true
        }
    }

    private struct SmallBlob {
        let repository: RepositoryName
        let digest: Digest
        let size: Int64
    }

    // MARK: Manifests

    /// Fetches manifests level by level, as far as they are small.
    ///
    /// - Returns: whether the parent knows how.
    private func fetchManifests(of images: [WantedImage], _ survey: inout Survey) async throws -> Bool {
        var next = images.map { ManifestPlace(repository: $0.repository, digest: $0.digest) }
        var seen: Set<ManifestPlace> = []
        for _ in 0...Self.maximumDepth where !next.isEmpty {
            var wanted: [ManifestPlace] = []
            for place in next where seen.insert(place).inserted {
                if try await self.store.holdsWhole(place.digest, in: place.repository, of: self.registry) {
                    survey.whole.insert(place)
                } else {
                    wanted.append(place)
                }
            }
            next = []
            guard try await self.fetch(wanted, into: &survey.fetched) else { return false }
            for place in wanted {
                // What cannot be parsed is told when its image is looked at alone.
                guard let fetched = survey.fetched[place], let new = try? Self.parse(fetched, place.digest, in: place.repository) else {
                    continue
                }
                survey.parsed[place] = new
                for blob in new.manifest.requiredBlobs where survey.required.insert(blob.digest).inserted {
                    guard blob.size <= Int64(ParcelRequest.largestBlob) else { continue }
                    survey.blobs.append(SmallBlob(repository: place.repository, digest: blob.digest, size: blob.size))
                }
                for child in new.manifest.manifests where child.size <= Int64(ParcelRequest.largestManifest) {
                    next.append(ManifestPlace(repository: place.repository, digest: child.digest))
                }
            }
        }
        return true
    }

    private func fetch(_ wanted: [ManifestPlace], into fetched: inout [ManifestPlace: FetchedManifest]) async throws -> Bool {
        // What somebody else is fetching comes with its image.
        let leads = Leads(self.manifests, wanted)
        defer { leads.giveUp() }
        var rest = wanted.filter { leads.has($0) }[...]
        var memory = fetched.values.reduce(0) { $0 + $1.bytes.count }
        while !rest.isEmpty, memory < Self.manifestMemory {
            let some = Array(rest.prefix(ParcelRequest.maximumItems))
            let items = some.map { ParcelRequest.Item(repository: $0.repository, digest: $0.digest, isManifest: true) }
            var arrived: [ManifestPlace: FetchedManifest] = [:]
            let considered = try await self.receive(items) { number, item in
                guard let type = item.mediaType.flatMap({ try? MediaType($0) }),
                    Digest.of(item.bytes, algorithm: items[number].digest.algorithm) == items[number].digest
                else { return }
                let manifest = FetchedManifest(bytes: item.bytes, mediaType: type)
                arrived[some[number]] = manifest
                memory += item.size
                leads.end(some[number], manifest)
            }
            fetched.merge(arrived) { $1 }
            guard let considered else { return false }
            guard considered > 0 else { break }
            rest = rest.dropFirst(considered)
        }
        return true
    }

    // MARK: Blobs

    private func fetchSmallBlobs(_ blobs: [SmallBlob]) async throws {
        guard !blobs.isEmpty else { return }
        let leads = Leads(self.transfers, blobs.map(\.digest))
        defer { leads.giveUp() }
        // Looked at only when nobody else can be at it: who was may have brought it.
        let here = try await self.store.contents(blobs.map(\.digest))
        let begun = Set(try await self.store.blobs.staged(in: .transfers).map(\.name))
        var missing: [SmallBlob] = []
        for blob in blobs where leads.has(blob.digest) && !here.contains(blob.digest) {
            // What has arrived of it already is not fetched again.
            guard !begun.contains(.transfer(blob.digest)) else { continue }
            if try await self.store.takeOver(blob.digest, size: blob.size, of: self.registry) { continue }
            missing.append(blob)
        }
        self.missing.withLock { left in left = Dictionary(missing.map { ($0.digest, $0.size) }) { first, _ in first } }
        var parcels = Self.parcels(missing).makeIterator()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<Self.parallelParcels {
                guard let next = parcels.next() else { break }
                group.addTask { try await self.fetch(next, leads) }
            }
            while try await group.next() != nil {
                if let next = parcels.next() { group.addTask { try await self.fetch(next, leads) } }
            }
        }
    }

    /// Divides blobs into what fits one answer each.
    private static func parcels(_ blobs: [SmallBlob]) -> [[SmallBlob]] {
        var parcels: [[SmallBlob]] = []
        var size = 0
        for blob in blobs {
            if parcels.isEmpty || size + Int(blob.size) > ParcelRequest.maximumBytes
                || parcels[parcels.count - 1].count == ParcelRequest.maximumItems
            {
                parcels.append([])
                size = 0
            }
            parcels[parcels.count - 1].append(blob)
            size += Int(blob.size)
        }
        return parcels
    }

    private func fetch(_ blobs: [SmallBlob], _ leads: Leads<Digest, Void>) async throws {
        let items = blobs.map { ParcelRequest.Item(repository: $0.repository, digest: $0.digest, isManifest: false) }
        let batch = Batch()
        do {
            _ = try await self.receive(items) { number, item in
                // Content that arrives damaged comes once more, alone.
                guard item.size == Int(blobs[number].size), let content = VerifiedContent(item.bytes, digest: blobs[number].digest) else {
                    return
                }
                if batch.add(content) >= Self.commitSize { try await self.commit(batch, leads) }
            }
            try await self.commit(batch, leads)
        } catch {
            // What has arrived is kept, however this ended.
            try? await self.commit(batch, leads)
            throw error
        }
    }

    /// Blobs that have arrived and are not written down.
    private final class Batch: Sendable {
        private let contents = Mutex<[VerifiedContent]>([])

        /// - Returns: bytes of all of them.
        func add(_ content: VerifiedContent) -> Int {
            self.contents.withLock { contents in
                contents.append(content)
                return contents.reduce(0) { $0 + $1.bytes.count }
            }
        }

        func take() -> [VerifiedContent] {
            self.contents.withLock { contents in
                defer { contents = [] }
                return contents
            }
        }
    }

    private func commit(_ batch: Batch, _ leads: Leads<Digest, Void>) async throws {
        let contents = batch.take()
        try await self.store.admitArrived(small: contents)
        for content in contents {
            self.missing.withLock { $0[content.digest] = nil }
            leads.end(content.digest, ())
        }
    }

    // MARK: Receiving

    /// Asks for things and hands over each as soon as it is here.
    ///
    /// - Returns: how many of them the parent has looked at; `nil` where it does not know how.
    private func receive(
        _ items: [ParcelRequest.Item], _ take: (Int, ParcelParser.Item) async throws -> Void
    ) async throws -> Int? {
        try self.gate.passDown()
        guard let body = try await self.parcels?(ParcelRequest(items: items)) else { return nil }
        var parser = ParcelParser(count: items.count)
        var considered: Int?
        do {
            for try await part in body {
                for event in try parser.feed(part.readableBytesView) {
                    switch event {
                    case .item(let item):
                        self.received.add(Int64(item.size), ordering: .relaxed)
                        try await take(item.number, item)
                    case .end(let count): considered = count
                    }
                }
                // The reader waits, and the parent with it.
                try await self.gate.pace(part.readableBytes)
                if considered == nil { try self.gate.pass() }
            }
        } catch is ParcelError {
            // Something between has spoilt it: what is missing is asked for alone.
            return considered ?? 0
        } catch {
            await self.keep(parser.partial, of: items)
            throw error
        }
        guard let considered else {
            await self.keep(parser.partial, of: items)
            throw TransportError(.interrupted, "a parcel of \(items.count) things broke off")
        }
        return considered
    }

    /// Keeps the beginning of a blob, so that it goes on there.
    private func keep(_ partial: ParcelParser.Item?, of items: [ParcelRequest.Item]) async {
        guard let partial, !partial.bytes.isEmpty, !items[partial.number].isManifest else { return }
        self.received.add(Int64(partial.bytes.count), ordering: .relaxed)
        // Best effort: a disk that does not take it costs these bytes again.
        try? await self.store.blobs.stage(.transfer(items[partial.number].digest)).append(ByteBuffer(bytes: partial.bytes))
    }
}

/// Shared work that one bundle leads.
private final class Leads<Key: Hashable & Sendable, Value: Sendable>: Sendable {
    private let open: Mutex<[Key: SharedWork<Key, Value>.Lead]>

    /// Takes the lead of what nobody is at.
    init(_ work: SharedWork<Key, Value>, _ keys: [Key]) {
        var open: [Key: SharedWork<Key, Value>.Lead] = [:]
        for key in keys { open[key] = open[key] ?? work.lead(key) }
        self.open = Mutex(open)
    }

    func has(_ key: Key) -> Bool { self.open.withLock { $0[key] != nil } }
    func end(_ key: Key, _ value: Value) { self.open.withLock { $0.removeValue(forKey: key) }?.end(value) }

    /// Leaves the rest to others.
    func giveUp() {
        let left = self.open.withLock { open in
            defer { open = [:] }
            return open.values
        }
        for lead in left { lead.end(nil) }
    }
}
