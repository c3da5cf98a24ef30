// The agent of a cluster: it asks the control plane what is wanted, brings it about, and tells how it went.

package import ClusterProtocol
internal import JSON
package import Logging
internal import Persistence
internal import Synchronization

/// The control plane as the agent sees it.
package protocol ControlPlane: Sendable {
    /// Long poll: answers when the state is no longer the one of `revision`, or after `wait` seconds.
    func desired(after revision: String?, wait: Int) async throws -> DesiredState
    func report(_ report: AgentReport) async throws
}

/// Runs until its task is cancelled; whatever fails is tried again.
package final class ClusterAgent: Sendable {
    /// Seconds.
    private static let poll = 30
    private static let heartbeat = 60
    private static let longestPause = 30

    private struct Mailbox {
        var state: DesiredState?
        var isChanged = false
    }

    private let plane: any ControlPlane
    private let api: any ClusterAPI
    private let installer: ExtensionInstaller
    private let limits: ExtensionMachine.Limits
    private let version: String
    private let logger: Logger
    private let mailbox = Mutex(Mailbox())
    private let wakes: AsyncStream<Void>
    private let bell: AsyncStream<Void>.Continuation

    package init(
        plane: any ControlPlane, api: any ClusterAPI, installer: ExtensionInstaller, limits: ExtensionMachine.Limits, version: String,
        logger: Logger
    ) {
        self.plane = plane
        self.api = api
        self.installer = installer
        self.limits = limits
        self.version = version
        self.logger = logger
        (self.wakes, self.bell) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
    }

    package func run() async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.ask() }
            group.addTask { await self.watch() }
            group.addTask { await self.beat() }
            group.addTask {
                while (try? await Task.sleep(for: .milliseconds(self.limits.look))) != nil { self.bell.yield() }
            }
            group.addTask { await self.work() }
            await group.waitForAll()
        }
    }

    // MARK: What happens outside

    private func ask() async {
        var (revision, failures): (String?, Int) = (nil, 0)
        while !Task.isCancelled {
            do {
                let state = try await self.plane.desired(after: revision, wait: Self.poll)
                failures = 0
                if state.revision != revision {
                    revision = state.revision
                    self.logger.info("the control plane wants", metadata: ["revision": .string(state.revision)])
                    self.mailbox.withLock { $0.state = state }
                    self.bell.yield()
                }
            } catch {
                if Task.isCancelled { return }
                failures += 1
                self.logger.warning("the control plane was not asked", metadata: ["error": .string("\(error)")])
                let pause = min(Self.longestPause, 1 << min(failures, 5))
                try? await Task.sleep(for: .milliseconds(pause * Int.random(in: 500...1000)))
            }
        }
    }

    /// Changes of the workload ring the bell; without the watch the agent looks now and then all the same.
    private func watch() async {
        while !Task.isCancelled {
            do {
                try await self.api.watch(ObjectKind.deployment.path(in: ExtensionSettings.namespace), seconds: 240) { _ in
                    self.mailbox.withLock { $0.isChanged = true }
                    self.bell.yield()
                }
            } catch {
                if Task.isCancelled { return }
                self.logger.debug("the workload is not watched", metadata: ["error": .string("\(error)")])
            }
            try? await Task.sleep(for: .seconds(2))
        }
    }

    private func beat() async {
        while !Task.isCancelled {
            let facts = await self.facts()
            do {
                try await self.plane.report(AgentReport(agentVersion: self.version, cluster: facts, extensions: []))
            } catch {
                if Task.isCancelled { return }
                self.logger.warning("the cluster was not reported", metadata: ["error": .string("\(error)")])
            }
            try? await Task.sleep(for: .seconds(Self.heartbeat))
        }
    }

    private func facts() async -> ClusterFacts {
        let version = try? await self.api.send("GET", "/version", nil, contentType: "application/json")
        let nodes = try? await self.api.list(.node)
        // Public by their nature; some clusters keep them from service accounts all the same.
        let discovery = try? await self.api.send("GET", "/.well-known/openid-configuration", nil, contentType: "application/json")
        let keys = try? await self.api.send("GET", "/openid/v1/jwks", nil, contentType: "application/json")
        return ClusterFacts(
            kubernetesVersion: version?["gitVersion"]?.stringValue, totalNodeCount: nodes?.count, issuer: discovery?["issuer"]?.stringValue,
            keys: keys?["keys"] == nil ? nil : keys?.serialized())
    }

    // MARK: The work

    private func work() async {
        var machine = ExtensionMachine(limits: self.limits)
        var installed: Installed?
        var unsent: ExtensionReport?
        // What passes, and not what the clock of the machine says: that may be set back by a day, and nothing would be looked at for one.
        let start = Elapsing.now
        func now() -> Int64 {
            let (seconds, attoseconds) = start.duration(to: Elapsing.now).components
            return seconds * 1000 + attoseconds / 1_000_000_000_000_000
        }
        for await _ in self.wakes {
            if Task.isCancelled { return }
            let (state, isChanged) = self.mailbox.withLock { mailbox in
                defer { mailbox = Mailbox() }
                return (mailbox.state, mailbox.isChanged)
            }
            var events: [ExtensionMachine.Event] = []
            // The control plane lets one extension of this type be in a cluster.
            if let state { events.append(.wanted(state.extensions.first)) }
            if isChanged || machine.wake.map({ $0 <= now() }) == true { events.append(.tick) }
            var index = 0
            while index < events.count {
                let actions = machine.handle(events[index], now: now())
                index += 1
                for action in actions {
                    if case .report(let report) = action {
                        unsent = report
                        self.tell(report)
                    } else if let event = await self.perform(action, machine.wanted, &installed) {
                        events.append(event)
                    }
                }
                if Task.isCancelled { return }
                await self.send(&unsent)
            }
            await self.send(&unsent)
        }
    }

    private func perform(
        _ action: ExtensionMachine.Action, _ wanted: DesiredExtension?, _ installed: inout Installed?
    ) async -> ExtensionMachine.Event? {
        do throws(ExtensionError) {
            switch action {
            case .install(let wanted):
                let found = try await self.installer.install(wanted)
                installed = found
                return .installed(found)
            case .look:
                guard let wanted else { return nil }
                return .health(try await self.installer.look(wanted))
            case .remember(let wanted):
                if let installed { try await self.installer.remember(wanted, installed) }
                return nil
            case .rollBack(let wanted, let cause):
                let version = try await self.installer.rollBack(wanted, because: cause)
                return .rolledBack(version: version)
            case .remove(let removal): return .removal(left: try await self.installer.remove(removal))
            case .report: return nil
            }
        } catch {
            // What could not be remembered is remembered at the next look.
            if case .remember = action { return nil }
            return .failed(error)
        }
    }

    private func tell(_ report: ExtensionReport) {
        self.logger.notice(
            "extension",
            metadata: [
                "name": .string(report.name), "state": .string(report.isRemoved ? "Removed" : report.state.rawValue),
                "version": .string(report.currentVersion ?? "none"),
                "error": .string(report.error.map { "\($0.code.rawValue): \($0.message)" } ?? "none"),
            ])
    }

    /// Sends the last word; what does not arrive is sent with the next wake.
    private func send(_ unsent: inout ExtensionReport?) async {
        guard let report = unsent else { return }
        do {
            try await self.plane.report(AgentReport(agentVersion: self.version, cluster: nil, extensions: [report]))
            unsent = nil
        } catch {
            if !Task.isCancelled { self.logger.warning("the extension was not reported", metadata: ["error": .string("\(error)")]) }
        }
    }
}
