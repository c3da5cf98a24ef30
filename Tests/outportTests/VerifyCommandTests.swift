// Proves what operators see of `outport verify` and `outport gc --dry-run`: exit codes, refusals, reports.

import ArgumentParser
import Foundation
import JSON
import OCI
import Persistence
import RegistryCore
import TestSupport
import Testing

@testable import outport

@Suite struct VerifyCommandTests {
    private let app = repository("app")

    /// A data folder with one image, closed. Its layer lies in a file, its config in a row.
    private func folder() async throws -> (ScratchFolder, TestImage) {
        let scratch = ScratchFolder()
        let image = TestImage("one", layers: [Fixture.layer(bytes: 40_000, seed: 1)])
        let node = try await Node(data: scratch.path)
        let registry = try await node.store.registry(named: "harbour")
        for blob in image.blobs {
            let id = try await node.uploads.begin(in: self.app, of: registry)
            _ = try await node.uploads.finish(
                Parts([blob.bytes]), range: nil, length: nil, as: blob.digest, upload: id, in: self.app, of: registry)
        }
        try await node.store.put(
            NewManifest(image.manifest.bytes, declared: image.manifest.mediaType, expected: nil), tags: [tag("v1")], into: self.app,
            of: registry, origin: "test")
        await node.close()
        return (scratch, image)
    }

    private func damage(_ content: Content, in scratch: ScratchFolder) throws {
        let name = try #require(scratch.files(below: "blobs").first { $0.contains(content.digest.hex) })
        try FileSystem.replace("\(scratch.path)/blobs/\(name)", with: content.bytes.map { $0 ^ 1 })
    }

    /// The exit status of a command line.
    private func status(_ arguments: String...) async throws -> Int32 {
        var command = try #require(try Outport.parseAsRoot(arguments) as? any AsyncParsableCommand)
        do {
            try await command.run()
            return 0
        } catch let code as ExitCode { return code.rawValue }
    }

    @Test("R7 a data folder that has lost its database is refused, and nothing in it is taken for garbage", arguments: [true, false])
    func lostDatabase(isEmptied: Bool) async throws {
        let (scratch, image) = try await self.folder()
        for end in ["", "-wal", "-shm"] { try? FileSystem.remove(scratch.path + "/outport.db" + end) }
        if isEmptied { try FileSystem.replace(scratch.path + "/outport.db", with: []) }
        let refused = await #expect(throws: ServingError.self) { try await Node(data: scratch.path) }
        #expect(refused?.description.contains("restore outport.db") == true)
        for verb in ["gc", "verify"] {
            await #expect(throws: ServingError.self) { try await self.status(verb, "--data", scratch.path) }
        }
        #expect(scratch.files(below: "blobs").contains { $0.contains(image.layers[0].digest.hex) })
        #expect(FileSystem.exists(scratch.path + "/outport.db") == isEmptied)
    }

