// Signing in with a certificate: a token that the client has signed itself (RFC 7523, section 2.2).

internal import JWTKit
package import Persistence
internal import Synchronization

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// Verifies client assertions against the certificates of the directory.
package final class ClientAssertions: Sendable {
    /// Seconds an assertion may live at most.
    static let longestLife: Int64 = 3600
    /// Seconds by which clocks may differ.
    static let skew: Int64 = 300
    /// How often one assertion is accepted. Clients of Azure sign one and use it for every resource of one command.
    static let maximumUses = 32
    /// Assertions remembered at most.
    static let maximumRemembered = 10_000
    private static let maximumLength = 16 << 10

    private struct Use {
        var count: Int
        let expires: Int64
    }

    private let directory: Directory
    private let clock: WallClock
    private let uses = Mutex<[String: Use]>([:])

    package init(directory: Directory, clock: WallClock = .system) {
        self.directory = directory
        self.clock = clock
    }

    private struct Header: Decodable {
        let alg: String
    }

    private struct Payload: JWTPayload {
        let iss: String
        let sub: String
        let aud: AudienceClaim
        let exp: Double
        let nbf: Double?
        let jti: String?
        func verify(using algorithm: some JWTAlgorithm) async throws {}
    }

    /// The application id that an assertion names, before anything is verified.
    package static func subject(of assertion: String) -> String? {
        guard let data = self.part(1, of: assertion), let payload = try? JSONDecoder().decode(Payload.self, from: data) else { return nil }
        return payload.sub
    }

    private static func part(_ index: Int, of assertion: String) -> Data? {
        let parts = assertion.split(separator: ".", omittingEmptySubsequences: false)
        guard assertion.utf8.count <= self.maximumLength, parts.count == 3 else { return nil }
        var text = String(parts[index]).replacing("-", with: "+").replacing("_", with: "/")
        while text.utf8.count % 4 != 0 { text += "=" }
        return Data(base64Encoded: text)
    }

    /// The principal that signed the assertion with the key of one of its live certificates.
    ///
    /// - Parameters:
    ///   - appID: as the request names it.
    ///   - audiences: what the assertion may be made out to.
    /// - Throws: ``IdentityError`` with code `invalidCredentials` and what is wrong.
    package func authenticate(
        appID: String, assertion: String, audiences: Set<String>
    ) async throws -> (principal: ServicePrincipal, credential: String) {
        func refuse(_ reason: String) -> IdentityError {
            IdentityError(.invalidCredentials, "the client assertion is not valid: \(reason)")
        }
        guard let header = Self.part(0, of: assertion).flatMap({ try? JSONDecoder().decode(Header.self, from: $0) }) else {
            throw refuse("it is no JSON web token")
        }
        let unknown = refuse("no live certificate of '\(appID.prefix(60))' in this directory has signed it")
        guard let (principal, credentials) = try await self.directory.candidate(appID: appID) else { throw unknown }
        for credential in credentials {
            guard case .certificate(let der) = credential.kind, let keys = await Self.keys(header.alg, certificate: der),
                let payload = try? await keys.verify(assertion, as: Payload.self)
            else { continue }
            let now = Double(self.clock.seconds)
            guard payload.iss.lowercased() == principal.appID, payload.sub.lowercased() == principal.appID else {
                throw refuse("'iss' and 'sub' must both be the application id")
            }
            guard payload.aud.value.contains(where: { audiences.contains($0) }) else {
                throw refuse("it is made out to \(payload.aud.value.joined(separator: ", ").prefix(200)), not to this server")
            }
            guard payload.exp > now else { throw refuse("it has expired; check the client's clock") }
            guard payload.exp <= now + Double(Self.longestLife + Self.skew) else {
                throw refuse("it lives longer than \(Self.longestLife) seconds")
            }
            guard (payload.nbf ?? 0) <= now + Double(Self.skew) else { throw refuse("it is not valid yet; check the client's clock") }
            guard let id = payload.jti, (1...256).contains(id.utf8.count) else { throw refuse("it has no 'jti' of at most 256 bytes") }
            guard self.count("\(principal.appID) \(id)", expires: Int64(payload.exp)) else {
                throw refuse("it has been used \(Self.maximumUses) times; sign a new one")
            }
            return (principal, Credential.directory(key: credential.keyID, generation: principal.generation))
        }
        throw unknown
    }

    /// Counts a use, unless there were too many. Where too many assertions are remembered the oldest is forgotten last:
    /// none is accepted that cannot be counted.
    private func count(_ key: String, expires: Int64) -> Bool {
        let now = self.clock.seconds
        return self.uses.withLock { uses in
            if let known = uses[key] {
                guard known.count < Self.maximumUses else { return false }
                uses[key]?.count += 1
                return true
            }
            if uses.count >= Self.maximumRemembered {
                uses = uses.filter { $0.value.expires > now }
                guard uses.count < Self.maximumRemembered else { return false }
            }
            uses[key] = Use(count: 1, expires: expires)
            return true
        }
    }

    /// The key of a certificate for an algorithm; `nil` where they do not go together.
    private static func keys(_ algorithm: String, certificate: [UInt8]) async -> JWTKeyCollection? {
        let pem = Self.pem(certificate)
        let keys = JWTKeyCollection()
        switch algorithm {
        case "RS256":
            guard let key = try? Insecure.RSA.PublicKey(certificatePEM: pem) else { return nil }
            await keys.add(rsa: key, digestAlgorithm: .sha256)
        case "PS256":
            guard let key = try? Insecure.RSA.PublicKey(certificatePEM: pem) else { return nil }
            await keys.add(pss: key, digestAlgorithm: .sha256)
        case "ES256":
            guard let key = try? ES256PublicKey(certificate: pem) else { return nil }
            await keys.add(ecdsa: key)
        default: return nil
        }
        return keys
    }

    static func pem(_ der: [UInt8]) -> String {
        let text = Data(der).base64EncodedString(options: [.lineLength64Characters, .endLineWithLineFeed])
        return "-----BEGIN CERTIFICATE-----\n\(text)\n-----END CERTIFICATE-----\n"
    }
}
