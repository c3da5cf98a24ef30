// Trims the change log, once an hour and whenever it has grown by much.

internal import Gateway
internal import Logging
internal import Persistence
internal import RegistryCore
internal import Schedule
internal import ServiceLifecycle
internal import Webhooks

/// Keeps changes as long as connected registries may stay away, and no longer.
struct LogKeeper: Service {
    private static let interval = Duration.seconds(3600)

    let store: RegistryStore
    /// `nil` where there are no connected registries below.
    let connectedRegistries: ConnectedRegistryStore?
    /// Reads along, and must miss nothing.
    var webhooks: WebhookStore?
    /// Rows of the log at most.
    var limit = RegistryStore.defaultLogLimit
    let logger: Logger

    func run() async throws {
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                do {
                    let seconds = try await self.connectedRegistries?.longestMessageTTL() ?? Int64(MessageTTL.default.seconds)
                    let removed = try await self.store.trimLog(
                        before: self.store.clock.milliseconds() - seconds * 1000, keeping: self.limit,
                        readTo: try await self.webhooks?.cursor())
                    try await self.store.trimProposals()
                    if removed > 0 { self.logger.info("change log trimmed", metadata: ["rows": .stringConvertible(removed)]) }
                } catch {
                    self.logger.error(
                        "the change log could not be trimmed; tried again in an hour", metadata: ["error": .string("\(error)")])
                }
                await self.rest()
            }
        }
    }

    /// Returns after an hour, or when so much has been changed meanwhile that the log may be beyond its limit.
    private func rest() async {
        let end = Elapsing.now + Self.interval
        let start = try? await self.store.head().sequence
        while !Task.isCancelled, case let left = end - Elapsing.now, left > .zero {
            let seen = self.store.activity.count
            if let start, let head = try? await self.store.head().sequence, head - start >= max(1, self.limit / Self.slack) { return }
            await self.store.activity.wait(beyond: seen, atMost: left)
            // One look for all that is pushed within a second: the database has better things to do meanwhile.
            try? await Task.sleep(for: .seconds(1))
        }
    }

    /// The part of its limit by which the log may be beyond it.
    private static let slack: Int64 = 10
}
