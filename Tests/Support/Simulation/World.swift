// A family of registries under a seed: it is set up, people write, everything goes wrong, and then all is well again.

internal import Gateway
internal import GatewayProtocol
internal import Identity
internal import Logging
internal import OCI
internal import Persistence
internal import RegistryCore
internal import SyncAgent
internal import Synchronization
internal import TestSupport

/// One run.
final class World: Sendable {
    let scheduler: Scheduler
    let scenario: Scenario
    let root: Machine
    let children: [Machine]
    let links: [Link]
    let ledger = Ledger()
    private let connections = Mutex<[String: ConnectionString]>([:])
    let operators: Operators
    private let director: Lane
    private let isTrouble = Mutex(true)
    private let killCount = Mutex(0)

    static let repositories = [repository("app"), repository("team/lib")]
    static let tags = [tag("v1"), tag("latest"), tag("edge")]
    private static let layers = [300, 5000, 40_000, 40_000, 200_000, 300, 5000, 40_000, 40_000, 200_000].enumerated().map {
        Fixture.layer(bytes: $1, seed: UInt64($0))
    }

    init(_ scheduler: Scheduler, folder: String) {
        let scenario = Scenario(scheduler)
        self.scheduler = scheduler
        self.scenario = scenario
        let root = Machine("root", nil, number: 1, scheduler, folder: folder)
        self.root = root
        let children = scenario.members.enumerated().map { Machine($1.name, $1, number: $0 + 2, scheduler, folder: folder) }
        self.children = children
        self.links = children.map { child in
            let parent = children.first { $0.name == child.member?.parent } ?? root
            return Link(child, to: parent, scenario.luck, scheduler)
        }
        self.director = Lane(0, scheduler)
        self.operators = Operators(scheduler, scenario, root)
    }

    var machines: [Machine] { [self.root] + self.children }
    var kills: Int { self.killCount.withLock { $0 } }
    var goesWrong: Bool { self.isTrouble.withLock { $0 } }

    /// Begins the run; the scheduler carries it on.
    func begin() {
        Task(executorPreference: self.director) {
            do {
                try await self.setUp()
                try await self.trouble()
                try await self.settle()
                try await self.judge()
            } catch {
                self.scheduler.fail("the simulation itself fails: \(error)")
            }
            for machine in self.machines { await machine.end() }
            self.scheduler.finish()
        }
    }

    // MARK: Beginning

    private func setUp() async throws {
        let plane = try await self.root.start(nil).plane
        try await self.operators.introduceReader(plane)
        for member in self.scenario.members {
            let schedule = member.hasWindow ? Scenario.Member.schedule : "* * * * *"
            let window = member.hasWindow ? Scenario.Member.window : nil
            let password = try await plane.connectedRegistry(
                member.name, mode: member.mode, parent: member.parent, schedule: schedule, window: window)
            // Parents come before their children.
            let below = self.scenario.members.reduce(into: [member.name]) { names, other in
                if let parent = other.parent, names.contains(parent) { names.append(other.name) }
            }
            try await self.operators.begin(member, gateways: below)
            try await plane.configure(
                member.name, mode: member.mode, parent: member.parent, clientTokens: [Operators.reader], schedule: schedule,
                window: window, budget: member.budget, onDemand: member.isOnDemand)
            let connection = try ConnectionString(
                parsing: "ConnectedRegistryName=\(member.name);SyncTokenName=\(member.name)-sync;SyncTokenPassword=\(password);"
                    + "ParentGatewayEndpoint=harbour.test;ParentEndpointProtocol=http")
            self.connections.withLock { $0[member.name] = connection }
        }
        if let running = self.root.running { self.write(at: self.root, running) }
        for child in self.children { try await self.start(child) }
    }

    private func start(_ machine: Machine) async throws {
        let connection = self.connections.withLock { $0[machine.name] }
        let process = try await machine.start(connection)
        self.scheduler.note("start \(machine.name)")
        machine.disk.setFull(self.goesWrong ? self.scenario.luck.diskFull : 0)
        self.write(at: machine, process)
        guard let connection, let memory = process.memory, let link = self.links.first(where: { $0.child.name == machine.name }) else {
            return
        }
        let (site, store, scheduler) = (process.site, process.plane.connectedRegistries, self.scheduler)
        let agent = SyncAgent(
            connection: connection, memory: memory, store: site.store, identities: site.identities, registry: site.registry,
            folder: site.folder, transport: link, makeUntrusted: { link }, version: "simulated", loginServer: "\(machine.name).test",
            logger: Logger(label: "simulation") { _ in SwiftLogNoOpLogHandler() }, clock: site.clock.wall,
            caPin: String(repeating: "a", count: 64),
            descendants: DescendantPort(
                apply: { try await store.replace(descendants: $0, in: site.registry) },
                statuses: { try await store.descendantStatuses(in: site.registry) }, reports: store.reports),
            jitter: { Double(scheduler.random(below: 1000)) / 1000 })
        process.missing.set(agent.onDemand)
        self.pull(at: machine, process)
        Task(executorPreference: process.lane) {
            if let stop = await agent.run() {
                scheduler.fail("\(machine.name) stops for good: \(stop.error.code.rawValue): \(stop.error.message)")
            }
        }
    }

