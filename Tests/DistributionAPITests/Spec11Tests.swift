// The distribution specification 1.1, clause by clause, against the handlers. Uploads have a file of their own.

import DistributionAPI
import HTTPTypes
import OCI
import TestSupport
import Testing

struct TagList: Decodable {
    let name: String
    let tags: [String]
}

struct Catalog: Decodable {
    let repositories: [String]
}

struct ReferrersList: Decodable {
    let schemaVersion: Int
    let mediaType: String
    let manifests: [Descriptor]
}

extension HTTPField.Name {
    static let ociFiltersApplied = HTTPField.Name("OCI-Filters-Applied")!
}

@Suite struct Spec11Tests {
    private let app = repository("app")

    private func server(writeRefusal: String? = nil) async throws -> (server: DataPlane, admin: HTTPFields) {
        let server = try await DataPlane(Site(), writeRefusal: writeRefusal)
        return (server, try await server.credentials("admin"))
    }

    private func with(_ headers: HTTPFields, _ more: HTTPFields) -> HTTPFields {
        var headers = headers
        for field in more { headers[field.name] = field.value }
        return headers
    }

    // MARK: Pull

    @Test("R1 end-1: /v2/ answers 200 to who is known, 401 to others")
    func base() async throws {
        let (server, admin) = try await self.server()
        for path in ["/v2/", "/v2"] {
            #expect(try await server.send(.get, path, headers: admin).status == 200)
            let refused = try await server.send(.get, path)
            #expect(refused.status == 401)
            #expect(refused.code == "UNAUTHORIZED")
            #expect(refused.header("Docker-Distribution-Api-Version") == "registry/2.0")
        }
        #expect(try await server.send(.get, "/v2x", headers: admin).status == -1)
        let foreign = try await server.send(.get, "/v2/", headers: admin, host: "foreign.test")
        #expect(foreign.status == 404)
    }

    @Test("R1 end-3: manifests by tag and digest, GET and HEAD, with digest, type and ETag")
    func manifests() async throws {
        let (server, admin) = try await self.server()
        let image = TestImage("one", type: .dockerManifest)
        try await server.site.push(image, tags: [tag("v1")], to: self.app)
        for reference in [
            "v1", image.manifest.digest.description, image.manifest.digest.description.split(separator: ":").joined(separator: "%3A"),
        ] {
            for method in [HTTPRequest.Method.get, .head] {
                let answer = try await server.send(method, "/v2/app/manifests/\(reference)", headers: admin)
                #expect(answer.status == 200)
                #expect(answer.header("Docker-Content-Digest") == image.manifest.digest.description)
                #expect(answer.header("Content-Type") == image.manifest.mediaType.description)
                #expect(answer.header("ETag") == "\"\(image.manifest.digest)\"")
                #expect(answer.body == (method == .get ? image.manifest.bytes : []))
            }
        }
        let same = try await server.send(
            .get, "/v2/app/manifests/v1", headers: self.with(admin, [.ifNoneMatch: "\"x\", \"\(image.manifest.digest)\""]))
        #expect(same.status == 304)
        #expect(same.body.isEmpty)
    }

    @Test(
        "R1 what is not there is 404 with the code that says what",
        arguments: [
            ("/v2/app/manifests/none", "MANIFEST_UNKNOWN"),
            ("/v2/app/manifests/sha256:\(String(repeating: "0", count: 64))", "MANIFEST_UNKNOWN"),
            ("/v2/app/manifests/.INVALID_MANIFEST_NAME", "MANIFEST_UNKNOWN"), ("/v2/none/manifests/v1", "NAME_UNKNOWN"),
            ("/v2/none/tags/list", "NAME_UNKNOWN"),
            ("/v2/app/blobs/sha256:\(String(repeating: "0", count: 64))", "BLOB_UNKNOWN"),
            ("/v2/none/blobs/sha256:\(String(repeating: "0", count: 64))", "BLOB_UNKNOWN"),
            ("/v2/app/blobs/uploads/\(String(repeating: "0", count: 32))", "BLOB_UPLOAD_UNKNOWN"),
            ("/v2/app/blobs/uploads/x", "BLOB_UPLOAD_UNKNOWN"),
            ("/v2/app/nothing", "NAME_UNKNOWN"), ("/v2/app", "NAME_UNKNOWN"),
        ])
    func unknown(path: String, code: String) async throws {
        let (server, admin) = try await self.server()
        try await server.site.push(TestImage("one"), tags: [tag("v1")], to: self.app)
        let answer = try await server.send(.get, path, headers: admin)
        #expect(answer.status == 404)
        #expect(answer.code == code)
        #expect(answer.message?.isEmpty == false)
        #expect(answer.header("Content-Type") == "application/json")
    }

