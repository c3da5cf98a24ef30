// The names under which content stays reachable that lost a conflict: reserved, so that nobody's tag is ever mistaken for one.

package import OCI

/// Tags of the form `<tag>.conflict-<connected registry>-<12 hex>`.
///
/// Such a tag keeps its manifest from being collected at the end where it was set. It is not part of the state two ends compare and does
/// not travel: the connected registry and its parent each set their own. Clients may delete one, and may not set one.
package enum ConflictTag {
    private static let marker = ".conflict-"
    private static let hexDigits = 12
    /// The longest tag (distribution specification, "Pulling manifests").
    private static let maximumLength = 128

    /// The same test in SQL, as the right side of `GLOB`.
    static let glob = "?*\(marker)?*-" + String(repeating: "[0-9a-f]", count: hexDigits)

    /// The name under which `digest`, which `tag` should have named, is kept.
    package static func name(for tag: Tag, child: String, digest: Digest) -> Tag? {
        let suffix = "\(self.marker)\(child)-\(digest.hex.prefix(self.hexDigits))"
        return try? Tag(String(tag.description.prefix(self.maximumLength - suffix.utf8.count)) + suffix)
    }

    package static func isReserved(_ text: String) -> Bool {
        let hex = text.utf8.suffix(self.hexDigits)
        let head = text.utf8.dropLast(self.hexDigits)
        guard hex.count == self.hexDigits, hex.allSatisfy({ ASCII.isDigit($0) || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains($0) }),
            head.last == UInt8(ascii: "-")
        else { return false }
        // At least one character before the marker and one for the name behind it.
        return String(decoding: head.dropLast(2), as: UTF8.self).dropFirst().contains(self.marker)
    }

    /// - Throws: `TAG_INVALID` for a reserved name.
    static func refuse(_ tag: Tag) throws {
        guard self.isReserved(tag.description) else { return }
        throw RegistryError(
            .tagInvalid,
            "tag \(tag) has the form under which connected registries keep what lost a conflict (…\(self.marker)<name>-<12 hex>); choose another"
        )
    }
}
