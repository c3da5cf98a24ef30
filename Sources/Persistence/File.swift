// The few system calls that durability is made of, each turned into an error one can act on.

package import NIOCore

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#else
internal import Darwin
#endif

/// An open file descriptor, closed when the value is given up.
package final class File: Sendable {
    package let descriptor: CInt
    package let path: String
    /// Watches what is written, and under which number; tests only.
    private let witness: (seen: any FileWitness, file: UInt64)?

    package enum Mode: Sendable {
        case read
        /// Reads and writes, created when absent, never truncated.
        case readWrite
        /// Reads and writes what is there; never creates.
        case readWriteExisting
    }

    package init(_ path: String, _ mode: Mode) throws(PersistenceError) {
        let flags: CInt =
            switch mode {
            case .read: O_RDONLY | O_CLOEXEC
            case .readWrite: O_RDWR | O_CREAT | O_CLOEXEC
            case .readWriteExisting: O_RDWR | O_CLOEXEC
            }
        let descriptor: CInt
        let witness = mode == .read ? nil : FileWitnesses.of(path)
        if let witness, mode == .readWrite {
            descriptor = CInt(truncatingIfNeeded: witness.perform(.open(path: path)) { Int(open(path, flags, 0o600)) })
        } else {
            descriptor = open(path, flags, 0o600)
        }
        guard descriptor >= 0 else { throw .systemCall("open \(path)") }
        self.descriptor = descriptor
        self.path = path
        self.witness = witness.map { ($0, Self.number(of: descriptor)) }
    }

    /// The inode number.
    private static func number(of descriptor: CInt) -> UInt64 {
        var status = stat()
        return fstat(descriptor, &status) == 0 ? UInt64(status.st_ino) : 0
    }

    /// Makes a call that changes the file, seen by whoever watches.
    func change(_ call: (UInt64) -> FileCall, by body: () -> Int) -> Int {
        guard let witness else { return body() }
        return witness.seen.perform(call(witness.file), body)
    }

    deinit { _ = close(self.descriptor) }

    /// The file's size in bytes.
    package func size() throws(PersistenceError) -> Int64 {
        var status = stat()
        guard fstat(self.descriptor, &status) == 0 else { throw .systemCall("read the size of \(self.path)") }
        return Int64(status.st_size)
    }

    /// Writes all of `bytes` at `offset`.
    package func write(_ bytes: UnsafeRawBufferPointer, at offset: Int64) throws(PersistenceError) {
        guard let base = bytes.baseAddress else { return }
        var done = 0
        while done < bytes.count {
            let rest = UnsafeRawBufferPointer(start: base + done, count: bytes.count - done)
            let position = offset + Int64(done)
            let written = self.change {
                .write(file: $0, path: self.path, offset: position, bytes: rest)
            } by: {
                pwrite(self.descriptor, rest.baseAddress, rest.count, off_t(position))
            }
            if written < 0 {
                if errno == EINTR { continue }
                throw .systemCall("write \(self.path)")
            }
            done += written
        }
    }

    /// Reads up to `count` bytes at `offset`; fewer only at the end of the file.
    package func read(into buffer: inout ByteBuffer, count: Int, at offset: Int64) throws(PersistenceError) {
        var failure: PersistenceError?
        buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: count) { target in
            var done = 0
            while done < count {
                let got = pread(self.descriptor, target.baseAddress.map { $0 + done }, count - done, off_t(offset) + off_t(done))
                if got < 0 {
                    if errno == EINTR { continue }
                    failure = .systemCall("read \(self.path)")
                    break
                }
                if got == 0 { break }
                done += got
            }
            return done
        }
        if let failure { throw failure }
    }

    package func truncate(to size: Int64) throws(PersistenceError) {
        let result = self.change {
            .truncate(file: $0, path: self.path, size: size)
        } by: {
            Int(ftruncate(self.descriptor, off_t(size)))
        }
        guard result == 0 else { throw .systemCall("shorten \(self.path)") }
    }

    /// Sets the time of the last change to now.
    package func touch() throws(PersistenceError) {
        guard futimens(self.descriptor, nil) == 0 else { throw .systemCall("set the time of \(self.path)") }
    }

    /// Returns when the file's content would survive power loss.
    package func synchronize() throws(PersistenceError) {
        let result = self.change {
            .synchronize(file: $0, path: self.path)
        } by: {
            Int(fsync(self.descriptor))
        }
        guard result == 0 else { throw .systemCall("flush \(self.path) to disk") }
    }
}

