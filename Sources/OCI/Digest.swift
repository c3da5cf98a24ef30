// Content digests: the only names content has. A `Digest` is always well formed, so a digest can never
// carry a path trick into the file system or a wrong length into the database.

internal import Crypto

/// A content digest, `algorithm:hex`, as in the OCI image specification, section "Digests".
///
/// The two registered algorithms are supported; anything else is refused when parsing.
package struct Digest: Hashable, Sendable {
    /// The registered digest algorithms.
    package enum Algorithm: String, Sendable, CaseIterable, Hashable {
        case sha256
        case sha512

        /// The number of hexadecimal characters in an encoded digest.
        package var hexLength: Int { self == .sha256 ? 64 : 128 }
    }

    package let algorithm: Algorithm
    /// Lower-case hexadecimal characters, exactly ``Algorithm/hexLength`` of them.
    package let hex: String

    /// Parses `sha256:…` or `sha512:…`.
    ///
    /// - Throws: ``OCIParseError`` naming what is wrong: separator, algorithm, length or a character.
    package init(_ text: some StringProtocol) throws(OCIParseError) {
        // One type from here on: code for any kind of string is slow where it meets each byte.
        let text = String(text)
        guard let colon = text.utf8.firstIndex(of: UInt8(ascii: ":")) else {
            throw OCIParseError(.digest, text, "it has no ':' between algorithm and hash")
        }
        guard let algorithm = Algorithm(rawValue: String(text[..<colon])) else {
            throw OCIParseError(.digest, text, "its algorithm is not sha256 or sha512")
        }
        let hex = text[text.utf8.index(after: colon)...]
        guard hex.utf8.count == algorithm.hexLength else {
            throw OCIParseError(.digest, text, "its hash needs \(algorithm.hexLength) characters")
        }
        guard hex.utf8.allSatisfy(ASCII.isLowerHex) else {
            throw OCIParseError(.digest, text, "its hash must be lower-case hexadecimal")
        }
        self.algorithm = algorithm
        self.hex = String(hex)
    }

    private init(algorithm: Algorithm, hex: String) {
        self.algorithm = algorithm
        self.hex = hex
    }

    /// The digest of `bytes`.
    package static func of(_ bytes: some Sequence<UInt8>, algorithm: Algorithm = .sha256) -> Digest {
        var hasher = Hasher(algorithm)
        if bytes.withContiguousStorageIfAvailable({ hasher.update(UnsafeRawBufferPointer($0)) }) == nil {
            let copy = Array(bytes)
            copy.withUnsafeBytes { hasher.update($0) }
        }
        return hasher.finish()
    }

    /// An incremental digest, for content that is streamed.
    package struct Hasher: Sendable {
        private enum State: Sendable {
            case sha256(SHA256)
            case sha512(SHA512)
        }

        private var state: State

        package init(_ algorithm: Algorithm) {
            self.state = algorithm == .sha256 ? .sha256(SHA256()) : .sha512(SHA512())
        }

        package var algorithm: Algorithm {
            if case .sha256 = self.state { .sha256 } else { .sha512 }
        }

        package mutating func update(_ bytes: UnsafeRawBufferPointer) {
            switch self.state {
            case .sha256(var hash):
                // Take the value out before it is changed, so that the hash state is never copied.
                self.state = .sha256(SHA256())
                hash.update(bufferPointer: bytes)
                self.state = .sha256(hash)
            case .sha512(var hash):
                self.state = .sha512(SHA512())
                hash.update(bufferPointer: bytes)
                self.state = .sha512(hash)
            }
        }

        package func finish() -> Digest {
            switch self.state {
            case .sha256(let hash): Digest(algorithm: .sha256, hex: ASCII.hex(hash.finalize()))
            case .sha512(let hash): Digest(algorithm: .sha512, hex: ASCII.hex(hash.finalize()))
            }
        }
    }
}

extension Digest: CustomStringConvertible {
    package var description: String { "\(self.algorithm.rawValue):\(self.hex)" }
}

extension Digest: Comparable {
    package static func < (left: Digest, right: Digest) -> Bool { left.description < right.description }
}

extension Digest: Codable {
    package init(from decoder: any Decoder) throws {
        try self.init(decoder.singleValueContainer().decode(String.self))
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(self.description)
    }
}
