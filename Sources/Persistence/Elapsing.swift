// Time that passes, as a parameter that nobody has to hand on: the machine's, or a simulator's.

/// What tells how much time has passed, and waits.
package protocol TimeSource: Sendable {
    var now: ContinuousClock.Instant { get }
    /// - Throws: `CancellationError`.
    func sleep(until deadline: ContinuousClock.Instant) async throws
}

/// The time that passes for the current task and its children. Nothing but simulations sets a source.
package enum Elapsing {
    @TaskLocal package static var source: (any TimeSource)?

    package static var now: ContinuousClock.Instant { self.source?.now ?? .now }

    package static func sleep(until deadline: ContinuousClock.Instant) async throws {
        guard let source = self.source else { return try await Task.sleep(until: deadline) }
        try await source.sleep(until: deadline)
    }

    package static func sleep(for duration: Duration) async throws {
        guard self.source != nil else { return try await Task.sleep(for: duration) }
        try await self.sleep(until: self.now + duration)
    }
}
