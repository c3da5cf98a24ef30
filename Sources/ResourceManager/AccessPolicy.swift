// The one place where management calls are decided: those of resources by role at scope, those of the directory by who
// administrates it or owns the object.

internal import Identity

/// Who calls, with all their roles.
struct AuthorizedCaller: Sendable {
    let principal: Principal
    private let rights: RoleStore.Rights

    fileprivate init(principal: Principal, rights: RoleStore.Rights) {
        self.principal = principal
        self.rights = rights
    }

    /// Whether a role at the scope or above has the action.
    ///
    /// - Parameters:
    ///   - action: such as `Microsoft.ContainerRegistry/registries/delete`.
    ///   - scope: an id in any letter case.
    func allows(_ action: String, at scope: String) -> Bool { self.rights.permits(action, at: RoleStore.key(scope)) }

    /// Whether there is a role at the scope, above or below it: enough to know that the scope is there.
    func touches(_ scope: String) -> Bool { self.rights.touches(RoleStore.key(scope)) }

    /// Whether the caller hands out access somewhere, and so must find those who may get it.
    fileprivate var delegates: Bool { self.rights.permitsSomewhere("Microsoft.Authorization/roleAssignments/write") }
}

/// What a call does to the directory.
enum DirectoryAction: Sendable {
    /// Looks at any object.
    case readAll
    /// Looks at one object.
    case read(String)
    /// Registers an application or makes its service principal.
    case register
    /// Changes or deletes an object, its secrets, owners or members.
    case manage(String)
    /// Makes users and groups; changes what only an administrator may.
    case administrate
}

/// Decides by role at scope.
///
/// Every route names the ARM action it performs and the scope it touches, or the ``DirectoryAction``.
struct AccessPolicy: Sendable {
    let directory: Directory

    func caller(_ principal: Principal) async throws -> AuthorizedCaller {
        AuthorizedCaller(principal: principal, rights: try await self.directory.roles.rights(of: principal))
    }

    /// - Parameter filtered: whether each thing shown is decided by itself, so that any role in the scope will do here.
    /// - Throws: 403 `AuthorizationFailed`, in ARM's words.
    func require(_ action: String, at scope: String, filtered: Bool = false, for caller: AuthorizedCaller) throws(ResourceError) {
        guard caller.allows(action, at: scope) || (filtered && caller.touches(scope)) else {
            throw ResourceError(
                .forbidden, .authorizationFailed,
                "The client '\(caller.principal.name)' with object id '\(caller.principal.objectID)' does not have authorization to perform "
                    + "action '\(action)' over scope '\(scope)'. Ask an owner of that scope for a role that has it.")
        }
    }

    /// - Throws: ``IdentityError`` with code `denied`.
    func require(_ action: DirectoryAction, for caller: AuthorizedCaller) async throws {
        guard try await self.allows(action, for: caller) else {
            let need =
                switch action {
                case .readAll, .read: "a user of this directory, or a service principal that may assign roles"
                case .register: "a directory administrator, or somebody who may assign roles"
                case .manage: "a directory administrator or an owner of the object"
                case .administrate: "a directory administrator"
                }
            throw IdentityError(.denied, "Insufficient privileges to complete the operation. It needs \(need)")
        }
    }

    func allows(_ action: DirectoryAction, for caller: AuthorizedCaller) async throws -> Bool {
        let principal = caller.principal
        if principal.isDirectoryAdministrator { return true }
        switch action {
        case .readAll: return principal.kind == .user || caller.delegates
        case .read(let object):
            if principal.kind == .user || caller.delegates || object == principal.objectID { return true }
            return try await self.directory.owns(principal.objectID, object)
        case .register: return caller.delegates
        case .manage(let object):
            // Whoever administrates everything is not in the hands of an owner.
            switch try await self.directory.object(object) {
            case .servicePrincipal(let found) where found.isDirectoryAdministrator: return false
            case .user: return false
            default: return try await self.directory.owns(principal.objectID, object)
            }
        case .administrate: return false
        }
    }
}
