// Signing in with what somebody else has signed: a cluster says which service account a pod runs as, and an identity believes it.
//
// The keys of the issuer are those recorded with the cluster, so nothing is fetched when somebody signs in.

internal import JWTKit
package import Persistence

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// Whom an identity believes: one subject of one issuer.
package struct FederatedCredential: Sendable, Hashable {
    package let name: String
    package let keyID: String
    package let issuer: String
    /// Such as `system:serviceaccount:web:default`.
    package let subject: String
    package let audience: String
    /// Where the issuer's keys are recorded: the key of a cluster's id. An issuer's name alone is nobody's own.
    package let source: String

    package init(name: String, keyID: String, issuer: String, subject: String, audience: String, source: String) {
        self.name = name
        self.keyID = keyID
        self.issuer = issuer
        self.subject = subject
        self.audience = audience
        self.source = source
    }
}

extension Directory {
    /// Credentials of this kind that one identity may have.
    package static let maximumFederated = 20

    private static let selectFederated = "SELECT name, key_id, issuer, subject, audience, source FROM federated_credential"

    private static func federated(_ row: SQLRow) -> FederatedCredential {
        FederatedCredential(
            name: row.text(0), keyID: row.text(1), issuer: row.text(2), subject: row.text(3), audience: row.text(4), source: row.text(5))
    }

    package func federatedCredentials(of objectID: String) async throws -> [FederatedCredential] {
        try await self.database.read {
            try $0.rows("\(Self.selectFederated) WHERE object_id = ? ORDER BY name", SQLValue(objectID)).map(Self.federated)
        }
    }

    /// Makes or replaces one; what was signed in with before a replacement ends.
    ///
    /// - Parameter also: runs in the same transaction.
    /// - Returns: when it was made first, in milliseconds since 1970.
    @discardableResult
    package func put(
        _ credential: FederatedCredential, of objectID: String, also: @escaping @Sendable (any SQLWriter) throws -> Void = { _ in }
    ) async throws -> Int64 {
        let now = self.clock.milliseconds()
        return try await self.database.write { session in
            let others = try session.rows(
                "\(Self.selectFederated) WHERE object_id = ? AND name <> ?", SQLValue(objectID), SQLValue(credential.name)
            ).map(Self.federated)
            guard others.count < Self.maximumFederated else {
                throw IdentityError(
                    .limitReached, "the identity has \(others.count) federated credentials, which is the limit; remove one first")
            }
            guard !others.contains(where: { $0.source == credential.source && $0.subject == credential.subject }) else {
                throw IdentityError(.alreadyExists, "the identity has a federated credential for this issuer and subject already")
            }
            try session.execute(
                """
                INSERT INTO federated_credential (object_id, name, key_id, issuer, subject, audience, source, created)
                    VALUES (?, ?, ?, ?, ?, ?, ?, ?)
                ON CONFLICT (object_id, name) DO UPDATE SET key_id = excluded.key_id, issuer = excluded.issuer, subject = excluded.subject,
                    audience = excluded.audience, source = excluded.source
                """, SQLValue(objectID), SQLValue(credential.name), SQLValue(credential.keyID), SQLValue(credential.issuer),
                SQLValue(credential.subject), SQLValue(credential.audience), SQLValue(credential.source), .integer(now))
            try also(session)
            return try session.row(
                "SELECT created FROM federated_credential WHERE object_id = ? AND name = ?", SQLValue(objectID), SQLValue(credential.name)
            )?.integer(0) ?? now
        }
    }

    /// When the credentials of an identity were made, by their names: milliseconds since 1970.
    package func federatedCredentialTimes(of objectID: String) async throws -> [String: Int64] {
        try await self.database.read { session in
            let rows = try session.rows("SELECT name, created FROM federated_credential WHERE object_id = ?", SQLValue(objectID))
            return Dictionary(rows.map { ($0.text(0), $0.integer(1)) }) { first, _ in first }
        }
    }

    /// - Parameter also: runs in the same transaction.
    /// - Returns: whether there was one.
    package func removeFederatedCredential(
        _ name: String, of objectID: String, also: @escaping @Sendable (any SQLWriter) throws -> Void = { _ in }
    ) async throws -> Bool {
        try await self.database.write { session in
            let count = try session.execute(
                "DELETE FROM federated_credential WHERE object_id = ? AND name = ?", SQLValue(objectID), SQLValue(name))
            try also(session)
            return count > 0
        }
    }

