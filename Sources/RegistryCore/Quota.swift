// Quotas: how many bytes of content a registry may hold.

internal import OCI
package import Persistence
internal import Synchronization

/// Keeps registries within their quotas without adding up all content for every push.
///
/// What is remembered is never less than what is there: every addition is counted, also of content that turns out to be shared.
/// Only when the remembered sum would not do is the exact one taken from the database. Content on its way has no row yet and is in no
/// such sum: it is kept apart until its row is there or it is given up.
final class QuotaKeeper: Sendable {
    private struct Account {
        /// Bytes; `nil` while nobody has asked for the exact sum.
        var used: Int64?
        /// Bytes that were given room and have no row yet.
        var arriving: Int64 = 0
        /// Bytes that got their rows, ever: what does while the exact sum is read may or may not be in it.
        var landed: Int64 = 0
        /// How often something was added that nobody counted.
        var uncounted = 0

        mutating func take(_ bytes: Int64, of quota: Int64) -> Bool {
            // Each subtraction is of what is no more than what it is taken from: a quota may have been lowered, a size made up.
            guard let used = self.used, used <= quota, self.arriving <= quota - used, bytes <= quota - used - self.arriving else {
                return false
            }
            self.arriving += bytes
            return true
        }
    }

    private let accounts = Mutex<[RegistryID: Account]>([:])

    /// Gives room to content that is about to be added.
    ///
    /// - Parameter exact: asked when what is remembered would not do.
    /// - Returns: `nil` when there was room, otherwise what takes it up.
    func take(_ bytes: Int64, of quota: Int64, in registry: RegistryID, exact: () async throws -> Int64) async throws
        -> (used: Int64, arriving: Int64)?
    {
        if self.change(registry, { $0.take(bytes, of: quota) }) { return nil }
        let before = self.change(registry) { $0 }
        let exact = try await exact()
        return self.change(registry) { account in
            let used = exact + (account.landed - before.landed)
            account.used = used
            let isTaken = account.take(bytes, of: quota)
            if account.uncounted != before.uncounted { account.used = nil }
            return isTaken ? nil : (used, account.arriving)
        }
    }

    /// Ends what ``take(_:of:in:exact:)`` began.
    ///
    /// - Parameter isKept: whether the content has its row.
    func end(_ bytes: Int64, in registry: RegistryID, isKept: Bool) {
        self.change(registry) { account in
            account.arriving -= bytes
            guard isKept else { return }
            account.landed += bytes
            if let used = account.used { account.used = used + bytes }
        }
    }

    /// Forgets the sum: something is added without being counted.
    func forget(_ registry: RegistryID) {
        self.change(registry) { account in
            account.used = nil
            account.uncounted += 1
        }
    }

    private func change<Value>(_ registry: RegistryID, _ body: (inout Account) -> Value) -> Value {
        self.accounts.withLock { body(&$0[registry, default: Account()]) }
    }
}

/// Room in a registry for the content of one request, taken as it is known how much comes.
///
/// Whoever asks for one ends it, whatever became of the content: until then it takes up room that no other content gets.
package final class QuotaRoom: Sendable {
    private struct State {
        var bytes: Int64 = 0
        var isRefused = false
    }

    private let store: RegistryStore
    private let registry: RegistryID
    private let quota: Int64?
    private let state = Mutex(State())

    init(_ store: RegistryStore, _ registry: RegistryID, _ quota: Int64?) {
        self.store = store
        self.registry = registry
        self.quota = quota
    }

    /// Whether it was asked for more than there was.
    package var isRefused: Bool { self.state.withLock { $0.isRefused } }

    /// Takes room for so many bytes more; for none it is asked whether there is any.
    ///
    /// - Throws: `DENIED` with the quota, what is used and how large the content would be.
    package func take(_ bytes: Int64) async throws {
        guard let quota else { return self.store.quotas.forget(self.registry) }
        guard
            let full = try await self.store.quotas.take(
                bytes, of: quota, in: self.registry, exact: { try await self.store.usage(of: self.registry) })
        else { return self.state.withLock { $0.bytes += bytes } }
        let own = self.state.withLock { state in
            state.isRefused = true
            return state.bytes
        }
        // The length of a body is what its sender says.
        let (sum, overflows) = own.addingReportingOverflow(bytes)
        let (size, others) = (overflows ? .max : sum, full.arriving - own)
        var detail = ["quota": String(quota), "used": String(full.used), "size": String(size)]
        if others > 0 { detail["arriving"] = String(others) }
        throw RegistryError(
            .denied,
            "the registry's quota is \(quota) bytes, \(full.used) are used\(others > 0 ? " and \(others) are being pushed" : ""), so \(size) "
                + "more do not fit: delete content that is not used and run garbage collection, or have the quota raised",
            detail: detail, status: 403)
    }

    /// Takes room for a manifest; one that is here already takes none, and gets its tags whatever room there is.
    package func take(_ manifest: NewManifest) async throws {
        let size = self.quota == nil ? 0 : try await self.store.size(ofMissing: [manifest], in: self.registry)
        if self.quota == nil || size > 0 { try await self.take(size) }
    }

    /// Counts the content, which has its row now.
    package func keep() { self.end(isKept: true) }

    /// Gives back what was taken and not kept.
    package func end() { self.end(isKept: false) }

    private func end(isKept: Bool) {
        guard self.quota != nil else {
            // A sum that was read while the content arrived knows nothing of it.
            if isKept { self.store.quotas.forget(self.registry) }
            return
        }
        let bytes = self.state.withLock { state in
            defer { state.bytes = 0 }
            return state.bytes
        }
        self.store.quotas.end(bytes, in: self.registry, isKept: isKept)
    }
}

extension RegistryStore {
    /// Bytes of those of the manifests that the registry does not hold in any repository.
    package func size(ofMissing manifests: [NewManifest], in registry: RegistryID) async throws -> Int64 {
        try await self.database.read { session in
            try manifests.reduce(0) { size, new in
                let isHere = try session.row(
                    """
                    SELECT 1 FROM manifest JOIN repository ON repository.id = manifest.repository
                    WHERE manifest.digest = ? AND repository.registry = ? LIMIT 1
                    """, SQLValue(new.digest), .integer(registry.value))
                return isHere == nil ? size + Int64(new.bytes.count) : size
            }
        }
    }

    /// Room for content on its way into a registry; nothing is taken yet.
    ///
    /// - Parameter quota: bytes; `nil` for no limit.
    package func room(in registry: RegistryID, quota: Int64?) -> QuotaRoom { QuotaRoom(self, registry, quota) }
}
