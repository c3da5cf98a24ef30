// Content discovery: tags, the catalog and referrers.

import HTTPTypes
import OCI
import TestSupport
import Testing

extension Spec11Tests {
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
        // No entries of nothing are not there either.
        let unknown = try await server.send(.get, "/v2/nothing/tags/list?n=0", headers: admin)
        #expect(unknown.status == 404)
        #expect(unknown.code == "NAME_UNKNOWN")
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
}
