// Soft delete in the store: what is deleted is gone for everybody, kept whole for its days, and comes back as it was.

import OCI
import Persistence
import TestSupport
import Testing

@testable import RegistryCore

@Suite struct SoftDeleteTests {
    private let app = repository("team/app")
    private static let day = GarbagePolicy.day

    private func site(days: Int64 = 7) async throws -> Site {
        let site = try await Site()
        try await self.policy(site, true, days: days)
        return site
    }

    private func policy(_ site: Site, _ isOn: Bool, days: Int64) async throws {
        try await site.database.write { try SoftDelete.set(isOn: isOn, age: days * Self.day, of: site.registry, $0) }
    }

    private func collect(_ site: Site) async throws -> GarbageReport {
        try await GarbageCollector(store: site.store, uploads: site.uploads).collect(GarbagePolicy())
    }

    private func restore(_ site: Site, _ digest: Digest, _ tag: OCI.Tag? = nil, force: Bool = false) async throws -> RestoredContent {
        try await site.store.restore(digest, tag: tag, replacing: force, in: self.app, of: site.registry, origin: "test")
    }

    private func deleted(_ site: Site) async throws -> [Digest] {
        try await site.store.deletedManifests(of: self.app, in: site.registry, after: 0, limit: 100).map(\.digest)
    }

    private func refusal(_ body: () async throws -> Void) async -> RegistryError? {
        do {
            try await body()
            return nil
        } catch { return error as? RegistryError }
    }

    @Test("A3 R4 a deleted manifest is gone, kept with its blobs through collections, restored with its tags, and freed after its days")
    func life() async throws {
        let site = try await self.site()
        let image = TestImage("app")
        try await site.push(image, tags: [tag("v1"), tag("v2")], to: self.app)
        let size = try await site.store.usage(of: site.registry)
        try await site.store.delete(image.manifest.digest, from: self.app, of: site.registry, origin: "test")
        let gone = await self.refusal {
            _ = try await site.store.manifest(.tag(tag("v1")), in: self.app, of: site.registry)
        }
        #expect(gone?.code == .manifestUnknown)
        #expect(try await self.deleted(site) == [image.manifest.digest])
        #expect(try await site.store.deletedRepositories(in: site.registry, after: nil, limit: 10) == [self.app])

        // Links go, content stays, and counts.
        site.clock.advance(seconds: 3 * 86_400)
        #expect(try await self.collect(site).blobs == 0)
        #expect(try await site.store.usage(of: site.registry) == size)
        let restored = try await self.restore(site, image.manifest.digest)
        #expect(restored == RestoredContent(manifests: [image.manifest.digest], tags: [tag("v1"), tag("v2")]))
        let pulled = try await site.store.manifest(.tag(tag("v2")), in: self.app, of: site.registry)
        #expect(pulled.bytes == image.manifest.bytes)
        for blob in image.blobs { _ = try await site.store.blob(blob.digest, in: self.app, of: site.registry) }
        #expect(try await self.deleted(site).isEmpty)
        #expect(try await site.store.deletedTags(of: self.app, in: site.registry, after: 0, limit: 10).isEmpty)
        // Children learn of it as of a push.
        #expect(try await site.changes().suffix(3).map(\.kind) == [.manifestPut, .tagSet, .tagSet])

        try await site.store.delete(image.manifest.digest, from: self.app, of: site.registry, origin: "test")
        site.clock.advance(seconds: 7 * 86_400 - 60)
        #expect(try await self.collect(site).purged == 0)
        site.clock.advance(seconds: 60)
        let survey = try await GarbageCollector(store: site.store, uploads: site.uploads).survey(GarbagePolicy())
        #expect(survey.filter { $0.kind == .deleted }.map(\.subject) == [image.manifest.digest.description])
        #expect(survey.count { $0.kind == .blob } == 2)
        let report = try await self.collect(site)
        #expect(report.purged == 1)
        #expect(report.blobs == 2)
        #expect(try await site.store.usage(of: site.registry) == 0)
        #expect(try await site.store.deletedRepositories(in: site.registry, after: nil, limit: 10).isEmpty)
        #expect(await self.refusal { _ = try await self.restore(site, image.manifest.digest) }?.code == .manifestUnknown)
    }

