internal import NIOCore
internal import OCI
internal import Persistence
internal import TestSupport
internal import Testing

@testable import RegistryCore

/// Content that lies in its row (decision 0015).
@Suite struct SmallContentTests {
    private let app = repository("app")

    private func read(_ site: Site, _ content: Content) async throws -> [UInt8] {
        let stored = try await site.store.blob(content.digest, in: self.app, of: site.registry)
        let reader = try await site.store.open(stored)
        #expect(reader.size == Int64(content.bytes.count))
        return try await Array(reader.read(at: 0, count: content.bytes.count + 1).readableBytesView)
    }

    private func files(_ site: Site) -> Int { site.scratch.files(below: "blobs").count + site.scratch.files(below: "uploads").count }

    /// Puts content into a file, as a connected registry does.
    private func transfer(_ content: Content, _ site: Site) async throws {
        let staged = try await site.blobs.stage(.transfer(content.digest))
        try await staged.append(ByteBuffer(bytes: content.bytes))
        try await site.store.admit(try await site.blobs.commit(staged, as: content.digest, size: nil), into: self.app, of: site.registry)
    }

    @Test(
        "R7 content up to the limit needs no file, a byte more does; both read the same", arguments: [0, 1, 1000, 32 << 10, 32 << 10 + 1])
    func limit(size: Int) async throws {
        let site = try await Site()
        let content = Fixture.layer(bytes: size, seed: UInt64(size))
        try await site.push(content, to: self.app)
        #expect(self.files(site) == (size > RegistryStore.defaultSmallContentLimit ? 1 : 0))
        #expect(try await self.read(site, content) == content.bytes)
        let reader = try await site.store.open(site.store.blob(content.digest, in: self.app, of: site.registry))
        let (from, to) = (size / 3, size / 2)
        #expect(try await Array(reader.read(at: Int64(from), count: to - from).readableBytesView) == Array(content.bytes[from..<to]))
        #expect(try await reader.read(at: Int64(size), count: 1).readableBytes == 0)
        #expect(try await site.store.usage(of: site.registry) == Int64(size))
    }

