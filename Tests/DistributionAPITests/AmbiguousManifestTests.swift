// Manifests that could be read in two ways: what is refused, and that the type of the last push counts.

import HTTPTypes
import OCI
import RegistryCore
import TestSupport
import Testing

@Suite struct AmbiguousManifestTests {
    private let app = repository("app")
    private let image = TestImage("one")

    private func server() async throws -> (server: DataPlane, admin: HTTPFields) {
        let server = try await DataPlane(Site())
        for blob in self.image.blobs { try await server.site.push(blob, to: self.app) }
        return (server, try await server.credentials("admin"))
    }

    private func put(
        _ server: DataPlane, _ admin: HTTPFields, _ bytes: [UInt8], as reference: String, _ type: MediaType
    ) async throws -> Answer {
        var headers = admin
        headers[.contentType] = type.description
        return try await server.send(.put, "/v2/app/manifests/\(reference)", headers: headers, body: bytes)
    }

    private func image(as type: MediaType) -> Content {
        Fixture.image(config: self.image.config.descriptor, layers: self.image.layers.map(\.descriptor), type: type, writesType: false)
    }

    private func changes(_ site: Site, after sequence: Int64) async throws -> [String] {
        try await site.changes(after: sequence).map { "\($0.kind.rawValue)\($0.tag.map { ":\($0)" } ?? "")" }
    }

    @Test("R1 an image is not taken as an artifact manifest, which would need none of its layers")
    func artifact() async throws {
        let (server, admin) = try await self.server()
        let refused = try await self.put(server, admin, self.image(as: .ociManifest).bytes, as: "v1", .ociArtifact)
        #expect(refused.status == 400)
        #expect(refused.code == "MANIFEST_INVALID")
        #expect(refused.message?.contains("artifact manifest") == true)
    }

    @Test("R1 the same bytes pushed as another type are of that type, and those who follow the log hear of it")
    func anotherType() async throws {
        let (server, admin) = try await self.server()
        let docker = self.image(as: .dockerManifest)
        #expect(try await self.put(server, admin, docker.bytes, as: "old", .dockerManifest).status == 201)
        let head = try await server.site.store.head()
        let versions = (server.site.store.versions.tags, server.site.store.versions.removals)
        #expect(try await self.put(server, admin, docker.bytes, as: "v1", .ociManifest).status == 201)
        for reference in ["v1", "old", docker.digest.description] {
            let answer = try await server.send(.get, "/v2/app/manifests/\(reference)", headers: admin)
            #expect(answer.header("Content-Type") == MediaType.ociManifest.description)
            #expect(answer.body == docker.bytes)
        }
        #expect(
            try await self.changes(server.site, after: head.sequence) == ["manifest-deleted", "manifest-put", "tag-set:old", "tag-set:v1"])
        // What is remembered of either is void.
        #expect(server.site.store.versions.tags != versions.0)
        #expect(server.site.store.versions.removals != versions.1)
        // Once more is nothing new.
        let after = try await server.site.store.head()
        #expect(try await self.put(server, admin, docker.bytes, as: "v1", .ociManifest).status == 201)
        #expect(try await self.changes(server.site, after: after.sequence).isEmpty)
    }

    @Test("R1 R2 a row of an earlier version that says artifact is mended by a push of the image, and its layers are kept")
    func mended() async throws {
        let (server, admin) = try await self.server()
        let image = self.image(as: .ociManifest)
        #expect(try await self.put(server, admin, image.bytes, as: "v1", .ociManifest).status == 201)
        // As it was stored when artifact manifests were taken with a config and layers.
        try await server.site.database.write { session in
            try session.execute("UPDATE manifest SET media_type = ?", .text(MediaType.ociArtifact.description))
            _ = try session.execute("DELETE FROM manifest_entry")
        }
        // It is pulled and verified as what it was taken for.
        let old = try await server.send(.get, "/v2/app/manifests/v1", headers: admin)
        #expect(old.header("Content-Type") == MediaType.ociArtifact.description)
        #expect(try await ContentVerifier(store: server.site.store).verify().damage.isEmpty)

        #expect(try await self.put(server, admin, image.bytes, as: "v1", .ociManifest).status == 201)
        #expect(
            try await server.send(.get, "/v2/app/manifests/v1", headers: admin).header("Content-Type") == MediaType.ociManifest.description)
        let layer = self.image.layers[0].digest
        #expect(try await server.send(.delete, "/v2/app/blobs/\(layer)", headers: admin).status != 202)
        #expect(try await server.send(.head, "/v2/app/blobs/\(layer)", headers: admin).status == 200)
        #expect(try await ContentVerifier(store: server.site.store).verify().damage.isEmpty)
    }

    @Test("R1 the type of what is locked stays", arguments: [true, false])
    func locked(isTag: Bool) async throws {
        let (server, admin) = try await self.server()
        let docker = self.image(as: .dockerManifest)
        #expect(try await self.put(server, admin, docker.bytes, as: "v1", .dockerManifest).status == 201)
        _ = try await server.site.database.write { session in
            try session.execute("UPDATE \(isTag ? "tag" : "manifest") SET locks = ?", .integer(ImageLocks.write.rawValue))
        }
        let refused = try await self.put(server, admin, docker.bytes, as: "v2", .ociManifest)
        #expect(refused.status >= 400)
        #expect(refused.message?.contains("lock") == true)
        // Pushing once more what is there changes nothing.
        #expect(try await self.put(server, admin, docker.bytes, as: "v1", .dockerManifest).status == 201)
        #expect(
            try await server.send(.get, "/v2/app/manifests/v1", headers: admin).header("Content-Type")
                == MediaType.dockerManifest.description)
    }

    @Test("R1 a manifest that clients read differently is refused, and nothing of it is stored")
    func readDifferently() async throws {
        let (server, admin) = try await self.server()
        let text = String(decoding: self.image.manifest.bytes, as: UTF8.self)
        let missing = "{\"mediaType\":\"application/x\",\"digest\":\"\(Digest.of("missing".utf8))\",\"size\":7}"
        for (bytes, reason) in [
            (Array(text.dropLast().utf8) + Array(",\"layers\":[\(missing)]}".utf8), "layers"),
            (Array("{\"Layers\":[\(missing)],".utf8) + Array(text.utf8.dropFirst()), "Layers"),
            ([0xef, 0xbb, 0xbf] + Array(text.utf8), "byte order mark"),
            (text.utf16.flatMap { [UInt8($0 & 255), UInt8($0 >> 8)] }, "UTF-8"),
        ] as [([UInt8], String)] {
            let refused = try await self.put(server, admin, bytes, as: "v1", .ociManifest)
            #expect(refused.status == 400)
            #expect(refused.code == "MANIFEST_INVALID")
            #expect(refused.message?.contains(reason) == true, "\(refused.text)")
        }
        #expect(try await server.send(.get, "/v2/app/manifests/v1", headers: admin).status == 404)
    }
}
