// Tar archives (POSIX.1-1988 ustar), written as a stream: what image layers and image archives are made of.

internal import Crypto
internal import Foundation

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#endif

/// Writes an archive to a file, and hashes it on the way.
///
/// The same entries always make the same bytes: times are 1970, owners are root unless given.
struct TarWriter: ~Copyable {
    private static let block = 512

    private let file: FileHandle
    private var hash = SHA256()
    private(set) var size: Int64 = 0

    init(path: String) throws {
        guard FileManager.default.createFile(atPath: path, contents: nil, attributes: [.posixPermissions: 0o644]),
            let file = FileHandle(forWritingAtPath: path)
        else { throw ImageBuildError(description: "cannot write \(path)") }
        self.file = file
    }

    private mutating func write(_ bytes: some DataProtocol) throws {
        self.hash.update(data: bytes)
        self.size += Int64(bytes.count)
        try self.file.write(contentsOf: bytes)
    }

    private mutating func pad() throws {
        let rest = Int(self.size % Int64(Self.block))
        if rest > 0 { try self.write([UInt8](repeating: 0, count: Self.block - rest)) }
    }

    mutating func folder(_ name: String, mode: Int = 0o755, owner: Int = 0) throws {
        try self.header(name + "/", size: 0, mode: mode, kind: "5", owner: owner)
    }

    mutating func bytes(_ name: String, _ bytes: [UInt8], mode: Int = 0o644) throws {
        try self.header(name, size: Int64(bytes.count), mode: mode, kind: "0", owner: 0)
        try self.write(bytes)
        try self.pad()
    }

    /// Copies a file, one piece after another.
    mutating func copy(_ name: String, from path: String, mode: Int = 0o644) throws {
        guard let source = FileHandle(forReadingAtPath: path) else { throw ImageBuildError(description: "cannot read \(path)") }
        let size = try source.seekToEnd()
        try source.seek(toOffset: 0)
        try self.header(name, size: Int64(size), mode: mode, kind: "0", owner: 0)
        var copied: UInt64 = 0
        while copied < size, let piece = try source.read(upToCount: 4 << 20), !piece.isEmpty {
            copied += UInt64(piece.count)
            try self.write(piece)
        }
        guard copied == size else { throw ImageBuildError(description: "\(path) changed while it was read") }
        try self.pad()
    }

    private mutating func header(_ name: String, size: Int64, mode: Int, kind: Character, owner: Int) throws {
        var (prefix, short) = ("", name)
        if name.utf8.count > 100 {
            // Cut at a slash so that both halves fit.
            guard
                let slash = name.indices.first(where: {
                    name[$0] == "/" && name[name.index(after: $0)...].utf8.count <= 100 && name[..<$0].utf8.count <= 155
                })
            else { throw ImageBuildError(description: "the path /\(name) is too long for an archive") }
            prefix = String(name[..<slash])
            short = String(name[name.index(after: slash)...])
        }
        var header = [UInt8](repeating: 0, count: Self.block)
        func put(_ text: String, at offset: Int) { for (index, byte) in text.utf8.enumerated() { header[offset + index] = byte } }
        func octal(_ number: Int64, _ width: Int) -> String {
            let digits = String(number, radix: 8)
            return String(repeating: "0", count: max(0, width - digits.count)) + digits
        }
        guard size < 1 << 33 else { throw ImageBuildError(description: "/\(name) is too large for an archive") }
        put(short, at: 0)
        put(octal(Int64(mode), 7), at: 100)
        put(octal(Int64(owner), 7), at: 108)
        put(octal(Int64(owner), 7), at: 116)
        put(octal(size, 11), at: 124)
        put(octal(0, 11), at: 136)
        put("        ", at: 148)
        put(String(kind), at: 156)
        put("ustar\u{0}00", at: 257)
        put(prefix, at: 345)
        put(octal(header.reduce(Int64(0)) { $0 + Int64($1) }, 6) + "\u{0} ", at: 148)
        try self.write(header)
    }

    /// Ends the archive.
    ///
    /// - Returns: its SHA-256 in hexadecimal, and its bytes.
    consuming func finish() throws -> (digest: String, size: Int64) {
        try self.write([UInt8](repeating: 0, count: 2 * Self.block))
        try self.file.synchronize()
        try self.file.close()
        return (self.hash.finalize().map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined(), self.size)
    }
}
