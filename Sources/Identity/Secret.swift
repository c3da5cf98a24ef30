// Secrets: made once, shown once, kept as verifiers.

internal import Crypto
internal import OCI

/// Generated secrets and their verifiers.
package enum Secret {
    /// A secret with more than 280 random bits, letters and digits only: it survives shells, options, URLs, headers and
    /// connection strings.
    package static func generate() -> String {
        let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789".utf8)
        var generator = SystemRandomNumberGenerator()
        return String(decoding: (0..<48).map { _ in alphabet[Int.random(in: 0..<alphabet.count, using: &generator)] }, as: UTF8.self)
    }

    /// What is stored of a generated secret: its SHA-256. With at least 256 random bits in the secret a slow hash adds nothing.
    package static func verifier(of secret: String) -> String { Digest.of(secret.utf8).hex }

    /// Whether `secret` belongs to `verifier`, in time that does not depend on where they differ.
    package static func matches(_ secret: String, verifier: String) -> Bool {
        let (left, right) = (Array(Self.verifier(of: secret).utf8), Array(verifier.utf8))
        guard left.count == right.count else { return false }
        return zip(left, right).reduce(into: UInt8(0)) { $0 |= $1.0 ^ $1.1 } == 0
    }
}
