// Repository names, tags and references: each is parsed once, at the door.

/// A repository name within a registry (distribution specification 1.1, "Pulling manifests", `<name>`).
///
/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*` components joined by `/`, at most 255 characters. Such a name holds
/// neither `..` nor an empty component, so it cannot leave a folder.
package struct RepositoryName: Hashable, Sendable, CustomStringConvertible {
    package static let maximumLength = 255
    package let description: String

    package init(_ text: some StringProtocol) throws(OCIParseError) {
        let bytes = text.utf8
        guard !bytes.isEmpty else { throw OCIParseError(.repositoryName, "", "it is empty") }
        guard bytes.count <= Self.maximumLength else {
            throw OCIParseError(.repositoryName, String(text), "it has \(bytes.count) characters, \(Self.maximumLength) are allowed")
        }
        guard Self.isValid(bytes) else {
            throw OCIParseError(
                .repositoryName, String(text),
                "components are lower-case letters and digits, separated inside by '.', '_', '__' or dashes, and joined by '/'")
        }
        self.description = String(text)
    }

    private enum Position { case start, alphanumeric, dot, underscore, doubleUnderscore, dash }

    private static func isValid(_ bytes: some Sequence<UInt8>) -> Bool {
        var position = Position.start
        for byte in bytes {
            switch (byte, position) {
            case (_, _) where ASCII.isLower(byte) || ASCII.isDigit(byte): position = .alphanumeric
            case (UInt8(ascii: "/"), .alphanumeric): position = .start
            case (UInt8(ascii: "."), .alphanumeric): position = .dot
            case (UInt8(ascii: "_"), .alphanumeric): position = .underscore
            case (UInt8(ascii: "_"), .underscore): position = .doubleUnderscore
            case (UInt8(ascii: "-"), .alphanumeric), (UInt8(ascii: "-"), .dash): position = .dash
            default: return false
            }
        }
        return position == .alphanumeric
    }
}

extension RepositoryName: Comparable {
    package static func < (left: RepositoryName, right: RepositoryName) -> Bool { left.description < right.description }
}

extension RepositoryName: Codable {
    package init(from decoder: any Decoder) throws {
        try self.init(decoder.singleValueContainer().decode(String.self))
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(self.description)
    }
}

/// A tag (distribution specification 1.1, `<reference>` as a tag): `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
package struct Tag: Hashable, Sendable, CustomStringConvertible {
    package static let maximumLength = 128
    package let description: String

    package init(_ text: some StringProtocol) throws(OCIParseError) {
        let bytes = text.utf8
        guard let first = bytes.first else { throw OCIParseError(.tag, "", "it is empty") }
        guard bytes.count <= Self.maximumLength else {
            throw OCIParseError(.tag, String(text), "it has \(bytes.count) characters, \(Self.maximumLength) are allowed")
        }
        guard ASCII.isLetter(first) || ASCII.isDigit(first) || first == UInt8(ascii: "_"), bytes.allSatisfy(Self.isAllowed) else {
            throw OCIParseError(.tag, String(text), "a tag is letters, digits, '_', '.' and '-', and does not begin with '.' or '-'")
        }
        self.description = String(text)
    }

    private static func isAllowed(_ byte: UInt8) -> Bool {
        ASCII.isLetter(byte) || ASCII.isDigit(byte) || byte == UInt8(ascii: "_") || byte == UInt8(ascii: ".") || byte == UInt8(ascii: "-")
    }
}

extension Tag: Codable {
    package init(from decoder: any Decoder) throws {
        try self.init(decoder.singleValueContainer().decode(String.self))
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(self.description)
    }
}

/// What follows `/manifests/`: a tag or a digest.
package enum Reference: Hashable, Sendable, CustomStringConvertible {
    case tag(Tag)
    case digest(Digest)

    /// A text with `:` is a digest (a tag cannot hold one); anything else is a tag.
    package init(_ text: some StringProtocol) throws(OCIParseError) {
        self = text.utf8.contains(UInt8(ascii: ":")) ? .digest(try Digest(text)) : .tag(try Tag(text))
    }

    package var description: String {
        switch self {
        case .tag(let tag): tag.description
        case .digest(let digest): digest.description
        }
    }
}
