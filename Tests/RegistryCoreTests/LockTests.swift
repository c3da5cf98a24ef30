// Locks that are asked about before content is sent.

import OCI
import RegistryCore
import TestSupport
import Testing

@Suite struct LockTests {
    private let app = repository("app")

    private static func change(_ locks: ImageLocks, set: Bool) -> LockChange {
        var change = LockChange()
        if set { change.set = locks } else { change.cleared = locks }
        return change
    }

    /// Whether an upload would be let in.
    private func isOpen(_ site: Site) async throws -> Bool {
        do {
            try await site.store.requireWritable(self.app, in: site.registry)
            return true
        } catch let error as RegistryError where error.code == .unsupported {
            return false
        }
    }

    @Test("R4 an upload is refused from the moment its repository is locked, and let in from the moment it is not, asked before or not")
    func uploads() async throws {
        let site = try await Site()
        #expect(try await self.isOpen(site))
        try await site.push(TestImage("one"), tags: [tag("v1")], to: self.app)
        for _ in 0..<3 {
            #expect(try await self.isOpen(site))
            #expect(try await self.isOpen(site))
            try await site.store.setLocks(Self.change(.write, set: true), of: .repository(self.app), in: site.registry, origin: "test")
            #expect(try await !self.isOpen(site))
            #expect(try await !self.isOpen(site))
            try await site.store.setLocks(Self.change(.write, set: false), of: .repository(self.app), in: site.registry, origin: "test")
        }
        #expect(try await self.isOpen(site))
    }
}
