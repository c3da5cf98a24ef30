// Secrets that the operator keeps for cache rules: files, since there is no key vault here.

internal import JSON
package import NIOPosix
internal import OCI
internal import Persistence

/// The identifier of a secret in a key vault, `https://myvault.vault.azure.net/secrets/name[/version]`.
package struct SecretIdentifier: Sendable, Hashable, Codable, CustomStringConvertible {
    package let description: String
    /// 1 to 127 letters, digits and `-`.
    let name: String

    /// `nil` for what is no such identifier.
    init?(_ text: String) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard text.utf8.count <= 512, [5, 6].contains(parts.count), parts[0].lowercased() == "https:", parts[1].isEmpty, !parts[2].isEmpty,
            parts[3].lowercased() == "secrets",
            parts[2].utf8.allSatisfy({ ASCII.isLetter($0) || ASCII.isDigit($0) || "-.:".utf8.contains($0) }),
            parts[4...].allSatisfy({
                (1...127).contains($0.utf8.count)
                    && $0.utf8.allSatisfy { ASCII.isLetter($0) || ASCII.isDigit($0) || $0 == UInt8(ascii: "-") }
            })
        else { return nil }
        self.description = text
        self.name = String(parts[4])
    }

    package init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        guard let value = SecretIdentifier(try container.decode(String.self)) else {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: "it is no identifier of a secret")
        }
        self = value
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(self.description)
    }
}

/// Reads secrets from files: `FOLDER/<registry>/<login server>/<name of the secret>`.
///
/// The path says who may use a secret and where it may be sent, so whoever may write credential sets cannot send the secrets of
/// others, or to a server of their own. Files are read with each use: a changed one counts at once.
package struct SecretFolder: Sendable {
    private static let largest = 64 << 10

    private let folder: String
    private let pool: NIOThreadPool

    package init(folder: String, pool: NIOThreadPool) {
        self.folder = folder
        self.pool = pool
    }

    /// Where a secret has to be, for sentences.
    static func place(_ secret: SecretIdentifier, of registry: String, for loginServer: String) -> String {
        "\(registry)/\(loginServer)/\(secret.name)"
    }

    /// The secret without the line's end; `nil` when there is none.
    func read(_ secret: SecretIdentifier, of registry: String, for loginServer: String) async throws -> String? {
        let path = "\(self.folder)/\(Self.place(secret, of: registry, for: loginServer))"
        return try await self.pool.runIfActive {
            guard FileSystem.exists(path) else { return nil }
            let text = String(decoding: try FileSystem.read(path, limit: Self.largest), as: UTF8.self)
            let value = text.last?.isNewline == true ? String(text.dropLast()) : text
            return value.isEmpty || value.contains(where: \.isNewline) ? nil : value
        }
    }
}
