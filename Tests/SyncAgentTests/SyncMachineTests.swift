// Proves the loop as a value: every phase takes every event, nothing leaves the end, and the back-off grows to its limit.

import Schedule
import TestSupport
import Testing

@testable import SyncAgent

@Suite struct SyncMachineTests {
    /// 2026-01-01T00:00:00Z.
    private let midnight = 1_767_225_600
    private static let terminal: [SyncError.Code] = [.alreadyActivated, .deactivated, .notFound, .wrongFolder]
    private static let passing: [SyncError.Code] = [.parentUnreachable, .parentUntrusted, .disk, .parentRefused, .content]

    private func nights() throws -> SyncWindow {
        try SyncWindow(schedule: CronSchedule(parsing: "0 22 * * *"), duration: ISODuration(parsing: "PT6H"))
    }

    private func machine(hasCursor: Bool = true, window: SyncWindow = .always) -> SyncMachine {
        var machine = SyncMachine(hasCursor: hasCursor)
        _ = machine.handle(.started, now: self.midnight, jitter: 0)
        _ = machine.handle(.activated, now: self.midnight, jitter: 0)
        _ = machine.handle(.settingsApplied(window, selectionChanged: false), now: self.midnight, jitter: 0)
        return machine
    }

    @Test("C5 from nothing to following: activate, settings, compare, follow")
    func firstStart() {
        var machine = SyncMachine(hasCursor: false)
        #expect(machine.handle(.started, now: 0, jitter: 0) == .activate)
        #expect(!machine.isConnected)
        #expect(machine.handle(.activated, now: 0, jitter: 0) == .fetchSettings)
        #expect(machine.handle(.settingsApplied(.always, selectionChanged: true), now: 0, jitter: 0) == .compareState)
        #expect(machine.handle(.compared, now: 0, jitter: 0) == .follow)
        #expect(machine.isConnected)
        #expect(machine.handle(.followed(settingsDiffer: false), now: 0, jitter: 0) == .follow)
        #expect(machine.handle(.followed(settingsDiffer: true), now: 0, jitter: 0) == .fetchSettings)
        #expect(machine.handle(.settingsUnchanged, now: 0, jitter: 0) == .follow)
    }

    @Test("C12 with a cursor nothing is compared; a change of the selection and a cursor that is gone compare")
    func comparing() {
        var machine = self.machine()
        #expect(machine.phase == .following)
        #expect(machine.handle(.settingsApplied(.always, selectionChanged: true), now: 0, jitter: 0) == .compareState)
        #expect(machine.handle(.compared, now: 0, jitter: 0) == .follow)
        #expect(machine.handle(.failed(SyncError(.compareState, "trimmed")), now: 0, jitter: 0) == .compareState)
        #expect(machine.trouble == nil)
        // A comparison that fails is made again, not forgotten.
        _ = machine.handle(.failed(SyncError(.parentUnreachable, "gone")), now: 0, jitter: 0)
        #expect(machine.handle(.rested, now: 0, jitter: 0) == .fetchSettings)
        #expect(machine.handle(.settingsApplied(.always, selectionChanged: false), now: 0, jitter: 0) == .compareState)
    }

