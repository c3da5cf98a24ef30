// Blobs that an image need not have: they go where it goes, if its registry has them, and nowhere else.

import OCI
import RegistryCore
import TestSupport
import Testing

@testable import SyncAgent

@Suite struct OptionalBlobTests {
    private let app = repository("app")

    @Test("C13 R2 foreign layers and build caches that were pushed come with what names them, once; what was not stays out")
    func down() async throws {
        let family = try await Family()
        let parent = family.parent.site
        // Known by its digest to whoever made the cache, who may not read it.
        let secret = TestImage("secret")
        let content = OptionalContent(unowned: [secret.layers[0]])
        try await parent.push(secret, tags: [tag("v1")], to: repository("secret"))
        try await content.push(to: parent, self.app)
        try await family.introduce()
        let child = family.child
        #expect(try await family.childHas(tag("windows"), at: content.image.manifest, in: self.app))
        #expect(try await family.childHas(tag("cache"), at: content.cache, in: self.app))
        #expect(try await family.isWhole(secret, in: repository("secret")))
        let named = content.pushed + [content.absent, secret.layers[0]]
        #expect(try await OptionalContent.held(named, by: child, self.app) == content.pushed)
        #expect(family.transport.blobBytes == (content.pushed + secret.blobs).reduce(0) { $0 + $1.bytes.count })
        // What is no manifest is not asked for as one, and comparing again asks for nothing of it.
        #expect(!family.transport.requests.contains { $0.target.contains("/manifests/\(content.cached[0].digest)") })
        for digest in [content.image.manifest.digest, content.cache.digest] {
            #expect(try await child.store.holdsWhole(digest, in: self.app, of: child.registry))
        }
        // The collector keeps them for as long as they are named.
        child.clock.advance(seconds: 30 * 86_400)
        _ = try await GarbageCollector(store: child.store, uploads: child.uploads).collect(GarbagePolicy(untaggedAge: 0))
        #expect(try await OptionalContent.held(named, by: child, self.app) == content.pushed)
    }

    @Test("C13 C9 a large one comes in pieces over a link that is cut, and the image is not to be seen before")
    func cut() async throws {
        let family = try await Family()
        let foreign = Content(Fixture.layer(bytes: 200_000, seed: 9).bytes, .foreignLayer)
        let image = TestImage("windows", layers: [foreign])
        try await family.parent.site.push(image, tags: [tag("v1")], to: self.app)
        family.transport.cut(afterBlobBytes: 100_000)
        let memory = try await family.memory()
        try await family.following(family.agent(memory: memory)) { () async throws in
            #expect(try await eventually { !family.transport.isOnline })
            #expect(try await family.childHas(tag("v1"), at: nil, in: self.app))
            family.transport.heal()
            #expect(try await family.until { try await family.childHas(tag("v1"), at: image.manifest, in: self.app) })
        }
        #expect(try await family.isWhole(image, in: self.app))
        #expect(family.transport.blobBytes == image.blobs.reduce(0) { $0 + $1.bytes.count })
    }

    @Test("C7 R2 foreign layers and build caches that were pushed at a ReadWrite site go up with what names them")
    func up() async throws {
        let family = try await Family(mode: .readWrite)
        try await family.introduce()
        let secret = TestImage("secret")
        let content = OptionalContent(unowned: [secret.layers[0]])
        try await family.child.push(secret, tags: [tag("v1")], to: repository("secret"))
        try await content.push(to: family.child, self.app)
        try await family.following { () async throws in
            #expect(try await eventually { try await family.unsent == 0 })
        }
        let parent = family.parent.site
        #expect(try await family.atParent(tag("windows"), in: self.app) == content.image.manifest.digest)
        #expect(try await family.atParent(tag("cache"), in: self.app) == content.cache.digest)
        let named = content.pushed + [content.absent, secret.layers[0]]
        #expect(try await OptionalContent.held(named, by: parent, self.app) == content.pushed)
        #expect(family.transport.upwardBytes == (content.pushed + secret.blobs).reduce(0) { $0 + $1.bytes.count })
    }
}
