// Proves manifests, tags, mounts, referrers and deletion, and that each mutation has its row in the change log.

import OCI
import Persistence
import RegistryCore
import TestSupport
import Testing

@Suite struct ContentTests {
    private let app = repository("app")

    private func refusal(_ body: @Sendable () async throws -> Void) async -> RegistryError? {
        await #expect(throws: RegistryError.self) { try await body() }
    }

    private func kinds(_ changes: [Change]) -> [String] {
        changes.map { "\($0.kind.rawValue) \($0.repository)\($0.tag.map { ":\($0)" } ?? "")" }
    }

    @Test("R2 what is pushed comes back byte for byte, by tag and by digest", arguments: [MediaType.ociManifest, .dockerManifest])
    func roundTrip(type: MediaType) async throws {
        let site = try await Site()
        let image = TestImage("one", type: type)
        try await site.push(image, tags: [tag("v1")], to: self.app)
        for reference in [Reference.tag(tag("v1")), .digest(image.manifest.digest)] {
            let stored = try await site.store.manifest(reference, in: self.app, of: site.registry)
            #expect(stored.bytes == image.manifest.bytes)
            #expect(stored.digest == image.manifest.digest)
            #expect(stored.mediaType == type)
        }
        #expect(try await site.store.resolve(tag("v1"), in: self.app, of: site.registry) == image.manifest.digest)
        #expect(try await site.store.resolve(tag("v2"), in: self.app, of: site.registry) == nil)
    }

    @Test("R1 a manifest whose blobs are missing names them all, and nothing is stored")
    func missingBlobs() async throws {
        let site = try await Site()
        let image = TestImage("one", layers: [Fixture.layer("a"), Fixture.layer("b"), Fixture.layer("c")])
        let unknown = await self.refusal { try await site.put(image.manifest, tags: [tag("v1")], to: self.app) }
        #expect(unknown?.code == .manifestBlobUnknown)
        for blob in image.blobs { #expect(unknown?.detail["digest"]?.contains(blob.digest.description) == true) }
        try await site.push(image.layers[1], to: self.app)
        // Content of another repository does not count.
        try await site.push(image.config, to: repository("other"))
        let error = await self.refusal { try await site.put(image.manifest, tags: [tag("v1")], to: self.app) }
        #expect(error?.detail["digest"]?.contains(image.layers[1].digest.description) == false)
        for blob in [image.config, image.layers[0], image.layers[2]] {
            #expect(error?.detail["digest"]?.contains(blob.digest.description) == true)
        }
        #expect(try await site.store.holds(image.manifest.digest, in: self.app, of: site.registry) == false)
        #expect(try await site.changes().isEmpty)
    }

    @Test("R7 pushing again mends a blob whose file is gone or cut short", arguments: [false, true])
    func mending(isCutShort: Bool) async throws {
        let site = try await Site(smallContentLimit: 0)
        let layer = Fixture.layer("precious")
        try await site.push(layer, to: self.app)
        let files = site.scratch.files(below: "blobs")
        let path = try "\(site.scratch.path)/blobs/\(#require(files.first))"
        if isCutShort { try File(path, .readWriteExisting).truncate(to: 3) } else { try FileSystem.remove(path) }
        try await site.push(layer, to: self.app)
        let reader = try await site.store.open(site.store.blob(layer.digest, in: self.app, of: site.registry))
        #expect(try await Array(reader.read(at: 0, count: layer.bytes.count).readableBytesView) == layer.bytes)
    }

    @Test("R1 a manifest that gives a blob another size than it has is refused")
    func wrongSize() async throws {
        let site = try await Site()
        let image = TestImage("one")
        for blob in image.blobs { try await site.push(blob, to: self.app) }
        var layer = image.layers[0].descriptor
        layer.size += 1
        let lying = Fixture.image(config: image.config.descriptor, layers: [layer])
        let error = await self.refusal { try await site.put(lying, to: self.app) }
        #expect(error?.code == .sizeInvalid)
        #expect(error?.status == 400)
    }

    @Test("R1 a sparse index is accepted; so is a subject that is not here")
    func sparse() async throws {
        let site = try await Site()
        let absent = TestImage("absent").manifest
        let index = Fixture.index([absent.descriptor], subject: Fixture.layer("no such manifest").descriptor)
        try await site.put(index, tags: [tag("all")], to: self.app)
        #expect(try await site.store.manifest(.tag(tag("all")), in: self.app, of: site.registry).bytes == index.bytes)
    }

    @Test("R2 foreign layers need not be here")
    func foreignLayers() async throws {
        let site = try await Site()
        let config = Fixture.config("windows")
        try await site.push(config, to: self.app)
        try await site.put(Fixture.image(config: config.descriptor, layers: [Content([1], .foreignLayer).descriptor]), to: self.app)
    }

    @Test("R1 sha512 manifests and blobs")
    func sha512() async throws {
        let site = try await Site()
        let layer = Content(Array("long".utf8), .layer, algorithm: .sha512)
        let config = Fixture.config("long")
        for blob in [layer, config] { try await site.push(blob, to: self.app) }
        let image = Fixture.image(config: config.descriptor, layers: [layer.descriptor])
        let digest = Digest.of(image.bytes, algorithm: .sha512)
        try await site.store.put(
            NewManifest(image.bytes, declared: image.mediaType, expected: digest), tags: [], into: self.app, of: site.registry,
            origin: "test")
        #expect(try await site.store.manifest(.digest(digest), in: self.app, of: site.registry).bytes == image.bytes)
        let error = #expect(throws: RegistryError.self) {
            try NewManifest(image.bytes, declared: image.mediaType, expected: Digest.of([], algorithm: .sha512))
        }
        #expect(error?.code == .digestInvalid)
    }

