// The registries of this server in memory: the data plane asks for one with every request.

package import HTTPServing
package import Persistence
package import RegistryCore
internal import Synchronization

/// A registry as the data plane and the gateway need it.
package struct RegistryEntry: Sendable, Hashable {
    package let id: RegistryID
    package let name: String
    /// Host and port that clients put before repository names.
    package let loginServer: String
    /// `eastus` style.
    package let region: String
    package let isDataEndpointEnabled: Bool
    /// The resource's id, at which roles are looked up.
    package let scope: String
    /// Host and port under which connected registries reach the gateway.
    package let dataEndpoint: String
    package let isAdminUserEnabled: Bool
    package let allowsAnonymousPull: Bool
    /// Whether clients are refused every write.
    package let isReadOnly: Bool
    /// Bytes of content it may hold; `nil` for no limit.
    package let quota: Int64?
    /// From where it may be reached; `nil` for everywhere.
    package let network: NetworkRules?
    /// Whether only tokens for registries may be exchanged.
    package let wantsRegistryTokens: Bool
    /// Milliseconds after which manifests that nothing reaches go; `nil` keeps them.
    package let retention: Int64?

    /// What tokens are issued for: the same on the login server and the data endpoint.
    package var audience: String { "registry/\(self.name)" }
    package var dataEndpointEnabled: Bool { self.isDataEndpointEnabled }
}

/// Finds registries without touching the database. ``ResourceStore`` keeps it up to date.
package final class RegistryLookup: Sendable {
    package let names: ServerNames
    private let entries = Mutex<[String: RegistryEntry]>([:])
    private let didChange: @Sendable ([RegistryEntry]) -> Void

    /// - Parameter didChange: told of all registries whenever one is created, changed or deleted (certificates follow).
    package init(names: ServerNames, didChange: @escaping @Sendable ([RegistryEntry]) -> Void = { _ in }) {
        self.names = names
        self.didChange = didChange
    }

    /// The registry of a name in any letter case.
    package func registry(named name: String) -> RegistryEntry? {
        self.entries.withLock { $0[name] ?? $0[name.lowercased()] }
    }

    /// The registry that answers on the bare address: the only one.
    package func onlyRegistry() -> RegistryEntry? {
        self.entries.withLock { $0.count == 1 ? $0.first?.value : nil }
    }

    /// All registries by name.
    package var all: [RegistryEntry] { self.entries.withLock { $0.values.sorted { $0.name < $1.name } } }

    /// What may be collected by the registries' own retention policies.
    package var garbagePolicy: GarbagePolicy {
        var policy = GarbagePolicy()
        for entry in self.all { policy.retention[entry.id] = entry.retention }
        return policy
    }

    func replace(with resources: [StoredResource<RegistryDocument>]) {
        let fresh = Dictionary(resources.compactMap(self.entry).map { ($0.name, $0) }) { first, _ in first }
        self.entries.withLock { $0 = fresh }
        self.didChange(self.all)
    }

    func put(_ resource: StoredResource<RegistryDocument>) {
        guard let entry = self.entry(resource) else { return }
        self.entries.withLock { $0[entry.name] = entry }
        self.didChange(self.all)
    }

    func remove(_ name: String) {
        _ = self.entries.withLock { $0.removeValue(forKey: name.lowercased()) }
        self.didChange(self.all)
    }

    private func entry(_ resource: StoredResource<RegistryDocument>) -> RegistryEntry? {
        guard let id = resource.registry else { return nil }
        let name = resource.id.name.lowercased()
        return RegistryEntry(
            id: id, name: name, loginServer: self.names.loginServer(of: name), region: resource.document.location,
            isDataEndpointEnabled: resource.document.isDataEndpointEnabled, scope: resource.id.description,
            dataEndpoint: self.names.dataEndpoint(of: name, region: resource.document.location),
            isAdminUserEnabled: resource.document.isAdminUserEnabled, allowsAnonymousPull: resource.document.allowsAnonymousPull,
            isReadOnly: resource.document.isReadOnly, quota: resource.document.quota,
            network: NetworkRules(resource.document), wantsRegistryTokens: resource.document.wantsRegistryTokens,
            retention: resource.document.retention)
    }
}