    @Test("A3 without the policy a deletion is for good; what was kept before goes by the days that the policy says now")
    func policyChanges() async throws {
        let site = try await self.site(days: 30)
        let (one, two) = (TestImage("one"), TestImage("two"))
        for image in [one, two] { try await site.push(image, to: self.app) }
        try await site.store.delete(one.manifest.digest, from: self.app, of: site.registry, origin: "test")
        try await self.policy(site, false, days: 30)
        try await site.store.delete(two.manifest.digest, from: self.app, of: site.registry, origin: "test")
        #expect(try await self.deleted(site) == [one.manifest.digest])
        site.clock.advance(seconds: 10 * 86_400)
        #expect(try await self.collect(site).purged == 0)
        try await self.policy(site, false, days: 5)
        #expect(try await self.collect(site).purged == 1)
        // The collector's own removals are kept nowhere.
        try await self.policy(site, true, days: 5)
        try await site.push(two, to: self.app)
        site.clock.advance(seconds: 2 * 86_400)
        let collector = GarbageCollector(store: site.store, uploads: site.uploads)
        #expect(try await collector.collect(GarbagePolicy(untaggedAge: Self.day)).manifests == 1)
        #expect(try await site.store.deletedRepositories(in: site.registry, after: nil, limit: 10).isEmpty)
    }

