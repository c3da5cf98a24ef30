// What a disk may hold after the power went: everything that was synchronised, and any part of the rest.

package import OCI
internal import Persistence
package import TestSupport

/// A disk, fed with calls in order.
///
/// Of a file, the calls before its last synchronisation are durable in order; of those after it any subset may be, a write also in part,
/// sector by sector. A file's name is an entry of its folder and durable with the folder only. Entries of a folder that have not been
/// synchronised may be there or not, each for itself; a rename within one folder happens or does not, one between folders may be
/// seen from either side alone.
package struct Disk {
    fileprivate enum Node: Hashable { case file(Int), folder(Int) }

    fileprivate enum DataChange {
        case write(offset: Int, bytes: [UInt8])
        case truncate(Int)
    }

    /// A change to the names in one folder.
    fileprivate struct NameChange {
        var set: (name: String, node: Node)?
        var removed: String?
    }

    fileprivate struct FileState {
        var durable: [UInt8] = []
        var pending: [DataChange] = []
    }

    fileprivate struct FolderState {
        var durable: [String: Node] = [:]
        var pending: [NameChange] = []
    }

    private var files: [Int: FileState] = [:]
    private var folders: [Int: FolderState] = [0: FolderState()]
    /// Names as a running system sees them.
    private var live: [String: Node] = ["": .folder(0)]
    private var nextFolder = 1

    package init() {}

    /// Takes the next call.
    package mutating func apply(_ entry: JournalEntry, _ generator: inout SeededGenerator) {
        switch entry {
        case .create(let path, let file):
            self.files[file] = FileState()
            self.link(path, .file(file))
        case .write(let file, let offset, let bytes): self.files[file]?.pending.append(.write(offset: offset, bytes: bytes))
        case .truncate(let file, let size): self.files[file]?.pending.append(.truncate(size))
        case .synchronize(let file):
            self.files[file]?.settle { _ in .whole }
        case .synchronizationFailed(let file):
            // Each page was written or was not, and is never written again by itself.
            self.files[file]?.settle { _ in Bool.random(using: &generator) ? .whole : .none }
        case .createFolder(let path):
            self.folders[self.nextFolder] = FolderState()
            self.link(path, .folder(self.nextFolder))
            self.nextFolder += 1
        case .synchronizeFolder(let path):
            guard case .folder(let folder) = self.live[path] else { return }
            self.folders[folder]?.settle { true }
        case .rename(let old, let new): self.rename(old, new)
        case .remove(let path):
            guard self.live.removeValue(forKey: path) != nil else { return }
            let (folder, name) = self.place(of: path)
            self.folders[folder]?.pending.append(NameChange(set: nil, removed: name))
        }
    }

    private func place(of path: String) -> (folder: Int, name: String) {
        let slash = path.lastIndex(of: "/")
        let parent = slash.map { String(path[..<$0]) } ?? ""
        let name = slash.map { String(path[path.index(after: $0)...]) } ?? path
        guard case .folder(let folder) = self.live[parent] else { preconditionFailure("\(parent) is no folder") }
        return (folder, name)
    }

    private mutating func link(_ path: String, _ node: Node) {
        let (folder, name) = self.place(of: path)
        self.live[path] = node
        self.folders[folder]?.pending.append(NameChange(set: (name, node), removed: nil))
    }

    private mutating func rename(_ old: String, _ new: String) {
        guard let node = self.live.removeValue(forKey: old) else { return }
        self.live[new] = node
        let (source, target) = (self.place(of: old), self.place(of: new))
        if source.folder == target.folder {
            self.folders[source.folder]?.pending.append(NameChange(set: (target.name, node), removed: source.name))
        } else {
            self.folders[target.folder]?.pending.append(NameChange(set: (target.name, node), removed: nil))
            self.folders[source.folder]?.pending.append(NameChange(set: nil, removed: source.name))
        }
    }

    // MARK: Images

    /// How much of what was pending reached the disk.
    package enum Survival: Sendable, CaseIterable {
        /// Nothing but what was synchronised.
        case nothing
        /// Everything, as after a crash of the process alone.
        case everything
        /// Names but no data: what file systems that delay allocation are known for.
        case namesOnly
        case dataOnly
        case some
        case few
        /// Writes in part.
        case torn
    }

    /// Whether nothing is pending, so that there is but one image.
    package var isSettled: Bool {
        self.files.values.allSatisfy(\.pending.isEmpty) && self.folders.values.allSatisfy(\.pending.isEmpty)
    }

    /// One state the disk may be in after the power went now.
    package func image(_ survival: Survival, _ generator: inout SeededGenerator) -> DiskImage {
        // In order of their numbers, so that a seed always gives the same image.
        var contents: [Int: [UInt8]] = [:]
        for (number, file) in self.files.sorted(by: { $0.key < $1.key }) {
            var file = file
            file.settle { change in survival.part(of: change, &generator) }
            contents[number] = file.durable
        }
        var names: [Int: [String: Node]] = [:]
        for (number, folder) in self.folders.sorted(by: { $0.key < $1.key }) {
            var folder = folder
            folder.settle { survival.keepsName(&generator) }
            names[number] = folder.durable
        }
        var image = DiskImage()
        func walk(_ folder: Int, _ prefix: String) {
            for (name, node) in (names[folder] ?? [:]).sorted(by: { $0.key < $1.key }) {
                switch node {
                case .folder(let number):
                    image.folders.append(prefix + name)
                    walk(number, prefix + name + "/")
                case .file(let number): image.files.append((prefix + name, contents[number] ?? []))
                }
            }
        }
        walk(0, "")
        return image
    }

    fileprivate enum PartOfWrite {
        case none, whole
        /// Which sectors of this size were written; the seed decides.
        case sectors(size: Int, seed: UInt64)
    }
}

