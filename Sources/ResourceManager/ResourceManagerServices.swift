// What the control plane works with.

package import Gateway
package import HTTPServing
package import Identity
package import Import
package import Persistence
package import RegistryCore
package import Webhooks

/// The stores and names behind ``ResourceManagerHandler``.
package struct ResourceManagerServices: Sendable {
    package let names: ServerNames
    package let resources: ResourceStore
    package let registries: RegistryStore
    package let identities: IdentityStore
    package let directory: Directory
    package let authority: TokenAuthority
    package let connectedRegistries: ConnectedRegistryStore
    package let admins: AdminUsers
    package let garbage: GarbageCollector
    /// The SHA-256 of the own CA's public key, appended to sync passwords; `nil` when clients trust the certificate anyway.
    package let trustPin: String?
    package let clock: WallClock
    /// `nil` where nothing is imported.
    package var importer: ImageImporter?
    /// `nil` where clusters have no extensions.
    package var extensions: ClusterExtensionStore?
    /// `nil` where no extensions of `az` are offered.
    package var mirror: ExtensionMirror?
    /// `nil` where nobody is told of events.
    package var webhooks: WebhookStore?
    /// Where the secrets of credential sets are; `nil` where the operator gives none.
    package var secrets: SecretFolder?
    /// Imports under way; with ``importer``.
    package var imports: ImportJobs?

    package init(
        names: ServerNames, resources: ResourceStore, registries: RegistryStore, identities: IdentityStore, directory: Directory,
        authority: TokenAuthority, connectedRegistries: ConnectedRegistryStore, admins: AdminUsers, garbage: GarbageCollector,
        trustPin: String?, clock: WallClock = .system
    ) {
        self.names = names
        self.resources = resources
        self.registries = registries
        self.identities = identities
        self.directory = directory
        self.authority = authority
        self.connectedRegistries = connectedRegistries
        self.admins = admins
        self.garbage = garbage
        self.trustPin = trustPin
        self.clock = clock
    }
}

/// The operations of the route table; one file for each family of resources.
struct ResourceOperations: Sendable {
    let services: ResourceManagerServices

    var names: ServerNames { self.services.names }
    var resources: ResourceStore { self.services.resources }
    var identities: IdentityStore { self.services.identities }
    var connectedRegistries: ConnectedRegistryStore { self.services.connectedRegistries }

    /// The subscription of a call.
    ///
    /// - Throws: 404 `SubscriptionNotFound`.
    @discardableResult
    func subscription(_ call: Call) async throws -> StoredResource<SubscriptionDocument> {
        guard let found = try await self.resources.subscription(call.subscriptionID) else {
            throw ResourceError(
                .notFound, .subscriptionNotFound, "The subscription '\(call["subscription"].prefix(60))' could not be found.")
        }
        return found
    }

    /// The resource group of a call.
    ///
    /// - Throws: 404 `ResourceGroupNotFound`.
    @discardableResult
    func group(_ call: Call) async throws -> StoredResource<GroupDocument> {
        try await self.subscription(call)
        guard let found = try await self.resources.group(call.groupID) else {
            throw ResourceError(.notFound, .groupNotFound, "Resource group '\(call["group"].prefix(100))' could not be found.")
        }
        return found
    }

    /// The registry of a call.
    ///
    /// - Throws: 404 `ResourceNotFound`.
    func registry(_ call: Call) async throws -> RegistryInCall {
        // One that is there has a group and a subscription: they are looked for only to say what is missing.
        guard let found = try await self.resources.registry(call.registryID), let content = found.registry else {
            let group = try await self.group(call)
            throw ResourceError(
                .notFound, .resourceNotFound,
                "The Resource '\(ResourceKind.registry.rawValue)/\(call["registry"].prefix(60))' under resource group "
                    + "'\(group.id.name)' was not found."
            )
        }
        return RegistryInCall(resource: found, content: content)
    }

    /// A child of a registry that is not there.
    func notFound(_ kind: ResourceID.ChildKind, _ name: String, in registry: RegistryInCall) -> ResourceError {
        ResourceError(
            .notFound, .resourceNotFound,
            "The Resource '\(ResourceKind.registry.rawValue)/\(registry.id.name)/\(kind.rawValue)/\(name.prefix(60))' under resource group "
                + "'\(registry.id.group ?? "")' was not found.")
    }
}

/// A registry that a call is about.
struct RegistryInCall: Sendable {
    let resource: StoredResource<RegistryDocument>
    /// Where its content, tokens and scope maps are.
    let content: RegistryID

    var id: ResourceID { self.resource.id }
    var document: RegistryDocument { self.resource.document }

    /// The name of a child that an id in a body means.
    ///
    /// - Throws: 400 naming the field, when the id is not that of a child of this registry.
    func childName(_ kind: ResourceID.ChildKind, in text: String, field: String) throws(ResourceError) -> String {
        guard let id = ResourceID(text), let name = id.child, id.childKind == kind, id.parent?.key == self.id.key else {
            throw .invalid(
                field,
                "'\(text.prefix(300))' is not the id of one of this registry's \(kind.rawValue), such as \(self.id.child(kind, "name"))")
        }
        return name
    }
}
