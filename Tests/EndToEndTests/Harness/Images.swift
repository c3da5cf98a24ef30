// Things to push: small ones made in memory, and a real userland in an OCI layout on disk.

import Foundation

/// A manifest and the blobs it names.
struct Artifact: Sendable {
    static let imageType = "application/vnd.oci.image.manifest.v1+json"
    static let indexType = "application/vnd.oci.image.index.v1+json"

    let manifest: Data
    let mediaType: String
    let blobs: [Data]

    var digest: String { self.manifest.digest }
    /// How an index names it.
    var descriptor: [String: Any] { ["mediaType": self.mediaType, "digest": self.digest, "size": self.manifest.count] }

    /// An image whose layers are these bytes.
    static func image(layers: [Data], config: Data? = nil, subject: [String: Any]? = nil, artifactType: String? = nil) throws -> Artifact {
        let config =
            config ?? Data(#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]},"nonce":"\#(UUID())"}"#.utf8)
        func descriptor(_ type: String, _ content: Data) -> [String: Any] {
            ["mediaType": type, "digest": content.digest, "size": content.count]
        }
        var manifest: [String: Any] = [
            "schemaVersion": 2, "mediaType": self.imageType, "config": descriptor("application/vnd.oci.image.config.v1+json", config),
            "layers": layers.map { descriptor("application/vnd.oci.image.layer.v1.tar", $0) },
        ]
        if let subject { manifest["subject"] = subject }
        if let artifactType { manifest["artifactType"] = artifactType }
        return Artifact(
            manifest: try JSONSerialization.data(withJSONObject: manifest, options: [.sortedKeys, .withoutEscapingSlashes]),
            mediaType: self.imageType, blobs: [config] + layers)
    }

    /// An index of these; their own content has to be pushed before.
    static func index(_ entries: [[String: Any]]) throws -> Artifact {
        let manifest: [String: Any] = ["schemaVersion": 2, "mediaType": self.indexType, "manifests": entries]
        return Artifact(
            manifest: try JSONSerialization.data(withJSONObject: manifest, options: [.sortedKeys, .withoutEscapingSlashes]),
            mediaType: self.indexType, blobs: [])
    }
}

/// An image in an OCI layout, as skopeo reads it.
struct ImageLayout: Sendable {
    let folder: String
    let tag: String
    let digest: String

    var reference: String { "oci:\(self.folder):\(self.tag)" }

    /// An image that prints `message` when it is run.
    static func busybox(_ box: Sandbox, tag: String = "v1", message: String = "hello from the edge", extraMiB: Int = 0) async throws
        -> ImageLayout
    {
        let folder = box.path("image-\(tag)")
        let made = try await command(
            "\(Program.package)/Scripts/make-image",
            [folder, "--tag", tag, "--message", message, "--extra-mib", "\(extraMiB)", "--seed", "\(Int.random(in: 1...1_000_000))"]
        ).succeeded()
        return ImageLayout(folder: folder, tag: tag, digest: made.trimmed)
    }

    /// An index of two images for two platforms.
    static func multiArch(_ box: Sandbox, tag: String = "multi") async throws -> ImageLayout {
        let folder = try box.newFolder("index")
        try FileManager.default.createDirectory(atPath: folder + "/blobs/sha256", withIntermediateDirectories: true)
        func store(_ content: Data) throws { try content.write(to: URL(filePath: "\(folder)/blobs/sha256/\(content.digest.dropFirst(7))")) }
        var entries: [[String: Any]] = []
        for architecture in ["amd64", "arm64"] {
            let config = Data(#"{"architecture":"\#(architecture)","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#.utf8)
            let image = try Artifact.image(layers: [.random(20_000)], config: config)
            for blob in image.blobs + [image.manifest] { try store(blob) }
            entries.append(image.descriptor.merging(["platform": ["os": "linux", "architecture": architecture]]) { $1 })
        }
        let index = try Artifact.index(entries)
        try store(index.manifest)
        let top: [String: Any] = [
            "schemaVersion": 2, "manifests": [index.descriptor.merging(["annotations": ["org.opencontainers.image.ref.name": tag]]) { $1 }],
        ]
        try JSONSerialization.data(withJSONObject: top).write(to: URL(filePath: folder + "/index.json"))
        try Data(#"{"imageLayoutVersion":"1.0.0"}"#.utf8).write(to: URL(filePath: folder + "/oci-layout"))
        return ImageLayout(folder: folder, tag: tag, digest: index.digest)
    }
}
