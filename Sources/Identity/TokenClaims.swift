// The claims of every token Outport issues.

internal import JWTKit

/// The kinds of tokens. Each kind has its own key, so one can never stand in for another.
package enum TokenKind: String, Sendable, CaseIterable, Codable {
    /// Management calls (ARM).
    case management
    /// Directory calls (Graph).
    case directory
    /// `/v2` and `/acr/v1` of one registry.
    case registryAccess = "registry-access"
    /// Exchanged for access tokens.
    case registryRefresh = "registry-refresh"
    /// The gateway and content for one connected registry.
    case sync
    /// Exchanged by people's clients for management and directory tokens.
    case signInRefresh = "sign-in-refresh"
    /// Tells a client who has signed in (OpenID Connect); it opens nothing.
    case identity

    /// Seconds a token of this kind lives. Access tokens live five minutes: the revocation bound.
    package var lifetime: Int64 {
        switch self {
        case .management, .directory, .identity: 3600
        case .registryAccess, .sync: 300
        case .registryRefresh: 10_800
        case .signInRefresh: 14 * 86_400
        }
    }
}

/// Who a token speaks for.
package enum Subject: Sendable, Hashable {
    /// A service principal of the directory, by object identifier.
    case servicePrincipal(String)
    /// A user of the directory, by object identifier.
    case user(String)
    /// A repository-scoped token of the registry, by name.
    case token(String)
    /// The admin user of the registry.
    case admin
    /// Whoever pulls without credentials from a registry that allows it.
    case anonymous

    var text: String {
        switch self {
        case .servicePrincipal(let id): "sp:\(id)"
        case .user(let id): "user:\(id)"
        case .token(let name): "token:\(name)"
        case .admin: "admin"
        case .anonymous: "anonymous"
        }
    }

    init?(_ text: String) {
        if text.hasPrefix("sp:") {
            self = .servicePrincipal(String(text.dropFirst(3)))
        } else if text.hasPrefix("user:") {
            self = .user(String(text.dropFirst(5)))
        } else if text.hasPrefix("token:") {
            self = .token(String(text.dropFirst(6)))
        } else if text == "admin" {
            self = .admin
        } else if text == "anonymous" {
            self = .anonymous
        } else {
            return nil
        }
    }
}

/// The lease a sync token was issued under.
package struct SyncLease: Sendable, Hashable, Codable {
    package let connectedRegistry: String
    /// The instance that is active; `nil` before activation.
    package let instance: String?
    package let epoch: Int64?

    package init(connectedRegistry: String, instance: String?, epoch: Int64?) {
        self.connectedRegistry = connectedRegistry
        self.instance = instance
        self.epoch = epoch
    }
}

/// Names the very password or secret somebody signed in with, so that what was issued for it ends with it.
package enum Credential {
    package static func password(_ password: PasswordVerifier) -> String { "\(password.slot.rawValue)@\(password.created)" }
    /// A secret or certificate of the directory, or a user's password (`password`), and the generation of whoever has it: a
    /// revocation begins a new generation.
    package static func directory(key: String, generation: Int64) -> String { "key@\(key)#\(generation)" }

    /// The parts of ``directory(key:generation:)``.
    static func parse(directory text: String) -> (key: String, generation: Int64)? {
        let parts = text.split(separator: "#")
        guard parts.count == 2, parts[0].hasPrefix("key@"), let generation = Int64(parts[1]) else { return nil }
        return (String(parts[0].dropFirst(4)), generation)
    }
}

/// A verified token.
package struct VerifiedToken: Sendable, Hashable {
    package let kind: TokenKind
    package let subject: Subject
    package let audience: String
    package let access: [AccessEntry]
    package let lease: SyncLease?
    /// The credential a refresh token was given for; see ``Credential``.
    package let credential: String?
    /// The client a refresh token of a user was given to.
    package var client: String?
    /// Seconds since 1970.
    package let expires: Int64
}

/// The claims as they travel.
struct Claims: JWTPayload {
    var iss: String
    var sub: String
    var aud: String
    var iat: Int64
    var nbf: Int64
    var exp: Int64
    var jti: String
    var typ: String
    var access: [AccessEntry]?
    var lease: SyncLease?
    var cred: String?
    // Read by clients that look into management tokens.
    var tid: String?
    var oid: String?
    var appid: String?
    var upn: String?
    var name: String?
    // Read by clients in identity tokens.
    var preferredUsername: String?
    var nonce: String?
    /// The client a refresh token was given to.
    var client: String?

    enum CodingKeys: String, CodingKey {
        case iss, sub, aud, iat, nbf, exp, jti, typ, access, lease, cred, tid, oid, appid, upn, name, nonce, client
        case preferredUsername = "preferred_username"
    }

    // Times are checked by ``TokenAuthority`` against its own clock.
    func verify(using algorithm: some JWTAlgorithm) async throws {}
}
