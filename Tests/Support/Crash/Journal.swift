// Every change to a data folder in the order in which it was made: what the disk would have been asked to do.

internal import CCrashVFS
package import Persistence
internal import Synchronization

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#else
internal import Darwin
#endif

/// One call that has been made, with files as numbers of our own: an inode's number is given again after its file is gone.
package enum JournalEntry: Sendable {
    case create(path: String, file: Int)
    case write(file: Int, offset: Int, bytes: [UInt8])
    case truncate(file: Int, size: Int)
    case synchronize(file: Int)
    /// The call failed: the system believes now that what was pending is written, and never tries again.
    case synchronizationFailed(file: Int)
    case createFolder(path: String)
    case synchronizeFolder(path: String)
    case rename(old: String, new: String)
    case remove(path: String)
}

/// Where data is made durable. A mutation takes one of them out; the harness must notice each.
package enum SyncSite: String, Sendable, CaseIterable {
    /// A blob's file, before it is renamed into place.
    case blobFile = "blob-file"
    /// The folder a blob was renamed into.
    case blobFolder = "blob-folder"
    /// SQLite's write-ahead log, before a commit is acknowledged.
    case wal
    /// SQLite's database file, before the log that holds its pages is given up.
    case database
    /// A small file that is replaced as a whole (signing keys).
    case replacedFile = "replaced-file"
}

/// How calls are made to fail.
package struct FaultPlan: Sendable, Hashable {
    package enum Kind: Int32, Sendable, CaseIterable {
        case noSpace, inputOutput

        var number: Int32 { self == .noSpace ? ENOSPC : EIO }
    }

    package var kind: Kind
    /// The call that fails, counted from 0.
    package var first: Int
    /// How many calls fail from there on.
    package var count: Int
    /// The process ends at the first call: nothing it tries afterwards happens, and nothing of what it wrote is lost by that.
    package var isDeath = false

    package init(_ kind: Kind, first: Int, count: Int) {
        self.kind = kind
        self.first = first
        self.count = count
    }

    /// Whether ``first`` counts flushes only.
    package var countsFlushes = false

    /// - Parameter atFlush: whether the process ends at a flush, the very moment before something would be durable.
    package static func death(at call: Int, atFlush: Bool) -> FaultPlan {
        var plan = FaultPlan(.inputOutput, first: call, count: .max)
        plan.isDeath = true
        plan.countsFlushes = atFlush
        return plan
    }
}

