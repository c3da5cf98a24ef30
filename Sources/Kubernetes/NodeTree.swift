// A node's file tree: written so that it can be put back byte for byte, whenever and wherever this process ends.

internal import OCI
internal import Persistence

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif
#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#else
internal import Darwin
#endif

// `write` is also a method below.
private let writeBytes = write(_:_:_:)

/// Why a node's files cannot be written, with what to do next.
package struct NodeError: Error, Sendable, CustomStringConvertible {
    package let description: String
}

/// What has been done to a file, or would be.
package struct NodeChange: Sendable, Hashable {
    package enum Kind: String, Sendable {
        case create, replace, restore, remove
        /// Somebody else has changed the file since: it is left alone.
        case leave
    }

    package let kind: Kind
    package let path: String

    package init(kind: Kind, path: String) {
        self.kind = kind
        self.path = path
    }
}

/// Files of a node below a root: `/` itself, or where a container sees it.
///
/// Before anything is touched a journal says what was there, with the bytes, modes and owners of files that will be
/// replaced and the folders that will be made; it is flushed first and removed last. A process that ends in between leaves a
/// tree that the next one finishes or puts back.
package struct NodeTree: Sendable {
    /// What is written under one name is kept apart from the rest: another name's removal does not touch it.
    package static let defaultSet = "node-trust"
    /// A configuration larger than this is none.
    private static let largestFile = 1 << 20

    private struct Original: Codable {
        var backup: String
        var digest: String
        var mode: UInt32
        var owner: UInt32
        var group: UInt32
    }

    private struct Attributes: Equatable {
        var mode: UInt32
        var owner: UInt32
        var group: UInt32

        init(_ original: Original) { (self.mode, self.owner, self.group) = (original.mode, original.owner, original.group) }

        init(_ status: stat) {
            (self.mode, self.owner, self.group) = (UInt32(status.st_mode & 0o7777), UInt32(status.st_uid), UInt32(status.st_gid))
        }
    }

    private struct Entry: Codable {
        var path: String
        /// Digests of what was ever written there: any of them is ours.
        var written: [String]
        /// `nil` where there was no file.
        var original: Original?
    }

    private struct Journal: Codable {
        var entries: [Entry] = []
        /// Folders that were made, parents first.
        var folders: [String] = []
    }

    private let root: String
    /// Below the root.
    private let stateFolder: String
    private let state: String

    /// - Parameter set: a name for what is written: letters, digits and `-`.
    package init(root: String, set: String = NodeTree.defaultSet) {
        let trimmed = root == "/" ? "" : root.hasSuffix("/") ? String(root.dropLast()) : root
        self.root = trimmed
        self.stateFolder = "/var/lib/outport/\(set)"
        self.state = trimmed + self.stateFolder
    }

    // MARK: Asked from outside

    /// What ``apply(_:)`` would do.
    package func plan(_ files: [NodeFile]) throws -> [NodeChange] { try self.changes(files, self.journal()) }

    /// Brings the files to what they should be, and puts back those that were written before and are wanted no more.
    package func apply(_ files: [NodeFile]) throws -> [NodeChange] {
        var journal = try self.journal()
        let changes = try self.changes(files, journal)
        guard !changes.isEmpty else { return [] }
        try self.prepareState(&journal)
        for file in files { try self.note(file, in: &journal) }
        try self.save(journal)
        for file in files {
            try self.makeFolders(of: file.path)
            if try self.digest(of: file.path) != Self.digest(file.content) {
                try self.write(file.path, file.content, mode: 0o644, owner: nil)
            }
        }
        let wanted = Set(files.map(\.path))
        for entry in journal.entries.reversed() where !wanted.contains(entry.path) { _ = try self.putBack(entry) }
        journal.entries.removeAll { !wanted.contains($0.path) }
        try self.save(journal)
        return changes
    }

    /// What ``remove()`` would do.
    package func planRemoval() throws -> [NodeChange] { try self.journal().entries.reversed().compactMap(self.removal) }

    /// Puts everything back.
    package func remove() throws -> [NodeChange] {
        let journal = try self.journal()
        var changes: [NodeChange] = []
        for entry in journal.entries.reversed() { if let change = try self.putBack(entry) { changes.append(change) } }
        // Folders that somebody has put something into stay.
        let inState = journal.folders.filter { (self.root + $0) == self.state || self.state.hasPrefix(self.root + $0 + "/") }
        for folder in journal.folders.reversed() where !inState.contains(folder) { rmdir(self.root + folder) }
        // The journal goes last: until then the next run can finish this one.
        if FileSystem.exists(self.state) { try self.removeState(inState) }
        self.removeDraft()
        return changes
    }

    /// Where containerd of this node looks for hosts, as far as its configuration says.
    package enum ContainerdPath: Equatable, Sendable {
        case set
        case other(String)
        case missing
        case unknown
    }

    package func containerdPath() throws -> ContainerdPath {
        let path = "/etc/containerd/config.toml"
        guard let bytes = try self.read(path) else { return .unknown }
        for line in String(decoding: bytes, as: UTF8.self).split(whereSeparator: \.isNewline) {
            let parts = line.split(separator: "=", maxSplits: 1).map { $0.trimmingPrefix(while: \.isWhitespace) }
            guard parts.count == 2, parts[0].hasPrefix("config_path") else { continue }
            let value = parts[1].filter { $0 != "\"" && $0 != "'" && !$0.isWhitespace }
            if value.isEmpty { continue }
            return value.split(separator: ":").contains { $0 == "/etc/containerd/certs.d" } ? .set : .other(String(value))
        }
        return .missing
    }

    package func exists(_ path: String) -> Bool { FileSystem.exists(self.root + path) }

    // MARK: Changes

    private func changes(_ files: [NodeFile], _ journal: Journal) throws -> [NodeChange] {
        var changes: [NodeChange] = []
        for file in files {
            try self.refuseLinks(in: file.path)
            let current = try self.digest(of: file.path)
            if current == Self.digest(file.content), journal.entries.contains(where: { $0.path == file.path }) { continue }
            changes.append(NodeChange(kind: current == nil ? .create : .replace, path: file.path))
        }
        let wanted = Set(files.map(\.path))
        changes += try journal.entries.reversed().filter { !wanted.contains($0.path) }.compactMap(self.removal)
        return changes
    }

    private func removal(_ entry: Entry) throws -> NodeChange? {
        let current = try self.digest(of: entry.path)
        if current == entry.original?.digest {
            // The bytes are those of before. Mode and owner may not be: what was written may have had the same bytes.
            guard let original = entry.original, try self.attributes(of: entry.path) != Attributes(original) else { return nil }
            return NodeChange(kind: .restore, path: entry.path)
        }
        guard current == nil || current.map(entry.written.contains) == true else { return NodeChange(kind: .leave, path: entry.path) }
        return NodeChange(kind: entry.original == nil ? .remove : .restore, path: entry.path)
    }

    private func putBack(_ entry: Entry) throws -> NodeChange? {
        unlink(self.temporary(entry.path))
        guard let change = try self.removal(entry) else { return nil }
        switch change.kind {
        case .restore:
            guard let original = entry.original else { return change }
            let bytes = try FileSystem.read("\(self.state)/\(original.backup)", limit: Self.largestFile)
            guard Self.digest(bytes) == original.digest else {
                throw NodeError(
                    description: "the copy of \(entry.path) in \(self.state) is damaged; put the file back by hand and run this again")
            }
            try self.write(entry.path, bytes, mode: original.mode, owner: (original.owner, original.group))
        case .remove:
            unlink(self.root + entry.path)
            try FileSystem.synchronizeFolder(Self.parent(self.root + entry.path))
        case .leave, .create, .replace: break
        }
        return change
    }

    // MARK: The journal

    private func journal() throws -> Journal {
        let path = "\(self.state)/journal.json"
        guard FileSystem.exists(path) else { return Journal() }
        do {
            return try JSONDecoder().decode(Journal.self, from: Data(try FileSystem.read(path, limit: 16 << 20)))
        } catch {
            throw NodeError(
                description: "\(path) cannot be read (\(error)); it says how to put this node's files back, so nothing is done without it")
        }
    }

    private func save(_ journal: Journal, in folder: String? = nil) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .prettyPrinted]
        try FileSystem.replace("\(folder ?? self.state)/journal.json", with: try encoder.encode(journal))
    }

    /// Makes the place of the journal, in which its own folders are the first thing that stands.
    ///
    /// Folders that are missing come into being with the journal in them, by one rename: whenever this ends, either they are not there
    /// or it is known who made them.
    private func prepareState(_ journal: inout Journal) throws {
        let missing = self.missingFolders(self.stateFolder + "/x")
        if let first = missing.first, let last = missing.last {
            journal.folders += missing
            self.removeDraft()
            let draft = self.draft(of: first)
            let folder = draft + last.dropFirst(first.count)
            try FileSystem.createFolder(folder)
            try self.save(journal, in: folder)
            guard rename(draft, self.root + first) == 0 else {
                throw NodeError(description: "cannot make \(self.root + first): \(Self.cause())")
            }
            try FileSystem.synchronizeFolder(self.root + (Self.parent(first) == "/" ? "" : Self.parent(first)) + "/")
        }
        guard chmod(self.state, 0o700) == 0 else { throw NodeError(description: "cannot protect \(self.state): \(Self.cause())") }
    }

    /// Takes the journal away with the folders that were made for it: out of sight by one rename, then for good.
    private func removeState(_ folders: [String]) throws {
        // As far up as the folders hold nothing else.
        var top = folders.last
        for folder in folders.reversed().dropFirst() {
            guard let inner = top, try FileSystem.names(in: self.root + folder) == [String(inner.split(separator: "/").last ?? "")] else {
                break
            }
            top = folder
        }
        if let top {
            let draft = self.draft(of: top)
            try? FileManager.default.removeItem(atPath: draft)
            guard rename(self.root + top, draft) == 0 else {
                throw NodeError(description: "cannot remove \(self.root + top): \(Self.cause())")
            }
            try? FileManager.default.removeItem(atPath: draft)
            for folder in folders.reversed() where top.hasPrefix(folder + "/") { rmdir(self.root + folder) }
            return
        }
        for name in try FileSystem.names(in: self.state) where name != "journal.json" { unlink("\(self.state)/\(name)") }
        unlink("\(self.state)/journal.json")
    }

    /// What becomes a folder, or was one: beside it, under a name that nobody else has.
    private func draft(of folder: String) -> String {
        let parent = Self.parent(folder)
        return "\(self.root)\(parent == "/" ? "" : parent)/.outport-new-\(self.stateFolder.split(separator: "/").last ?? "")"
    }

    /// What a run that was cut short has left of it.
    private func removeDraft() {
        guard let first = self.missingFolders(self.stateFolder + "/x").first else { return }
        let draft = self.draft(of: first)
        if FileSystem.exists(draft) { try? FileManager.default.removeItem(atPath: draft) }
    }

    /// Writes down what is there before a file is written.
    private func note(_ file: NodeFile, in journal: inout Journal) throws {
        journal.folders += self.missingFolders(file.path).filter { !journal.folders.contains($0) }
        let digest = Self.digest(file.content)
        if let index = journal.entries.firstIndex(where: { $0.path == file.path }) {
            if !journal.entries[index].written.contains(digest) { journal.entries[index].written.append(digest) }
            return
        }
        var entry = Entry(path: file.path, written: [digest], original: nil)
        if let bytes = try self.read(file.path) {
            let attributes = try self.attributes(of: file.path)
            let original = Original(
                backup: "\(Digest.of(file.path.utf8).hex.prefix(32)).before", digest: Self.digest(bytes), mode: attributes.mode,
                owner: attributes.owner, group: attributes.group)
            try FileSystem.replace("\(self.state)/\(original.backup)", with: bytes)
            entry.original = original
        }
        journal.entries.append(entry)
    }

    // MARK: Files

    private func missingFolders(_ path: String) -> [String] {
        var missing: [String] = []
        var folder = Self.parent(path)
        while folder != "/", !FileSystem.exists(self.root + folder) {
            missing.insert(folder, at: 0)
            folder = Self.parent(folder)
        }
        return missing
    }

    private func makeFolders(of path: String) throws {
        for folder in self.missingFolders(path) {
            guard mkdir(self.root + folder, 0o755) == 0 || errno == EEXIST else {
                throw NodeError(description: "cannot make \(self.root + folder): \(Self.cause())")
            }
            chmod(self.root + folder, 0o755)
        }
    }

    /// A link could lead out of the root, to a file of this container or anywhere.
    private func refuseLinks(in path: String) throws {
        var walked = self.root
        for part in path.split(separator: "/") {
            guard part != ".." else { throw NodeError(description: "\(path) is no path of a node") }
            walked += "/\(part)"
            var status = stat()
            guard lstat(walked, &status) == 0 else { return }
            guard status.st_mode & S_IFMT != S_IFLNK else {
                throw NodeError(
                    description:
                        "\(walked) is a symbolic link, which may lead out of \(self.root.isEmpty ? "/" : self.root); nothing was done")
            }
        }
    }

    private func read(_ path: String) throws -> [UInt8]? {
        try self.refuseLinks(in: path)
        guard FileSystem.exists(self.root + path) else { return nil }
        return try FileSystem.read(self.root + path, limit: Self.largestFile)
    }

    private func attributes(of path: String) throws -> Attributes {
        var status = stat()
        guard lstat(self.root + path, &status) == 0 else {
            throw NodeError(description: "cannot look at \(self.root + path): \(Self.cause())")
        }
        return Attributes(status)
    }

    private func digest(of path: String) throws -> String? { try self.read(path).map(Self.digest) }

    private func temporary(_ path: String) -> String { "\(self.root)\(path).outport-new" }

    /// Replaces a file at once, with mode and owner, durably.
    private func write(_ path: String, _ bytes: [UInt8], mode: UInt32, owner: (UInt32, UInt32)?) throws {
        let (temporary, target) = (self.temporary(path), self.root + path)
        func fail(_ what: String) -> NodeError { NodeError(description: "cannot \(what) \(target): \(Self.cause())") }
        let descriptor = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { throw fail("write") }
        defer { close(descriptor) }
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { writeBytes(descriptor, $0.baseAddress, $0.count) }
            guard count > 0 else { throw fail("write") }
            rest = rest.dropFirst(count)
        }
        if let owner, fchown(descriptor, owner.0, owner.1) != 0 { throw fail("give its owner back to") }
        guard fchmod(descriptor, mode_t(mode)) == 0 else { throw fail("set the mode of") }
        guard fsync(descriptor) == 0 else { throw fail("flush") }
        try FileSystem.rename(temporary, to: target)
        try FileSystem.synchronizeFolder(Self.parent(target))
    }

    private static func digest(_ bytes: [UInt8]) -> String { Digest.of(bytes).hex }
    private static func parent(_ path: String) -> String {
        let end = path.lastIndex(of: "/") ?? path.startIndex
        return end == path.startIndex ? "/" : String(path[..<end])
    }
    private static func cause() -> String { String(cString: strerror(errno)) }
}
