// Locks at both ends: carried down, honoured, carried up, and content that a lock keeps at the parent.

import Gateway
import OCI
import RegistryCore
import TestSupport
import Testing

@testable import SyncAgent

@Suite(.serialized) struct LockTests {
    private let app = repository("app")

    private func lock(_ locks: ImageLocks, _ target: LockTarget, at site: Site) async throws {
        var change = LockChange()
        change.set = locks
        try await site.store.setLocks(change, of: target, in: site.registry, origin: "test")
    }

    private func unlock(_ locks: ImageLocks, _ target: LockTarget, at site: Site) async throws {
        var change = LockChange()
        change.cleared = locks
        try await site.store.setLocks(change, of: target, in: site.registry, origin: "test")
    }

    private func locks(_ target: LockTarget, at site: Site) async throws -> ImageLocks {
        try await site.store.locks(of: target.repository, in: site.registry).first { $0.target == target }?.locks ?? []
    }

    @Test("C19 locks of tags, manifests and repositories arrive as they change, are honoured, and go; a tag set anew has none")
    func carried() async throws {
        let family = try await Family(mode: .readWrite)
        let (parent, child) = (family.parent.site, family.child)
        let (one, two) = (TestImage("one"), TestImage("two"))
        try await parent.push(one, tags: [tag("v1")], to: self.app)
        try await parent.push(two, tags: [tag("v2")], to: repository("other"))
        try await family.introduce()
        let (name, manifest) = (LockTarget.tag(self.app, tag("v1")), LockTarget.manifest(self.app, one.manifest.digest))
        let whole = LockTarget.repository(repository("other"))
        try await family.following { () async throws in
            try await self.lock([.write], name, at: parent)
            try await self.lock([.delete, .list], manifest, at: parent)
            try await self.lock([.read], whole, at: parent)
            #expect(try await family.until { try await self.locks(whole, at: child) == [.read] })
            #expect(try await self.locks(name, at: child) == [.write])
            #expect(try await self.locks(manifest, at: child) == [.delete, .list])
            #expect(try await eventually { try await family.parentState?.inStep ?? false })
            for attempt: @Sendable () async throws -> Void in [
                { try await child.push(two, tags: [tag("v1")], to: self.app) },
                { try await child.store.delete(one.manifest.digest, from: self.app, of: child.registry, origin: "test") },
                { _ = try await child.store.manifest(.tag(tag("v2")), in: repository("other"), of: child.registry) },
            ] {
                let error = await #expect(throws: RegistryError.self) { try await attempt() }
                #expect(error?.status == 405)
            }
            // What is locked there is moved here all the same where the parent moves it.
            try await self.unlock([.read], whole, at: parent)
            #expect(try await family.until { try await self.locks(whole, at: child).isEmpty })
            _ = try await child.store.manifest(.tag(tag("v2")), in: repository("other"), of: child.registry)
            try await self.unlock([.write, .delete, .list], manifest, at: parent)
            try await self.unlock([.write], name, at: parent)
            try await self.lock([.list], name, at: parent)
            try await parent.store.delete(tag("v1"), from: self.app, of: parent.registry, origin: "test")
            try await parent.put(one.manifest, tags: [tag("v1")], to: self.app)
            #expect(try await family.until { try await self.locks(name, at: child).isEmpty })
            #expect(try await eventually { try await family.parentState?.inStep ?? false })
        }
    }

    @Test("C19 the lock of a repository that the parent deletes is gone when one of that name has content again")
    func deletedRepository() async throws {
        let family = try await Family()
        let (parent, child) = (family.parent.site, family.child)
        let (one, two) = (TestImage("one"), TestImage("two"))
        try await parent.push(one, tags: [tag("v1")], to: self.app)
        try await family.introduce()
        try await family.following { () async throws in
            try await self.lock([.read], .repository(self.app), at: parent)
            #expect(try await family.until { try await self.locks(.repository(self.app), at: child) == [.read] })
            _ = try await parent.store.deleteRepository(self.app, of: parent.registry, origin: "test")
            #expect(try await family.until { try await !child.store.holds(one.manifest.digest, in: self.app, of: child.registry) })
            try await parent.push(two, tags: [tag("v2")], to: self.app)
            #expect(try await family.until { try await family.childHas(tag("v2"), at: two.manifest, in: self.app) })
            #expect(try await self.locks(.repository(self.app), at: child).isEmpty)
            _ = try await child.store.manifest(.tag(tag("v2")), in: self.app, of: child.registry)
        }
    }

