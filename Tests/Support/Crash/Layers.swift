// The real layers over any folder: what a process that starts there would open.

internal import Gateway
package import Identity
internal import NIOCore
internal import NIOPosix
package import OCI
package import Persistence
package import RegistryCore
internal import SyncAgent
package import TestSupport

/// One server's data, opened.
package struct Layers: Sendable {
    package let folder: DataFolder
    package let database: SQLiteDatabase
    package let blobs: FileBlobStore
    package let store: RegistryStore
    package let uploads: Uploads
    package let identities: IdentityStore
    package let tokens: TokenAuthority
    package let registry: RegistryID

    /// Between the sizes of what is pushed: some of it lies in rows, some in files.
    static let smallContentLimit = 1500

    /// - Parameters:
    ///   - tokenTime: the instant at which signed tokens are looked at, in milliseconds since 1970.
    ///   - directFrom: bytes from which on content is written around the page cache.
    package init(_ path: String, clock: TestClock, tokenTime: Int64, directFrom: Int64 = 8 << 20) async throws {
        self.folder = try await Self.folder(path)
        self.database = try SQLiteDatabase(
            path: self.folder.databasePath,
            migrations: RegistrySchema.migrations + IdentitySchema.migrations + GatewaySchema.migrations + SyncSchema.migrations, readers: 1
        )
        do {
            self.blobs = FileBlobStore(folder: self.folder, pool: .singleton, directFrom: directFrom)
            self.store = RegistryStore(
                database: self.database, blobs: self.blobs, activity: Activity(), clock: clock.wall,
                smallContentLimit: Self.smallContentLimit)
            self.uploads = Uploads(store: self.store)
            self.identities = IdentityStore(database: self.database, clock: clock.wall)
            self.tokens = try await TokenAuthority(folder: self.folder.keysPath, tenantID: "tenant", clock: WallClock { tokenTime })
            // Looked for first: a start must not write where a server's would not.
            let known = try await self.database.read { try $0.row("SELECT id FROM registry WHERE name = ?", "harbour")?.integer(0) }
            if let known { self.registry = RegistryID(known) } else { self.registry = try await self.store.registry(named: "harbour") }
        } catch {
            try? await self.database.close()
            throw error
        }
    }

    /// A test beside this one may be starting a process, which holds our lock's file for the moment between fork and exec.
    private static func folder(_ path: String) async throws -> DataFolder {
        for _ in 0..<12_000 {
            if let folder = try self.folderIfFree(path) { return folder }
            try await Task.sleep(for: .milliseconds(10))
        }
        return try DataFolder(path)
    }

    private static func folderIfFree(_ path: String) throws -> DataFolder? {
        do {
            return try DataFolder(path)
        } catch let error where error.code == .inUse {
            return nil
        }
    }

    package func close() async { try? await self.database.close() }

    /// Uploads a blob as a client would, in chunks.
    package func push(_ content: Content, to name: RepositoryName, parts: Int = 1) async throws {
        let id = try await self.uploads.begin(in: name, of: self.registry)
        let step = max(1, (content.bytes.count + parts - 1) / parts)
        let chunks = stride(from: 0, to: content.bytes.count, by: step).map {
            Array(content.bytes[$0..<min($0 + step, content.bytes.count)])
        }
        for chunk in chunks.dropLast() {
            _ = try await self.uploads.append(Parts([chunk]), range: nil, length: nil, to: id, in: name, of: self.registry)
        }
        _ = try await self.uploads.finish(
            Parts([chunks.last ?? []]), range: nil, length: nil, as: content.digest, upload: id, in: name, of: self.registry)
    }

    package func put(_ manifest: Content, tags: [Tag], to name: RepositoryName) async throws {
        try await self.store.put(
            NewManifest(manifest.bytes, declared: manifest.mediaType, expected: manifest.digest), tags: tags, into: name, of: self.registry,
            origin: "test")
    }

    /// Takes content as a connected registry does: resumed where an earlier attempt ended, once more from the start when that was damaged.
    package func transfer(_ content: Content) async throws {
        do {
            try await self.transferOnce(content)
        } catch let error as PersistenceError where error.code == .digestMismatch || error.code == .sizeMismatch {
            try await self.transferOnce(content)
        }
    }

    private func transferOnce(_ content: Content) async throws {
        let name = StagingName.transfer(content.digest)
        var staged: any StagedBlob
        if let earlier = try await self.blobs.resume(name), earlier.size <= Int64(content.bytes.count) {
            staged = earlier
        } else {
            staged = try await self.blobs.stage(name)
        }
        var rest = content.bytes.dropFirst(Int(staged.size))
        while !rest.isEmpty {
            try await staged.append(ByteBuffer(bytes: rest.prefix(3000)))
            rest = rest.dropFirst(3000)
            try await staged.synchronize()
        }
        let stored = try await self.blobs.commit(staged, as: content.digest, size: Int64(content.bytes.count))
        try await self.store.admit(stored, into: nil, of: self.registry)
    }

    /// The bytes of a blob, or `nil` when the repository does not have it.
    package func read(_ digest: Digest, in name: RepositoryName) async throws -> [UInt8]? {
        let stored: StoredBlob
        do {
            stored = try await self.store.blob(digest, in: name, of: self.registry)
        } catch let error as RegistryError where error.code == .blobUnknown { return nil }
        let reader = try await self.store.open(stored)
        return Array(try await reader.read(at: 0, count: Int(stored.size)).readableBytesView)
    }
}
