// Proves that many small images come with few requests, each byte once however the link ends, and that nothing depends on it.

import Gateway
import GatewayProtocol
import OCI
import Persistence
import RegistryCore
import Synchronization
import TestSupport
import Testing

@testable import SyncAgent

@Suite struct BundleTests {
    private func bytes(_ contents: [Content]) -> Int { Set(contents).reduce(0) { $0 + $1.bytes.count } }

    private static func name(_ number: Int) -> RepositoryName { repository("small/image\(number)") }

    /// Images of a config and two layers, one of which they share by threes.
    private func images(_ count: Int) -> [TestImage] {
        (0..<count).map { number in
            TestImage(
                "image \(number)",
                layers: [
                    Fixture.layer(bytes: 4000, seed: UInt64(number / 3)), Fixture.layer(bytes: 9000 + number, seed: UInt64(1000 + number)),
                ])
        }
    }

    private func push(_ images: [TestImage], to site: Site) async throws {
        for (number, image) in images.enumerated() { try await site.push(image, tags: [tag("v1")], to: Self.name(number)) }
    }

    private func haveArrived(_ images: [TestImage], _ family: Family) async throws -> Bool {
        for (number, image) in images.enumerated().reversed()
        where try await !family.childHas(tag("v1"), at: image.manifest, in: Self.name(number)) {
            return false
        }
        return true
    }

