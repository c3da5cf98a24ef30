// Proves that a verification finds each kind of damage and nothing else, and that a quarantine lets the next push mend it.

import GRDB
import NIOCore
import OCI
import Persistence
import RegistryCore
import TestSupport
import Testing

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

@Suite struct VerifierTests {
    private let app = repository("app")

    private func verify(_ site: Site) async throws -> VerificationReport { try await ContentVerifier(store: site.store).verify() }

    private func path(of content: Content, _ site: Site) throws -> String {
        let name = try #require(site.scratch.files(below: "blobs").first { $0.contains(content.digest.hex) })
        return "\(site.scratch.path)/blobs/\(name)"
    }

    private func overwrite(_ path: String, at offset: Int64, with bytes: [UInt8]) throws {
        let file = try File(path, .readWriteExisting)
        try bytes.withUnsafeBytes { try file.write($0, at: offset) }
    }

    /// Changes rows behind the back of everything that would forbid it.
    private func corrupt(_ site: Site, _ statements: String...) async throws {
        var configuration = Configuration()
        configuration.foreignKeysEnabled = false
        configuration.busyMode = .timeout(10)
        let queue = try DatabaseQueue(path: site.folder.databasePath, configuration: configuration)
        for statement in statements { try await queue.write { try $0.execute(sql: statement) } }
        try queue.close()
    }

    private func quarantine(_ site: Site) async throws -> VerificationReport {
        var report = try await self.verify(site)
        let folder = site.scratch.path + "/quarantine"
        try await ContentVerifier(store: site.store).quarantine(&report) { blob in
            try await site.blobs.setAside(blob, to: folder)
        } keep: { name, bytes in
            try FileSystem.createFolder(folder)
            try FileSystem.replace("\(folder)/\(name)", with: bytes)
            return name
        }
        return report
    }

    @Test("R7 what was pushed verifies, to the last byte")
    func clean() async throws {
        let site = try await Site(smallContentLimit: 0)
        let image = TestImage("one", layers: [Fixture.layer(bytes: 2_500_000, seed: 4), Fixture.layer("")])
        try await site.push(image, tags: [tag("v1")], to: self.app)
        try await site.put(Fixture.index([image.manifest.descriptor]), tags: [tag("all")], to: self.app)
        try await site.push(Content(Array("long".utf8), .layer, algorithm: .sha512), to: self.app)
        let report = try await self.verify(site)
        #expect(report.damage == [])
        #expect((report.blobs, report.manifests, report.tags, report.strayFiles) == (4, 2, 2, 0))
        #expect(try await report.bytes == ContentVerifier(store: site.store).size())
    }

