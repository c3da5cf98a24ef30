// Who is asking, and what they may do.

internal import HTTPServing
package import Identity
package import OCI
internal import Persistence

/// An authenticated caller of the data plane.
package struct Caller: Sendable {
    package enum Grant: Sendable {
        /// What the access token lists.
        case listed([AccessEntry])
        /// What a scope map permits, asked at the time of use.
        case scopeMap(ScopeMap)
        /// Everything (a directory administrator).
        case everything
        /// The same on every repository: what roles permit, or anonymous pull.
        case roles(Set<RepositoryPermission>)
    }

    package let subject: Subject
    package let grant: Grant
    /// Set for sync tokens: writes also need the lease to be current.
    package let lease: SyncLease?
    /// The password or secret the caller has shown; `nil` where it showed a token.
    var credential: String?
    /// The sync token of a connected registry, shown with its password: it may ask for the gateway and nothing else.
    var isSyncToken = false

    package func may(_ permission: RepositoryPermission, on name: RepositoryName) -> Bool {
        switch self.grant {
        case .everything: true
        case .roles(let permissions): permissions.contains(permission)
        case .scopeMap(let map): map.permits(permission, on: name)
        case .listed(let entries):
            entries.contains {
                $0.type == "repository" && $0.name == name.description
                    && ($0.actions.contains(permission.scopeAction) || $0.actions.contains("*"))
            }
        }
    }

    /// Whether the caller may see that a repository exists.
    func maySee(_ name: RepositoryName) -> Bool { self.may(.contentRead, on: name) || self.may(.metadataRead, on: name) }

    /// Whether the caller may list repositories.
    var mayList: Bool { self.mayList("catalog") }

    func mayList(_ catalog: String) -> Bool {
        if self.subject == .anonymous { return false }
        guard case .listed(let entries) = self.grant else { return true }
        return entries.contains { $0.type == "registry" && $0.name == catalog }
    }

    /// For the change log.
    var origin: String {
        switch self.subject {
        case .servicePrincipal(let id): "servicePrincipal:\(id)"
        case .user(let id): "user:\(id)"
        case .token(let name): "token:\(name)"
        case .admin: "admin"
        case .anonymous: "anonymous"
        }
    }
}