    @Test("B3 with nothing to spend a comparison waits, and settings are asked for as often as a long poll would be answered")
    func budgetSpent() {
        var machine = self.machine(hasCursor: false)
        #expect(machine.phase == .comparing)
        #expect(machine.handle(.budgetSpent(until: self.midnight + 3600), now: self.midnight, jitter: 0) == .heartbeatAndRest(seconds: 30))
        #expect(machine.isConnected && machine.trouble == nil)
        #expect(machine.handle(.rested, now: self.midnight + 30, jitter: 0) == .fetchSettings)
        #expect(machine.handle(.settingsApplied(.always, selectionChanged: false), now: self.midnight + 30, jitter: 0) == .compareState)
        #expect(
            machine.handle(.budgetSpent(until: self.midnight + 3600), now: self.midnight + 3595, jitter: 0) == .heartbeatAndRest(seconds: 5)
        )
    }

    @Test("C11 outside the window it rests with heartbeats, and content waits", arguments: [true, false])
    func closedWindow(hasCursor: Bool) throws {
        let window = try self.nights()
        var machine = self.machine(hasCursor: hasCursor)
        let noon = self.midnight + 12 * 3600
        #expect(
            machine.handle(.settingsApplied(window, selectionChanged: false), now: noon, jitter: 0)
                == .heartbeatAndRest(seconds: SyncMachine.heartbeatInterval))
        #expect(machine.phase == .resting)
        // Nothing else is asked: the answer to a heartbeat tells of other settings.
        #expect(
            machine.handle(.rested, now: noon + 300, jitter: 0) == .heartbeatAndRest(seconds: SyncMachine.heartbeatInterval))
        #expect(machine.handle(.settingsDiffer, now: noon + 300, jitter: 0) == .fetchSettings)
        // The last rest ends with the window's beginning.
        let opens = self.midnight + 22 * 3600
        #expect(
            machine.handle(.settingsApplied(window, selectionChanged: false), now: opens - 7, jitter: 0) == .heartbeatAndRest(seconds: 7))
        #expect(machine.handle(.rested, now: opens, jitter: 0) == .fetchSettings)
        #expect(
            machine.handle(.settingsApplied(window, selectionChanged: false), now: opens, jitter: 0)
                == (hasCursor ? .follow : .compareState))
        // It closes while changes are followed.
        #expect(machine.handle(.compared, now: opens, jitter: 0) == .follow)
        #expect(
            machine.handle(.followed(settingsDiffer: false), now: opens + 6 * 3600, jitter: 0)
                == .heartbeatAndRest(seconds: SyncMachine.heartbeatInterval))
    }

    @Test("C11 C12 what the last poll of a window finds to be compared waits for the next window")
    func comparesLater() throws {
        let window = try self.nights()
        var machine = self.machine(window: window)
        let (opens, closes) = (self.midnight + 22 * 3600, self.midnight + 28 * 3600)
        #expect(machine.handle(.settingsApplied(window, selectionChanged: false), now: opens, jitter: 0) == .follow)
        #expect(
            machine.handle(.failed(SyncError(.compareState, "it differs")), now: closes, jitter: 0)
                == .heartbeatAndRest(seconds: SyncMachine.heartbeatInterval))
        #expect(machine.trouble == nil)
        #expect(machine.handle(.rested, now: opens + 86_400, jitter: 0) == .fetchSettings)
        #expect(
            machine.handle(.settingsApplied(window, selectionChanged: false), now: opens + 86_400, jitter: 0) == .compareState)
    }

    @Test("C16 what kept us from the parent is over once it answers, also outside the window; what is wrong here is not")
    func trouble() throws {
        let noon = self.midnight + 12 * 3600
        for code in Self.passing + [.unauthorized] {
            var machine = self.machine()
            _ = machine.handle(.failed(SyncError(code, "x")), now: noon, jitter: 0)
            #expect(machine.trouble?.code == code)
            _ = machine.handle(.rested, now: noon, jitter: 0)
            _ = machine.handle(.settingsApplied(try self.nights(), selectionChanged: false), now: noon, jitter: 0)
            #expect(machine.trouble?.code == ([.disk, .parentRefused, .content].contains(code) ? code : nil))
            _ = machine.handle(.followed(settingsDiffer: false), now: noon, jitter: 0)
            #expect(machine.trouble == nil)
        }
    }

    @Test("C11 the back-off grows with each failure, is capped and jittered, and begins anew after a success", arguments: passing)
    func backOff(code: SyncError.Code) {
        func rests(jitter: Double) -> [Int] {
            var machine = self.machine()
            return (0..<40).compactMap { _ in
                guard case .rest(let milliseconds) = machine.handle(.failed(SyncError(code, "x")), now: 0, jitter: jitter) else {
                    return nil
                }
                _ = machine.handle(.rested, now: 0, jitter: jitter)
                _ = machine.handle(.settingsApplied(.always, selectionChanged: false), now: 0, jitter: jitter)
                return milliseconds
            }
        }
        let (low, high) = (rests(jitter: 0), rests(jitter: 1))
        #expect(high.count == 40)
        #expect(high[0] == 500)
        #expect(zip(high, high.dropFirst()).allSatisfy { $0 <= $1 })
        #expect(high.last == SyncMachine.longestBackOff)
        #expect(zip(low, high).allSatisfy { $0 * 2 == $1 })
        var machine = self.machine()
        for _ in 0..<10 { _ = machine.handle(.failed(SyncError(code, "x")), now: 0, jitter: 1) }
        #expect(machine.phase == .offline(attempt: 10))
        _ = machine.handle(.followed(settingsDiffer: false), now: 0, jitter: 1)
        #expect(machine.handle(.failed(SyncError(code, "x")), now: 0, jitter: 1) == .rest(milliseconds: 500))
    }

    @Test("C18 a refused token is tried again, from activation on")
    func unauthorized() {
        var machine = self.machine()
        #expect(
            machine.handle(.failed(SyncError(.unauthorized, "x")), now: 0, jitter: 0)
                == .rest(milliseconds: SyncMachine.firstUnauthorizedRest))
        #expect(machine.handle(.rested, now: 0, jitter: 0) == .activate)
        // Before activation there are no settings to ask for.
        var fresh = SyncMachine(hasCursor: false)
        _ = fresh.handle(.started, now: 0, jitter: 0)
        _ = fresh.handle(.failed(SyncError(.parentUnreachable, "x")), now: 0, jitter: 0)
        #expect(fresh.handle(.rested, now: 0, jitter: 0) == .activate)
    }

    private static let events: [SyncMachine.Event] =
        [
            .started, .activated, .settingsApplied(.always, selectionChanged: false), .settingsApplied(.always, selectionChanged: true),
            .settingsUnchanged, .compared,
            .followed(settingsDiffer: false), .followed(settingsDiffer: true), .rested, .settingsDiffer,
        ] + (terminal + passing + [.unauthorized, .compareState]).map { .failed(SyncError($0, "x")) }

    @Test("C6 the end is final", arguments: terminal)
    func stopped(code: SyncError.Code) {
        for event in Self.events {
            var machine = self.machine()
            #expect(machine.handle(.failed(SyncError(code, "x")), now: 0, jitter: 0) == .stop)
            #expect(machine.phase == .stopped(SyncError(code, "x")))
            #expect(machine.handle(event, now: 0, jitter: 0) == .stop)
            #expect(machine.phase == .stopped(SyncError(code, "x")))
            #expect(!machine.isConnected)
        }
    }

    @Test("C11 any walk of events gives an action each, rests within limits, and follows only after activation")
    func walk() throws {
        var generator = SeededGenerator(seed: 13)
        let window = try self.nights()
        let events = Self.events + [.settingsApplied(window, selectionChanged: false)]
        for _ in 0..<300 {
            var machine = SyncMachine(hasCursor: Bool.random(using: &generator))
            var now = self.midnight
            for _ in 0..<60 {
                let event = events.randomElement(using: &generator) ?? .started
                now += Int.random(in: 0...7200, using: &generator)
                let action = machine.handle(event, now: now, jitter: Double.random(in: 0...1, using: &generator))
                switch action {
                case .rest(let milliseconds): #expect((250...60_000).contains(milliseconds))
                case .heartbeatAndRest(let seconds): #expect((1...SyncMachine.heartbeatInterval).contains(seconds))
                case .stop:
                    guard case .stopped = machine.phase else {
                        Issue.record("stop without the end")
                        return
                    }
                case .activate, .fetchSettings, .compareState, .follow: break
                }
            }
        }
    }
}