    @Test("R1 R7 small content that is not what the digest says is refused, and nothing of it is kept")
    func wrongDigest() async throws {
        let site = try await Site()
        let content = Fixture.layer(bytes: 100, seed: 1)
        let id = try await site.uploads.begin(in: self.app, of: site.registry)
        let error = await #expect(throws: RegistryError.self) {
            _ = try await site.uploads.finish(
                Parts([content.bytes]), range: nil, length: nil, as: Digest.of("another".utf8), upload: id, in: self.app, of: site.registry)
        }
        #expect(error?.code == .digestInvalid)
        await #expect(throws: RegistryError.self) { try await site.uploads.size(of: id, in: self.app, of: site.registry) }
        #expect(try await site.store.content(content.digest) == nil)
        #expect(try await site.store.content(Digest.of("another".utf8)) == nil)
        #expect(self.files(site) == 0)
    }

    @Test("R1 a chunk before the last makes a file, whatever its size; both digests", arguments: [Digest.Algorithm.sha256, .sha512])
    func chunks(algorithm: Digest.Algorithm) async throws {
        let site = try await Site()
        let content = Fixture.layer(bytes: 300, seed: 3)
        let digest = Digest.of(content.bytes, algorithm: algorithm)
        for cut in [0, 100, 300] {
            let id = try await site.uploads.begin(in: self.app, of: site.registry)
            let first = try await site.uploads.append(
                Parts([Array(content.bytes[..<cut])]), range: nil, length: Int64(cut), to: id, in: self.app, of: site.registry)
            #expect(first == Int64(cut))
            _ = try await site.uploads.finish(
                Parts([Array(content.bytes[cut...])]), range: nil, length: nil, as: digest, upload: id, in: self.app, of: site.registry)
            let stored = try await site.store.blob(digest, in: self.app, of: site.registry)
            #expect(try await Array(site.store.open(stored).read(at: 0, count: 300).readableBytesView) == content.bytes)
        }
        // The first of them lies in its row, so the files of the others went again.
        #expect(self.files(site) == 0)
    }

    @Test("R7 a body that breaks off keeps what arrived of it, though it would have been small")
    func brokenBody() async throws {
        let site = try await Site()
        let content = Fixture.layer(bytes: 300, seed: 4)
        let id = try await site.uploads.begin(in: self.app, of: site.registry)
        await #expect(throws: RegistryError.self) {
            _ = try await site.uploads.finish(
                Parts([Array(content.bytes[..<200])]), range: nil, length: 300, as: content.digest, upload: id, in: self.app,
                of: site.registry)
        }
        #expect(try await site.uploads.size(of: id, in: self.app, of: site.registry) == 200)
        // Another process takes it up.
        let later = Uploads(store: site.store)
        _ = try await later.finish(
            Parts([Array(content.bytes[200...])]), range: nil, length: 100, as: content.digest, upload: id, in: self.app, of: site.registry)
        #expect(try await self.read(site, content) == content.bytes)
    }

    @Test("R7 damage in a row is found and set aside with its bytes; the next push mends it, also without that", arguments: [false, true])
    func damage(isQuarantined: Bool) async throws {
        let site = try await Site()
        let content = Fixture.layer(bytes: 300, seed: 5)
        try await site.push(content, to: self.app)
        let bad = [UInt8](repeating: 7, count: 300)
        try await site.database.write { _ = try $0.execute("UPDATE small_content SET bytes = ?", .blob(bad)) }
        let verifier = ContentVerifier(store: site.store)
        var report = try await verifier.verify()
        #expect(report.damage.map(\.problem) == [.wrongDigest])
        if isQuarantined {
            try await verifier.quarantine(&report) { _ in
                Issue.record("there is no file to move")
                return nil
            } keep: { name, bytes in
                #expect(bytes == bad)
                return name
            }
            #expect(report.quarantined == ["sha256-\(content.digest.hex)"])
            await #expect(throws: RegistryError.self) { try await site.store.blob(content.digest, in: self.app, of: site.registry) }
        }
        let version = site.store.versions.removals
        site.clock.advance(seconds: 1)
        try await site.push(content, to: self.app)
        #expect(try await self.read(site, content) == content.bytes)
        #expect(try await verifier.verify().damage.isEmpty)
        // What was read of it into memory is void then; a push of what is whole makes nothing void.
        #expect(isQuarantined || site.store.versions.removals != version)
        let mended = site.store.versions.removals
        site.clock.advance(seconds: 1)
        try await site.push(content, to: self.app)
        #expect(site.store.versions.removals == mended)
    }

    @Test("R7 small content that could not be kept is not taken out of service")
    func notKept() async throws {
        let site = try await Site()
        let content = Fixture.layer(bytes: 300, seed: 5)
        try await site.push(content, to: self.app)
        let bad = [UInt8](repeating: 7, count: 300)
        try await site.database.write { _ = try $0.execute("UPDATE small_content SET bytes = ?", .blob(bad)) }
        let verifier = ContentVerifier(store: site.store)
        var report = try await verifier.verify()
        let found = report
        await #expect(throws: PersistenceError.self) {
            try await verifier.quarantine(&report) { _ in
                nil
            } keep: { name, _ in
                throw PersistenceError(.noSpace, tried: "keep \(name)", cause: "the disk is full")
            }
        }
        #expect(try await verifier.verify() == found)
    }

    @Test("R7 content in a file stays there when it is pushed small; where the file is gone or cut short the row takes its place")
    func fileAndRow() async throws {
        let site = try await Site()
        let content = Fixture.layer(bytes: 300, seed: 6)
        try await self.transfer(content, site)
        try await site.push(content, to: self.app)
        #expect(self.files(site) == 1)
        let path = try #require(site.scratch.files(below: "blobs").first)
        try File("\(site.scratch.path)/blobs/\(path)", .readWriteExisting).truncate(to: 3)
        try await site.push(content, to: self.app)
        #expect(try await self.read(site, content) == content.bytes)
        #expect(self.files(site) == 0)
        // And back: a file that comes later is not kept beside the row.
        try await self.transfer(content, site)
        #expect(try await self.read(site, content) == content.bytes)
        #expect(self.files(site) == 0)
    }

    @Test("R6 small content that nothing needs goes with its row, and an upload nobody goes on with is forgotten")
    func garbage() async throws {
        let site = try await Site()
        try await site.push(Fixture.layer(bytes: 300, seed: 7), to: self.app)
        let id = try await site.uploads.begin(in: self.app, of: site.registry)
        site.clock.advance(seconds: 40 * 86_400)
        let collector = GarbageCollector(store: site.store, uploads: site.uploads)
        #expect(Set(try await collector.survey(GarbagePolicy()).map(\.kind)) == [.upload, .link, .blob])
        let report = try await collector.collect(GarbagePolicy())
        #expect((report.uploads, report.blobs, report.bytes) == (1, 1, 300))
        await #expect(throws: RegistryError.self) { try await site.uploads.size(of: id, in: self.app, of: site.registry) }
    }

    @Test("R7 uploads that nobody goes on with cost memory up to a limit, then files")
    func manyUploads() async throws {
        let site = try await Site()
        for index in 0..<10_010 {
            _ = try await site.uploads.begin(in: index % 2 == 0 ? self.app : repository("other"), of: site.registry)
        }
        #expect(site.scratch.files(below: "uploads").count == 10)
    }

    @Test("R7 small content of the version that kept it in the rows that name it is found, collected and mended as before")
    func upgrade() async throws {
        let folder = ScratchFolder()
        try FileSystem.createFolder(folder.path)
        let path = folder.path + "/old.db"
        let before = RegistrySchema.migrations.filter { $0.name != SmallContentSchema.migration.name }
        let old = try SQLiteDatabase(path: path, migrations: before)
        let contents = [0, 1, 9000, 32 << 10].enumerated().map { Fixture.layer(bytes: $1, seed: UInt64($0)) }
        try await old.write { session in
            for content in contents {
                try session.execute(
                    "INSERT INTO blob (digest, size, generation, created, lease, content) VALUES (?, ?, 'row', 1, 2, ?)",
                    SQLValue(content.digest), .integer(Int64(content.bytes.count)), .blob(content.bytes))
            }
            try session.execute(
                "INSERT INTO blob (digest, size, generation, created, lease) VALUES (?, 5, 'file', 1, 2)", SQLValue(Digest.of("file".utf8)))
        }
        try await old.close()
        let database = try SQLiteDatabase(path: path, migrations: RegistrySchema.migrations)
        let store = RegistryStore(
            database: database, blobs: FileBlobStore(folder: try DataFolder(folder.path + "/data"), pool: .singleton), activity: Activity())
        for content in contents {
            let reader = try await store.open(try #require(try await store.content(content.digest)))
            #expect(try await Array(reader.read(at: 0, count: 40_000).readableBytesView) == content.bytes)
        }
        #expect(try await store.content(Digest.of("file".utf8)) == StoredBlob(digest: .of("file".utf8), size: 5, generation: "file"))
        // Content goes with the row that names it, and what comes next takes nobody's place.
        try await database.write { _ = try $0.execute("DELETE FROM blob WHERE digest = ?", SQLValue(contents[3].digest)) }
        try await database.write { _ = try $0.execute("DELETE FROM blob WHERE digest = ?", SQLValue(contents[1].digest)) }
        let registry = try await store.registry(named: "registry")
        _ = try await store.admit(small: ByteBuffer(bytes: contents[3].bytes), as: contents[3].digest, into: self.app, of: registry)
        let lengths = try await database.read { try $0.rows("SELECT length(bytes) FROM small_content ORDER BY 1").map { $0.integer(0) } }
        #expect(lengths == [0, 9000, 32 << 10])
        try await database.close()
        // The version before says that it cannot read this.
        #expect(throws: PersistenceError.self) { _ = try SQLiteDatabase(path: path, migrations: before) }
    }
}
