// Proves uploads: order, one writer at a time, resuming, and that an upload belongs to its repository.

import NIOCore
import OCI
import Persistence
import RegistryCore
import TestSupport
import Testing

@Suite struct UploadTests {
    private let app = repository("app")

    private func refusal(_ body: @Sendable () async throws -> Void) async -> RegistryError? {
        await #expect(throws: RegistryError.self) { try await body() }
    }

    private func range(_ text: String) throws -> Uploads.Range { try Uploads.Range(parsing: text) }

    @Test("R1 a chunked upload goes on where it stood; a chunk out of order is 416 and changes nothing")
    func chunks() async throws {
        let site = try await Site()
        let content = Fixture.layer("0123456789")
        let id = try await site.uploads.begin(in: self.app, of: site.registry)
        #expect(
            try await site.uploads.append(
                Parts([Array("0123".utf8)]), range: self.range("0-3"), length: 4, to: id, in: self.app, of: site.registry) == 4)
        for bad in ["0-3", "5-6", "3-5"] {
            let error = await self.refusal {
                _ = try await site.uploads.append(
                    Parts([Array("xx".utf8)]), range: self.range(bad), length: nil, to: id, in: self.app, of: site.registry)
            }
            #expect(error?.status == 416)
            #expect(error?.detail["offset"] == "4")
        }
        let error = await self.refusal {
            _ = try await site.uploads.append(
                Parts([Array("45".utf8)]), range: self.range("4-5"), length: 3, to: id, in: self.app, of: site.registry)
        }
        #expect(error?.code == .sizeInvalid)
        #expect(try await site.uploads.size(of: id, in: self.app, of: site.registry) == 4)
        let stored = try await site.uploads.finish(
            Parts([Array("456789".utf8)]), range: self.range("4-9"), length: 6, as: content.digest, upload: id, in: self.app,
            of: site.registry)
        #expect(stored.size == 10)
        #expect(try await site.store.blob(content.digest, in: self.app, of: site.registry) == stored)
        let over = await self.refusal { _ = try await site.uploads.size(of: id, in: self.app, of: site.registry) }
        #expect(over?.code == .blobUploadUnknown)
    }

    @Test("R1 a chunk's bytes must be as many as its Content-Range says")
    func chunkLength() async throws {
        let site = try await Site()
        for body in ["0123", "0123456789"] {
            let id = try await site.uploads.begin(in: self.app, of: site.registry)
            let error = await self.refusal {
                _ = try await site.uploads.append(
                    Parts([Array(body.utf8)]), range: self.range("0-6"), length: nil, to: id, in: self.app, of: site.registry)
            }
            #expect(error?.code == .sizeInvalid)
        }
    }

    @Test(
        "R1 Content-Range has one form",
        arguments: ["", "-", "0", "0-", "-1", "5-4", "a-b", "0-1-2", "bytes 0-1", "+0-1", "0-1/2", " 0-1", "0-99999999999999999999"])
    func badRanges(text: String) {
        #expect(throws: OCIParseError.self) { try Uploads.Range(parsing: text) }
    }

    @Test("R1 a second writer is refused, not queued, and the first is not disturbed")
    func oneWriter() async throws {
        let site = try await Site()
        let id = try await site.uploads.begin(in: self.app, of: site.registry)
        let (gate, reached) = (Gate(), Gate())
        async let first = site.uploads.append(
            Parts([Array("ab".utf8), Array("cd".utf8)], gate: gate, reached: reached), range: nil, length: nil, to: id, in: self.app,
            of: site.registry)
        await reached.wait()
        let error = await self.refusal {
            _ = try await site.uploads.append(Parts([Array("xx".utf8)]), range: nil, length: nil, to: id, in: self.app, of: site.registry)
        }
        #expect(error?.status == 409)
        let cancel = await self.refusal { try await site.uploads.cancel(id, in: self.app, of: site.registry) }
        #expect(cancel?.status == 409)
        // Who asks meanwhile is told what was there before.
        #expect(try await site.uploads.size(of: id, in: self.app, of: site.registry) == 0)
        gate.open()
        #expect(try await first == 4)
        _ = try await site.uploads.finish(
            nil as Parts?, range: nil, length: nil, as: Digest.of("abcd".utf8), upload: id, in: self.app, of: site.registry)
    }

    @Test("R1 what arrived before a connection broke is kept, and the upload goes on behind it")
    func truncated() async throws {
        let site = try await Site()
        let id = try await site.uploads.begin(in: self.app, of: site.registry)
        await #expect(throws: Parts.Broken.self) {
            try await site.uploads.append(
                Parts([Array("abc".utf8)], breaks: true), range: nil, length: 10, to: id, in: self.app, of: site.registry)
        }
        #expect(try await site.uploads.size(of: id, in: self.app, of: site.registry) == 3)
        _ = try await site.uploads.finish(
            Parts([Array("def".utf8)]), range: self.range("3-5"), length: 3, as: Digest.of("abcdef".utf8), upload: id, in: self.app,
            of: site.registry)
    }

    @Test("R7 an upload goes on after a restart of the server", arguments: Digest.Algorithm.allCases)
    func restart(algorithm: Digest.Algorithm) async throws {
        let site = try await Site()
        let content = Content(Array("before and after".utf8), .layer, algorithm: algorithm)
        let id = try await site.uploads.begin(in: self.app, of: site.registry)
        _ = try await site.uploads.append(Parts([Array("before".utf8)]), range: nil, length: nil, to: id, in: self.app, of: site.registry)
        let restarted = Uploads(store: site.store)
        #expect(try await restarted.size(of: id, in: self.app, of: site.registry) == 6)
        let stored = try await restarted.finish(
            Parts([Array(" and after".utf8)]), range: nil, length: nil, as: content.digest, upload: id, in: self.app, of: site.registry)
        #expect(stored.digest == content.digest)
        #expect(site.scratch.files(below: "uploads").isEmpty)
    }

    @Test("R1 who asks for the state of an upload, or gives it up, after a restart does not wait until it is read", .timeLimit(.minutes(5)))
    func askedAfterRestart() async throws {
        let site = try await Site()
        let id = try await site.uploads.begin(in: self.app, of: site.registry)
        _ = try await site.uploads.append(Parts([Array("before".utf8)]), range: nil, length: nil, to: id, in: self.app, of: site.registry)
        // Far more than could be read in that time.
        let name = try #require(site.scratch.files(below: "uploads").first)
        try File("\(site.scratch.path)/uploads/\(name)", .readWriteExisting).truncate(to: 4 << 40)
        let restarted = Uploads(store: site.store)
        #expect(try await restarted.size(of: id, in: self.app, of: site.registry) == 4 << 40)
        try await restarted.cancel(id, in: self.app, of: site.registry)
        #expect(site.scratch.files(below: "uploads").isEmpty)
        let gone = await self.refusal { _ = try await restarted.size(of: id, in: self.app, of: site.registry) }
        #expect(gone?.code == .blobUploadUnknown)
        let again = await self.refusal { try await restarted.cancel(id, in: self.app, of: site.registry) }
        #expect(again?.code == .blobUploadUnknown)
    }

    @Test("R1 an upload is unknown in another repository, in another registry, and under a made-up identifier")
    func foreign() async throws {
        let site = try await Site()
        let id = try await site.uploads.begin(in: self.app, of: site.registry)
        let other = try await site.store.registry(named: "other")
        for (name, registry, identifier) in [
            (repository("other"), site.registry, id), (self.app, other, id), (self.app, site.registry, String(repeating: "0", count: 32)),
            (self.app, site.registry, "../../outport.db"), (self.app, site.registry, ""), (self.app, site.registry, id + "/../x"),
        ] {
            let error = await self.refusal { _ = try await site.uploads.size(of: identifier, in: name, of: registry) }
            #expect(error?.code == .blobUploadUnknown)
        }
        #expect(try await site.uploads.size(of: id, in: self.app, of: site.registry) == 0)
    }

    @Test("R1 content that is not what the digest says is refused, and nothing of it stays", arguments: Digest.Algorithm.allCases)
    func wrongDigest(algorithm: Digest.Algorithm) async throws {
        let site = try await Site()
        let id = try await site.uploads.begin(in: self.app, of: site.registry)
        let promised = Digest.of("promised".utf8, algorithm: algorithm)
        let error = await self.refusal {
            _ = try await site.uploads.finish(
                Parts([Array("delivered".utf8)]), range: nil, length: nil, as: promised, upload: id, in: self.app, of: site.registry)
        }
        #expect(error?.code == .digestInvalid)
        #expect(error?.status == 400)
        let unknown = await self.refusal { _ = try await site.store.blob(promised, in: self.app, of: site.registry) }
        #expect(unknown?.code == .blobUnknown)
        #expect(site.scratch.files(below: "uploads").isEmpty)
        #expect(site.scratch.files(below: "blobs").isEmpty)
    }

    @Test("R1 a repository has so many open uploads and no more; each that ends makes room, however it ends")
    func limit() async throws {
        let site = try await Site()
        let uploads = Uploads(store: site.store, limit: 3)
        @Sendable func begin(_ registry: RegistryID) async throws -> String { try await uploads.begin(in: self.app, of: registry) }
        var open: [String] = []
        for _ in 0..<3 { open.append(try await begin(site.registry)) }
        let ends: [@Sendable (String) async throws -> Void] = [
            { try await uploads.cancel($0, in: self.app, of: site.registry) },
            {
                _ = try await uploads.finish(
                    Parts([[1, 2]]), range: nil, length: 2, as: Digest.of([1, 2]), upload: $0, in: self.app, of: site.registry)
            },
            {
                _ = try? await uploads.finish(
                    Parts([[1, 2]]), range: nil, length: 2, as: Digest.of([3]), upload: $0, in: self.app, of: site.registry)
            },
        ]
        for end in ends {
            let refused = await self.refusal { _ = try await begin(site.registry) }
            #expect(refused?.code == .tooManyRequests)
            #expect(refused?.status == 429)
            try await end(open.removeFirst())
            open.append(try await begin(site.registry))
        }
        // Another repository has its own, and another registry.
        _ = try await uploads.begin(in: repository("other"), of: site.registry)
        _ = try await begin(try await site.store.registry(named: "other"))
        // One of an earlier process counts from when it is gone on with.
        let earlier = try await site.uploads.begin(in: self.app, of: site.registry)
        _ = try await site.uploads.append(Parts([[1]]), range: nil, length: 1, to: earlier, in: self.app, of: site.registry)
        try await uploads.cancel(open.removeFirst(), in: self.app, of: site.registry)
        #expect(try await uploads.size(of: earlier, in: self.app, of: site.registry) == 1)
        _ = try await uploads.append(Parts([[2]]), range: nil, length: 1, to: earlier, in: self.app, of: site.registry)
        #expect(await self.refusal { _ = try await begin(site.registry) }?.code == .tooManyRequests)
        try await uploads.cancel(earlier, in: self.app, of: site.registry)
        // What nobody asked for is over by its age.
        site.clock.advance(seconds: 1000)
        let collector = GarbageCollector(store: site.store, uploads: uploads)
        var policy = GarbagePolicy()
        policy.uploadAge = 500_000
        _ = try await collector.collect(policy)
        for _ in 0..<3 { _ = try await begin(site.registry) }
    }

    @Test("R1 a cancelled upload is gone")
    func cancelled() async throws {
        let site = try await Site()
        let id = try await site.uploads.begin(in: self.app, of: site.registry)
        try await site.uploads.cancel(id, in: self.app, of: site.registry)
        let error = await self.refusal { _ = try await site.uploads.size(of: id, in: self.app, of: site.registry) }
        #expect(error?.code == .blobUploadUnknown)
        #expect(site.scratch.files(below: "uploads").isEmpty)
    }

    @Test("R1 one content has one file, however many repositories push it, at the same time too")
    func shared() async throws {
        let site = try await Site()
        let content = Fixture.layer(bytes: 300_000, seed: 1)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 0..<8 { group.addTask { try await site.push(content, to: repository("team/app\(number)")) } }
            try await group.waitForAll()
        }
        #expect(site.scratch.files(below: "blobs").count == 1)
        for number in 0..<8 {
            let blob = try await site.store.blob(content.digest, in: repository("team/app\(number)"), of: site.registry)
            let reader = try await site.store.open(blob)
            #expect(Array(try await reader.read(at: 0, count: 300_000).readableBytesView) == content.bytes)
        }
        #expect(try await site.store.usage(of: site.registry) == 300_000)
    }

    @Test("R1 large bodies in uneven parts arrive whole")
    func segments() async throws {
        let site = try await Site()
        var generator = SeededGenerator(seed: 5)
        let parts = [700_000, 1, 1_500_000, 350_000, 5_000_000, 3].map { generator.bytes($0) }
        let whole = parts.flatMap { $0 }
        let id = try await site.uploads.begin(in: self.app, of: site.registry)
        let stored = try await site.uploads.finish(
            Parts(parts), range: nil, length: Int64(whole.count), as: Digest.of(whole), upload: id, in: self.app, of: site.registry)
        #expect(stored.size == Int64(whole.count))
    }
}
