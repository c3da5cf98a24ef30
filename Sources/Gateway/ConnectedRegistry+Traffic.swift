// What an operator says of a connected registry's traffic, and asking it what it would move.

internal import GatewayProtocol
internal import OCI
package import Persistence

extension ConnectedRegistryConfiguration {
    /// The smallest budget: below, not even manifests would get through.
    package static let smallestBudget: Int64 = 1 << 20

    /// - Throws: ``ConnectedRegistryError`` naming the field.
    func validateTraffic() throws(ConnectedRegistryError) {
        for (period, bytes) in [("hour", self.budget?.hour), ("day", self.budget?.day), ("month", self.budget?.month)] {
            guard let bytes, bytes < Self.smallestBudget else { continue }
            throw .init(
                .invalidField, field: "properties.byteBudget.\(period)",
                "a budget of \(bytes) bytes is too small for any image: give at least \(Self.smallestBudget), or null for no limit")
        }
        let patterns = self.priorities ?? []
        guard patterns.count <= Self.maximumPriorities else {
            throw .init(
                .limitReached, field: "properties.syncPriorities",
                "there are \(patterns.count) patterns; the limit is \(Self.maximumPriorities)")
        }
        for pattern in patterns {
            do {
                _ = try RepositoryPattern(pattern)
            } catch {
                throw .init(.invalidField, field: "properties.syncPriorities", error.description)
            }
        }
    }
}

extension ConnectedRegistry {
    /// Whether it has been asked what it would move and has not answered.
    package var isPlanPending: Bool { self.plan != nil && self.plan != self.report?.plan?.order }
}

extension ConnectedRegistryStore {
    /// Asks a connected registry what its next synchronisation would move: at once when it is there, else when it comes back.
    ///
    /// - Returns: `nil` when there is no such connected registry.
    package func orderPlan(_ name: String, in registry: RegistryID) async throws -> ConnectedRegistry? {
        let now = self.clock.milliseconds()
        let result = try await self.database.write { session -> ConnectedRegistry? in
            // Two orders within one millisecond are still two.
            try session.execute(
                "UPDATE connected_registry SET plan = max(?, coalesce(plan, 0) + 1) WHERE registry = ? AND name = ?", .integer(now),
                .integer(registry.value), SQLValue(name))
            return try Self.find(name, in: registry, session)
        }
        self.settingsChanged()
        return result.map { self.signs.added(to: $0, in: registry) }
    }
}
