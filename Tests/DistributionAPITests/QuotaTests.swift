// Quotas where it is hard: pushes at the same time, lengths that are made up or missing, quotas that come and go.

import HTTPTypes
import OCI
import Persistence
import TestSupport
import Testing

@testable import RegistryCore

@Suite struct QuotaTests {
    private let first = Fixture.layer(bytes: 600, seed: 1)
    private let second = Fixture.layer(bytes: 500, seed: 2)

    private func server(_ quota: Int64? = 1000) async throws -> (server: DataPlane, admin: HTTPFields) {
        let server = try await DataPlane(Site(), options: .init(quota: quota))
        return (server, try await server.credentials("admin"))
    }

    private func with(_ headers: HTTPFields, length: String) -> HTTPFields {
        var headers = headers
        headers[.contentLength] = length
        return headers
    }

    private func post(_ content: Content) -> String { "/v2/app/blobs/uploads/?digest=\(content.digest)" }

    private func begin(_ server: DataPlane, _ admin: HTTPFields) async throws -> String {
        try await server.send(.post, "/v2/app/blobs/uploads/", headers: admin, body: []).location
    }

    @Test("R1 a Content-Length that is more than a number holds is refused as over quota")
    func madeUpLength() async throws {
        let (server, admin) = try await self.server()
        let headers = self.with(admin, length: "9223372036854775807")
        for (method, query) in [(HTTPRequest.Method.patch, ""), (.put, "?digest=\(self.first.digest)")] {
            let location = try await self.begin(server, admin)
            #expect(try await server.send(.patch, location, headers: admin, body: [1, 2]).status == 202)
            let refused = try await server.send(method, location + query, headers: headers, parts: Parts([[3]]))
            #expect(refused.status == 403)
            #expect(refused.code == "DENIED")
            #expect(refused.detail?["size"] == "9223372036854775807")
        }
        #expect(try await server.send(.post, self.post(self.first), headers: headers, parts: Parts([[3]])).status == 403)
    }

    @Test("R1 what is being pushed takes room from other pushes, and gives it back when it fails")
    func atTheSameTime() async throws {
        let (server, admin) = try await self.server()
        let half = Array(self.first.bytes[..<300])
        for breaks in [true, false] {
            let (gate, reached) = (Gate(), Gate())
            let parts = Parts([half, Array(self.first.bytes[300...])], breaks: breaks, gate: gate, reached: reached)
            let headers = self.with(admin, length: "600")
            async let push = server.send(.post, self.post(self.first), headers: headers, parts: parts)
            await reached.wait()
            let refused = try await server.send(.post, self.post(self.second), headers: admin, body: self.second.bytes)
            #expect(refused.status == 403)
            #expect(refused.detail == ["quota": "1000", "used": "0", "size": "500", "arriving": "600"])
            gate.open()
            if breaks {
                _ = try? await push
                #expect(server.site.scratch.files(below: "uploads").isEmpty)
            } else {
                #expect(try await push.status == 201)
            }
        }
        #expect(try await server.site.store.usage(of: server.site.registry) == 600)
        #expect(try await server.send(.post, self.post(self.second), headers: admin, body: self.second.bytes).status == 403)
        let small = Fixture.layer(bytes: 400, seed: 3)
        #expect(try await server.send(.post, self.post(small), headers: admin, body: small.bytes).status == 201)
    }

    @Test("R1 a body of a length nobody announced is refused while it arrives, not when all of it is here")
    func unannounced() async throws {
        let (server, admin) = try await self.server(3 << 20)
        let segment = [UInt8](repeating: 7, count: 1 << 20)
        let endless = Parts(Array(repeating: segment, count: 64))
        let location = try await self.begin(server, admin)
        let refused = try await server.send(.patch, location, headers: admin, parts: endless)
        #expect(refused.status == 403)
        #expect(refused.code == "DENIED")
        // What had room does not lie beside the quota.
        #expect(try await server.send(.get, location, headers: admin).code == "BLOB_UPLOAD_UNKNOWN")
        let other = try await self.begin(server, admin)
        #expect(try await server.send(.put, "\(other)?digest=\(self.first.digest)", headers: admin, parts: endless).status == 403)
        #expect(try await server.send(.get, other, headers: admin).code == "BLOB_UPLOAD_UNKNOWN")
        #expect(try await server.send(.post, self.post(self.first), headers: admin, parts: endless).status == 403)
        #expect(server.site.scratch.files(below: "uploads").isEmpty)
        // All of it is given back.
        let large = Fixture.layer(bytes: 3 << 20, seed: 4)
        #expect(try await server.send(.post, self.post(large), headers: admin, parts: Parts([large.bytes])).status == 201)
    }

