// Content to the parent: blobs, then manifests, children first; each byte once, from where an earlier attempt ended.

internal import NIOCore
internal import OCI
internal import Persistence
internal import RegistryClient
internal import RegistryCore
internal import Synchronization

/// Sends what manifests reach.
final class UploadEngine: Sendable {
    /// Blobs sent at a time.
    private static let parallelBlobs = 4
    /// Bytes of one request: what a cut may cost is what the network held of it.
    private static let chunkSize = 1 << 20
    /// How deep indexes may nest.
    private static let maximumDepth = 8
    /// Chunks in a row that the parent may find out of order before the upload is begun anew.
    private static let patience = 4

    private let client: RegistryClient
    private let store: RegistryStore
    private let registry: RegistryID
    private let gate: TransferGate
    private let sent = Atomic<Int64>(0)

    init(client: RegistryClient, store: RegistryStore, registry: RegistryID, gate: TransferGate) {
        self.client = client
        self.store = store
        self.registry = registry
        self.gate = gate
    }

    /// Bytes of content sent since this was last asked.
    func takeSent() -> Int64 { self.sent.exchange(0, ordering: .relaxed) }

    /// Makes a manifest and everything below it be at the parent.
    ///
    /// - Throws: ``ServerRefusal`` when the parent will not have it; ``SyncError`` with code `content` when it is damaged here.
    func send(_ digest: Digest, in name: RepositoryName) async throws {
        var seen: Set<Digest> = []
        try await self.send(digest, in: name, depth: 0, &seen)
    }

    private func send(_ digest: Digest, in name: RepositoryName, depth: Int, _ seen: inout Set<Digest>) async throws {
        guard seen.insert(digest).inserted else { return }
        guard depth <= Self.maximumDepth else {
            throw SyncError(.content, "indexes in repository \(name) nest deeper than \(Self.maximumDepth) levels at \(digest)")
        }
        try self.gate.pass()
        guard let stored = try await self.store.heldManifest(digest, in: name, of: self.registry) else {
            // An index may list what was never pushed; what was pushed itself is asked for at depth 0.
            guard depth == 0 else { return }
            throw SyncError(.content, "manifest \(digest) of repository \(name) is not here any more")
        }
        let manifest: Manifest
        do {
            manifest = try Manifest(parsing: stored.bytes, declared: stored.mediaType)
        } catch {
            throw SyncError(.content, "manifest \(digest) of repository \(name) is damaged here: \(error.description)")
        }
        for child in manifest.manifests { try await self.send(child.digest, in: name, depth: depth + 1, &seen) }
        if try await self.client.holdsManifest(digest, in: name) { return }
        try await self.send(manifest.requiredBlobs + self.optionalBlobs(of: manifest, in: name), in: name)
        try await self.client.put(stored.bytes, stored.mediaType, as: digest, in: name)
        self.sent.add(Int64(stored.bytes.count), ordering: .relaxed)
    }

    /// Bytes that ``send(_:in:)`` would send, at most: the parent may hold blobs under names of other repositories.
    func missing(_ digest: Digest, in name: RepositoryName, _ seen: inout Set<Digest>) async throws -> Int64 {
        guard seen.insert(digest).inserted, let stored = try await self.store.heldManifest(digest, in: name, of: self.registry),
            let manifest = try? Manifest(parsing: stored.bytes, declared: stored.mediaType)
        else { return 0 }
        var bytes: Int64 = 0
        for child in manifest.manifests { bytes += try await self.missing(child.digest, in: name, &seen) }
        if try await self.client.holdsManifest(digest, in: name) { return bytes }
        let blobs = try await manifest.requiredBlobs + self.optionalBlobs(of: manifest, in: name)
        for blob in blobs where seen.insert(blob.digest).inserted {
            if try await !self.client.holdsBlob(blob.digest, in: name) { bytes += blob.size }
        }
        return bytes + Int64(stored.bytes.count)
    }

    /// What the manifest need not have and this repository has.
    private func optionalBlobs(of manifest: Manifest, in name: RepositoryName) async throws -> [Descriptor] {
        guard !manifest.optionalBlobs.isEmpty else { return [] }
        let here = try await self.store.linked(manifest.optionalBlobs.map(\.digest), in: name, of: self.registry)
        return manifest.optionalBlobs.compactMap { blob in
            here[blob.digest].map { Descriptor(mediaType: blob.mediaType, digest: blob.digest, size: $0) }
        }
    }