    @Test("C19 C12 locks that changed while the log could not be followed are found by the comparison, also in a large repository")
    func compared() async throws {
        let family = try await Family()
        let (parent, child) = (family.parent.site, family.child)
        let image = TestImage("one")
        try await parent.push(image, tags: (0..<400).map { tag("t\($0)") }, to: self.app)
        try await parent.push(image, tags: [tag("v1")], to: repository("small"))
        try await self.lock([.write], .tag(self.app, tag("t7")), at: parent)
        try await family.introduce()
        #expect(try await self.locks(.tag(self.app, tag("t7")), at: child) == [.write])
        try await self.unlock([.write], .tag(self.app, tag("t7")), at: parent)
        try await self.lock([.delete], .manifest(self.app, image.manifest.digest), at: parent)
        try await self.lock([.read, .write], .repository(repository("small")), at: parent)
        try await parent.store.renewLogIdentity()
        family.transport.forget()
        try await family.following { () async throws in
            #expect(try await family.until { try await self.locks(.repository(repository("small")), at: child) == [.read, .write] })
            #expect(try await eventually { try await family.parentState?.inStep ?? false })
        }
        #expect(try await self.locks(.tag(self.app, tag("t7")), at: child).isEmpty)
        #expect(try await self.locks(.manifest(self.app, image.manifest.digest), at: child) == [.delete])
        // By buckets, not by listing 400 tags.
        #expect(family.transport.requests.contains { $0.target.contains("state/app?buckets=") })
        #expect(!family.transport.requests.contains { $0.target.hasSuffix("state/app") })
    }

