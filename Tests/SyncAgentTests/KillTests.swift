// What a process leaves behind that is killed between two of its writes, and that the next one makes good.

import Gateway
import GatewayProtocol
import NIOCore
import OCI
import Persistence
import RegistryCore
import TestSupport
import Testing

@testable import SyncAgent

@Suite struct KillTests {
    private let app = repository("app")
    private static let day: Int64 = 86_400

    private func bytes(_ contents: [Content]) -> Int { Set(contents).reduce(0) { $0 + $1.bytes.count } }

    /// From here on what would change a row ends in nothing, as if the process were killed in front of it.
    private func stop(at event: String, _ site: Site) async throws {
        _ = try await site.database.write { session in
            try session.execute("CREATE TRIGGER killed BEFORE \(event) BEGIN SELECT RAISE(ABORT, 'killed'); END")
        }
    }

    private func goOn(_ site: Site) async throws { _ = try await site.database.write { try $0.execute("DROP TRIGGER killed") } }

    @Test("C14 content that was stored by a process that was killed before it wrote that down is not fetched again")
    func storedAndNotWrittenDown() async throws {
        let family = try await Family()
        let child = family.child
        let image = TestImage("big", layers: [Fixture.layer(bytes: 300_000, seed: 1), Fixture.layer(bytes: 90_000, seed: 2)])
        let (whole, damaged) = (image.layers[0], image.layers[1])
        try await family.parent.site.push(image, tags: [tag("v1")], to: self.app)
        let staged = try await child.blobs.stage(.transfer(whole.digest))
        try await staged.append(ByteBuffer(bytes: whole.bytes))
        _ = try await child.blobs.commit(staged, as: whole.digest, size: Int64(whole.bytes.count))
        // A file under the name of the other that is not what its name says.
        let folder = "\(child.scratch.path)/blobs/sha256/\(damaged.digest.hex.prefix(2))"
        try FileSystem.createFolder(folder)
        let other = try File("\(folder)/\(damaged.digest.hex).0000000000000001", .readWrite)
        try Array(damaged.bytes.reversed()).withUnsafeBytes { try other.write($0, at: 0) }
        try await family.following { () async throws in
            #expect(try await family.until { try await family.childHas(tag("v1"), at: image.manifest, in: self.app) })
        }
        #expect(try await family.isWhole(image, in: self.app))
        #expect(!family.transport.requests.contains { $0.target.hasSuffix("/\(whole.digest)") })
        #expect(family.transport.blobBytes == self.bytes(image.blobs) - whole.bytes.count)
    }

    @Test("C14 C11 what has arrived of an image waits for the rest of it for weeks, whatever the collector does meanwhile, and no longer")
    func waitsForTheRest() async throws {
        // The test clock stands at 14:13 UTC on a Monday; the window opens once a week.
        let family = try await Family(schedule: "0 14 * * 1", window: "PT1H")
        let (child, clock) = (family.child, family.child.clock)
        let image = TestImage("big", layers: [Fixture.layer(bytes: 100_000, seed: 1), Fixture.layer(bytes: 400_000, seed: 2)])
        try await family.parent.site.push(image, tags: [tag("v1")], to: self.app)
        // The small layer is here and the large one under way when the window closes.
        let (gate, reached) = (Gate(), Gate())
        family.transport.hold(gate, reached: reached, of: image.layers[1].digest, at: 200_000)
        try await family.following { () async throws in
            await reached.wait()
            #expect(try await eventually { try await child.store.content(image.layers[0].digest) != nil })
            clock.advance(seconds: 3600)
            gate.open()
            #expect(try await eventually { try await family.parentState?.report?.status?.result?.state == "Pending" })
        }
        #expect(try await child.store.content(image.layers[0].digest) != nil)
        let collector = GarbageCollector(store: child.store, uploads: child.uploads)
        for _ in 0..<6 {
            clock.advance(seconds: Self.day)
            #expect(try await collector.collect(GarbagePolicy()) == GarbageReport())
        }
        clock.advance(seconds: Self.day - 3600)
        try await family.following { () async throws in
            #expect(try await family.until { try await family.childHas(tag("v1"), at: image.manifest, in: self.app) })
        }
        #expect(try await family.isWhole(image, in: self.app))
        #expect(family.transport.blobBytes == self.bytes(image.blobs))
        // Once its image is whole it is kept by that, and goes with it.
        try await child.store.delete(image.manifest.digest, from: self.app, of: child.registry, origin: ChangeOrigin.parent)
        clock.advance(seconds: 2 * Self.day)
        #expect(try await collector.collect(GarbagePolicy()).blobs == image.blobs.count)
    }