    @Test(
        "R1 names, digests and path tricks that are none are 400 or 404, never another file",
        arguments: [
            ("/v2/../etc/passwd/manifests/v1", 400), ("/v2/a/../../b/manifests/v1", 400), ("/v2/%2e%2e/manifests/v1", 400),
            ("/v2/a%2f..%2fb/tags/list", 400),
            ("/v2/a//b/tags/list", 400), ("/v2//tags/list", 400), ("/v2/UPPER/tags/list", 400),
            ("/v2/app/blobs/sha256:../../../etc/passwd", 404),
            ("/v2/app/blobs/sha256:..%2f..%2fx", 404), ("/v2/app/blobs/sha256:abc", 400),
            ("/v2/app/blobs/md5:d41d8cd98f00b204e9800998ecf8427e", 400),
            ("/v2/app/manifests/sha256:abc", 400), ("/v2/app/blobs/uploads/..%2f..%2foutport.db", 404), ("/v2/a%00b/tags/list", 400),
            ("/v2/%zz/tags/list", 400),
            ("/v2/%ff/tags/list", 400), ("/v2/\(String(repeating: "a", count: 256))/tags/list", 400),
        ])
    func pathTricks(path: String, status: Int) async throws {
        let (server, admin) = try await self.server()
        for method in [HTTPRequest.Method.get, .head, .delete, .put, .post, .patch] {
            let answer = try await server.send(method, path, headers: admin, body: method == .get ? nil : [1])
            #expect([400, 404, 405].contains(answer.status), "\(method) \(path): \(answer.status)")
            if method == .get {
                #expect(answer.status == status)
                #expect(answer.code != nil)
            }
        }
        #expect(server.site.scratch.files(below: "uploads").isEmpty)
    }

    @Test("R1 end-2: blobs, GET and HEAD")
    func blobs() async throws {
        let (server, admin) = try await self.server()
        let layer = Fixture.layer(bytes: 1000, seed: 1)
        try await server.site.push(layer, to: self.app)
        for method in [HTTPRequest.Method.get, .head] {
            let answer = try await server.send(method, "/v2/app/blobs/\(layer.digest)", headers: admin)
            #expect(answer.status == 200)
            #expect(answer.header("Docker-Content-Digest") == layer.digest.description)
            #expect(answer.header("Accept-Ranges") == "bytes")
            #expect(answer.body == (method == .get ? layer.bytes : []))
        }
        // What HEAD announces is what GET sends.
        let head = try await server.respond(.head, "/v2/app/blobs/\(layer.digest)", headers: admin)
        #expect(head?.contentLength == 1000)
        // A blob of another repository is unknown here.
        try await server.site.push(TestImage("x"), to: repository("other"))
        #expect(try await server.send(.get, "/v2/other/blobs/\(layer.digest)", headers: admin).code == "BLOB_UNKNOWN")
        #expect(try await server.send(.get, "/v2/app/blobs/\(layer.digest)", headers: self.with(admin, [.ifNoneMatch: "*"])).status == 304)
    }

