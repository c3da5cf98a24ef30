// The one place where management calls are decided.

internal import Identity

/// Decides by role at scope.
///
/// Every route names the ARM action it performs and the scope it touches, so role assignments become a matter of this file:
/// today the only principal is the directory administrator, who is Owner of everything.
struct AccessPolicy: Sendable {
    /// - Parameters:
    ///   - action: such as `Microsoft.ContainerRegistry/registries/delete`.
    ///   - scope: the id of the resource in lower case; an assignment at a prefix of it (by whole segments) applies.
    func allows(_ action: String, at scope: String, for principal: ServicePrincipal) async throws -> Bool {
        principal.isDirectoryAdministrator
    }

    /// - Throws: 403 `AuthorizationFailed`, in ARM's words.
    func require(_ action: String, at scope: String, for principal: ServicePrincipal) async throws {
        guard try await self.allows(action, at: scope, for: principal) else {
            throw ResourceError(
                .forbidden, .authorizationFailed,
                "The client '\(principal.appID)' with object id '\(principal.objectID)' does not have authorization to perform "
                    + "action '\(action)' over scope '\(scope)'. Ask an owner of that scope for a role that has it.")
        }
    }
}
