// The short run of the crash harness: docs/crash-testing.md says what it does and how to make it longer.

import Crash
import NIOCore
import OCI
import Persistence
import RegistryCore
import TestSupport
import Testing

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

@Suite(.serialized) struct PowerCutTests {
    private static let seed: UInt64 = 20_261

    /// In memory, where the machine has a file system for it: what would be lost of a disk is played here.
    private static func scratchFolder() -> ScratchFolder {
        let memory = "/dev/shm"
        return ScratchFolder(in: FileManager.default.isWritableFile(atPath: memory) ? memory : nil)
    }

    @Test("R7 after a power cut at any call everything acknowledged is there and nothing half of it is seen")
    func powerCuts() async throws {
        let report = try await Campaign().powerCuts(seed: Self.seed, images: 100, steps: 12, perCut: 2)
        #expect(report.problems.isEmpty, "SEED=\(Self.seed): \(report.problems)")
        #expect(report.images == 100)
    }

    @Test("R7 the harness sees: with one flush taken out it finds what is lost", arguments: [SyncSite.blobFile, .wal])
    func mutation(site: SyncSite) async throws {
        let report = try await Campaign().powerCuts(seed: Self.seed, images: 1000, steps: 12, perCut: 1, mutation: site)
        #expect(!report.problems.isEmpty, "nobody noticed that \(site.rawValue) is not flushed")
    }

    @Test("R7 zot_3924_fullDiskDestroysIndex: no call that fails, for want of space or otherwise, costs anything acknowledged")
    func zot_3924_fullDiskDestroysIndex() async throws {
        let report = try await Campaign().faults(seed: Self.seed, steps: 6, stride: 23, limit: 24)
        #expect(report.problems.isEmpty, "SEED=\(Self.seed): \(report.problems)")
        #expect(report.faults > 10)
    }

    @Test("R7 what a killed process wrote but did not flush is durable before the next process relies on it")
    func unflushedCommit() async throws {
        let scratch = Self.scratchFolder()
        try FileSystem.createFolder(scratch.path)
        let journal = CrashJournal(scratch.path)
        defer { journal.end() }
        let clock = TestClock(milliseconds: Int64(Date().timeIntervalSince1970 * 1000))
        let (app, image) = (repository("app"), TestImage("one"))
        func open(_ path: String) async throws -> Layers { try await Layers(path, clock: clock, tokenTime: clock.milliseconds) }
        func firstProcess() async throws {
            let layers = try await open(scratch.path)
            for blob in image.blobs { try await layers.push(blob, to: app) }
            // The commit is in the log, and the process ends before the log is flushed.
            journal.setFaults(.death(at: journal.flushes, atFlush: true))
            await #expect(throws: (any Error).self) { try await layers.put(image.manifest, tags: [tag("v1")], to: app) }
            await layers.close()
        }
        func secondProcess() async throws {
            let layers = try await open(scratch.path)
            #expect(try await layers.store.resolve(tag("v1"), in: app, of: layers.registry) == image.manifest.digest, "not what is tested")
            // To the client's second attempt there is nothing left to write.
            try await layers.put(image.manifest, tags: [tag("v1")], to: app)
            var generator = SeededGenerator(seed: 1)
            var disk = Disk()
            for entry in journal.entries { disk.apply(entry, &generator) }
            await layers.close()
            let after = Self.scratchFolder()
            try disk.image(.nothing, &generator).write(to: after.path)
            let rest = try await open(after.path)
            #expect(try await rest.store.resolve(tag("v1"), in: app, of: rest.registry) == image.manifest.digest)
            await rest.close()
        }
        try await firstProcess()
        journal.setFaults(nil)
        try await secondProcess()
    }

