// Importing: the content first, verified and on disk; then everything visible in one transaction.

package import Logging
internal import NIOCore
package import OCI
package import Persistence
package import RegistryClient
package import RegistryCore
internal import Synchronization

/// Why an import did not come about: a sentence.
package struct ImportError: Error, Sendable, CustomStringConvertible {
    package enum Code: Sendable {
        case notFound, denied, failed
    }

    package let code: Code
    package let message: String

    package init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    package var description: String { self.message }
}

/// What is to be imported, and where to.
package struct ImportOrder: Sendable {
    package enum Source: Sendable {
        /// A registry that is reached over the network, by the name users know it by.
        case remote(registry: String, repository: String, credentials: SourceCredentials?)
        /// Another registry of this server: no byte is copied.
        case local(RegistryID, RepositoryName)
    }

    package let source: Source
    package let reference: Reference
    package let targets: [ImportedImage.Target]
    package let replacesTags: Bool
    /// What the tags that are moved must name still; `nil` for anything.
    package let replaced: Digest?
    package let registry: RegistryID
    package let quota: Int64?
    package let origin: String
    /// Whether an index comes without what it lists.
    package let isShallow: Bool

    /// What helps where the source wants credentials.
    var advice: String {
        self.isShallow
            ? "a cache rule signs in with a credential set ('acr cache update --cred-set')" : "give --username and --password"
    }

    package init(
        source: Source, reference: Reference, targets: [ImportedImage.Target], replacesTags: Bool, registry: RegistryID, quota: Int64?,
        origin: String, isShallow: Bool = false, replaced: Digest? = nil
    ) {
        self.replaced = replaced
        self.isShallow = isShallow
        self.source = source
        self.reference = reference
        self.targets = targets
        self.replacesTags = replacesTags
        self.registry = registry
        self.quota = quota
        self.origin = origin
    }
}

/// How far an import has come. Bytes that were here before count for neither.
package final class ImportProgress: Sendable {
    private let state = Mutex<(done: Int64, total: Int64?)>((0, nil))

    package init() {}

    /// Bytes that have arrived, and all that have to; `nil` until that is known.
    package var bytes: (done: Int64, total: Int64?) { self.state.withLock { $0 } }

    func expect(_ total: Int64) { self.state.withLock { $0 = (0, total) } }
    func add(_ count: Int64) { self.state.withLock { $0.done += count } }
}

