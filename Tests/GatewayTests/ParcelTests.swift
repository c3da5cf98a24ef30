// Proves what a parcel gives, to whom, and how it is read whatever it is cut into.

import Gateway
import GatewayProtocol
import HTTPTypes
import OCI
import RegistryCore
import TestSupport
import Testing

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

@Suite struct ParcelTests {
    private struct Tokens: Decodable {
        let accessToken: String

        enum CodingKeys: String, CodingKey {
            case accessToken = "access_token"
        }
    }

    /// A server, and a connected registry that is active at it.
    private func activated(
        _ repositories: [String] = ["*"], readRefusal: String? = nil
    ) async throws -> (server: DataPlane, headers: HTTPFields) {
        let server = try await DataPlane(Site(), readRefusal: readRefusal)
        let password = try await server.connectedRegistry("site1", repositories: repositories)
        let (active, _) = try await server.connectedRegistries.activate(
            "site1", instance: "instance-1", nonce: nil, version: "test", loginServer: nil, in: server.site.registry)
        let form =
            "grant_type=password&username=site1-sync&password=\(password)&scope=\(GatewayScope.text("site1"))&instance=instance-1&epoch=\(active.epoch)"
        let token = try await server.send(.post, "/oauth2/token", body: Array(form.utf8)).decode(Tokens.self).accessToken
        return (server, DataPlane.bearer(token))
    }

    private func post(_ call: String, _ body: some Encodable, _ server: DataPlane, _ headers: HTTPFields) async throws -> Answer {
        try await server.send(.post, "/gateway/v1/site1/\(call)", headers: headers, body: [UInt8](try JSONEncoder().encode(body)))
    }

    private func code(_ answer: Answer) -> String? { try? answer.decode(GatewayErrorBody.self).error.code }

    private func events(_ answer: Answer, _ count: Int) throws -> [ParcelParser.Event] {
        var parser = ParcelParser(count: count)
        return try parser.feed(answer.body)
    }

    @Test("C13 a parcel has what single requests would be given: nothing locked, nothing large, nothing of other repositories")
    func contents() async throws {
        let (server, headers) = try await self.activated(["team/*"])
        let site = server.site
        let (open, locked) = (repository("team/open"), repository("team/locked"))
        let one = TestImage("one", layers: [Fixture.layer(bytes: 300, seed: 1), Fixture.layer(bytes: 40_000, seed: 2)])
        let two = TestImage("two")
        try await site.push(one, tags: [tag("v1")], to: open)
        try await site.push(two, tags: [tag("v1")], to: open)
        try await site.push(one, tags: [tag("v1")], to: locked)
        var change = LockChange()
        change.set = [.read]
        try await site.store.setLocks(change, of: .repository(locked), in: site.registry, origin: "test")
        try await site.store.setLocks(change, of: .manifest(open, two.manifest.digest), in: site.registry, origin: "test")
        // Small content in a file, as earlier versions and transfers leave it.
        let inFile = Fixture.layer(bytes: 700, seed: 3)
        let staged = try await site.blobs.stage(.transfer(inFile.digest))
        try await staged.append(.init(bytes: inFile.bytes))
        try await site.store.admit(try await site.blobs.commit(staged, as: inFile.digest, size: 700), into: open, of: site.registry)
        let nothing = Digest.of("nothing".utf8)
        let request = ParcelRequest(parts: [
            .init(
                repository: open, manifests: [two.manifest.digest, nothing, one.manifest.digest],
                blobs: [one.config.digest, one.layers[0].digest, one.layers[1].digest, nothing, inFile.digest]),
            .init(repository: locked, manifests: [one.manifest.digest], blobs: [one.config.digest]),
            .init(repository: repository("team/none"), blobs: [one.config.digest]),
        ])
        let answer = try await self.post("parcel", request, server, headers)
        #expect(answer.status == 200)
        #expect(answer.header("content-type") == ParcelFormat.mediaType)
        let events = try self.events(answer, request.items.count)
        let items = events.compactMap { event -> ParcelParser.Item? in if case .item(let item) = event { item } else { nil } }
        #expect(items.map(\.number) == [2, 3, 4, 7])
        #expect(items.map(\.bytes) == [one.manifest.bytes, one.config.bytes, one.layers[0].bytes, inFile.bytes])
        #expect(items.map(\.mediaType) == [one.manifest.mediaType.description, nil, nil, nil])
        #expect(events.last == .end(11))
        let other = ParcelRequest(parts: [.init(repository: repository("other"), blobs: [one.config.digest])])
        #expect(try await self.post("parcel", other, server, headers).status == 403)
        #expect(try await self.post("state", StatePagesRequest(repositories: [repository("other")]), server, headers).status == 403)
    }

