// The metadata API and image locks: what az reads and switches, and what a lock then refuses.

import DistributionAPI
import HTTPServing
import HTTPTypes
import JSON
import OCI
import RegistryCore
import TestSupport
import Testing

@Suite struct MetadataTests {
    private let app = repository("team/app")
    private let image = TestImage("app")

    private func server(tags: [String] = ["v1"]) async throws -> (server: DataPlane, admin: HTTPFields) {
        let server = try await DataPlane(Site())
        try await server.site.push(self.image, tags: tags.map { tag($0) }, to: self.app)
        return (server, try await server.credentials("admin"))
    }

    private func json(_ answer: Answer) throws -> JSONValue { try JSONValue(parsing: answer.body) }

    private func patch(_ server: DataPlane, _ admin: HTTPFields, _ path: String, _ body: String) async throws -> Answer {
        try await server.send(.patch, "/acr/v1/\(path)", headers: admin, body: Array(body.utf8))
    }

    private func repush(_ server: DataPlane, _ admin: HTTPFields, tag: String, _ name: String = "other") async throws -> Answer {
        let image = TestImage(name)
        for blob in image.blobs { _ = try? await server.site.push(blob, to: self.app) }
        var headers = admin
        headers[.contentType] = image.manifest.mediaType.description
        return try await server.send(.put, "/v2/\(self.app)/manifests/\(tag)", headers: headers, body: image.manifest.bytes)
    }

