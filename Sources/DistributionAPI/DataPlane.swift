// What the data plane must know of the registry a request is for.

package import HTTPServing
package import Logging
package import OCI
package import Persistence

/// A registry as its data plane serves it.
package struct DataPlaneRegistry: Sendable {
    package let id: RegistryID
    package let name: String
    /// What tokens of this registry are issued for: the same on its login server and data endpoint.
    package let audience: String
    /// `nil` when clients may write; otherwise the sentence that refuses them.
    package let writeRefusal: String?
    /// `nil` while content is served; otherwise the sentence that refuses it.
    package let readRefusal: String?
    /// The id of its resource, at which roles are looked up; `nil` where there are no roles.
    package let scope: String?
    package let isAdminUserEnabled: Bool
    /// Whether everybody may pull.
    package let allowsAnonymousPull: Bool
    /// Bytes of content the registry may hold; `nil` for no limit.
    package let quota: Int64?
    /// Whether it matters from where a request comes: then nothing is answered from memory.
    package let isRestricted: Bool
    /// Whether tokens for the resource manager may not be exchanged, only those for registries.
    package let wantsRegistryTokens: Bool
    /// Says for a repository why it is not written to, where others are.
    package let refusesWriting: (@Sendable (RepositoryName) -> String?)?

    package init(
        id: RegistryID, name: String, audience: String, writeRefusal: String?, scope: String? = nil, isAdminUserEnabled: Bool = false,
        allowsAnonymousPull: Bool = false, quota: Int64? = nil, isRestricted: Bool = false, wantsRegistryTokens: Bool = false,
        refusesWriting: (@Sendable (RepositoryName) -> String?)? = nil, readRefusal: String? = nil
    ) {
        self.readRefusal = readRefusal
        self.isRestricted = isRestricted
        self.wantsRegistryTokens = wantsRegistryTokens
        self.refusesWriting = refusesWriting
        self.scope = scope
        self.isAdminUserEnabled = isAdminUserEnabled
        self.allowsAnonymousPull = allowsAnonymousPull
        self.quota = quota
        self.id = id
        self.name = name
        self.audience = audience
        self.writeRefusal = writeRefusal
    }
}

/// Finds registries by host name.
package protocol RegistryDirectory: Sendable {
    /// The registry a host name means, and the host to write into challenges; `nil` when there is none.
    func registry(for host: HostAndPort?) async throws -> (registry: DataPlaneRegistry, host: HostAndPort)?
}

/// Content from elsewhere that is fetched when somebody pulls it.
package protocol UpstreamContent: Sendable {
    /// Brings a manifest here with what it needs to be complete.
    ///
    /// - Returns: whether it is here now; false where nothing promises it.
    func fetch(_ reference: Reference, in name: RepositoryName, of registry: DataPlaneRegistry, logger: Logger) async throws -> Bool

    /// Looks whether a tag that came from elsewhere has moved there, and brings here what it names now.
    ///
    /// - Parameter asks: whether whoever pulls may set off a look.
    /// - Returns: whether the tag may move by itself, so that no answer about it may be remembered.
    func refresh(_ tag: Tag, in name: RepositoryName, of registry: DataPlaneRegistry, asks: Bool, logger: Logger) async -> Bool
}
