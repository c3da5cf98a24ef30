// Pull: manifests and blobs by name, in whole and in part, and what conditions and Accept make of them.

import HTTPTypes
import OCI
import TestSupport
import Testing

extension Spec11Tests {
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
}
