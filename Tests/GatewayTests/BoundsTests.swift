// Proves that no number a connected registry tells brings its parent down, neither at once nor later, when it is looked at again.

import Gateway
import GatewayProtocol
import HTTPTypes
import Identity
import OCI
import Persistence
import RegistryCore
import TestSupport
import Testing

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

@Suite struct BoundsTests {
    private func status(_ nonce: String, _ number: Int64) throws -> StatusReport {
        let use = BudgetUse(period: "day", limit: number, used: number, renews: number)
        let image = SyncPlan.Image(repository: repository("app"), digest: TestImage("one").manifest.digest, tags: [], bytes: number)
        return StatusReport(
            nonce: nonce, phase: .idle, version: "test", cursor: GatewayCursor(log: "log", sequence: number),
            result: SyncResult(trigger: "InitialSync", state: "Succeeded", started: number, ended: number, lastSuccess: number),
            details: [StatusDetail(type: "Warning", code: "BudgetExhausted", description: "waits", timestamp: number)],
            bytesReceived: number, diskFree: number, diskTotal: number, resynced: number, outboxPending: number, bytesSent: number,
            bytesLeft: number,
            budget: [use],
            plan: SyncPlan(
                order: number, computed: number, bytes: number, imageCount: Int(number), images: [image], bytesUp: number, budget: [use]))
    }

    private func isBounded(_ report: ConnectedRegistry.Report?) -> Bool {
        guard let report, let status = report.status, let result = status.result, let plan = report.plan, let use = status.budget?.first
        else { return false }
        let times = [result.started, result.ended ?? 0, result.lastSuccess ?? 0, plan.computed, plan.order, use.renews]
        let counts = [
            status.bytesReceived, status.bytesSent ?? 0, status.bytesLeft ?? 0, status.diskFree ?? 0, status.outboxPending ?? 0, plan.bytes,
            plan.images[0].bytes, use.limit, use.used,
        ]
        return (times + status.details.map(\.timestamp)).allSatisfy { MessageBounds.times.contains($0) }
            && counts.allSatisfy { MessageBounds.counts.contains($0) }
            && Timestamp.text(seconds: use.renews).count == 24
    }

    @Test("C19 no number in a heartbeat or an event ends a parent or stays in its database", arguments: [Int64.min, -1, Int64.max])
    func heartbeat(number: Int64) async throws {
        let server = try await DataPlane(Site())
        let (site, secret) = (server.site, try await server.connectedRegistry("site1"))
        let store = server.connectedRegistries
        let (active, nonce) = try await store.activate(
            "site1", instance: "instance-1", nonce: nil, version: "test", loginServer: nil, in: site.registry)
        let answer = try await server.send(
            .post, "/gateway/v1/site1/status?instance=instance-1&epoch=\(active.epoch)",
            headers: DataPlane.basic("site1-sync", secret), body: [UInt8](try JSONEncoder().encode(self.status(nonce, number))))
        #expect(answer.status == 200)
        let found = try #require(try await store.find("site1", in: site.registry))
        #expect(self.isBounded(found.report))
        _ = found.connectionState(now: site.clock.milliseconds)
        // Events, and what is dropped there and here.
        let token = try await server.authority.issue(
            .sync, subject: .token("site1-sync"), audience: server.audience,
            lease: SyncLease(connectedRegistry: "site1", instance: "instance-1", epoch: active.epoch)
        ).token
        let told = EventsRequest(
            events: [.init(id: "one", connectedRegistry: "site1", kind: "audit", time: number, body: "{}")],
            dropped: [.init(connectedRegistry: "site1", kind: "audit", count: number)])
        let taken = try await server.send(
            .post, "/gateway/v1/site1/events", headers: DataPlane.bearer(token), body: [UInt8](try JSONEncoder().encode(told)))
        #expect(taken.status == 200)
        let events = SiteEvents(database: site.database, registry: site.registry)
        try await events.drop(7, .audit, of: "site1")
        let (listed, dropped) = try await events.list(.audit, of: "site1", limit: 10)
        #expect(listed.allSatisfy { MessageBounds.times.contains($0.time) } && listed.count == 1)
        #expect(dropped >= 7)
        #expect(try await events.dropped().map(\.count) == [dropped])
    }