    @Test("C11 every mutation has its rows, in order; what changes nothing has none")
    func changeLog() async throws {
        let site = try await Site()
        let (one, two) = (TestImage("one"), TestImage("two"))
        try await site.push(one, tags: [tag("v1"), tag("latest")], to: self.app)
        try await site.put(one.manifest, tags: [tag("v1")], to: self.app)
        try await site.push(two, tags: [tag("latest")], to: self.app)
        try await site.store.delete(tag("v1"), from: self.app, of: site.registry, origin: "test")
        try await site.store.delete(two.manifest.digest, from: self.app, of: site.registry, origin: "test")
        let changes = try await site.changes()
        #expect(
            self.kinds(changes) == [
                "manifest-put app", "tag-set app:v1", "tag-set app:latest", "manifest-put app", "tag-set app:latest", "tag-deleted app:v1",
                "tag-deleted app:latest", "manifest-deleted app",
            ])
        #expect(changes.map(\.sequence) == Array(1...8))
        #expect(changes[4].digest == two.manifest.digest)
        #expect(changes.allSatisfy { $0.time == site.clock.milliseconds })
        // A refusal has no row.
        _ = await self.refusal { try await site.store.delete(tag("v1"), from: self.app, of: site.registry, origin: "test") }
        #expect(try await site.store.head().sequence == 8)
    }

    @Test("C12 a cursor that cannot be followed says why")
    func cursors() async throws {
        let site = try await Site()
        try await site.push(TestImage("one"), tags: [tag("v1")], to: self.app)
        let head = try await site.store.head()
        func problem(_ cursor: ChangeCursor) async -> CursorProblem? {
            await #expect(throws: CursorProblem.self) {
                try await site.store.changes(of: site.registry, after: cursor, limit: 10) { _ in true }
            }
        }
        #expect(await problem(ChangeCursor(log: "another", sequence: 0)) == .unknownLog)
        #expect(await problem(ChangeCursor(log: head.log, sequence: head.sequence + 1)) == .beyondHead)
        _ = try await site.database.write { try $0.execute("UPDATE change_log SET tail = 1") }
        #expect(await problem(ChangeCursor(log: head.log, sequence: 0)) == .trimmed)
        let page = try await site.store.changes(of: site.registry, after: ChangeCursor(log: head.log, sequence: 1), limit: 10) { _ in true }
        #expect(page.isAtHead)
        #expect(page.next == head)
        #expect(page.changes.count == 1)
        let atHead = try await site.store.changes(of: site.registry, after: head, limit: 10) { _ in true }
        #expect(atHead.changes.isEmpty && atHead.isAtHead && atHead.next == head)
    }

    @Test("C10 pages of the log pass over what is not selected and other registries, and still move on")
    func pages() async throws {
        let site = try await Site()
        let other = try await site.store.registry(named: "other")
        for number in 0..<6 {
            try await site.put(
                Fixture.index([], artifactType: "a/\(number)"), tags: [tag("t")], to: repository(number % 2 == 0 ? "app" : "secret"))
            try await site.store.put(
                NewManifest(Fixture.index([]).bytes, declared: nil, expected: nil), tags: [tag("t\(number)")], into: self.app, of: other,
                origin: "test")
        }
        var cursor = ChangeCursor(log: try await site.store.head().log, sequence: 0)
        var seen: [Change] = []
        var pages = 0
        while true {
            let page = try await site.store.changes(of: site.registry, after: cursor, limit: 3) { $0.description == "app" }
            seen += page.changes
            cursor = page.next
            pages += 1
            if page.isAtHead { break }
        }
        #expect(pages > 3)
        #expect(seen.count == 6)
        #expect(seen.allSatisfy { $0.repository.description == "app" })
        #expect(cursor == (try await site.store.head()))
    }

    @Test("R1 mounting links a blob from a repository that has it, and only from there")
    func mount() async throws {
        let site = try await Site(smallContentLimit: 0)
        let layer = Fixture.layer("shared")
        try await site.push(layer, to: repository("source"))
        let (target, none) = (repository("target"), repository("none"))
        #expect(try await site.store.mount(layer.digest, from: [none], into: target, of: site.registry) == false)
        #expect(
            try await site.store.mount(Fixture.layer("x").digest, from: [repository("source")], into: target, of: site.registry) == false)
        let other = try await site.store.registry(named: "other")
        #expect(try await site.store.mount(layer.digest, from: [repository("source")], into: target, of: other) == false)
        let unknown = await self.refusal { _ = try await site.store.blob(layer.digest, in: target, of: site.registry) }
        #expect(unknown?.code == .blobUnknown)
        #expect(try await site.store.mount(layer.digest, from: [none, repository("source")], into: target, of: site.registry))
        #expect(try await site.store.blob(layer.digest, in: target, of: site.registry).size == Int64(layer.bytes.count))
        #expect(site.scratch.files(below: "blobs").count == 1)
    }

    @Test("R1 referrers are listed by subject, filtered by type, with their annotations, and go with the manifest")
    func referrers() async throws {
        let site = try await Site()
        let image = TestImage("one")
        try await site.push(image, tags: [tag("v1")], to: self.app)
        let signature = TestImage("signature", subject: image.manifest, artifactType: "application/vnd.example.signature")
        let sbom = TestImage("sbom", subject: image.manifest)
        site.clock.advance(seconds: 1)
        try await site.push(signature, to: self.app)
        site.clock.advance(seconds: 1)
        try await site.push(sbom, to: self.app)
        func list(_ type: String?) async throws -> [Descriptor] {
            try await site.store.referrers(of: image.manifest.digest, in: self.app, of: site.registry, artifactType: type, limit: 9)
                .descriptors
        }
        #expect(try await list(nil).map(\.digest) == [signature.manifest.digest, sbom.manifest.digest])
        #expect(try await list(nil).map(\.artifactType) == ["application/vnd.example.signature", MediaType.config.description])
        #expect(try await list("application/vnd.example.signature").map(\.digest) == [signature.manifest.digest])
        #expect(try await list("none").isEmpty)
        #expect(try await list(nil)[0].size == Int64(signature.manifest.bytes.count))
        #expect(try await site.changes().filter(\.isReached).count == 2)
        try await site.store.delete(signature.manifest.digest, from: self.app, of: site.registry, origin: "test")
        #expect(try await list(nil).map(\.digest) == [sbom.manifest.digest])
        #expect(
            try await site.store.referrers(
                of: image.manifest.digest, in: repository("none"), of: site.registry, artifactType: nil, limit: 9
            )
            .descriptors.isEmpty)
    }

    @Test("R1 deletion: a tag leaves its manifest, a manifest takes its tags, a blob in use stays")
    func deletion() async throws {
        let site = try await Site()
        let image = TestImage("one")
        try await site.push(image, tags: [tag("v1"), tag("v2")], to: self.app)
        try await site.push(image, tags: [tag("v1")], to: repository("copy"))
        try await site.store.delete(tag("v1"), from: self.app, of: site.registry, origin: "test")
        #expect(try await site.store.holds(image.manifest.digest, in: self.app, of: site.registry))
        let used = await self.refusal { try await site.store.deleteBlob(image.config.digest, from: self.app, of: site.registry) }
        #expect(used?.detail["manifest"] == image.manifest.digest.description)
        try await site.store.delete(image.manifest.digest, from: self.app, of: site.registry, origin: "test")
        #expect(try await site.store.tags(of: self.app, in: site.registry, after: nil, limit: 10).isEmpty)
        let gone = await self.refusal {
            try await site.store.delete(image.manifest.digest, from: self.app, of: site.registry, origin: "test")
        }
        #expect(gone?.code == .manifestUnknown)
        try await site.store.deleteBlob(image.config.digest, from: self.app, of: site.registry)
        let again = await self.refusal { try await site.store.deleteBlob(image.config.digest, from: self.app, of: site.registry) }
        #expect(again?.code == .blobUnknown)
        // The copy in the other repository is whole.
        #expect(try await site.store.manifest(.tag(tag("v1")), in: repository("copy"), of: site.registry).bytes == image.manifest.bytes)
        #expect(try await site.store.blob(image.config.digest, in: repository("copy"), of: site.registry).size > 0)
    }

    @Test("R1 tags come in byte order, a page at a time")
    func tagPages() async throws {
        let site = try await Site()
        let names = ["1.0", "B", "_x", "a", "a.b", "z"]
        try await site.put(Fixture.index([]), tags: names.shuffled().map { tag($0) }, to: self.app)
        #expect(try await site.store.tags(of: self.app, in: site.registry, after: nil, limit: 10).map(\.description) == names)
        #expect(try await site.store.tags(of: self.app, in: site.registry, after: "B", limit: 2).map(\.description) == ["_x", "a"])
        #expect(try await site.store.tags(of: self.app, in: site.registry, after: "z", limit: 2).isEmpty)
        // What is no tag may stand between tags all the same.
        #expect(try await site.store.tags(of: self.app, in: site.registry, after: "a!", limit: 1).map(\.description) == ["a.b"])
        let error = await self.refusal { _ = try await site.store.tags(of: repository("none"), in: site.registry, after: nil, limit: 1) }
        #expect(error?.code == .nameUnknown)
    }

    @Test("R3 repositories are listed once they hold a manifest, by registry, a page at a time")
    func repositoryPages() async throws {
        let site = try await Site()
        let other = try await site.store.registry(named: "other")
        try await site.push(Fixture.layer("only a blob"), to: repository("blobs-only"))
        for name in ["b", "a/x", "c"] { try await site.put(Fixture.index([]), to: repository(name)) }
        #expect(try await site.store.repositories(in: site.registry, after: nil, limit: 10).map(\.description) == ["a/x", "b", "c"])
        #expect(try await site.store.repositories(in: site.registry, after: "a/x", limit: 1).map(\.description) == ["b"])
        #expect(try await site.store.repositories(in: other, after: nil, limit: 10).isEmpty)
    }

    @Test("R6 a registry that is deleted takes everything with it but the shared content")
    func deleteRegistry() async throws {
        let site = try await Site()
        let image = TestImage("one")
        try await site.push(image, tags: [tag("v1")], to: self.app)
        let other = try await site.store.registry(named: "other")
        try await site.store.deleteRegistry(other)
        try await site.store.deleteRegistry(site.registry)
        let again = try await site.store.registry(named: "harbour")
        #expect(again != site.registry)
        #expect(try await site.store.repositories(in: again, after: nil, limit: 10).isEmpty)
        #expect(try await site.store.content(image.config.digest) != nil)
    }

    @Test("C13 a replica's update is applied wholly or not at all, and again without effect")
    func replica() async throws {
        let site = try await Site()
        let (one, two) = (TestImage("one"), TestImage("two"))
        let index = Fixture.index([one.manifest.descriptor, two.manifest.descriptor])
        let manifests = try [one.manifest, two.manifest, index].map {
            try NewManifest($0.bytes, declared: $0.mediaType, expected: $0.digest)
        }
        let update = ReplicaUpdate(repository: self.app, manifests: manifests, tags: [.init(tag: tag("v1"), digest: index.digest)])
        for blob in one.blobs + two.blobs.dropLast() { try await site.push(blob, to: repository("elsewhere")) }
        let before = try await site.store.head()
        let error = await self.refusal { try await site.store.apply(update, to: site.registry, origin: "parent") }
        #expect(error?.code == .manifestBlobUnknown)
        #expect(try await site.store.holds(one.manifest.digest, in: self.app, of: site.registry) == false)
        #expect(try await site.store.head() == before)
        try await site.push(two.blobs[two.blobs.count - 1], to: repository("elsewhere"))
        try await site.store.apply(update, to: site.registry, origin: "parent")
        #expect(try await site.store.resolve(tag("v1"), in: self.app, of: site.registry) == index.digest)
        #expect(try await site.store.blob(two.config.digest, in: self.app, of: site.registry).size > 0)
        let after = try await site.store.head()
        try await site.store.apply(update, to: site.registry, origin: "parent")
        #expect(try await site.store.head() == after)
        try await site.store.retract(
            tags: [tag("v1"), tag("none")], manifests: [index.digest, Fixture.layer("x").digest], from: self.app, of: site.registry,
            origin: "parent")
        #expect(try await site.store.resolve(tag("v1"), in: self.app, of: site.registry) == nil)
        #expect(try await site.store.holds(one.manifest.digest, in: self.app, of: site.registry))
    }

    @Test("C12 the state of a repository comes in pages, referrers with the first")
    func state() async throws {
        let site = try await Site()
        let image = TestImage("one")
        try await site.push(image, tags: [tag("a"), tag("b"), tag("c")], to: self.app)
        let signature = TestImage("signature", subject: image.manifest)
        try await site.push(signature, to: self.app)
        let (first, head) = try await site.store.state(of: self.app, in: site.registry, after: nil, limit: 2)
        #expect(first.tags.map(\.tag.description) == ["a", "b"])
        #expect(first.referrers == [signature.manifest.digest])
        #expect(head == (try await site.store.head()))
        let (second, _) = try await site.store.state(of: self.app, in: site.registry, after: tag("b"), limit: 2)
        #expect(second.tags.map(\.tag.description) == ["c"])
        #expect(second.referrers.isEmpty)
    }

    @Test("C11 a mutation wakes who waits; waiting ends with the task and with time")
    func activity() async throws {
        let site = try await Site()
        let seen = site.activity.count
        async let woken: Void = site.activity.wait(beyond: seen)
        try await site.put(Fixture.index([]), tags: [tag("t")], to: self.app)
        await woken
        #expect(site.activity.count > seen)
        // A change that came before the wait is not missed.
        await site.activity.wait(beyond: seen)
        let activity = site.activity
        let waiting = Task { await activity.wait(beyond: activity.count) }
        waiting.cancel()
        await waiting.value
        await activity.wait(beyond: activity.count, atMost: .milliseconds(1))
    }
}