    /// Whether a sign-in with a federated credential still stands.
    static func holdsFederated(_ keyID: String, _ objectID: String, _ session: any SQLReader) throws -> Bool {
        try session.row(
            "SELECT 1 FROM federated_credential WHERE object_id = ? AND key_id = ?", SQLValue(objectID), SQLValue(keyID)) != nil
    }

    /// The principal that believes an assertion of somebody else.
    ///
    /// - Parameters:
    ///   - appID: as the request names it.
    ///   - keys: the key set (RFC 7517) that is recorded at a source, as JSON.
    /// - Throws: ``IdentityError`` with code `invalidCredentials` and what is wrong.
    package func authenticate(
        appID: String, federated assertion: String, keys: @Sendable (_ source: String) async throws -> String?
    ) async throws -> (principal: ServicePrincipal, credential: String) {
        func refuse(_ reason: String) -> IdentityError {
            IdentityError(.invalidCredentials, "the token of the service account is not accepted: \(reason)")
        }
        guard let claims = FederatedClaims.unverified(assertion) else { throw refuse("it is no JSON web token") }
        guard let (principal, _) = try await self.candidate(appID: appID) else {
            throw refuse("there is no identity '\(appID.prefix(60))' that may sign in")
        }
        let trusted = try await self.federatedCredentials(of: principal.objectID).filter {
            $0.issuer == claims.iss && $0.subject == claims.sub && claims.aud.value.contains($0.audience)
        }
        guard !trusted.isEmpty else {
            throw refuse(
                "the identity has no federated credential for subject '\(claims.sub.prefix(200))' of issuer '\(claims.iss.prefix(200))' with one of its "
                    + "audiences (\(claims.aud.value.joined(separator: ", ").prefix(200)))")
        }
        var reason = "no key of its issuer is recorded; the cluster's agent reports them"
        for credential in trusted {
            guard let set = try await keys(credential.source) else { continue }
            reason = "no recorded key of its issuer has signed it; if the cluster has new keys, its agent reports them within a minute"
            guard let collection = try? await JWTKeyCollection().add(jwksJSON: set),
                let verified = try? await collection.verify(assertion, as: FederatedClaims.self)
            else { continue }
            let now = Double(self.clock.seconds)
            guard verified.exp > now else { throw refuse("it has expired; check the clocks") }
            guard (verified.nbf ?? 0) <= now + Double(ClientAssertions.skew) else { throw refuse("it is not valid yet; check the clocks") }
            guard verified.exp - (verified.iat ?? now) <= FederatedClaims.longestLife else {
                throw refuse("it lives longer than a day; let the kubelet ask for short ones")
            }
            return (principal, Credential.directory(key: credential.keyID, generation: principal.generation))
        }
        throw refuse(reason)
    }
}

/// What is read of a service account's token.
struct FederatedClaims: JWTPayload {
    /// Seconds.
    static let longestLife = 86_400.0

    let iss: String
    let sub: String
    let aud: AudienceClaim
    let exp: Double
    let nbf: Double?
    let iat: Double?

    func verify(using algorithm: some JWTAlgorithm) async throws {}

    /// The claims before anything is verified.
    static func unverified(_ token: String) -> FederatedClaims? {
        let parts = token.split(separator: ".", omittingEmptySubsequences: false)
        guard token.utf8.count <= 16 << 10, parts.count == 3 else { return nil }
        var text = String(parts[1]).replacing("-", with: "+").replacing("_", with: "/")
        while text.utf8.count % 4 != 0 { text += "=" }
        return Data(base64Encoded: text).flatMap { try? JSONDecoder().decode(FederatedClaims.self, from: $0) }
    }
}

extension FederatedCredential {
    /// Whether an assertion is somebody else's about somebody, not a client's about itself.
    package static func isMeant(by assertion: String, clientID: String) -> Bool {
        guard let claims = FederatedClaims.unverified(assertion) else { return false }
        return claims.iss != claims.sub && claims.iss.lowercased() != clientID.lowercased()
    }
}

extension IdentitySchema {
    static let federated = Migration(
        "identity-federated-credentials",
        [
            """
            CREATE TABLE federated_credential (
                object_id TEXT NOT NULL REFERENCES service_principal ON DELETE CASCADE, name TEXT NOT NULL COLLATE NOCASE,
                key_id TEXT NOT NULL UNIQUE, issuer TEXT NOT NULL, subject TEXT NOT NULL, audience TEXT NOT NULL, source TEXT NOT NULL,
                created INTEGER NOT NULL, PRIMARY KEY (object_id, name)) WITHOUT ROWID
            """
        ])
}
