// Proves that garbage is collected by schedule, also where the machine was off at its time.

import Foundation
import Logging
import NIOCore
import OCI
import RegistryCore
import Schedule
import Synchronization
import TestSupport
import Testing

@testable import outport

@Suite struct GarbageServiceTests {
    private let app = repository("app")

    /// Runs the service until it has looked twice whether a round is due.
    private func run(_ site: Site, settling: Int = 0) async throws {
        let news = Activity()
        let looks = Atomic(0)
        let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let daily = try CronSchedule(parsing: "0 0 * * *")
        var service = GarbageService(
            collector: GarbageCollector(store: site.store, uploads: site.uploads), store: site.store, logger: logger
        ) {
            looks.wrappingAdd(1, ordering: .relaxed)
            return .init(schedule: daily, policy: GarbagePolicy())
        }
        service.news = news
        service.settling = settling
        let isDone = try await withThrowingTaskGroup(of: Void.self) { [service] group in
            group.addTask { try await service.run() }
            defer { group.cancelAll() }
            return try await eventually {
                news.signal()
                return looks.load(ordering: .relaxed) > 2
            }
        }
        #expect(isDone)
    }

    @Test("R6 a round that was missed while the process did not run is made up for, some minutes after its start; one that was not is not")
    func missedRounds() async throws {
        // Noon.
        let clock = TestClock(milliseconds: 1_800_014_400_000)
        let site = try await Site(clock: clock)
        let rounds = MaintenanceRounds(database: site.database)
        let content = Content(Array("unused".utf8), .layer)
        try await site.push(content, to: self.app)
        try await self.run(site)
        #expect(try await rounds.last(.garbage) == 1_800_014_400)
        // Eight in the evening: links nobody needs are old enough in a day, midnight has not come.
        clock.advance(seconds: 8 * 3600)
        try await self.run(site)
        #expect(try await site.store.content(content.digest) != nil)
        // The day after tomorrow in the morning.
        clock.advance(seconds: 38 * 3600)
        try await self.run(site, settling: 300)
        #expect(try await rounds.last(.garbage) == 1_800_014_400)
        #expect(try await site.store.content(content.digest) != nil)
        try await self.run(site)
        #expect(try await rounds.last(.garbage) == 1_800_014_400 + 46 * 3600)
        #expect(try await site.store.content(content.digest) == nil)
        // A clock that was ahead puts nothing off.
        try await rounds.note(.garbage, at: 4_000_000_000)
        try await self.run(site)
        #expect(try await rounds.last(.garbage) == 1_800_014_400 + 46 * 3600)
    }
}