    @Test("R7 C14 content taken over from a killed process survives a power cut, at whatever call its commit was killed")
    func takenOver() async throws {
        let clock = TestClock(milliseconds: Int64(Date().timeIntervalSince1970 * 1000))
        func open(_ path: String) async throws -> Layers { try await Layers(path, clock: clock, tokenTime: clock.milliseconds) }
        /// Commits, killed at a call counted from the commit's first: whether it got to the end.
        func commit(_ path: String, _ journal: CrashJournal, killedAt call: Int) async throws -> Bool {
            let layers = try await open(path)
            let staged = try await layers.blobs.stage(.transfer(Self.layer.digest))
            try await staged.append(ByteBuffer(bytes: Self.layer.bytes))
            journal.setFaults(.death(at: journal.calls + call, atFlush: false))
            let committed = try? await layers.blobs.commit(staged, as: Self.layer.digest, size: nil)
            await layers.close()
            journal.setFaults(nil)
            return committed != nil
        }
        func takeOver(_ path: String) async throws -> Bool {
            let layers = try await open(path)
            let isHere = try await layers.store.takeOver(Self.layer.digest, size: Int64(Self.layer.bytes.count), of: layers.registry)
            await layers.close()
            return isHere
        }
        /// Generations of the layer: in its row, and of its files.
        func found(_ path: String) async throws -> (row: String?, files: [String]) {
            let layers = try await open(path)
            let row = try await layers.database.read {
                try $0.row("SELECT generation FROM blob WHERE digest = ?", .text(Self.layer.digest.description))?.text(0)
            }
            let files = try await layers.blobs.stored(as: Self.layer.digest).map(\.generation)
            await layers.close()
            return (row, files)
        }
        var takenOver = 0
        var isCommitted = false
        for call in 0... {
            guard !isCommitted else { break }
            let (scratch, after) = (ScratchFolder(), ScratchFolder())
            try FileSystem.createFolder(scratch.path)
            let journal = CrashJournal(scratch.path)
            defer { journal.end() }
            isCommitted = try await commit(scratch.path, journal, killedAt: call)
            let isHere = try await takeOver(scratch.path)
            if isHere { takenOver += 1 }
            var generator = SeededGenerator(seed: 1)
            var disk = Disk()
            for entry in journal.entries { disk.apply(entry, &generator) }
            try disk.image(.nothing, &generator).write(to: after.path)
            let rest = try await found(after.path)
            #expect((rest.row != nil) == isHere, "killed at call \(call)")
            #expect(!isHere || rest.files == [rest.row], "killed at call \(call), the row has no file after the power cut")
        }
        // Killed at the flush of the shelf, and not at all.
        #expect(takenOver > 1)
    }

    @Test("R7 a first start that is killed at any call leaves nothing that the next start relies on and a power cut takes away")
    func killedFirstStart() async throws {
        let clock = TestClock(milliseconds: Int64(Date().timeIntervalSince1970 * 1000))
        // The last calls make the keys; before them the database is made, which SQLite's own tests are for.
        let total = try await Self.callsOfFirstStart(clock)
        #expect(total > 100)
        for call in Array(stride(from: 0, to: total - 50, by: 23)) + Array(total - 50...total) {
            let scratch = Self.scratchFolder()
            try FileSystem.createFolder(scratch.path)
            let journal = CrashJournal(scratch.path)
            defer { journal.end() }
            journal.setFaults(.death(at: call, atFlush: false))
            if let first = try? await Layers(scratch.path, clock: clock, tokenTime: clock.milliseconds) { await first.close() }
            journal.setFaults(nil)
            let token = try await Self.token(scratch.path, clock)
            var generator = SeededGenerator(seed: 1)
            var disk = Disk()
            for entry in journal.entries { disk.apply(entry, &generator) }
            let after = Self.scratchFolder()
            try disk.image(.nothing, &generator).write(to: after.path)
            let rest = try await Layers(after.path, clock: clock, tokenTime: clock.milliseconds)
            let verified = try? await rest.tokens.verify(token, as: [.sync], audience: "registry/harbour")
            #expect(verified != nil, "killed at call \(call), a token is void after the power cut")
            let bytes = try await rest.read(Self.layer.digest, in: repository("app"))
            #expect(bytes == Self.layer.bytes, "killed at call \(call), a blob is gone after the power cut")
            await rest.close()
        }
    }

    private static func callsOfFirstStart(_ clock: TestClock) async throws -> Int {
        let scratch = Self.scratchFolder()
        try FileSystem.createFolder(scratch.path)
        let journal = CrashJournal(scratch.path)
        defer { journal.end() }
        try await Layers(scratch.path, clock: clock, tokenTime: clock.milliseconds).close()
        return journal.calls
    }

    private static let layer = Fixture.layer("pushed after the kill")

    /// What the second process hands out.
    private static func token(_ path: String, _ clock: TestClock) async throws -> String {
        let layers = try await Layers(path, clock: clock, tokenTime: clock.milliseconds)
        try await layers.push(Self.layer, to: repository("app"))
        let token = try await layers.tokens.issue(.sync, subject: .token("reader"), audience: "registry/harbour").token
        await layers.close()
        return token
    }
}
