// What is stored of the directory: who can be given a role, and with what they sign in.

internal import OCI

/// Somebody who can sign in, whatever kind of object they are.
package struct Principal: Sendable, Hashable {
    package enum Kind: String, Sendable {
        case servicePrincipal = "ServicePrincipal"
        case user = "User"
    }

    package let objectID: String
    package let kind: Kind
    /// The application id of a service principal, the account name of a user.
    package let name: String
    package let displayName: String
    /// May do everything: administrates the directory and is Owner of every scope.
    package let isDirectoryAdministrator: Bool
    package let isEnabled: Bool
    /// Changes with a revocation; what was issued in an earlier generation has ended.
    package let generation: Int64

    package init(
        objectID: String, kind: Kind, name: String, displayName: String, isDirectoryAdministrator: Bool, isEnabled: Bool = true,
        generation: Int64 = 0
    ) {
        self.objectID = objectID
        self.kind = kind
        self.name = name
        self.displayName = displayName
        self.isDirectoryAdministrator = isDirectoryAdministrator
        self.isEnabled = isEnabled
        self.generation = generation
    }

    /// By what resources name their creator.
    package var appID: String { self.name }

    package var subject: Subject {
        switch self.kind {
        case .servicePrincipal: .servicePrincipal(self.objectID)
        case .user: .user(self.objectID)
        }
    }
}

/// A service principal of the directory.
package struct ServicePrincipal: Sendable, Hashable {
    package enum Kind: String, Sendable {
        case application = "Application"
        case managedIdentity = "ManagedIdentity"
    }

    package let objectID: String
    package let appID: String
    package var displayName: String
    /// Owner of every subscription and administrator of the directory (the bootstrap principal).
    package let isDirectoryAdministrator: Bool
    package var isEnabled: Bool
    package let kind: Kind
    /// The id of the resource a managed identity belongs to.
    package let resource: String?
    package var generation: Int64

    package init(
        objectID: String, appID: String, displayName: String, isDirectoryAdministrator: Bool, isEnabled: Bool = true,
        kind: Kind = .application, resource: String? = nil, generation: Int64 = 0
    ) {
        self.objectID = objectID
        self.appID = appID
        self.displayName = displayName
        self.isDirectoryAdministrator = isDirectoryAdministrator
        self.isEnabled = isEnabled
        self.kind = kind
        self.resource = resource
        self.generation = generation
    }

    package var principal: Principal {
        Principal(
            objectID: self.objectID, kind: .servicePrincipal, name: self.appID, displayName: self.displayName,
            isDirectoryAdministrator: self.isDirectoryAdministrator, isEnabled: self.isEnabled, generation: self.generation)
    }
}

/// An application: what service principals are instances of, and where their secrets are kept.
package struct DirectoryApplication: Sendable, Hashable {
    package let objectID: String
    package let appID: String
    package var displayName: String
    /// Milliseconds since 1970.
    package let created: Int64
}

/// A person.
package struct DirectoryUser: Sendable, Hashable {
    package let objectID: String
    /// The account name, `ana@example.com`.
    package let name: String
    package var displayName: String
    package var mailNickname: String
    package var isEnabled: Bool
    package let isDirectoryAdministrator: Bool
    package let generation: Int64
    /// Milliseconds since 1970.
    package let created: Int64

    package var principal: Principal {
        Principal(
            objectID: self.objectID, kind: .user, name: self.name, displayName: self.displayName,
            isDirectoryAdministrator: self.isDirectoryAdministrator, isEnabled: self.isEnabled, generation: self.generation)
    }

    /// Account names: something before and after one `@`, without blanks and control characters.
    package static func isValid(name: String) -> Bool {
        let parts = name.split(separator: "@", omittingEmptySubsequences: false)
        return parts.count == 2 && parts.allSatisfy { !$0.isEmpty } && name.utf8.count <= 113
            && name.utf8.allSatisfy { ASCII.isLetter($0) || ASCII.isDigit($0) || "-_.+'@".utf8.contains($0) }
    }
}

/// A group of users, service principals and groups.
package struct DirectoryGroup: Sendable, Hashable {
    package let objectID: String
    package var displayName: String
    package var mailNickname: String
    package var text: String?
    /// Milliseconds since 1970.
    package let created: Int64
}

/// Any object of the directory.
package enum DirectoryObject: Sendable, Hashable {
    case application(DirectoryApplication)
    case servicePrincipal(ServicePrincipal)
    case user(DirectoryUser)
    case group(DirectoryGroup)

    package var objectID: String {
        switch self {
        case .application(let value): value.objectID
        case .servicePrincipal(let value): value.objectID
        case .user(let value): value.objectID
        case .group(let value): value.objectID
        }
    }

    package var displayName: String {
        switch self {
        case .application(let value): value.displayName
        case .servicePrincipal(let value): value.displayName
        case .user(let value): value.displayName
        case .group(let value): value.displayName
        }
    }

    /// The kind as role assignments name it; `nil` for what cannot have a role.
    package var principalType: String? {
        switch self {
        case .application: nil
        case .servicePrincipal: Principal.Kind.servicePrincipal.rawValue
        case .user: Principal.Kind.user.rawValue
        case .group: "Group"
        }
    }
}

/// A secret or a certificate as stored: never a secret's value.
package struct DirectoryCredential: Sendable, Hashable {
    package enum Kind: Sendable, Hashable {
        /// The verifier, and the first characters by which people tell their secrets apart.
        case secret(verifier: String, hint: String?)
        /// The certificate in DER.
        case certificate([UInt8])
    }

    package let keyID: String
    package let kind: Kind
    package let displayName: String?
    /// Milliseconds since 1970.
    package let start: Int64
    package let expiry: Int64?

    package init(keyID: String, kind: Kind, displayName: String?, start: Int64, expiry: Int64?) {
        self.keyID = keyID
        self.kind = kind
        self.displayName = displayName
        self.start = start
        self.expiry = expiry
    }

    func isLive(at now: Int64) -> Bool { self.start <= now && (self.expiry ?? .max) > now }
}