    @Test("R4 sizes stored by an earlier version that add up to more than 64 bits neither break a page nor a deletion")
    func overflowingSizes() async throws {
        let (server, admin) = try await self.server()
        let registry = server.site.registry
        try await server.site.database.write { session in
            try SoftDelete.set(isOn: true, age: 7 * GarbagePolicy.day, of: registry, session)
            _ = try session.execute("UPDATE manifest_entry SET size = ?", .integer(.max))
        }
        let path = "/acr/v1/team/app/_manifests"
        for path in [path, "\(path)/\(self.image.manifest.digest)"] {
            #expect(try await server.send(.get, path, headers: admin).status == 200)
        }
        let manifests = try self.json(try await server.send(.get, path, headers: admin))
        #expect(manifests["manifests"]?[0]?["imageSize"]?.intValue == Int.max)
        #expect(
            try await server.send(.delete, "/v2/team/app/manifests/\(self.image.manifest.digest)", headers: admin).status == 202)
        #expect(try await server.send(.get, "/acr/v1/_deleted/team/app/_manifests", headers: admin).status == 200)
    }

    @Test("R4 a repository, its tags and manifests are shown with their attributes")
    func show() async throws {
        let (server, admin) = try await self.server(tags: ["v1", "v2"])
        let whole = try self.json(try await server.send(.get, "/acr/v1/team/app", headers: admin))
        #expect(whole["imageName"] == "team/app")
        #expect(whole["registry"] == "harbour.test")
        #expect(whole["manifestCount"]?.intValue == 1)
        #expect(whole["tagCount"]?.intValue == 2)
        #expect(whole[path: "changeableAttributes", "deleteEnabled"] == true)
        let tag = try self.json(try await server.send(.get, "/acr/v1/team/app/_tags/v1", headers: admin))
        #expect(tag[path: "tag", "digest"]?.stringValue == self.image.manifest.digest.description)
        let manifests = try self.json(try await server.send(.get, "/acr/v1/team/app/_manifests", headers: admin))
        let first = try #require(manifests["manifests"]?[0])
        #expect(first["tags"] == ["v1", "v2"])
        #expect(first["mediaType"]?.stringValue == MediaType.ociManifest.description)
        let size = self.image.blobs.reduce(0) { $0 + $1.bytes.count }
        #expect(first["imageSize"]?.intValue == size)
        #expect(first["configMediaType"]?.stringValue == MediaType.config.description)
        #expect(try await server.send(.get, "/acr/v1/nowhere", headers: admin).code == "NAME_UNKNOWN")
        #expect(try await server.send(.get, "/acr/v1/team/app/_tags/v9", headers: admin).code == "MANIFEST_UNKNOWN")
        #expect(try self.json(try await server.send(.get, "/acr/v1/_catalog", headers: admin))["repositories"] == ["team/app"])
        #expect(try await server.send(.post, "/acr/v1/team/app", headers: admin).status == 405)
        #expect(try self.json(try await server.send(.get, "/acr/v1/_deleted/_catalog", headers: admin))["repositories"] == [])
    }

    @Test("R4 architecture and os come from the configuration, also for an image that names none")
    func platform() async throws {
        let (server, admin) = try await self.server()
        let config = Content(Array(#"{"architecture":"arm64","os":"linux"}"#.utf8), .config)
        let manifest = Fixture.image(config: config.descriptor, layers: [])
        try await server.site.push(config, to: self.app)
        try await server.site.put(manifest, to: self.app)
        let shown = try self.json(try await server.send(.get, "/acr/v1/team/app/_manifests/\(manifest.digest)", headers: admin))
        #expect(shown[path: "manifest", "architecture"] == "arm64")
        #expect(shown[path: "manifest", "os"] == "linux")
        #expect(shown[path: "manifest", "tags"] == nil)
        let other = try self.json(try await server.send(.get, "/acr/v1/team/app/_manifests/\(self.image.manifest.digest)", headers: admin))
        #expect(other[path: "manifest", "architecture"] == nil)
    }

    @Test("R4 pages of tags in each order hold every tag once", arguments: ["", "timedesc", "timeasc"])
    func pages(order: String) async throws {
        let (server, admin) = try await self.server(tags: [])
        var expected: [String] = []
        for index in 0..<7 {
            // Two tags of each moment: names break the tie.
            if index.isMultiple(of: 2) { server.site.clock.advance(seconds: 1) }
            try await server.site.put(self.image.manifest, tags: [tag("t\(index)")], to: self.app)
            expected.append("t\(index)")
        }
        if order == "timedesc" { expected = ["t6", "t4", "t5", "t2", "t3", "t0", "t1"] }
        var path = "/acr/v1/team/app/_tags?n=2" + (order.isEmpty ? "" : "&orderby=\(order)")
        var seen: [String] = []
        while true {
            let answer = try await server.send(.get, path, headers: admin)
            #expect(answer.status == 200)
            seen += try self.json(answer)["tags"]?.arrayValue?.compactMap { $0["name"]?.stringValue } ?? []
            guard let link = answer.header("Link") else { break }
            path = String(link.dropFirst().prefix { $0 != ">" })
            // az splits every item of a link at its equals sign.
            #expect(path.split(separator: "?")[1].split(separator: "&").allSatisfy { $0.contains("=") })
        }
        #expect(seen == expected)
        #expect(try await server.send(.get, "/acr/v1/team/app/_tags?orderby=size", headers: admin).status == 400)
        let other = TestImage("x").manifest.digest
        #expect(try self.json(try await server.send(.get, "/acr/v1/team/app/_tags?digest=\(other)", headers: admin))["tags"] == [])
    }

    @Test("R4 each request needs its permission", arguments: ["content/read", "metadata/read", "metadata/write", "content/delete"])
    func permissions(action: String) async throws {
        let (server, _) = try await self.server()
        let caller = try await server.credentials("limited", actions: ["repositories/team/app/\(action)"])
        let digest = self.image.manifest.digest
        for path in ["team/app", "team/app/_tags", "team/app/_tags/v1", "team/app/_manifests", "team/app/_manifests/\(digest)"] {
            let status = try await server.send(.get, "/acr/v1/\(path)", headers: caller).status
            #expect(status == (action == "metadata/read" ? 200 : 401), "\(path)")
            let isList = path.hasSuffix("_tags") || path.hasSuffix("_manifests")
            if isList { continue }
            let changed = try await self.patch(server, caller, path, "{}").status
            #expect(changed == (action == "metadata/write" ? 200 : 401), "\(path)")
        }
        #expect(try await server.send(.delete, "/acr/v1/team/app", headers: caller).status == (action == "content/delete" ? 202 : 401))
        let challenge = try await server.send(.get, "/acr/v1/team/app")
        #expect(
            challenge.header("WWW-Authenticate")
                == "Bearer realm=\"https://harbour.test/oauth2/token\",service=\"harbour.test\",scope=\"repository:team/app:metadata_read\""
        )
    }

    @Test("R4 a locked tag is neither overwritten nor deleted, by tag, by digest or with its repository; unlocked it is")
    func lockedTag() async throws {
        let (server, admin) = try await self.server()
        let digest = self.image.manifest.digest
        let locked = try await self.patch(server, admin, "team/app/_tags/v1", #"{"writeEnabled":false}"#)
        #expect(try self.json(locked)[path: "tag", "changeableAttributes", "writeEnabled"] == false)
        #expect(try self.json(locked)[path: "tag", "changeableAttributes", "deleteEnabled"] == true)
        let refused = try await self.repush(server, admin, tag: "v1")
        #expect(refused.status == 405)
        #expect(refused.code == "UNSUPPORTED")
        #expect(refused.message?.contains("--write-enabled true") == true)
        for path in ["/acr/v1/team/app/_tags/v1", "/v2/team/app/manifests/v1", "/v2/team/app/manifests/\(digest)", "/acr/v1/team/app"] {
            #expect(try await server.send(.delete, path, headers: admin).status == 405, "\(path)")
        }
        // Pushing the same again changes nothing, another tag is free, pulling goes on.
        #expect(try await self.repush(server, admin, tag: "v2").status == 201)
        #expect(try await server.send(.get, "/v2/team/app/manifests/v1", headers: admin).status == 200)
        #expect(try await self.patch(server, admin, "team/app/_tags/v1", #"{"writeEnabled":true,"deleteEnabled":false}"#).status == 200)
        #expect(try await server.send(.delete, "/acr/v1/team/app/_tags/v1", headers: admin).status == 405)
        #expect(try await self.repush(server, admin, tag: "v1").status == 201)
        #expect(try await self.patch(server, admin, "team/app/_tags/v1", #"{"deleteEnabled":true}"#).status == 200)
        #expect(try await server.send(.delete, "/acr/v1/team/app/_tags/v1", headers: admin).status == 202)
    }

    @Test("R4 a locked manifest is not deleted, and survives the collector")
    func lockedManifest() async throws {
        let (server, admin) = try await self.server(tags: [])
        let digest = self.image.manifest.digest
        #expect(try await self.patch(server, admin, "team/app/_manifests/\(digest)", #"{"deleteEnabled":false}"#).status == 200)
        #expect(try await server.send(.delete, "/v2/team/app/manifests/\(digest)", headers: admin).status == 405)
        server.site.clock.advance(seconds: 10 * 86_400)
        let collector = GarbageCollector(store: server.site.store, uploads: server.site.uploads)
        #expect(try await collector.collect(GarbagePolicy(untaggedAge: GarbagePolicy.day)).manifests == 0)
        #expect(try await self.patch(server, admin, "team/app/_manifests/\(digest)", #"{"deleteEnabled":true}"#).status == 200)
        #expect(try await collector.collect(GarbagePolicy(untaggedAge: GarbagePolicy.day)).manifests == 1)
    }

    @Test(
        "R4 a locked repository takes no push and no delete; one that may not be read gives nothing; one that may not be listed is hidden")
    func lockedRepository() async throws {
        let (server, admin) = try await self.server()
        let digest = self.image.manifest.digest
        let layer = self.image.layers[0].digest
        #expect(try await self.patch(server, admin, "team/app", #"{"writeEnabled":false}"#).status == 200)
        #expect(try await self.repush(server, admin, tag: "v2").status == 405)
        #expect(try await server.send(.post, "/v2/team/app/blobs/uploads/", headers: admin, body: []).status == 405)
        #expect(try await server.send(.delete, "/v2/team/app/manifests/\(digest)", headers: admin).status == 405)
        #expect(try await server.send(.delete, "/v2/team/app/blobs/\(layer)", headers: admin).status == 405)
        #expect(
            try await self.patch(server, admin, "team/app", #"{"writeEnabled":true,"readEnabled":false,"listEnabled":false}"#).status == 200
        )
        for path in ["manifests/v1", "manifests/\(digest)", "blobs/\(layer)"] {
            #expect(try await server.send(.get, "/v2/team/app/\(path)", headers: admin).status == 405, "\(path)")
        }
        #expect(try self.json(try await server.send(.get, "/v2/_catalog", headers: admin))["repositories"] == [])
        #expect(try await server.send(.get, "/acr/v1/team/app", headers: admin).status == 200)
        #expect(try await self.patch(server, admin, "team/app", #"{"readEnabled":true,"listEnabled":true}"#).status == 200)
        #expect(try await self.patch(server, admin, "team/app/_tags/v1", #"{"readEnabled":false,"listEnabled":false}"#).status == 200)
        #expect(try await server.send(.get, "/v2/team/app/manifests/v1", headers: admin).status == 405)
        #expect(try await server.send(.get, "/v2/team/app/manifests/\(digest)", headers: admin).status == 200)
        #expect(try self.json(try await server.send(.get, "/v2/team/app/tags/list", headers: admin))["tags"] == [])
        #expect(try self.json(try await server.send(.get, "/acr/v1/team/app/_tags", headers: admin))["tags"] == [])
        #expect(try await self.patch(server, admin, "team/app", "[]").status == 400)
    }

    @Test("R4 locks stand in the change log, and a child is not told of them as if content had changed")
    func log() async throws {
        let (server, admin) = try await self.server()
        #expect(try await self.patch(server, admin, "team/app/_tags/v1", #"{"writeEnabled":false}"#).status == 200)
        // The same again is no change.
        #expect(try await self.patch(server, admin, "team/app/_tags/v1", #"{"writeEnabled":false}"#).status == 200)
        let rows = try await server.site.changes().filter { $0.kind == .locksChanged }
        #expect(rows.count == 1)
        #expect(rows.first?.tag == tag("v1"))
    }

    @Test("R4 a lock against reading acts at once on answers kept in memory")
    func hot() async throws {
        let (server, _) = try await self.server()
        let before = (server.site.store.versions.tags, server.site.store.versions.removals)
        var change = LockChange()
        change.set = .read
        try await server.site.store.setLocks(
            change, of: .manifest(self.app, self.image.manifest.digest), in: server.site.registry, origin: "test")
        #expect(server.site.store.versions.tags != before.0)
        #expect(server.site.store.versions.removals != before.1)
    }

    @Test("R4 deleting a repository takes everything, says what, and leaves the content of others")
    func delete() async throws {
        let (server, admin) = try await self.server(tags: ["v1", "v2"])
        try await server.site.push(self.image, tags: [tag("v1")], to: repository("keep"))
        let answer = try await server.send(.delete, "/acr/v1/team/app", headers: admin)
        #expect(answer.status == 202)
        #expect(try self.json(answer)["manifestsDeleted"] == [.string(self.image.manifest.digest.description)])
        #expect(try self.json(answer)["tagsDeleted"] == ["v1", "v2"])
        #expect(try await server.send(.get, "/acr/v1/team/app", headers: admin).status == 404)
        #expect(try await server.send(.get, "/v2/team/app/manifests/v1", headers: admin).code == "NAME_UNKNOWN")
        #expect(try await server.send(.get, "/v2/keep/manifests/v1", headers: admin).status == 200)
        let kinds = try await server.site.changes().suffix(5).map(\.kind)
        #expect(kinds.filter { $0 == .repositoryDeleted }.count == 1)
        #expect(kinds.contains(.manifestDeleted))
        #expect(try await server.send(.delete, "/acr/v1/team/app", headers: admin).code == "NAME_UNKNOWN")
        try await server.site.push(self.image, tags: [tag("v1")], to: self.app)
        #expect(try await server.send(.get, "/v2/team/app/manifests/v1", headers: admin).status == 200)
    }
}