    private func send(_ blobs: [Descriptor], in name: RepositoryName) async throws {
        var seen: Set<Digest> = []
        // Small before large: a cut link then leaves more of the image done.
        let wanted = blobs.filter { seen.insert($0.digest).inserted }.sorted { $0.size < $1.size }
        try await withThrowingTaskGroup(of: Void.self) { group in
            var waiting = wanted.makeIterator()
            for _ in 0..<Self.parallelBlobs {
                guard let next = waiting.next() else { break }
                group.addTask { try await self.sendBlob(next.digest, in: name) }
            }
            while try await group.next() != nil {
                if let next = waiting.next() { group.addTask { try await self.sendBlob(next.digest, in: name) } }
            }
        }
    }

    private func sendBlob(_ digest: Digest, in name: RepositoryName) async throws {
        try self.gate.pass()
        if try await self.client.holdsBlob(digest, in: name) { return try await self.forget(digest, in: name) }
        guard let stored = try await self.store.content(digest) else {
            throw SyncError(.content, "blob \(digest) of repository \(name) is not here any more")
        }
        var failures = 0
        while true {
            guard let path = try await self.upload(of: digest, in: name) else { return }
            var offset = try await self.size(ofUpload: path)
            while let at = offset, at < stored.size {
                try self.gate.pass()
                switch try await self.sendChunk(of: stored, at: at, toUpload: path) {
                case .size(let size):
                    offset = size
                    failures = 0
                case .outOfOrder:
                    failures += 1
                    offset = failures < Self.patience ? try await self.size(ofUpload: path) : nil
                case .gone: offset = nil
                }
            }
            if offset != nil, try await self.client.finish(upload: path, as: digest) { return try await self.forget(digest, in: name) }
            // Given up there: it begins anew, as often as that happens.
            try await self.forget(digest, in: name)
            failures += 1
            guard failures < 2 * Self.patience else {
                throw TransportError(.interrupted, "the parent does not keep the upload of blob \(digest) in repository \(name)")
            }
        }
    }

    private func sendChunk(of stored: StoredBlob, at offset: Int64, toUpload path: String) async throws -> RegistryClient.Appended {
        let reader = try await self.store.open(stored)
        let chunk = try await reader.read(at: offset, count: Int(min(Int64(self.gate.chunk(of: Self.chunkSize)), stored.size - offset)))
        let bytes = Array(chunk.readableBytesView)
        try await self.gate.pace(bytes.count)
        let appended = try await self.client.append(bytes, at: offset, toUpload: path)
        if case .size = appended { self.sent.add(Int64(bytes.count), ordering: .relaxed) }
        return appended
    }

    /// Where the upload stands. A request that was cut may still be writing what it brought.
    private func size(ofUpload path: String) async throws -> Int64? {
        for attempt in 1... {
            do {
                return try await self.client.size(ofUpload: path)
            } catch let refusal as ServerRefusal where refusal.status == 409 && attempt < 20 {
                try await Elapsing.sleep(for: .milliseconds(50 * attempt))
            }
        }
        return nil
    }

    // MARK: Uploads that are open

    /// The path of the upload that an earlier attempt has begun, or of a new one; `nil` when the parent has the blob.
    private func upload(of digest: Digest, in name: RepositoryName) async throws -> String? {
        let known = try await self.store.database.read {
            try $0.row("SELECT path FROM sync_upload WHERE repository = ? AND digest = ?", SQLValue(name), SQLValue(digest))?.text(0)
        }
        if let known { return known }
        guard case .open(let path) = try await self.client.beginUpload(of: digest, in: name) else { return nil }
        _ = try await self.store.database.write {
            try $0.execute(
                """
                INSERT INTO sync_upload (repository, digest, path) VALUES (?, ?, ?)
                ON CONFLICT (repository, digest) DO UPDATE SET path = excluded.path
                """, SQLValue(name), SQLValue(digest), .text(path))
        }
        return path
    }

    private func forget(_ digest: Digest, in name: RepositoryName) async throws {
        let isKnown = try await self.store.database.read {
            try $0.row("SELECT 1 FROM sync_upload WHERE repository = ? AND digest = ?", SQLValue(name), SQLValue(digest)) != nil
        }
        guard isKnown else { return }
        _ = try await self.store.database.write {
            try $0.execute("DELETE FROM sync_upload WHERE repository = ? AND digest = ?", SQLValue(name), SQLValue(digest))
        }
    }
}