    @Test("C13 R6 a child of an index that is collected while the rest of the index arrives is fetched again")
    func collectedMeanwhile() async throws {
        let family = try await Family()
        let (child, clock, site) = (family.child, family.child.clock, family.parent.site)
        let (one, two) = (TestImage("one"), TestImage("two", layers: [Fixture.layer(bytes: 400_000, seed: 2)]))
        let index = Fixture.index([one.manifest.descriptor, two.manifest.descriptor])
        try await site.push(one, tags: [tag("one")], to: self.app)
        let (gate, reached) = (Gate(), Gate())
        family.transport.hold(gate, reached: reached, of: two.layers[0].digest, at: 200_000)
        let collector = GarbageCollector(store: child.store, uploads: child.uploads)
        try await family.following { () async throws in
            #expect(try await family.until { try await family.childHas(tag("one"), at: one.manifest, in: self.app) })
            try await site.store.delete(tag("one"), from: self.app, of: site.registry, origin: "test")
            #expect(try await eventually { try await child.store.resolve(tag("one"), in: self.app, of: child.registry) == nil })
            try await site.push(two, tags: [], to: self.app)
            try await site.put(index, tags: [tag("all")], to: self.app)
            await reached.wait()
            // What was found here is here no more when the rest has come.
            clock.advance(seconds: 2 * Self.day)
            #expect(try await collector.collect(GarbagePolicy(untaggedAge: GarbagePolicy.day)).manifests == 1)
            #expect(try await !child.store.holds(one.manifest.digest, in: self.app, of: child.registry))
            gate.open()
            #expect(try await family.until { try await family.childHas(tag("all"), at: index, in: self.app) })
        }
        #expect(try await child.store.holdsWhole(index.digest, in: self.app, of: child.registry))
        #expect(try await family.isWhole(one, in: self.app))
        #expect(try await family.isWhole(two, in: self.app))
    }

    @Test(
        "C14 R6 what nobody has gone on with for five weeks goes: whole blobs and parts; a promise of a clock that was wrong binds nobody")
    func givenUp() async throws {
        let site = try await Site(clock: TestClock(milliseconds: Int64(ContentAge.now)))
        let (part, whole, promised) = (Fixture.layer("part"), Fixture.layer("whole"), Fixture.layer("promised"))
        let collector = GarbageCollector(store: site.store, uploads: site.uploads)
        try await site.blobs.stage(.transfer(part.digest)).append(ByteBuffer(bytes: part.bytes))
        func arrive(_ content: Content) async throws {
            let staged = try await site.blobs.stage(.transfer(content.digest))
            try await staged.append(ByteBuffer(bytes: content.bytes))
            let stored = try await site.blobs.commit(staged, as: content.digest, size: Int64(content.bytes.count))
            try await site.store.admitArrived(stored, of: site.registry)
        }
        try await arrive(whole)
        site.clock.advance(seconds: 34 * Self.day)
        #expect(try await collector.collect(GarbagePolicy()) == GarbageReport())
        site.clock.advance(seconds: 2 * Self.day)
        let survey = try await collector.survey(GarbagePolicy())
        #expect(survey.count == 2, "\(survey)")
        let report = try await collector.collect(GarbagePolicy())
        #expect(report.uploads == 1 && report.blobs == 1)
        #expect(try await site.blobs.staged(in: .transfers).isEmpty)
        site.clock.advance(seconds: 70 * 365 * Self.day)
        try await arrive(promised)
        site.clock.advance(seconds: -70 * 365 * Self.day)
        #expect(try await collector.collect(GarbagePolicy()).blobs == 1)
    }

