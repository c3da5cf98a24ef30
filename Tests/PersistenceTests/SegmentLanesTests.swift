// Large content written and hashed side by side: what is left is what the disk took, whichever of both was ahead.

import Dispatch
import NIOCore
import NIOPosix
import OCI
import Synchronization
import TestSupport
import Testing

@testable import Persistence

@Suite("Segments under way")
struct SegmentLanesTests {
    /// What a disk that refuses from some segment on was given.
    private final class Disk: Sendable {
        private let content = Mutex<[UInt8]>([])
        private let capacity: Int

        init(capacity: Int) { self.capacity = capacity }

        var bytes: [UInt8] { self.content.withLock { $0 } }

        func write(_ segment: ByteBuffer, at offset: Int64) throws {
            try self.content.withLock { content in
                #expect(Int(offset) == content.count)
                guard content.count + segment.readableBytes <= self.capacity else {
                    throw PersistenceError(.noSpace, tried: "write", cause: "the disk is full")
                }
                content += segment.readableBytesView
            }
        }
    }

    @Test("R7 what is written side by side with its digest arrives in order", arguments: [0, 1, 4097, 700_000])
    func order(segment: Int) async throws {
        let disk = Disk(capacity: .max)
        let lanes = SegmentLanes(pool: .singleton, segments: .init(), size: 0, hasher: .init(.sha256), write: disk.write)
        var all: [UInt8] = []
        for index in 0..<40 {
            let bytes = [UInt8](repeating: UInt8(index), count: segment)
            all += bytes
            try await lanes.append(ByteBuffer(bytes: bytes))
        }
        let end = await lanes.end()
        #expect(end.failure == nil && end.size == Int64(all.count) && disk.bytes == all)
        #expect(end.hasher.finish() == Digest.of(all))
    }

    @Test("R7 a disk that refuses a segment leaves digest and size of what came before it", arguments: 0..<8)
    func refused(at index: Int) async throws {
        let size = 300_000
        let disk = Disk(capacity: index * size)
        let lanes = SegmentLanes(pool: .singleton, segments: .init(), size: 0, hasher: .init(.sha256), write: disk.write)
        do {
            for number in 0..<12 { try await lanes.append(ByteBuffer(repeating: UInt8(number), count: size)) }
        } catch let error as PersistenceError {
            #expect(error.code == .noSpace)
        }
        let end = await lanes.end()
        #expect((end.failure as? PersistenceError)?.code == .noSpace)
        #expect(end.size == Int64(index * size) && disk.bytes.count == index * size)
        #expect(end.hasher.finish() == Digest.of(disk.bytes))
    }

    @Test("R7 no more is taken in than may be under way, and less where others are under way")
    func bound() async throws {
        let gate = DispatchSemaphore(value: 0)
        let written = Atomic<Int64>(0)
        let segments = SegmentPool()
        segments.add(31)
        let lanes = SegmentLanes(pool: .singleton, segments: segments, size: 0, hasher: .init(.sha256)) { segment, _ in
            gate.wait()
            written.add(Int64(segment.readableBytes), ordering: .relaxed)
            gate.signal()
        }
        #expect(segments.limit == 1 << 20)
        let segment = ByteBuffer(repeating: 7, count: 1 << 20)
        try await lanes.append(segment)
        let opener = Task {
            for _ in 0..<100 { await Task.yield() }
            gate.signal()
        }
        // The second is let in only when the first has been written, which waits for the other task.
        try await lanes.append(segment)
        #expect(written.load(ordering: .relaxed) >= 1 << 20)
        let end = await lanes.end()
        await opener.value
        #expect(end.size == 2 << 20 && written.load(ordering: .relaxed) == 2 << 20)
    }

    @Test("R7 segments that are filled anew carry nothing over") func filledAnew() async throws {
        let scratch = ScratchFolder()
        let store = FileBlobStore(folder: try DataFolder(scratch.path), pool: .singleton, directFrom: 1 << 20)
        let name = try #require(StagingName.upload(String(repeating: "b", count: 32), repository: RepositoryName("app"), registry: 1))
        let staged = try await store.stage(name)
        var all: [UInt8] = []
        for index in 0..<40 {
            var segment = staged.emptySegment()
            #expect(segment.readableBytes == 0)
            #expect(segment.withUnsafeMutableWritableBytes { Int(bitPattern: $0.baseAddress) % 4096 } == 0)
            segment.writeRepeatingByte(UInt8(index + 1), count: segment.segmentSize)
            all += segment.readableBytesView
            try await staged.feed(segment)
            if index % 10 == 9 { try await staged.settle() }
        }
        let blob = try await store.commit(staged, as: Digest.of(all), size: Int64(all.count))
        #expect(try await store.open(blob).read(at: 0, count: all.count) == ByteBuffer(bytes: all))
    }

    @Test("R7 a huge segment lies in one page, also when it is filled anew; where many contents are under way segments are small")
    func huge() throws {
        let segments = SegmentPool()
        var one = segments.take()
        for _ in 0..<3 {
            #expect(one.segmentSize == 2 << 20 && one.readableBytes == 0)
            #expect(one.withUnsafeMutableWritableBytes { Int(bitPattern: $0.baseAddress) % (2 << 20) } == 0)
            #expect(one.writableBytes >= one.segmentSize)
            one.writeRepeatingByte(1, count: one.segmentSize)
            // Somebody still holds it: the next one is filled elsewhere, and this one stays.
            let held = one
            one.clearForSegment()
            #expect(held.readableBytes == 2 << 20 && held.readableBytesView.allSatisfy { $0 == 1 })
        }
        segments.add(20)
        #expect(segments.take().segmentSize == 1 << 20)
        segments.add(-20)
    }

    @Test("R7 a large content is whole after it was closed and taken up again")
    func resumed() async throws {
        let scratch = ScratchFolder()
        let store = FileBlobStore(folder: try DataFolder(scratch.path), pool: .singleton, directFrom: 1 << 20)
        let name = try #require(StagingName.upload(String(repeating: "a", count: 32), repository: RepositoryName("app"), registry: 1))
        let staged = try await store.stage(name)
        var all: [UInt8] = []
        for index in 0..<6 {
            var segment = ByteBuffer.forSegment()
            segment.writeRepeatingByte(UInt8(index), count: 1 << 20)
            all += segment.readableBytesView
            try await staged.feed(segment)
        }
        try await staged.append(ByteBuffer(bytes: [1, 2, 3]))
        all += [1, 2, 3]
        #expect(staged.size == Int64(all.count))
        try await staged.settle()
        let again = try #require(try await store.resume(name))
        #expect(again.size == Int64(all.count))
        let stored = try await store.commit(again, as: Digest.of(all), size: Int64(all.count))
        let reader = try await store.open(stored)
        #expect(try await Array(reader.read(at: 0, count: all.count).readableBytesView) == all)
    }
}
