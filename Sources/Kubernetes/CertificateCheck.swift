// Looks at a certificate that an operator brings before pods are made to serve with it.

internal import Crypto
internal import OCI
internal import SwiftASN1
internal import X509

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// What is wrong with a certificate for an address.
enum CertificateCheck {
    /// - Returns: a sentence with the next step; `nil` when clients will take it.
    static func flaw(certificate: String, key: String?, authority: String?, address: String, now: Date) async -> String? {
        let chain: [Certificate]
        do {
            chain = try PEMDocument.parseMultiple(pemString: certificate).map { try Certificate(pemDocument: $0) }
        } catch {
            return "tls.crt cannot be read (\(error)). Set it to the certificate in PEM."
        }
        guard let leaf = chain.first else { return "tls.crt holds no certificate. Set it to the certificate in PEM." }
        guard leaf.notValidAfter > now else {
            return "the certificate of tls.crt expired at \(leaf.notValidAfter.formatted(.iso8601)). Set tls.crt and tls.key to a new one."
        }
        guard leaf.notValidBefore <= now else {
            return "the certificate of tls.crt is not valid before \(leaf.notValidBefore.formatted(.iso8601)). Check the clock, or wait."
        }
        let names = (try? leaf.extensions.subjectAlternativeNames) ?? nil
        guard let bytes = AddressLiteral.bytes(address), names?.contains(.ipAddress(ASN1OctetString(contentBytes: bytes[...]))) == true
        else {
            return
                "the certificate of tls.crt does not name the address \(address), so no client will take it. Issue one with IP:\(address) among "
                + "its subject alternative names."
        }
        if let key {
            guard let own = try? Certificate.PrivateKey(pemEncoded: key) else {
                return "tls.key cannot be read. Set it to the key in PEM, not encrypted."
            }
            guard own.publicKey == leaf.publicKey else { return "tls.key is not the key of tls.crt. Set both from the same pair." }
        }
        guard let authority else { return nil }
        do {
            let roots = try PEMDocument.parseMultiple(pemString: authority).map { try Certificate(pemDocument: $0) }
            var verifier = Verifier(rootCertificates: CertificateStore(roots)) { RFC5280Policy() }
            if case .couldNotValidate = await verifier.validate(leaf: leaf, intermediates: CertificateStore(chain.dropFirst() + roots)) {
                return "the certificate of tls.crt is not signed by tls.cacrt. Set tls.cacrt to the authority it was issued by, and put "
                    + "intermediate certificates behind the first one in tls.crt."
            }
        } catch {
            return "tls.cacrt cannot be read (\(error)). Set it to the authority's certificate in PEM."
        }
        return nil
    }
}