    // MARK: Trouble

    private func trouble() async throws {
        for _ in 0..<self.scenario.luck.kills {
            let victim = self.machines[self.scheduler.random(below: self.machines.count)]
            self.scheduler.after(steps: self.scheduler.random(below: 3000)) { self.kill(victim) }
        }
        let outages = self.scenario.luck.outages
        if outages > 0 {
            for link in self.links { Task(executorPreference: self.director) { try await self.cut(link, every: outages) } }
        }
        Task(executorPreference: self.director) { try await self.look() }
        if self.scenario.selects {
            Task(executorPreference: self.director) {
                while self.goesWrong { try await self.operators.selectSomething() }
            }
        }
        try await self.scheduler.sleep(milliseconds: self.scenario.duration)
    }

    private func kill(_ machine: Machine) {
        guard self.goesWrong, machine.running != nil else { return }
        self.killCount.withLock { $0 += 1 }
        machine.kill()
        Task(executorPreference: self.director) {
            await machine.bury()
            try await self.scheduler.sleep(milliseconds: self.scheduler.random(below: 5000) + 1)
            do { try await self.start(machine) } catch { self.scheduler.fail("\(machine.name) does not start again: \(error)") }
        }
    }

    private func cut(_ link: Link, every milliseconds: Int) async throws {
        while true {
            try await self.scheduler.sleep(milliseconds: self.scheduler.random(below: 2 * milliseconds) + 1)
            guard self.goesWrong else { return }
            link.setUp(false)
            try await self.scheduler.sleep(milliseconds: self.scheduler.random(below: milliseconds) + 1)
            link.setUp(true)
        }
    }

    /// Looks now and then whether something is visible of which a part is missing.
    private func look() async throws {
        while self.goesWrong {
            try await self.scheduler.sleep(milliseconds: self.scheduler.random(below: 3000) + 1)
            for machine in self.machines { try await self.checkWhole(machine) }
        }
    }

    /// Everything a tag names is there whole.
    func checkWhole(_ machine: Machine) async throws {
        guard let site = machine.running?.site else { return }
        for name in Self.repositories {
            let state = try await site.store.state(of: name, in: site.registry, after: nil, limit: 1000).state
            for entry in state.tags where try await !site.store.holdsWhole(entry.digest, in: name, of: site.registry) {
                self.scheduler.fail("\(name):\(entry.tag) is visible at \(machine.name), and a part of it is missing")
            }
        }
    }

    // MARK: Writers

    private func write(at machine: Machine, _ process: Incarnation) {
        guard machine.member?.writes ?? self.scenario.writesAtRoot else { return }
        Task(executorPreference: process.lane) {
            while self.goesWrong {
                try await self.scheduler.sleep(milliseconds: self.scheduler.random(below: 4000) + 1)
                guard self.goesWrong else { return }
                if let memory = await process.memory?.memory, !memory.isReadWrite || memory.stopped != nil { continue }
                do {
                    try await self.writeOnce(at: machine, process.site)
                } catch let error as RegistryError {
                    // Refused, and told so.
                    self.scheduler.note("\(machine.name) refuses: \(error.code.rawValue)")
                }
            }
        }
    }

    private func writeOnce(at machine: Machine, _ site: Site) async throws {
        func pick<Value>(_ values: [Value]) -> Value { values[self.scheduler.random(below: values.count)] }
        let (name, tag) = (pick(Self.repositories), pick(Self.tags))
        switch self.scheduler.random(below: self.scenario.locks ? 14 : 10) {
        case 0..<6:
            // Few enough that images share them.
            let layers = (0..<self.scheduler.random(below: 3) + 1).map { _ in pick(Self.layers) }
            let image = TestImage("\(machine.name)-\(self.ledger.imageNumber)", layers: layers)
            for blob in image.blobs { self.ledger.note(blob.digest, size: blob.bytes.count) }
            try await site.push(image, to: name)
            try await self.set(tag, to: image.manifest, in: name, at: machine, site)
        case 6, 7:
            // Something that is here already.
            let state = try await site.store.state(of: name, in: site.registry, after: nil, limit: 100).state
            guard let entry = state.tags.isEmpty ? nil : pick(state.tags) else { return }
            let stored = try await site.store.manifest(.digest(entry.digest), in: name, of: site.registry)
            try await self.set(tag, to: Content(stored.bytes, stored.mediaType), in: name, at: machine, site)
        case 8:
            let old = try await site.store.resolve(tag, in: name, of: site.registry)
            try await site.store.delete(tag, from: name, of: site.registry, origin: "test")
            self.ledger.replace(old, tag, name)
            self.scheduler.note("\(machine.name) deletes \(name):\(tag)")
        case 10, 11:
            guard let digest = try await site.store.resolve(tag, in: name, of: site.registry) else { return }
            let target = pick([LockTarget.tag(name, tag), .manifest(name, digest), .repository(name)])
            let isOpening = self.scheduler.chance(600)
            try await self.lock(target, isOpening ? [] : pick([[.write], [.delete], [.write, .delete]]), at: machine, site)
        case 12, 13:
            // Unlocked for one change, and locked again.
            let target = LockTarget.tag(name, tag)
            guard try await site.store.locks(of: name, in: site.registry).contains(where: { $0.target == target }) else { return }
            try await self.lock(target, [], at: machine, site)
            let image = TestImage("\(machine.name)-\(self.ledger.imageNumber)", layers: [pick(Self.layers)])
            for blob in image.blobs { self.ledger.note(blob.digest, size: blob.bytes.count) }
            try await site.push(image, to: name)
            try await self.set(tag, to: image.manifest, in: name, at: machine, site)
            try await self.lock(target, [.write], at: machine, site)
        default:
            guard let digest = try await site.store.resolve(tag, in: name, of: site.registry) else { return }
            try await site.store.delete(digest, from: name, of: site.registry, origin: "test")
            self.ledger.delete(digest)
            self.scheduler.note("\(machine.name) deletes \(name)@\(digest)")
        }
    }