    @Test(
        "C19 C13 what is locked against reading at the parent is no failure: it is told, everything else comes, and it comes when it is unlocked"
    )
    func unreadable() async throws {
        let family = try await Family()
        let parent = family.parent.site
        let (secret, open) = (TestImage("secret"), TestImage("open"))
        try await parent.push(secret, tags: [tag("v1")], to: self.app)
        let target = LockTarget.tag(self.app, tag("v1"))
        try await self.lock([.read], .manifest(self.app, secret.manifest.digest), at: parent)
        try await parent.push(open, tags: [tag("v2")], to: self.app)
        try await family.following { () async throws in
            #expect(try await family.until { try await family.childHas(tag("v2"), at: open.manifest, in: self.app) })
            #expect(
                try await eventually {
                    try await family.parentState?.report?.status?.details.contains {
                        $0.code == "ContentLocked" && $0.type == "Warning" && $0.description.contains("v1")
                    } ?? false
                })
            // The detail may be told before the synchronisation is over.
            #expect(
                try await eventually {
                    try await family.parentState?.connectionState(now: family.child.clock.milliseconds) == .online
                })
            #expect(try await family.childHas(tag("v1"), at: nil, in: self.app))
            // Asked for once, not over and over.
            let asked = family.transport.requests.filter { $0.target.hasSuffix(secret.manifest.digest.description) }.count
            try await parent.put(open.manifest, tags: [tag("v3")], to: self.app)
            #expect(try await family.until { try await family.childHas(tag("v3"), at: open.manifest, in: self.app) })
            #expect(family.transport.requests.filter { $0.target.hasSuffix(secret.manifest.digest.description) }.count == asked)
            try await self.unlock([.read], .manifest(self.app, secret.manifest.digest), at: parent)
            #expect(try await family.until { try await family.childHas(tag("v1"), at: secret.manifest, in: self.app) })
            #expect(try await eventually { try await family.parentState?.report?.status?.details.isEmpty ?? false })
        }
        #expect(try await self.locks(target, at: family.child).isEmpty)
    }

    @Test("C7 C8 C19 locks set at a ReadWrite connected registry go up; where the parent has others, those stand")
    func up() async throws {
        let family = try await Family(mode: .readWrite)
        let (parent, child) = (family.parent.site, family.child)
        let image = TestImage("one")
        try await parent.push(image, tags: [tag("v1"), tag("v2")], to: self.app)
        try await family.introduce()
        let (one, two) = (LockTarget.tag(self.app, tag("v1")), LockTarget.tag(self.app, tag("v2")))
        try await self.lock([.write, .delete], one, at: child)
        try await self.lock([.write], two, at: child)
        try await self.lock([.list], two, at: parent)
        try await self.lock([.delete], .repository(self.app), at: child)
        try await self.unlock([.delete], .repository(self.app), at: child)
        #expect(try await family.unsent == 2)
        try await family.following { () async throws in
            #expect(try await eventually { try await family.unsent == 0 })
            #expect(try await eventually { try await family.parentState?.inStep ?? false })
        }
        #expect(try await self.locks(one, at: parent) == [.write, .delete])
        #expect(try await self.locks(two, at: parent) == [.list])
        #expect(try await self.locks(two, at: child) == [.list])
    }

    @Test("C7 C19 unlocked, moved and locked again between two synchronisations: the move and the lock arrive, upward and downward")
    func opened() async throws {
        let family = try await Family(mode: .readWrite)
        let (parent, child) = (family.parent.site, family.child)
        let (one, two, three) = (TestImage("one"), TestImage("two"), TestImage("three"))
        let other = repository("other")
        try await parent.push(one, tags: [tag("up"), tag("down"), tag("gone")], to: self.app)
        try await parent.push(one, tags: [tag("v1")], to: other)
        let tags = ["up", "down", "gone"].map { LockTarget.tag(self.app, tag($0)) }
        for target in tags { try await self.lock([.write, .list], target, at: parent) }
        try await self.lock([.write, .delete], .repository(other), at: parent)
        try await family.introduce()
        // Here: a tag, one that is deleted, and a whole repository.
        try await self.unlock([.write], tags[0], at: child)
        try await child.push(two, tags: [tag("up")], to: self.app)
        try await self.lock([.write], tags[0], at: child)
        try await self.unlock([.write], tags[2], at: child)
        try await child.store.delete(tag("gone"), from: self.app, of: child.registry, origin: "test")
        try await self.unlock([.write, .delete], .repository(other), at: child)
        try await child.push(three, tags: [tag("v2")], to: other)
        try await self.lock([.write, .delete], .repository(other), at: child)
        // There.
        try await self.unlock([.write], tags[1], at: parent)
        try await parent.push(two, tags: [tag("down")], to: self.app)
        try await self.lock([.write], tags[1], at: parent)
        try await family.following { () async throws in
            #expect(try await eventually { try await family.unsent == 0 })
            #expect(try await eventually { try await family.parentState?.inStep ?? false })
        }
        for site in [parent, child] {
            #expect(try await site.store.resolve(tag("up"), in: self.app, of: site.registry) == two.manifest.digest)
            #expect(try await site.store.resolve(tag("down"), in: self.app, of: site.registry) == two.manifest.digest)
            #expect(try await site.store.resolve(tag("gone"), in: self.app, of: site.registry) == nil)
            #expect(try await site.store.resolve(tag("v2"), in: other, of: site.registry) == three.manifest.digest)
            #expect(try await self.locks(tags[0], at: site) == [.write, .list])
            #expect(try await self.locks(tags[1], at: site) == [.write, .list])
            #expect(try await self.locks(.repository(other), at: site) == [.write, .delete])
        }
        #expect(try await child.store.outboxRefusals(of: child.registry, limit: 10).isEmpty)
    }

    @Test("C7 C19 a link that is cut at any request of that, or loses any answer, changes nothing of what arrives", arguments: 0..<8)
    func openedThroughCuts(request: Int) async throws {
        let family = try await Family(mode: .readWrite)
        let (parent, child) = (family.parent.site, family.child)
        let (one, two) = (TestImage("one"), TestImage("two"))
        let target = LockTarget.tag(self.app, tag("v1"))
        try await parent.push(one, tags: [tag("v1")], to: self.app)
        try await self.lock([.write], target, at: parent)
        for losesAnswer in [false, true] {
            try await family.introduce()
            try await self.unlock([.write], target, at: child)
            let image = losesAnswer ? one : two
            try await child.push(image, tags: [tag("v1")], to: self.app)
            try await self.lock([.write], target, at: child)
            let memory = try await family.memory()
            try await family.following(family.agent(memory: memory)) { () async throws in
                // Activation, settings and a heartbeat come first.
                family.transport.cut(afterRequests: 4 + request, losesAnswer: losesAnswer)
                _ = try await eventually { () async throws in
                    if !family.transport.isOnline { family.transport.heal() }
                    return try await family.unsent == 0
                }
                family.transport.heal()
                #expect(try await eventually { try await family.parentState?.inStep ?? false })
            }
            for site in [parent, child] {
                #expect(try await site.store.resolve(tag("v1"), in: self.app, of: site.registry) == image.manifest.digest)
                #expect(try await self.locks(target, at: site) == [.write])
            }
        }
    }

    @Test("C7 C19 locks of what the parent refuses for now wait with it, and are locks at both ends once it has gone through")
    func refusedCarrier() async throws {
        let family = try await Family(mode: .readWrite)
        let (parent, child) = (family.parent.site, family.child)
        let (old, new) = (TestImage("old"), TestImage("new"))
        try await parent.push(old, tags: [tag("old")], to: self.app)
        try await family.introduce()
        try await self.lock([.write], .repository(self.app), at: parent)
        // Pushed and locked before the lock there is known here.
        try await child.push(new, tags: [tag("new")], to: self.app)
        let targets = [LockTarget.tag(self.app, tag("new")), .manifest(self.app, new.manifest.digest)]
        for target in targets { try await self.lock([.write, .delete], target, at: child) }
        // Of something that goes again, the lock goes too.
        try await child.put(new.manifest, tags: [tag("brief")], to: self.app)
        try await self.lock([.list], .tag(self.app, tag("brief")), at: child)
        try await child.store.delete(tag("brief"), from: self.app, of: child.registry, origin: "test")
        try await family.following { () async throws in
            #expect(
                try await eventually {
                    let refused = try await child.store.outboxRefusals(of: child.registry, limit: 10).map(\.subject)
                    return refused.contains(.tag(tag("new"))) && refused.contains(.locks(targets[0]))
                })
            #expect(try await family.atParent(tag("new"), in: self.app) == nil)
            try await self.unlock([.write], .repository(self.app), at: parent)
            child.clock.advance(seconds: 60)
            // Something for the child to wake up to.
            try await parent.put(old.manifest, tags: [tag("wake")], to: self.app)
            #expect(try await eventually { try await family.unsent == 0 })
            #expect(try await eventually { try await family.parentState?.inStep ?? false })
        }
        #expect(try await family.atParent(tag("new"), in: self.app) == new.manifest.digest)
        for site in [parent, child] {
            for target in targets { #expect(try await self.locks(target, at: site) == [.write, .delete]) }
        }
    }

    @Test("C8 C19 a lock that was set at the parent meanwhile refuses what was moved here, and is not opened for it")
    func lockedMeanwhile() async throws {
        let family = try await Family(mode: .readWrite)
        let (parent, child) = (family.parent.site, family.child)
        let (one, two) = (TestImage("one"), TestImage("two"))
        let target = LockTarget.tag(self.app, tag("v1"))
        try await parent.push(one, tags: [tag("v1")], to: self.app)
        try await family.introduce()
        try await child.push(two, tags: [tag("v1")], to: self.app)
        try await self.lock([.write], target, at: parent)
        try await family.following { () async throws in
            #expect(
                try await eventually { try await !child.store.outboxRefusals(of: child.registry, limit: 1).isEmpty })
            #expect(try await eventually { try await self.locks(target, at: child) == [.write] })
        }
        #expect(try await family.atParent(tag("v1"), in: self.app) == one.manifest.digest)
        #expect(try await self.locks(target, at: parent) == [.write])
    }
}
