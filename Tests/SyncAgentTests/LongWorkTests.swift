// Proves that what is set at the parent counts while a synchronisation is under way, however long that takes.

import Gateway
import GatewayProtocol
import Identity
import OCI
import RegistryCore
import TestSupport
import Testing

@testable import SyncAgent

@Suite struct LongWorkTests {
    private let app = repository("app")
    private let image = TestImage("big", layers: [Fixture.layer(bytes: 400_000, seed: 1)])

    /// An agent whose parent hears of long work again and again.
    private func agent(_ family: Family, _ memory: SyncMemoryStore) async throws -> SyncAgent {
        let agent = try await family.agent(memory: memory)
        agent.progressRests.withLock { $0 = (.milliseconds(1), .milliseconds(100)) }
        return agent
    }

    @Test("C15 a client token that is revoked while an image is on its way is refused before that has come, and the image comes in one go")
    func revokedMeanwhile() async throws {
        let family = try await Family(clientTokens: ["reader"])
        let (site, child) = (family.parent.site, family.child)
        let made = try await site.identities.generatePasswords([.password1], expiry: nil, token: "reader", in: site.registry)
        let password = try #require(made.values[.password1])
        try await site.push(self.image, tags: [tag("v1")], to: self.app)
        let (gate, reached) = (Gate(), Gate())
        family.transport.hold(gate, reached: reached, of: self.image.layers[0].digest, at: 200_000)
        let memory = try await family.memory()
        try await family.following(self.agent(family, memory)) { () async throws in
            await reached.wait()
            #expect(try await child.identities.authenticate(token: "reader", password: password, in: child.registry) != nil)
            try await site.identities.putToken("reader", scopeMap: "_repositories_admin", isEnabled: false, in: site.registry)
            #expect(
                try await eventually {
                    try await child.identities.authenticate(token: "reader", password: password, in: child.registry) == nil
                })
            // So does a budget.
            try await family.parent.configure("site1", clientTokens: ["reader"], budget: ByteBudget(day: 1 << 40), onDemand: true)
            #expect(try await eventually { await memory.memory.settings?.budget?.day == 1 << 40 })
            #expect(await memory.memory.settings?.onDemand == true)
            #expect(try await child.store.resolve(tag("v1"), in: self.app, of: child.registry) == nil)
            gate.open()
            #expect(try await family.until { try await family.childHas(tag("v1"), at: self.image.manifest, in: self.app) })
            #expect(try await eventually { await memory.memory.cursor != nil })
        }
        #expect(try await family.isWhole(self.image, in: self.app))
        #expect(family.transport.blobBytes == Set(self.image.blobs).reduce(0) { $0 + $1.bytes.count })
    }

    @Test("C10 a selection that is changed while an image is on its way counts at once, and what has arrived is not lost")
    func selectedMeanwhile() async throws {
        let family = try await Family(repositories: ["app"])
        let (site, child, other) = (family.parent.site, family.child, TestImage("other"))
        try await site.push(self.image, tags: [tag("v1")], to: self.app)
        try await site.push(other, tags: [tag("v1")], to: repository("other"))
        let (gate, reached) = (Gate(), Gate())
        family.transport.hold(gate, reached: reached, of: self.image.layers[0].digest, at: 200_000, endsWhenCancelled: true)
        let memory = try await family.memory()
        try await family.following(self.agent(family, memory)) { () async throws in
            await reached.wait()
            try await family.parent.select(["app", "other"], for: "site1")
            family.parent.connectedRegistries.settingsChanged()
            // Nobody opens the gate: what waits there is given up.
            #expect(try await family.until { try await family.childHas(tag("v1"), at: other.manifest, in: repository("other")) })
            #expect(try await family.until { try await family.childHas(tag("v1"), at: self.image.manifest, in: self.app) })
            #expect(try await eventually { try await family.parentState?.report?.status?.result?.state == "Succeeded" })
        }
        #expect(try await family.isWhole(self.image, in: self.app))
        let blobs = Set(self.image.blobs + other.blobs).reduce(0) { $0 + $1.bytes.count }
        #expect(family.transport.blobBytes <= blobs + 2 * LoopbackTransport.partSize)
        #expect(await memory.memory.bytesReceived >= Int64(self.image.layers[0].bytes.count))
        #expect(try await child.store.holdsWhole(self.image.manifest.digest, in: self.app, of: child.registry))
    }

    @Test("C6 an instance that is deactivated while an image is on its way ends at the next heartbeat, and does not wait for the image")
    func deactivatedMeanwhile() async throws {
        let family = try await Family()
        try await family.parent.site.push(self.image, tags: [tag("v1")], to: self.app)
        let (gate, reached) = (Gate(), Gate())
        family.transport.hold(gate, reached: reached, of: self.image.layers[0].digest, at: 200_000, endsWhenCancelled: true)
        let memory = try await family.memory()
        let agent = try await self.agent(family, memory)
        async let stop = agent.run()
        await reached.wait()
        try await family.parent.connectedRegistries.deactivate("site1", in: family.parent.site.registry)
        #expect(await stop?.error.code == .deactivated)
        #expect(await memory.memory.stopped != nil)
        #expect(try await family.atChild(tag("v1"), in: self.app) == nil)
    }
}
