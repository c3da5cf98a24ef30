// Which repositories are known to take pushes: most do, and each upload asks.

internal import OCI
internal import Persistence
internal import Synchronization

/// Remembers repositories that were found without a lock, until any lock may have changed.
///
/// It saves uploads a way to the database before their content is sent. Nothing depends on it: the commit of a blob or a manifest looks again.
final class UnlockedRepositories: Sendable {
    private struct Key: Hashable {
        let registry: RegistryID
        let name: RepositoryName
    }

    private struct State {
        var version: UInt64 = 0
        var names: Set<Key> = []
    }

    private static let limit = 4096

    private let state = Mutex(State())

    func contains(_ name: RepositoryName, in registry: RegistryID, version: UInt64) -> Bool {
        self.state.withLock { $0.version == version && $0.names.contains(Key(registry: registry, name: name)) }
    }

    /// - Parameter version: what ``ContentVersions/removals`` was before the database was asked.
    func insert(_ name: RepositoryName, in registry: RegistryID, version: UInt64) {
        self.state.withLock { state in
            guard version >= state.version else { return }
            if version > state.version || state.names.count >= Self.limit { state.names = [] }
            state.version = version
            state.names.insert(Key(registry: registry, name: name))
        }
    }
}
