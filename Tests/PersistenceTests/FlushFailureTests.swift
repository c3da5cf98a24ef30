// A flush that failed must not be tried again as if nothing had happened: the system takes the lost pages for written.

import NIOCore
import NIOPosix
import OCI
import Persistence
import Synchronization
import TestSupport
import Testing

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// Refuses flushes of files while told to.
private final class RefusingWitness: FileWitness {
    private let isRefusing = Mutex(false)
    private let alsoRemovals: Bool

    init(alsoRemovals: Bool) { self.alsoRemovals = alsoRemovals }

    func refuse(_ refuses: Bool) { self.isRefusing.withLock { $0 = refuses } }

    func perform(_ call: FileCall, _ body: () -> Int) -> Int {
        let isHit =
            switch call {
            case .synchronize: true
            case .remove, .truncate: self.alsoRemovals
            default: false
            }
        guard isHit, self.isRefusing.withLock({ $0 }) else { return body() }
        errno = EIO
        return -1
    }
}

@Suite struct FlushFailureTests {
    @Test(
        "R7 after a flush that failed the content is given up: nobody resumes it, not even when its file cannot be removed",
        arguments: [false, true], [StagingArea.uploads, .transfers])
    func givenUp(alsoRemovals: Bool, area: StagingArea) async throws {
        let scratch = ScratchFolder()
        let folder = try DataFolder(scratch.path)
        let witness = RefusingWitness(alsoRemovals: alsoRemovals)
        FileWitnesses.watch(scratch.path, by: witness)
        defer { FileWitnesses.unwatch(scratch.path) }
        let store = FileBlobStore(folder: folder, pool: .singleton)
        let content = Fixture.layer(bytes: 9000, seed: 1)
        let name =
            area == .transfers
            ? StagingName.transfer(content.digest)
            : try #require(StagingName.upload(String(repeating: "a", count: 32), repository: repository("app"), registry: 1))
        let staged = try await store.stage(name)
        try await staged.append(ByteBuffer(bytes: content.bytes))
        witness.refuse(true)
        let error = await #expect(throws: PersistenceError.self) { try await staged.synchronize() }
        #expect(error?.description.contains("to disk") == true)
        witness.refuse(false)
        // The disk is well again: neither the open content nor its file may become a blob.
        #expect(try await store.resume(name) == nil)
        await #expect(throws: PersistenceError.self) { try await store.commit(staged, as: content.digest, size: nil) }
        #expect(try await store.resume(name) == nil)
        #expect(scratch.files(below: "blobs").isEmpty)
        // Begun anew it works.
        let again = try await store.stage(name)
        try await again.append(ByteBuffer(bytes: content.bytes))
        _ = try await store.commit(again, as: content.digest, size: nil)
    }

    @Test("R7 a flush that fails at the commit ends the upload; the client is told and begins anew")
    func atCommit() async throws {
        let site = try await Site(smallContentLimit: 0)
        let witness = RefusingWitness(alsoRemovals: false)
        FileWitnesses.watch(site.scratch.path, by: witness)
        defer { FileWitnesses.unwatch(site.scratch.path) }
        let content = Fixture.layer(bytes: 9000, seed: 1)
        let app = repository("app")
        let id = try await site.uploads.begin(in: app, of: site.registry)
        witness.refuse(true)
        func finish() async throws {
            _ = try await site.uploads.finish(
                Parts([content.bytes]), range: nil, length: nil, as: content.digest, upload: id, in: app, of: site.registry)
        }
        await #expect(throws: (any Error).self) { try await finish() }
        witness.refuse(false)
        await #expect(throws: (any Error).self) { try await finish() }
        try await site.push(content, to: app)
        #expect(site.scratch.files(below: "blobs").count == 1)
    }
}
