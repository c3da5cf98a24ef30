// What every implementation of `BlobStore` must do. The file system is run through it today.

import NIOCore
import NIOPosix
import OCI
import Persistence
import TestSupport
import Testing

/// A store under test over a folder, and how to open it again.
struct BlobStoreUnderTest: Sendable {
    let name: String
    let open: @Sendable (DataFolder) throws -> any BlobStore

    static let all = [
        BlobStoreUnderTest(name: "files") { FileBlobStore(folder: $0, pool: .singleton) },
        BlobStoreUnderTest(name: "files around the page cache") { FileBlobStore(folder: $0, pool: .singleton, directFrom: 0) },
    ]
}

extension BlobStoreUnderTest: CustomTestStringConvertible {
    var testDescription: String { self.name }
}

extension Digest.Algorithm {
    /// What a digest is of, and what it was expected to be of.
    struct Pair: Sendable {
        let actual: Digest.Algorithm
        let expected: Digest.Algorithm
    }

    static let pairs = Self.allCases.flatMap { actual in Self.allCases.map { Pair(actual: actual, expected: $0) } }
}

@Suite struct BlobStoreConformance {
    private let scratch: ScratchFolder
    private let folder: DataFolder

    init() throws {
        self.scratch = ScratchFolder()
        self.folder = try DataFolder(self.scratch.path)
    }

    @Test("R7 content of many segments, whole and not, is what was appended", arguments: BlobStoreUnderTest.all)
    func segments(subject: BlobStoreUnderTest) async throws {
        let store = try subject.open(self.folder)
        let content = Fixture.layer(bytes: 5 << 20 + 77, seed: 11)
        let name = try self.name()
        var staged = try await store.stage(name)
        var rest = content.bytes[...]
        // Whole segments, one that is not, and whole ones that no longer begin at a multiple of anything.
        for (number, size) in [1 << 20, 1 << 20, 100_000, 1 << 20].enumerated() {
            try await staged.append(ByteBuffer(bytes: rest.prefix(size)))
            rest = rest.dropFirst(size)
            if number == 1 {
                try await staged.synchronize()
                staged = try #require(try await store.resume(name))
                #expect(staged.size == 2 << 20)
            }
        }
        try await staged.append(ByteBuffer(bytes: rest))
        let stored = try await store.commit(staged, as: content.digest, size: Int64(content.bytes.count))
        let reader = try await store.open(stored)
        #expect(try await Array(reader.read(at: 0, count: content.bytes.count).readableBytesView) == content.bytes)
    }

    private func name(_ character: Character = "a") throws -> StagingName {
        try #require(StagingName.upload(String(repeating: character, count: 32), repository: repository("app"), registry: 1))
    }

    private func commit(_ content: Content, to store: any BlobStore, name: StagingName) async throws -> StoredBlob {
        let staged = try await store.stage(name)
        try await staged.append(ByteBuffer(bytes: content.bytes))
        return try await store.commit(staged, as: content.digest, size: nil)
    }

    private func read(_ blob: StoredBlob, from store: any BlobStore) async throws -> [UInt8] {
        let reader = try await store.open(blob)
        return Array(try await reader.read(at: 0, count: Int(blob.size)).readableBytesView)
    }

    @Test(
        "R7 content is staged in parts, committed and read back, whole and in parts", arguments: BlobStoreUnderTest.all,
        Digest.Algorithm.pairs)
    func roundTrip(subject: BlobStoreUnderTest, algorithms: Digest.Algorithm.Pair) async throws {
        let (algorithm, expected) = (algorithms.actual, algorithms.expected)
        let store = try subject.open(self.folder)
        var generator = SeededGenerator(seed: 3)
        let bytes = generator.bytes(3_000_000)
        // What was expected may be another one.
        let staged = try await store.stage(self.name(), hashing: expected)
        var rest = bytes[...]
        while !rest.isEmpty {
            let part = rest.prefix(Int.random(in: 1...700_000, using: &generator))
            try await staged.append(ByteBuffer(bytes: part))
            rest = rest.dropFirst(part.count)
            #expect(staged.size == Int64(bytes.count - rest.count))
        }
        try await staged.synchronize()
        let digest = Digest.of(bytes, algorithm: algorithm)
        let blob = try await store.commit(staged, as: digest, size: Int64(bytes.count))
        #expect(blob.digest == digest)
        #expect(blob.size == Int64(bytes.count))
        let reader = try await store.open(blob)
        #expect(Array(try await reader.read(at: 0, count: bytes.count).readableBytesView) == bytes)
        #expect(Array(try await reader.read(at: 1_234_567, count: 1000).readableBytesView) == Array(bytes[1_234_567..<1_235_567]))
        // Beyond the end there is nothing.
        #expect(try await reader.read(at: Int64(bytes.count) - 5, count: 100).readableBytes == 5)
        #expect(try await reader.read(at: Int64(bytes.count), count: 100).readableBytes == 0)
        #expect(try await store.staged(in: .uploads).isEmpty)
    }

    @Test("R7 the empty blob is a blob", arguments: BlobStoreUnderTest.all)
    func empty(subject: BlobStoreUnderTest) async throws {
        let store = try subject.open(self.folder)
        let blob = try await store.commit(store.stage(self.name()), as: Digest.of([]), size: 0)
        #expect(try await self.read(blob, from: store).isEmpty)
    }