    @Test("R7 A3 what was deleted and is kept is hashed, too; what is damaged of it is found and moved aside")
    func deleted() async throws {
        let site = try await Site()
        try await site.database.write { try SoftDelete.set(isOn: true, age: GarbagePolicy.day, of: site.registry, $0) }
        let images = (0..<4).map { TestImage("image\($0)") }
        for (index, image) in images.enumerated() {
            try await site.push(image, tags: [tag("v\(index)")], to: self.app)
            try await site.store.delete(image.manifest.digest, from: self.app, of: site.registry, origin: "test")
        }
        let clean = try await self.verify(site)
        #expect(clean.damage == [] && clean.manifests == 4)
        #expect(try await clean.bytes == ContentVerifier(store: site.store).size())
        let digests = images.map { "\($0.manifest.digest)" }
        try await self.corrupt(
            site, "UPDATE deleted_manifest SET bytes = x'7b7d' WHERE digest = '\(digests[0])'",
            "DELETE FROM deleted_entry WHERE manifest = (SELECT id FROM deleted_manifest WHERE digest = '\(digests[1])')",
            "DELETE FROM repository_blob WHERE digest = '\(images[2].layers[0].digest)'",
            "DELETE FROM blob WHERE digest = '\(images[2].layers[0].digest)'")
        let found = try await self.quarantine(site)
        #expect(
            Set(found.damage.filter { $0.problem != .database }.map { "\($0.problem.rawValue) \($0.subject)" }) == [
                "deleted-manifest-damaged \(digests[0])", "deleted-manifest-damaged \(digests[1])",
                "deleted-content-missing \(images[2].layers[0].digest)",
            ], "\(found.damage)")
        #expect(found.quarantined.count == 2)
        let left = try await site.store.deletedManifests(of: self.app, in: site.registry, after: 0, limit: 100).map(\.digest)
        #expect(Set(left) == [images[2].manifest.digest, images[3].manifest.digest])
    }

    @Test("R7 damaged, shortened, lengthened and lost files are found and told apart")
    func files() async throws {
        let site = try await Site(smallContentLimit: 0)
        let layers = (0..<4).map { Fixture.layer(bytes: 5000, seed: UInt64($0)) }
        let image = TestImage("one", layers: layers)
        try await site.push(image, tags: [tag("v1")], to: self.app)
        try self.overwrite(self.path(of: layers[0], site), at: 2500, with: [layers[0].bytes[2500] ^ 1])
        try File(self.path(of: layers[1], site), .readWriteExisting).truncate(to: 4999)
        try self.overwrite(self.path(of: layers[2], site), at: 5000, with: [0])
        try FileSystem.remove(self.path(of: layers[3], site))
        let found = try await self.verify(site).damage
        let expected: [(Content, Damage.Problem)] = [
            (layers[0], .wrongDigest), (layers[1], .wrongSize), (layers[2], .wrongSize), (layers[3], .fileMissing),
        ]
        #expect(found.count == 4)
        for (content, problem) in expected {
            #expect(found.contains { $0.subject == content.digest.description && $0.problem == problem }, "\(found)")
        }
    }

    @Test("R7 a quarantined blob is unknown, its file is kept, and the next push of it mends the image")
    func quarantineOfBlob() async throws {
        let site = try await Site(smallContentLimit: 0)
        let image = TestImage("one")
        try await site.push(image, tags: [tag("v1")], to: self.app)
        let bad = image.layers[0]
        try self.overwrite(self.path(of: bad, site), at: 0, with: [bad.bytes[0] ^ 1])
        // Pushing alone does not mend what only a verification can see.
        try await site.push(bad, to: self.app)
        let report = try await self.quarantine(site)
        #expect(report.damage.map(\.problem) == [.wrongDigest])
        #expect(site.scratch.files(below: "quarantine").count == 1)
        let error = await #expect(throws: RegistryError.self) { try await site.store.blob(bad.digest, in: self.app, of: site.registry) }
        #expect(error?.code == .blobUnknown)
        #expect(try await !site.store.holdsWhole(image.manifest.digest, in: self.app, of: site.registry))
        #expect(try await self.verify(site).damage.map(\.problem) == [.blobNotLinked])
        try await site.push(bad, to: self.app)
        #expect(try await self.verify(site).damage == [])
        #expect(try await site.store.holdsWhole(image.manifest.digest, in: self.app, of: site.registry))
        let stored = try await site.store.blob(bad.digest, in: self.app, of: site.registry)
        #expect(try await Array(site.blobs.open(stored).read(at: 0, count: bad.bytes.count).readableBytesView) == bad.bytes)
    }

    @Test("R7 distribution_4489_zeroByteManifest: a manifest without bytes is never taken, and one that lost its bytes is found and goes")
    func distribution_4489_zeroByteManifest() async throws {
        let site = try await Site(smallContentLimit: 0)
        let image = TestImage("one")
        for blob in image.blobs { try await site.push(blob, to: self.app) }
        for type in MediaType.manifests {
            let error = #expect(throws: RegistryError.self) { try NewManifest([], declared: type, expected: nil) }
            #expect(error?.code == .manifestInvalid)
            #expect(throws: RegistryError.self) { try NewManifest([], declared: type, expected: Digest.of([])) }
        }
        try await site.put(image.manifest, tags: [tag("v1")], to: self.app)
        try await self.corrupt(site, "UPDATE manifest_content SET bytes = x'' WHERE digest = '\(image.manifest.digest)'")
        let report = try await self.quarantine(site)
        #expect(report.damage.contains { $0.problem == .manifestDamaged && $0.message.contains("no bytes") })
        await #expect(throws: RegistryError.self) {
            try await site.store.manifest(.digest(image.manifest.digest), in: self.app, of: site.registry)
        }
        // Pushed again it is there again, tag and all.
        try await site.put(image.manifest, tags: [tag("v1")], to: self.app)
        #expect(try await site.store.manifest(.tag(tag("v1")), in: self.app, of: site.registry).bytes == image.manifest.bytes)
        #expect(try await self.verify(site).damage == [])
    }

    @Test("R7 rows that contradict each other are found, and quarantine removes what points nowhere")
    func rows() async throws {
        let site = try await Site(smallContentLimit: 0)
        let (one, two) = (TestImage("one"), TestImage("two"))
        try await site.push(one, tags: [tag("v1")], to: self.app)
        try await site.push(two, tags: [tag("v2")], to: self.app)
        try await self.corrupt(
            site, "DELETE FROM manifest_entry WHERE manifest = '\(one.manifest.digest)' AND digest = '\(one.config.digest)'",
            "DELETE FROM manifest WHERE digest = '\(two.manifest.digest)'", "DELETE FROM blob WHERE digest = '\(two.config.digest)'")
        let problems = Set(try await self.verify(site).damage.map(\.problem))
        #expect(problems.isSuperset(of: [.manifestEntries, .tagWithoutManifest, .linkWithoutBlob, .database]))
        _ = try await self.quarantine(site)
        #expect(try await self.verify(site).damage == [])
        for image in [one, two] { try await site.push(image, tags: [tag("v1")], to: self.app) }
        #expect(try await self.verify(site).damage == [])
    }

    @Test("R6 a dry run lists with reasons what a collection then removes, and changes nothing")
    func survey() async throws {
        let site = try await Site(clock: TestClock(milliseconds: Int64(Date().timeIntervalSince1970 * 1000)), smallContentLimit: 0)
        let (kept, gone, child) = (TestImage("kept"), TestImage("gone"), TestImage("child"))
        try await site.push(kept, tags: [tag("v1")], to: self.app)
        try await site.push(gone, to: self.app)
        try await site.push(child, to: self.app)
        // An index that goes takes its child along.
        try await site.put(Fixture.index([child.manifest.descriptor]), to: self.app)
        try await site.push(Fixture.layer("waits for nothing"), to: self.app)
        _ = try await site.uploads.begin(in: self.app, of: site.registry)
        let stray = Fixture.layer("stray")
        let staged = try await site.blobs.stage(.transfer(stray.digest))
        try await staged.append(ByteBuffer(bytes: stray.bytes))
        _ = try await site.blobs.commit(staged, as: stray.digest, size: nil)
        site.clock.advance(seconds: 2 * 86_400)
        let collector = GarbageCollector(store: site.store, uploads: site.uploads)
        for policy in [GarbagePolicy(), GarbagePolicy(untaggedAge: 0)] {
            let before = (site.scratch.files(below: "blobs"), try await site.changes().count, try await site.store.usage(of: site.registry))
            let items = try await collector.survey(policy)
            let after = (site.scratch.files(below: "blobs"), try await site.changes().count, try await site.store.usage(of: site.registry))
            #expect(before == after)
            #expect(try await collector.survey(policy) == items)
            #expect(items.allSatisfy { !$0.reason.isEmpty })
            func count(_ kind: GarbageItem.Kind) -> Int { items.count { $0.kind == kind } }
            #expect(count(.manifest) == (policy.untaggedAge == nil ? 0 : 3))
            let bytes = items.filter { $0.kind == .blob || $0.kind == .file }.reduce(0) { $0 + $1.bytes }
            let report = try await collector.collect(policy)
            #expect((report.uploads, report.manifests, report.links) == (count(.upload), count(.manifest), count(.link)))
            #expect((report.blobs, report.files, report.bytes) == (count(.blob), count(.file), bytes))
            #expect(report.blobs > 0)
        }
        #expect(try await self.verify(site).damage == [])
    }

    @Test("R6 distribution_3178_childrenOfTaggedIndex: collecting untagged manifests leaves the children of tagged indexes alone")
    func distribution_3178_childrenOfTaggedIndex() async throws {
        let site = try await Site(clock: TestClock(milliseconds: Int64(Date().timeIntervalSince1970 * 1000)), smallContentLimit: 0)
        let (amd, arm, tagged, orphan) = (TestImage("amd64"), TestImage("arm64"), TestImage("tagged"), TestImage("orphan"))
        let other = repository("images/other")
        for image in [amd, arm, tagged, orphan] { try await site.push(image, to: self.app) }
        // The children have tags of their own in another repository only, as buildx pushes them.
        for image in [amd, arm] { try await site.push(image, tags: [tag(image.manifest == amd.manifest ? "amd64" : "arm64")], to: other) }
        let inner = Fixture.index([amd.manifest.descriptor, arm.manifest.descriptor])
        let outer = Fixture.index([inner.descriptor, TestImage("never pushed").manifest.descriptor])
        let untagged = Fixture.index([tagged.manifest.descriptor, orphan.manifest.descriptor])
        try await site.put(inner, to: self.app)
        try await site.put(outer, tags: [tag("latest")], to: self.app)
        try await site.put(untagged, to: self.app)
        try await site.put(tagged.manifest, tags: [tag("keep")], to: self.app)
        site.clock.advance(seconds: 400 * 86_400)
        _ = try await GarbageCollector(store: site.store, uploads: site.uploads).collect(GarbagePolicy(untaggedAge: 0))
        for content in [outer, inner, amd.manifest, arm.manifest, tagged.manifest] {
            #expect(try await site.store.manifest(.digest(content.digest), in: self.app, of: site.registry).bytes == content.bytes)
        }
        for content in [untagged, orphan.manifest] {
            #expect(try await !site.store.holds(content.digest, in: self.app, of: site.registry))
        }
        #expect(try await site.store.holdsWhole(inner.digest, in: self.app, of: site.registry))
        #expect(try await self.verify(site).damage == [])
        // A child that was deleted by hand is no reason to stop.
        try await site.store.delete(arm.manifest.digest, from: self.app, of: site.registry, origin: "test")
        _ = try await GarbageCollector(store: site.store, uploads: site.uploads).collect(GarbagePolicy(untaggedAge: 0))
        #expect(try await site.store.holds(amd.manifest.digest, in: self.app, of: site.registry))
    }
}
