// The same tag changed at both ends: the parent's value stands, nothing is dropped, and everybody ends with the same.

import Gateway
import OCI
import Persistence
import RegistryCore
import TestSupport
import Testing

@testable import SyncAgent

@Suite(.serialized) struct ConflictTests {
    private let app = repository("app")

    @Test("C8 a tag set at both ends: the parent's value stands, the child's is kept at both ends and told; deleting the kept tag ends it")
    func conflict() async throws {
        let family = try await Family(mode: .readWrite)
        let parent = family.parent.site
        let (old, here, there) = (TestImage("old"), TestImage("here"), TestImage("there"))
        try await parent.push(old, tags: [tag("v1")], to: self.app)
        try await family.introduce()
        try await family.child.push(here, tags: [tag("v1")], to: self.app)
        try await parent.push(there, tags: [tag("v1")], to: self.app)
        let kept = tag("v1.conflict-site1-\(here.manifest.digest.hex.prefix(12))")
        let sibling = try await Family(of: family.parent, name: "site2")
        try await family.following { () async throws in
            #expect(try await eventually { try await family.atChild(tag("v1"), in: self.app) == there.manifest.digest })
            #expect(
                try await eventually {
                    try await family.parentState?.report?.status?.details.contains {
                        $0.code == "Conflict" && $0.description.contains(kept.description)
                    } ?? false
                })
            // It needs a look, it is no failure.
            #expect(
                try await eventually {
                    try await family.parentState?.connectionState(now: family.child.clock.milliseconds) == .online
                })
            #expect(try await eventually { try await family.parentState?.inStep ?? false })
        }
        #expect(try await family.atParent(tag("v1"), in: self.app) == there.manifest.digest)
        #expect(try await family.atParent(kept, in: self.app) == here.manifest.digest)
        #expect(try await family.atChild(kept, in: self.app) == here.manifest.digest)
        #expect(try await family.isWhole(here, in: self.app))
        #expect(try await family.unsent == 0)
        // Another site gets the tag and not what was kept.
        try await sibling.following { () async throws in
            #expect(try await eventually { try await sibling.atChild(tag("v1"), in: self.app) == there.manifest.digest })
            #expect(try await eventually { try await sibling.parentState?.inStep ?? false })
        }
        #expect(try await sibling.atChild(kept, in: self.app) == nil)
        // Not collected at either end.
        for site in [family.child, parent] {
            family.child.clock.advance(seconds: 86_400)
            _ = try await GarbageCollector(store: site.store, uploads: site.uploads).collect(GarbagePolicy(untaggedAge: 1))
            #expect(try await site.store.holdsWhole(here.manifest.digest, in: self.app, of: site.registry))
        }
        try await family.child.store.delete(kept, from: self.app, of: family.child.registry, origin: "test")
        #expect(try await family.child.store.outboxConflicts(of: family.child.registry, limit: 10).isEmpty)
        #expect(try await family.unsent == 0)
        #expect(try await family.atParent(kept, in: self.app) == here.manifest.digest)
    }

    @Test("C8 deleted at one end and changed at the other: the parent's word stands both ways")
    func deletion() async throws {
        let family = try await Family(mode: .readWrite)
        let parent = family.parent.site
        let (one, two, new) = (TestImage("one"), TestImage("two"), TestImage("new"))
        try await parent.push(one, tags: [tag("a")], to: self.app)
        try await parent.push(two, tags: [tag("b")], to: self.app)
        try await family.introduce()
        let child = family.child
        try await child.store.delete(tag("a"), from: self.app, of: child.registry, origin: "test")
        try await child.push(new, tags: [tag("b")], to: self.app)
        try await parent.push(new, tags: [tag("a")], to: self.app)
        try await parent.store.delete(tag("b"), from: self.app, of: parent.registry, origin: "test")
        let kept = tag("b.conflict-site1-\(new.manifest.digest.hex.prefix(12))")
        try await family.following { () async throws in
            #expect(try await eventually { try await family.unsent == 0 })
            #expect(try await eventually { try await family.parentState?.inStep ?? false })
        }
        #expect(try await family.atChild(tag("a"), in: self.app) == new.manifest.digest)
        #expect(try await family.atChild(tag("b"), in: self.app) == nil)
        #expect(try await family.atParent(tag("b"), in: self.app) == nil)
        #expect(try await family.atChild(kept, in: self.app) == new.manifest.digest)
        #expect(try await family.atParent(kept, in: self.app) == new.manifest.digest)
    }

    @Test("C8 a manifest deleted at the child that the parent has tagged meanwhile stays, and comes back")
    func deletedManifest() async throws {
        let family = try await Family(mode: .readWrite)
        let parent = family.parent.site
        let one = TestImage("one")
        try await parent.push(one, tags: [tag("v1")], to: self.app)
        try await family.introduce()
        try await family.child.store.delete(one.manifest.digest, from: self.app, of: family.child.registry, origin: "test")
        try await parent.put(one.manifest, tags: [tag("prod")], to: self.app)
        try await family.following { () async throws in
            #expect(try await eventually { try await family.unsent == 0 })
            #expect(try await eventually { try await family.atChild(tag("prod"), in: self.app) == one.manifest.digest })
        }
        #expect(try await family.atParent(tag("prod"), in: self.app) == one.manifest.digest)
        #expect(try await family.atParent(tag("v1"), in: self.app) == nil)
        #expect(try await family.atChild(tag("v1"), in: self.app) == nil)
    }

    @Test("C8 the same value at both ends is no conflict; a reserved name is nobody's to set")
    func agreement() async throws {
        let family = try await Family(mode: .readWrite)
        try await family.introduce()
        let image = TestImage("one")
        try await family.child.push(image, tags: [tag("v1")], to: self.app)
        try await family.parent.site.push(image, tags: [tag("v1")], to: self.app)
        try await family.following { () async throws in #expect(try await eventually { try await family.unsent == 0 }) }
        #expect(try await family.child.store.outboxConflicts(of: family.child.registry, limit: 10).isEmpty)
        let error = await #expect(throws: RegistryError.self) {
            try await family.child.put(image.manifest, tags: [tag("v1.conflict-site1-0123456789ab")], to: self.app)
        }
        #expect(error?.code == .tagInvalid)
        for (text, isReserved) in [
            ("v1.conflict-site1-0123456789ab", true), ("v1.conflict-a-b-0123456789ab", true), ("v1.conflict-site1-0123456789AB", false),
            (".conflict-site1-0123456789ab", false), ("v1.conflict--0123456789ab", false), ("v1.conflict-site1-123456789ab", false),
            ("v1.conflict-fix", false),
        ] { #expect(ConflictTag.isReserved(text) == isReserved, "\(text)") }
        let long = tag(String(repeating: "x", count: 128))
        let name = try #require(ConflictTag.name(for: long, child: String(repeating: "n", count: 40), digest: image.manifest.digest))
        #expect(name.description.utf8.count == 128 && ConflictTag.isReserved(name.description))
    }

    @Test("C8 random partitions of two writing sites and the parent always end the same everywhere, and drop nothing", arguments: 1...5)
    func convergence(seed: UInt64) async throws {
        print("C8: seed \(seed)")
        var random = SeededGenerator(seed: seed)
        let first = try await Family(mode: .readWrite)
        let families = [first, try await Family(of: first.parent, name: "site2", mode: .readWrite)]
        for family in families { try await family.introduce() }
        let parent = first.parent.site
        let sites = [parent] + families.map(\.child)
        let tags = ["a", "b", "c"].map { tag($0) }
        // What was the last word of a client at a site: it must be reachable at the parent in the end.
        var acknowledged: Set<Digest> = []
        for round in 0..<4 {
            for step in 0..<6 {
                let site = sites[Int.random(in: 0..<sites.count, using: &random)]
                let name = tags[Int.random(in: 0..<tags.count, using: &random)]
                let image = TestImage("image \(Int.random(in: 0..<8, using: &random)) \(seed) \(round == 3 ? step : 0)")
                switch Int.random(in: 0..<10, using: &random) {
                case 0..<7:
                    try await site.push(image, tags: [name], to: self.app)
                    acknowledged.insert(image.manifest.digest)
                default:
                    do {
                        try await site.store.delete(name, from: self.app, of: site.registry, origin: "test")
                    } catch let error as RegistryError where error.code.status == 404 {}
                }
            }
            // Some sites see the parent for a while, perhaps with a cut.
            for family in families where Bool.random(using: &random) {
                if Bool.random(using: &random) {
                    family.transport.cut(afterRequests: Int.random(in: 3..<25, using: &random), losesAnswer: Bool.random(using: &random))
                }
                family.transport.setOnline(true)
                try await family.following { () async throws in
                    #expect(
                        try await eventually {
                            if try await family.unsent == 0 { return true }
                            return !family.transport.isOnline
                        })
                }
            }
        }
        // Everybody meets, one after the other, until nothing moves.
        for (number, family) in (families + families).enumerated() {
            let end = tag("end-\(number)")
            try await parent.push(TestImage("end \(number)"), tags: [end], to: self.app)
            family.transport.heal()
            try await family.following { () async throws in
                #expect(
                    try await eventually {
                        guard try await family.unsent == 0, try await family.atChild(end, in: self.app) != nil else { return false }
                        return try await family.parentState?.inStep ?? false
                    })
            }
        }
        for name in tags {
            let value = try await parent.store.resolve(name, in: self.app, of: parent.registry)
            for family in families { #expect(try await family.atChild(name, in: self.app) == value, "tag \(name), seed \(seed)") }
        }
        for digest in acknowledged {
            #expect(try await parent.store.holdsWhole(digest, in: self.app, of: parent.registry), "\(digest), seed \(seed)")
        }
    }
}
