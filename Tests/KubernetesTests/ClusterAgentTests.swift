// Proves that the agent goes by the time that passes, whatever the clock of its machine says.

import ClusterProtocol
import Logging
import Persistence
import Synchronization
import TestSupport
import Testing

@testable import Kubernetes

/// Time that passes when a test says so. The clock of the machine stands still by its measure, or runs backwards.
private final class Hours: TimeSource {
    private let state = Mutex(ContinuousClock.Instant.now)

    var now: ContinuousClock.Instant { self.state.withLock { $0 } }
    func pass(_ duration: Duration) { self.state.withLock { $0 += duration } }
    func sleep(until deadline: ContinuousClock.Instant) async throws { try await Task.sleep(for: .milliseconds(1)) }
}

/// A control plane that wants one thing and keeps what it is told.
private final class OneWish: ControlPlane {
    private let wanted: DesiredExtension
    private let told = Mutex<[ExtensionReport]>([])

    init(_ wanted: DesiredExtension) { self.wanted = wanted }

    var reports: [ExtensionReport] { self.told.withLock { $0 } }

    func desired(after revision: String?, wait: Int) async throws -> DesiredState {
        if revision != nil { try await Task.sleep(for: .seconds(wait)) }
        return DesiredState(revision: "1", cluster: "plant", extensions: [self.wanted])
    }

    func report(_ report: AgentReport) async throws { self.told.withLock { $0 += report.extensions } }
}

@Suite struct ClusterAgentTests {
    @Test("K1 a registry is looked at by the time that passes, not by the machine's clock, which may be set back")
    func elapsed() async throws {
        let cluster = FakeCluster()
        let hours = Hours()
        let plane = OneWish(
            DesiredExtension(
                name: "site", generation: 1, type: ExtensionSettings.type, version: nil, settings: ["service.clusterIP": "10.96.0.50"],
                protectedSettings: [
                    "connectionString":
                        "ConnectedRegistryName=factory;SyncTokenName=factory;SyncTokenPassword=hush;ParentGatewayEndpoint=parent.test;ParentEndpointProtocol=https"
                ]))
        let installer = ExtensionInstaller(
            api: cluster, place: InstallerPlace(image: "parent.test/outport:v1", namespace: "outport-agent"), tryConnection: { _ in nil },
            makeAuthority: { ("-----BEGIN CERTIFICATE-----\nmine\n-----END CERTIFICATE-----\n", "key") })
        // Nothing but the bell comes by itself in the time of this test.
        let hour: Int64 = 3_600_000
        let agent = ClusterAgent(
            plane: plane, api: cluster, installer: installer,
            limits: .init(settle: hour, look: 5, watch: hour, resync: 1000 * hour, retry: hour, removal: hour), version: "1",
            logger: Logger(label: "test"))
        let running = Task { await Elapsing.$source.withValue(hours) { await agent.run() } }
        defer { running.cancel() }

        #expect(try await eventually { cluster.object(.deployment, "connected-registry") != nil })
        cluster.makeReady()
        let isWell = try await eventually {
            hours.pass(.milliseconds(10))
            return plane.reports.last?.state == .succeeded
        }
        #expect(isWell)

        // It breaks, and is looked at no sooner than in an hour.
        cluster.makeReady(false)
        try await Task.sleep(for: .milliseconds(50))
        #expect(plane.reports.last?.state == .succeeded)
        hours.pass(.seconds(2 * 3600))
        #expect(try await eventually { plane.reports.last?.state == .failed })
        running.cancel()
        await running.value
    }
}
