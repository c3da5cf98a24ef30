// Writing around the page cache: large content is read back rarely and would push out what is read often, and copying it
// into the cache costs more than hashing it.

internal import COutport
package import NIOCore
internal import Synchronization

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#else
internal import Darwin
#endif

/// A second way into a file, for whole aligned segments.
final class DirectFile {
    /// Bytes of the smallest segment.
    static let segmentSize = 1 << 20
    /// Bytes of a segment that is one huge page: the processor finds its way in it, and the kernel hands it to the disk, with a
    /// fraction of the work that 512 small pages take.
    static let hugeSegmentSize = 2 << 20
    /// What offsets must be multiples of.
    static let alignment = 4096

    /// Whether so many bytes at this offset can go around the page cache.
    static func takes(_ count: Int, at offset: Int64) -> Bool {
        count >= self.segmentSize && count % self.alignment == 0 && offset % Int64(self.alignment) == 0
    }

    private let file: File
    private let descriptor: CInt
    /// For segments that do not lie as the kernel needs them.
    private var buffer: UnsafeMutableRawBufferPointer?

    /// `nil` where the file system does not offer it.
    init?(_ file: File) {
        self.file = file
        self.descriptor = outport_open_direct(file.path)
        guard self.descriptor >= 0 else { return nil }
    }

    deinit {
        _ = close(self.descriptor)
        self.buffer?.deallocate()
    }

    /// Writes one segment; whether all of it is written. Whoever hears "no" writes it the ordinary way and learns the cause.
    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int64) -> Bool {
        guard Self.takes(bytes.count, at: offset) else { return false }
        let aligned = self.aligned(bytes)
        var written = -1
        repeat {
            written = self.file.change {
                .write(file: $0, path: self.file.path, offset: offset, bytes: aligned)
            } by: {
                pwrite(self.descriptor, aligned.baseAddress, aligned.count, off_t(offset))
            }
        } while written < 0 && errno == EINTR
        return written == aligned.count
    }

    /// The same bytes where the kernel can take them from: as they are, or as a copy.
    private func aligned(_ bytes: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
        if Int(bitPattern: bytes.baseAddress) % Self.alignment == 0 { return bytes }
        if self.buffer.map({ $0.count < bytes.count }) ?? true {
            self.buffer?.deallocate()
            self.buffer = .allocate(byteCount: bytes.count, alignment: Self.alignment)
        }
        guard let buffer = self.buffer else { return bytes }
        buffer.copyMemory(from: bytes)
        return UnsafeRawBufferPointer(rebasing: buffer[..<bytes.count])
    }
}

/// Writes content into a file: whole segments of large content around the page cache, everything else through it.
final class ContentWriter: Sendable {
    private struct Direct {
        var file: DirectFile?
        var isRefused = false
    }

    private let file: File
    private let directFrom: Int64
    private let reserve: DiskReserve?
    private let direct = Mutex(Direct())

    /// - Parameters:
    ///   - directFrom: the byte from which on the page cache is left out.
    ///   - reserve: what keeps content from filling the disk.
    init(_ file: File, directFrom: Int64, reserve: DiskReserve?) {
        self.file = file
        self.directFrom = directFrom
        self.reserve = reserve
    }

    func write(_ bytes: ByteBuffer, at offset: Int64) throws {
        try self.reserve?.take(Int64(bytes.readableBytes))
        if !self.writeDirect(bytes, at: offset) { try bytes.withUnsafeReadableBytes { try self.file.write($0, at: offset) } }
    }

    /// Whether the page cache was left out; `false` leaves the bytes to the ordinary way.
    private func writeDirect(_ bytes: ByteBuffer, at offset: Int64) -> Bool {
        guard offset >= self.directFrom, DirectFile.takes(bytes.readableBytes, at: offset) else { return false }
        return self.direct.withLock { direct in
            guard !direct.isRefused else { return false }
            if direct.file == nil { direct.file = DirectFile(self.file) }
            if bytes.withUnsafeReadableBytes({ direct.file?.write($0, at: offset) }) == true { return true }
            direct = Direct(file: nil, isRefused: true)
            return false
        }
    }
}

extension ByteBuffer {
    /// Enough for a huge page, wherever the memory begins.
    private static let hugeCapacity = 2 * DirectFile.hugeSegmentSize

    /// An empty buffer for one segment of large content, which a store can write around the page cache without copying it once more.
    ///
    /// - Parameter isHuge: whether it is to be one huge page, where the system has them to give.
    package static func forSegment(isHuge: Bool = false) -> ByteBuffer {
        var buffer = ByteBufferAllocator().buffer(capacity: isHuge ? Self.hugeCapacity : DirectFile.segmentSize + DirectFile.alignment)
        buffer.alignForSegment()
        return buffer
    }

    /// Bytes that make a segment that ``forSegment(isHuge:)`` has made full.
    package var segmentSize: Int { self.isHugeSegment ? DirectFile.hugeSegmentSize : DirectFile.segmentSize }

    private var isHugeSegment: Bool { self.storageCapacity >= Self.hugeCapacity }

    /// Empties a buffer that ``forSegment(isHuge:)`` has made, for the next segment. Its memory is kept where nobody else holds it.
    mutating func clearForSegment() {
        self.clear(minimumCapacity: self.storageCapacity)
        self.alignForSegment()
    }

    private mutating func alignForSegment() {
        let alignment = self.isHugeSegment ? DirectFile.hugeSegmentSize : DirectFile.alignment
        let padding = self.withUnsafeMutableWritableBytes { bytes in
            let padding = -Int(bitPattern: bytes.baseAddress) & (alignment - 1)
            #if os(Linux)
            // Advice: without huge pages it is memory like any other.
            if alignment == DirectFile.hugeSegmentSize { _ = madvise(bytes.baseAddress.map { $0 + padding }, alignment, MADV_HUGEPAGE) }
            #endif
            return padding
        }
        self.moveWriterIndex(forwardBy: padding)
        self.moveReaderIndex(forwardBy: padding)
    }
}
