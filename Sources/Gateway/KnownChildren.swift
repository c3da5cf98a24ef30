// What the gateway has read of its children, until settings change: an idle child asks every 45 seconds, a thousand of them twenty times a
// second, and each time the answer would be read and put together anew.

internal import Identity
internal import Persistence
internal import Synchronization

/// Connected registries with their sync token and its scope map, in memory for as long as nobody has changed any of them.
///
/// Whoever changes one moves a counter behind it (``ConnectedRegistryStore/settings``). What was read under another count is not believed. Where
/// nobody counts nothing is remembered.
final class KnownChildren: Sendable {
    /// One connected registry as it is found with a call of it.
    struct Child: Sendable {
        let connectedRegistry: ConnectedRegistry
        /// `nil` when the token has been deleted.
        let token: TokenRecord?
        /// `nil` when there is none of the token's.
        let map: ScopeMap?
    }

    private struct Name: Hashable {
        let registry: RegistryID
        let name: String
    }

    /// Settings differ by the address under which they are asked for.
    private struct Place: Hashable {
        let name: Name
        let endpoints: [String]
    }

    private struct State {
        var generation: UInt64?
        var children: [Name: Child] = [:]
        var tags: [Place: String] = [:]

        /// Forgets what was read under another count than `current`.
        mutating func follow(_ current: UInt64) {
            guard self.generation != current else { return }
            self = State(generation: current)
        }
    }

    private let state = Mutex(State())
    private let generation: @Sendable () -> UInt64?

    /// - Parameter generation: the count of changes of settings; `nil` where nobody counts.
    init(generation: @escaping @Sendable () -> UInt64?) { self.generation = generation }

    /// A connected registry: as remembered, or as `load` finds it.
    func child(_ name: String, in registry: RegistryID, load: () async throws -> Child?) async throws -> Child? {
        let key = Name(registry: registry, name: name.lowercased())
        return try await self.remembered(\.children[key], load)
    }

    /// The tag of its settings.
    func settingsTag(
        of name: String, in registry: RegistryID, endpoints: [String], make: () async throws -> String
    ) async throws -> String {
        let key = Place(name: Name(registry: registry, name: name.lowercased()), endpoints: endpoints)
        if let tag = try await self.remembered(\.tags[key], { try await make() }) { return tag }
        return try await make()
    }

    private func remembered<Value: Sendable>(
        _ place: WritableKeyPath<State, Value?>, _ load: () async throws -> Value?
    ) async throws -> Value? {
        guard let before = self.generation() else { return try await load() }
        let known = self.state.withLock { state in
            state.follow(before)
            return state[keyPath: place]
        }
        if let known { return known }
        let loaded = try await load()
        // What changed while it was read is not remembered.
        self.state.withLock { state in
            if state.generation == before { state[keyPath: place] = loaded }
        }
        return loaded
    }
}
