// What is stored of scope maps, tokens and service principals.

package import OCI
internal import Persistence

/// A named set of actions.
package struct ScopeMap: Sendable, Hashable {
    package let name: String
    package var text: String?
    package let isSystemDefined: Bool
    /// Sorted, without repetition.
    package var actions: [ScopeMapAction]
    /// Milliseconds since 1970.
    package let created: Int64

    package init(name: String, text: String?, isSystemDefined: Bool = false, actions: some Sequence<ScopeMapAction>, created: Int64) {
        self.name = name
        self.text = text
        self.isSystemDefined = isSystemDefined
        self.actions = Self.canonical(actions)
        self.created = created
    }

    package static func canonical(_ actions: some Sequence<ScopeMapAction>) -> [ScopeMapAction] {
        Set(actions).sorted { $0.description < $1.description }
    }

    /// The most repository actions one map may hold.
    package static let maximumRepositoryActions = 500

    /// The maps every registry has.
    package static let system: [(name: String, text: String, permissions: [RepositoryPermission])] = [
        ("_repositories_admin", "Can perform all read, write and delete operations on the registry", RepositoryPermission.allCases),
        ("_repositories_pull", "Can pull any repository of the registry", [.contentRead]),
        ("_repositories_pull_metadata_read", "Can perform all read operations on the registry", [.contentRead, .metadataRead]),
        ("_repositories_push", "Can push to any repository of the registry", [.contentRead, .contentWrite]),
        (
            "_repositories_push_metadata_write", "Can perform all read and write operations on the registry",
            [.contentRead, .contentWrite, .metadataRead, .metadataWrite]
        ),
    ]

    /// Whether the map permits `permission` on `name`.
    ///
    /// What was deleted is seen by whoever sees what is there, and put back by whoever may both write and delete.
    package func permits(_ permission: RepositoryPermission, on name: RepositoryName) -> Bool {
        switch permission {
        case .deletedRead: return self.permits(.metadataRead, on: name)
        case .deletedRestore: return self.permits(.contentWrite, on: name) && self.permits(.contentDelete, on: name)
        case .contentRead, .contentWrite, .contentDelete, .metadataRead, .metadataWrite: break
        }
        return self.actions.contains { action in
            if case .repository(let pattern, permission) = action { pattern.matches(name) } else { false }
        }
    }

    package func permits(_ permission: GatewayPermission, gateway: String) -> Bool {
        self.actions.contains(.gateway(gateway.lowercased(), permission))
    }

    /// The repositories on which the map permits `permission`.
    package func repositories(_ permission: RepositoryPermission) -> [RepositoryPattern] {
        self.actions.compactMap { if case .repository(let pattern, permission) = $0 { pattern } else { nil } }
    }
}

/// The two slots of a token's passwords.
package enum PasswordSlot: String, Sendable, CaseIterable, Codable, Hashable {
    case password1, password2
}

/// A password as stored: never its value.
package struct PasswordVerifier: Sendable, Hashable, Codable {
    package let slot: PasswordSlot
    /// See ``Secret/verifier(of:)``.
    package let verifier: String
    package let created: Int64
    package let expiry: Int64?

    package init(slot: PasswordSlot, verifier: String, created: Int64, expiry: Int64?) {
        self.slot = slot
        self.verifier = verifier
        self.created = created
        self.expiry = expiry
    }
}

/// A repository-scoped token.
package struct TokenRecord: Sendable, Hashable {
    package let name: String
    package var scopeMap: String
    package var isEnabled: Bool
    package let created: Int64
    package var passwords: [PasswordVerifier]

    /// Whether the credential is one of the token's passwords and has not expired.
    ///
    /// - Parameter now: milliseconds since 1970.
    package func holds(_ credential: String, now: Int64) -> Bool {
        self.passwords.contains { Credential.password($0) == credential && ($0.expiry ?? .max) > now }
    }

    package init(name: String, scopeMap: String, isEnabled: Bool, created: Int64, passwords: [PasswordVerifier]) {
        self.name = name
        self.scopeMap = scopeMap
        self.isEnabled = isEnabled
        self.created = created
        self.passwords = passwords
    }
}