/// Authenticates requests and grants scopes.
package struct AccessController: Sendable {
    package let identities: IdentityStore
    package let directory: Directory?
    package let tokens: TokenAuthority
    package let leases: (any SyncLeaseAuthority)?
    /// Admin users; a connected registry has none.
    package let admins: AdminUsers?

    /// - Parameters:
    ///   - directory: service principals; a connected registry has none.
    ///   - leases: the gateway for children.
    package init(
        identities: IdentityStore, directory: Directory?, tokens: TokenAuthority, leases: (any SyncLeaseAuthority)?,
        admins: AdminUsers? = nil
    ) {
        self.admins = admins
        self.identities = identities
        self.directory = directory
        self.tokens = tokens
        self.leases = leases
    }

    /// Who sends the request; `nil` without credentials.
    ///
    /// - Throws: ``IdentityError`` for credentials that do not hold.
    func caller(of request: ServerRequest, registry: DataPlaneRegistry) async throws -> Caller? {
        switch request.authorization {
        case nil: return nil
        case .bearer(let text):
            let token = try await self.tokens.verify(text, as: [.registryAccess, .sync], audience: registry.audience)
            guard token.kind == .sync else { return Caller(subject: token.subject, grant: .listed(token.access), lease: nil) }
            guard case .token(let name) = token.subject,
                let (record, map) = try await self.identities.tokenWithMap(name, in: registry.id), record.isEnabled
            else { throw IdentityError(.invalidToken, "the sync token is disabled or deleted at the parent") }
            return Caller(subject: token.subject, grant: .scopeMap(map), lease: token.lease)
        case .basic(let user, let password):
            let caller = try await self.authenticate(user: user, password: password, registry: registry)
            guard !caller.isSyncToken else { throw Self.syncTokenRefusal }
            return caller
        }
    }

    static let syncTokenRefusal = IdentityError(
        .invalidCredentials, "this is the sync token of a connected registry, which serves that alone; use a token of your own")

    /// The caller with this user name and password.
    ///
    /// - Throws: ``IdentityError`` with code `invalidCredentials`, the same sentence whatever is wrong.
    func authenticate(user: String, password: String, registry: DataPlaneRegistry) async throws -> Caller {
        if user == Self.refreshTokenUser { return try await self.redeem(refreshToken: password, registry: registry) }
        if let (token, map, credential) = try await self.identities.authenticate(token: user, password: password, in: registry.id) {
            return Caller(
                subject: .token(token.name), grant: .scopeMap(map), lease: nil, credential: credential,
                isSyncToken: try await self.leases?.isSyncToken(token.name, registry: registry.id) ?? false)
        }
        if registry.isAdminUserEnabled, user.lowercased() == registry.name,
            let credential = try await self.admins?.authenticate(password: password, in: registry.id)
        {
            return Caller(subject: .admin, grant: .everything, lease: nil, credential: credential)
        }
        if let (principal, credential) = try await self.directory?.authenticate(appID: user, secret: password) {
            return Caller(
                subject: .servicePrincipal(principal.objectID), grant: try await self.grant(of: principal.principal, registry), lease: nil,
                credential: credential)
        }
        throw IdentityError(
            .invalidCredentials, "user name or password are not valid for this registry, have expired, or the token is disabled")
    }

    /// The user name under which a refresh token is given as password.
    static let refreshTokenUser = "00000000-0000-0000-0000-000000000000"

    func redeem(refreshToken: String, registry: DataPlaneRegistry) async throws -> Caller {
        let token = try await self.tokens.verify(refreshToken, as: [.registryRefresh], audience: registry.audience)
        guard let credential = token.credential, try await self.isLive(credential, of: token.subject, registry: registry) else {
            throw IdentityError(
                .invalidCredentials, "the password this refresh token was issued for has been replaced or has expired; sign in again")
        }
        return try await self.caller(token.subject, registry: registry)
    }

    /// Whether the subject still has the credential. A refresh token ends with the password it was issued for.
    private func isLive(_ credential: String, of subject: Subject, registry: DataPlaneRegistry) async throws -> Bool {
        switch subject {
        case .anonymous: return false
        case .admin: return try await self.admins?.holds(credential, in: registry.id) ?? false
        case .token(let name):
            return try await self.identities.token(name, in: registry.id)?.holds(credential, now: self.identities.clock.milliseconds())
                ?? false
        case .servicePrincipal, .user: return try await self.directory?.holds(credential, subject: subject) ?? false
        }
    }

    /// Everything a subject may do now, whatever its token lists: the catalog shows what its subject may read.
    func caller(_ subject: Subject, registry: DataPlaneRegistry) async throws -> Caller {
        switch subject {
        case .anonymous:
            guard registry.allowsAnonymousPull else {
                throw IdentityError(.invalidCredentials, "this registry does not allow pulling without credentials; sign in")
            }
            return Caller(subject: subject, grant: .roles([.contentRead]), lease: nil)
        case .admin:
            guard registry.isAdminUserEnabled else {
                throw IdentityError(.invalidCredentials, "the admin user of this registry is disabled")
            }
            return Caller(subject: subject, grant: .everything, lease: nil)
        case .token(let name):
            guard let (record, map) = try await self.identities.tokenWithMap(name, in: registry.id), record.isEnabled else {
                throw IdentityError(.invalidCredentials, "token '\(name)' is disabled or deleted")
            }
            return Caller(subject: subject, grant: .scopeMap(map), lease: nil)
        case .servicePrincipal, .user:
            guard let standing = try await self.directory?.standing(of: subject, credential: nil), !standing.isRevoked else {
                throw IdentityError(.invalidCredentials, "this account is disabled or no longer in the directory")
            }
            return Caller(subject: subject, grant: try await self.grant(of: standing.principal, registry), lease: nil)
        }
    }

    /// What the roles of a principal permit here and now; roles are read with every token request.
    private func grant(of principal: Principal, _ registry: DataPlaneRegistry) async throws -> Caller.Grant {
        if principal.isDirectoryAdministrator, principal.isEnabled { return .everything }
        guard let directory, let scope = registry.scope else { return .listed([]) }
        return .roles(try await directory.roles.rights(of: principal).permissions(onRegistry: scope))
    }

    /// The part of `requested` that the caller has.
    func granted(_ requested: [AccessEntry], to caller: Caller) -> [AccessEntry] {
        requested.compactMap { entry in
            switch (entry.type, entry.name) {
            case ("repository", _):
                guard let name = try? RepositoryName(entry.name) else { return nil }
                let wanted =
                    entry.actions.contains("*")
                    ? RepositoryPermission.allCases : entry.actions.compactMap { RepositoryPermission(scopeAction: $0) }
                let actions = wanted.filter { caller.may($0, on: name) }.map(\.scopeAction)
                return actions.isEmpty ? nil : AccessEntry(type: entry.type, name: entry.name, actions: actions)
            case ("registry", "catalog"), ("registry", "deleted_catalog"):
                if caller.subject == .anonymous { return nil }
                // Both catalogs show only what the caller may read, so everyone may ask for them.
                return AccessEntry(type: entry.type, name: entry.name, actions: ["*"])
            default: return nil
            }
        }
    }
}