    private func expectWhole(_ images: [TestImage], _ family: Family) async throws {
        for (number, image) in images.enumerated() { #expect(try await family.isWhole(image, in: Self.name(number))) }
        let (parent, child) = (family.parent.site, family.child)
        let root = try await parent.store.stateSummary(of: parent.registry) { _ in true }.root
        #expect(try await child.store.stateSummary(of: child.registry) { _ in true }.root == root)
    }

    private func requests(_ family: Family, _ part: String) -> Int {
        family.transport.requests.filter { $0.target.contains(part) }.count
    }

    @Test("C12 C14 forty small images in as many repositories come with five requests, each blob once, and lie in their rows")
    func fewRequests() async throws {
        let family = try await Family()
        let images = self.images(40)
        try await self.push(images, to: family.parent.site)
        try await family.following { () async throws in
            #expect(try await family.until { try await self.haveArrived(images, family) })
            #expect(try await eventually { try await family.parentState?.report?.inStepSince != nil })
        }
        try await self.expectWhole(images, family)
        #expect(self.requests(family, "/v2/") == 0)
        // The summary, one list of all; manifests at once; 400 KiB of blobs in two answers.
        #expect(self.requests(family, "/state") == 2)
        #expect(self.requests(family, "/parcel") == 3)
        #expect(family.transport.blobBytes == self.bytes(images.flatMap(\.blobs)))
        let files = try await family.child.database.read { try $0.rows("SELECT 1 FROM blob WHERE generation <> 'row'").count }
        #expect(files == 0)
        // What was received is told, to the byte.
        let manifests = images.reduce(0) { $0 + $1.manifest.bytes.count }
        let told = try await family.parentState?.report?.status?.bytesReceived
        #expect(told == Int64(family.transport.blobBytes + manifests))
        // Once images are whole their content is kept by them alone.
        let limit = family.child.clock.milliseconds + 3_600_000
        #expect(try await family.child.database.read { try $0.rows("SELECT 1 FROM blob WHERE lease > ?", .integer(limit)).isEmpty })
    }

    @Test("C11 many small images that are pushed while the log is followed come the same way, and locks with them")
    func following() async throws {
        let family = try await Family()
        let (parent, images) = (family.parent.site, self.images(12))
        try await family.introduce()
        try await self.push(images, to: parent)
        var change = LockChange()
        change.set = [.delete]
        try await parent.store.setLocks(change, of: .tag(Self.name(3), tag("v1")), in: parent.registry, origin: "test")
        // Set and gone again.
        try await parent.push(images[0], tags: [tag("gone")], to: Self.name(5))
        try await parent.store.delete(tag("gone"), from: Self.name(5), of: parent.registry, origin: "test")
        family.transport.forget()
        try await family.following { () async throws in
            #expect(try await family.until { try await self.haveArrived(images, family) })
            #expect(try await eventually { try await family.parentState?.report?.inStepSince != nil })
        }
        try await self.expectWhole(images, family)
        #expect(self.requests(family, "/v2/") == 0)
        #expect(self.requests(family, "/parcel") > 0)
        #expect(try await family.child.store.locks(of: Self.name(3), in: family.child.registry).map(\.locks) == [[.delete]])
        #expect(try await family.childHas(tag("gone"), at: nil, in: Self.name(5)))
    }

    @Test(
        "C14 a link that is cut anywhere in many small images costs no byte twice",
        arguments: [1, 200, 4_500, 20_001, 60_000, 140_000])
    func cut(at count: Int) async throws {
        let family = try await Family()
        let images = self.images(20)
        try await self.push(images, to: family.parent.site)
        family.transport.cut(afterBlobBytes: count)
        try await family.following { () async throws in
            #expect(try await eventually { !family.transport.isOnline })
            family.transport.heal()
            #expect(try await family.until { try await self.haveArrived(images, family) })
            #expect(try await eventually { try await family.parentState?.report?.inStepSince != nil })
        }
        try await self.expectWhole(images, family)
        #expect(family.transport.blobBytes == self.bytes(images.flatMap(\.blobs)))
        #expect(try await family.child.blobs.staged(in: .transfers).isEmpty)
    }

    @Test("C11 C14 a window that closes in the middle of many small images stops them there, and the next one goes on")
    func windowCloses() async throws {
        // The test clock stands at 14:13 UTC.
        let family = try await Family(schedule: "0 14 * * *", window: "PT1H")
        let (clock, images) = (family.child.clock, self.images(20))
        try await self.push(images, to: family.parent.site)
        family.transport.when(blobBytes: 60_000) { clock.advance(seconds: 3600) }
        try await family.following { () async throws in
            #expect(try await eventually { try await family.parentState?.report?.status?.result?.state == "Pending" })
        }
        // A part that was on its way with each of two answers.
        #expect((60_000...60_000 + 2 * LoopbackTransport.partSize).contains(family.transport.blobBytes))
        #expect(try await !self.haveArrived(images, family))
        clock.advance(seconds: 23 * 3600)
        try await family.following { () async throws in
            #expect(try await family.until { try await self.haveArrived(images, family) })
        }
        #expect(family.transport.blobBytes == self.bytes(images.flatMap(\.blobs)))
    }

    @Test("C9 a parent that does not know these calls is asked for everything alone, and is not asked for them again and again")
    func olderParent() async throws {
        let family = try await Family()
        let images = self.images(12)
        try await self.push(images, to: family.parent.site)
        family.transport.makeUnknown(["parcel", "state"])
        try await family.following { () async throws in
            #expect(try await family.until { try await self.haveArrived(images, family) })
            #expect(try await eventually { try await family.parentState?.report?.inStepSince != nil })
        }
        try await self.expectWhole(images, family)
        #expect(family.transport.requests.filter { $0.target.hasSuffix("-of-tomorrow") }.count == 1)
        #expect(family.transport.blobBytes == self.bytes(images.flatMap(\.blobs)))
    }

    @Test("C16 one small image that is damaged at the parent keeps none of the others waiting, and is told")
    func damaged() async throws {
        let family = try await Family()
        let (parent, images) = (family.parent.site, self.images(9))
        try await self.push(images, to: parent)
        let damaged = images[4].layers[1]
        _ = try await parent.database.write {
            try $0.execute(
                "UPDATE small_content SET bytes = ? WHERE id = (SELECT small FROM blob WHERE digest = ?)",
                .blob(damaged.bytes.map { $0 ^ 1 }), SQLValue(damaged.digest))
        }
        try await family.following { () async throws in
            #expect(try await eventually { try await family.parentState?.report?.status?.details.map(\.code) == ["ContentError"] })
        }
        for (number, image) in images.enumerated() {
            #expect(try await family.childHas(tag("v1"), at: number == 4 ? nil : image.manifest, in: Self.name(number)))
        }
        // Once in the parcel, and twice alone, as ever.
        #expect(family.transport.blobBytes == self.bytes(images.flatMap(\.blobs)) + 2 * damaged.bytes.count)
    }

    @Test("C13 indexes and large layers among small images: what is small comes together, the rest alone, sparse as it is")
    func mixed() async throws {
        let family = try await Family()
        let (parent, images) = (family.parent.site, self.images(6))
        let large = TestImage("large", layers: [Fixture.layer(bytes: 90_000, seed: 77), Fixture.layer(bytes: 500, seed: 78)])
        let absent = TestImage("absent")
        let index = Fixture.index([images[0].manifest.descriptor, images[1].manifest.descriptor])
        let sparse = Fixture.index([images[2].manifest.descriptor, absent.manifest.descriptor])
        let fat = Fixture.index([large.manifest.descriptor, index.descriptor])
        for image in images + [large] { try await parent.push(image, to: Self.name(0)) }
        for (content, name) in [(index, "index"), (sparse, "sparse"), (fat, "fat")] {
            try await parent.put(content, tags: [tag(name)], to: Self.name(0))
        }
        try await parent.put(images[3].manifest, tags: [tag("plain")], to: Self.name(0))
        try await family.following { () async throws in
            #expect(try await family.until { try await family.childHas(tag("fat"), at: fat, in: Self.name(0)) })
            #expect(try await eventually { try await family.parentState?.report?.inStepSince != nil })
        }
        #expect(try await family.childHas(tag("index"), at: index, in: Self.name(0)))
        #expect(try await family.childHas(tag("sparse"), at: sparse, in: Self.name(0)))
        for image in images[..<4] + [large] { #expect(try await family.isWhole(image, in: Self.name(0))) }
        #expect(family.transport.blobBytes == self.bytes(images[..<4].flatMap(\.blobs) + large.blobs))
        // What is too large for a parcel, and what the parent does not have.
        let alone = family.transport.requests.filter { $0.target.contains("/v2/") }.map {
            $0.target.split(separator: "/").last.map(String.init)
        }
        #expect(Set(alone) == ["\(large.layers[0].digest)", "\(absent.manifest.digest)"])
    }

    @Test("B3 under a budget images come one after the other, the first of them whole before the next begins")
    func budget() async throws {
        let family = try await Family(budget: ByteBudget(hour: 1 << 20))
        let images = self.images(8)
        try await self.push(images, to: family.parent.site)
        try await family.following { () async throws in
            #expect(try await family.until { try await self.haveArrived(images, family) })
        }
        #expect(self.requests(family, "/parcel") == 0)
        #expect(family.transport.blobBytes == self.bytes(images.flatMap(\.blobs)))
    }

    @Test("C16 what is locked against reading at the parent is left out, told, and comes when it is unlocked")
    func locked() async throws {
        let family = try await Family()
        let (parent, images) = (family.parent.site, self.images(6))
        try await self.push(images, to: parent)
        @Sendable func lock(_ set: ImageLocks, _ cleared: ImageLocks = []) async throws {
            var change = LockChange()
            (change.set, change.cleared) = (set, cleared)
            try await parent.store.setLocks(
                change, of: .manifest(Self.name(2), images[2].manifest.digest), in: parent.registry, origin: "test")
        }
        try await lock([.read])
        try await family.following { () async throws in
            #expect(try await eventually { try await family.parentState?.report?.status?.details.map(\.code) == ["ContentLocked"] })
            #expect(try await family.childHas(tag("v1"), at: nil, in: Self.name(2)))
            #expect(try await family.childHas(tag("v1"), at: images[5].manifest, in: Self.name(5)))
            try await lock([], [.read])
            #expect(try await family.until { try await self.haveArrived(images, family) })
        }
        #expect(family.transport.blobBytes == self.bytes(images.flatMap(\.blobs)))
    }

    @Test("B6 who wants what a bundle leads waits for it; where the bundle gives it up, one of those who wait takes its place")
    func leading() async throws {
        let work = SharedWork<Int, String>()
        let kept = try #require(work.lead(1))
        #expect(work.lead(1) == nil)
        async let waiting = work.run(1) { "alone" }
        kept.end("together")
        // Whoever came before the end has its outcome, who came later tries anew.
        #expect(["together", "alone"].contains(try await waiting.value))
        let given = try #require(work.lead(2))
        let begun = Gate()
        let second = Task {
            begun.open()
            return try await work.run(2) { "alone" }
        }
        await begun.wait()
        given.end(nil)
        #expect(try await second.value.value == "alone")
        #expect(try await second.value.isOwn)
        #expect(work.lead(2) != nil)
    }
}
