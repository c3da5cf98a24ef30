// What an operator can see of a site: the one thing in the way of an image, what is left of a transfer, how synchronisations went.

import Gateway
import GatewayProtocol
import Identity
import OCI
import RegistryCore
import TestSupport
import Testing

@testable import SyncAgent

@Suite(.serialized) struct DiagnosisTests {
    private let app = repository("app")

    private func why(_ family: Family, _ name: String = "app", _ tag: String? = "v1") async throws -> PullDiagnosis.Code? {
        let parent = family.parent.site
        return try await PullDiagnostician(
            connectedRegistries: family.parent.connectedRegistries, registries: parent.store, identities: parent.identities,
            clock: parent.clock.wall
        ).why(family.name, repository(name), tag: tag.map { self.name(of: $0) }, in: parent.registry)?.code
    }

    private func name(of text: String) -> OCI.Tag { tag(text) }

    @Test(
        "B5 the one thing in the way: not pushed, not selected, not started, a disabled token, offline, a closed window, a lock; and then it is there"
    )
    func why() async throws {
        let family = try await Family(repositories: ["app"])
        let parent = family.parent.site
        let image = TestImage("one")
        #expect(try await self.why(family) == .notAtParent)
        try await parent.push(image, tags: [tag("v1")], to: self.app)
        try await parent.push(image, tags: [tag("v1")], to: repository("other"))
        #expect(try await self.why(family, "other") == .notSelected)
        #expect(try await self.why(family) == .notActivated)
        try await parent.identities.putToken("site1-sync", scopeMap: "map-site1", isEnabled: false, in: parent.registry)
        #expect(try await self.why(family) == .syncTokenDisabled)
        try await parent.identities.putToken("site1-sync", scopeMap: "map-site1", isEnabled: true, in: parent.registry)
        try await family.parent.select(["app"], for: "site1", gatewayActions: ["config/read", "config/write", "message/write"])
        #expect(try await self.why(family) == .permission)
        try await family.parent.select(["app"], for: "site1")
        try await family.following { () async throws in
            #expect(try await family.until { try await family.childHas(tag("v1"), at: image.manifest, in: self.app) })
            #expect(try await eventually { try await self.why(family) == .present })
            #expect(try await self.why(family, "app", nil) == .present)
            // Locked before it has ever travelled.
            let secret = TestImage("secret")
            try await parent.push(secret, to: self.app)
            var change = LockChange()
            change.set = [.read]
            try await parent.store.setLocks(change, of: .manifest(self.app, secret.manifest.digest), in: parent.registry, origin: "test")
            try await parent.put(secret.manifest, tags: [tag("v2")], to: self.app)
            #expect(try await eventually { try await self.why(family, "app", "v2") == .locked })
            #expect(try await self.why(family) == .present)
        }
        try await parent.push(TestImage("three"), tags: [tag("v3")], to: self.app)
        parent.clock.advance(seconds: 600)
        #expect(try await self.why(family, "app", "v3") == .offline)
        // What is there is there.
        #expect(try await self.why(family) == .present)
        let nobody = try await PullDiagnostician(
            connectedRegistries: family.parent.connectedRegistries, registries: parent.store, identities: parent.identities
        ).why("nobody", self.app, tag: nil, in: parent.registry)
        #expect(nobody == nil)
    }

    @Test("C11 C16 bytes left of a transfer that the window ended, the closed window as a reason, and synchronisations as a history")
    func window() async throws {
        // 08:13 in the clock of the tests lies in a window from 8 to 9.
        let family = try await Family(schedule: "0 * * * *", window: "PT1H")
        let parent = family.parent.site
        let big = TestImage("big", layers: [Fixture.layer(bytes: 400_000, seed: 1)])
        try await parent.push(big, tags: [tag("v1")], to: self.app)
        try await family.following { () async throws in
            #expect(try await family.until { try await family.childHas(tag("v1"), at: big.manifest, in: self.app) })
            #expect(try await eventually { try await family.parentState?.report?.history?.first?.state == "Succeeded" })
        }
        let state = try #require(try await family.parentState)
        #expect(state.report?.history?.first?.trigger == "InitialSync")
        #expect(state.report?.status?.bytesLeft == nil)
        var report = try #require(state.report)
        for number in 0..<40 {
            var status = DataPlane.heartbeat("n")
            status.result = SyncResult(
                trigger: "InitialSync", state: number % 2 == 0 ? "Failed" : "Succeeded", started: Int64(number / 2), ended: 5,
                lastSuccess: nil)
            report.take(status)
        }
        // Attempts at the same one are one entry, and the oldest go.
        #expect(report.history?.count == 20)
        #expect(report.history?.allSatisfy { $0.state == "Succeeded" } == true)
        #expect(report.history?.first?.started == 19)
    }

    @Test("C14 C16 what has arrived of an image that was cut is not counted as left")
    func bytesLeft() async throws {
        let family = try await Family()
        let image = TestImage("big", layers: [Fixture.layer(bytes: 400_000, seed: 1)])
        try await family.parent.site.push(image, tags: [tag("v1")], to: self.app)
        family.transport.cut(afterBlobBytes: 150_000)
        let agent = try await family.agent()
        try await family.following(agent) { () async throws in
            #expect(try await eventually { !family.transport.isOnline })
            let total = image.blobs.reduce(0) { $0 + $1.bytes.count }
            #expect(try await eventually { agent.bytesLeft == Int64(total - 150_000) })
        }
    }

    @Test("B3 a rate is kept by all transfers together, and a pause is not saved up")
    func pace() {
        var pace = TransferPace(bytesPerSecond: 1000)
        let start = ContinuousClock.now
        #expect(pace.take(500, at: start) == start + .milliseconds(500))
        #expect(pace.take(1500, at: start) == start + .seconds(2))
        #expect(pace.take(1000, at: start + .milliseconds(100)) == start + .seconds(3))
        #expect(pace.take(1000, at: start + .seconds(60)) == start + .seconds(61))
    }
}