    @Test("R1 a wrong digest leaves nothing", arguments: BlobStoreUnderTest.all, Digest.Algorithm.pairs)
    func digestMismatch(subject: BlobStoreUnderTest, algorithms: Digest.Algorithm.Pair) async throws {
        let store = try subject.open(self.folder)
        let staged = try await store.stage(self.name(), hashing: algorithms.expected)
        try await staged.append(ByteBuffer(string: "what came"))
        let error = await #expect(throws: PersistenceError.self) {
            try await store.commit(staged, as: Digest.of("what was promised".utf8, algorithm: algorithms.actual), size: nil)
        }
        #expect(error?.code == .digestMismatch)
        #expect(try await store.staged(in: .uploads).isEmpty)
        #expect(self.scratch.files(below: "blobs").isEmpty)
    }

    @Test("R1 a wrong size leaves nothing", arguments: BlobStoreUnderTest.all)
    func sizeMismatch(subject: BlobStoreUnderTest) async throws {
        let store = try subject.open(self.folder)
        let staged = try await store.stage(self.name())
        try await staged.append(ByteBuffer(string: "abc"))
        let error = await #expect(throws: PersistenceError.self) { try await store.commit(staged, as: Digest.of("abc".utf8), size: 4) }
        #expect(error?.code == .sizeMismatch)
        #expect(try await store.staged(in: .uploads).isEmpty)
        #expect(self.scratch.files(below: "blobs").isEmpty)
    }

    @Test("C14 content under way goes on after the store is opened again", arguments: BlobStoreUnderTest.all, Digest.Algorithm.allCases)
    func resumed(subject: BlobStoreUnderTest, algorithm: Digest.Algorithm) async throws {
        let content = Content(Array("first half, second half".utf8), .layer, algorithm: algorithm)
        let name = StagingName.transfer(content.digest)
        do {
            let staged = try await subject.open(self.folder).stage(name)
            try await staged.append(ByteBuffer(bytes: content.bytes.prefix(11)))
        }
        let store = try subject.open(self.folder)
        #expect(try await store.staged(in: .transfers).map(\.name) == [name])
        #expect(try await store.staged(in: .uploads).isEmpty)
        let staged = try #require(try await store.resume(name))
        #expect(staged.size == 11)
        #expect(staged.name == name)
        try await staged.append(ByteBuffer(bytes: content.bytes.dropFirst(11)))
        let blob = try await store.commit(staged, as: content.digest, size: Int64(content.bytes.count))
        #expect(try await self.read(blob, from: store) == content.bytes)
        #expect(try await store.resume(name) == nil)
    }

    @Test("C14 a damaged prefix is noticed", arguments: BlobStoreUnderTest.all)
    func damagedPrefix(subject: BlobStoreUnderTest) async throws {
        let store = try subject.open(self.folder)
        let name = try self.name()
        try await store.stage(name).append(ByteBuffer(string: "XXXX"))
        let staged = try #require(try await store.resume(name))
        try await staged.append(ByteBuffer(string: "efgh"))
        let error = await #expect(throws: PersistenceError.self) { try await store.commit(staged, as: Digest.of("abcdefgh".utf8), size: 8) }
        #expect(error?.code == .digestMismatch)
        #expect(try await store.resume(name) == nil)
    }

    @Test("R1 staging anew begins at nothing, discarding leaves nothing", arguments: BlobStoreUnderTest.all)
    func discarded(subject: BlobStoreUnderTest) async throws {
        let store = try subject.open(self.folder)
        let name = try self.name()
        try await store.stage(name).append(ByteBuffer(string: "old"))
        let fresh = try await store.stage(name)
        #expect(fresh.size == 0)
        try await fresh.append(ByteBuffer(string: "n"))
        try await store.discard(name)
        try await store.discard(name)
        #expect(try await store.resume(name) == nil)
        #expect(try await store.staged(in: .uploads).isEmpty)
    }

    @Test("R6 two commits of one digest are two generations: deleting one leaves the other", arguments: BlobStoreUnderTest.all)
    func generations(subject: BlobStoreUnderTest) async throws {
        let store = try subject.open(self.folder)
        let content = Fixture.layer("twice")
        let first = try await self.commit(content, to: store, name: self.name("a"))
        let second = try await self.commit(content, to: store, name: self.name("b"))
        #expect(first.generation != second.generation)
        let reader = try await store.open(first)
        try await store.delete(first)
        try await store.delete(first)
        let error = await #expect(throws: PersistenceError.self) { try await store.open(first) }
        #expect(error?.code == .notFound)
        #expect(try await self.read(second, from: store) == content.bytes)
        // Whoever was reading reads on.
        #expect(Array(try await reader.read(at: 0, count: content.bytes.count).readableBytesView) == content.bytes)
    }

    @Test("R7 many commits at the same time into the same folders", arguments: BlobStoreUnderTest.all)
    func concurrent(subject: BlobStoreUnderTest) async throws {
        let store = try subject.open(self.folder)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 0..<40 {
                group.addTask {
                    let content = Fixture.layer("blob \(number)")
                    let blob = try await self.commit(content, to: store, name: .transfer(content.digest))
                    #expect(try await self.read(blob, from: store) == content.bytes)
                }
            }
            try await group.waitForAll()
        }
        #expect(self.scratch.files(below: "blobs").count == 40)
    }

    @Test("R1 an upload's name binds it to its repository and its registry; other texts are none")
    func stagingNames() throws {
        let id = String(repeating: "0", count: 32)
        let name = try #require(StagingName.upload(id, repository: repository("app"), registry: 1))
        #expect(StagingName.upload(id, repository: repository("other"), registry: 1) != name)
        #expect(StagingName.upload(id, repository: repository("app"), registry: 2) != name)
        for bad in [
            "", "..", "../x", String(repeating: "A", count: 32), String(repeating: "a", count: 31), String(repeating: "/", count: 32),
        ] {
            #expect(StagingName.upload(bad, repository: repository("app"), registry: 1) == nil)
        }
    }
}
