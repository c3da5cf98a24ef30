// The own certificate authority: made once, so that a server is private and verifiable from its first start.

internal import Crypto
internal import OCI
internal import Persistence
internal import SwiftASN1
internal import X509

#if canImport(FoundationEssentials)
package import FoundationEssentials
#else
package import Foundation
#endif

/// What went wrong with certificates.
package struct CertificateError: Error, Sendable, CustomStringConvertible {
    package let description: String
    package init(_ description: String) { self.description = description }
}

/// A certificate authority in a folder: `ca.pem` (to hand out) and `ca.key` (0600).
package struct CertificateAuthority: Sendable {
    /// Years a new authority is valid.
    static let years = 20
    /// Days a leaf is valid.
    package static let leafDays = 397

    private let certificate: Certificate
    private let key: P256.Signing.PrivateKey
    /// The authority's certificate.
    package let pem: String
    /// Whether its key has been made just now: nobody trusts it yet.
    package let isNew: Bool

    /// Opens the authority in `folder`, making it when there is none. One that has lost its certificate gets another of the same key: what is
    /// pinned is the key.
    ///
    /// - Throws: ``CertificateError`` where the key is lost, or a file cannot be read as what it is.
    package init(folder: String, commonName: String, now: Date) throws {
        let (certificatePath, keyPath) = (folder + "/ca.pem", folder + "/ca.key")
        let (hasCertificate, hasKey) = (FileSystem.exists(certificatePath), FileSystem.exists(keyPath))
        self.isNew = !hasKey
        if hasCertificate, !hasKey {
            throw CertificateError(
                "the certificate authority at \(certificatePath) has no key: restore \(keyPath) from a backup. "
                    + "Only where it is lost for good move \(certificatePath) away: a new authority is made then, and whoever trusts or pins this one must be told of it"
            )
        }
        var kept: P256.Signing.PrivateKey?
        if hasKey {
            do {
                kept = try P256.Signing.PrivateKey(pemRepresentation: String(decoding: FileSystem.read(keyPath), as: UTF8.self))
            } catch let error where !(error is PersistenceError) {
                throw CertificateError("\(keyPath) is no key in PEM, as the certificate authority needs it: restore it from a backup")
            }
        }
        if hasCertificate, let kept {
            self.pem = String(decoding: try FileSystem.read(certificatePath), as: UTF8.self)
            self.key = kept
            do {
                self.certificate = try Certificate(pemEncoded: self.pem)
            } catch {
                throw CertificateError(
                    "\(certificatePath) is no certificate in PEM: restore it from a backup, or move it away: one of the same key is made then"
                )
            }
            guard self.certificate.publicKey == .init(kept.publicKey) else {
                throw CertificateError("\(certificatePath) is not of the key \(keyPath): restore both from one backup")
            }
            return
        }
        let key = kept ?? P256.Signing.PrivateKey()
        let name = try DistinguishedName {
            OrganizationName("Outport")
            CommonName(commonName)
        }
        // Valid from well before now: the clock of a site, or of this machine at its first start, may be wrong.
        let certificate = try Certificate(
            version: .v3, serialNumber: Certificate.SerialNumber(), publicKey: .init(key.publicKey),
            notValidBefore: now - 365 * 86_400, notValidAfter: now + Double(Self.years * 365) * 86_400, issuer: name, subject: name,
            signatureAlgorithm: .ecdsaWithSHA256,
            extensions: Certificate.Extensions {
                Critical(BasicConstraints.isCertificateAuthority(maxPathLength: 0))
                Critical(KeyUsage(keyCertSign: true, cRLSign: true))
                SubjectKeyIdentifier(hash: .init(key.publicKey))
            }, issuerPrivateKey: .init(key))
        let pem = try certificate.serializeAsPEM().pemString + "\n"
        // The key first: a certificate without its key would be found complete at the next start.
        if kept == nil { try FileSystem.replace(keyPath, with: (key.pemRepresentation + "\n").utf8) }
        try FileSystem.replace(certificatePath, with: pem.utf8, mode: 0o644)
        self.certificate = certificate
        self.key = key
        self.pem = pem
    }

    /// SHA-256 of the public key (SubjectPublicKeyInfo, DER), in hexadecimal: the pin in a sync password. It outlives renewals of the certificate.
    package var pin: String { Digest.of(self.certificate.publicKey.subjectPublicKeyInfoBytes).hex }

    /// The pin of the first certificate of a PEM text.
    package static func pin(ofPEM pem: String) throws -> String {
        Digest.of(try Certificate(pemEncoded: pem).publicKey.subjectPublicKeyInfoBytes).hex
    }

    /// A server certificate for `names`, kept in `folder` as `server.pem` and `server.key` and renewed when it does not cover them or nears its end.
    ///
    /// - Parameter names: host names, wildcards and address literals.
    package func leaf(folder: String, names: [String], now: Date) throws -> (certificatePEM: String, keyPEM: String) {
        let (certificatePath, keyPath) = (folder + "/server.pem", folder + "/server.key")
        if FileSystem.exists(certificatePath), FileSystem.exists(keyPath) {
            let pem = String(decoding: try FileSystem.read(certificatePath), as: UTF8.self)
            let keyPEM = String(decoding: try FileSystem.read(keyPath), as: UTF8.self)
            // Signed by this very authority: one that has taken another's place may have its name.
            if let current = try? Certificate(pemEncoded: pem), current.issuer == self.certificate.subject,
                self.certificate.publicKey.isValidSignature(current.signature, for: current), current.covers(names),
                current.notValidAfter.timeIntervalSince(now) > Double(Self.leafDays) * 86_400 / 3
                    || current.notValidAfter >= self.certificate.notValidAfter, current.notValidBefore <= now,
                let key = try? P256.Signing.PrivateKey(pemRepresentation: keyPEM), Certificate.PublicKey(key.publicKey) == current.publicKey
            {
                return (pem, keyPEM)
            }
        }
        let key = P256.Signing.PrivateKey()
        let certificate = try Certificate(
            version: .v3, serialNumber: Certificate.SerialNumber(), publicKey: .init(key.publicKey), notValidBefore: now - 86_400,
            // Nothing is good for longer than who vouches for it.
            notValidAfter: min(now + Double(Self.leafDays) * 86_400, self.certificate.notValidAfter), issuer: self.certificate.subject,
            subject: try DistinguishedName { CommonName(String((names.first ?? "outport").prefix(64))) },
            signatureAlgorithm: .ecdsaWithSHA256,
            extensions: Certificate.Extensions {
                Critical(BasicConstraints.notCertificateAuthority)
                Critical(KeyUsage(digitalSignature: true))
                try ExtendedKeyUsage([.serverAuth])
                SubjectAlternativeNames(names.map(GeneralName.init(host:)))
                AuthorityKeyIdentifier(keyIdentifier: SubjectKeyIdentifier(hash: self.certificate.publicKey).keyIdentifier)
            }, issuerPrivateKey: .init(self.key))
        let pem = try certificate.serializeAsPEM().pemString + "\n"
        let keyPEM = key.pemRepresentation + "\n"
        try FileSystem.replace(keyPath, with: keyPEM.utf8)
        try FileSystem.replace(certificatePath, with: pem.utf8, mode: 0o644)
        return (pem, keyPEM)
    }
}

extension GeneralName {
    /// A name or, for an address literal, an address.
    fileprivate init(host: String) {
        self = AddressLiteral.bytes(host).map { .ipAddress(ASN1OctetString(contentBytes: $0[...])) } ?? .dnsName(host)
    }
}

extension Certificate {
    fileprivate func covers(_ names: [String]) -> Bool {
        guard let present = try? self.extensions.subjectAlternativeNames else { return false }
        return names.allSatisfy { present.contains(GeneralName(host: $0)) }
    }
}
