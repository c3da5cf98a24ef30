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
    /// Bytes of a segment.
    static let segmentSize = 1 << 20
    /// What offsets must be multiples of.
    static let alignment = 4096

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
        guard bytes.count == Self.segmentSize, offset % Int64(Self.alignment) == 0 else { return false }
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
        let buffer = self.buffer ?? .allocate(byteCount: Self.segmentSize, alignment: Self.alignment)
        self.buffer = buffer
        buffer.copyMemory(from: bytes)
        return UnsafeRawBufferPointer(buffer)
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
    private let direct = Mutex(Direct())

    /// - Parameter directFrom: the byte from which on the page cache is left out.
    init(_ file: File, directFrom: Int64) {
        self.file = file
        self.directFrom = directFrom
    }

    func write(_ bytes: ByteBuffer, at offset: Int64) throws {
        if !self.writeDirect(bytes, at: offset) { try bytes.withUnsafeReadableBytes { try self.file.write($0, at: offset) } }
    }

    /// Whether the page cache was left out; `false` leaves the bytes to the ordinary way.
    private func writeDirect(_ bytes: ByteBuffer, at offset: Int64) -> Bool {
        guard bytes.readableBytes == DirectFile.segmentSize, offset >= self.directFrom, offset % Int64(DirectFile.alignment) == 0
        else { return false }
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
    /// An empty buffer for one segment of large content, which a store can write around the page cache without copying it once more.
    package static func forSegment() -> ByteBuffer {
        var buffer = ByteBufferAllocator().buffer(capacity: DirectFile.segmentSize + DirectFile.alignment)
        buffer.alignForSegment()
        return buffer
    }

    /// Empties a buffer that ``forSegment()`` has made, for the next segment. Its memory is kept where nobody else holds it.
    mutating func clearForSegment() {
        self.clear(minimumCapacity: DirectFile.segmentSize + DirectFile.alignment)
        self.alignForSegment()
    }

    private mutating func alignForSegment() {
        let padding = self.withUnsafeMutableWritableBytes { -Int(bitPattern: $0.baseAddress) & (DirectFile.alignment - 1) }
        self.moveWriterIndex(forwardBy: padding)
        self.moveReaderIndex(forwardBy: padding)
    }
}