    @Test(
        "R1 ranges of blobs",
        arguments: [
            ("bytes=0-0", 206, 0..<1), ("bytes=0-99", 206, 0..<100), ("bytes=10-19", 206, 10..<20), ("bytes=90-", 206, 90..<100),
            ("bytes=0-", 206, 0..<100),
            ("bytes=-1", 206, 99..<100), ("bytes=-1000", 206, 0..<100), ("bytes=50-1000", 206, 50..<100), ("bytes=100-", 416, 0..<0),
            ("bytes=100-200", 416, 0..<0),
            ("bytes=-0", 416, 0..<0), ("bytes=5-4", 416, 0..<0), ("bytes=a-b", 200, 0..<100), ("bytes=0-1,2-6", 206, 0..<7),
            ("bytes=0-1,200-", 206, 0..<2), ("bytes=0-60,40-", 206, 0..<100), ("bytes=0-1,x", 200, 0..<100), ("bytes=0-1,5-4", 416, 0..<0),
            ("lines=0-1", 200, 0..<100),
            ("bytes=", 200, 0..<100), ("bytes=-", 200, 0..<100), ("bytes=99999999999999999999-", 200, 0..<100),
        ])
    func ranges(header: String, status: Int, expected: Range<Int>) async throws {
        let (server, admin) = try await self.server()
        let layer = Fixture.layer(bytes: 100, seed: 2)
        try await server.site.push(layer, to: self.app)
        let answer = try await server.send(.get, "/v2/app/blobs/\(layer.digest)", headers: self.with(admin, [.range: header]))
        #expect(answer.status == status)
        switch status {
        case 416: #expect(answer.header("Content-Range") == "bytes */100")
        case 206:
            #expect(answer.header("Content-Range") == "bytes \(expected.lowerBound)-\(expected.upperBound - 1)/100")
            #expect(answer.body == Array(layer.bytes[expected]))
        default: #expect(answer.body == layer.bytes)
        }
    }