    @Test("A5 C12 a misspelt folder is refused and not made; so is one that is no parent's")
    func otherFolders() async throws {
        let typo = ScratchFolder().path + "/typo"
        for command in [["restored"], ["bootstrap", "reset"], ["gc"], ["verify"]] {
            await #expect(throws: ServingError.self) {
                var parsed = try #require(try Outport.parseAsRoot(command + ["--data", typo]) as? any AsyncParsableCommand)
                try await parsed.run()
            }
        }
        #expect(!FileSystem.exists(typo))
        let (scratch, _) = try await self.folder()
        let refused = await #expect(throws: ServingError.self) { try await self.status("restored", "--data", scratch.path) }
        #expect(refused?.description.contains("no data folder of a parent") == true)
    }

    @Test(
        "A4 numbers that nothing could be done with are a mistake of the command line",
        arguments: [
            ["gc", "--data", "x", "--untagged-days", "9223372036854775807"], ["gc", "--data", "x", "--untagged-days", "-1"],
            ["verify", "--data", "x", "--rate", "17592186044416"], ["verify", "--data", "x", "--rate", "0"],
            ["agent", "--health-timeout", "9223372036854775807", "--cluster", "c", "--server", "https://h.test"],
        ])
    func numbers(arguments: [String]) { #expect(throws: (any Error).self) { try Outport.parseAsRoot(arguments) } }

    @Test("R7 outport verify ends with 0 when all is well, with 1 when not, and quarantine moves the file")
    func verify() async throws {
        let (scratch, image) = try await self.folder()
        #expect(try await self.status("verify", "--data", scratch.path, "-o", "json") == 0)
        try self.damage(image.layers[0], in: scratch)
        #expect(try await self.status("verify", "--data", scratch.path, "--rate", "500") == 1)
        #expect(scratch.files(below: "quarantine").isEmpty)
        #expect(try await self.status("verify", "--data", scratch.path, "--quarantine", "-o", "json") == 1)
        #expect(scratch.files(below: "quarantine").count == 1)
        #expect(scratch.files(below: "blobs").isEmpty)
    }

    @Test("R7 R6 a data folder in use is refused with its holder, one that is not there is not made", arguments: ["verify", "gc"])
    func refusals(verb: String) async throws {
        let (scratch, _) = try await self.folder()
        let node = try await Node(data: scratch.path)
        let error = await #expect(throws: PersistenceError.self) { try await self.status(verb, "--data", scratch.path) }
        #expect(error?.code == .inUse)
        #expect(error?.description.contains("stop that process") == true)
        await node.close()
        let absent = scratch.path + "-absent"
        let refusal = await #expect(throws: ServingError.self) { try await self.status(verb, "--data", absent) }
        #expect(refusal?.description.contains(absent) == true)
        #expect(!FileSystem.exists(absent))
    }

    @Test("R6 outport gc --dry-run removes nothing")
    func dryRun() async throws {
        let (scratch, _) = try await self.folder()
        let before = scratch.files(below: "")
        #expect(try await self.status("gc", "--data", scratch.path, "--untagged-days", "0", "--dry-run") == 0)
        #expect(try await self.status("gc", "--data", scratch.path, "--dry-run", "-o", "json") == 0)
        #expect(scratch.files(below: "blobs").count == 1)
        #expect(before.filter { $0.hasPrefix("blobs") } == scratch.files(below: "").filter { $0.hasPrefix("blobs") })
    }

    @Test("R7 R6 reports say what, where and why, as a table and as JSON")
    func reports() async throws {
        let site = try await Site(smallContentLimit: 0)
        let image = TestImage("one")
        try await site.push(image, tags: [tag("v1")], to: self.app)
        let name = try #require(site.scratch.files(below: "blobs").first { $0.contains(image.config.digest.hex) })
        try FileSystem.remove("\(site.scratch.path)/blobs/\(name)")
        let report = try await ContentVerifier(store: site.store).verify()
        #expect(report.table.contains("file-missing"))
        #expect(report.table.hasSuffix("1 damaged"))
        #expect(report.json["clean"]?.boolValue == false)
        #expect(report.json["damage"]?[0]?["subject"]?.stringValue == image.config.digest.description)
        let items = [
            GarbageSurveyReport(items: []), GarbageSurveyReport(items: try await self.survey()),
        ]
        #expect(items[0].table.hasPrefix("would remove 0 uploads"))
        #expect(items[1].table.contains("no repository links to it"))
        #expect(items[1].json["blobs"]?.intValue == 1)
    }

    private func survey() async throws -> [GarbageItem] {
        let site = try await Site(clock: TestClock(milliseconds: Int64(Date().timeIntervalSince1970 * 1000)), smallContentLimit: 0)
        try await site.push(Fixture.layer("alone"), to: self.app)
        site.clock.advance(seconds: 3 * 86_400)
        return try await GarbageCollector(store: site.store, uploads: site.uploads).survey(GarbagePolicy())
    }

    @Test("R7 a verification tells how far it has come and keeps to its rate")
    func pace() async throws {
        let begin = ContinuousClock.now
        let pace = VerifyPace(total: 1 << 20, bytesPerSecond: 10 << 20) { _ in }
        for _ in 0..<4 { try await pace.add(512 << 10) }
        #expect(ContinuousClock.now - begin >= .milliseconds(199))
    }
}
