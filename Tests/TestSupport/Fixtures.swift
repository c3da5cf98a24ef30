// Content for tests: blobs, images and indexes of any shape.

package import OCI

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// Content that is addressed by its digest.
package struct Content: Sendable, Hashable {
    package let bytes: [UInt8]
    package let digest: Digest
    package let mediaType: MediaType

    package init(_ bytes: [UInt8], _ mediaType: MediaType, algorithm: Digest.Algorithm = .sha256) {
        self.bytes = bytes
        self.digest = Digest.of(bytes, algorithm: algorithm)
        self.mediaType = mediaType
    }

    package var descriptor: Descriptor { Descriptor(mediaType: self.mediaType, digest: self.digest, size: Int64(self.bytes.count)) }
}

extension MediaType {
    package static func test(_ text: String) -> MediaType {
        guard let type = try? MediaType(text) else { preconditionFailure("\(text) is no media type") }
        return type
    }

    package static let layer = MediaType.test("application/vnd.oci.image.layer.v1.tar+gzip")
    package static let config = MediaType.test("application/vnd.oci.image.config.v1+json")
    package static let foreignLayer = MediaType.test("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip")
}

package func repository(_ text: String) -> RepositoryName {
    guard let name = try? RepositoryName(text) else { preconditionFailure("\(text) is no repository name") }
    return name
}

package func tag(_ text: String) -> Tag {
    guard let tag = try? Tag(text) else { preconditionFailure("\(text) is no tag") }
    return tag
}

/// Builders of content.
package enum Fixture {
    package static func layer(_ text: String) -> Content { Content(Array(text.utf8), .layer) }

    package static func layer(bytes count: Int, seed: UInt64) -> Content {
        var generator = SeededGenerator(seed: seed)
        return Content(generator.bytes(count), .layer)
    }

    package static func config(_ text: String) -> Content { Content(Array("{\"made-for\":\"\(text)\"}".utf8), .config) }

    private struct Document: Encodable {
        var schemaVersion = 2
        var mediaType: MediaType?
        var artifactType: String?
        var config: Descriptor?
        var layers: [Descriptor]?
        var blobs: [Descriptor]?
        var manifests: [Descriptor]?
        var subject: Descriptor?
        var annotations: [String: String]?
    }

    private static func encode(_ document: Document, _ type: MediaType) -> Content {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        guard let data = try? encoder.encode(document) else { preconditionFailure("a fixture cannot be encoded") }
        return Content([UInt8](data), type)
    }

    package static func image(
        config: Descriptor, layers: [Descriptor], type: MediaType = .ociManifest, writesType: Bool = true, artifactType: String? = nil,
        subject: Descriptor? = nil, annotations: [String: String]? = nil
    ) -> Content {
        self.encode(
            Document(
                mediaType: writesType ? type : nil, artifactType: artifactType, config: config, layers: layers, subject: subject,
                annotations: annotations),
            type)
    }

    package static func index(
        _ manifests: [Descriptor], type: MediaType = .ociIndex, artifactType: String? = nil, subject: Descriptor? = nil
    ) -> Content {
        self.encode(Document(mediaType: type, artifactType: artifactType, manifests: manifests, subject: subject), type)
    }

    package static func artifact(_ blobs: [Descriptor], artifactType: String, subject: Descriptor? = nil) -> Content {
        self.encode(Document(mediaType: .ociArtifact, artifactType: artifactType, blobs: blobs, subject: subject), .ociArtifact)
    }
}

/// An image with its content.
package struct TestImage: Sendable {
    package let config: Content
    package let layers: [Content]
    package let manifest: Content

    package init(
        _ name: String, layers: [Content]? = nil, subject: Content? = nil, artifactType: String? = nil, type: MediaType = .ociManifest
    ) {
        self.config = Fixture.config(name)
        self.layers = layers ?? [Fixture.layer("layer of \(name)")]
        self.manifest = Fixture.image(
            config: self.config.descriptor, layers: self.layers.map(\.descriptor), type: type, artifactType: artifactType,
            subject: subject?.descriptor)
    }

    package var blobs: [Content] { [self.config] + self.layers }
}
