// What the gateway remembers of the head of the log: never longer than content stays as it is.

import GatewayProtocol
import Persistence
import RegistryCore
import TestSupport
import Testing

@testable import Gateway

@Suite struct QuietHeadTests {
    private let registry = RegistryID(1)

    @Test(
        "B5 C11 the root at the head counts until content changes, and not when it changed while it was read, for one selection and one cursor"
    )
    func counts() {
        let activity = Activity()
        let quiet = QuietHead(activity: activity)
        let (head, other) = (ChangeCursor(log: "log", sequence: 7), ChangeCursor(log: "log", sequence: 6))
        let (all, some) = (
            QuietHead.Selection(registry: self.registry, repositories: ["*"]),
            QuietHead.Selection(registry: self.registry, repositories: ["app"])
        )
        quiet.remember("root", at: head, of: all, count: quiet.count)
        #expect(quiet.root(at: head, of: all) == "root" && quiet.root(of: all) == "root")
        #expect(quiet.root(at: other, of: all) == nil)
        #expect(quiet.root(at: head, of: some) == nil && quiet.root(of: some) == nil)
        activity.signal()
        #expect(quiet.root(at: head, of: all) == nil && quiet.root(of: all) == nil)
        let count = quiet.count
        activity.signal()
        quiet.remember("late", at: head, of: all, count: count)
        #expect(quiet.root(of: all) == nil)
        quiet.remember("root", at: head, of: some, count: quiet.count)
        #expect(quiet.root(of: some) == "root" && quiet.root(of: all) == nil)
    }

    @Test("B5 C16 every change of content ends what is remembered: a heartbeat right behind it is not told to be in step")
    func heartbeats() async throws {
        let server = try await DataPlane(Site())
        let site = server.site
        let app = repository("app")
        let secret = try await server.connectedRegistry("site1")
        let (active, offered) = try await server.connectedRegistries.activate(
            "site1", instance: "instance-1", nonce: nil, version: "test", loginServer: nil, in: site.registry)
        var nonce = offered
        func isInStep(_ root: String) async throws -> Bool {
            var status = DataPlane.heartbeat(nonce)
            status.root = root
            let answer = try await server.send(
                .post, "/gateway/v1/site1/status?instance=instance-1&epoch=\(active.epoch)",
                headers: DataPlane.basic("site1-sync", secret), body: try HeartbeatTests.encode(status))
            nonce = try answer.decode(StatusResponse.self).nonce
            return try await server.connectedRegistries.find("site1", in: site.registry)?.report?.inStepSince != nil
        }
        func root() async throws -> String { try await site.store.stateSummary(of: site.registry) { _ in true }.root }
        let image = TestImage("one")
        try await site.push(image, tags: [tag("v1")], to: app)
        let changes: [@Sendable () async throws -> Void] = [
            { try await site.put(image.manifest, tags: [tag("v2")], to: app) },
            { try await site.store.delete(tag("v2"), from: app, of: site.registry, origin: "test") },
            {
                var change = LockChange()
                change.set = [.write]
                try await site.store.setLocks(change, of: .tag(app, tag("v1")), in: site.registry, origin: "test")
            },
            {
                var change = LockChange()
                change.cleared = [.write]
                try await site.store.setLocks(change, of: .tag(app, tag("v1")), in: site.registry, origin: "test")
            },
            { try await site.push(TestImage("two"), tags: [tag("v1")], to: repository("other")) },
            { try await site.store.delete(image.manifest.digest, from: app, of: site.registry, origin: "test") },
            { try await site.store.clear(repository("other"), in: site.registry, origin: "test") },
        ]
        for (number, change) in changes.enumerated() {
            let before = try await root()
            for _ in 0..<2 { #expect(try await isInStep(before)) }
            try await change()
            #expect(try await root() != before, "change \(number)")
            #expect(try await !isInStep(before), "change \(number)")
        }
    }
}
