// A connected registry whose clients write: what they changed reaches the parent, whatever is cut, killed or refused on the way.

import Gateway
import GatewayProtocol
import Identity
import OCI
import Persistence
import RegistryCore
import TestSupport
import Testing

@testable import SyncAgent

@Suite(.serialized) struct ReadWriteTests {
    private let app = repository("app")

    private func bytes(_ contents: [Content]) -> Int { Set(contents).reduce(0) { $0 + $1.bytes.count } }

    @Test("C7 pushes with the parent away arrive when it is back: blobs, manifests, tags, referrers, each byte once")
    func pushedUp() async throws {
        let family = try await Family(mode: .readWrite)
        try await family.introduce()
        let (one, two) = (TestImage("one"), TestImage("two"))
        let index = Fixture.index([one.manifest.descriptor, two.manifest.descriptor])
        let signature = TestImage("signature", subject: one.manifest)
        try await family.child.push(one, tags: [tag("v1")], to: self.app)
        try await family.child.push(two, to: self.app)
        try await family.child.put(index, tags: [tag("all")], to: self.app)
        try await family.child.push(signature, to: self.app)
        try await family.child.push(one, tags: [tag("v1")], to: repository("copy"))
        try await family.following { () async throws in
            #expect(try await eventually { try await family.unsent == 0 })
            // One that is pushed while the parent is being followed goes up without waiting for the poll to end.
            let late = TestImage("late")
            try await family.child.push(late, tags: [tag("late")], to: self.app)
            #expect(try await eventually { try await family.atParent(tag("late"), in: self.app) == late.manifest.digest })
            #expect(try await eventually { try await family.parentState?.inStep ?? false })
            #expect(try await eventually { try await family.parentState?.report?.status?.outboxPending == 0 })
            // The report that tells of the late one, too: the others may have been told before it went up.
            #expect(
                try await eventually {
                    try await family.parentState?.report?.status?.bytesSent ?? 0 > Int64(family.transport.upwardBytes)
                })
        }
        #expect(try await family.atParent(tag("v1"), in: self.app) == one.manifest.digest)
        #expect(try await family.atParent(tag("v1"), in: repository("copy")) == one.manifest.digest)
        #expect(try await family.atParent(tag("all"), in: self.app) == index.digest)
        let parent = family.parent.site
        for digest in [one.manifest.digest, two.manifest.digest, index.digest, signature.manifest.digest] {
            #expect(try await parent.store.holdsWhole(digest, in: self.app, of: parent.registry))
        }
        // What the parent has under another repository is mounted, and nothing comes back down.
        #expect(family.transport.upwardBytes == self.bytes(one.blobs + two.blobs + signature.blobs + TestImage("late").blobs))
        #expect(family.transport.blobBytes == 0)
    }

    @Test("C7 untagging and deleting go up, and several changes of one tag are one; what was taken back is none")
    func removed() async throws {
        let family = try await Family(mode: .readWrite)
        let parent = family.parent.site
        let (one, two, three) = (TestImage("one"), TestImage("two"), TestImage("three"))
        try await parent.push(one, tags: [tag("v1"), tag("keep")], to: self.app)
        try await parent.push(two, tags: [tag("v2")], to: self.app)
        try await family.introduce()
        #expect(try await family.atChild(tag("v2"), in: self.app) == two.manifest.digest)
        let child = family.child
        // Moved and moved back: nothing to tell.
        try await child.put(two.manifest, tags: [tag("keep")], to: self.app)
        try await child.put(one.manifest, tags: [tag("keep")], to: self.app)
        #expect(try await family.unsent == 0)
        try await child.store.delete(tag("v1"), from: self.app, of: child.registry, origin: "test")
        try await child.store.delete(two.manifest.digest, from: self.app, of: child.registry, origin: "test")
        try await child.push(three, tags: [tag("v3")], to: self.app)
        try await child.put(one.manifest, tags: [tag("v3")], to: self.app)
        try await child.push(three, tags: [tag("v3")], to: self.app)
        family.transport.forget()
        try await family.following { () async throws in
            #expect(try await eventually { try await family.unsent == 0 })
        }
        #expect(try await family.atParent(tag("v1"), in: self.app) == nil)
        #expect(try await family.atParent(tag("keep"), in: self.app) == one.manifest.digest)
        #expect(try await family.atParent(tag("v2"), in: self.app) == nil)
        #expect(try await !parent.store.holds(two.manifest.digest, in: self.app, of: parent.registry))
        #expect(try await family.atParent(tag("v3"), in: self.app) == three.manifest.digest)
        // v1, v2, v3, the manifest three, the deletion of the manifest two.
        #expect(family.transport.requests.filter { $0.target.hasSuffix("/outbox") }.count == 5)
    }

    @Test("C14 C7 cuts at every part on the way up and a restart after each: no byte twice")
    func manyCuts() async throws {
        let family = try await Family(mode: .readWrite)
        try await family.introduce()
        let image = TestImage("big", layers: [Fixture.layer(bytes: 2_500_000, seed: 1), Fixture.layer(bytes: 90_000, seed: 2)])
        try await family.child.push(image, tags: [tag("v1")], to: self.app)
        for _ in 0..<6 {
            family.transport.cut(afterUpwardBytes: 400_011)
            family.transport.setOnline(true)
            try await family.following { () async throws in #expect(try await eventually { !family.transport.isOnline }) }
        }
        family.transport.setOnline(true)
        try await family.following { () async throws in
            #expect(try await eventually { try await family.atParent(tag("v1"), in: self.app) == image.manifest.digest })
        }
        let parent = family.parent.site
        #expect(try await parent.store.holdsWhole(image.manifest.digest, in: self.app, of: parent.registry))
        #expect(family.transport.upwardBytes == self.bytes(image.blobs))
    }

    @Test(
        "C7 killed at every request of the way up, before it arrives and after: everything ends at the parent, once",
        arguments: [false, true])
    func killedAtEachStep(losesAnswer: Bool) async throws {
        let family = try await Family(mode: .readWrite)
        let parent = family.parent.site
        let old = TestImage("old")
        try await parent.push(old, tags: [tag("moved"), tag("gone")], to: self.app)
        try await family.introduce()
        let (one, two) = (TestImage("one"), TestImage("two"))
        try await family.child.push(one, tags: [tag("v1"), tag("moved")], to: self.app)
        try await family.child.push(two, tags: [tag("v2")], to: self.app)
        try await family.child.store.delete(tag("gone"), from: self.app, of: family.child.registry, origin: "test")
        var kills = 0
        // Each life gets one request further than the one before.
        while kills < 60 {
            family.transport.cut(afterRequests: kills, losesAnswer: losesAnswer)
            family.transport.setOnline(true)
            try await family.following { () async throws in
                #expect(
                    try await eventually {
                        if try await family.unsent == 0 { return true }
                        return !family.transport.isOnline
                    })
            }
            if try await family.unsent == 0 { break }
            kills += 1
        }
        #expect(kills > 5 && kills < 60)
        #expect(try await family.atParent(tag("v1"), in: self.app) == one.manifest.digest)
        #expect(try await family.atParent(tag("moved"), in: self.app) == one.manifest.digest)
        #expect(try await family.atParent(tag("v2"), in: self.app) == two.manifest.digest)
        #expect(try await family.atParent(tag("gone"), in: self.app) == nil)
        // Each change was made once: nobody was told of a tag twice, and no conflict was seen where there was none.
        let rows = try await parent.changes().filter { $0.tag != nil && $0.kind != .manifestPut }
        #expect(rows.count == 6)
        #expect(try await family.child.store.outboxConflicts(of: family.child.registry, limit: 10).isEmpty)
    }

    @Test("C7 an answer that was lost, with the tag moved at both ends since: the change counts as made, and the next is judged by itself")
    func lostAnswer() async throws {
        let family = try await Family(mode: .readWrite)
        try await family.introduce()
        let (one, two) = (TestImage("one"), TestImage("two"))
        try await family.child.push(one, tags: [tag("v1")], to: self.app)
        let entry = try #require(try await family.child.store.outbox(of: family.child.registry, dueAt: 0, limit: 1).first)
        let marked = try #require(try await family.child.store.markSent(entry, as: "operation-1", of: family.child.registry))
        let parent = family.parent.site
        try await parent.push(one, to: self.app)
        let made = Proposal(
            operation: "operation-1", repository: self.app,
            change: .tag(tag("v1"), expected: nil, target: try Digest(#require(marked.sent?.target))))
        #expect(try await parent.store.propose(made, by: "site1", in: parent.registry).outcome == .agreed)
        // The answer never came; the client went on.
        try await family.child.push(two, tags: [tag("v1")], to: self.app)
        try await family.following { () async throws in
            #expect(try await eventually { try await family.unsent == 0 })
        }
        #expect(try await family.atParent(tag("v1"), in: self.app) == two.manifest.digest)
        #expect(try await family.child.store.outboxConflicts(of: family.child.registry, limit: 10).isEmpty)
    }

    @Test("C7 a change that the parent refuses is kept and told, holds up no other, and goes through once it may")
    func refused() async throws {
        let family = try await Family(mode: .readWrite)
        let parent = family.parent.site
        let (old, new, other) = (TestImage("old"), TestImage("new"), TestImage("other"))
        try await parent.push(old, tags: [tag("v1")], to: self.app)
        try await family.introduce()
        var lock = LockChange()
        lock.set = [.write]
        try await parent.store.setLocks(lock, of: .tag(self.app, tag("v1")), in: parent.registry, origin: "test")
        // Pushed before the lock is known here.
        try await family.child.push(new, tags: [tag("v1")], to: self.app)
        try await family.child.push(other, tags: [tag("v2")], to: self.app)
        try await family.following { () async throws in
            #expect(try await eventually { try await family.atParent(tag("v2"), in: self.app) == other.manifest.digest })
            #expect(
                try await eventually {
                    try await family.parentState?.report?.status?.details.contains {
                        $0.code == "OutboxRefused" && $0.description.contains("tag v1") && $0.description.contains("writeEnabled")
                    } ?? false
                })
            #expect(try await eventually { try await family.unsent == 1 })
            #expect(try await family.atParent(tag("v1"), in: self.app) == old.manifest.digest)
            #expect(try await family.atChild(tag("v1"), in: self.app) == new.manifest.digest)
            var unlock = LockChange()
            unlock.cleared = [.write]
            try await parent.store.setLocks(unlock, of: .tag(self.app, tag("v1")), in: parent.registry, origin: "test")
            family.child.clock.advance(seconds: 60)
            // Something for the child to wake up to.
            try await parent.put(old.manifest, tags: [tag("wake")], to: self.app)
            #expect(try await eventually { try await family.atParent(tag("v1"), in: self.app) == new.manifest.digest })
            #expect(try await eventually { try await family.parentState?.report?.status?.details.isEmpty ?? false })
        }
        #expect(try await family.unsent == 0)
    }

    @Test("C7 a scope map without the right to write: refused by name, and sent once it is there")
    func permission() async throws {
        let family = try await Family(mode: .readWrite)
        try await family.introduce()
        let image = TestImage("one")
        try await family.parent.select(["*"], for: "site1", mode: .readOnly)
        try await family.child.push(image, tags: [tag("v1")], to: self.app)
        try await family.following { () async throws in
            #expect(
                try await eventually {
                    try await family.parentState?.report?.status?.details.contains { $0.code == "OutboxRefused" } ?? false
                })
            #expect(try await family.atParent(tag("v1"), in: self.app) == nil)
            // The settings differ with the selection: what was refused is tried at once.
            try await family.parent.select(["*", "app"], for: "site1", mode: .readWrite)
            #expect(try await eventually { try await family.atParent(tag("v1"), in: self.app) == image.manifest.digest })
        }
    }

    @Test("C7 the collector keeps what waits to be sent, also what no tag names")
    func collected() async throws {
        let family = try await Family(mode: .readWrite)
        try await family.introduce()
        let image = TestImage("untagged")
        try await family.child.push(image, to: self.app)
        family.child.clock.advance(seconds: 10 * 86_400)
        let collector = GarbageCollector(store: family.child.store, uploads: family.child.uploads)
        #expect(try await collector.collect(GarbagePolicy(untaggedAge: 1)).manifests == 0)
        try await family.following { () async throws in #expect(try await eventually { try await family.unsent == 0 }) }
        #expect(try await family.parent.site.store.holds(image.manifest.digest, in: self.app, of: family.parent.site.registry))
        family.child.clock.advance(seconds: 1)
        #expect(try await collector.collect(GarbagePolicy(untaggedAge: 1)).manifests == 1)
    }

    @Test("C10 C7 a repository that is no longer selected stays at a ReadWrite connected registry")
    func unselected() async throws {
        let family = try await Family(mode: .readWrite, repositories: ["app", "other"])
        let image = TestImage("one")
        try await family.parent.site.push(image, tags: [tag("v1")], to: repository("other"))
        try await family.introduce()
        try await family.parent.select(["app"], for: "site1", mode: .readWrite)
        let memory = try await family.memory()
        try await family.following(family.agent(memory: memory)) { () async throws in
            #expect(try await eventually { await memory.memory.settings?.repositories == ["app"] })
            #expect(try await eventually { try await family.parentState?.inStep ?? false })
        }
        #expect(try await family.atChild(tag("v1"), in: repository("other")) == image.manifest.digest)
    }
}

extension ConnectedRegistry {
    var inStep: Bool { self.report?.inStepSince != nil }
}
