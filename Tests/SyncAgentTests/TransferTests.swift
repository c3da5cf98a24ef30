// Proves that transfers stop and go on at the right byte: at the end of a window and after a power loss; and that a
// resynchronisation by hand is done, also when it was ordered while nobody was there.

import Gateway
import GatewayProtocol
import NIOCore
import OCI
import Persistence
import Schedule
import TestSupport
import Testing

@testable import SyncAgent

@Suite struct TransferTests {
    private let app = repository("app")

    private func bytes(_ contents: [Content]) -> Int { Set(contents).reduce(0) { $0 + $1.bytes.count } }

    @Test("C11 C14 a transfer stops when the window closes and goes on in the next one at the byte where it stood")
    func windowCloses() async throws {
        // The test clock stands at 14:13 UTC.
        let family = try await Family(schedule: "0 14 * * *", window: "PT1H")
        let clock = family.child.clock
        let image = TestImage("big", layers: [Fixture.layer(bytes: 400_000, seed: 1)])
        try await family.parent.site.push(image, tags: [tag("v1")], to: self.app)
        family.transport.when(blobBytes: 150_000) { clock.advance(seconds: 3600) }
        try await family.following { () async throws in
            #expect(try await eventually { try await family.parentState?.report?.status?.result?.state == "Pending" })
            #expect(try await family.parentState?.report?.status?.details == [])
        }
        let stood = family.transport.blobBytes
        // What was on the way in that moment is kept: one part of each of the two transfers at most.
        #expect((150_000...150_000 + 2 * LoopbackTransport.partSize).contains(stood))
        #expect(try await family.childHas(tag("v1"), at: nil, in: self.app))
        // Started again outside of the window: not a byte of content, and no question for any.
        family.transport.forget()
        try await family.following { () async throws in
            let seen = try await family.parentState?.report?.status?.nonce
            #expect(try await eventually { try await family.parentState?.report?.status?.nonce != seen })
        }
        #expect(!family.transport.requests.contains { $0.target.contains("/v2/") || $0.target.contains("/state") })
        clock.advance(seconds: 23 * 3600)
        try await family.following { () async throws in
            #expect(try await family.until { try await family.childHas(tag("v1"), at: image.manifest, in: self.app) })
        }
        #expect(try await family.isWhole(image, in: self.app))
        #expect(family.transport.blobBytes == self.bytes(image.blobs))
        let ranges = family.transport.requests.filter { $0.target.contains(image.layers[0].digest.description) }.map(\.range)
        // The small configuration travels beside the layer: it may have been among the bytes before the end, or not.
        let places = [stood - image.config.bytes.count, stood].map { "bytes=\($0)-" }
        #expect(ranges.count == 1 && places.contains(ranges.first.flatMap { $0 } ?? ""))
    }

    @Test("C11 content moves while the window is open by the clock of the moment, wherever that has been set in between")
    func gate() throws {
        // The test clock stands at 14:13 UTC.
        let clock = TestClock()
        let gate = TransferGate(clock: clock.wall)
        try gate.pass()
        #expect(gate.rest == nil)
        let window = try SyncWindow(schedule: CronSchedule(parsing: "0 14 * * *"), duration: ISODuration(parsing: "PT1H"))
        gate.open(window)
        try gate.pass()
        let left = try #require(gate.rest)
        #expect((1...3600).contains(left))
        // Set back before its beginning while something is under way.
        clock.advance(seconds: -3600)
        #expect(throws: SyncError.self) { try gate.pass() }
        #expect(gate.rest == 0)
        clock.advance(seconds: 3600)
        #expect(gate.rest == left)
        clock.advance(seconds: Int64(left) - 1)
        try gate.pass()
        clock.advance(seconds: 1)
        #expect(throws: SyncError.self) { try gate.pass() }
        // Opened in the moment in which it closes.
        gate.open(window)
        #expect(gate.rest == 0)
        #expect(throws: SyncError.self) { try gate.passDown() }
        clock.advance(seconds: 23 * 3600)
        try gate.pass()
        #expect(gate.rest == 3600)
    }

