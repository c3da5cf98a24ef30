// Media types of manifests and what a registry must know about each.

/// A media type (RFC 6838), without parameters. Only what a registry decides on has a name here.
package struct MediaType: Hashable, Sendable, CustomStringConvertible {
    package let description: String

    package init(_ text: some StringProtocol) throws(OCIParseError) {
        // One type from here on: code for any kind of string is slow where it meets each byte.
        let text = String(text)
        guard text.utf8.count <= 255, !text.isEmpty else {
            throw OCIParseError(.mediaType, text, "it must have 1 to 255 characters")
        }
        let parts = text.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
        guard parts.count == 2, parts.allSatisfy({ !$0.isEmpty && $0.allSatisfy(Self.isRestrictedNameByte) }) else {
            throw OCIParseError(.mediaType, text, "it must be 'type/subtype' (RFC 6838)")
        }
        self.description = text
    }

    private init(known text: String) { self.description = text }

    private static func isRestrictedNameByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "!"), UInt8(ascii: "#"), UInt8(ascii: "$"), UInt8(ascii: "&"), UInt8(ascii: "-"), UInt8(ascii: "^"),
            UInt8(ascii: "_"), UInt8(ascii: "."), UInt8(ascii: "+"):
            true
        default: ASCII.isLetter(byte) || ASCII.isDigit(byte)
        }
    }

    package static let ociManifest = MediaType(known: "application/vnd.oci.image.manifest.v1+json")
    package static let ociIndex = MediaType(known: "application/vnd.oci.image.index.v1+json")
    package static let ociArtifact = MediaType(known: "application/vnd.oci.artifact.manifest.v1+json")
    package static let dockerManifest = MediaType(known: "application/vnd.docker.distribution.manifest.v2+json")
    package static let dockerList = MediaType(known: "application/vnd.docker.distribution.manifest.list.v2+json")
    package static let ociEmpty = MediaType(known: "application/vnd.oci.empty.v1+json")

    /// The manifests a registry stores, most preferred first when a client accepts several.
    package static let manifests: [MediaType] = [.ociManifest, .ociIndex, .dockerManifest, .dockerList, .ociArtifact]

    /// Whether content of this type is a manifest here. Anything else is a blob.
    package var isManifest: Bool { Self.manifests.contains(self) }

    /// Layers that by their type are not to be pushed to a registry (image specification, "Non-Distributable Layers").
    package var isForeignLayer: Bool {
        self.description.hasPrefix("application/vnd.oci.image.layer.nondistributable.")
            || self.description.hasPrefix("application/vnd.docker.image.rootfs.foreign.")
    }
}

extension MediaType: Codable {
    package init(from decoder: any Decoder) throws {
        try self.init(decoder.singleValueContainer().decode(String.self))
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(self.description)
    }
}
