// Proves that the collector removes what nothing reaches and nothing else, also while content is pushed again under its hands.

import NIOCore
import NIOPosix
import OCI
import Persistence
import RegistryCore
import Synchronization
import TestSupport
import Testing

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

@Suite struct GarbageTests {
    private let app = repository("app")
    private static let day: Int64 = 86_400

    /// Files have the time of the machine, so the clock starts there.
    private func makeSite() async throws -> Site {
        try await Site(clock: TestClock(milliseconds: Int64(Date().timeIntervalSince1970 * 1000)), smallContentLimit: 0)
    }

    private func collect(_ site: Site, _ policy: GarbagePolicy = GarbagePolicy()) async throws -> GarbageReport {
        try await GarbageCollector(store: site.store, uploads: site.uploads).collect(policy)
    }

    @Test("R6 what tags, indexes and subjects reach stays, whatever its age")
    func keepsWhatIsReached() async throws {
        let site = try await self.makeSite()
        let (one, two) = (TestImage("one"), TestImage("two"))
        for image in [one, two] { try await site.push(image, tags: [], to: self.app) }
        let index = Fixture.index([one.manifest.descriptor, two.manifest.descriptor])
        try await site.put(index, tags: [tag("v1")], to: self.app)
        let signature = TestImage("signature", subject: one.manifest, artifactType: "application/vnd.example.signature")
        try await site.push(signature, tags: [], to: self.app)
        site.clock.advance(seconds: 400 * Self.day)
        let report = try await self.collect(site, GarbagePolicy(untaggedAge: 0))
        #expect(report == GarbageReport())
        for digest in [index, one.manifest, two.manifest, signature.manifest].map(\.digest) {
            #expect(try await site.store.holds(digest, in: self.app, of: site.registry))
        }
        for blob in one.blobs + two.blobs + signature.blobs {
            let stored = try await site.store.blob(blob.digest, in: self.app, of: site.registry)
            let reader = try await site.store.open(stored)
            #expect(try await Array(reader.read(at: 0, count: Int(stored.size)).readableBytesView) == blob.bytes)
        }
    }

    @Test("R6 untagged manifests go only when asked, an index before its children, and take their content along")
    func untagged() async throws {
        let site = try await self.makeSite()
        let (one, two) = (TestImage("one"), TestImage("two"))
        for image in [one, two] { try await site.push(image, tags: [], to: self.app) }
        try await site.put(Fixture.index([one.manifest.descriptor]), tags: [tag("v1")], to: self.app)
        try await site.store.delete(tag("v1"), from: self.app, of: site.registry, origin: "test")
        site.clock.advance(seconds: 2 * Self.day)
        #expect(try await self.collect(site).manifests == 0)
        #expect(try await site.store.holds(two.manifest.digest, in: self.app, of: site.registry))
        let report = try await self.collect(site, GarbagePolicy(untaggedAge: 1000 * Self.day))
        #expect(report.manifests == 3)
        #expect(report.blobs == 4)
        #expect(site.scratch.files(below: "blobs").isEmpty)
        #expect(try await site.store.repositories(in: site.registry, after: nil, limit: 10).isEmpty)
    }

    @Test("R6 a blob that waits for its manifest stays for a day, and as long as a client has just been told of it")
    func waitingBlob() async throws {
        let site = try await self.makeSite()
        let layer = Fixture.layer("waiting")
        try await site.push(layer, to: self.app)
        site.clock.advance(seconds: Self.day - 60)
        #expect(try await self.collect(site) == GarbageReport())
        site.clock.advance(seconds: 120)
        try await site.store.renewLease(of: layer.digest)
        #expect(try await self.collect(site) == GarbageReport())
        site.clock.advance(seconds: 2 * 3600)
        let report = try await self.collect(site)
        #expect(report.links == 1)
        #expect(report.blobs == 1)
        #expect(report.bytes == Int64(layer.bytes.count))
        #expect(site.scratch.files(below: "blobs").isEmpty)
        await #expect(throws: RegistryError.self) { try await site.store.blob(layer.digest, in: self.app, of: site.registry) }
    }