    @Test("C14 after a power loss a transfer goes on at what was flushed, whatever the file's length says")
    func powerLoss() async throws {
        let family = try await Family()
        let image = TestImage("big", layers: [Fixture.layer(bytes: 9 << 20, seed: 1)])
        let layer = image.layers[0]
        try await family.parent.site.push(image, tags: [tag("v1")], to: self.app)
        let staged = try await family.child.blobs.stage(.transfer(layer.digest))
        try await staged.append(ByteBuffer(bytes: layer.bytes[..<3_000_000]))
        // The length of the file reached the disk, these bytes did not.
        try await staged.append(ByteBuffer(repeating: 0, count: 1_000_000))
        try await TransferOffsets(database: family.child.database, boot: "the boot before").record(layer.digest, durable: 3_000_000)
        try await family.following { () async throws in
            #expect(try await family.until { try await family.childHas(tag("v1"), at: image.manifest, in: self.app) })
        }
        #expect(try await family.isWhole(image, in: self.app))
        let ranges = family.transport.requests.filter { $0.target.contains(layer.digest.description) }.map(\.range)
        #expect(ranges == ["bytes=3000000-"])
        #expect(family.transport.blobBytes == self.bytes(image.blobs) - 3_000_000)
        #expect(try await family.child.database.read { try $0.rows("SELECT 1 FROM sync_transfer") }.isEmpty)
    }

    @Test("C14 within one boot all of the file is believed; offsets of a boot that cannot be told are not")
    func trusted() async throws {
        let site = try await Site()
        let digest = Digest.of("blob".utf8)
        let offsets = TransferOffsets(database: site.database, boot: "one")
        #expect(try await offsets.trusted(digest) == nil)
        try await offsets.record(digest, durable: 8)
        try await offsets.record(digest, durable: 16)
        #expect(try await offsets.trusted(digest) == nil)
        #expect(try await TransferOffsets(database: site.database, boot: "two").trusted(digest) == 16)
        let unknown = TransferOffsets(database: site.database, boot: "")
        try await unknown.record(digest, durable: 24)
        #expect(try await unknown.trusted(digest) == 24)
        try await unknown.forget(digest)
        #expect(try await unknown.trusted(digest) == nil)
        #expect(!TransferOffsets.thisBoot.isEmpty)
    }

    @Test("C17 a resynchronisation by hand compares at once, or when the connected registry is back, and once only")
    func resync() async throws {
        let family = try await Family()
        let (parent, child) = (family.parent, family.child)
        let one = TestImage("one")
        try await parent.site.push(one, tags: [tag("v1"), tag("v2")], to: self.app)
        @Sendable func isDone() async throws -> Bool {
            let found = try await family.parentState
            return found?.isResyncPending == false && found?.report?.status?.result?.state == "Succeeded"
        }
        try await family.following { () async throws in
            #expect(try await family.until { try await family.childHas(tag("v2"), at: one.manifest, in: self.app) })
            #expect(try await eventually { try await family.parentState?.report?.inStepSince != nil })
            // Somebody has tampered with the copy.
            try await child.store.delete(tag("v1"), from: self.app, of: child.registry, origin: "test")
            #expect(try await parent.connectedRegistries.resync("site1", in: parent.site.registry) != nil)
            #expect(try await eventually { try await isDone() })
            #expect(try await family.parentState?.report?.status?.result?.trigger == "ManualResync")
            #expect(try await family.childHas(tag("v1"), at: one.manifest, in: self.app))
        }
        try await child.store.delete(tag("v2"), from: self.app, of: child.registry, origin: "test")
        _ = try await parent.connectedRegistries.resync("site1", in: parent.site.registry)
        #expect(try await family.parentState?.isResyncPending == true)
        try await family.following { () async throws in #expect(try await eventually { try await isDone() }) }
        #expect(try await family.childHas(tag("v2"), at: one.manifest, in: self.app))
        family.transport.forget()
        try await family.following { () async throws in
            #expect(try await eventually { family.transport.requests.contains { $0.target.contains("/changes") } })
        }
        #expect(!family.transport.requests.contains { $0.target.contains("/state") })
    }
}
