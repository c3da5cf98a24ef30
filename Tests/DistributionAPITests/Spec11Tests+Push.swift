// Push of manifests: by tag and digest, with several tags, and what is refused.

import HTTPTypes
import OCI
import TestSupport
import Testing

extension Spec11Tests {
    @Test("R1 end-7b: one push sets several tags and names each", arguments: Digest.Algorithm.allCases)
    func severalTags(algorithm: Digest.Algorithm) async throws {
        let (server, admin) = try await self.server()
        let image = TestImage("one")
        for blob in image.blobs { try await server.site.push(blob, to: self.app) }
        let digest = Digest.of(image.manifest.bytes, algorithm: algorithm)
        let answer = try await self.put(server, admin, image.manifest.bytes, as: "\(digest)?tag=a&tag=b&tag=a&tag=v1.0")
        #expect(answer.status == 201)
        #expect(answer.headers[values: try #require(HTTPField.Name("OCI-Tag"))] == ["a", "b", "v1.0"])
        for tag in ["a", "b", "v1.0"] {
            #expect(
                try await server.send(.get, "/v2/app/manifests/\(tag)", headers: admin).header("Docker-Content-Digest")
                    == digest.description)
        }
        // One that is none refuses the push as a whole.
        let refused = try await self.put(server, admin, image.manifest.bytes, as: "\(digest)?tag=c&tag=-c")
        #expect(refused.status == 400)
        #expect(refused.code == "TAG_INVALID")
        #expect(try await server.send(.get, "/v2/app/manifests/c", headers: admin).status == 404)
        let many = (0..<65).map { "tag=t\($0)" }.joined(separator: "&")
        #expect(try await self.put(server, admin, image.manifest.bytes, as: "\(digest)?\(many)").status == 414)
        // A tag as the reference stands beside those of the query.
        #expect(try await self.put(server, admin, image.manifest.bytes, as: "main?tag=d").status == 201)
        for tag in ["main", "d"] { #expect(try await server.send(.head, "/v2/app/manifests/\(tag)", headers: admin).status == 200) }
    }

    @Test("R1 end-7: a manifest is put by tag and by digest, in either algorithm, and says its subject")
    func putManifest() async throws {
        let (server, admin) = try await self.server()
        let image = TestImage("one")
        for blob in image.blobs { try await server.site.push(blob, to: self.app) }
        let created = try await self.put(server, admin, image.manifest.bytes, as: "v1")
        #expect(created.status == 201)
        #expect(created.location == "/v2/app/manifests/\(image.manifest.digest)")
        #expect(created.header("Docker-Content-Digest") == image.manifest.digest.description)
        #expect(created.header("OCI-Subject") == nil)
        #expect(try await self.put(server, admin, image.manifest.bytes, as: image.manifest.digest.description).status == 201)
        let long = Digest.of(image.manifest.bytes, algorithm: .sha512)
        #expect(
            try await self.put(server, admin, image.manifest.bytes, as: long.description).header("Docker-Content-Digest")
                == long.description)
        let signature = TestImage("signature", subject: image.manifest)
        for blob in signature.blobs { try await server.site.push(blob, to: self.app) }
        let referrer = try await self.put(server, admin, signature.manifest.bytes, as: signature.manifest.digest.description)
        #expect(referrer.header("OCI-Subject") == image.manifest.digest.description)
        // The type may carry parameters, or be missing.
        #expect(
            try await self.put(server, admin, image.manifest.bytes, as: "v2", type: MediaType.ociManifest.description + "; charset=utf-8")
                .status == 201)
        #expect(try await self.put(server, admin, image.manifest.bytes, as: "v3", type: nil).status == 201)
    }

    @Test("R1 manifests that are none, or say what is not so, are refused and change nothing")
    func badManifests() async throws {
        let (server, admin) = try await self.server()
        let image = TestImage("one")
        for blob in image.blobs { try await server.site.push(blob, to: self.app) }
        for bad in ["", "{", "[]", "{\"schemaVersion\":1}", "not json", String(repeating: "[", count: 10_000)] {
            let answer = try await self.put(server, admin, Array(bad.utf8), as: "v1")
            #expect(answer.status == 400)
            #expect(answer.code == "MANIFEST_INVALID")
        }
        for type in [MediaType.ociIndex.description, "text/plain", "nonsense", ""] {
            #expect(try await self.put(server, admin, image.manifest.bytes, as: "v1", type: type).code == "MANIFEST_INVALID")
        }
        let wrong = try await self.put(server, admin, image.manifest.bytes, as: Digest.of([]).description)
        #expect(wrong.status == 400)
        #expect(wrong.code == "DIGEST_INVALID")
        let tagged = try await self.put(server, admin, image.manifest.bytes, as: ".not-a-tag")
        #expect(tagged.status == 400)
        #expect(tagged.code == "TAG_INVALID")
        let missing = TestImage("missing", layers: [Fixture.layer("m1"), Fixture.layer("m2")])
        let answer = try await self.put(server, admin, missing.manifest.bytes, as: "v1")
        #expect(answer.status == 400)
        #expect(answer.code == "MANIFEST_BLOB_UNKNOWN")
        for blob in missing.blobs { #expect(answer.detail?["digest"]?.contains(blob.digest.description) == true) }
        #expect(try await server.site.changes().isEmpty)
    }

    @Test("R1 a manifest over 4 MiB is 413, announced or not")
    func largeManifest() async throws {
        let (server, admin) = try await self.server()
        let big = [UInt8](repeating: 0x20, count: (4 << 20) + 1)
        #expect(try await self.put(server, admin, big, as: "v1").status == 413)
        let chunked = try await server.send(
            .put, "/v2/app/manifests/v1", headers: self.with(admin, [.contentType: MediaType.ociManifest.description]), parts: Parts([big]))
        #expect(chunked.status == 413)
        #expect(chunked.code == "MANIFEST_INVALID")
    }
}
