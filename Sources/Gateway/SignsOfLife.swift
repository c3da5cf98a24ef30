// When children were last heard of, in memory: a long poll is a sign of life, and is not worth a write to the disk.

internal import Persistence
internal import Synchronization

/// The last sign of life of each child that has given one to this process.
final class SignsOfLife: Sendable {
    private struct Name: Hashable {
        let registry: RegistryID
        let name: String
    }

    private let times = Mutex<[Name: Int64]>([:])

    /// - Parameter time: milliseconds since 1970.
    func note(_ name: String, in registry: RegistryID, at time: Int64) {
        self.times.withLock { $0[Name(registry: registry, name: name.lowercased())] = time }
    }

    func forget(_ name: String, in registry: RegistryID) {
        self.times.withLock { $0[Name(registry: registry, name: name.lowercased())] = nil }
    }

    /// The connected registry with what is known here: the later of the two counts.
    func added(to stored: ConnectedRegistry, in registry: RegistryID) -> ConnectedRegistry {
        let known = self.times.withLock { $0[Name(registry: registry, name: stored.name.lowercased())] }
        guard let known, known > stored.lastActivity ?? .min else { return stored }
        var connectedRegistry = stored
        connectedRegistry.lastActivity = known
        return connectedRegistry
    }
}
