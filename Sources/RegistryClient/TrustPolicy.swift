// Which servers a client believes. Certificates are verified here, not by the TLS library, so that we choose the time
// they are verified at: a site whose clock is wrong is not locked out.

internal import NIOSSL
internal import OCI
internal import SwiftASN1
@_spi(FixedExpiryValidationTime) internal import X509

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#else
internal import Darwin
#endif

/// What makes a server's certificate acceptable.
package enum TrustPolicy: Sendable, Hashable {
    /// Certificates that chain to one of these authorities (PEM). The validity period is judged by the local clock
    /// clamped to the period of the certificate: with a pinned authority the pin is the protection, and a wrong clock must not lock a site out.
    case authorities([String])
    /// The authorities the operating system trusts, at the time of the local clock.
    case system
    /// The same and these authorities (PEM) besides.
    case systemAnd([String])
    /// No verification: only to fetch an authority that is then compared with a pin. No credential may travel this way.
    case fetchOnly

    /// Judges a chain.
    ///
    /// - Parameter now: the time of the local clock.
    /// - Returns: `nil` when it is acceptable, otherwise a sentence.
    func refusal(chain: [NIOSSLCertificate], host: String, now: Date = Date()) async -> String? {
        if self == .fetchOnly { return nil }
        do {
            let certificates = try chain.map { try Certificate(derEncoded: $0.toDERBytes()) }
            guard let leaf = certificates.first else { return "the server showed no certificate" }
            let roots: CertificateStore
            let time: Date
            switch self {
            case .authorities(let texts):
                roots = CertificateStore(try texts.flatMap { try Self.certificates(pem: $0) })
                time = min(max(now, leaf.notValidBefore), leaf.notValidAfter)
            case .system:
                roots = CertificateStore.systemTrustRoots
                time = now
            case .systemAnd(let texts):
                roots = CertificateStore.systemTrustRoots.appending(contentsOf: try texts.flatMap { try Self.certificates(pem: $0) })
                time = now
            case .fetchOnly: return nil
            }
            let isAddress = Self.isAddress(host)
            var verifier = Verifier(rootCertificates: roots) {
                RFC5280Policy(fixedExpiryValidationTime: time)
                ServerIdentityPolicy(serverHostname: isAddress ? nil : host, serverIP: isAddress ? host : nil)
            }
            let result = await verifier.validate(leaf: leaf, intermediates: CertificateStore(certificates.dropFirst()))
            switch result {
            case .validCertificate: return nil
            case .couldNotValidate(let failures):
                let reason = failures.first.map { "\($0.policyFailureReason)" } ?? "it is not signed by a trusted authority"
                return "the certificate of \(host) is not accepted: \(reason)"
            }
        } catch {
            return "the certificate of \(host) cannot be read: \(error)"
        }
    }

    private static func certificates(pem: String) throws -> [Certificate] {
        try PEMDocument.parseMultiple(pemString: pem).map { try Certificate(pemDocument: $0) }
    }

    private static func isAddress(_ host: String) -> Bool {
        var v4 = in_addr()
        var v6 = in6_addr()
        return inet_pton(AF_INET, host, &v4) == 1 || inet_pton(AF_INET6, host, &v6) == 1
    }

    /// SHA-256 of the public key of the first certificate in a PEM text, in hexadecimal.
    package static func pin(ofPEM pem: String) throws -> String {
        Digest.of(try Certificate(pemEncoded: pem).publicKey.subjectPublicKeyInfoBytes).hex
    }
}
