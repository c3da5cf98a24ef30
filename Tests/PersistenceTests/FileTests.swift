// Proves the file operations that durability is made of, and the lock of the data folder.

import NIOCore
import Persistence
import TestSupport
import Testing

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

@Suite struct FileTests {
    private let scratch = ScratchFolder()

    init() throws { try FileSystem.createFolder(self.scratch.path) }

    @Test("R7 replacing a file leaves the old or the new content, its permissions and no other file")
    func replace() throws {
        let path = self.scratch.path + "/secret"
        try FileSystem.replace(path, with: "old and longer".utf8)
        try FileSystem.replace(path, with: "new".utf8)
        #expect(try FileSystem.read(path) == Array("new".utf8))
        let mode = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
        #expect(mode == 0o600)
        try FileSystem.replace(path, with: [], mode: 0o644)
        #expect(try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int == 0o644)
        #expect(try FileSystem.read(path).isEmpty)
        #expect(try FileSystem.names(in: self.scratch.path) == ["secret"])
    }

    @Test("R7 what an interrupted replacement left behind does no harm")
    func interrupted() throws {
        let path = self.scratch.path + "/file"
        try FileSystem.replace(path, with: "old".utf8)
        try FileSystem.replace(path + ".new", with: "half of something much longer".utf8)
        #expect(try FileSystem.read(path) == Array("old".utf8))
        try FileSystem.replace(path, with: "new".utf8)
        #expect(try FileSystem.read(path) == Array("new".utf8))
        #expect(try FileSystem.names(in: self.scratch.path) == ["file"])
    }

    @Test("R7 errors of the disk say what was tried")
    func errors() {
        let missing = #expect(throws: PersistenceError.self) { try FileSystem.read(self.scratch.path + "/none") }
        #expect(missing?.code == .notFound)
        #expect(missing?.description.contains("/none") == true)
        #expect(throws: PersistenceError.self) { try FileSystem.replace(self.scratch.path + "/no/folder/file", with: []) }
        #expect(throws: Never.self) { try FileSystem.remove(self.scratch.path + "/none") }
        #expect(throws: PersistenceError.self) { try FileSystem.names(in: self.scratch.path + "/none") }
    }

    @Test("R7 reading a file beyond its limit is refused")
    func limit() throws {
        try FileSystem.replace(self.scratch.path + "/big", with: [UInt8](repeating: 1, count: 100))
        #expect(try FileSystem.read(self.scratch.path + "/big", limit: 100).count == 100)
        #expect(throws: PersistenceError.self) { try FileSystem.read(self.scratch.path + "/big", limit: 99) }
    }

    @Test("R7 folders are made with their parents, for the owner alone; one that exists is no error")
    func folders() throws {
        let path = self.scratch.path + "/a/b/c"
        try FileSystem.createFolder(path)
        try FileSystem.createFolder(path)
        #expect(try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int == 0o700)
        try FileSystem.replace(self.scratch.path + "/file", with: [])
        #expect(throws: PersistenceError.self) { try FileSystem.createFolder(self.scratch.path + "/file/below") }
    }

    @Test("C6 a data folder in use is refused, naming the process; afterwards it is free")
    func lock() async throws {
        var first: DataFolder? = try DataFolder(self.scratch.path + "/data/")
        #expect(first?.path == self.scratch.path + "/data")
        let error = #expect(throws: PersistenceError.self) { try DataFolder(self.scratch.path + "/data") }
        #expect(error?.code == .inUse)
        #expect(error?.description.contains("process \(ProcessInfo.processInfo.processIdentifier) ") == true)
        first = nil
        // A test beside this one may be starting a process, which holds what is open here for the moment between fork and exec.
        #expect(try await eventually { (try? DataFolder(self.scratch.path + "/data")) != nil })
    }

    @Test("C16 a data folder knows the space on its disk")
    func space() throws {
        let space = try DataFolder(self.scratch.path + "/data").space()
        #expect(space.total > 0)
        #expect(space.free <= space.total)
    }

    @Test("A2 an instant of any number has a text, and one that has none of its own that of the nearest")
    func anyTimestamp() {
        #expect(Timestamp.text(milliseconds: .min) == "1900-01-01T00:00:00.000Z")
        #expect(Timestamp.text(milliseconds: .max) == "9999-12-31T23:59:59.999Z")
        #expect(Timestamp.text(milliseconds: -1) == "1969-12-31T23:59:59.999Z")
        #expect(Timestamp.text(seconds: .min) == "1900-01-01T00:00:00.000Z")
        #expect(Timestamp.text(seconds: .max) == "9999-12-31T23:59:59.000Z")
        #expect(Timestamp.text(seconds: 1) == "1970-01-01T00:00:01.000Z")
    }

    @Test("A2 instants are written as RFC 3339 and read back", arguments: [Int64(0), 1_790_000_000_123, 4_102_444_800_000])
    func timestamps(milliseconds: Int64) {
        let text = Timestamp.text(milliseconds: milliseconds)
        #expect(text.hasSuffix("Z"))
        #expect(Timestamp.parse(text) == milliseconds)
        #expect(Timestamp.parse("2026-01-01T00:00:00Z") == 1_767_225_600_000)
        #expect(Timestamp.parse("yesterday") == nil)
    }
}
