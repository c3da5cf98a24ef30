// Proves that no number a parent tells brings its child down.

import GatewayProtocol
import NIOCore
import OCI
import TestSupport
import Testing

@testable import RegistryClient
@testable import SyncAgent

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

@Suite struct BoundsTests {
    /// A parent that answers everything with the same number.
    private struct Numbers: Transport {
        let number: Int64

        func send(_ request: ClientRequest) async throws -> ClientResponse {
            let digest = TestImage("one").manifest.digest
            let body: String
            var headers: [(name: String, value: String)] = []
            switch request.target.split(separator: "/").last ?? "" {
            case "token": body = #"{"access_token":"token","expires_in":\#(self.number)}"#
            case "settings":
                body = #"""
                    {"mode":"ReadOnly","repositories":[],"schedule":"* * * * *","messageTtl":"P2D","garbageCollection":{"enabled":true,
                    "schedule":"0 0 * * *"},"logLevel":"Information","notifications":[],"clientTokens":[],"scopeMaps":[],"trustRoots":[],
                    "parentEndpoints":[],"resync":\#(self.number),"plan":\#(self.number),"budget":{"hour":\#(self.number)}}
                    """#
            case "contents":
                body = #"""
                    {"manifests":[{"digest":"\#(digest)","size":\#(self.number),"manifests":[],
                    "blobs":[{"digest":"\#(digest)","size":\#(self.number)}]}],"covered":1}
                    """#
            default:
                body = ""
                headers = [("Range", "0-\(self.number)")]
            }
            return ClientResponse(
                status: 200, headers: headers,
                body: ClientResponseBody(
                    AsyncStream<ByteBuffer> { stream in
                        stream.yield(ByteBuffer(string: body))
                        stream.finish()
                    }))
        }
    }

    @Test("C19 no number in settings, lists, tokens or uploads of a parent ends its child", arguments: [Int64.min, -1, Int64.max])
    func numbers(number: Int64) async throws {
        let transport = Numbers(number: number)
        let connection = try ConnectionString(
            parsing: ConnectionStringTests.text(
                name: "site1", token: "site1-sync", password: "secret", endpoint: "harbour.test", scheme: "http"))
        let gateway = GatewayClient(transport: transport, connection: connection)
        await gateway.setLease(instance: "instance-1", epoch: 1)
        #expect(try await gateway.bearer() == "token")
        let settings = try #require(try await gateway.settings(tag: nil)).settings
        #expect(settings.resync.map(MessageBounds.times.contains) == true && settings.plan.map(MessageBounds.times.contains) == true)
        #expect(settings.budget?.hour ?? 0 >= 1)
        let digest = TestImage("one").manifest.digest
        let contents = try await gateway.contents(ContentsRequest(repository: repository("app"), digests: [digest]))
        #expect(contents.manifests.allSatisfy { MessageBounds.counts.contains($0.size) })
        #expect(contents.manifests.flatMap(\.blobs).allSatisfy { MessageBounds.counts.contains($0.size) })
        let client = RegistryClient(transport: transport, endpoint: connection.parent) { "token" }
        #expect(try await client.size(ofUpload: "/v2/app/blobs/uploads/one") ?? 0 <= 1 << 53)
    }

    @Test("C9 C19 a heartbeat for a tree is never larger than the parent takes: the longest is shortened first, and told again later")
    func fitting() throws {
        func status(_ details: Int, plan: Bool = false) -> StatusReport {
            let detail = StatusDetail(
                type: "Error", code: "ContentError", description: String(repeating: "\u{1}", count: 500), timestamp: 0)
            return StatusReport(
                nonce: "", phase: .idle, version: "test", cursor: nil, result: nil, details: Array(repeating: detail, count: details),
                bytesReceived: 0, diskFree: nil, diskTotal: nil,
                plan: plan ? SyncPlan(order: 1, computed: 1, problem: String(repeating: "p", count: 4000)) : nil)
        }
        func descendant(_ name: String, _ status: StatusReport) -> DescendantStatus {
            DescendantStatus(
                name: name, instance: nil, epoch: 0, deactivations: 0, version: nil, loginServer: nil, caPin: nil, status: status,
                inStepSince: nil, silence: nil)
        }
        var report = status(0)
        report.descendants = [
            descendant("loud1", status(20)), descendant("quiet", status(1)), descendant("asked", status(0, plan: true)),
            descendant("loud2", status(20)),
        ]
        let size = { (report: StatusReport) in try JSONEncoder().encode(report).count }
        #expect(try report.fitting(1 << 20) == report)
        let short = try report.fitting(6000)
        #expect(try size(short) <= 6000)
        #expect(short.descendants?.map(\.name) == ["loud1", "quiet", "asked", "loud2"])
        #expect(short.descendants?.map { $0.status?.details.count } == [0, 1, 0, 0])
        #expect(short.descendants?.map { $0.status?.plan != nil } == [false, false, false, false])
        #expect(try report.fitting(9000).descendants?.map { $0.status?.plan != nil } == [false, false, true, false])
        let tiny = try report.fitting(400)
        #expect(try size(tiny) <= 400 && tiny.descendants?.count ?? 0 < 4)
    }

    @Test("C19 C11 a budget of any number is one", arguments: [Int64.min, -1, 0, Int64.max])
    func budget(number: Int64) async throws {
        let site = try await Site()
        let budget = TransferBudget(database: site.database, clock: site.clock.wall)
        #expect(budget.setLimits(ByteBudget(hour: number, day: number, month: number)))
        for _ in 0..<3 {
            let grant = try? await budget.take(1 << 20, whole: true)
            #expect((grant != nil) == (number > 0))
        }
        let uses = try await budget.uses()
        #expect(uses.count == 3 && uses.allSatisfy { $0.limit >= 1 && $0.used >= 0 })
    }
}
