// Proves what becomes of changes that are made while others of the same thing are on their way to the parent.

import OCI
import RegistryCore
import TestSupport
import Testing

@Suite struct OutboxTests {
    private let app = repository("app")
    private let confirmed = ChangeCursor(log: "log", sequence: 1)

    /// The entry of the tag, marked as sent.
    private func send(_ operation: String, at site: Site) async throws -> OutboxEntry {
        let entries = try await site.store.outbox(of: site.registry, dueAt: site.clock.wall.seconds, limit: 100)
        let entry = try #require(entries.first { $0.subject == .tag(tag("v1")) })
        return try #require(try await site.store.markSent(entry, as: operation, of: site.registry))
    }

    @Test("C7 a tag that is set anew while its deletion is on its way is told after it: seed 162 of the simulator")
    func setWhileDeleted() async throws {
        let site = try await Site()
        try await site.store.keepOutbox(of: site.registry)
        let (one, two) = (TestImage("one"), TestImage("two"))
        try await site.push(one, tags: [tag("v1")], to: self.app)
        try await site.store.settle(self.send("operation-1", at: site), confirmed: self.confirmed, of: site.registry)
        try await site.store.delete(tag("v1"), from: self.app, of: site.registry, origin: "test")
        let deletion = try await self.send("operation-2", at: site)
        try await site.push(two, tags: [tag("v1")], to: self.app)
        // The parent has deleted the tag, and only then hears of the rest.
        try await site.store.settle(deletion, confirmed: self.confirmed, of: site.registry)
        let next = try await self.send("operation-3", at: site)
        #expect(next.target == two.manifest.digest.description)
        #expect(next.expected == nil)
        try await site.store.settle(next, confirmed: self.confirmed, of: site.registry)
        let left = try await site.store.outbox(of: site.registry, dueAt: site.clock.wall.seconds, limit: 100)
        #expect(!left.contains { $0.subject == .tag(tag("v1")) })
    }
}