    private func lock(_ target: LockTarget, _ locks: ImageLocks, at machine: Machine, _ site: Site) async throws {
        var change = LockChange()
        change.set = locks
        change.cleared = ImageLocks([.write, .delete]).subtracting(locks)
        try await site.store.setLocks(change, of: target, in: site.registry, origin: "test")
        self.scheduler.note("\(machine.name) locks \(target): \(locks.rawValue)")
    }

    /// What is locked at the root goes on refusing what was done elsewhere: in peace somebody opens it.
    private func unlockRoot() async throws {
        guard let site = self.root.running?.site else { return }
        for name in Self.repositories {
            for lock in try await site.store.locks(of: name, in: site.registry) {
                try await self.lock(lock.target, [], at: self.root, site)
            }
        }
    }

    private func set(_ tag: Tag, to manifest: Content, in name: RepositoryName, at machine: Machine, _ site: Site) async throws {
        let step = self.scheduler.steps
        let old = try await site.store.resolve(tag, in: name, of: site.registry)
        try await site.put(manifest, tags: [tag], to: name)
        // What was seen and what was replaced are the same only if nobody came between.
        if self.scheduler.steps != step { self.scheduler.fail("a write of a client was not one step of the simulation") }
        self.ledger.acknowledge(
            .init(machine: machine.name, repository: name, tag: tag, digest: manifest.digest), replacing: old)
        self.scheduler.note("\(machine.name) sets \(name):\(tag) to \(manifest.digest)")
    }

    // MARK: Peace

    /// Everything works from here on; the family must come to agree.
    private func settle() async throws {
        self.isTrouble.withLock { $0 = false }
        self.scheduler.note("peace")
        for link in self.links { link.heal() }
        for machine in self.machines { machine.disk.setFull(0) }
        // Whatever an operator was about when the root was killed: he sees to it that it is as he wants.
        while self.root.running == nil { try await self.scheduler.sleep(milliseconds: 100) }
        try await self.operators.applyAll()
        // Twelve hours of its time: budgets are given by the hour, and drift is looked for once in one.
        let end = self.scheduler.milliseconds + 12 * 3_600_000
        var pause = 1000
        while try await !self.isSettled() {
            guard self.scheduler.milliseconds < end else {
                self.scheduler.fail("the family does not come to agree: \(try await self.differences())")
                return
            }
            if self.scenario.locks { try await self.unlockRoot() }
            try await self.scheduler.sleep(milliseconds: pause)
            pause = min(60_000, pause * 2)
        }
        self.scheduler.note("settled")
    }

    private func isSettled() async throws -> Bool { try await self.differences().isEmpty }

    private func differences() async throws -> [String] {
        guard let root = self.root.running else { return ["the root is down"] }
        var found: [String] = []
        for child in self.children {
            guard let site = child.running?.site else {
                found.append("\(child.name) is down")
                continue
            }
            let selection = self.operators.selection(of: child.name)
            let wanted = try await root.site.store.stateSummary(of: root.site.registry) { selection.contains($0) }.root
            // What is not selected any more is taken from those nobody writes to, and stays where clients may have written it.
            let isReadOnly = child.member?.mode == .readOnly
            if try await site.store.stateSummary(of: site.registry, isSelected: { isReadOnly || selection.contains($0) }).root != wanted {
                found.append("\(child.name) has other content")
            }
            let refused = try await site.store.outboxRefusals(of: site.registry, limit: 1000).count
            let pending = try await site.store.outboxCount(of: site.registry).pending
            if pending > Int64(refused) { found.append("\(child.name) has \(pending) changes to send") }
        }
        return found
    }
}