    @Test(
        "C19 C9 no number that is told of a descendant ends a parent, now or when it is deactivated", arguments: [Int64.min, -1, Int64.max])
    func descendants(number: Int64) async throws {
        let server = try await DataPlane(Site())
        let (site, store) = (server.site, server.connectedRegistries)
        try await server.connectedRegistry("middle")
        try await server.connectedRegistry("leaf1", parent: "middle")
        let status = DescendantStatus(
            name: "leaf1", instance: "instance-1", epoch: number, deactivations: number == -1 ? 0 : number, version: "test",
            loginServer: nil, caPin: nil, status: try self.status("", number), inStepSince: number, silence: number)
        let first = DescendantStatus(
            name: "leaf1", instance: "instance-1", epoch: number, deactivations: 0, version: "test", loginServer: nil, caPin: nil,
            status: status.status, inStepSince: number, silence: number)
        for one in [first, status] { try await store.record([one], below: "middle", in: site.registry, isAllowed: { _ in true }) }
        let found = try #require(try await store.find("leaf1", in: site.registry))
        #expect(self.isBounded(found.report))
        _ = found.connectionState(now: site.clock.milliseconds)
        #expect(try await store.descendantStatuses(in: site.registry).count == 2)
        for _ in 0..<2 {
            try await store.deactivate("leaf1", in: site.registry)
            let freed = try #require(try await store.find("leaf1", in: site.registry))
            #expect(!freed.isActive && freed.epoch > 0)
            try await store.record([first], below: "middle", in: site.registry, isAllowed: { _ in true })
        }
    }

    @Test("C9 C19 what one connected registry tells has an end, so that the one above it can still speak for its others")
    func texts() async throws {
        let server = try await DataPlane(Site())
        let (site, store) = (server.site, server.connectedRegistries)
        try await server.connectedRegistry("middle")
        try await server.connectedRegistry("leaf1", parent: "middle")
        let long = String(repeating: "ä\u{1}", count: 200_000)
        let tags = try (0..<1000).map { try OCI.Tag("tag-\($0)") }
        let image = SyncPlan.Image(repository: repository("app"), digest: TestImage("one").manifest.digest, tags: tags, bytes: 1)
        let detail = StatusDetail(type: long, code: long, description: long, timestamp: 1)
        let status = StatusReport(
            nonce: "", phase: .idle, version: long, cursor: GatewayCursor(log: long, sequence: 1),
            result: SyncResult(trigger: long, state: long, started: 1, ended: 1, lastSuccess: 1),
            details: Array(repeating: detail, count: 100), bytesReceived: 1, diskFree: nil, diskTotal: nil, root: long,
            budget: Array(repeating: BudgetUse(period: long, limit: 1, used: 1, renews: 1), count: 100),
            plan: SyncPlan(order: 1, computed: 1, images: Array(repeating: image, count: 300), problem: long))
        let told = DescendantStatus(
            name: "leaf1", instance: "instance-1", epoch: 1, deactivations: 0, version: long, loginServer: long, caPin: long,
            status: status,
            inStepSince: nil, silence: 0)
        try await store.record([told], below: "middle", in: site.registry, isAllowed: { _ in true })
        let forwarded = try await store.descendantStatuses(in: site.registry).filter { $0.name == "leaf1" }
        // Every byte may be written as six.
        #expect(try JSONEncoder().encode(forwarded).count < 1 << 20)
        let found = try #require(try await store.find("leaf1", in: site.registry)?.report)
        #expect(found.status?.details.count == MessageBounds.details)
        #expect(found.status?.details[0].description.utf8.count ?? 0 > MessageBounds.sentence - 4)
        #expect(long.hasPrefix(found.version) && found.version.utf8.count <= MessageBounds.name)
        #expect(found.plan?.images.count == SyncPlan.maximumImages && found.plan?.images[0].tags.count == MessageBounds.planTags)
    }

    @Test("C19 what an earlier version has let into the database is read all the same")
    func storedBefore() async throws {
        let server = try await DataPlane(Site())
        let (site, store) = (server.site, server.connectedRegistries)
        try await server.connectedRegistry("site1")
        _ = try await store.activate("site1", instance: "instance-1", nonce: nil, version: "test", loginServer: nil, in: site.registry)
        for (epoch, activity) in [("9223372036854775807 + 1", Int64.min), ("-9223372036854775807 - 2", Int64.max)] {
            _ = try await site.database.write {
                try $0.execute("UPDATE connected_registry SET epoch = \(epoch), last_activity = ?", .integer(activity))
            }
            let found = try #require(try await store.find("site1", in: site.registry))
            #expect(MessageBounds.counts.contains(found.epoch))
            _ = found.connectionState(now: site.clock.milliseconds)
            #expect(try await store.descendantStatuses(in: site.registry).count == 1)
        }
        try await store.deactivate("site1", in: site.registry)
        let (active, _) = try await store.activate(
            "site1", instance: "instance-2", nonce: nil, version: "test", loginServer: nil, in: site.registry)
        #expect(active.instance == "instance-2")
    }
}
