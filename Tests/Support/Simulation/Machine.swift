// One machine of a simulated family: the very types that the binary is made of, over a data folder that outlives each of its processes.

internal import Foundation
internal import Gateway
internal import GatewayProtocol
internal import HTTPServing
internal import HTTPTypes
internal import HummingbirdCore
internal import Logging
internal import NIOCore
internal import Persistence
internal import RegistryClient
internal import SyncAgent
internal import Synchronization
internal import TestSupport

/// A process: it lives until it is killed.
final class Incarnation: Sendable {
    let lane: Lane
    let site: Site
    let plane: DataPlane
    let memory: SyncMemoryStore?
    /// What its clients ask for content that is not here.
    let missing: LateMissingContent
    private let pending = Mutex<[UInt64: CheckedContinuation<ServerResponse?, Never>]>([:])
    private let nextRequest = Atomic<UInt64>(0)

    init(lane: Lane, site: Site, plane: DataPlane, memory: SyncMemoryStore?, missing: LateMissingContent) {
        self.missing = missing
        self.lane = lane
        self.site = site
        self.plane = plane
        self.memory = memory
    }

    /// Answers a request in this process; `nil` when it dies before it has.
    func respond(_ method: HTTPRequest.Method, _ target: String, _ headers: HTTPFields, _ body: RequestBody) async -> ServerResponse? {
        let number = self.nextRequest.wrappingAdd(1, ordering: .relaxed).newValue
        let plane = self.plane
        let task = Mutex<Task<Void, Never>?>(nil)
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                guard self.lane.isAlive else { return continuation.resume(returning: nil) }
                self.pending.withLock { $0[number] = continuation }
                let running = Task(executorPreference: self.lane) {
                    let response = try? await plane.respond(
                        method, target, headers: headers, body: body, host: "harbour.test", isSecure: false)
                    self.pending.withLock { $0.removeValue(forKey: number) }?.resume(returning: response)
                }
                task.withLock { $0 = running }
            }
        } onCancel: {
            task.withLock { $0 }?.cancel()
            self.pending.withLock { $0.removeValue(forKey: number) }?.resume(returning: nil)
        }
    }

    /// Kills the process: nothing of it goes on, and who waits for an answer gets none.
    func kill() {
        self.lane.kill()
        let waiting = self.pending.withLock { pending in
            defer { pending = [:] }
            return pending.sorted { $0.key < $1.key }.map(\.value)
        }
        for continuation in waiting { continuation.resume(returning: nil) }
    }
}

/// A machine with its disk.
final class Machine: Sendable {
    let name: String
    let member: Scenario.Member?
    let scratch: ScratchFolder
    let clock: TestClock
    private let scheduler: Scheduler
    private let current = Mutex<Incarnation?>(nil)
    private let lanes: Mutex<Int>
    let disk: FaultyDisk

    init(_ name: String, _ member: Scenario.Member?, number: Int, _ scheduler: Scheduler, folder: String) {
        self.name = name
        self.member = member
        self.scratch = ScratchFolder(in: folder)
        self.scheduler = scheduler
        self.clock = scheduler.clock(wrongBy: member?.clockOffset ?? 0)
        self.lanes = Mutex(number * 1000)
        self.disk = FaultyDisk(scheduler)
    }

    /// The process that runs, if one does.
    var running: Incarnation? { self.current.withLock { $0?.lane.isAlive == true ? $0 : nil } }

    func makeLane() -> Lane {
        Lane(
            self.lanes.withLock { number in
                number += 1
                return number
            }, self.scheduler)
    }

    /// Starts a process on the data folder.
    ///
    /// - Parameter connection: how it finds its parent; `nil` at the root.
    func start(_ connection: ConnectionString?) async throws -> Incarnation {
        let lane = self.makeLane()
        let site = try await Site(clock: self.clock, scratch: self.scratch, isInline: true)
        var memory: SyncMemoryStore?
        if let connection { memory = try await SyncMemoryStore(database: site.database, connection: connection) }
        let opened = memory
        let missing = LateMissingContent()
        let plane = try await DataPlane(
            site, audience: connection == nil ? "registry/harbour" : "connected-registry/\(self.name)",
            owner: connection == nil ? nil : self.name, missing: missing
        ) { await opened?.memory.result?.lastSuccess != nil || opened == nil }
        let incarnation = Incarnation(lane: lane, site: site, plane: plane, memory: memory, missing: missing)
        self.current.withLock { $0 = incarnation }
        FileWitnesses.watch(self.scratch.path, by: self.disk)
        return incarnation
    }

    /// Kills the process between two steps.
    func kill() {
        self.scheduler.note("kill \(self.name)")
        self.running?.kill()
    }

    /// Closes what a killed process had open, as the system does.
    func bury() async {
        let dead = self.current.withLock { $0 }
        try? await dead?.site.database.close()
        dead?.site.folder.abandon()
        // Nobody may deallocate what a killed process waits for.
        self.current.withLock { if let dead = $0 { Graveyard.keep(dead) } }
    }

    func end() async {
        self.running?.kill()
        await self.bury()
        FileWitnesses.unwatch(self.scratch.path)
    }
}

/// Keeps killed processes: what waits in them waits for ever, and the runtime would complain.
private enum Graveyard {
    private static let dead = Mutex<[Incarnation]>([])
    static func keep(_ incarnation: Incarnation) { self.dead.withLock { $0.append(incarnation) } }
}

/// A disk that is full now and then.
final class FaultyDisk: FileWitness {
    private let scheduler: Scheduler
    private let perMille = Mutex(0)
    private let failed = Mutex(0)
    /// How often it was.
    var failures: Int { self.failed.withLock { $0 } }

    init(_ scheduler: Scheduler) { self.scheduler = scheduler }

    func setFull(_ perMille: Int) { self.perMille.withLock { $0 = perMille } }

    func perform(_ call: FileCall, _ body: () -> Int) -> Int {
        let perMille = self.perMille.withLock { $0 }
        guard case .write(_, let path, _, _) = call, perMille > 0, path.contains("/transfers/"), self.scheduler.chance(perMille) else {
            return body()
        }
        self.failed.withLock { $0 += 1 }
        errno = ENOSPC
        return -1
    }
}
