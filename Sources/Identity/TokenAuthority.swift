// Issues and verifies tokens.

internal import Crypto
internal import JWTKit
internal import OCI
package import Persistence
internal import Synchronization

/// Issues tokens and verifies them; remembers what it has verified until it expires.
package final class TokenAuthority: Sendable {
    /// What tokens for the data plane are requested for; a literal name, no host.
    package static let registryAudience = "https://containerregistry.azure.net"

    /// Bytes of what is remembered of verified tokens, roughly.
    static let cacheSize = 8 << 20
    /// The longest token issued or looked at, in bytes. A request head may have 16 KiB: a quarter of it is left to the request
    /// line, `Accept`, and what proxies add.
    package static let maximumLength = 12 << 10
    private static let issuer = "outport"

    private let keys: [TokenKind: JWTKeyCollection]
    private let clock: WallClock
    private let verified = Mutex(VerifiedTokens(limit: TokenAuthority.cacheSize))
    package let tenantID: String

    /// - Parameter folder: where signing keys lie; missing ones are made.
    package init(folder: String, tenantID: String, clock: WallClock = .system) async throws {
        var keys: [TokenKind: JWTKeyCollection] = [:]
        for kind in TokenKind.allCases {
            let path = "\(folder)/\(kind.rawValue).key"
            if !FileSystem.exists(path) {
                let fresh = SymmetricKey(size: .bits256).withUnsafeBytes { Array($0) }
                try FileSystem.replace(path, with: fresh)
            }
            let bytes = try FileSystem.read(path, limit: 1024)
            guard bytes.count >= 32 else {
                throw PersistenceError(
                    .io, tried: "read the signing key \(path)", cause: "it has \(bytes.count) bytes",
                    advice: "remove it; a new one is made at the next start")
            }
            let collection = JWTKeyCollection()
            await collection.add(hmac: HMACKey(key: SymmetricKey(data: bytes)), digestAlgorithm: .sha256)
            keys[kind] = collection
        }
        self.keys = keys
        self.clock = clock
        self.tenantID = tenantID
    }

    /// Issues a token.
    ///
    /// - Parameters:
    ///   - audience: what the token is for: a registry's identity, or the resource a client asked for.
    ///   - appID: shown to clients that look into management tokens.
    ///   - person: the user the token speaks for, shown likewise.
    ///   - nonce: repeated in identity tokens.
    ///   - client: the client a refresh token is given to.
    /// - Throws: ``IdentityError`` with code `limitReached` where the token would be longer than ``maximumLength``: nobody would take it.
    package func issue(
        _ kind: TokenKind, subject: Subject, audience: String, access: [AccessEntry] = [], lease: SyncLease? = nil,
        credential: String? = nil, appID: String? = nil, person: Principal? = nil, nonce: String? = nil, client: String? = nil
    ) async throws -> (token: String, lifetime: Int64, issued: Int64) {
        let now = self.clock.seconds
        let objectID: String? =
            switch subject {
            case .servicePrincipal(let id), .user(let id): id
            default: nil
            }
        let claims = Claims(
            iss: Self.issuer, sub: subject.text, aud: audience, iat: now, nbf: now, exp: now + kind.lifetime,
            jti: String(UInt64.random(in: .min ... .max), radix: 36), typ: kind.rawValue, access: access.isEmpty ? nil : access,
            lease: lease,
            cred: credential,
            tid: objectID.map { _ in self.tenantID }, oid: objectID, appid: appID, upn: person?.name, name: person?.displayName,
            preferredUsername: person?.name, nonce: nonce, client: client)
        guard let key = self.keys[kind] else { throw IdentityError(.invalidToken, "there is no key for \(kind.rawValue) tokens") }
        let token = try await key.sign(claims)
        guard token.utf8.count <= Self.maximumLength else {
            throw IdentityError(
                .limitReached,
                "a token for all that is asked for would have \(token.utf8.count) bytes, and \(Self.maximumLength) fit into a request: "
                    + "ask for fewer scopes at a time")
        }
        return (token, kind.lifetime, now)
    }

    /// Verifies a token of one of `kinds` for `audience`.
    ///
    /// - Throws: ``IdentityError`` with code `invalidToken`: wrong signature, kind, audience, or expired.
    package func verify(_ token: String, as kinds: [TokenKind], audience: String?) async throws -> VerifiedToken {
        let now = self.clock.seconds
        let known: VerifiedToken
        if let cached = self.verified.withLock({ $0.tokens[token] }) {
            known = cached
        } else {
            known = try await self.check(token, kinds)
            self.verified.withLock { $0.add(token, known, now: now) }
        }
        guard kinds.contains(known.kind) else {
            throw IdentityError(.invalidToken, "this is a \(known.kind.rawValue) token, which is not accepted here")
        }
        guard known.expires > now else { throw IdentityError(.invalidToken, "the token has expired; request a new one") }
        if let audience, known.audience != audience {
            throw IdentityError(.invalidToken, "the token was issued for \(known.audience), not for \(audience)")
        }
        return known
    }

    /// A token that has been verified before and has not expired; no signature is looked at.
    package func remembered(_ token: String) -> VerifiedToken? {
        guard let known = self.verified.withLock({ $0.tokens[token] }), self.isCurrent(known.expires) else { return nil }
        return known
    }

    /// Whether what expires at `time`, in seconds since 1970, has not expired yet.
    package func isCurrent(_ time: Int64) -> Bool { time > self.clock.seconds }

    private func check(_ token: String, _ kinds: [TokenKind]) async throws -> VerifiedToken {
        guard token.utf8.count <= Self.maximumLength, token.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f }) else {
            throw IdentityError(.invalidToken, "the token is not well formed")
        }
        for kind in kinds {
            guard let key = self.keys[kind], let claims = try? await key.verify(token, as: Claims.self) else { continue }
            guard claims.typ == kind.rawValue, claims.iss == Self.issuer, let subject = Subject(claims.sub) else { break }
            return VerifiedToken(
                kind: kind, subject: subject, audience: claims.aud, access: claims.access ?? [], lease: claims.lease,
                credential: claims.cred, client: claims.client,
                expires: claims.exp)
        }
        throw IdentityError(.invalidToken, "the token was not issued by this server for this use; request a new one")
    }
}
