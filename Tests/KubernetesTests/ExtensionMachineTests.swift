// Proves what the agent does next, whatever happens, without a cluster and without time.

import ClusterProtocol
import Kubernetes
import Testing

@Suite struct ExtensionMachineTests {
    private static let limits = ExtensionMachine.Limits(
        settle: 100, look: 1, watch: 10, resync: 1000, retry: 20, removal: 50)

    private func wanted(_ generation: Int64, removal: Removal? = nil) -> DesiredExtension {
        DesiredExtension(
            name: "site", generation: generation, type: ExtensionSettings.type, version: nil, settings: [:], protectedSettings: [:],
            removal: removal)
    }

    private func reports(_ actions: [ExtensionMachine.Action]) -> [ExtensionReport] {
        actions.compactMap { if case .report(let report) = $0 { report } else { nil } }
    }

    /// A machine whose first generation is in place and well at time 0.
    private func settled() -> ExtensionMachine {
        var machine = ExtensionMachine(limits: Self.limits)
        #expect(machine.handle(.wanted(self.wanted(1)), now: 0) == [.install(self.wanted(1))])
        #expect(machine.handle(.installed(Installed(version: "v1", canRollBack: false)), now: 0) == [.look])
        let actions = machine.handle(.health(Health(problem: nil)), now: 0)
        #expect(actions.first == .remember(self.wanted(1)))
        #expect(self.reports(actions).map(\.state) == [.succeeded])
        return machine
    }

    private static let bad = ExtensionError(.imageMissing, "no such image")

    @Test("K1 what is installed and healthy is remembered and reported once") func success() {
        var machine = self.settled()
        // The same wish again, and looks that find nothing new, do nothing.
        #expect(machine.handle(.wanted(self.wanted(1)), now: 1).isEmpty)
        #expect(machine.handle(.tick, now: 10) == [.look])
        #expect(machine.handle(.health(Health(problem: nil)), now: 10).isEmpty)
        // Now and then everything is put in place again.
        #expect(machine.handle(.tick, now: 2000) == [.install(self.wanted(1))])
        #expect(machine.handle(.installed(Installed(version: "v1", canRollBack: false)), now: 2000) == [.look])
        #expect(machine.handle(.health(Health(problem: nil)), now: 2000).isEmpty)
    }

    @Test("K1 a check that fails is reported with what to do, and tried again after a while") func refused() {
        var machine = ExtensionMachine(limits: Self.limits)
        _ = machine.handle(.wanted(self.wanted(1)), now: 0)
        let error = ExtensionError(.noDefaultStorageClass, "set one")
        let told = self.reports(machine.handle(.failed(error), now: 0))
        #expect(told.map(\.error) == [error])
        #expect(machine.handle(.tick, now: 5).isEmpty)
        #expect(machine.wake == 20)
        #expect(machine.handle(.tick, now: 20) == [.install(self.wanted(1))])
        // The same refusal is not told twice; a way out is taken.
        #expect(machine.handle(.failed(error), now: 20).isEmpty)
        #expect(machine.handle(.tick, now: 40) == [.install(self.wanted(1))])
        #expect(machine.handle(.installed(Installed(version: "v1", canRollBack: false)), now: 41) == [.look])
        #expect(self.reports(machine.handle(.health(Health(problem: nil)), now: 42)).map(\.state) == [.succeeded])
    }

    @Test("K1 a change that does not become healthy is rolled back, and stays so") func rollBack() {
        var machine = self.settled()
        #expect(machine.handle(.wanted(self.wanted(2)), now: 1) == [.install(self.wanted(2))])
        #expect(machine.handle(.installed(Installed(version: "v2", canRollBack: true, isUpdate: true)), now: 1) == [.look])
        #expect(self.reports(machine.handle(.health(Health(problem: Self.bad)), now: 50)).map(\.state) == [.updating])
        #expect(machine.handle(.health(Health(problem: Self.bad)), now: 101) == [.rollBack(self.wanted(2), because: Self.bad)])
        let told = self.reports(machine.handle(.rolledBack(version: "v1"), now: 102))
        #expect(told.map(\.state) == [.failed])
        #expect(told.first?.error?.code == .rolledBack)
        #expect(told.first?.error?.message.contains("no such image") == true)
        #expect(told.first?.currentVersion == "v1")
        // The old version runs: that is no success of the new one, whatever else goes wrong meanwhile.
        #expect(machine.handle(.health(Health(problem: nil)), now: 120).isEmpty)
        #expect(machine.handle(.failed(ExtensionError(.forbidden, "no")), now: 121).isEmpty)
        #expect(machine.handle(.health(Health(problem: nil)), now: 122).isEmpty)
        // An agent that starts afterwards is told by what was noted in the cluster.
        var fresh = ExtensionMachine(limits: Self.limits)
        _ = fresh.handle(.wanted(self.wanted(2)), now: 0)
        let again = fresh.handle(
            .installed(Installed(version: "v1", canRollBack: false, rolledBack: told.first?.error)), now: 0)
        #expect(self.reports(again).map(\.state) == [.failed])
        // The next wish is a new chance.
        #expect(machine.handle(.wanted(self.wanted(3)), now: 130) == [.install(self.wanted(3))])
    }

