// A certificate with its key, and what they sign: the assertion with which a service principal signs in (RFC 7523).

import JSON
import JWTKit

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

/// A PEM file with a private key and its certificate, as `az ad sp create-for-rbac --create-cert` writes it.
struct CertificateFile: Sendable {
    private let path: String
    private let key: String
    /// The certificate's base64, without its armour.
    let certificate: String?

    init(path: String) throws(ManagementError) {
        self.path = path
        let text: String
        do {
            text = String(decoding: try Data(contentsOf: URL(filePath: path)), as: UTF8.self)
        } catch {
            throw ManagementError("The certificate file '\(path)' cannot be read: \(error)", advice: "Check --certificate.")
        }
        guard let key = ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"].lazy.compactMap({ Self.block($0, in: text) }).first else {
            throw ManagementError("The file '\(path)' holds no private key in PEM without a passphrase.", advice: "Check --certificate.")
        }
        self.key = key
        certificate = Self.certificate(in: text)
    }

    /// The base64 of the first certificate in a PEM text.
    static func certificate(in text: String) -> String? {
        block("CERTIFICATE", in: text)?.split(whereSeparator: \.isNewline).dropFirst().dropLast().joined()
    }

    private static func block(_ name: String, in text: String) -> String? {
        guard let start = text.firstRange(of: "-----BEGIN \(name)-----"),
            let end = text[start.upperBound...].firstRange(of: "-----END \(name)-----")
        else { return nil }
        return String(text[start.lowerBound..<end.upperBound])
    }

    private struct Claims: JWTPayload {
        let iss: String
        let sub: String
        let aud: String
        let jti: String
        let iat: Int
        let nbf: Int
        let exp: Int
        func verify(using algorithm: some JWTAlgorithm) async throws {}
    }

    /// - Parameter now: seconds since 1970.
    func assertion(clientID: String, audience: String, now: Int) async throws(ManagementError) -> String {
        let claims = Claims(
            iss: clientID, sub: clientID, aud: audience, jti: UUID().uuidString.lowercased(), iat: now, nbf: now - 60, exp: now + 600)
        do {
            let keys = JWTKeyCollection()
            if let rsa = try? Insecure.RSA.PrivateKey(pem: key) {
                await keys.add(rsa: rsa, digestAlgorithm: .sha256)
            } else {
                await keys.add(ecdsa: try ES256PrivateKey(pem: key))
            }
            return try await keys.sign(claims)
        } catch {
            throw ManagementError(
                "The private key in '\(path)' cannot sign: \(error)", advice: "It must be RSA, or elliptic-curve P-256, in PEM.")
        }
    }
}
