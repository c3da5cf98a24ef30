// Whose a tag is: noted in the transaction that moves it, so that a program that is killed forgets nothing.

import Identity
import OCI
import Persistence
import RegistryCore
import TestSupport
import Testing

@testable import ResourceManager

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

@Suite struct CachedTagTests {
    private static func manifest(_ text: String) throws -> NewManifest {
        let type = "application/vnd.oci.image.index.v1+json"
        return try NewManifest(
            Array(#"{"schemaVersion":2,"mediaType":"\#(type)","manifests":[],"annotations":{"text":"\#(text)"}}"#.utf8),
            declared: MediaType(type), expected: nil)
    }

    @Test(
        "A3 R7 a tag that a rule has set is noted with it, whatever the program does next; a tag that somebody sets or removes is noted no more"
    )
    func noted() async throws {
        let world = try await World().withRegistry()
        let registry = try #require(world.lookup.registry(named: "harbour")).id
        let (store, resources) = (world.services.registries, world.services.resources)
        let (name, tag) = (try RepositoryName("hub/app"), try OCI.Tag("latest"))
        let (first, second) = (try Self.manifest("first"), try Self.manifest("second"))
        func noted() async throws -> Digest? { try await resources.cachedTag(tag, in: name, of: registry) }
        // Nothing but the transaction of the import: the program ends behind it.
        func arrive(_ manifest: NewManifest, force: Bool = true) async throws {
            try await store.place(
                ImportedImage(manifests: [manifest], targets: [.init(repository: name, tag: tag)], replacesTags: force), in: registry,
                origin: CachedTags.origin(ofRule: "hubrule"))
        }
        func push(_ manifest: NewManifest) async throws {
            try await store.put(manifest, tags: [tag], into: name, of: registry, origin: "token:somebody")
        }
        try await arrive(first, force: false)
        #expect(try await noted() == first.digest)
        try await arrive(second)
        #expect(try await noted() == second.digest)
        // To push what is there changes nothing; to move the tag away and back makes it somebody's.
        try await push(second)
        #expect(try await noted() == second.digest)
        try await push(first)
        #expect(try await noted() == nil)
        try await push(second)
        #expect(try await noted() == nil)
        // Once untagged, the next one that arrives is followed.
        try await store.delete(tag, from: name, of: registry, origin: "token:somebody")
        try await arrive(first, force: false)
        #expect(try await noted() == first.digest)
        try await store.delete(tag, from: name, of: registry, origin: "token:somebody")
        #expect(try await noted() == nil)
        // Whoever moves or removes it while the image of a newer one comes has the last word.
        try await arrive(first, force: false)
        func follow(from digest: Digest) async -> RegistryError? {
            await #expect(throws: RegistryError.self) {
                try await store.place(
                    ImportedImage(
                        manifests: [second], targets: [.init(repository: name, tag: tag)], replacesTags: true, replaced: digest),
                    in: registry, origin: CachedTags.origin(ofRule: "hubrule"))
            }
        }
        #expect(await follow(from: second.digest)?.status == 409)
        #expect(try await store.resolve(tag, in: name, of: registry) == first.digest)
        try await store.delete(tag, from: name, of: registry, origin: "token:somebody")
        #expect(await follow(from: first.digest)?.message.contains("has been removed meanwhile") == true)
        #expect(try await store.resolve(tag, in: name, of: registry) == nil)
        try await arrive(first, force: false)
        try await store.place(
            ImportedImage(
                manifests: [second], targets: [.init(repository: name, tag: tag)], replacesTags: true, replaced: first.digest),
            in: registry, origin: CachedTags.origin(ofRule: "hubrule"))
        #expect(try await noted() == second.digest)
        // What goes takes the note along.
        try await arrive(first)
        _ = try await store.deleteRepository(name, of: registry, origin: "token:somebody")
        #expect(try await noted() == nil)
        try await arrive(first)
        try await store.delete(first.digest, from: name, of: registry, origin: "token:somebody")
        #expect(try await noted() == nil)
    }

    @Test("A3 tags that rules set before this was noted are found in the change log, and those somebody has moved since are not")
    func found() async throws {
        let path = FileManager.default.temporaryDirectory.path + "/outport-cached-" + UUID().uuidString + ".sqlite"
        let all =
            RegistrySchema.migrations + IdentitySchema.migrations
            + ResourceSchema.migrations.prefix { $0.name != CachedTags.migration.name }
        do {
            let old = try SQLiteDatabase(path: path, migrations: all)
            try await old.write { session in
                try session.execute("INSERT INTO registry (id, name, created) VALUES (1, 'harbour', 0)")
                let rows: [(tag: String?, kind: String, digest: String, origin: String)] = [
                    ("followed", "tag-set", "a", "cache:hubrule"), ("followed", "tag-set", "b", "cache:hubrule"),
                    ("pushed", "tag-set", "a", "cache:hubrule"), ("pushed", "tag-set", "c", "token:somebody"),
                    ("removed", "tag-set", "a", "cache:hubrule"), ("removed", "tag-deleted", "a", "token:somebody"),
                    (nil, "manifest-put", "a", "cache:hubrule"), ("killed", "tag-set", "a", "cache:hubrule"),
                    ("killed", "tag-set", "d", "cache:hubrule"),
                ]
                for (index, row) in rows.enumerated() {
                    try session.execute(
                        "INSERT INTO change (sequence, registry, repository, kind, tag, digest, origin, time) VALUES (?, 1, 'hub/app', ?, ?, ?, ?, 0)",
                        .integer(Int64(index + 1)), SQLValue(row.kind), SQLValue(row.tag), SQLValue(row.digest), SQLValue(row.origin))
                }
                // One that was killed before it could note what it had brought.
                try session.execute("INSERT INTO cached_tag (registry, repository, tag, digest) VALUES (1, 'hub/app', 'killed', 'a')")
            }
        }
        let database = try SQLiteDatabase(path: path, migrations: all + [CachedTags.migration])
        let noted = try await database.read {
            try $0.rows("SELECT tag, digest FROM cached_tag ORDER BY tag").map { "\($0.text(0)) \($0.text(1))" }
        }
        #expect(noted == ["followed b", "killed d"])
    }
}
