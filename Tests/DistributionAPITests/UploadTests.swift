// Pushing blobs over the wire: in one request, in two, in chunks, broken off, mounted, cancelled.

import HTTPTypes
import Identity
import OCI
import Persistence
import RegistryCore
import TestSupport
import Testing

@Suite struct Spec11UploadTests {
    private let app = repository("app")
    private let content = Fixture.layer("0123456789")

    private func server() async throws -> (server: DataPlane, admin: HTTPFields) {
        let server = try await DataPlane(Site())
        return (server, try await server.credentials("admin"))
    }

    private func with(_ headers: HTTPFields, _ more: HTTPFields) -> HTTPFields {
        var headers = headers
        for field in more { headers[field.name] = field.value }
        return headers
    }

    private func begin(_ server: DataPlane, _ admin: HTTPFields, _ path: String = "/v2/app/blobs/uploads/") async throws -> String {
        let answer = try await server.send(.post, path, headers: admin, body: [])
        #expect(answer.status == 202)
        #expect(answer.header("Range") == "0-0")
        #expect(answer.location.hasPrefix("/v2/app/blobs/uploads/"))
        #expect(answer.location.hasSuffix(answer.header("Docker-Upload-UUID") ?? "-"))
        return answer.location
    }

    private func isStored(_ server: DataPlane, _ admin: HTTPFields) async throws -> Bool {
        let answer = try await server.send(.get, "/v2/app/blobs/\(self.content.digest)", headers: admin)
        return answer.status == 200 && answer.body == self.content.bytes
    }

    @Test("R1 end-4b: one POST with the digest", arguments: Digest.Algorithm.allCases)
    func monolithic(algorithm: Digest.Algorithm) async throws {
        let (server, admin) = try await self.server()
        let digest = Digest.of(self.content.bytes, algorithm: algorithm)
        let answer = try await server.send(.post, "/v2/app/blobs/uploads/?digest=\(digest)", headers: admin, body: self.content.bytes)
        #expect(answer.status == 201)
        #expect(answer.location == "/v2/app/blobs/\(digest)")
        #expect(answer.header("Docker-Content-Digest") == digest.description)
        #expect(try await server.send(.get, answer.location, headers: admin).body == self.content.bytes)
    }

    @Test("R1 end-4a and end-6: POST, then PUT with everything", arguments: ["/v2/app/blobs/uploads/", "/v2/app/blobs/uploads"])
    func twoRequests(path: String) async throws {
        let (server, admin) = try await self.server()
        let location = try await self.begin(server, admin, path)
        let answer = try await server.send(
            .put, "\(location)?digest=\(PercentTest.encode(self.content.digest.description))", headers: admin, body: self.content.bytes)
        #expect(answer.status == 201)
        #expect(answer.location == "/v2/app/blobs/\(self.content.digest)")
        #expect(try await self.isStored(server, admin))
    }

    @Test("R1 end-5: chunks in order, status between them, 416 out of order and where to go on")
    func chunked() async throws {
        let (server, admin) = try await self.server()
        let location = try await self.begin(server, admin)
        func patch(_ range: String, _ text: String) async throws -> Answer {
            try await server.send(.patch, location, headers: self.with(admin, [.contentRange: range]), body: Array(text.utf8))
        }
        let first = try await patch("0-3", "0123")
        #expect(first.status == 202)
        #expect(first.header("Range") == "0-3")
        #expect(first.location == location)
        let status = try await server.send(.get, location, headers: admin)
        #expect(status.status == 204)
        #expect(status.header("Range") == "0-3")
        for range in ["0-3", "6-7", "3-6"] {
            let refused = try await patch(range, "xxxx")
            #expect(refused.status == 416)
            #expect(refused.header("Range") == "0-3")
            #expect(refused.location == location)
        }
        for range in ["x", "4-", "5-4", "bytes 4-7/10"] {
            let refused = try await patch(range, "4567")
            #expect(refused.status == 400)
            #expect(refused.code == "BLOB_UPLOAD_INVALID")
        }
        #expect(try await patch("4-8", "4567").code == "SIZE_INVALID")
        #expect(try await patch("4-7", "4567").header("Range") == "0-7")
        let end = try await server.send(
            .put, "\(location)?digest=\(self.content.digest)", headers: self.with(admin, [.contentRange: "8-9"]), body: Array("89".utf8))
        #expect(end.status == 201)
        #expect(try await self.isStored(server, admin))
        #expect(try await server.send(.get, location, headers: admin).code == "BLOB_UPLOAD_UNKNOWN")
    }

