// What is read of a certificate before it becomes a credential.

internal import Crypto
internal import CryptoExtras
internal import X509

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// A certificate that can be a credential.
package struct CertificateRecord: Sendable {
    package let der: [UInt8]
    /// Milliseconds since 1970.
    package let notBefore: Int64
    package let notAfter: Int64
    /// The SHA-1 of the certificate, by which clients name it.
    package let thumbprint: [UInt8]

    /// - Throws: ``IdentityError`` with code `invalidCredentials`, naming what does not fit.
    package init(der: [UInt8]) throws(IdentityError) {
        guard der.count <= 16 << 10, let certificate = try? Certificate(derEncoded: der) else {
            throw IdentityError(.invalidCredentials, "it is no X.509 certificate in DER, base64-encoded")
        }
        let isUsable: Bool
        if let key = _RSA.Signing.PublicKey(certificate.publicKey) {
            isUsable = key.keySizeInBits >= 2048
        } else {
            isUsable = P256.Signing.PublicKey(certificate.publicKey) != nil
        }
        guard isUsable else {
            throw IdentityError(.invalidCredentials, "its key is neither RSA with 2048 bits or more nor elliptic-curve P-256")
        }
        self.der = der
        self.notBefore = Int64(certificate.notValidBefore.timeIntervalSince1970 * 1000)
        self.notAfter = Int64(certificate.notValidAfter.timeIntervalSince1970 * 1000)
        self.thumbprint = Array(Insecure.SHA1.hash(data: der))
    }
}
