// Content management: what can be deleted, which methods there are, and a registry that takes no writes.

import HTTPTypes
import OCI
import TestSupport
import Testing

extension Spec11Tests {
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
