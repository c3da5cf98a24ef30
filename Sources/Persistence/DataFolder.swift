// The data folder: what lies where, and the lock that keeps a second process out.

internal import NIOCore
internal import OCI

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#else
internal import Darwin
#endif

/// A data folder in use by this process.
///
///     <data>/outport.db      database
///     <data>/blobs/          content (``FileBlobStore``)
///     <data>/uploads/        uploads under way
///     <data>/transfers/      blobs under way from the parent
///     <data>/keys/           signing keys
///     <data>/tls/            own CA and certificates
///     <data>/lock            held while a process uses the folder; holds its process identifier
package final class DataFolder: Sendable {
    package let path: String
    private let lock: File

    /// Creates what is missing and takes the lock.
    ///
    /// - Throws: ``PersistenceError`` with code `inUse`, naming the process that holds the folder.
    package init(_ path: String) throws(PersistenceError) {
        let path = path.count > 1 && path.hasSuffix("/") ? String(path.dropLast()) : path
        try FileSystem.createFolder(path)
        let lock = try File(path + "/lock", .readWrite)
        if flock(lock.descriptor, LOCK_EX | LOCK_NB) != 0 {
            var holder = ByteBuffer()
            try? lock.read(into: &holder, count: 32, at: 0)
            let text = String(buffer: holder).filter(\.isNumber)
            throw .init(
                .inUse, tried: "use the data folder \(path)",
                cause: text.isEmpty ? "another process uses it" : "process \(text) uses it",
                advice: "stop that process, or choose another folder with --data")
        }
        try lock.truncate(to: 0)
        var failure: PersistenceError?
        Array("\(getpid())\n".utf8).withUnsafeBytes {
            do throws(PersistenceError) { try lock.write($0, at: 0) } catch { failure = error }
        }
        if let failure { throw failure }
        for folder in ["blobs", "uploads", "transfers", "keys", "tls"] {
            try FileSystem.createFolder(path + "/" + folder)
            // What a process wrote here that was killed before its flush is seen by this one, which would rely on it: a signing key.
            try FileSystem.synchronizeFolder(path + "/" + folder)
        }
        try FileSystem.synchronizeFolder(path)
        self.path = path
        self.lock = lock
    }

    /// Gives the lock up, as the system does for a process that is killed; simulations only, where the process goes on.
    package func abandon() { _ = flock(self.lock.descriptor, LOCK_UN) }

    /// Whether something lies here that only a database can tell the meaning of: keys, or content.
    package var hasContent: Bool {
        let folders = [self.keysPath] + Digest.Algorithm.allCases.map { "\(self.path)/blobs/\($0.rawValue)" }
        return FileSystem.exists(self.path + "/bootstrap.json")
            || folders.contains { ((try? FileSystem.names(in: $0)) ?? []).isEmpty == false }
    }

    package var databasePath: String { self.path + "/outport.db" }
    package var keysPath: String { self.path + "/keys" }
    package var tlsPath: String { self.path + "/tls" }

    /// Bytes free on the folder's disk for an unprivileged process, and its size.
    package func space() throws(PersistenceError) -> (free: Int64, total: Int64) {
        var status = statvfs()
        guard statvfs(self.path, &status) == 0 else { throw .systemCall("read the free space of \(self.path)") }
        return (Int64(status.f_bavail) * Int64(status.f_frsize), Int64(status.f_blocks) * Int64(status.f_frsize))
    }
}