extension Disk.FileState {
    /// Makes what is pending durable as far as `part` says, in order.
    fileprivate mutating func settle(_ part: ((offset: Int, count: Int)) -> Disk.PartOfWrite) {
        for change in self.pending {
            switch change {
            case .truncate(let size):
                guard case .none = part((size, 0)) else {
                    self.resize(to: size)
                    continue
                }
            case .write(let offset, let bytes):
                switch part((offset, bytes.count)) {
                case .none: continue
                case .whole: self.store(bytes[...], at: offset)
                case .sectors(let size, let seed):
                    var generator = SeededGenerator(seed: seed)
                    var start = 0
                    while start < bytes.count {
                        let end = min(bytes.count, (offset + start) / size * size + size - offset)
                        if Bool.random(using: &generator) { self.store(bytes[start..<end], at: offset + start) }
                        start = end
                    }
                }
            }
        }
        self.pending = []
    }

    private mutating func resize(to size: Int) {
        if size < self.durable.count {
            self.durable.removeLast(self.durable.count - size)
        } else {
            self.durable.append(contentsOf: repeatElement(0, count: size - self.durable.count))
        }
    }

    private mutating func store(_ bytes: ArraySlice<UInt8>, at offset: Int) {
        if self.durable.count < offset + bytes.count { self.resize(to: offset + bytes.count) }
        self.durable.withUnsafeMutableBytes { target in
            bytes.withUnsafeBytes { target[offset..<offset + $0.count].copyBytes(from: $0) }
        }
    }
}

extension Disk.FolderState {
    /// Makes what is pending durable where `keeps` says so, in order.
    fileprivate mutating func settle(_ keeps: () -> Bool) {
        for change in self.pending where keeps() {
            if let removed = change.removed { self.durable[removed] = nil }
            if let (name, node) = change.set { self.durable[name] = node }
        }
        self.pending = []
    }
}

/// Folders and files as a machine finds them after it is switched on again.
package struct DiskImage: Sendable {
    /// Parents before what they hold.
    package var folders: [String] = []
    package var files: [(path: String, bytes: [UInt8])] = []

    /// Tells images apart. Generations and identifiers are random, so images of two runs are never the same.
    package var fingerprint: Digest {
        var hasher = Digest.Hasher(.sha256)
        func add(_ text: String) { Array("\(text)\0".utf8).withUnsafeBytes { hasher.update($0) } }
        for folder in self.folders { add(folder) }
        for file in self.files {
            add("\(file.path)\0\(file.bytes.count)")
            file.bytes.withUnsafeBytes { hasher.update($0) }
        }
        return hasher.finish()
    }

    /// Writes the image into a folder that does not exist.
    package func write(to path: String) throws {
        try FileSystem.createFolder(path)
        for folder in self.folders { try FileSystem.createFolder("\(path)/\(folder)") }
        for (name, bytes) in self.files {
            let file = try File("\(path)/\(name)", .readWrite)
            try bytes.withUnsafeBytes { try file.write($0, at: 0) }
        }
    }
}

extension Disk.Survival {
    fileprivate func part(of change: (offset: Int, count: Int), _ generator: inout SeededGenerator) -> Disk.PartOfWrite {
        switch self {
        case .nothing, .namesOnly: .none
        case .everything, .dataOnly: .whole
        case .some: Bool.random(using: &generator) ? .whole : .none
        case .few: Int.random(in: 0..<8, using: &generator) == 0 ? .whole : .none
        case .torn:
            switch Int.random(in: 0..<4, using: &generator) {
            case 0: .none
            case 1: .whole
            case 2: .sectors(size: 512, seed: generator.next())
            default: .sectors(size: 4096, seed: generator.next())
            }
        }
    }

    fileprivate func keepsName(_ generator: inout SeededGenerator) -> Bool {
        switch self {
        case .nothing, .dataOnly: false
        case .everything, .namesOnly: true
        case .some, .torn: Bool.random(using: &generator)
        case .few: Int.random(in: 0..<8, using: &generator) == 0
        }
    }
}
