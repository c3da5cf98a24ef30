// The one place where a test can watch, count and refuse the system calls that durability is made of. A process in which nobody
// watches pays one load for each file it opens for writing and nothing for each write.

internal import Synchronization

/// A system call that changes a data folder, about to be made. `file` is the inode number: names change while a file is open.
package enum FileCall {
    /// Opens a file and creates it when it is absent.
    case open(path: String)
    case write(file: UInt64, path: String, offset: Int64, bytes: UnsafeRawBufferPointer)
    case truncate(file: UInt64, path: String, size: Int64)
    case synchronize(file: UInt64, path: String)
    case createFolder(path: String)
    case synchronizeFolder(path: String)
    case rename(old: String, new: String)
    case remove(path: String)
}

/// Sees every ``FileCall`` below a folder, before and after it is made.
package protocol FileWitness: AnyObject, Sendable {
    /// Makes the call by `body`, or fails in its place. The result is the system call's own: negative with `errno` set when it failed.
    func perform(_ call: FileCall, _ body: () -> Int) -> Int
}

/// Who watches which folder.
package enum FileWitnesses {
    private static let isAnyone = Atomic<Bool>(false)
    private static let byFolder = Mutex<[String: any FileWitness]>([:])

    /// Lets `witness` see what happens in `folder` and below, with files that are opened from now on.
    package static func watch(_ folder: String, by witness: any FileWitness) {
        self.byFolder.withLock { $0[folder] = witness }
        self.isAnyone.store(true, ordering: .releasing)
    }

    package static func unwatch(_ folder: String) {
        self.byFolder.withLock { $0[folder] = nil }
    }

    /// Whoever watches `path`.
    package static func of(_ path: String) -> (any FileWitness)? {
        guard self.isAnyone.load(ordering: .acquiring) else { return nil }
        return self.byFolder.withLock { witnesses in
            witnesses.first { path == $0.key || path.hasPrefix($0.key + "/") }?.value
        }
    }

    /// Makes a call on names, seen by whoever watches `path`.
    static func perform(at path: String, _ call: @autoclosure () -> FileCall, _ body: () -> CInt) -> CInt {
        guard let witness = self.of(path) else { return body() }
        return CInt(truncatingIfNeeded: witness.perform(call()) { Int(body()) })
    }
}