/// Imports images into registries of this server.
package final class ImageImporter: Sendable {
    /// Blobs fetched at a time for one import.
    private static let parallelBlobs = 4
    private static let writeSize = 128 << 10
    /// How deep indexes may nest, and how many manifests one import may bring.
    private static let maximumDepth = 8
    private static let maximumManifests = 1000

    private let store: RegistryStore
    private let transport: any Transport
    private let upstreams: [String: SourceURL]
    private struct Fetch {
        let task: Task<Void, any Error>
        let registry: RegistryID
    }
    private let underWay = Mutex<[Digest: Fetch]>([:])

    /// - Parameter upstreams: where the content of a registry is really fetched from, by its name; a path goes before repositories.
    package init(store: RegistryStore, transport: any Transport, upstreams: [String: SourceURL] = [:]) {
        self.store = store
        self.transport = transport
        self.upstreams = upstreams
    }

    /// Docker's registry by any of its names.
    private static let dockerHub: Set<String> = ["docker.io", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"]

    /// - Throws: ``ImportError`` for what is no address of a registry.
    package static func validate(_ registry: String) throws {
        let isPlain = registry.utf8.allSatisfy { ASCII.isLetter($0) || ASCII.isDigit($0) || "-.:[]".utf8.contains($0) }
        guard isPlain, let url = SourceURL("https://\(registry)"), url.target == "/" else {
            throw ImportError(.failed, "'\(registry.prefix(200))' is no address of a registry; it is HOST or HOST:PORT")
        }
    }

    /// Where a registry's repository is fetched.
    ///
    /// - Throws: ``ImportError`` for a name that is none.
    func place(of registry: String, _ repository: String) throws -> (endpoint: ServerEndpoint, repository: String) {
        var name = registry.lowercased()
        var repository = repository
        if Self.dockerHub.contains(name) {
            name = "docker.io"
            if !repository.contains("/") { repository = "library/" + repository }
        }
        if let upstream = self.upstreams[name] {
            let prefix = upstream.target.split(separator: "/").joined(separator: "/")
            return (upstream.endpoint, prefix.isEmpty ? repository : "\(prefix)/\(repository)")
        }
        guard let url = SourceURL("https://\(name == "docker.io" ? "registry-1.docker.io" : name)"), url.target == "/" else {
            throw ImportError(.failed, "'\(registry.prefix(200))' is no address of a registry; it is HOST or HOST:PORT")
        }
        return (url.endpoint, repository)
    }

    /// Imports an image whole.
    ///
    /// - Throws: ``ImportError``, `RegistryError` (conflict, lock, quota), `TransportError`.
    package func run(_ order: ImportOrder, progress: ImportProgress = ImportProgress(), logger: Logger) async throws {
        try await self.store.requirePlaceable(order.targets, replacesTags: order.replacesTags, in: order.registry)
        var image = Gathered()
        switch order.source {
        case .local(let registry, let name):
            _ = try await self.collect(order.reference, &image, depth: 0) { reference in
                let found = try await self.store.manifest(reference, in: name, of: registry)
                return (found.bytes, found.mediaType)
            }
            let held = try await self.store.linked(image.manifests.flatMap(\.manifest.optionalBlobs).map(\.digest), in: name, of: registry)
            try await image.addOptionalBlobs { held[$0] }
            let room = try await self.room(for: image, order)
            defer { room.end() }
            try await self.place(image, order)
            room.keep()
        case .remote(let registry, let repository, let credentials):
            let place = try self.place(of: registry, repository)
            let client = SourceClient(
                transport: self.transport, endpoint: place.endpoint, repository: place.repository, credentials: credentials,
                advice: order.advice)
            _ = try await self.collect(order.reference, &image, depth: 0, isShallow: order.isShallow) { reference in
                let found = try await client.manifest(reference)
                return (found.bytes, found.type)
            }
            if !order.isShallow { try await image.addOptionalBlobs { try await client.size(ofBlob: $0) } }
            let room = try await self.room(for: image, order)
            defer { room.end() }
            try await self.fetchBlobs(of: image, client, order, progress, logger)
            do {
                try await self.place(image, order)
            } catch let error as RegistryError where error.code == .manifestBlobUnknown {
                // An import that takes longer than a lease may lose a blob to the collector before it is complete.
                try await self.fetchBlobs(of: image, client, order, progress, logger)
                try await self.place(image, order)
            }
            room.keep()
        }
    }

    /// What a reference means in a registry of this server; `nil` for nothing.
    package func stored(_ reference: Reference, in name: RepositoryName, of registry: RegistryID) async throws -> Digest? {
        do {
            return try await self.store.manifest(reference, in: name, of: registry).digest
        } catch let error as RegistryError where error.status == 404 {
            return nil
        }
    }

    /// The digest of what an order's reference means at its source; nothing is stored.
    ///
    /// - Throws: ``ImportError``, `TransportError`.
    package func digest(of order: ImportOrder) async throws -> Digest {
        switch order.source {
        case .local(let registry, let name): return try await self.store.manifest(order.reference, in: name, of: registry).digest
        case .remote(let registry, let repository, let credentials):
            let place = try self.place(of: registry, repository)
            let client = SourceClient(
                transport: self.transport, endpoint: place.endpoint, repository: place.repository, credentials: credentials,
                advice: order.advice)
            let found = try await client.manifest(order.reference)
            return try NewManifest(found.bytes, declared: found.type, expected: nil).digest
        }
    }

    /// What an image consists of.
    private struct Gathered {
        /// Children before parents.
        var manifests: [NewManifest] = []
        var seen: Set<Digest> = []
        /// What the manifests need not have and the source has.
        private var optionalBlobs: [Descriptor] = []

        /// Asks the source for each blob that the manifests need not have how large it is, `nil` for not there.
        mutating func addOptionalBlobs(_ size: (Digest) async throws -> Int64?) async throws {
            var asked: Set<Digest> = []
            for blob in self.manifests.flatMap(\.manifest.optionalBlobs) where asked.insert(blob.digest).inserted {
                guard let size = try await size(blob.digest) else { continue }
                self.optionalBlobs.append(Descriptor(mediaType: blob.mediaType, digest: blob.digest, size: size))
            }
        }

        /// Each once.
        var blobs: [Descriptor] {
            var seen: Set<Digest> = []
            return (self.manifests.flatMap(\.manifest.requiredBlobs) + self.optionalBlobs).filter { seen.insert($0.digest).inserted }
        }

        func placed(by order: ImportOrder) -> ImportedImage {
            ImportedImage(
                manifests: self.manifests, optionalBlobs: self.optionalBlobs.map(\.digest), targets: order.targets,
                replacesTags: order.replacesTags, replaced: order.replaced)
        }
    }

    private func place(_ image: Gathered, _ order: ImportOrder) async throws {
        try await self.store.place(image.placed(by: order), in: order.registry, origin: order.origin)
    }

    /// Gathers the manifests below a reference, children first.
    ///
    /// - Returns: whether it was there. An index may list what its registry does not hold; the copy is then as sparse.
    private func collect(
        _ reference: Reference, _ image: inout Gathered, depth: Int, isShallow: Bool = false,
        read: (Reference) async throws -> (bytes: [UInt8], type: MediaType?)
    ) async throws -> Bool {
        let expected: Digest? = if case .digest(let digest) = reference { digest } else { nil }
        if let expected, image.seen.contains(expected) { return true }
        guard depth <= Self.maximumDepth, image.seen.count < Self.maximumManifests else {
            throw ImportError(
                .failed, "the image has more than \(Self.maximumManifests) manifests or nests deeper than \(Self.maximumDepth) levels")
        }
        let found: (bytes: [UInt8], type: MediaType?)
        do {
            found = try await read(reference)
        } catch let error as ImportError where error.code == .notFound && depth > 0 {
            return false
        } catch let error as RegistryError where error.code == .manifestUnknown && depth > 0 {
            return false
        }
        let new = try NewManifest(found.bytes, declared: found.type, expected: expected, isNew: true)
        guard image.seen.insert(new.digest).inserted else { return true }
        for child in isShallow ? [] : new.manifest.manifests {
            _ = try await self.collect(.digest(child.digest), &image, depth: depth + 1, read: read)
        }
        image.manifests.append(new)
        return true
    }

    /// Blobs that the registry does not hold in any repository.
    ///
    /// What only another registry of this server holds is fetched all the same: knowing a digest is not having the content.
    private func missing(_ image: Gathered, _ registry: RegistryID) async throws -> [Descriptor] {
        var missing: [Descriptor] = []
        for blob in image.blobs where try await !self.store.holdsBlob(blob.digest, in: registry) {
            missing.append(blob)
        }
        return missing
    }

    private func room(for image: Gathered, _ order: ImportOrder) async throws -> QuotaRoom {
        let room = self.store.room(in: order.registry, quota: order.quota)
        let blobs = try await self.missing(image, order.registry).totalSize ?? .max
        let manifests = order.quota == nil ? 0 : try await self.store.size(ofMissing: image.manifests, in: order.registry)
        let (sum, overflows) = blobs.addingReportingOverflow(manifests)
        try await room.take(overflows ? .max : sum)
        return room
    }

    private func fetchBlobs(
        of image: Gathered, _ client: SourceClient, _ order: ImportOrder, _ progress: ImportProgress, _ logger: Logger
    ) async throws {
        // Small before large: an import that is cut off leaves more of the image done.
        let missing = try await self.missing(image, order.registry).sorted { $0.size < $1.size }
        let total = missing.totalSize ?? .max
        progress.expect(total)
        logger.info(
            "import fetches", metadata: ["blobs": .stringConvertible(missing.count), "bytes": .stringConvertible(total)])
        var (done, count) = (Int64(0), 0)
        try await withThrowingTaskGroup(of: Int64.self) { group in
            var waiting = missing.makeIterator()
            func startNext() {
                guard let next = waiting.next() else { return }
                group.addTask {
                    try await self.fetch(next, client, for: order.registry, progress)
                    return next.size
                }
            }
            for _ in 0..<Self.parallelBlobs { startNext() }
            while let size = try await group.next() {
                done += size
                count += 1
                logger.info(
                    "import progress",
                    metadata: ["blobs": "\(count)/\(missing.count)", "bytes": "\(done)/\(total)"])
                startNext()
            }
        }
    }

    /// Fetches a blob unless another import is fetching it: both would write to the same place.
    private func fetch(_ blob: Descriptor, _ client: SourceClient, for registry: RegistryID, _ progress: ImportProgress) async throws {
        let (fetch, isOurs) = self.underWay.withLock { underWay in
            if let fetch = underWay[blob.digest] { return (fetch, false) }
            let task = Task {
                defer { self.underWay.withLock { _ = $0.removeValue(forKey: blob.digest) } }
                do {
                    try await self.fetchOnce(blob, client, progress)
                } catch let error as PersistenceError where error.code == .digestMismatch || error.code == .sizeMismatch {
                    // Content that arrives damaged is fetched once more from the start.
                    progress.add(-blob.size)
                    try await self.fetchOnce(blob, client, progress)
                }
            }
            let fetch = Fetch(task: task, registry: registry)
            underWay[blob.digest] = fetch
            return (fetch, true)
        }
        if isOurs { return try await fetch.task.value }
        let isDone: Bool
        do {
            try await fetch.task.value
            isDone = fetch.registry == registry
        } catch {
            // The other's source may fail where ours does not.
            isDone = false
        }
        if isDone { progress.add(blob.size) } else { try await self.fetch(blob, client, for: registry, progress) }
    }

    private func fetchOnce(_ blob: Descriptor, _ client: SourceClient, _ progress: ImportProgress) async throws {
        let blobs = self.store.blobs
        let staging = StagingName.transfer(blob.digest)
        var staged: any StagedBlob
        if let earlier = try await blobs.resume(staging), earlier.size <= blob.size {
            staged = earlier
        } else {
            staged = try await blobs.stage(staging)
        }
        if staged.size < blob.size || blob.size == 0 {
            let (body, offset) = try await client.blob(blob.digest, from: staged.size)
            if offset == 0, staged.size > 0 { staged = try await blobs.stage(staging) }
            progress.add(staged.size)
            try await self.receive(body, into: staged, limit: blob.size, progress)
            guard staged.size == blob.size else {
                throw TransportError(
                    .interrupted, "blob \(blob.digest) ended after \(staged.size) of \(blob.size) bytes; import again to go on")
            }
        }
        let stored = try await blobs.commit(staged, as: blob.digest, size: blob.size)
        try await self.store.admit(stored, into: nil, of: RegistryID(0))
    }

    private func receive(
        _ body: ClientResponseBody, into staged: any StagedBlob, limit: Int64, _ progress: ImportProgress
    ) async throws {
        var gathered = ByteBuffer()
        func flush() async throws {
            guard staged.size + Int64(gathered.readableBytes) <= limit else {
                throw PersistenceError(
                    .sizeMismatch, tried: "receive \(staged.name.text)", cause: "the source sends more than the \(limit) bytes it announced"
                )
            }
            try await staged.append(gathered)
            progress.add(Int64(gathered.readableBytes))
            gathered.clear()
        }
        do {
            for try await var part in body {
                gathered.writeBuffer(&part)
                if gathered.readableBytes >= Self.writeSize { try await flush() }
            }
        } catch {
            // What has arrived is kept: importing again goes on behind it.
            if !(error is PersistenceError), gathered.readableBytes > 0 { try? await flush() }
            throw error
        }
        if gathered.readableBytes > 0 { try await flush() }
    }
}