    @Test("R1 a range with an If-Range of other content means the whole; the empty blob has no ranges")
    func ifRange() async throws {
        let (server, admin) = try await self.server()
        let layer = Fixture.layer(bytes: 100, seed: 2)
        let empty = Content([], .layer)
        for blob in [layer, empty] { try await server.site.push(blob, to: self.app) }
        let path = "/v2/app/blobs/\(layer.digest)"
        #expect(
            try await server.send(.get, path, headers: self.with(admin, [.range: "bytes=0-9", .ifRange: "\"\(layer.digest)\""])).status
                == 206)
        let other = try await server.send(.get, path, headers: self.with(admin, [.range: "bytes=0-9", .ifRange: "\"other\""]))
        #expect(other.status == 200)
        #expect(other.body == layer.bytes)
        #expect(try await server.send(.get, "/v2/app/blobs/\(empty.digest)", headers: admin).status == 200)
        #expect(try await server.send(.get, "/v2/app/blobs/\(empty.digest)", headers: self.with(admin, [.range: "bytes=0-"])).status == 416)
    }

    @Test("R1 several ranges are one multipart answer, each part with its place")
    func multipart() async throws {
        let (server, admin) = try await self.server()
        let layer = Fixture.layer(bytes: 1000, seed: 3)
        try await server.site.push(layer, to: self.app)
        let answer = try await server.send(
            .get, "/v2/app/blobs/\(layer.digest)", headers: self.with(admin, [.range: "bytes=0-4, 100-109,-3"]))
        #expect(answer.status == 206)
        let type = try #require(answer.header("Content-Type"))
        #expect(type.hasPrefix("multipart/byteranges; boundary="))
        let boundary = type.dropFirst("multipart/byteranges; boundary=".count)
        var expected: [UInt8] = []
        for (index, range) in [0..<5, 100..<110, 997..<1000].enumerated() {
            expected += Array("\(index == 0 ? "" : "\r\n")--\(boundary)\r\nContent-Type: application/octet-stream\r\n".utf8)
            expected += Array("Content-Range: bytes \(range.lowerBound)-\(range.upperBound - 1)/1000\r\n\r\n".utf8) + layer.bytes[range]
        }
        expected += Array("\r\n--\(boundary)--\r\n".utf8)
        #expect(answer.body == expected)
        // More ranges than anyone needs, or more than the whole has, are answered with the whole.
        let many = (0..<40).map { "\($0 * 20)-\($0 * 20)" }.joined(separator: ",")
        for header in ["bytes=\(many)", "bytes=0-600,602-999,601-601"] {
            let answer = try await server.send(.get, "/v2/app/blobs/\(layer.digest)", headers: self.with(admin, [.range: header]))
            #expect(answer.body.suffix(1000).elementsEqual(layer.bytes))
        }
        // Ranges are for GET (RFC 9110, section 14.2).
        let head = try await server.send(.head, "/v2/app/blobs/\(layer.digest)", headers: self.with(admin, [.range: "bytes=0-4"]))
        #expect(head.status == 200)
    }

    @Test("R1 If-None-Match compares weakly and knows lists and the star")
    func conditions() async throws {
        let (server, admin) = try await self.server()
        let image = TestImage("one")
        try await server.site.push(image, tags: [tag("v1")], to: self.app)
        for (path, digest) in [
            ("/v2/app/manifests/v1", image.manifest.digest), ("/v2/app/blobs/\(image.blobs[0].digest)", image.blobs[0].digest),
        ] {
            for header in ["\"\(digest)\"", "W/\"\(digest)\"", "\"x\", \"\(digest)\"", "*"] {
                let answer = try await server.send(.get, path, headers: self.with(admin, [.ifNoneMatch: header]))
                #expect(answer.status == 304)
                #expect(answer.body.isEmpty)
                #expect(answer.header("ETag") == "\"\(digest)\"")
            }
            #expect(try await server.send(.get, path, headers: self.with(admin, [.ifNoneMatch: "\"x\""])).status == 200)
        }
    }

    @Test(
        "R1 a manifest the client does not take is not sent, nor converted",
        arguments: [
            (nil, 200), ("", 200), ("*/*", 200), ("application/*", 200), ("application/vnd.oci.image.manifest.v1+json", 200),
            ("text/html, application/vnd.oci.image.manifest.v1+json;q=0.5", 200), ("Application/Vnd.OCI.Image.Manifest.v1+JSON", 200),
            ("application/vnd.docker.distribution.manifest.v2+json", 200), ("application/vnd.oci.image.index.v1+json", 404),
            ("application/vnd.docker.distribution.manifest.list.v2+json", 404), ("text/*", 404), ("*/*;q=0", 404),
            ("application/vnd.oci.image.index.v1+json, */*;q=0.1", 200),
        ] as [(String?, Int)])
    func accept(header: String?, status: Int) async throws {
        let (server, admin) = try await self.server()
        let image = TestImage("one")
        try await server.site.push(image, tags: [tag("v1")], to: self.app)
        let headers = header.map { self.with(admin, [.accept: $0]) } ?? admin
        for method in [HTTPRequest.Method.get, .head] {
            let answer = try await server.send(method, "/v2/app/manifests/v1", headers: headers)
            #expect(answer.status == status)
            #expect(answer.header("Vary") == (status == 200 ? "Accept" : nil))
        }
        if status == 404 { #expect(try await server.send(.get, "/v2/app/manifests/v1", headers: headers).code == "MANIFEST_UNKNOWN") }
    }

    // MARK: Push of manifests

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

    private func put(
        _ server: DataPlane, _ admin: HTTPFields, _ bytes: [UInt8], as reference: String, type: String? = MediaType.ociManifest.description
    ) async throws -> Answer {
        try await server.send(
            .put, "/v2/app/manifests/\(reference)", headers: type.map { self.with(admin, [.contentType: $0]) } ?? admin, body: bytes)
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

    // MARK: Content discovery

    @Test("R1 end-8: tags in byte order, with n, last and Link to the end")
    func tags() async throws {
        let (server, admin) = try await self.server()
        let names = ["1.0", "B", "_x", "a", "z"]
        try await server.site.put(Fixture.index([]), tags: names.map { tag($0) }, to: self.app)
        #expect(try await server.send(.get, "/v2/app/tags/list", headers: admin).decode(TagList.self).tags == names)
        var path = "/v2/app/tags/list?n=2"
        var seen: [[String]] = []
        while true {
            let answer = try await server.send(.get, path, headers: admin)
            #expect(answer.status == 200)
            seen.append(try answer.decode(TagList.self).tags)
            guard let link = answer.header("Link") else { break }
            #expect(link.hasPrefix("<") && link.hasSuffix(">; rel=\"next\""))
            path = String(link.dropFirst().prefix { $0 != ">" })
        }
        #expect(seen == [["1.0", "B"], ["_x", "a"], ["z"]])
        let none = try await server.send(.get, "/v2/app/tags/list?n=0", headers: admin)
        #expect(try none.decode(TagList.self).tags.isEmpty)
        #expect(none.header("Link") == nil)
        #expect(try await server.send(.get, "/v2/app/tags/list?last=a", headers: admin).decode(TagList.self).tags == ["z"])
        // Exactly as many as there are: no further page.
        #expect(try await server.send(.get, "/v2/app/tags/list?n=5", headers: admin).header("Link") == nil)
        for bad in ["-1", "x", "1e3", ""] {
            let answer = try await server.send(.get, "/v2/app/tags/list?n=\(bad)", headers: admin)
            #expect(answer.status == 400)
            #expect(answer.code == "PAGINATION_NUMBER_INVALID")
        }
    }

    @Test("R3 the catalog shows only what its caller may read, a page at a time")
    func catalog() async throws {
        let (server, admin) = try await self.server()
        for name in ["team/a", "team/b", "secret", "zoo"] { try await server.site.put(Fixture.index([]), to: repository(name)) }
        #expect(
            try await server.send(.get, "/v2/_catalog", headers: admin).decode(Catalog.self).repositories == [
                "secret", "team/a", "team/b", "zoo",
            ])
        let one = try await server.credentials(
            "limited", actions: ["repositories/secret/content/write", "repositories/team/b/content/read"])
        #expect(try await server.send(.get, "/v2/_catalog", headers: one).decode(Catalog.self).repositories == ["team/b"])
        let prefix = try await server.credentials("prefixed", actions: ["repositories/team/*/metadata/read"])
        let first = try await server.send(.get, "/v2/_catalog?n=1", headers: prefix)
        #expect(try first.decode(Catalog.self).repositories == ["team/a"])
        #expect(first.header("Link") == "</v2/_catalog?last=team%2Fa&n=1>; rel=\"next\"")
        let second = try await server.send(.get, "/v2/_catalog?last=team%2Fa&n=1", headers: prefix)
        #expect(try second.decode(Catalog.self).repositories == ["team/b"])
        #expect(second.header("Link") == nil)
        #expect(try await server.send(.get, "/v2/_catalog").header("WWW-Authenticate")?.contains("scope=\"registry:catalog:*\"") == true)
    }

    @Test("R1 end-12: referrers, with the filter and the header that says it was applied")
    func referrers() async throws {
        let (server, admin) = try await self.server()
        let image = TestImage("one")
        try await server.site.push(image, tags: [tag("v1")], to: self.app)
        try await server.site.push(TestImage("a", subject: image.manifest, artifactType: "application/a"), to: self.app)
        try await server.site.push(TestImage("b", subject: image.manifest, artifactType: "application/b+json"), to: self.app)
        let path = "/v2/app/referrers/\(image.manifest.digest)"
        let all = try await server.send(.get, path, headers: admin)
        #expect(all.header("Content-Type") == MediaType.ociIndex.description)
        #expect(all.headers[.ociFiltersApplied] == nil)
        let list = try all.decode(ReferrersList.self)
        #expect(list.schemaVersion == 2)
        #expect(list.mediaType == MediaType.ociIndex.description)
        #expect(Set(list.manifests.map(\.artifactType)) == ["application/a", "application/b+json"])
        let filtered = try await server.send(.get, path + "?artifactType=application%2Fb%2Bjson", headers: admin)
        #expect(filtered.headers[.ociFiltersApplied] == "artifactType")
        #expect(try filtered.decode(ReferrersList.self).manifests.map(\.artifactType) == ["application/b+json"])
        // A manifest that is not there has no referrers, which is no error.
        for path in ["/v2/app/referrers/\(Digest.of([]))", "/v2/none/referrers/\(Digest.of([]))"] {
            let empty = try await server.send(.get, path, headers: admin)
            #expect(empty.status == 200)
            #expect(try empty.decode(ReferrersList.self).manifests.isEmpty)
        }
        #expect(try await server.send(.get, "/v2/app/referrers/sha256:x", headers: admin).code == "DIGEST_INVALID")
    }

    // MARK: Content management

    @Test("R1 end-9 and end-10: tags, manifests and blobs are deleted with 202, once")
    func deletes() async throws {
        let (server, admin) = try await self.server()
        let image = TestImage("one")
        try await server.site.push(image, tags: [tag("v1"), tag("v2")], to: self.app)
        let used = try await server.send(.delete, "/v2/app/blobs/\(image.config.digest)", headers: admin)
        #expect(used.status == 405)
        #expect(used.code == "DENIED")
        for (path, code) in [
            ("/v2/app/manifests/v1", "MANIFEST_UNKNOWN"), ("/v2/app/manifests/\(image.manifest.digest)", "MANIFEST_UNKNOWN"),
            ("/v2/app/blobs/\(image.config.digest)", "BLOB_UNKNOWN"),
        ] {
            #expect(try await server.send(.delete, path, headers: admin).status == 202)
            let again = try await server.send(.delete, path, headers: admin)
            #expect(again.status == 404)
            #expect(again.code == code)
        }
        #expect(try await server.send(.get, "/v2/app/manifests/v2", headers: admin).status == 404)
    }

    @Test(
        "R1 methods that an end-point does not have are 405 with UNSUPPORTED, and Allow says which it has",
        arguments: [
            (HTTPRequest.Method.post, "/v2/", "GET, HEAD"), (.put, "/v2/_catalog", "GET, HEAD"),
            (.delete, "/v2/app/tags/list", "GET, HEAD"),
            (.post, "/v2/app/manifests/v1", "GET, HEAD, PUT, DELETE"), (.patch, "/v2/app/manifests/v1", "GET, HEAD, PUT, DELETE"),
            (.get, "/v2/app/blobs/uploads/", "POST"), (.head, "/v2/app/blobs/uploads/", "POST"),
            (.put, "/v2/app/blobs/\(Digest.of([]))", "GET, HEAD, DELETE"),
            (.post, "/v2/app/blobs/uploads/\(String(repeating: "0", count: 32))", "GET, HEAD, PATCH, PUT, DELETE"),
            (.delete, "/v2/app/referrers/\(Digest.of([]))", "GET, HEAD"), (.trace, "/v2/app/tags/list", "GET, HEAD"),
            (.post, "/acr/v1/_catalog", "GET, HEAD"), (.put, "/acr/v1/app", "GET, HEAD, PATCH, DELETE"),
            (.get, "/acr/v1/_deleted/app/_manifests/\(Digest.of([]))", "POST"), (.put, "/oauth2/token", "GET, POST"),
            (.get, "/oauth2/exchange", "POST"),
        ])
    func methods(method: HTTPRequest.Method, path: String, allow: String) async throws {
        let (server, admin) = try await self.server()
        let answer = try await server.send(method, path, headers: admin)
        #expect(answer.status == 405)
        #expect(answer.header("Allow") == allow)
        guard method != .head else { return }
        #expect(answer.code == "UNSUPPORTED")
        #expect(answer.detail?["method"] == method.rawValue)
    }

    @Test("R1 what a lock or a manifest refuses is 405 with the methods that are left")
    func refusedMethods() async throws {
        let (server, admin) = try await self.server()
        let image = TestImage("one")
        try await server.site.push(image, tags: [tag("v1")], to: self.app)
        let used = try await server.send(.delete, "/v2/app/blobs/\(image.config.digest)", headers: admin)
        #expect(used.status == 405)
        #expect(used.header("Allow") == "GET, HEAD")
        for (attribute, method, allow) in [("deleteEnabled", HTTPRequest.Method.delete, "GET, HEAD"), ("readEnabled", .get, "")] {
            let body = Array("{\"\(attribute)\":false}".utf8)
            #expect(try await server.send(.patch, "/acr/v1/app/_tags/v1", headers: admin, body: body).status == 200)
            let locked = try await server.send(method, "/v2/app/manifests/v1", headers: admin)
            #expect(locked.status == 405)
            #expect(locked.header("Allow") == allow)
        }
    }

    @Test("R1 HEAD is answered wherever GET is, with the same headers and no body")
    func heads() async throws {
        let (server, admin) = try await self.server()
        let image = TestImage("one")
        try await server.site.push(image, tags: [tag("v1"), tag("v2")], to: self.app)
        try await server.site.push(TestImage("a", subject: image.manifest, artifactType: "application/a"), to: self.app)
        let upload = try await server.send(.post, "/v2/app/blobs/uploads/", headers: admin, body: []).location
        for path in [
            "/v2/", "/v2/_catalog", "/v2/app/tags/list?n=1", "/v2/app/referrers/\(image.manifest.digest)?artifactType=application%2Fa",
            upload,
            "/v2/app/manifests/v1", "/v2/app/blobs/\(image.config.digest)", "/acr/v1/_catalog", "/acr/v1/_deleted/_catalog",
        ] {
            let get = try await server.send(.get, path, headers: admin)
            let head = try await server.send(.head, path, headers: admin)
            #expect(head.status == get.status, "\(path)")
            #expect(head.headers == get.headers, "\(path)")
            #expect(head.body.isEmpty)
            #expect([200, 204].contains(head.status))
        }
        #expect(try await server.send(.head, "/v2/none/tags/list", headers: admin).status == 404)
    }

    // MARK: Read-only registries

    @Test("C7 a read-only registry refuses every write with 405 once it knows who asks, and serves reads")
    func readOnly() async throws {
        let (server, admin) = try await self.server(writeRefusal: "push to the parent")
        let image = TestImage("one")
        try await server.site.push(image, tags: [tag("v1")], to: self.app)
        let writes: [(HTTPRequest.Method, String)] = [
            (.post, "/v2/app/blobs/uploads/"), (.post, "/v2/app/blobs/uploads/?digest=\(Digest.of([]))"),
            (.post, "/v2/app/blobs/uploads/?mount=\(image.config.digest)&from=app"),
            (.patch, "/v2/app/blobs/uploads/\(String(repeating: "0", count: 32))"),
            (.put, "/v2/app/blobs/uploads/\(String(repeating: "0", count: 32))?digest=\(Digest.of([]))"),
            (.delete, "/v2/app/blobs/uploads/\(String(repeating: "0", count: 32))"), (.put, "/v2/app/manifests/v2"),
            (.delete, "/v2/app/manifests/v1"),
            (.delete, "/v2/app/manifests/\(image.manifest.digest)"), (.delete, "/v2/app/blobs/\(image.config.digest)"),
        ]
        let before = try await server.site.store.head()
        for (method, path) in writes {
            #expect(try await server.send(method, path, body: image.manifest.bytes).status == 401)
            let answer = try await server.send(method, path, headers: admin, body: image.manifest.bytes)
            #expect(answer.status == 405)
            #expect(answer.code == "UNSUPPORTED")
            #expect(answer.message == "push to the parent")
            #expect(answer.detail == ["method": method.rawValue])
            #expect(
                answer.header("Allow")
                    == (path.contains("/manifests/") || path.contains("blobs/sha256") || path.contains("uploads/0") ? "GET, HEAD" : ""))
        }
        #expect(try await server.site.store.head() == before)
        #expect(try await server.send(.get, "/v2/app/manifests/v1", headers: admin).status == 200)
        #expect(try await server.send(.get, "/v2/app/blobs/\(image.config.digest)", headers: admin).status == 200)
    }
}
