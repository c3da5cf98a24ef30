// Soft delete over the wire, as `az acr manifest list-deleted`, `list-deleted-tags` and `restore` use it.

import HTTPTypes
import JSON
import OCI
import RegistryCore
import TestSupport
import Testing

@Suite struct DeletedContentTests {
    private let app = repository("team/app")
    private let image = TestImage("app")

    private func server() async throws -> (server: DataPlane, admin: HTTPFields) {
        let server = try await DataPlane(Site())
        let registry = server.site.registry
        try await server.site.database.write { try SoftDelete.set(isOn: true, age: 7 * GarbagePolicy.day, of: registry, $0) }
        try await server.site.push(self.image, tags: [tag("v1"), tag("v2")], to: self.app)
        return (server, try await server.credentials("admin"))
    }

    private func json(_ answer: Answer) throws -> JSONValue { try JSONValue(parsing: answer.body) }

    @Test("R4 A3 what was deleted is listed with its time, gives no answer to pulls, and is restored with its tag")
    func restores() async throws {
        let (server, admin) = try await self.server()
        let digest = self.image.manifest.digest
        #expect(try await server.send(.delete, "/v2/team/app/manifests/\(digest)", headers: admin).status == 202)
        for reference in ["v1", digest.description] {
            let pulled = try await server.send(.get, "/v2/team/app/manifests/\(reference)", headers: admin)
            #expect(pulled.status == 404)
            #expect(pulled.code == "MANIFEST_UNKNOWN")
        }
        #expect(try self.json(try await server.send(.get, "/acr/v1/_deleted/_catalog", headers: admin))["repositories"] == ["team/app"])
        let manifests = try self.json(try await server.send(.get, "/acr/v1/_deleted/team/app/_manifests?n=100", headers: admin))
        let entry = try #require(manifests["manifests"]?[0])
        #expect(entry["digest"]?.stringValue == digest.description)
        #expect(entry["tags"] == ["v1", "v2"])
        #expect(entry["deletedAt"]?.stringValue?.contains("T") == true)
        let tags = try self.json(try await server.send(.get, "/acr/v1/_deleted/team/app/_tags", headers: admin))
        #expect(tags["tags"]?.arrayValue?.compactMap { $0["tag"]?.stringValue } == ["v1", "v2"])
        let first = try await server.send(.get, "/acr/v1/_deleted/team/app/_tags?n=1", headers: admin)
        let link = try #require(first.header("Link")).dropFirst().prefix { $0 != ">" }
        #expect(try self.json(try await server.send(.get, String(link), headers: admin))[path: "tags"]?[0]?["tag"] == "v2")

        let path = "/acr/v1/_deleted/team/app/_manifests/\(digest)"
        for body in ["[]", "{\"tag\":5}", "{\"tag\":\"a b\"}"] {
            #expect(try await server.send(.post, path, headers: admin, body: Array(body.utf8)).status == 400, "\(body)")
        }
        #expect(try await server.send(.post, path + "?force=perhaps", headers: admin, body: []).status == 400)
        let restored = try await server.send(.post, path + "?force=False", headers: admin, body: Array("{\"tag\":\"v1\"}".utf8))
        #expect(restored.status == 200)
        #expect(try self.json(restored)["tagsRestored"] == ["v1"])
        #expect(try await server.send(.get, "/v2/team/app/manifests/v1", headers: admin).body == self.image.manifest.bytes)
        #expect(try await server.send(.get, "/v2/team/app/manifests/v2", headers: admin).code == "MANIFEST_UNKNOWN")
        let layer = self.image.layers[0]
        #expect(try await server.send(.get, "/v2/team/app/blobs/\(layer.digest)", headers: admin).body == layer.bytes)

        // In use by another: refused unless forced.
        let other = TestImage("other")
        try await server.site.push(other, tags: [tag("v1")], to: self.app)
        let taken = try await server.send(.post, path, headers: admin, body: Array("{\"tag\":\"v1\"}".utf8))
        #expect(taken.status == 409)
        #expect(try await server.send(.post, path + "?force=True", headers: admin, body: Array("{\"tag\":\"v1\"}".utf8)).status == 200)
        #expect(try await server.site.store.resolve(tag("v1"), in: self.app, of: server.site.registry) == digest)
        for bad in ["_deleted/team/app", "_deleted/team/app/_tags/v1", "_deleted/team/app/_manifests/x", "_deleted/nowhere/_tags"] {
            #expect(try await server.send(.get, "/acr/v1/\(bad)", headers: admin).status == 404, "\(bad)")
        }
        #expect(try await server.send(.delete, path, headers: admin).status == 405)
    }

    @Test("R4 I1 seeing what was deleted takes metadata/read, restoring content/write and content/delete; tokens say so by scope")
    func permissions() async throws {
        let (server, admin) = try await self.server()
        let digest = self.image.manifest.digest
        #expect(try await server.send(.delete, "/acr/v1/team/app", headers: admin).status == 202)
        let path = "/acr/v1/_deleted/team/app/_manifests/\(digest)"
        let cases: [(actions: [String], sees: Bool, restores: Bool)] = [
            (["content/read"], false, false), (["metadata/read"], true, false), (["content/write"], false, false),
            (["content/delete", "metadata/write"], false, false), (["content/write", "content/delete"], false, true),
        ]
        for (index, row) in cases.enumerated() {
            let caller = try await server.credentials("caller\(index)", actions: row.actions.map { "repositories/team/*/\($0)" })
            #expect(
                try await server.send(.get, "/acr/v1/_deleted/team/app/_tags", headers: caller).status == (row.sees ? 200 : 401), "\(row)")
            let catalog = try self.json(try await server.send(.get, "/acr/v1/_deleted/_catalog", headers: caller))
            #expect(catalog["repositories"] == (row.sees ? ["team/app"] : []), "\(row)")
            let answer = try await server.send(.post, path, headers: caller, body: [])
            #expect(answer.status == (row.restores ? 200 : 401), "\(row)")
            guard !row.restores else { continue }
            #expect(answer.header("WWW-Authenticate")?.contains("repository:team/app:deleted_restore") == true)
        }
        // As az asks for it.
        func token(_ scope: String) async throws -> HTTPFields {
            let answer = try await server.send(.get, "/oauth2/token?service=harbour.test&scope=\(scope)", headers: admin)
            return DataPlane.bearer(try #require(try self.json(answer)["access_token"]?.stringValue))
        }
        let both = try await token("repository:team/app:deleted_read,deleted_restore")
        #expect(try await server.send(.get, "/acr/v1/_deleted/team/app/_tags", headers: both).status == 200)
        #expect(try await server.send(.post, path, headers: both, body: []).status == 200)
        #expect(try await server.send(.get, "/v2/team/app/manifests/v1", headers: both).status == 401)
        let catalog = try await token("registry:deleted_catalog:*")
        #expect(try await server.send(.get, "/acr/v1/_deleted/_catalog", headers: catalog).status == 200)
        #expect(try await server.send(.get, "/acr/v1/_catalog", headers: catalog).status == 401)
        // The grammar of scope maps has five actions.
        await #expect(throws: (any Error).self) {
            _ = try await server.client("grammar", actions: ["repositories/team/app/deleted/read"])
        }
    }
}
