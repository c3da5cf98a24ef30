// Seals what the server must be able to give away again, such as the protected settings of an extension.

internal import Crypto
package import Persistence

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// Encrypts secrets that lie in the database (AES-GCM) under a key of the `keys` folder: a copy of the database alone shows nothing.
package struct SecretBox: Sendable {
    private let key: SymmetricKey

    /// - Parameters:
    ///   - folder: where the key lies; it is made when there is none.
    ///   - name: of the key.
    package init(folder: String, name: String) throws {
        let path = "\(folder)/\(name).key"
        if !FileSystem.exists(path) {
            try FileSystem.replace(path, with: SymmetricKey(size: .bits256).withUnsafeBytes { Array($0) })
        }
        let bytes = try FileSystem.read(path, limit: 1024)
        guard bytes.count == 32 else {
            throw PersistenceError(
                .io, tried: "read the key \(path)", cause: "it has \(bytes.count) bytes, not 32",
                advice: "restore it from a backup; what was sealed with it must be set anew otherwise")
        }
        self.key = SymmetricKey(data: bytes)
    }

    /// - Parameter context: what the secret belongs to; it opens under no other.
    package func seal(_ secret: [UInt8], context: String) throws -> [UInt8] {
        let box = try AES.GCM.seal(Data(secret), using: self.key, authenticating: Data(context.utf8))
        return Array(box.nonce) + box.ciphertext + box.tag
    }

    /// `nil` when it was sealed with another key, in another context, or was changed.
    package func open(_ sealed: [UInt8], context: String) -> [UInt8]? {
        guard let box = try? AES.GCM.SealedBox(combined: Data(sealed)),
            let plain = try? AES.GCM.open(box, using: self.key, authenticating: Data(context.utf8))
        else { return nil }
        return Array(plain)
    }
}
