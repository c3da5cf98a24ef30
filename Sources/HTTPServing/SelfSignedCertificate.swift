// A certificate that vouches for itself: what a service principal signs in with needs no authority, since its key is registered.

internal import Crypto
internal import SwiftASN1
internal import X509

#if canImport(FoundationEssentials)
package import FoundationEssentials
#else
package import Foundation
#endif

/// Makes self-signed certificates.
package enum SelfSignedCertificate {
    /// A private key and its certificate in one PEM text, the key first.
    ///
    /// - Parameter end: when the certificate ends.
    package static func pem(commonName: String, end: Date, now: Date = Date()) throws -> String {
        let key = P256.Signing.PrivateKey()
        let name = try DistinguishedName { CommonName(commonName.isEmpty ? "outport" : commonName) }
        let certificate = try Certificate(
            version: .v3, serialNumber: Certificate.SerialNumber(), publicKey: .init(key.publicKey), notValidBefore: now - 600,
            notValidAfter: end, issuer: name, subject: name, signatureAlgorithm: .ecdsaWithSHA256,
            extensions: Certificate.Extensions {
                Critical(BasicConstraints.notCertificateAuthority)
                Critical(KeyUsage(digitalSignature: true))
            }, issuerPrivateKey: .init(key))
        return key.pemRepresentation + "\n" + (try certificate.serializeAsPEM().pemString) + "\n"
    }
}
