// Blob content as files: `blobs/<algorithm>/ab/abcd….<generation>`, one copy however many repositories hold it.

internal import NIOCore
package import NIOPosix
package import OCI
internal import Synchronization

/// The file system implementation of ``BlobStore``.
///
/// Commit order: write → fsync file → verify digest and size → rename → fsync folder. The database row comes after
/// that and is the caller's. What the database names therefore exists; the reverse is garbage for the collector.
package final class FileBlobStore: BlobStore {
    private let root: String
    private let pool: BlockingWork
    private let directFrom: Int64
    private let reserve: DiskReserve?
    private let folders = Mutex<Set<String>>([])
    private let lost = LostNames()
    /// What large content that arrives is gathered in.
    package let segments = SegmentPool()

    /// - Parameters:
    ///   - folder: the data folder.
    ///   - pool: threads for blocking file operations, started.
    ///   - directFrom: bytes of one content from which on it is written around the page cache.
    ///   - reserve: what keeps content from filling the disk; that of the folder's, unless a test says otherwise.
    package init(folder: DataFolder, pool: NIOThreadPool, directFrom: Int64 = 8 << 20, reserve: DiskReserve? = nil) {
        self.root = folder.path
        self.pool = .threads(pool)
        self.directFrom = directFrom
        self.reserve = reserve ?? DiskReserve(folder.space)
    }

    /// One whose calls block their caller, for simulations in which one thing happens at a time.
    package init(inlineIn folder: DataFolder) {
        self.root = folder.path
        self.pool = .inline
        self.directFrom = .max
        self.reserve = nil
    }

    package func requireRoom(for count: Int64) throws { try self.reserve?.take(count) }

    private func path(_ name: StagingName) -> String { "\(self.root)/\(name.area.rawValue)/\(name.text)" }

    private func folder(of digest: Digest) -> String {
        "\(self.root)/blobs/\(digest.algorithm.rawValue)/\(digest.hex.prefix(2))"
    }

    private func path(_ blob: StoredBlob) -> String {
        "\(self.folder(of: blob.digest))/\(blob.digest.hex).\(blob.generation)"
    }

    package func stage(_ name: StagingName, hashing algorithm: Digest.Algorithm) async throws -> any StagedBlob {
        let path = self.path(name)
        return try await self.pool.runIfActive {
            let file = try File(path, .readWrite)
            try file.truncate(to: 0)
            self.lost.forget(name)
            return Staged(
                name: name, file: file, size: 0, algorithm: algorithm, hasher: Digest.Hasher(algorithm), pool: self.pool,
                directFrom: self.directFrom,
                reserve: self.reserve, lost: self.lost, segments: self.segments)
        }
    }

    package func resume(_ name: StagingName, hashing algorithm: Digest.Algorithm) async throws -> (any StagedBlob)? {
        let path = self.path(name)
        return try await self.pool.runIfActive {
            if self.lost.contains(name) {
                try FileSystem.remove(path)
                self.lost.forget(name)
                return nil
            }
            let file: File
            do {
                file = try File(path, .readWriteExisting)
            } catch let error as PersistenceError where error.code == .notFound {
                return nil
            }
            let (size, hasher) = try Self.hash(file, algorithm)
            return Staged(
                name: name, file: file, size: size, algorithm: algorithm, hasher: hasher, pool: self.pool, directFrom: self.directFrom,
                reserve: self.reserve, lost: self.lost,
                segments: self.segments)
        }
    }

    package func size(of name: StagingName) async throws -> Int64? {
        let path = self.path(name)
        return try await self.pool.runIfActive { self.lost.contains(name) ? nil : FileSystem.status(path)?.size }
    }

    package func open(_ name: StagingName, size: Int64) async throws -> (any BlobReader)? {
        let path = self.path(name)
        return try await self.pool.runIfActive {
            do {
                return Reader(file: try File(path, .read), size: size, pool: self.pool)
            } catch let error as PersistenceError where error.code == .notFound {
                return nil
            }
        }
    }

    package func shorten(_ name: StagingName, to size: Int64) async throws {
        let path = self.path(name)
        try await self.pool.runIfActive {
            guard let status = FileSystem.status(path), status.size > size else { return }
            try File(path, .readWriteExisting).truncate(to: size)
        }
    }

    package func discard(_ name: StagingName) async throws {
        let path = self.path(name)
        try await self.pool.runToEnd { try FileSystem.remove(path) }
    }

    package func staged(in area: StagingArea) async throws -> [(name: StagingName, modified: Int64)] {
        let folder = "\(self.root)/\(area.rawValue)"
        return try await self.pool.runIfActive {
            try FileSystem.names(in: folder).compactMap { name in
                FileSystem.status("\(folder)/\(name)").map { (StagingName(area: area, text: name), $0.modified) }
            }
        }
    }

    package func commit(_ staged: any StagedBlob, as digest: Digest, size: Int64?) async throws -> StoredBlob {
        guard let staged = staged as? Staged else {
            throw PersistenceError(.io, tried: "commit content", cause: "it belongs to another store")
        }
        try await staged.settle()
        return try await self.pool.runIfActive { try self.commitNow(staged, as: digest, size: size) }
    }

    private func commitNow(_ staged: Staged, as digest: Digest, size: Int64?) throws(PersistenceError) -> StoredBlob {
        let source = self.path(staged.name)
        let actualSize = staged.size
        if let size, size != actualSize {
            try FileSystem.remove(source)
            throw .init(.sizeMismatch, tried: "store \(digest)", cause: "\(actualSize) bytes arrived, \(size) were announced")
        }
        // A file's time is that of its commit: the collector leaves fresh ones alone until their row is there.
        try staged.file.touch()
        try staged.synchronizeOrGiveUp()
        let actual = digest.algorithm == staged.algorithm ? staged.digest() : try Self.hash(staged.file, digest.algorithm).hasher.finish()
        guard actual == digest else {
            try FileSystem.remove(source)
            throw .init(.digestMismatch, tried: "store \(digest)", cause: "the content that arrived has digest \(actual)")
        }
        let blob = StoredBlob(digest: digest, size: actualSize, generation: Self.newGeneration())
        let folder = self.folder(of: digest)
        if !self.folders.withLock({ $0.contains(folder) }) {
            try FileSystem.createFolder(folder)
            try self.synchronizeWay(to: folder, of: digest.algorithm)
        }
        try FileSystem.rename(source, to: self.path(blob))
        try FileSystem.synchronizeFolder(folder)
        return blob
    }

    /// Makes the entry of a shelf durable. It may have been made by another commit, or by a process that ended before it was durable.
    private func synchronizeWay(to shelf: String, of algorithm: Digest.Algorithm) throws(PersistenceError) {
        try FileSystem.synchronizeFolder("\(self.root)/blobs/\(algorithm.rawValue)")
        try FileSystem.synchronizeFolder("\(self.root)/blobs")
        _ = self.folders.withLock { $0.insert(shelf) }
    }

    package func confirm(_ blob: StoredBlob) async throws {
        let shelf = self.folder(of: blob.digest)
        try await self.pool.runIfActive {
            try FileSystem.synchronizeFolder(shelf)
            try self.synchronizeWay(to: shelf, of: blob.digest.algorithm)
        }
    }

    package func open(_ blob: StoredBlob) async throws -> any BlobReader {
        let path = self.path(blob)
        return try await self.pool.runIfActive { Reader(file: try File(path, .read), size: blob.size, pool: self.pool) }
    }

    package func delete(_ blob: StoredBlob) async throws {
        let path = self.path(blob)
        try await self.pool.runIfActive { try FileSystem.remove(path) }
    }

    /// Moves committed content out of the store into `folder`, durably, for somebody to look at.
    ///
    /// - Returns: where it is now; `nil` when there is no such file.
    package func setAside(_ blob: StoredBlob, to folder: String) async throws -> String? {
        let (source, shelf) = (self.path(blob), self.folder(of: blob.digest))
        let target = "\(folder)/\(blob.digest.algorithm.rawValue)-\(blob.digest.hex).\(blob.generation)"
        return try await self.pool.runToEnd {
            guard FileSystem.exists(source) else { return nil }
            try FileSystem.createFolder(folder)
            try FileSystem.rename(source, to: target)
            try FileSystem.synchronizeFolder(folder)
            try FileSystem.synchronizeFolder(shelf)
            return target
        }
    }

    package func shelves() async throws -> [String] {
        let root = "\(self.root)/blobs"
        return try await self.pool.runIfActive {
            try FileSystem.names(in: root).flatMap { algorithm in
                try FileSystem.names(in: "\(root)/\(algorithm)").map { "\(algorithm)/\($0)" }
            }
        }
    }

    package func stored(on shelf: String) async throws -> [(blob: StoredBlob, modified: Int64)] {
        let folder = "\(self.root)/blobs/\(shelf)"
        return try await self.pool.runIfActive {
            try FileSystem.names(in: folder).compactMap { name in
                // Names that are not ours are not touched.
                let parts = name.split(separator: ".")
                guard parts.count == 2, let algorithm = shelf.split(separator: "/").first,
                    let digest = try? Digest("\(algorithm):\(parts[0])"),
                    let status = FileSystem.status("\(folder)/\(name)")
                else { return nil }
                return (StoredBlob(digest: digest, size: status.size, generation: String(parts[1])), status.modified)
            }
        }
    }

    package func stored(as digest: Digest) async throws -> [StoredBlob] {
        let folder = self.folder(of: digest)
        return try await self.pool.runIfActive {
            guard FileSystem.status(folder) != nil else { return [] }
            return try FileSystem.names(in: folder).compactMap { name in
                guard name.hasPrefix("\(digest.hex)."), let status = FileSystem.status("\(folder)/\(name)") else { return nil }
                return StoredBlob(digest: digest, size: status.size, generation: String(name.dropFirst(digest.hex.count + 1)))
            }
        }
    }

    /// Hashes a whole file.
    private static func hash(_ file: File, _ algorithm: Digest.Algorithm) throws(PersistenceError) -> (size: Int64, hasher: Digest.Hasher) {
        var hasher = Digest.Hasher(algorithm)
        var offset: Int64 = 0
        var buffer = ByteBufferAllocator().buffer(capacity: 1 << 20)
        while true {
            buffer.clear()
            try file.read(into: &buffer, count: 1 << 20, at: offset)
            if buffer.readableBytes == 0 { return (offset, hasher) }
            buffer.withUnsafeReadableBytes { hasher.update($0) }
            offset += Int64(buffer.readableBytes)
        }
    }

    /// 64 random bits: no counter to keep, and no two commits of one digest share a file.
    private static func newGeneration() -> String {
        let text = String(UInt64.random(in: .min ... .max), radix: 16)
        return String(repeating: "0", count: 16 - text.count) + text
    }

    /// Content whose flush failed and whose file could not even be removed: nobody may take it up again.
    private final class LostNames: Sendable {
        private let names = Mutex<Set<StagingName>>([])

        func contains(_ name: StagingName) -> Bool { self.names.withLock { $0.contains(name) } }
        func insert(_ name: StagingName) { self.names.withLock { _ = $0.insert(name) } }
        func forget(_ name: StagingName) { self.names.withLock { _ = $0.remove(name) } }
    }

    /// A file under way with its running digest.
    private final class Staged: StagedBlob {
        /// Bytes of a segment from which on it is handed to threads that write and hash side by side.
        private static let parallelFrom = 256 << 10

        let name: StagingName
        let file: File
        let algorithm: Digest.Algorithm
        private let pool: BlockingWork
        private let writer: ContentWriter
        private let lost: LostNames
        private let segments: SegmentPool
        private let state: Mutex<State>

        private struct State {
            var size: Int64
            var hasher: Digest.Hasher
            /// What is under way; size and digest are those before it.
            var lanes: SegmentLanes?
            /// A flush has failed.
            var isLost = false
        }

        init(
            name: StagingName, file: File, size: Int64, algorithm: Digest.Algorithm, hasher: Digest.Hasher, pool: BlockingWork,
            directFrom: Int64, reserve: DiskReserve?, lost: LostNames,
            segments: SegmentPool
        ) {
            self.name = name
            self.lost = lost
            self.segments = segments
            self.file = file
            self.algorithm = algorithm
            self.pool = pool
            self.writer = ContentWriter(file, directFrom: directFrom, reserve: reserve)
            self.state = Mutex(State(size: size, hasher: hasher))
        }

        var size: Int64 { self.state.withLock { $0.lanes?.accepted ?? $0.size } }

        func digest() -> Digest { self.state.withLock { $0.hasher.finish() } }

        func append(_ segment: ByteBuffer) async throws {
            try await self.settle()
            try await self.pool.runToEnd { try self.appendNow(segment) }
        }

        func feed(_ segment: ByteBuffer) async throws {
            guard case .threads(let pool) = self.pool, segment.readableBytes >= Self.parallelFrom else {
                try await self.append(segment)
                return
            }
            do {
                try await self.lanes(pool).append(segment)
            } catch {
                try await self.settle()
                throw error
            }
        }

        func emptySegment() -> ByteBuffer { self.segments.take() }

        private func lanes(_ pool: NIOThreadPool) -> SegmentLanes {
            self.state.withLock { state in
                if let lanes = state.lanes { return lanes }
                let lanes = SegmentLanes(
                    pool: pool, segments: self.segments, size: state.size, hasher: state.hasher, write: self.writer.write)
                state.lanes = lanes
                return lanes
            }
        }

        func settle() async throws {
            guard let lanes = self.state.withLock({ $0.lanes }) else { return }
            let end = await lanes.end()
            self.state.withLock { state in
                state.size = end.size
                state.hasher = end.hasher
                state.lanes = nil
            }
            guard let failure = end.failure else { return }
            // Part of a segment may be there (a full disk): the file ends where the digest does.
            try? await self.pool.runToEnd { try self.file.truncate(to: end.size) }
            throw failure
        }

        private func appendNow(_ segment: ByteBuffer) throws {
            try self.state.withLock { state in
                do {
                    try self.writer.write(segment, at: state.size)
                } catch {
                    try? self.file.truncate(to: state.size)
                    throw error
                }
                segment.withUnsafeReadableBytes { state.hasher.update($0) }
                state.size += Int64(segment.readableBytes)
            }
        }

        func synchronize() async throws {
            try await self.settle()
            try await self.pool.runToEnd { try self.synchronizeOrGiveUp() }
        }

        /// Makes the content durable, or gives it up.
        ///
        /// After a flush that failed the system takes the pages for written: a second flush would succeed and prove nothing, and reading
        /// the file again would show what memory holds. So nobody may go on with this file; the client begins anew.
        func synchronizeOrGiveUp() throws(PersistenceError) {
            do throws(PersistenceError) {
                guard !self.state.withLock({ $0.isLost }) else {
                    throw .init(
                        .io, tried: "go on with \(self.file.path)", cause: "an earlier flush to disk failed",
                        advice: "begin the upload again")
                }
                try self.file.synchronize()
            } catch {
                self.state.withLock { $0.isLost = true }
                // Where even that fails it is remembered until the file is gone.
                do throws(PersistenceError) { try FileSystem.remove(self.file.path) } catch { self.lost.insert(self.name) }
                throw error
            }
        }
    }

    private struct Reader: BlobReader {
        let openFile: File
        let size: Int64
        let pool: BlockingWork

        init(file: File, size: Int64, pool: BlockingWork) {
            self.openFile = file
            self.size = size
            self.pool = pool
        }

        var file: File? { self.openFile }

        func read(at offset: Int64, count: Int) async throws -> ByteBuffer {
            let count = Int(max(0, min(Int64(count), self.size - offset)))
            return try await self.pool.runIfActive {
                var buffer = ByteBufferAllocator().buffer(capacity: count)
                try self.openFile.read(into: &buffer, count: count, at: offset)
                guard buffer.readableBytes == count else {
                    throw PersistenceError(.io, tried: "read \(self.openFile.path)", cause: "the file is shorter than the database says")
                }
                return buffer
            }
        }
    }
}
