// The lower layers of a registry over a temporary folder.

internal import Gateway
package import Identity
package import NIOCore
internal import NIOPosix
package import OCI
package import Persistence
package import RegistryCore
internal import SyncAgent
internal import Webhooks

/// One registry's data, and what a client would do with it.
package final class Site: Sendable {
    package let scratch: ScratchFolder
    package let folder: DataFolder
    package let database: SQLiteDatabase
    package let clock: TestClock
    package let activity: Activity
    /// Moves before ``activity``, when tokens or scope maps have changed.
    package let settings: Activity
    package let blobs: FileBlobStore
    package let store: RegistryStore
    package let uploads: Uploads
    package let identities: IdentityStore
    package let registry: RegistryID

    /// - Parameters:
    ///   - scratch: the folder of an earlier one, which is not in use any more.
    ///   - isInline: whether files and database are used on the caller's thread, for simulations.
    ///   - smallContentLimit: 0 where a test is about files of blobs.
    package init(
        clock: TestClock = TestClock(), scratch: ScratchFolder = ScratchFolder(), isInline: Bool = false,
        smallContentLimit: Int = RegistryStore.defaultSmallContentLimit
    ) async throws {
        self.scratch = scratch
        self.clock = clock
        self.folder = try DataFolder(self.scratch.path)
        self.database = try SQLiteDatabase(
            path: self.folder.databasePath,
            migrations: RegistrySchema.migrations + IdentitySchema.migrations + GatewaySchema.migrations + SyncSchema.migrations
                + WebhookSchema.migrations, readers: isInline ? 1 : 2, isInline: isInline)
        let activity = Activity()
        self.activity = activity
        let settings = Activity()
        self.settings = settings
        self.blobs = isInline ? FileBlobStore(inlineIn: self.folder) : FileBlobStore(folder: self.folder, pool: .singleton)
        self.store = RegistryStore(
            database: self.database, blobs: self.blobs, activity: activity, clock: clock.wall, smallContentLimit: smallContentLimit)
        self.uploads = Uploads(store: self.store)
        self.identities = IdentityStore(database: self.database, clock: clock.wall) {
            settings.signal()
            activity.signal()
        }
        self.registry = try await self.store.registry(named: "harbour")
    }

    /// Uploads a blob as a client would.
    @discardableResult
    package func push(_ content: Content, to name: RepositoryName) async throws -> StoredBlob {
        let id = try await self.uploads.begin(in: name, of: self.registry)
        return try await self.uploads.finish(
            Parts([content.bytes]), range: nil, length: Int64(content.bytes.count), as: content.digest, upload: id, in: name,
            of: self.registry)
    }

    package func put(_ manifest: Content, tags: [Tag] = [], to name: RepositoryName, origin: String = "test") async throws {
        try await self.store.put(
            NewManifest(manifest.bytes, declared: manifest.mediaType, expected: manifest.digest), tags: tags, into: name, of: self.registry,
            origin: origin)
    }

    /// Pushes blobs, then the manifest, then the tags.
    package func push(_ image: TestImage, tags: [Tag] = [], to name: RepositoryName) async throws {
        for blob in image.blobs { try await self.push(blob, to: name) }
        try await self.put(image.manifest, tags: tags, to: name)
    }

    /// Everything the change log says after `sequence`.
    package func changes(after sequence: Int64 = 0) async throws -> [Change] {
        let head = try await self.store.head()
        return try await self.store.changes(of: self.registry, after: ChangeCursor(log: head.log, sequence: sequence), limit: 10_000) { _ in
            true
        }.changes
    }
}

/// A body that arrives in parts and may break off.
package struct Parts: AsyncSequence, Sendable {
    package typealias Element = ByteBuffer
    package struct Broken: Error {
        package init() {}
    }

    private let parts: [[UInt8]]
    private let breaks: Bool
    private let gate: Gate?
    private let reached: Gate?

    /// - Parameters:
    ///   - breaks: whether the body ends with an error after its parts.
    ///   - gate: waited for after the first part.
    ///   - reached: opened when the first part has been taken and the next is asked for.
    package init(_ parts: [[UInt8]], breaks: Bool = false, gate: Gate? = nil, reached: Gate? = nil) {
        self.parts = parts
        self.breaks = breaks
        self.gate = gate
        self.reached = reached
    }

    package struct AsyncIterator: AsyncIteratorProtocol {
        fileprivate let source: Parts
        fileprivate var index = 0

        package mutating func next() async throws -> ByteBuffer? {
            if self.index == 1 {
                self.source.reached?.open()
                await self.source.gate?.wait()
            }
            guard self.index < self.source.parts.count else {
                if self.source.breaks { throw Broken() }
                return nil
            }
            defer { self.index += 1 }
            return ByteBuffer(bytes: self.source.parts[self.index])
        }
    }

    package func makeAsyncIterator() -> AsyncIterator { AsyncIterator(source: self) }
}
