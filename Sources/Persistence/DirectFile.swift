// Writing around the page cache: large content is read back rarely and would push out what is read often, and copying it
// into the cache costs more than hashing it.

internal import COutport

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
    private let buffer: UnsafeMutableRawBufferPointer

    /// `nil` where the file system does not offer it.
    init?(_ file: File) {
        self.file = file
        self.descriptor = outport_open_direct(file.path)
        guard self.descriptor >= 0 else { return nil }
        self.buffer = .allocate(byteCount: Self.segmentSize, alignment: Self.alignment)
    }

    deinit {
        _ = close(self.descriptor)
        self.buffer.deallocate()
    }

    /// Writes one segment; whether all of it is written. Whoever hears "no" writes it the ordinary way and learns the cause.
    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int64) -> Bool {
        guard bytes.count == Self.segmentSize, offset % Int64(Self.alignment) == 0 else { return false }
        self.buffer.copyMemory(from: bytes)
        var written = -1
        repeat {
            let aligned = UnsafeRawBufferPointer(self.buffer)
            written = self.file.change {
                .write(file: $0, path: self.file.path, offset: offset, bytes: aligned)
            } by: {
                pwrite(self.descriptor, aligned.baseAddress, aligned.count, off_t(offset))
            }
        } while written < 0 && errno == EINTR
        return written == self.buffer.count
    }
}
