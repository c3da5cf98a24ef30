// One story after another between a parent and its child: first synchronisation, changes, cuts, restarts, endings.

import Gateway
import GatewayProtocol
import Identity
import OCI
import RegistryCore
import TestSupport
import Testing

@testable import SyncAgent

@Suite struct FollowingTests {
    private let app = repository("app")

    private func bytes(_ contents: [Content]) -> Int { Set(contents).reduce(0) { $0 + $1.bytes.count } }

    @Test("C5 C11 C13 first synchronisation, then a push, a second tag, a referrer and a deletion, each as it happens")
    func story() async throws {
        let family = try await Family()
        let (one, two, three) = (TestImage("one"), TestImage("two"), TestImage("three"))
        let index = Fixture.index([one.manifest.descriptor, two.manifest.descriptor, TestImage("absent").manifest.descriptor])
        let parent = family.parent.site
        for image in [one, two] { try await parent.push(image, to: self.app) }
        try await parent.put(index, tags: [tag("all")], to: self.app)
        try await parent.push(one, tags: [tag("v1"), tag("latest")], to: self.app)
        let signature = TestImage("signature", subject: one.manifest)
        try await parent.push(signature, to: self.app)
        try await family.following { () async throws in
            #expect(try await family.until { try await family.childHas(tag("v1"), at: one.manifest, in: self.app) })
            #expect(
                try await family.until {
                    try await family.child.store.holds(signature.manifest.digest, in: self.app, of: family.child.registry)
                })
            #expect(try await family.childHas(tag("latest"), at: one.manifest, in: self.app))
            // An index of which a part is absent is looked at alone.
            #expect(try await family.until { try await family.childHas(tag("all"), at: index, in: self.app) })
            for image in [one, two, signature] { #expect(try await family.isWhole(image, in: self.app)) }
            // The same blobs under several images moved once.
            #expect(family.transport.blobBytes == self.bytes(one.blobs + two.blobs + signature.blobs))
            #expect(try await eventually { try await family.parentState?.connectionState(now: family.child.clock.milliseconds) == .online })

            try await parent.push(three, tags: [tag("v3")], to: self.app)
            #expect(try await family.until { try await family.childHas(tag("v3"), at: three.manifest, in: self.app) })
            let moved = family.transport.blobBytes
            try await parent.put(three.manifest, tags: [tag("also")], to: self.app)
            #expect(try await family.until { try await family.childHas(tag("also"), at: three.manifest, in: self.app) })
            // Content that is here under another repository is not fetched again.
            try await parent.push(three, tags: [tag("v3")], to: repository("copy"))
            #expect(try await family.until { try await family.childHas(tag("v3"), at: three.manifest, in: repository("copy")) })
            #expect(family.transport.blobBytes == moved)
            let late = TestImage("late", subject: three.manifest)
            try await parent.push(late, to: self.app)
            #expect(
                try await family.until { try await family.child.store.holds(late.manifest.digest, in: self.app, of: family.child.registry) }
            )
            try await parent.store.delete(tag("also"), from: self.app, of: parent.registry, origin: "test")
            #expect(try await family.until { try await family.childHas(tag("also"), at: nil, in: self.app) })
            #expect(try await family.childHas(tag("v3"), at: three.manifest, in: self.app))
            try await parent.store.delete(late.manifest.digest, from: self.app, of: parent.registry, origin: "test")
            #expect(
                try await family.until {
                    try await !family.child.store.holds(late.manifest.digest, in: self.app, of: family.child.registry)
                })
        }
    }

    @Test("C14 a cut in the middle of a blob: what arrived is kept, the transfer goes on at the byte where it stood")
    func resumed() async throws {
        let family = try await Family()
        let image = TestImage("big", layers: [Fixture.layer(bytes: 400_000, seed: 1)])
        try await family.parent.site.push(image, tags: [tag("v1")], to: self.app)
        family.transport.cut(afterBlobBytes: 234_567)
        try await family.following { () async throws in
            #expect(try await eventually { !family.transport.isOnline })
            #expect(try await family.childHas(tag("v1"), at: nil, in: self.app))
            family.transport.setOnline(true)
            #expect(try await family.until { try await family.childHas(tag("v1"), at: image.manifest, in: self.app) })
        }
        #expect(try await family.isWhole(image, in: self.app))
        // Not one byte of content came twice.
        #expect(family.transport.blobBytes == self.bytes(image.blobs))
        let ranges = family.transport.requests.filter { $0.target.contains(image.layers[0].digest.description) }.map(\.range)
        // The small configuration travels beside the layer: it may have been among the bytes before the cut, or not.
        let places = [234_567 - image.config.bytes.count, 234_567].map { "bytes=\($0)-" }
        #expect(ranges.count == 2 && ranges.first == .some(nil) && places.contains(ranges.last.flatMap { $0 } ?? ""))
        #expect(family.child.scratch.files(below: "transfers").isEmpty)
    }

    @Test("C14 cuts at every part and a restart after each: no byte twice")
    func manyCuts() async throws {
        let family = try await Family()
        let image = TestImage("big", layers: [Fixture.layer(bytes: 150_000, seed: 1), Fixture.layer(bytes: 90_000, seed: 2)])
        try await family.parent.site.push(image, tags: [tag("v1")], to: self.app)
        for _ in 0..<7 {
            family.transport.cut(afterBlobBytes: 30_011)
            family.transport.setOnline(true)
            // A new agent over the same data folder is a process that was started again.
            try await family.following { () async throws in #expect(try await eventually { !family.transport.isOnline }) }
        }
        family.transport.setOnline(true)
        try await family.following { () async throws in
            #expect(try await family.until { try await family.childHas(tag("v1"), at: image.manifest, in: self.app) })
        }
        #expect(try await family.isWhole(image, in: self.app))
        #expect(family.transport.blobBytes == self.bytes(image.blobs))
    }

    @Test("C14 a prefix that was damaged on disk restarts that blob, and ends whole")
    func damagedPrefix() async throws {
        let family = try await Family()
        let image = TestImage("big", layers: [Fixture.layer(bytes: 100_000, seed: 1)])
        try await family.parent.site.push(image, tags: [tag("v1")], to: self.app)
        let staged = try await family.child.blobs.stage(.transfer(image.layers[0].digest))
        try await staged.append(.init(bytes: [UInt8](repeating: 0, count: 60_000)))
        try await family.following { () async throws in
            #expect(try await family.until { try await family.childHas(tag("v1"), at: image.manifest, in: self.app) })
        }
        #expect(try await family.isWhole(image, in: self.app))
    }

    @Test("C13 a tag moves only when everything below it is here; until then the old image is whole")
    func movesWhole() async throws {
        let family = try await Family()
        let (old, new) = (TestImage("old"), TestImage("new", layers: [Fixture.layer(bytes: 50_000, seed: 3), Fixture.layer("small")]))
        let parent = family.parent.site
        try await parent.push(old, tags: [tag("v1")], to: self.app)
        try await family.following { () async throws in
            #expect(try await family.until { try await family.childHas(tag("v1"), at: old.manifest, in: self.app) })
            let (gate, reached) = (Gate(), Gate())
            family.transport.hold(gate, reached: reached)
            try await parent.push(new, tags: [tag("v1")], to: self.app)
            await reached.wait()
            #expect(try await family.childHas(tag("v1"), at: old.manifest, in: self.app))
            #expect(try await family.isWhole(old, in: self.app))
            #expect(try await !family.child.store.holds(new.manifest.digest, in: self.app, of: family.child.registry))
            gate.open()
            #expect(try await family.until { try await family.childHas(tag("v1"), at: new.manifest, in: self.app) })
            #expect(try await family.isWhole(new, in: self.app))
        }
    }

    @Test("C12 a restart goes on from the cursor; nothing is compared and nothing fetched twice")
    func restart() async throws {
        let family = try await Family()
        let (one, two) = (TestImage("one"), TestImage("two"))
        let parent = family.parent.site
        try await parent.push(one, tags: [tag("v1")], to: self.app)
        try await family.following { () async throws in
            #expect(try await family.until { try await family.childHas(tag("v1"), at: one.manifest, in: self.app) })
            let head = try await parent.store.head().sequence
            #expect(try await eventually { try await family.parentState?.report?.status?.cursor?.sequence == head })
        }
        try await parent.push(two, tags: [tag("v2")], to: self.app)
        try await parent.store.delete(tag("v1"), from: self.app, of: parent.registry, origin: "test")
        family.transport.forget()
        let before = family.transport.blobBytes
        try await family.following { () async throws in
            #expect(try await family.until { try await family.childHas(tag("v1"), at: nil, in: self.app) })
        }
        #expect(try await family.childHas(tag("v2"), at: two.manifest, in: self.app))
        #expect(!family.transport.requests.contains { $0.target.contains("/state") })
        #expect(family.transport.blobBytes - before == self.bytes(two.blobs))
    }

    @Test("C12 a cursor that is gone leads to a comparison, and both ends are alike")
    func comparison() async throws {
        let family = try await Family()
        let (one, two) = (TestImage("one"), TestImage("two"))
        let parent = family.parent.site
        try await parent.push(one, tags: [tag("v1"), tag("old")], to: self.app)
        try await parent.push(one, tags: [tag("v1")], to: repository("gone"))
        let signature = TestImage("signature", subject: one.manifest)
        try await parent.push(signature, to: self.app)
        try await family.following { () async throws in
            #expect(try await family.until { try await family.childHas(tag("v1"), at: one.manifest, in: repository("gone")) })
            #expect(try await eventually { try await family.parentState?.report?.status?.cursor != nil })
        }
        // While the child is away the log is trimmed beyond its cursor.
        try await parent.push(two, tags: [tag("v1")], to: self.app)
        try await parent.store.delete(tag("old"), from: self.app, of: parent.registry, origin: "test")
        try await parent.store.delete(signature.manifest.digest, from: self.app, of: parent.registry, origin: "test")
        try await parent.store.delete(one.manifest.digest, from: repository("gone"), of: parent.registry, origin: "test")
        _ = try await parent.database.write { try $0.execute("UPDATE change_log SET tail = head") }
        family.transport.forget()
        try await family.following { () async throws in
            #expect(try await family.until { try await family.childHas(tag("v1"), at: nil, in: repository("gone")) })
        }
        #expect(family.transport.requests.contains { $0.target.contains("/state?root=") })
        #expect(try await family.childHas(tag("v1"), at: two.manifest, in: self.app))
        #expect(try await family.childHas(tag("old"), at: nil, in: self.app))
        #expect(try await !family.child.store.holds(signature.manifest.digest, in: self.app, of: family.child.registry))
    }

    @Test("C13 a manifest deleted and pushed again while the child was away is there, tagged or listed by an index")
    func deletedAndPushedAgain() async throws {
        let family = try await Family()
        let (one, two, end) = (TestImage("one"), TestImage("two"), TestImage("end"))
        let parent = family.parent.site
        try await parent.push(one, tags: [tag("v1")], to: self.app)
        try await parent.push(two, tags: [tag("v2")], to: self.app)
        try await family.following { () async throws in
            #expect(try await family.until { try await family.childHas(tag("v2"), at: two.manifest, in: self.app) })
            let head = try await parent.store.head().sequence
            #expect(try await eventually { try await family.parentState?.report?.status?.cursor?.sequence == head })
        }
        for image in [one, two] {
            try await parent.store.delete(image.manifest.digest, from: self.app, of: parent.registry, origin: "test")
        }
        try await parent.push(one, tags: [tag("v1")], to: self.app)
        try await parent.put(two.manifest, to: self.app)
        let index = Fixture.index([two.manifest.descriptor])
        try await parent.put(index, tags: [tag("v2")], to: self.app)
        try await parent.push(end, tags: [tag("end")], to: self.app)
        try await family.following { () async throws in
            #expect(try await family.until { try await family.childHas(tag("end"), at: end.manifest, in: self.app) })
        }
        #expect(try await family.childHas(tag("v1"), at: one.manifest, in: self.app))
        #expect(try await family.childHas(tag("v2"), at: index, in: self.app))
        #expect(try await family.isWhole(two, in: self.app))
    }

    @Test("C10 only what is selected comes; adding brings content, removing cleans it, also over a restart")
    func selection() async throws {
        let family = try await Family(repositories: ["app"])
        let (one, two) = (TestImage("one"), TestImage("two"))
        let parent = family.parent.site
        try await parent.push(one, tags: [tag("v1")], to: self.app)
        try await parent.push(two, tags: [tag("v1")], to: repository("team/x"))
        try await family.following { () async throws in
            #expect(try await family.until { try await family.childHas(tag("v1"), at: one.manifest, in: self.app) })
            #expect(try await family.childHas(tag("v1"), at: nil, in: repository("team/x")))
            try await family.parent.select(["team/*"], for: "site1")
            #expect(try await family.until { try await family.childHas(tag("v1"), at: nil, in: self.app) })
            #expect(try await family.childHas(tag("v1"), at: two.manifest, in: repository("team/x")))
        }
        try await family.parent.select(["team/*", "app"], for: "site1")
        // The settings arrive, then the process ends before anything was compared.
        let memory = try await family.memory()
        let agent = try await family.agent(memory: memory)
        family.transport.cut(afterBlobBytes: 1)
        try await parent.push(TestImage("three"), tags: [tag("v3")], to: self.app)
        try await family.following(agent) { () async throws in
            #expect(try await eventually { !family.transport.isOnline })
        }
        #expect(await memory.memory.settings?.repositories == ["app", "team/*"])
        family.transport.setOnline(true)
        try await family.following { () async throws in
            #expect(try await family.until { try await family.childHas(tag("v3"), at: TestImage("three").manifest, in: self.app) })
            #expect(try await family.until { try await family.childHas(tag("v1"), at: one.manifest, in: self.app) })
        }
    }

    @Test("C15 client tokens come with the settings, work with the link cut, and go when they are detached")
    func clientTokens() async throws {
        let family = try await Family(clientTokens: ["client1"])
        let parent = family.parent
        let passwords = try await parent.site.identities.generatePasswords(
            [.password2], expiry: nil, token: "client1", in: parent.site.registry)
        let password = try #require(passwords.values[.password2])
        @Sendable func signsIn() async throws -> Bool {
            try await family.child.identities.authenticate(token: "client1", password: password, in: family.child.registry) != nil
        }
        try await family.following { () async throws in
            #expect(try await family.until { try await signsIn() })
            family.transport.setOnline(false)
            #expect(try await signsIn())
            family.transport.setOnline(true)
            try await parent.configure("site1", clientTokens: [])
            #expect(try await family.until { try await !signsIn() })
        }
    }

    @Test("C11 outside the window settings come and content does not")
    func closedWindow() async throws {
        // The test clock stands in September; the window opens in January.
        let family = try await Family(clientTokens: ["client1"], schedule: "0 0 1 1 *", window: "PT1H")
        try await family.parent.site.push(TestImage("one"), tags: [tag("v1")], to: self.app)
        try await family.following { () async throws in
            #expect(try await eventually { try await family.parentState?.report?.status != nil })
            #expect(try await family.until { try await !family.child.identities.tokens(in: family.child.registry).isEmpty })
            #expect(try await eventually { try await family.parentState?.connectionState(now: family.child.clock.milliseconds) == .online })
        }
        #expect(
            !family.transport.requests.contains {
                $0.target.contains("/v2/") || $0.target.contains("/state") || $0.target.contains("/changes")
            })
        #expect(try await family.childHas(tag("v1"), at: nil, in: self.app))
    }

    @Test("C6 a second instance stops with ALREADY_ACTIVATED; deactivation stops the first with DEACTIVATED; both keep what they have")
    func endings() async throws {
        let family = try await Family()
        let one = TestImage("one")
        try await family.parent.site.push(one, tags: [tag("v1")], to: self.app)
        let first = try await family.agent()
        let running = Task { await first.run() }
        #expect(try await family.until { try await family.childHas(tag("v1"), at: one.manifest, in: self.app) })
        let second = try await family.agent(Site(clock: family.child.clock))
        let refused = try #require(await second.run())
        #expect(refused.error.code == .alreadyActivated)
        #expect(!refused.wasActive)
        try await family.parent.connectedRegistries.deactivate("site1", in: family.parent.site.registry)
        let stopped = try #require(await running.value)
        #expect(stopped.error.code == .deactivated)
        #expect(stopped.wasActive)
        #expect(try await family.isWhole(one, in: self.app))
        // It stays out; a fresh folder may come in.
        let again = try #require(await family.agent().run())
        #expect(again.error.code == .deactivated)
        let fresh = try await Site(clock: family.child.clock)
        try await family.following(family.agent(fresh)) { () async throws in
            #expect(
                try await eventually { try await fresh.store.resolve(tag("v1"), in: self.app, of: fresh.registry) == one.manifest.digest })
        }
    }

    @Test("C6 a copied data folder stops one of the two, not both")
    func copiedMemory() async throws {
        let family = try await Family()
        let copy = try await Site(clock: family.child.clock)
        try await family.following { () async throws in
            #expect(try await eventually { try await family.parentState?.report?.status?.cursor != nil })
        }
        // The copy has the memory as it is now; the original goes on and gets newer nonces.
        let rows = try await family.child.database.read { try $0.rows("SELECT * FROM sync_state") }
        let row = try #require(rows.first)
        try await copy.database.write { session in
            _ = try session.execute("INSERT INTO sync_state VALUES (\(row.values.map { _ in "?" }.joined(separator: ", ")))", row.values)
        }
        let nonce = try await family.memory().memory.nonce
        try await family.following { () async throws in
            #expect(try await eventually { try await family.parentState?.report?.status?.nonce != nonce })
            try await family.parent.site.push(TestImage("one"), tags: [tag("v1")], to: self.app)
            #expect(try await family.until { try await family.childHas(tag("v1"), at: TestImage("one").manifest, in: self.app) })
            #expect(try await eventually { try await (family.parentState?.report?.status?.cursor?.sequence ?? 0) > 0 })
            let refused = try #require(await family.agent(copy).run())
            #expect(refused.error.code == .alreadyActivated)
            try await family.parent.site.push(TestImage("two"), tags: [tag("v2")], to: self.app)
            #expect(try await family.until { try await family.childHas(tag("v2"), at: TestImage("two").manifest, in: self.app) })
        }
    }

    @Test("C18 a deleted connected registry stops its child, which keeps what it has")
    func deleted() async throws {
        let family = try await Family()
        let one = TestImage("one")
        try await family.parent.site.push(one, tags: [tag("v1")], to: self.app)
        let agent = try await family.agent()
        let running = Task { await agent.run() }
        #expect(try await family.until { try await family.childHas(tag("v1"), at: one.manifest, in: self.app) })
        try await family.parent.connectedRegistries.delete("site1", in: family.parent.site.registry)
        family.parent.connectedRegistries.settingsChanged()
        #expect(await running.value?.error.code == .notFound)
        #expect(try await family.isWhole(one, in: self.app))
    }

    @Test("C5 a folder of another connected registry is refused; another password or address of the same parent is not")
    func wrongFolder() async throws {
        let site = try await Site()
        func open(_ name: String, _ endpoint: String, pin: String? = nil, password: String = "p") async throws -> SyncMemory {
            let text = ConnectionStringTests.text(name: name, password: password + (pin.map { ".\($0)" } ?? ""), endpoint: endpoint)
            return try await SyncMemoryStore(database: site.database, connection: ConnectionString(parsing: text)).memory
        }
        let pin = ConnectionStringTests.pin
        let first = try await open("site1", "parent.test", pin: pin)
        #expect(try await open("SITE1", "parent.test", pin: pin, password: "q").instance == first.instance)
        #expect(try await open("site1", "moved.test:8443", pin: pin).instance == first.instance)
        for (name, endpoint, otherPin) in [("site2", "moved.test:8443", pin), ("site1", "parent.test", String(pin.reversed()))] {
            let error = await #expect(throws: SyncError.self) { _ = try await open(name, endpoint, pin: otherPin) }
            #expect(error?.code == .wrongFolder)
        }
    }

    @Test("C6 memory saved from several places at the same time ends with the newest of each")
    func memoryOrder() async throws {
        let family = try await Family()
        let memory = try await family.memory()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<100 {
                group.addTask { try await memory.update { $0.bytesReceived += 1 } }
                group.addTask { try await memory.update { $0.epoch = ($0.epoch ?? 0) + 1 } }
            }
            try await group.waitForAll()
        }
        let stored = try await family.memory().memory
        #expect(stored.bytesReceived == 100)
        #expect(stored.epoch == 100)
    }
}