/// Operations on names in the file system.
package enum FileSystem {
    /// Creates a folder and its missing parents, readable by its owner only, durably.
    package static func createFolder(_ path: String) throws(PersistenceError) {
        let parent = self.parent(of: path)
        if self.makeFolder(path) != 0 {
            if errno == EEXIST { return }
            guard errno == ENOENT, parent != path, parent != "." else { throw .systemCall("create the folder \(path)") }
            try self.createFolder(parent)
            guard self.makeFolder(path) == 0 || errno == EEXIST else { throw .systemCall("create the folder \(path)") }
        }
        try self.synchronizeFolder(parent)
    }

    private static func makeFolder(_ path: String) -> CInt {
        FileWitnesses.perform(at: path, .createFolder(path: path)) { mkdir(path, 0o700) }
    }

    private static func parent(of path: String) -> String {
        guard let slash = path.lastIndex(of: "/") else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }

    /// Makes creations, renames and removals in a folder durable.
    package static func synchronizeFolder(_ path: String) throws(PersistenceError) {
        let descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .systemCall("open the folder \(path)") }
        defer { close(descriptor) }
        let result = FileWitnesses.perform(at: path, .synchronizeFolder(path: path)) { fsync(descriptor) }
        guard result == 0 else { throw .systemCall("flush the folder \(path) to disk") }
    }

    package static func rename(_ old: String, to new: String) throws(PersistenceError) {
        let result = FileWitnesses.perform(at: new, .rename(old: old, new: new)) {
            #if canImport(Glibc)
            Glibc.rename(old, new)
            #elseif canImport(Musl)
            Musl.rename(old, new)
            #else
            Darwin.rename(old, new)
            #endif
        }
        guard result == 0 else { throw .systemCall("rename \(old) to \(new)") }
    }

    /// Removes a file; one that is not there is no error.
    package static func remove(_ path: String) throws(PersistenceError) {
        let result = FileWitnesses.perform(at: path, .remove(path: path)) { unlink(path) }
        guard result == 0 || errno == ENOENT else { throw .systemCall("remove \(path)") }
    }

    /// Lets this process open as many files and connections as it may: the usual soft limit of 1,024 is for programs that use select.
    package static func raiseDescriptorLimit() {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0, limit.rlim_cur < limit.rlim_max else { return }
        limit.rlim_cur = limit.rlim_max
        _ = setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    }

    /// Size in bytes and time of the last change in milliseconds since 1970; `nil` when there is no such file.
    package static func status(_ path: String) -> (size: Int64, modified: Int64)? {
        var status = stat()
        guard stat(path, &status) == 0 else { return nil }
        return (Int64(status.st_size), Int64(status.st_mtim.tv_sec) * 1000 + Int64(status.st_mtim.tv_nsec) / 1_000_000)
    }

    package static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

    /// The names in a folder, without `.` and `..`, sorted.
    package static func names(in path: String) throws(PersistenceError) -> [String] {
        guard let folder = opendir(path) else { throw .systemCall("list the folder \(path)") }
        defer { closedir(folder) }
        var names: [String] = []
        while let entry = readdir(folder) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != "." && name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    /// The whole content of a small file, at most `limit` bytes.
    package static func read(_ path: String, limit: Int = 1 << 20) throws(PersistenceError) -> [UInt8] {
        let file = try File(path, .read)
        let size = Int(try file.size())
        guard size <= limit else { throw .init(.sizeMismatch, tried: "read \(path)", cause: "it has \(size) bytes, \(limit) are allowed") }
        var buffer = ByteBuffer()
        try file.read(into: &buffer, count: size, at: 0)
        return Array(buffer.readableBytesView)
    }

    /// Replaces a small file as a whole: after a crash the old or the new content is there, never a part.
    ///
    /// - Parameter mode: permissions of the new file; secrets use the default, 0600.
    package static func replace(_ path: String, with bytes: some Sequence<UInt8>, mode: UInt32 = 0o600) throws(PersistenceError) {
        let temporary = path + ".new"
        try self.remove(temporary)
        do {
            let file = try File(temporary, .readWrite)
            guard fchmod(file.descriptor, mode_t(mode)) == 0 else { throw PersistenceError.systemCall("set permissions of \(temporary)") }
            var failure: PersistenceError?
            Array(bytes).withUnsafeBytes {
                do throws(PersistenceError) { try file.write($0, at: 0) } catch { failure = error }
            }
            if let failure { throw failure }
            try file.synchronize()
        }
        try self.rename(temporary, to: path)
        try self.synchronizeFolder(self.parent(of: path))
    }
}
