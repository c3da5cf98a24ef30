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
        /// The count of changes of settings from before it was read; `nil` where nobody counts.
        let generation: UInt64?
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

        /// Forgets what was read under an earlier count than `current`.
        mutating func follow(_ current: UInt64) {
            if let generation = self.generation, generation >= current { return }
            self = State(generation: current)
        }
    }

    private let state = Mutex(State())
    private let generation: @Sendable () -> UInt64?

    /// - Parameter generation: the count of changes of settings; `nil` where nobody counts.
    init(generation: @escaping @Sendable () -> UInt64?) { self.generation = generation }

    /// A connected registry: as remembered, or as `load` finds it, which is told the count it is read under.
    func child(_ name: String, in registry: RegistryID, load: (UInt64?) async throws -> Child?) async throws -> Child? {
        let (key, generation) = (Name(registry: registry, name: name.lowercased()), self.generation())
        return try await self.remembered(\.children[key], of: generation) { try await load(generation) }
    }

    /// The tag of its settings.
    ///
    /// - Parameter generation: that of the connected registry the tag is made from. What has changed since then is in no tag that is made from
    ///   it, so nobody may be given this one under a later count: a child would never hear of the change.
    func settingsTag(
        of name: String, in registry: RegistryID, endpoints: [String], generation: UInt64?, make: () async throws -> String
    ) async throws -> String {
        let key = Place(name: Name(registry: registry, name: name.lowercased()), endpoints: endpoints)
        if let tag = try await self.remembered(\.tags[key], of: generation, { try await make() }) { return tag }
        return try await make()
    }

    private func remembered<Value: Sendable>(
        _ place: WritableKeyPath<State, Value?>, of generation: UInt64?, _ load: () async throws -> Value?
    ) async throws -> Value? {
        guard let generation else { return try await load() }
        let known = self.state.withLock { state in
            state.follow(generation)
            return state.generation == generation ? state[keyPath: place] : nil
        }
        if let known { return known }
        let loaded = try await load()
        // What changed while it was read is not remembered.
        self.state.withLock { state in
            if state.generation == generation { state[keyPath: place] = loaded }
        }
        return loaded
    }
}
