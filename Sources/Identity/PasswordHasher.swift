// Passwords of people: slow to hash on purpose, so on threads of their own and never too many at a time.

internal import Crypto
internal import CryptoExtras
internal import NIOPosix
internal import Synchronization

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// Makes and checks verifiers of passwords with scrypt (RFC 7914).
///
/// A verifier reads `scrypt$<log2 of rounds>$<salt>$<hash>`, salt and hash in base64, so the cost may rise later.
package final class PasswordHasher: Sendable {
    /// Each takes 128 bytes × 8 × rounds of memory, 32 MiB at full cost.
    private static let threads = 2
    /// Those who wait beyond this are refused rather than kept.
    private static let maximumWaiting = 64

    private let logRounds: Int
    private let pool: NIOThreadPool
    private let waiting = Mutex(0)
    /// Checked for names that nobody has.
    private let nobody: Mutex<String?> = Mutex(nil)

    /// - Parameter logRounds: the base-2 logarithm of the rounds; tests lower it.
    package init(logRounds: Int = 15) {
        self.logRounds = logRounds
        self.pool = NIOThreadPool(numberOfThreads: Self.threads)
        self.pool.start()
    }

    deinit { self.pool.shutdownGracefully { _ in } }

    /// What is stored of a password.
    ///
    /// - Throws: ``IdentityError`` with code `busy`.
    package func verifier(of password: String) async throws -> String {
        let salt = SymmetricKey(size: .bits128).withUnsafeBytes { Data($0) }
        return try await self.verifier(of: password, salt: salt, logRounds: self.logRounds)
    }

    /// Whether the password belongs to the verifier. Without one it takes as long and is false.
    package func matches(_ password: String, verifier: String?) async throws -> Bool {
        guard let verifier else {
            let stand = if let known = self.nobody.withLock({ $0 }) { known } else { try await self.verifier(of: Secret.generate()) }
            self.nobody.withLock { $0 = stand }
            _ = try await self.matches(password, verifier: stand)
            return false
        }
        let parts = verifier.split(separator: "$")
        guard parts.count == 4, parts[0] == "scrypt", let logRounds = Int(parts[1]), (1...20).contains(logRounds),
            let salt = Data(base64Encoded: String(parts[2]))
        else { return false }
        let fresh = try await self.verifier(of: password, salt: salt, logRounds: logRounds)
        let (left, right) = (Array(fresh.utf8), Array(verifier.utf8))
        guard left.count == right.count else { return false }
        return zip(left, right).reduce(into: UInt8(0)) { $0 |= $1.0 ^ $1.1 } == 0
    }

    private func verifier(of password: String, salt: Data, logRounds: Int) async throws -> String {
        guard
            self.waiting.withLock({ count -> Bool in
                guard count < Self.maximumWaiting else { return false }
                count += 1
                return true
            })
        else { throw IdentityError(.busy, "too many sign-ins at a time; try again in a moment") }
        defer { self.waiting.withLock { $0 -= 1 } }
        return try await self.pool.runIfActive {
            let key = try KDF.Scrypt.deriveKey(
                from: Array(password.utf8), salt: salt, outputByteCount: 32, rounds: 1 << logRounds, blockSize: 8, parallelism: 1)
            let hash = key.withUnsafeBytes { Data($0) }
            return "scrypt$\(logRounds)$\(salt.base64EncodedString())$\(hash.base64EncodedString())"
        }
    }
}
