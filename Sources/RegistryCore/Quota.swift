// Quotas: how many bytes of content a registry may hold.

internal import OCI
package import Persistence
internal import Synchronization

/// Keeps registries within their quotas without adding up all content for every push.
///
/// What is remembered is never less than what is there: every addition is counted, also of content that turns out to be shared.
/// Only when the remembered sum would not do is the exact one taken from the database.
package final class QuotaKeeper: Sendable {
    private let store: RegistryStore
    private let used = Mutex<[RegistryID: Int64]>([:])

    package init(store: RegistryStore) { self.store = store }

    /// Counts content that is about to be added.
    ///
    /// - Parameters:
    ///   - bytes: of the content, 0 to ask whether there is any room.
    ///   - isAdded: whether it will be kept if there is room; otherwise the question only.
    ///   - quota: bytes; `nil` for no limit.
    /// - Throws: `DENIED` with the quota, what is used and what was to be added.
    package func admit(_ bytes: Int64, to registry: RegistryID, quota: Int64?, isAdded: Bool) async throws {
        guard let quota else { return }
        if self.fits(bytes, registry, quota, isAdded, exact: nil) { return }
        let exact = try await self.store.usage(of: registry)
        guard self.fits(bytes, registry, quota, isAdded, exact: exact) else {
            throw RegistryError(
                .denied,
                "the registry's quota is \(quota) bytes and \(exact) are used, so \(bytes) more do not fit: delete content that is not used "
                    + "and run garbage collection, or have the quota raised",
                detail: ["quota": String(quota), "used": String(exact), "size": String(bytes)], status: 403)
        }
    }

    private func fits(_ bytes: Int64, _ registry: RegistryID, _ quota: Int64, _ isAdded: Bool, exact: Int64?) -> Bool {
        self.used.withLock { used in
            if let exact { used[registry] = exact }
            guard let known = used[registry], quota - known >= bytes else { return false }
            if isAdded { used[registry] = known + bytes }
            return true
        }
    }
}
