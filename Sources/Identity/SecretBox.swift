// Secrets that must be told again, such as those sent to others: sealed, since a verifier will not do.

internal import Crypto
internal import Persistence

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// Seals secrets for the database (AES-GCM) under a key that lies beside it: a copy of the database alone shows nothing.
package struct SecretBox: Sendable {
    private let key: SymmetricKey

    /// Opens the key, which is made when there is none.
    ///
    /// - Parameters:
    ///   - path: where the key lies.
    ///   - remedy: what to do when it is lost, for the error.
    package init(path: String, lost remedy: String) throws {
        if !FileSystem.exists(path) {
            try FileSystem.replace(path, with: SymmetricKey(size: .bits256).withUnsafeBytes { Array($0) })
        }
        let bytes = try FileSystem.read(path, limit: 1024)
        guard bytes.count == 32 else {
            throw PersistenceError(
                .io, tried: "read the key \(path)", cause: "it has \(bytes.count) bytes, not 32",
                advice: "restore it from a backup, or remove it and \(remedy)")
        }
        self.key = SymmetricKey(data: bytes)
    }

    /// - Parameter context: what the secret belongs to; it opens in the same context only.
    package func seal(_ secret: [UInt8], for context: String) throws -> [UInt8] {
        let box = try AES.GCM.seal(Data(secret), using: self.key, authenticating: Data(context.utf8))
        return Array(box.nonce) + box.ciphertext + box.tag
    }

    /// The secret, or `nil` when it was sealed with another key or in another context, or was changed.
    package func open(_ sealed: [UInt8], for context: String) -> [UInt8]? {
        guard let box = try? AES.GCM.SealedBox(combined: Data(sealed)),
            let plain = try? AES.GCM.open(box, using: self.key, authenticating: Data(context.utf8))
        else { return nil }
        return Array(plain)
    }
}