/// Watches one data folder: logs what is done to it, counts the calls, makes some of them fail.
package final class CrashJournal: FileWitness {
    package let root: String
    private let mutation: SyncSite?
    private let state: Mutex<State>

    private struct State {
        var entries: [JournalEntry] = []
        /// Our number for each inode, and the name it was last seen under.
        var files: [UInt64: Int] = [:]
        var next = 0
        var calls = 0
        var flushes = 0
        var plan: FaultPlan?
        var struck = 0
    }

    /// - Parameter mutation: synchronisations that are made but do not count, as if the program did not ask for them.
    package init(_ root: String, mutation: SyncSite? = nil) {
        self.root = root
        self.mutation = mutation
        self.state = Mutex(State())
        CrashVFS.watch(root, by: self)
        FileWitnesses.watch(root, by: self)
    }

    package func end() {
        CrashVFS.unwatch(self.root)
        FileWitnesses.unwatch(self.root)
    }

    /// How many calls have been logged.
    package var position: Int { self.state.withLock { $0.entries.count } }
    package var entries: [JournalEntry] { self.state.withLock { $0.entries } }
    /// Calls seen so far, failed ones too.
    package var calls: Int { self.state.withLock { $0.calls } }
    /// Flushes among them.
    package var flushes: Int { self.state.withLock { $0.flushes } }
    /// Calls that were made to fail.
    package var struck: Int { self.state.withLock { $0.struck } }
    package func setFaults(_ plan: FaultPlan?) { self.state.withLock { $0.plan = plan } }

    // MARK: Our own files

    package func perform(_ call: FileCall, _ body: () -> Int) -> Int {
        crash_enter()
        defer { crash_leave() }
        if let number = self.refusal(synchronizing: call.synchronized) {
            errno = number
            return -1
        }
        let isNew = if case .open(let path) = call { !FileSystem.exists(path) } else { false }
        let result = body()
        guard result >= 0 else { return result }
        self.record(call, result, isNew: isNew)
        return result
    }

    private func record(_ call: FileCall, _ result: Int, isNew: Bool) {
        switch call {
        case .open(let path): if isNew, let file = Self.inode(path) { self.created(path, file) }
        case .write(let file, _, let offset, let bytes):
            self.append(file) { .write(file: $0, offset: Int(offset), bytes: Array(bytes.prefix(result))) }
        case .truncate(let file, _, let size): self.append(file) { .truncate(file: $0, size: Int(size)) }
        case .synchronize(let file, let path): if !self.isMutated(path) { self.append(file) { .synchronize(file: $0) } }
        case .createFolder(let path): self.append(.createFolder(path: self.relative(path)))
        case .synchronizeFolder(let path): if !self.isMutated(folder: path) { self.append(.synchronizeFolder(path: self.relative(path))) }
        case .rename(let old, let new): self.append(.rename(old: self.relative(old), new: self.relative(new)))
        case .remove(let path): self.append(.remove(path: self.relative(path)))
        }
    }

    // MARK: SQLite's files

    fileprivate func before(_ call: crash_call) -> Int32 {
        self.refusal(synchronizing: Int(call.kind) == CRASH_SYNC ? call.file : nil) ?? 0
    }

    fileprivate func after(_ call: crash_call) {
        let path = String(cString: call.path)
        switch Int(call.kind) {
        case CRASH_OPEN:
            if call.count == 0 { self.created(path, call.file) }
        case CRASH_WRITE:
            let bytes = Array(UnsafeRawBufferPointer(start: call.bytes, count: Int(call.count)))
            self.append(call.file) { .write(file: $0, offset: Int(call.offset), bytes: bytes) }
        case CRASH_TRUNCATE: self.append(call.file) { .truncate(file: $0, size: Int(call.offset)) }
        case CRASH_SYNC: if !self.isMutated(path) { self.append(call.file) { .synchronize(file: $0) } }
        case CRASH_SYNC_FOLDER: self.append(.synchronizeFolder(path: Self.folder(of: self.relative(path))))
        default: self.append(.remove(path: self.relative(path)))
        }
    }

    // MARK: Keeping the log

    /// The `errno` with which the next call fails, if it does.
    private func refusal(synchronizing file: UInt64?) -> Int32? {
        self.state.withLock { state in
            defer {
                state.calls += 1
                if file != nil { state.flushes += 1 }
            }
            guard let plan = state.plan else { return nil }
            let number = plan.countsFlushes ? state.flushes : state.calls
            guard number >= plan.first, number - plan.first < plan.count, !plan.countsFlushes || file != nil || number > plan.first else {
                return nil
            }
            if plan.countsFlushes {
                // Whatever it tries from here on.
                state.plan?.countsFlushes = false
                state.plan?.first = 0
            }
            state.struck += 1
            if !plan.isDeath, let file, let number = state.files[file] { state.entries.append(.synchronizationFailed(file: number)) }
            return plan.kind.number
        }
    }

    private func created(_ path: String, _ inode: UInt64) {
        self.state.withLock { state in
            state.files[inode] = state.next
            state.entries.append(.create(path: self.relative(path), file: state.next))
            state.next += 1
        }
    }

    private func append(_ entry: JournalEntry) { self.state.withLock { $0.entries.append(entry) } }

    private func append(_ inode: UInt64, _ entry: (Int) -> JournalEntry) {
        self.state.withLock { state in
            // A file that was there before anybody watched cannot be: the folder was empty.
            guard let number = state.files[inode] else { preconditionFailure("a file appeared unseen below \(self.root)") }
            state.entries.append(entry(number))
        }
    }

    private func isMutated(_ path: String) -> Bool {
        let path = self.relative(path)
        return switch self.mutation {
        case .blobFile: path.hasPrefix("uploads/") || path.hasPrefix("transfers/")
        case .wal: path == "outport.db-wal"
        case .database: path == "outport.db"
        case .replacedFile: path.hasSuffix(".new")
        case .blobFolder, nil: false
        }
    }

    private func isMutated(folder path: String) -> Bool {
        self.mutation == .blobFolder && self.relative(path).split(separator: "/").count == 3
    }

    private func relative(_ path: String) -> String { path == self.root ? "" : String(path.dropFirst(self.root.count + 1)) }

    private static func folder(of path: String) -> String {
        path.lastIndex(of: "/").map { String(path[..<$0]) } ?? ""
    }

    private static func inode(_ path: String) -> UInt64? {
        var status = stat()
        return stat(path, &status) == 0 ? UInt64(status.st_ino) : nil
    }
}

extension FileCall {
    fileprivate var synchronized: UInt64? {
        if case .synchronize(let file, _) = self { file } else { nil }
    }
}

/// The VFS as Swift sees it: one for the process, told apart by folder.
private enum CrashVFS {
    private static let journals = Mutex<[String: CrashJournal]>([:])
    /// Lives as long as the process: SQLite keeps the address.
    nonisolated(unsafe) private static let hooks: UnsafePointer<crash_hooks> = {
        let hooks = UnsafeMutablePointer<crash_hooks>.allocate(capacity: 1)
        hooks.initialize(
            to: crash_hooks(
                is_watched: { CrashVFS.journal(of: $0) == nil ? 0 : 1 },
                before: { call in call.flatMap { CrashVFS.journal(of: $0.pointee.path)?.before($0.pointee) } ?? 0 },
                after: { call in if let call { CrashVFS.journal(of: call.pointee.path)?.after(call.pointee) } }))
        return UnsafePointer(hooks)
    }()
    private static let installed: Void = {
        let code = crash_vfs_install(hooks)
        precondition(code == 0, "SQLite refuses the VFS: \(code)")
    }()

    static func watch(_ folder: String, by journal: CrashJournal) {
        _ = self.installed
        self.journals.withLock { $0[folder] = journal }
    }

    static func unwatch(_ folder: String) { self.journals.withLock { $0[folder] = nil } }

    private static func journal(of path: UnsafePointer<CChar>?) -> CrashJournal? {
        guard let path else { return nil }
        let text = String(cString: path)
        return self.journals.withLock { journals in journals.first { text.hasPrefix($0.key + "/") }?.value }
    }
}
