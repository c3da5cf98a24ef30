// Proves that content cannot fill the disk to the brim, and that what does not fit leaves nothing behind.

import NIOCore
import OCI
import Persistence
import RegistryCore
import Synchronization
import TestSupport
import Testing

@Suite struct FullDiskTests {
    private let app = repository("app")

    /// A disk whose size a test decides.
    private final class Disk: Sendable {
        private let state = Mutex<(free: Int64, asked: Int)>((0, 0))

        var free: Int64 {
            get { self.state.withLock { $0.free } }
            set { self.state.withLock { $0.free = newValue } }
        }
        var asked: Int { self.state.withLock { $0.asked } }

        func reserve(of total: Int64) -> DiskReserve {
            DiskReserve {
                self.state.withLock { state in
                    state.asked += 1
                    return (state.free, total)
                }
            }
        }
    }

    @Test("R7 the last of a disk is kept, less of a small one, and a large one is not measured for each write")
    func reserve() throws {
        let disk = Disk()
        disk.free = 200 << 20
        let large = disk.reserve(of: 1 << 40)
        for _ in 0..<136 { try large.take(1 << 20) }
        #expect(disk.asked < 20)
        disk.free = DiskReserve.size + (1 << 20) - 1
        let error = #expect(throws: PersistenceError.self) { try large.take(1 << 20) }
        #expect(error?.code == .noSpace)
        #expect(error?.description.contains("has \(disk.free) bytes left, of which \(DiskReserve.size) are kept") == true)
        try large.take(1000)
        disk.free += 1 << 20
        try large.take(1 << 20)
        let small = disk.reserve(of: 320 << 20)
        disk.free = 11 << 20
        try small.take(1 << 20)
        #expect(throws: PersistenceError.self) { try disk.reserve(of: 320 << 20).take(2 << 20) }
    }

    @Test("R7 R2 an upload that the disk has no room for goes at once, nothing new is taken, and tags can be deleted")
    func upload() async throws {
        let site = try await Site()
        let image = TestImage("one")
        try await site.push(image, tags: [tag("v1")], to: self.app)
        let disk = Disk()
        let store = RegistryStore(
            database: site.database, blobs: FileBlobStore(folder: site.folder, pool: .singleton, reserve: disk.reserve(of: 1 << 40)),
            activity: site.activity, clock: site.clock.wall)
        let uploads = Uploads(store: store)
        let segment = ByteBuffer(repeating: 7, count: 1 << 20)
        func refused(_ body: () async throws -> Void) async throws {
            do {
                try await body()
                Issue.record("there was room")
            } catch let error as PersistenceError {
                #expect(error.code == .noSpace)
            } catch let error as RegistryError {
                #expect(error.code == .unavailable)
            }
        }
        for isLast in [false, true] {
            disk.free = DiskReserve.size + (3 << 20)
            let id = try await uploads.begin(in: self.app, of: site.registry)
            #expect(
                try await uploads.append(
                    Parts([[UInt8](repeating: 1, count: 1 << 20)]), range: nil, length: nil, to: id, in: self.app, of: site.registry) == 1
                    << 20)
            let rest = Parts(Array(repeating: [UInt8](segment.readableBytesView), count: 4))
            disk.free = DiskReserve.size
            try await refused {
                if isLast {
                    _ = try await uploads.finish(
                        rest, range: nil, length: nil, as: image.config.digest, upload: id, in: self.app, of: site.registry)
                } else {
                    _ = try await uploads.append(rest, range: nil, length: nil, to: id, in: self.app, of: site.registry)
                }
            }
            #expect(site.scratch.files(below: "uploads").isEmpty)
            let gone = await #expect(throws: RegistryError.self) { try await uploads.size(of: id, in: self.app, of: site.registry) }
            #expect(gone?.code == .blobUploadUnknown)
        }
        disk.free = DiskReserve.size
        let small = Content(Array("small".utf8), .layer)
        try await refused {
            _ = try await store.admit(small: ByteBuffer(bytes: small.bytes), as: small.digest, into: self.app, of: site.registry)
        }
        let index = TestImage("two").manifest
        try await refused {
            let new = try NewManifest(index.bytes, declared: index.mediaType, expected: index.digest)
            try await store.put(new, tags: [tag("v2")], into: self.app, of: site.registry, origin: "test")
        }
        try await store.delete(tag("v1"), from: self.app, of: site.registry, origin: "test")
        #expect(try await store.resolve(tag("v1"), in: self.app, of: site.registry) == nil)
    }
}