    @Test("A3 a deleted tag comes back to its digest; one that is in use moves by force alone; the latest deletion stands last")
    func tags() async throws {
        let site = try await self.site()
        let (one, two) = (TestImage("one"), TestImage("two"))
        for image in [one, two] {
            try await site.push(image, tags: [tag("v1")], to: self.app)
            try await site.store.delete(tag("v1"), from: self.app, of: site.registry, origin: "test")
            site.clock.advance(seconds: 60)
        }
        let listed = try await site.store.deletedTags(of: self.app, in: site.registry, after: 0, limit: 10)
        #expect(listed.map(\.digest) == [one.manifest.digest, two.manifest.digest])
        #expect(try await site.store.deletedTags(of: self.app, in: site.registry, after: listed[0].id, limit: 10).count == 1)
        // The manifests are here all the while.
        let restored = try await self.restore(site, one.manifest.digest, tag("v1"))
        #expect(restored == RestoredContent(manifests: [], tags: [tag("v1")]))
        let taken = await self.refusal { _ = try await self.restore(site, two.manifest.digest, tag("v1")) }
        #expect(taken?.status == 409)
        #expect(taken?.message.contains("--force") == true)
        _ = try await self.restore(site, two.manifest.digest, tag("v1"), force: true)
        #expect(try await site.store.resolve(tag("v1"), in: self.app, of: site.registry) == two.manifest.digest)
        // Unless it is locked.
        var lock = LockChange()
        lock.set = .write
        try await site.store.setLocks(lock, of: .tag(self.app, tag("v1")), in: site.registry, origin: "test")
        #expect(
            await self.refusal { _ = try await self.restore(site, one.manifest.digest, tag("v1"), force: true) }?.code == .unsupported)
        // What is pushed again is not listed as deleted.
        try await site.store.delete(one.manifest.digest, from: self.app, of: site.registry, origin: "test")
        #expect(try await self.deleted(site) == [one.manifest.digest])
        try await site.push(one, to: self.app)
        #expect(try await self.deleted(site).isEmpty)
    }

    @Test("A3 an index comes back with what it lists, a subject with what refers to it; a referrer alone waits for its subject")
    func graph() async throws {
        let site = try await self.site()
        let (amd, arm) = (TestImage("amd64"), TestImage("arm64"))
        for image in [amd, arm] { try await site.push(image, to: self.app) }
        let index = Fixture.index([amd.manifest.descriptor, arm.manifest.descriptor])
        try await site.put(index, tags: [tag("v1")], to: self.app)
        let signature = TestImage("signature", subject: index, artifactType: "application/signature")
        let note = TestImage("note", subject: signature.manifest, artifactType: "application/note")
        for image in [signature, note] { try await site.push(image, to: self.app) }
        let all = [index, amd.manifest, arm.manifest, signature.manifest, note.manifest].map(\.digest)
        for digest in all { try await site.store.delete(digest, from: self.app, of: site.registry, origin: "test") }
        #expect(try await self.deleted(site) == all)

        let alone = await self.refusal { _ = try await self.restore(site, signature.manifest.digest) }
        #expect(alone?.status == 409)
        #expect(alone?.message.contains(index.digest.description) == true)
        let restored = try await self.restore(site, index.digest, tag("v1"))
        #expect(Set(restored.manifests) == Set(all))
        let order = restored.manifests
        #expect(order.firstIndex(of: amd.manifest.digest) ?? 9 < order.firstIndex(of: index.digest) ?? 0)
        #expect(try await site.store.holdsWhole(index.digest, in: self.app, of: site.registry))
        let referrers = try await site.store.referrers(of: index.digest, in: self.app, of: site.registry, artifactType: nil, limit: 9)
        #expect(referrers.descriptors.map(\.digest) == [signature.manifest.digest])
        // Nothing is restored that was deleted by itself before.
        try await site.store.delete(arm.manifest.digest, from: self.app, of: site.registry, origin: "test")
        try await site.store.delete(tag("v1"), from: self.app, of: site.registry, origin: "test")
        #expect(try await self.restore(site, index.digest, tag("v1")).manifests == [])
        #expect(try await self.deleted(site) == [arm.manifest.digest])
    }

    @Test("A3 a deleted repository is kept whole; what may not be read does not come back open")
    func repositories() async throws {
        let site = try await self.site()
        let image = TestImage("app")
        try await site.push(image, tags: [tag("v1")], to: self.app)
        var lock = LockChange()
        lock.set = .read
        try await site.store.setLocks(lock, of: .manifest(self.app, image.manifest.digest), in: site.registry, origin: "test")
        try await site.store.setLocks(lock, of: .tag(self.app, tag("v1")), in: site.registry, origin: "test")
        try await site.store.setLocks(lock, of: .repository(self.app), in: site.registry, origin: "test")
        let removed = try await site.store.deleteRepository(self.app, of: site.registry, origin: "test")
        #expect(removed.manifests == [image.manifest.digest])
        #expect(await self.refusal { _ = try await site.store.metadata(of: self.app, in: site.registry) }?.code == .nameUnknown)
        site.clock.advance(seconds: 2 * 86_400)
        #expect(try await self.collect(site).blobs == 0)
        #expect(try await self.restore(site, image.manifest.digest, tag("v1")).tags == [tag("v1")])
        #expect(try await site.store.metadata(of: self.app, in: site.registry).locks == .read)
        #expect(try await site.store.metadata(of: image.manifest.digest, in: self.app, of: site.registry).locks == .read)
        #expect(try await site.store.metadata(of: tag("v1"), in: self.app, of: site.registry).locks == .read)
        // As old as it was.
        #expect(
            try await site.store.metadata(of: image.manifest.digest, in: self.app, of: site.registry).created
                == site.clock.milliseconds - 2 * Self.day)
        // A deleted registry keeps nothing.
        _ = try await site.store.deleteRepository(self.app, of: site.registry, origin: "test")
        try await site.push(image, to: repository("other"))
        try await site.store.deleteRegistry(site.registry)
        site.clock.advance(seconds: 2 * 86_400)
        #expect(try await self.collect(site).blobs == 2)
        #expect(try await site.database.read { try $0.row("SELECT count(*) FROM manifest_content")?.integer(0) } == 0)
    }

    @Test("A3 what an image need not have comes back where its repository had it, counts meanwhile, and stays out where it had not")
    func optionalBlobs() async throws {
        let site = try await self.site()
        let secret = TestImage("secret")
        try await site.push(secret, tags: [tag("v1")], to: repository("other"))
        let content = OptionalContent(unowned: [secret.layers[0]])
        try await content.push(to: site, self.app)
        let (size, images) = (try await site.store.usage(of: site.registry), [content.image.manifest, content.cache])
        for image in images { try await site.store.delete(image.digest, from: self.app, of: site.registry, origin: "test") }
        site.clock.advance(seconds: 2 * 86_400)
        _ = try await self.collect(site)
        #expect(try await site.store.usage(of: site.registry) == size)
        // Earlier versions noted whatever a manifest named.
        try await site.database.write { session in
            _ = try session.execute(
                "INSERT INTO deleted_entry (manifest, digest, kind) SELECT id, ?, 2 FROM deleted_manifest WHERE digest = ? ON CONFLICT DO NOTHING",
                SQLValue(secret.layers[0].digest), SQLValue(content.cache.digest))
        }
        for image in images { _ = try await self.restore(site, image.digest) }
        site.clock.advance(seconds: 2 * 86_400)
        _ = try await self.collect(site)
        let named = content.pushed + [content.absent, secret.layers[0]]
        #expect(try await OptionalContent.held(named, by: site, self.app) == content.pushed)
        #expect(try await site.store.usage(of: site.registry) == size)
    }

    @Test("A3 a data folder from before: what a kept image need not have comes back as far as it is certain that its repository had it")
    func olderFolder() async throws {
        let content = OptionalContent()
        let scratch = ScratchFolder()
        do {
            let site = try await Site(scratch: scratch)
            try await self.policy(site, true, days: 7)
            try await content.push(to: site, self.app)
            try await site.store.delete(content.cache.digest, from: self.app, of: site.registry, origin: "test")
            try await site.database.write { session in
                // As the version before has left it.
                _ = try session.execute("UPDATE deleted_entry SET kind = 2 WHERE kind = 3")
                _ = try session.execute(
                    "INSERT INTO deleted_entry (manifest, digest, kind) SELECT id, ?, 2 FROM deleted_manifest",
                    SQLValue(content.absent.digest))
                for index in ["deleted_manifest_repository", "deleted_tag_repository", "deleted_tag_digest"] {
                    _ = try session.execute("DROP INDEX \(index)")
                }
                _ = try session.execute("DELETE FROM schema_migration WHERE name LIKE 'registry-1__soft-delete-%'")
            }
            try await site.database.close()
        }
        let site = try await Site(scratch: scratch)
        site.clock.advance(seconds: 2 * 86_400)
        _ = try await self.collect(site)
        #expect(try await self.restore(site, content.cache.digest).manifests == [content.cache.digest])
        #expect(try await OptionalContent.held(content.cached, by: site, self.app) == content.cached)
        let kept = try await site.database.read { try $0.rows("SELECT digest FROM deleted_entry") }
        #expect(kept.isEmpty)
    }

    @Test("A3 content that was damaged meanwhile is not restored half")
    func damaged() async throws {
        let site = try await self.site()
        let image = TestImage("app")
        try await site.push(image, tags: [tag("v1")], to: self.app)
        try await site.store.delete(image.manifest.digest, from: self.app, of: site.registry, origin: "test")
        site.clock.advance(seconds: 2 * 86_400)
        _ = try await self.collect(site)
        let lost = image.layers[0].digest
        try await site.database.write { _ = try $0.execute("DELETE FROM blob WHERE digest = ?", SQLValue(lost)) }
        let refused = await self.refusal { _ = try await self.restore(site, image.manifest.digest) }
        #expect(refused?.code == .manifestBlobUnknown)
        #expect(refused?.detail["digest"] == lost.description)
        #expect(try await self.deleted(site) == [image.manifest.digest])
        try await site.push(image.layers[0], to: self.app)
        #expect(try await self.restore(site, image.manifest.digest).tags == [tag("v1")])
    }
}
