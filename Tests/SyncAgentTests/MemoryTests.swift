// Proves that the agent never knows more than its folder does, and believes only the registry that content is gone.

import NIOCore
import OCI
import Persistence
import RegistryClient
import SyncAgent
import Synchronization
import TestSupport
import Testing

@Suite struct MemoryTests {
    /// A database whose disk may be full.
    private final class FullDatabase: Database {
        private let base: any Database
        let isFull = Mutex(false)

        init(_ base: any Database) { self.base = base }

        func read<Value: Sendable>(_ body: @escaping @Sendable (any SQLReader) throws -> Value) async throws -> Value {
            try await self.base.read(body)
        }

        func write<Value: Sendable>(_ body: @escaping @Sendable (any SQLWriter) throws -> Value) async throws -> Value {
            if self.isFull.withLock({ $0 }) { throw PersistenceError(.noSpace, tried: "commit", cause: "the disk is full") }
            return try await self.base.write(body)
        }

        func close() async throws { try await self.base.close() }
    }

    @Test("C6 a nonce that could not be saved is not used either: it would lock the folder out after a restart")
    func nothingUnsaved() async throws {
        let site = try await Site()
        let database = FullDatabase(site.database)
        let memory = try await SyncMemoryStore(database: database, connection: ConnectionString(parsing: ConnectionStringTests.text()))
        try await memory.update { $0.nonce = "first" }
        database.isFull.withLock { $0 = true }
        await #expect(throws: PersistenceError.self) { try await memory.update { $0.nonce = "second" } }
        #expect(await memory.memory.nonce == "first")
        database.isFull.withLock { $0 = false }
        try await memory.update { $0.bytesReceived = 7 }
        #expect(await memory.memory.nonce == "first")
    }

    private struct Fixed: Transport {
        let status: Int
        let text: String

        func send(_ request: ClientRequest) async throws -> ClientResponse {
            ClientResponse(status: self.status, headers: [], body: ClientResponseBody(Parts([Array(self.text.utf8)])))
        }
    }

    @Test(
        "C13 content counts as gone when the registry says so, not when something between answers 404",
        arguments: [
            (404, #"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"gone"}]}"#, true),
            (404, #"{"errors":[{"code":"NAME_UNKNOWN","message":"gone"}]}"#, true),
            (404, #"{"errors":[{"code":"UNKNOWN","message":"no registry here"}]}"#, false), (404, "<html>not here</html>", false),
            (403, #"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"gone"}]}"#, false), (502, "", false),
        ])
    func gone(status: Int, text: String, isGone: Bool) async throws {
        let client = RegistryClient(
            transport: Fixed(status: status, text: text), endpoint: ServerEndpoint(host: "parent.test", port: 443, isSecure: true)
        ) { "token" }
        if isGone {
            #expect(try await client.manifest(Digest.of("x".utf8), in: repository("app")) == nil)
        } else {
            await #expect(throws: ServerRefusal.self) { _ = try await client.manifest(Digest.of("x".utf8), in: repository("app")) }
        }
    }
}
