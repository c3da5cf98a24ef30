// Mistakes of other registries that a copy could make too, and damage at a copy.

import OCI
import Persistence
import RegistryCore
import TestSupport
import Testing

@testable import SyncAgent

@Suite struct PitfallTests {
    private let app = repository("app")

    /// Documents whose bytes no encoder would make again: order, blanks, escapes and members nobody knows.
    private func documents(_ image: TestImage) throws -> [Content] {
        func descriptor(_ content: Content, _ type: String) -> String {
            "{ \"size\" : \(content.bytes.count),\"digest\":\"\(content.digest)\",\n\t\"mediaType\":\"\(type)\" }"
        }
        let layers = image.layers.map { descriptor($0, "application/vnd.docker.image.rootfs.diff.tar.gzip") }.joined(separator: " , ")
        let docker = Content(
            Array(
                """
                {"layers":[\(layers)], "x-unknown" : 1.50, "schemaVersion": 2,
                  "mediaType": "\(MediaType.dockerManifest)", "config": \(descriptor(image.config, "application/vnd.docker.container.image.v1+json"))}

                """.utf8), .dockerManifest)
        let list = Content(
            Array(
                "{ \"manifests\":[\(descriptor(docker, MediaType.dockerManifest.description))],\"mediaType\":\"\(MediaType.dockerList)\",\"schemaVersion\":2}\r\n"
                    .utf8), .dockerList)
        return [docker, list]
    }

    @Test("R2 C10 zot_4042_digestChanged: a Docker image keeps bytes, digest and type, at the parent, at its copy, whatever is accepted")
    func zot_4042_digestChanged() async throws {
        let family = try await Family()
        let image = TestImage("docker")
        let parent = family.parent.site
        for blob in image.blobs { try await parent.push(blob, to: self.app) }
        let documents = try self.documents(image)
        for (number, document) in documents.enumerated() { try await parent.put(document, tags: [tag("v\(number)")], to: self.app) }
        try await family.following { () async throws in
            #expect(try await family.until { try await family.childHas(tag("v1"), at: documents[1], in: self.app) })
            #expect(try await family.until { try await family.childHas(tag("v0"), at: documents[0], in: self.app) })
        }
        let child = try await DataPlane(family.child)
        for plane in [family.parent, child] {
            let credentials = try await plane.credentials("reader")
            for (number, document) in documents.enumerated() {
                for accept in ["", "*/*", MediaType.ociManifest.description, "\(MediaType.ociIndex), \(MediaType.ociManifest);q=0.9"] {
                    var headers = credentials
                    if !accept.isEmpty { headers[.accept] = accept }
                    for reference in ["v\(number)", document.digest.description] {
                        let answer = try await plane.send(.get, "/v2/app/manifests/\(reference)", headers: headers)
                        if number == 1, accept == MediaType.ociManifest.description {
                            // A list for a client that takes images only is refused; it is not given one of the images instead.
                            #expect(answer.status == 404)
                            continue
                        }
                        #expect(answer.status == 200)
                        #expect(answer.body == document.bytes)
                        #expect(Digest.of(answer.body) == document.digest)
                        #expect(answer.headers[.contentType] == document.mediaType.description)
                        #expect(answer.headers[.eTag] == "\"\(document.digest)\"")
                    }
                }
            }
        }
    }

    @Test("R1 C10 harbor_22609_headWhereGetWorks: at a copy HEAD says what GET says, for what is here and for what is not")
    func harbor_22609_headWhereGetWorks() async throws {
        let family = try await Family(repositories: ["app"])
        let (image, other) = (TestImage("one"), TestImage("not selected"))
        try await family.parent.site.push(image, tags: [tag("v1")], to: self.app)
        try await family.parent.site.push(other, tags: [tag("v1")], to: repository("other"))
        try await family.following { () async throws in
            #expect(try await family.until { try await family.childHas(tag("v1"), at: image.manifest, in: self.app) })
        }
        let child = try await DataPlane(family.child)
        let credentials = try await child.credentials("reader")
        var paths = ["v1", "v2", image.manifest.digest.description, other.manifest.digest.description].map { "/v2/app/manifests/\($0)" }
        paths += (image.blobs + other.blobs).map { "/v2/app/blobs/\($0.digest)" } + ["/v2/other/manifests/v1"]
        for path in paths {
            let get = try await child.send(.get, path, headers: credentials)
            let head = try await child.send(.head, path, headers: credentials)
            #expect(get.status == head.status, "\(path)")
            #expect(get.headers[.contentType] == head.headers[.contentType], "\(path)")
            #expect(get.headers[.eTag] == head.headers[.eTag], "\(path)")
        }
        #expect(try await child.send(.head, paths[4], headers: credentials).status == 200)
    }

    @Test("R7 C13 what a quarantine took from a copy comes back with the next synchronisation, and only that")
    func quarantined() async throws {
        let family = try await Family()
        let (one, two) = (TestImage("one", layers: [Fixture.layer(bytes: 40_000, seed: 1), Fixture.layer("whole")]), TestImage("two"))
        let index = Fixture.index([one.manifest.descriptor])
        try await family.parent.site.push(one, to: self.app)
        try await family.parent.site.push(two, tags: [tag("v2")], to: self.app)
        try await family.parent.site.put(index, tags: [tag("v1")], to: self.app)
        try await family.following { () async throws in
            #expect(try await family.until { try await family.childHas(tag("v1"), at: index, in: self.app) })
            #expect(try await family.until { try await family.childHas(tag("v2"), at: two.manifest, in: self.app) })
        }
        let child = family.child
        let bad = one.layers[0]
        let name = try #require(child.scratch.files(below: "blobs").first { $0.contains(bad.digest.hex) })
        try FileSystem.replace("\(child.scratch.path)/blobs/\(name)", with: Array("DAMAGED".utf8))
        var report = try await ContentVerifier(store: child.store).verify()
        #expect(report.damage.map(\.subject) == [bad.digest.description])
        try await ContentVerifier(store: child.store).quarantine(&report) { blob in
            try await child.blobs.setAside(blob, to: child.scratch.path + "/quarantine")
        } keep: { name, _ in
            name
        }
        try await SyncMemoryStore.forgetCursor(in: child.database)
        let moved = family.transport.blobBytes
        try await family.following { () async throws in
            #expect(try await family.until { try await child.store.holdsWhole(index.digest, in: self.app, of: child.registry) })
        }
        #expect(try await family.isWhole(one, in: self.app))
        #expect(family.transport.blobBytes - moved == bad.bytes.count)
        #expect(try await ContentVerifier(store: child.store).verify().damage == [])
    }
}