    @Test("R1 chunks without Content-Range are appended; PUT may be empty")
    func streamed() async throws {
        let (server, admin) = try await self.server()
        let location = try await self.begin(server, admin)
        #expect(
            try await server.send(.patch, location, headers: admin, parts: Parts([Array("01234".utf8), Array("56789".utf8)])).header(
                "Range") == "0-9")
        #expect(try await server.send(.put, "\(location)?digest=\(self.content.digest)", headers: admin, body: []).status == 201)
        #expect(try await self.isStored(server, admin))
    }

    @Test("R1 end-13: the status of an upload to which a chunk is being written is 204 with what was there before")
    func statusWhileBusy() async throws {
        let (server, admin) = try await self.server()
        let location = try await self.begin(server, admin)
        #expect(try await server.send(.patch, location, headers: admin, body: Array("0123".utf8)).status == 202)
        let (gate, reached) = (Gate(), Gate())
        async let chunk = server.send(
            .patch, location, headers: admin, parts: Parts([Array("45".utf8), Array("6789".utf8)], gate: gate, reached: reached))
        await reached.wait()
        let status = try await server.send(.get, location, headers: admin)
        #expect(status.status == 204)
        #expect(status.header("Range") == "0-3")
        #expect(status.location == location)
        #expect(try await server.send(.patch, location, headers: admin, body: [1]).status == 409)
        gate.open()
        #expect(try await chunk.header("Range") == "0-9")
        #expect(try await server.send(.put, "\(location)?digest=\(self.content.digest)", headers: admin, body: []).status == 201)
    }

    @Test("R1 content that is not what the digest says is 400 DIGEST_INVALID, and nothing of it stays")
    func wrongDigest() async throws {
        let (server, admin) = try await self.server()
        let location = try await self.begin(server, admin)
        for target in ["\(location)?digest=\(self.content.digest)", "/v2/app/blobs/uploads/?digest=\(self.content.digest)"] {
            let answer = try await server.send(
                target.contains(location) ? .put : .post, target, headers: admin, body: Array("other bytes".utf8))
            #expect(answer.status == 400)
            #expect(answer.code == "DIGEST_INVALID")
        }
        #expect(try await server.send(.get, "/v2/app/blobs/\(self.content.digest)", headers: admin).status == 404)
        #expect(server.site.scratch.files(below: "uploads").isEmpty)
        #expect(server.site.scratch.files(below: "blobs").isEmpty)
    }

    @Test("R1 a digest that is none, or missing, leaves the upload as it is")
    func badDigest() async throws {
        let (server, admin) = try await self.server()
        let location = try await self.begin(server, admin)
        for query in ["", "?digest=", "?digest=sha256:x", "?digest=md5:00", "?digest=%zz"] {
            let answer = try await server.send(.put, location + query, headers: admin, body: [])
            #expect(answer.status == 400)
            #expect(answer.code == "DIGEST_INVALID")
        }
        #expect(
            try await server.send(.put, "\(location)?digest=\(self.content.digest)", headers: admin, body: self.content.bytes).status == 201
        )
    }

    @Test("R1 an upload that breaks off goes on behind what arrived", arguments: [true, false])
    func truncated(withError: Bool) async throws {
        let (server, admin) = try await self.server()
        let location = try await self.begin(server, admin)
        let cut = self.with(admin, [.contentLength: "10"])
        // A connection that ends may end the body with an error, or merely early.
        if withError {
            await #expect(throws: Parts.Broken.self) {
                try await server.send(.patch, location, headers: cut, parts: Parts([Array("012345".utf8)], breaks: true))
            }
        } else {
            #expect(try await server.send(.patch, location, headers: cut, parts: Parts([Array("012345".utf8)])).code == "SIZE_INVALID")
        }
        #expect(try await server.send(.get, location, headers: admin).header("Range") == "0-5")
        let end = try await server.send(
            .put, "\(location)?digest=\(self.content.digest)", headers: self.with(admin, [.contentRange: "6-9"]), body: Array("6789".utf8))
        #expect(end.status == 201)
        #expect(try await self.isStored(server, admin))
    }

    @Test("R1 a monolithic push that breaks off leaves nothing behind")
    func truncatedMonolithic() async throws {
        let (server, admin) = try await self.server()
        _ = try? await server.send(
            .post, "/v2/app/blobs/uploads/?digest=\(self.content.digest)", headers: self.with(admin, [.contentLength: "10"]),
            parts: Parts([Array("012345".utf8)], breaks: true))
        #expect(try await server.send(.get, "/v2/app/blobs/\(self.content.digest)", headers: admin).status == 404)
        #expect(server.site.scratch.files(below: "uploads").isEmpty)
    }

    @Test("R1 end-14: an upload is cancelled once")
    func cancelled() async throws {
        let (server, admin) = try await self.server()
        let location = try await self.begin(server, admin)
        #expect(try await server.send(.delete, location, headers: admin).status == 204)
        #expect(try await server.send(.delete, location, headers: admin).code == "BLOB_UPLOAD_UNKNOWN")
        #expect(try await server.send(.patch, location, headers: admin, body: [1]).code == "BLOB_UPLOAD_UNKNOWN")
        #expect(server.site.scratch.files(below: "uploads").isEmpty)
    }

    @Test("R1 an upload belongs to its repository")
    func foreign() async throws {
        let (server, admin) = try await self.server()
        let location = try await self.begin(server, admin)
        let elsewhere = location.replacing("/app/", with: "/other/")
        for method in [HTTPRequest.Method.get, .patch, .delete] {
            #expect(try await server.send(method, elsewhere, headers: admin, body: [1]).code == "BLOB_UPLOAD_UNKNOWN")
        }
        #expect(try await server.send(.get, location, headers: admin).status == 204)
    }

    @Test("R1 end-11: without `from` a blob is found in any repository the caller may read, and in no other")
    func anonymousMount() async throws {
        let (server, admin) = try await self.server()
        try await server.site.push(self.content, to: repository("secret"))
        let path = "/v2/app/blobs/uploads/?mount=\(self.content.digest)"
        let limited = try await server.client("limited", actions: ["repositories/app/content/read", "repositories/app/content/write"])
        #expect(try await server.send(.post, path, headers: DataPlane.basic("limited", limited), body: []).status == 202)
        let answer = try await server.send(.post, path, headers: admin, body: [])
        #expect(answer.status == 201)
        #expect(answer.location == "/v2/app/blobs/\(self.content.digest)")
        #expect(answer.header("Docker-Content-Digest") == self.content.digest.description)
        #expect(try await self.isStored(server, admin))
        let absent = Digest.of("absent".utf8)
        #expect(try await server.send(.post, "/v2/app/blobs/uploads/?mount=\(absent)", headers: admin, body: []).status == 202)
    }

    @Test("R1 end-11: without `from` a repository that may be read is found behind thousands that may not, or are locked")
    func mountFromAmongMany() async throws {
        let (server, _) = try await self.server()
        let site = server.site
        try await site.push(self.content, to: repository("secret"))
        try await site.database.write { session in
            try session.execute(
                """
                WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
                INSERT INTO repository (registry, name, created, updated, locks)
                SELECT ?, printf('%s/r%d', CASE WHEN i < 1500 THEN 'secret' ELSE 'open' END, i), 0, 0, CASE WHEN i < 1500 THEN 0 ELSE 8 END FROM n
                """, .integer(site.registry.value))
            try session.execute(
                "INSERT INTO repository_blob (repository, digest, created) SELECT id, ?, 0 FROM repository WHERE name LIKE '%/r%'",
                SQLValue(self.content.digest))
        }
        let write = ["repositories/app/content/read", "repositories/app/content/write"]
        let password = try await server.client("limited", actions: write + ["repositories/open/*/content/read"])
        let path = "/v2/app/blobs/uploads/?mount=\(self.content.digest)"
        #expect(try await server.send(.post, path, headers: DataPlane.basic("limited", password), body: []).status == 202)
        try await site.push(self.content, to: repository("open/last"))
        #expect(try await server.send(.post, path, headers: DataPlane.basic("limited", password), body: []).status == 201)
    }

    @Test("R1 end-11: a bearer token for the target mounts what its subject may read, and nothing else")
    func mountWithBearer() async throws {
        let (server, admin) = try await self.server()
        try await server.site.push(self.content, to: repository("library"))
        let write = ["repositories/app/content/read", "repositories/app/content/write"]
        for (name, actions, status) in [("blind", write, 202), ("reader", write + ["repositories/library/content/read"], 201)] {
            _ = try await server.client(name, actions: actions)
            let token = try await server.authority.issue(
                .registryAccess, subject: .token(name), audience: server.audience,
                access: [AccessEntry(type: "repository", name: "app", actions: ["pull", "push"])]
            ).token
            for from in ["&from=library", ""] {
                let path = "/v2/app/blobs/uploads/?mount=\(self.content.digest)\(from)"
                #expect(try await server.send(.post, path, headers: DataPlane.bearer(token), body: []).status == status, "\(name) \(from)")
            }
        }
        #expect(try await self.isStored(server, admin))
    }

    @Test("R1 end-11: nothing is mounted from a repository that is locked against reading", arguments: ["&from=source", ""])
    func mountFromLocked(from: String) async throws {
        let (server, admin) = try await self.server()
        try await server.site.push(self.content, to: repository("source"))
        var lock = LockChange()
        lock.set = .read
        try await server.site.store.setLocks(lock, of: .repository(repository("source")), in: server.site.registry, origin: "test")
        let path = "/v2/app/blobs/uploads/?mount=\(self.content.digest)\(from)"
        #expect(try await server.send(.post, path, headers: admin, body: []).status == 202)
        #expect(try await self.isStored(server, admin) == false)
        (lock.set, lock.cleared) = ([], .read)
        try await server.site.store.setLocks(lock, of: .repository(repository("source")), in: server.site.registry, origin: "test")
        #expect(try await server.send(.post, path, headers: admin, body: []).status == 201)
    }

    @Test("R1 end-4c: an upload may say which algorithm its digest will have; one that is not known here is 400")
    func digestAlgorithm() async throws {
        let (server, admin) = try await self.server()
        for algorithm in Digest.Algorithm.allCases {
            let location = try await self.begin(server, admin, "/v2/app/blobs/uploads/?digest-algorithm=\(algorithm.rawValue)")
            let digest = Digest.of(self.content.bytes, algorithm: algorithm)
            #expect(try await server.send(.put, "\(location)?digest=\(digest)", headers: admin, body: self.content.bytes).status == 201)
            // Content that gets a file while it comes, with what was said and with another one.
            for actual in Digest.Algorithm.allCases {
                let layer = Fixture.layer(bytes: 2 << 20, seed: 5)
                let location = try await self.begin(server, admin, "/v2/app/blobs/uploads/?digest-algorithm=\(algorithm.rawValue)")
                let half = Array(layer.bytes.prefix(1 << 20))
                #expect(try await server.send(.patch, location, headers: admin, body: half).status == 202)
                let wrong = Digest.of(half, algorithm: actual)
                let right = Digest.of(layer.bytes, algorithm: actual)
                let rest = Array(layer.bytes.dropFirst(1 << 20))
                #expect(try await server.send(.put, "\(location)?digest=\(right)", headers: admin, body: rest).status == 201)
                #expect(try await server.send(.head, "/v2/app/blobs/\(right)", headers: admin).status == 200)
                #expect(try await server.send(.head, "/v2/app/blobs/\(wrong)", headers: admin).status == 404)
            }
        }
        for bad in ["sha384", "SHA256", "blake3", ""] {
            let answer = try await server.send(.post, "/v2/app/blobs/uploads/?digest-algorithm=\(bad)", headers: admin, body: [])
            #expect(answer.status == 400)
            #expect(answer.code == "DIGEST_INVALID")
            #expect(answer.detail == ["digest-algorithm": bad])
        }
    }

    @Test("R1 end-11: a mount is 201 where the caller may read the source, else an upload begins")
    func mount() async throws {
        let (server, admin) = try await self.server()
        try await server.site.push(self.content, to: repository("source"))
        func mount(_ query: String, _ headers: HTTPFields) async throws -> Answer {
            try await server.send(.post, "/v2/app/blobs/uploads/?\(query)", headers: headers, body: [])
        }
        let blind = try await server.credentials("blind", actions: ["repositories/app/content/read", "repositories/app/content/write"])
        let refused = try await mount("mount=\(self.content.digest)&from=source", blind)
        #expect(refused.status == 202)
        #expect(try await self.isStored(server, admin) == false)
        for query in ["mount=\(Digest.of([]))&from=source", "mount=\(self.content.digest)&from=none"] {
            #expect(try await mount(query, admin).status == 202)
        }
        #expect(try await mount("mount=nonsense&from=source", admin).code == "DIGEST_INVALID")
        #expect(try await mount("mount=\(self.content.digest)&from=../source", admin).code == "NAME_INVALID")
        // Without `from` a registry may look for the blob or begin an upload; both are allowed.
        #expect([201, 202].contains(try await mount("mount=\(self.content.digest)", admin).status))
        let mounted = try await mount("mount=\(self.content.digest)&from=source", admin)
        #expect(mounted.status == 201)
        #expect(mounted.location == "/v2/app/blobs/\(self.content.digest)")
        #expect(try await self.isStored(server, admin))
    }
}

/// The least of percent-encoding, independent of the code under test.
enum PercentTest {
    static func encode(_ text: String) -> String { text.replacing(":", with: "%3A").replacing("/", with: "%2F") }
}