    @Test("R1 manifests take room as blobs do, but for one that is here already; kept ones count, and what nobody counted does later")
    func manifests() async throws {
        let (server, admin) = try await self.server(2000)
        let site = server.site
        try await site.database.write { try SoftDelete.set(isOn: true, age: 86_400_000, of: site.registry, $0) }
        // Sparse indexes: nothing of what they list is here.
        let indexes = (0..<3).map { number in
            Fixture.index(
                (0..<6).map { Fixture.layer("\(number) \($0)").descriptor }.map {
                    Descriptor(mediaType: .ociManifest, digest: $0.digest, size: 7)
                })
        }
        let size = Int64(indexes[0].bytes.count)
        #expect(size > 700 && size < 1000)
        func put(_ index: Content, _ reference: String, _ server: DataPlane) async throws -> Answer {
            var headers = admin
            headers[.contentType] = index.mediaType.description
            return try await server.send(.put, "/v2/app/manifests/\(reference)", headers: headers, body: index.bytes)
        }
        for (number, index) in indexes.prefix(2).enumerated() { #expect(try await put(index, "v\(number)", server).status == 201) }
        #expect(try await site.store.usage(of: site.registry) == 2 * size)
        let refused = try await put(indexes[2], "v2", server)
        #expect(refused.status == 403 && refused.code == "DENIED")
        #expect(refused.detail == ["quota": "2000", "used": "\(2 * size)", "size": "\(size)"])
        // Another name for what is here, and the same in another repository.
        #expect(try await put(indexes[0], "again", server).status == 201)
        #expect(try await site.store.resolve(tag("again"), in: repository("app"), of: site.registry) == indexes[0].digest)
        // One that is deleted and kept takes room until its days are over.
        #expect(try await server.send(.delete, "/v2/app/manifests/\(indexes[1].digest)", headers: admin).status == 202)
        #expect(try await site.store.usage(of: site.registry) == 2 * size)
        #expect(try await put(indexes[2], "v2", server).status == 403)
        site.clock.advance(seconds: 2 * 86_400)
        #expect(try await GarbageCollector(store: site.store, uploads: site.uploads).collect(GarbagePolicy()).purged == 1)
        #expect(try await site.store.usage(of: site.registry) == size)
        #expect(try await put(indexes[2], "v2", server).status == 201)
        // Without a quota everything is taken, and counts when there is one again.
        #expect(try await put(indexes[1], "v1", try await DataPlane(site)).status == 201)
        let small = Fixture.layer(bytes: 100, seed: 3)
        let full = try await server.send(.post, self.post(small), headers: admin, body: small.bytes)
        #expect(full.status == 403)
        #expect(full.detail?["used"] == "\(3 * size)")
    }

    @Test("R1 what was pushed while the quota was off counts when it is on again")
    func switchedOff() async throws {
        let (server, admin) = try await self.server()
        let small = Fixture.layer(bytes: 100, seed: 3)
        #expect(try await server.send(.post, self.post(small), headers: admin, body: small.bytes).status == 201)
        let off = try await DataPlane(server.site)
        #expect(try await off.send(.post, self.post(self.first), headers: admin, body: self.first.bytes).status == 201)
        let refused = try await server.send(.post, self.post(self.second), headers: admin, body: self.second.bytes)
        #expect(refused.status == 403)
        #expect(refused.detail?["used"] == "700")
    }
}
