// Referrers in any number and of any size: pages, filters, and what earlier versions have stored.

import HTTPTypes
import OCI
import TestSupport
import Testing

@Suite struct ReferrerTests {
    private let app = repository("app")
    private let image = TestImage("one")

    private func server() async throws -> (server: DataPlane, admin: HTTPFields) {
        let server = try await DataPlane(Site())
        try await server.site.push(self.image, tags: [tag("v1")], to: self.app)
        return (server, try await server.credentials("admin"))
    }

    private var path: String { "/v2/app/referrers/\(self.image.manifest.digest)" }

    /// Follows links to the end.
    private func pages(_ server: DataPlane, _ admin: HTTPFields, _ path: String) async throws -> [[Descriptor]] {
        var pages: [[Descriptor]] = []
        var next: String? = path
        while let path = next {
            let answer = try await server.send(.get, path, headers: admin)
            #expect(answer.status == 200)
            #expect(answer.headers[.ociFiltersApplied] == (path.contains("artifactType") ? "artifactType" : nil))
            pages.append(try answer.decode(ReferrersList.self).manifests)
            next = answer.header("Link").map { String($0.dropFirst().prefix { $0 != ">" }) }
        }
        return pages
    }

    @Test("R1 end-12: referrers come a page at a time, in the order they were pushed, filtered where that was asked for")
    func pages() async throws {
        let (server, admin) = try await self.server()
        var all: [Digest] = []
        for number in 0..<7 {
            // Two at a time are equally old: the digest decides.
            if number.isMultiple(of: 2) { server.site.clock.advance(seconds: 1) }
            let type = number < 4 ? "application/a+json" : "application/b"
            let referrer = TestImage("\(number)", subject: self.image.manifest, artifactType: type)
            try await server.site.push(referrer, to: self.app)
            all.append(referrer.manifest.digest)
        }
        for start in stride(from: 0, to: 6, by: 2) where all[start].description > all[start + 1].description {
            all.swapAt(start, start + 1)
        }
        let whole = try await self.pages(server, admin, self.path)
        #expect(whole.map { $0.map(\.digest) } == [all])
        let parts = try await self.pages(server, admin, self.path + "?n=3")
        #expect(parts.map(\.count) == [3, 3, 1])
        #expect(parts.flatMap { $0.map(\.digest) } == all)
        let filtered = try await self.pages(server, admin, self.path + "?artifactType=application%2Fa%2Bjson&n=3")
        #expect(filtered.map(\.count) == [3, 1])
        #expect(Set(filtered.flatMap { $0.map(\.digest) }) == Set(all[..<4]))
        #expect(try await self.pages(server, admin, self.path + "?n=0") == [[]])
        for bad in ["last=x", "last=", "last=1-sha256:x", "n=-1", "n=x"] {
            let answer = try await server.send(.get, "\(self.path)?\(bad)", headers: admin)
            #expect(answer.status == 400)
            #expect(answer.code == "PAGINATION_NUMBER_INVALID")
        }
    }

    @Test("R1 end-12: a page ends where its annotations are megabytes, and has one entry at least")
    func largeAnnotations() async throws {
        let (server, admin) = try await self.server()
        let config = Fixture.config("x")
        try await server.site.push(config, to: self.app)
        for number in 0..<5 {
            let manifest = Fixture.image(
                config: config.descriptor, layers: [], subject: self.image.manifest.descriptor,
                annotations: ["\(number)": String(repeating: "x", count: number == 0 ? 4_190_000 : 1_900_000)])
            try await server.site.put(manifest, to: self.app)
            server.site.clock.advance(seconds: 1)
        }
        #expect(try await self.pages(server, admin, self.path).map(\.count) == [1, 2, 2])
    }

    @Test("R1 end-12: more than a thousand referrers make a second page, whatever number is asked for")
    func many() async throws {
        let (server, admin) = try await self.server()
        // Side by side, so that they share commits.
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 0..<1001 {
                let referrer = Fixture.index([], artifactType: "application/\(number)", subject: self.image.manifest.descriptor)
                group.addTask { try await server.site.put(referrer, to: self.app) }
            }
            try await group.waitForAll()
        }
        #expect(try await self.pages(server, admin, self.path + "?n=5000").map(\.count) == [1000, 1])
    }

    @Test("R1 an empty artifactType that an earlier version has stored is read as none")
    func emptyArtifactType() async throws {
        let (server, admin) = try await self.server()
        let signature = TestImage("signature", subject: self.image.manifest)
        let index = Fixture.index([], subject: self.image.manifest.descriptor)
        try await server.site.push(signature, to: self.app)
        try await server.site.put(index, to: self.app)
        _ = try await server.site.database.write { try $0.execute("UPDATE manifest SET artifact_type = '' WHERE subject IS NOT NULL") }
        let types = Dictionary(
            uniqueKeysWithValues: try await self.pages(server, admin, self.path).joined().map { ($0.digest, $0.artifactType) })
        #expect(types == [signature.manifest.digest: MediaType.config.description, index.digest: nil])
        let filtered = try await self.pages(
            server, admin, self.path + "?artifactType=\(PercentTest.encode(MediaType.config.description).replacing("+", with: "%2B"))")
        #expect(filtered.map { $0.map(\.digest) } == [[signature.manifest.digest]])
        let shown = try await server.send(.get, "/acr/v1/app/_manifests/\(signature.manifest.digest)", headers: admin)
        #expect(shown.text.contains("\"artifactType\":\"\(MediaType.config)\""))
    }
}
