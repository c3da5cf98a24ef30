// What the token endpoint must know of connected registries, without knowing the gateway.

package import Persistence

/// A refusal of a lease, in the words of the gateway protocol.
package struct LeaseRefusal: Error, Sendable, CustomStringConvertible {
    package enum Code: String, Sendable, CaseIterable {
        /// Another instance is active.
        case alreadyActivated = "ALREADY_ACTIVATED"
        /// This instance was deactivated at the parent.
        case deactivated = "DEACTIVATED"
        /// There is no such connected registry for this token.
        case notFound = "CONNECTED_REGISTRY_NOT_FOUND"
    }

    package let code: Code
    package let message: String

    package init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    package var description: String { "\(self.code.rawValue): \(self.message)" }
}

/// Knows which instance of a connected registry is active.
package protocol SyncLeaseAuthority: Sendable {
    /// The lease a sync token may be issued under. Without `instance` and `epoch` it serves for activation only.
    ///
    /// - Throws: ``LeaseRefusal``.
    func lease(
        connectedRegistry: String, token: String, instance: String?, epoch: Int64?, registry: RegistryID
    ) async throws -> SyncLease

    /// Whether the token is the sync token of some connected registry. Such a token serves the gateway only: bound to a lease, so
    /// that an instance that was deactivated cannot go on with it.
    func isSyncToken(_ name: String, registry: RegistryID) async throws -> Bool

    /// Whether the lease is the current one.
    func isCurrent(_ lease: SyncLease, registry: RegistryID) async throws -> Bool

    /// Whether the lease is the current one of a connected registry whose clients may write. A ReadOnly one has nothing to write,
    /// whatever its scope map says.
    func mayWrite(_ lease: SyncLease, registry: RegistryID) async throws -> Bool
}
