// What the next process makes of imports that the last one left.

import Import
import JSON
import Persistence
import RegistryClient
import Testing

@testable import ResourceManager

@Suite struct ImportJobTests {
    /// Nobody is asked in these tests.
    private struct Nowhere: Transport {
        func send(_ request: ClientRequest) async throws -> ClientResponse { throw TransportError(.unreachable, "there is nothing") }
    }

    @Test("R5 R7 an import that cannot be read any more ends with what to do, once, and whoever began it is told")
    func unreadable() async throws {
        let world = try await World(source: Nowhere()).withRegistry()
        let registry = try #require(world.lookup.registry(named: "harbour")).id
        let jobs = try #require(world.services.imports)
        let now = world.clock.wall.milliseconds()
        _ = try await world.database.write {
            try $0.execute(
                "INSERT INTO import_job (id, owner, registry, sealed, created) VALUES ('lost', 'somebody', ?, ?, ?)",
                .integer(registry.value), .blob([1, 2, 3]), .integer(now))
        }
        for _ in 0..<2 {
            try await jobs.resume { _, _ in
                Issue.record("it was begun")
                return nil
            }
            guard case .failed(let refusal)? = jobs.job("lost")?.outcome else {
                Issue.record("it has not ended")
                return
            }
            #expect(refusal.code == .importFailed && refusal.message.contains("Import again"), "\(refusal)")
        }
        let row = try await world.database.read { try $0.row("SELECT ended, sealed IS NULL FROM import_job WHERE id = 'lost'") }
        #expect(row?.integer(0) == now && row?.flag(1) == true)
    }
}
