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

    @Test("R6 R4 a repository without content goes, and one that is locked stays, for what comes into it next")
    func lockedRepository() async throws {
        let site = try await self.makeSite()
        let (image, open) = (TestImage("one"), repository("open"))
        for name in [self.app, open] { try await site.push(image, tags: [tag("v1")], to: name) }
        var lock = LockChange()
        lock.set = .read
        try await site.store.setLocks(lock, of: .repository(self.app), in: site.registry, origin: "test")
        for name in [self.app, open] {
            try await site.store.delete(image.manifest.digest, from: name, of: site.registry, origin: "test")
        }
        site.clock.advance(seconds: 2 * Self.day)
        #expect(try await self.collect(site).links == 4)
        await #expect(throws: RegistryError.self) { _ = try await site.store.metadata(of: open, in: site.registry) }
        #expect(try await site.store.metadata(of: self.app, in: site.registry).locks == .read)
        try await site.push(image, tags: [tag("v2")], to: self.app)
        await #expect(throws: RegistryError.self) {
            _ = try await site.store.manifest(.tag(tag("v2")), in: self.app, of: site.registry)
        }
        try await site.store.delete(image.manifest.digest, from: self.app, of: site.registry, origin: "test")
        (lock.set, lock.cleared) = ([], .read)
        try await site.store.setLocks(lock, of: .repository(self.app), in: site.registry, origin: "test")
        site.clock.advance(seconds: 2 * Self.day)
        _ = try await self.collect(site)
        await #expect(throws: RegistryError.self) { _ = try await site.store.metadata(of: self.app, in: site.registry) }
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

    @Test("C14 R6 what is being collected is not taken over: its row would name a file that goes")
    func takenOverMeanwhile() async throws {
        let site = try await self.makeSite()
        let layers = (0..<5).map { Fixture.layer(bytes: 100_000, seed: UInt64($0)) }
        for layer in layers { try await site.push(layer, to: self.app) }
        site.clock.advance(seconds: 2 * Self.day)
        let hooked = HookedBlobStore(base: site.blobs)
        let store = RegistryStore(database: site.database, blobs: hooked, activity: site.activity, clock: site.clock.wall)
        let takers = Mutex<[Task<Void, any Error>]>([])
        hooked.setBeforeDelete {
            // The rows of all have gone, the files of most are there still.
            let taker = Task {
                for layer in layers { _ = try await store.takeOver(layer.digest, size: Int64(layer.bytes.count), of: site.registry) }
            }
            takers.withLock { $0.append(taker) }
            // Who would not wait for the collector is done by then.
            try await Task.sleep(for: .milliseconds(100))
        }
        let report = try await GarbageCollector(store: store, uploads: Uploads(store: store)).collect(GarbagePolicy())
        #expect(report.blobs == layers.count)
        for taker in takers.withLock({ $0 }) { try await taker.value }
        for layer in layers { #expect(try await store.content(layer.digest) == nil) }
    }

    @Test("R6 a child that was pushed again, or asked for, before its index stays, whatever the policy says", arguments: [false, true])
    func leasedManifest(isAskedFor: Bool) async throws {
        let site = try await self.makeSite()
        let (child, other) = (TestImage("child"), TestImage("other"))
        for image in [child, other] { try await site.push(image, tags: [], to: self.app) }
        site.clock.advance(seconds: 40 * Self.day)
        if isAskedFor {
            try await site.store.renewLease(of: child.manifest.digest, in: self.app, of: site.registry)
        } else {
            try await site.put(child.manifest, to: self.app)
        }
        for age in [0, GarbagePolicy.day] {
            let policy = GarbagePolicy(untaggedAge: age)
            let left = try await GarbageCollector(store: site.store, uploads: site.uploads).survey(policy).filter { $0.kind == .manifest }
            #expect(left.map(\.subject).contains(child.manifest.digest.description) == false)
        }
        #expect(try await self.collect(site, GarbagePolicy(untaggedAge: 0)).manifests == 1)
        // The index arrives, and has all of it.
        try await site.put(Fixture.index([child.manifest.descriptor]), tags: [tag("v1")], to: self.app)
        #expect(try await site.store.holdsWhole(Fixture.index([child.manifest.descriptor]).digest, in: self.app, of: site.registry))
    }

    @Test("R6 a manifest of no age is not collected before the hour is over in which its index may come; one that has lost its tag is")
    func freshManifest() async throws {
        let site = try await self.makeSite()
        try await site.push(TestImage("tagged"), tags: [tag("v1")], to: self.app)
        try await site.store.delete(tag("v1"), from: self.app, of: site.registry, origin: "test")
        site.clock.advance(seconds: 1)
        #expect(try await self.collect(site, GarbagePolicy(untaggedAge: 0)).manifests == 1)
        try await site.push(TestImage("child"), tags: [], to: self.app)
        #expect(try await self.collect(site, GarbagePolicy(untaggedAge: 0)).manifests == 0)
        site.clock.advance(seconds: 3599)
        #expect(try await self.collect(site, GarbagePolicy(untaggedAge: 0)).manifests == 0)
        site.clock.advance(seconds: 2)
        #expect(try await self.collect(site, GarbagePolicy(untaggedAge: 0)).manifests == 1)
    }

    @Test("R6 layers that could also be had elsewhere and those of a build cache's index stay, and are not deleted, once they were pushed")
    func namedOtherwise() async throws {
        let site = try await self.makeSite()
        let (foreign, cached) = (Fixture.layer("foreign"), Fixture.layer("cached"))
        let config = Fixture.config("with a foreign layer")
        let place = Descriptor(
            mediaType: try MediaType("application/vnd.oci.image.layer.nondistributable.v1.tar"), digest: foreign.digest,
            size: Int64(foreign.bytes.count))
        for blob in [foreign, cached, config] { try await site.push(blob, to: self.app) }
        try await site.put(Fixture.image(config: config.descriptor, layers: [place]), tags: [tag("foreign")], to: self.app)
        try await site.put(Fixture.index([cached.descriptor]), tags: [tag("cache")], to: self.app)
        site.clock.advance(seconds: 400 * Self.day)
        #expect(try await self.collect(site, GarbagePolicy(untaggedAge: 0)) == GarbageReport())
        for blob in [foreign, cached] {
            _ = try await site.store.open(try await site.store.blob(blob.digest, in: self.app, of: site.registry))
            let refused = await #expect(throws: RegistryError.self) {
                try await site.store.deleteBlob(blob.digest, from: self.app, of: site.registry)
            }
            #expect(refused?.code == .denied)
        }
        for name in ["foreign", "cache"] {
            try await site.store.delete(tag(name), from: self.app, of: site.registry, origin: "test")
        }
        site.clock.advance(seconds: 2 * Self.day)
        #expect(try await self.collect(site, GarbagePolicy(untaggedAge: 0)).blobs == 3)
    }

    @Test("R6 a search over more rows than one stretch finds each that goes, once, and nothing else")
    func manyRows() async throws {
        let site = try await Site()
        var kept: [Content] = []
        for index in 0..<2300 {
            let content = Fixture.layer("content \(index)")
            _ = try await site.store.admit(
                small: ByteBuffer(bytes: content.bytes), as: content.digest, into: index % 3 == 0 ? self.app : repository("other"),
                of: site.registry)
            if index % 57 == 0 { kept.append(content) }
        }
        let config = Fixture.config("all of them")
        try await site.push(config, to: self.app)
        try await site.put(Fixture.image(config: config.descriptor, layers: kept.map(\.descriptor)), tags: [tag("v1")], to: self.app)
        site.clock.advance(seconds: 2 * Self.day)
        let collector = GarbageCollector(store: site.store, uploads: site.uploads)
        let survey = try await collector.survey(GarbagePolicy())
        let report = try await collector.collect(GarbagePolicy())
        #expect(report.links == 2300 - kept.count && report.blobs == report.links)
        #expect(survey.count { $0.kind == .link } == report.links && survey.count { $0.kind == .blob } == report.blobs)
        #expect(try await collector.collect(GarbagePolicy()) == GarbageReport())
        for content in kept { #expect(try await site.store.content(content.digest) != nil) }
    }
}

/// A store that lets something happen just before a file goes.
private final class HookedBlobStore: BlobStore {
    private let base: any BlobStore
    private let hook = Mutex<(@Sendable () async throws -> Void)?>(nil)

    init(base: any BlobStore) { self.base = base }

    func setBeforeDelete(_ hook: @escaping @Sendable () async throws -> Void) { self.hook.withLock { $0 = hook } }

    func stage(_ name: StagingName, hashing algorithm: Digest.Algorithm) async throws -> any StagedBlob {
        try await self.base.stage(name, hashing: algorithm)
    }
    func resume(_ name: StagingName, hashing algorithm: Digest.Algorithm) async throws -> (any StagedBlob)? {
        try await self.base.resume(name, hashing: algorithm)
    }
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