    @Test("K1 going back that fails is tried again until it is done or something else is asked for") func rollBackFails() {
        var machine = self.settled()
        _ = machine.handle(.wanted(self.wanted(2)), now: 0)
        _ = machine.handle(.installed(Installed(version: "v2", canRollBack: true, isUpdate: true)), now: 0)
        let going = [ExtensionMachine.Action.rollBack(self.wanted(2), because: Self.bad)]
        #expect(machine.handle(.health(Health(problem: Self.bad)), now: 100) == going)
        // Under way: nothing is begun beside it.
        #expect(machine.handle(.tick, now: 101).isEmpty)
        let away = ExtensionError(.unreachable, "no answer")
        #expect(self.reports(machine.handle(.failed(away), now: 110)).first?.error?.message.contains("tried again") == true)
        #expect(machine.wake == 110 + Self.limits.retry)
        #expect(machine.handle(.tick, now: 111).isEmpty)
        #expect(machine.handle(.health(Health(problem: nil)), now: 112).isEmpty)
        #expect(machine.handle(.tick, now: 110 + Self.limits.retry) == going)
        // The same failure is told once.
        #expect(machine.handle(.failed(away), now: 140).isEmpty)
        #expect(machine.handle(.tick, now: 140 + Self.limits.retry) == going)
        #expect(self.reports(machine.handle(.rolledBack(version: "v1"), now: 170)).first?.error?.code == .rolledBack)
        #expect(machine.handle(.wanted(self.wanted(3)), now: 180) == [.install(self.wanted(3))])
    }

    @Test("K1 while the old registry ends, the new one's time does not run; but not for ever") func replacing() {
        var machine = self.settled()
        _ = machine.handle(.wanted(self.wanted(2)), now: 0)
        _ = machine.handle(.installed(Installed(version: "v2", canRollBack: true, isUpdate: true)), now: 0)
        let waits = Health(problem: Self.bad, isReplacing: true)
        _ = machine.handle(.health(waits), now: 90)
        #expect(!machine.handle(.health(waits), now: 150).contains(.rollBack(self.wanted(2), because: Self.bad)))
        // From here on it is the new one that is not healthy.
        #expect(machine.handle(.health(Health(problem: Self.bad)), now: 240).isEmpty)
        #expect(machine.handle(.health(Health(problem: Self.bad)), now: 250) == [.rollBack(self.wanted(2), because: Self.bad)])
        var stuck = self.settled()
        _ = stuck.handle(.wanted(self.wanted(2)), now: 0)
        _ = stuck.handle(.installed(Installed(version: "v2", canRollBack: true, isUpdate: true)), now: 0)
        _ = stuck.handle(.health(waits), now: 390)
        #expect(stuck.handle(.health(waits), now: 400) == [.rollBack(self.wanted(2), because: Self.bad)])
    }

    @Test("K1 a first installation that stays unhealthy fails, and succeeds when it comes round") func late() {
        var machine = ExtensionMachine(limits: Self.limits)
        _ = machine.handle(.wanted(self.wanted(1)), now: 0)
        _ = machine.handle(.installed(Installed(version: "v1", canRollBack: false)), now: 0)
        #expect(self.reports(machine.handle(.health(Health(problem: Self.bad)), now: 100)).map(\.state) == [.failed])
        let actions = machine.handle(.health(Health(problem: nil)), now: 200)
        #expect(actions.first == .remember(self.wanted(1)))
        #expect(self.reports(actions).map(\.state) == [.succeeded])
    }

    @Test("K1 what was well and is ill for long is told; what is away for a moment is not") func watching() {
        var machine = self.settled()
        #expect(machine.handle(.health(Health(problem: Self.bad)), now: 50).isEmpty)
        #expect(machine.handle(.health(Health(problem: nil)), now: 60).isEmpty)
        #expect(machine.handle(.health(Health(problem: Self.bad)), now: 61).isEmpty)
        #expect(self.reports(machine.handle(.health(Health(problem: Self.bad)), now: 161)).map(\.error) == [Self.bad])
        #expect(self.reports(machine.handle(.health(Health(problem: nil)), now: 170)).map(\.state) == [.succeeded])
    }

    @Test("K4 an installation waits for the nodes, but does not fail by one of them") func nodes() {
        var machine = ExtensionMachine(limits: Self.limits)
        _ = machine.handle(.wanted(self.wanted(1)), now: 0)
        _ = machine.handle(.installed(Installed(version: "v1", canRollBack: true)), now: 0)
        #expect(self.reports(machine.handle(.health(Health(problem: nil, isTrusted: false)), now: 10)).map(\.state) == [.creating])
        #expect(self.reports(machine.handle(.health(Health(problem: nil, isTrusted: false)), now: 100)).map(\.state) == [.succeeded])
    }

    @Test("K8 a removal goes on until nothing is left, and says what holds it") func removal() {
        var machine = self.settled()
        let gone = self.wanted(2, removal: .keepingData)
        #expect(machine.handle(.wanted(gone), now: 0).contains(.remove(.keepingData)))
        let left = ExtensionError(.nodesNotReady, "1 of 2 nodes")
        #expect(machine.handle(.removal(left: left), now: 10).isEmpty)
        #expect(machine.handle(.tick, now: 11) == [.remove(.keepingData)])
        // An error in between ends nothing.
        #expect(machine.handle(.failed(ExtensionError(.unreachable, "away")), now: 12).isEmpty)
        #expect(self.reports(machine.handle(.removal(left: left), now: 60)).map(\.error) == [left])
        #expect(machine.handle(.removal(left: left), now: 70).isEmpty)
        let told = self.reports(machine.handle(.removal(left: nil), now: 80))
        #expect(told.map(\.isRemoved) == [true])
        #expect(told.map(\.generation) == [2])
        #expect(machine.phase == .idle)
        #expect(machine.handle(.tick, now: 90).isEmpty)
    }

    @Test("K1 what the control plane has forgotten is left alone") func forgotten() {
        var machine = self.settled()
        #expect(machine.handle(.wanted(nil), now: 5).isEmpty)
        #expect(machine.phase == .idle)
        #expect(machine.handle(.tick, now: 5000).isEmpty)
    }
}