    @Test("C9 a middle that is killed while it takes its settings knows a child before its token: the child tries again and does not end")
    func halfOfTheSettings() async throws {
        let chain = try await Chain(["middle", "leaf1"], mode: .readWrite)
        let (middle, leaf) = (chain.links[0], chain.links[1])
        try await self.stop(at: "INSERT ON token", middle.site)
        try await chain.running([middle]) { () async throws in
            #expect(
                try await eventually { try await middle.plane.connectedRegistries.find("leaf1", in: middle.site.registry) != nil })
        }
        try await chain.running([leaf]) { () async throws in
            #expect(try await eventually { await leaf.memory.memory.lockedOut != nil })
        }
        #expect(await leaf.memory.memory.stopped == nil)
        try await self.goOn(middle.site)
        try await chain.running { () async throws in
            #expect(try await eventually { await leaf.memory.memory.cursor != nil })
        }
    }

    @Test("C13 B6 a comparison that was killed at its end leaves no note of a tag that it has found to be gone")
    func notesOfTags() async throws {
        let family = try await Family()
        let child = family.child
        let image = TestImage("one")
        try await family.parent.site.push(image, tags: [tag("v1")], to: self.app)
        // It was seen there once, and has gone since.
        try await child.push(image, tags: [], to: self.app)
        try await child.store.noteProvisional(tag("gone"), at: image.manifest.digest, in: self.app, of: child.registry)
        child.clock.advance(seconds: 1)
        try await self.stop(at: "UPDATE OF log ON sync_state WHEN new.log IS NOT NULL", child)
        try await family.following { () async throws in
            #expect(try await family.until { try await family.childHas(tag("v1"), at: image.manifest, in: self.app) })
            #expect(
                try await eventually {
                    try await child.store.provisional(tag("gone"), in: self.app, of: child.registry) == nil
                })
        }
        #expect(await (try family.memory()).memory.cursor == nil)
    }

    @Test("B3 images that waited for a budget are tried at the next start: a larger one may have come just before the process was killed")
    func wokenAtStart() async throws {
        let family = try await Family()
        let child = family.child
        let image = TestImage("one")
        try await family.parent.site.push(image, tags: [tag("v1")], to: self.app)
        try await family.introduce()
        try await child.store.retract(
            tags: [tag("v1")], manifests: [], from: self.app, of: child.registry, origin: ChangeOrigin.parent)
        try await SkippedImages(database: child.database, clock: child.clock.wall).record(
            image.manifest.digest, tags: [tag("v1")], in: self.app, code: .budget, reason: "the budget is spent",
            until: Int(child.clock.wall.seconds) + 3000)
        try await family.following { () async throws in
            #expect(try await family.until { try await family.childHas(tag("v1"), at: image.manifest, in: self.app) })
        }
    }

    @Test("C8 an image that could not be had is not tried in the middle of the log: the rest may say that its tag has moved on")
    func retriedAtTheHead() async throws {
        let family = try await Family()
        let (parent, child) = (family.parent.site, family.child)
        let (old, new, other) = (TestImage("old"), TestImage("new"), TestImage("other"))
        try await parent.push(old, tags: [tag("v1")], to: self.app)
        try await parent.push(new, to: self.app)
        try await parent.push(other, to: self.app)
        try await family.introduce()
        // Longer than a page.
        for number in 0...GatewayLimits.maximumPage {
            try await parent.put(number % 2 == 0 ? new.manifest : other.manifest, tags: [tag("edge")], to: self.app)
        }
        try await parent.put(new.manifest, tags: [tag("v1")], to: self.app)
        try await child.store.retract(
            tags: [tag("v1")], manifests: [], from: self.app, of: child.registry, origin: ChangeOrigin.parent)
        let before = try await child.store.head().sequence
        try await SkippedImages(database: child.database, clock: child.clock.wall).record(
            old.manifest.digest, tags: [tag("v1")], in: self.app, reason: "it was damaged", until: 0)
        try await family.following { () async throws in
            #expect(try await family.until { try await family.childHas(tag("v1"), at: new.manifest, in: self.app) })
        }
        #expect(
            !(try await child.changes(after: before)).contains { $0.tag == tag("v1") && $0.digest == old.manifest.digest },
            "the tag was moved back for a while")
    }
}

/// Files have the time of the machine.
private enum ContentAge {
    static var now: Int64 { WallClock.system.milliseconds() }
}