    @Test("C12 an answer ends where it is large enough, and says how far it has looked; requests have limits")
    func limits() async throws {
        let (server, headers) = try await self.activated()
        let (site, name) = (server.site, repository("app"))
        let layers = (0..<12).map { Fixture.layer(bytes: ParcelRequest.largestBlob, seed: UInt64($0)) }
        for layer in layers { try await site.push(layer, to: name) }
        let request = ParcelRequest(parts: [.init(repository: name, blobs: layers.map(\.digest))])
        let events = try self.events(try await self.post("parcel", request, server, headers), layers.count)
        #expect(events.count == 9 && events.last == .end(8))
        for items in [[], Array(repeating: layers[0].digest, count: ParcelRequest.maximumItems + 1)] {
            let answer = try await self.post("parcel", ParcelRequest(parts: [.init(repository: name, blobs: items)]), server, headers)
            #expect(answer.status == 400 && self.code(answer) == "INVALID_REQUEST")
        }
        #expect(try await self.post("state", StatePagesRequest(repositories: []), server, headers).status == 400)
        let many = (0...StatePagesRequest.maximumRepositories).map { repository("r\($0)") }
        #expect(try await self.post("state", StatePagesRequest(repositories: many), server, headers).status == 400)
        #expect(try await self.post("parcel", request, server, [:]).status == 401)
        // One that is not there is a page with nothing on it, as when it is asked for alone.
        let pages = try await self.post("state", StatePagesRequest(repositories: [repository("none"), name]), server, headers)
            .decode(StatePagesResponse.self).pages
        #expect(pages.count == 2 && pages.allSatisfy { $0.tags.isEmpty })
    }

    @Test("C18 where nothing is served any more a parcel is empty, and who asks for its content alone is told why")
    func ended() async throws {
        let name = repository("app")
        let image = TestImage("one")
        for readRefusal in [nil, "it serves nothing any more"] {
            let (server, headers) = try await self.activated(readRefusal: readRefusal)
            try await server.site.push(image, tags: [tag("v1")], to: name)
            let request = ParcelRequest(parts: [.init(repository: name, manifests: [image.manifest.digest], blobs: [image.config.digest])])
            let events = try self.events(try await self.post("parcel", request, server, headers), 2)
            #expect(events.last == .end(2) && events.count == (readRefusal == nil ? 3 : 1))
            let alone = try await server.send(.get, "/v2/app/blobs/\(image.config.digest)", headers: headers)
            #expect(alone.status == (readRefusal == nil ? 200 : 403))
            #expect(readRefusal.map { alone.text.contains($0) } ?? true)
        }
    }

    @Test("C12 the pages of many repositories are those of each; where they are long, the rest is asked for again")
    func pages() async throws {
        let (server, headers) = try await self.activated()
        let image = TestImage("one")
        let names = (0..<3).map { repository("app\($0)") }
        for name in names { try await server.site.push(image, tags: [tag("v1"), tag("v2")], to: name) }
        let pages = try await self.post("state", StatePagesRequest(repositories: names), server, headers).decode(StatePagesResponse.self)
            .pages
        for (name, page) in zip(names, pages) {
            let alone = try await server.send(.get, "/gateway/v1/site1/state/\(name)", headers: headers).decode(RepositoryStatePage.self)
            #expect(alone == page)
        }
        #expect(pages.count == 3)
        for number in 0..<GatewayLimits.maximumPage { try await server.site.put(image.manifest, tags: [tag("t\(number)")], to: names[0]) }
        let some = try await self.post("state", StatePagesRequest(repositories: names), server, headers).decode(StatePagesResponse.self)
            .pages
        #expect(some.count == 1 && some.first?.next != nil)
    }

    @Test("C14 a parcel reads the same however it is cut into parts, and what has begun to arrive is known")
    func parts() throws {
        let text =
            "\(ParcelFormat.line(0, size: 5, mediaType: "a/b"))hello\(ParcelFormat.line(2, size: 0, mediaType: nil))\(ParcelFormat.line(3, size: 2, mediaType: nil))\n\n\(ParcelFormat.end(5))"
        let bytes = Array(text.utf8)
        var whole = ParcelParser(count: 5)
        let wanted = try whole.feed(bytes)
        #expect(wanted.count == 4 && wanted.last == .end(5))
        for size in 1...bytes.count {
            var parser = ParcelParser(count: 5)
            var events: [ParcelParser.Event] = []
            for start in stride(from: 0, to: bytes.count, by: size) {
                events += try parser.feed(bytes[start..<min(start + size, bytes.count)])
            }
            #expect(events == wanted, "in parts of \(size)")
        }
        var begun = ParcelParser(count: 5)
        _ = try begun.feed(bytes[..<10])
        #expect(begun.partial?.number == 0 && begun.partial.map { String(decoding: $0.bytes, as: UTF8.self) } == "he")
    }

    @Test(
        "C14 what is no parcel is refused",
        arguments: [
            "hello\n", "0 5", "0 -1\n", "0 99999999\n", "5 1\nx", "-1 1\nx", "1 1\nx1 1\nx", "1 1\nx0 1\nx", "0 1 a b\nx", "end\n",
            "end 6\n", "end -1\n",
            "3 1\nxend 3\n", "end 0\nmore", String(repeating: "9", count: 400),
        ])
    func refused(text: String) {
        var parser = ParcelParser(count: 5)
        let isRead = (try? parser.feed(Array(text.utf8)).contains { if case .end = $0 { true } else { false } }) ?? false
        #expect(!isRead)
    }
}