    @Test("R6 an upload nobody goes on with is given up, one that is written to is not")
    func uploads() async throws {
        let site = try await self.makeSite()
        let id = try await site.uploads.begin(in: self.app, of: site.registry)
        #expect(try await self.collect(site).uploads == 0)
        site.clock.advance(seconds: Self.day + 60)
        #expect(try await self.collect(site).uploads == 1)
        await #expect(throws: RegistryError.self) { try await site.uploads.size(of: id, in: self.app, of: site.registry) }
        #expect(site.scratch.files(below: "uploads").isEmpty)
    }

    @Test("R6 a file that no row names goes, the files of rows stay")
    func strayFiles() async throws {
        let site = try await self.makeSite()
        let image = TestImage("one")
        try await site.push(image, tags: [tag("v1")], to: self.app)
        // Committed, then the process ended before the row was written.
        let stray = Fixture.layer("stray")
        let name = StagingName.transfer(stray.digest)
        let staged = try await site.blobs.stage(name)
        try await staged.append(ByteBuffer(bytes: stray.bytes))
        _ = try await site.blobs.commit(staged, as: stray.digest, size: nil)
        #expect(site.scratch.files(below: "blobs").count == 3)
        #expect(try await self.collect(site).files == 0)
        site.clock.advance(seconds: 2 * Self.day)
        let report = try await self.collect(site)
        #expect(report.files == 1)
        #expect(report.bytes == Int64(stray.bytes.count))
        #expect(site.scratch.files(below: "blobs").count == 2)
    }

    @Test("R6 content that is pushed again between its row and its file going is there afterwards")
    func pushedAgainMeanwhile() async throws {
        let site = try await self.makeSite()
        let layer = Fixture.layer("again")
        try await site.push(layer, to: self.app)
        site.clock.advance(seconds: 2 * Self.day)
        let hooked = HookedBlobStore(base: site.blobs)
        let store = RegistryStore(database: site.database, blobs: hooked, activity: site.activity, clock: site.clock.wall)
        let app = self.app
        hooked.setBeforeDelete { try await site.push(layer, to: app) }
        let report = try await GarbageCollector(store: store, uploads: Uploads(store: store)).collect(GarbagePolicy())
        #expect(report.blobs == 1)
        let stored = try await site.store.blob(layer.digest, in: self.app, of: site.registry)
        let reader = try await site.store.open(stored)
        #expect(try await Array(reader.read(at: 0, count: Int(stored.size)).readableBytesView) == layer.bytes)
    }
}

/// A store that lets something happen just before a file goes.
private final class HookedBlobStore: BlobStore {
    private let base: any BlobStore
    private let hook = Mutex<(@Sendable () async throws -> Void)?>(nil)

    init(base: any BlobStore) { self.base = base }

    func setBeforeDelete(_ hook: @escaping @Sendable () async throws -> Void) { self.hook.withLock { $0 = hook } }

    func stage(_ name: StagingName) async throws -> any StagedBlob { try await self.base.stage(name) }
    func resume(_ name: StagingName) async throws -> (any StagedBlob)? { try await self.base.resume(name) }
    func shorten(_ name: StagingName, to size: Int64) async throws { try await self.base.shorten(name, to: size) }
    func discard(_ name: StagingName) async throws { try await self.base.discard(name) }
    func staged(in area: StagingArea) async throws -> [(name: StagingName, modified: Int64)] { try await self.base.staged(in: area) }
    func commit(_ staged: any StagedBlob, as digest: Digest, size: Int64?) async throws -> StoredBlob {
        try await self.base.commit(staged, as: digest, size: size)
    }
    func open(_ blob: StoredBlob) async throws -> any BlobReader { try await self.base.open(blob) }
    func open(_ name: StagingName, size: Int64) async throws -> (any BlobReader)? { try await self.base.open(name, size: size) }
    func confirm(_ blob: StoredBlob) async throws { try await self.base.confirm(blob) }
    func shelves() async throws -> [String] { try await self.base.shelves() }
    func stored(on shelf: String) async throws -> [(blob: StoredBlob, modified: Int64)] { try await self.base.stored(on: shelf) }

    func delete(_ blob: StoredBlob) async throws {
        let hook = self.hook.withLock { hook in
            defer { hook = nil }
            return hook
        }
        try await hook?()
        try await self.base.delete(blob)
    }
}
