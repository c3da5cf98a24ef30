// Which connected registries have children: asked with each look at settings, and nearly always none.

internal import Persistence
internal import Synchronization

/// The names of parents by registry, in memory until something changes.
final class ParentNames: Sendable {
    private struct State {
        var generation: UInt64 = 0
        var known: [RegistryID: Set<String>] = [:]
    }

    private let state = Mutex(State())

    /// Connected registries of a registry have changed.
    func forget() {
        self.state.withLock { state in
            state.generation += 1
            state.known = [:]
        }
    }

    /// The parents, in lower case: as remembered, or as `load` finds them.
    func names(
        in registry: RegistryID, load: @Sendable () async throws -> Set<String>
    ) async throws -> Set<String> {
        let (known, generation) = self.state.withLock { ($0.known[registry], $0.generation) }
        if let known { return known }
        let loaded = try await load()
        // What changed while it was read is not remembered.
        self.state.withLock { if $0.generation == generation { $0.known[registry] = loaded } }
        return loaded
    }
}
