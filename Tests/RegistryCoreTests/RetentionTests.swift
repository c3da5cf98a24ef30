// Retention: what a registry's own policy removes, and from when on.

import OCI
import TestSupport
import Testing

@testable import RegistryCore

@Suite struct RetentionTests {
    private let app = repository("app")

    @Test("R6 A3 an untagged manifest is kept for the days of its registry's policy, counted from the tag it lost last")
    func sinceUntagged() async throws {
        let site = try await Site()
        let (one, two) = (TestImage("one"), TestImage("two"))
        try await site.push(one, tags: [tag("v1")], to: self.app)
        // Old, and yet in use.
        site.clock.advance(seconds: 100 * 86_400)
        var policy = GarbagePolicy()
        policy.retention[site.registry] = 7 * GarbagePolicy.day
        let collector = GarbageCollector(store: site.store, uploads: site.uploads)
        #expect(try await collector.collect(policy).manifests == 0)
        // It loses its tag to another.
        try await site.push(two, tags: [tag("v1")], to: self.app)
        #expect(try await collector.collect(policy).manifests == 0)
        site.clock.advance(seconds: 6 * 86_400)
        #expect(try await collector.survey(policy).filter { $0.kind == .manifest } == [])
        #expect(try await collector.collect(policy).manifests == 0)
        site.clock.advance(seconds: 2 * 86_400)
        #expect(try await collector.survey(policy).filter { $0.kind == .manifest }.map(\.subject) == [one.manifest.digest.description])
        #expect(try await collector.collect(policy).manifests == 1)
        // A deleted tag begins the count, too; another registry's policy is nobody else's.
        _ = try await site.store.delete(tag("v1"), from: self.app, of: site.registry, origin: "test")
        site.clock.advance(seconds: 8 * 86_400)
        let other = try await site.store.registry(named: "other")
        var theirs = GarbagePolicy()
        theirs.retention[other] = 0
        #expect(try await collector.collect(theirs).manifests == 0)
        #expect(try await collector.collect(GarbagePolicy()).manifests == 0)
        #expect(try await collector.collect(policy).manifests == 1)
    }
}
