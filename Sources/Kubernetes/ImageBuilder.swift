// Outport's own image: the program that runs, with the libraries it has loaded, and nothing else.

internal import COutport
internal import Crypto
internal import Foundation

/// Why no image was made, with what to do next.
package struct ImageBuildError: Error, Sendable, CustomStringConvertible {
    package let description: String
}

/// Makes an OCI image of a program without a container engine.
package struct ImageBuilder: Sendable {
    /// The user the program runs as.
    private static let user = 65_532

    private let program: String
    private let libraries: [String]
    private let version: String
    private let architecture: String

    /// - Parameters:
    ///   - program: its path on this machine.
    ///   - libraries: absolute paths of the shared libraries it needs, the loader among them.
    package init(program: String, libraries: [String], version: String, architecture: String) {
        self.program = program
        self.libraries = libraries
        self.version = version
        self.architecture = architecture
    }

    /// Of this very process: what it has loaded is what it needs.
    package static func current(version: String) throws -> ImageBuilder {
        #if arch(arm64)
        let architecture = "arm64"
        #else
        let architecture = "amd64"
        #endif
        let program = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        // Named as they were asked for, so that the loader finds them under the same names.
        var libraries: Set<String> = []
        withUnsafeMutablePointer(to: &libraries) { found in
            outport_each_library({ $1?.assumingMemoryBound(to: Set<String>.self).pointee.insert(String(cString: $0!)) }, found)
        }
        return ImageBuilder(program: program, libraries: libraries.sorted(), version: version, architecture: architecture)
    }

    /// The parts of an image, before they go into an archive or a registry.
    struct Parts {
        let layer: (path: String, digest: String, size: Int64)
        let config: (bytes: [UInt8], digest: String)
        let manifest: (bytes: [UInt8], digest: String)
    }

    private static func withFolder<Result>(_ body: (String) async throws -> Result) async throws -> Result {
        let folder = FileManager.default.temporaryDirectory.path + "/outport-image-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        defer { try? FileManager.default.removeItem(atPath: folder) }
        return try await body(folder)
    }

    /// Pushes the image.
    ///
    /// - Returns: the digest of its manifest.
    package func push(to pusher: ImagePusher, tag: String) async throws -> String {
        try await Self.withFolder { folder in
            let parts = try self.parts(in: folder)
            try await pusher.push(blob: .file(parts.layer.path), digest: "sha256:\(parts.layer.digest)")
            try await pusher.push(blob: .bytes(parts.config.bytes), digest: "sha256:\(parts.config.digest)")
            try await pusher.push(manifest: parts.manifest.bytes, type: "application/vnd.oci.image.manifest.v1+json", as: tag)
            return "sha256:\(parts.manifest.digest)"
        }
    }

    private func parts(in folder: String) throws -> Parts {
        let layer = try self.layer("\(folder)/layer")
        let config = try Self.json([
            "architecture": self.architecture, "os": "linux", "created": "1970-01-01T00:00:00Z",
            "config": [
                "Entrypoint": ["/usr/bin/outport"], "User": "\(Self.user):\(Self.user)", "WorkingDir": "/var/lib/outport",
                "Env": ["PATH=/usr/bin", "SWIFT_BACKTRACE=enable=no"], "Volumes": ["/var/lib/outport": [String: String]()],
                "Labels": ["org.opencontainers.image.title": "outport", "org.opencontainers.image.version": self.version],
            ] as [String: Any],
            "rootfs": ["type": "layers", "diff_ids": ["sha256:\(layer.digest)"]] as [String: Any],
        ])
        let manifest = try Self.json([
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": Self.descriptor("application/vnd.oci.image.config.v1+json", config.digest, Int64(config.bytes.count)),
            "layers": [Self.descriptor("application/vnd.oci.image.layer.v1.tar", layer.digest, layer.size)],
        ])
        return Parts(
            layer: ("\(folder)/layer", layer.digest, layer.size), config: (config.bytes, config.digest),
            manifest: (manifest.bytes, manifest.digest))
    }

    /// Writes an archive in the OCI layout (`oci-archive:` of skopeo and podman).
    ///
    /// - Returns: the digest of the image's manifest.
    package func write(archive path: String, tag: String) async throws -> String {
        try await Self.withFolder { folder in try self.write(self.parts(in: folder), archive: path, tag: tag) }
    }

    private func write(_ parts: Parts, archive path: String, tag: String) throws -> String {
        let (layer, config, manifest) = (parts.layer, parts.config, parts.manifest)
        var entry = Self.descriptor("application/vnd.oci.image.manifest.v1+json", manifest.digest, Int64(manifest.bytes.count))
        entry["annotations"] = ["org.opencontainers.image.ref.name": tag]
        entry["platform"] = ["os": "linux", "architecture": self.architecture]
        let index = try Self.json(["schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [entry]])

        var archive = try TarWriter(path: path)
        try archive.bytes("oci-layout", Array(#"{"imageLayoutVersion":"1.0.0"}"#.utf8))
        try archive.bytes("index.json", index.bytes)
        try archive.folder("blobs")
        try archive.folder("blobs/sha256")
        try archive.bytes("blobs/sha256/\(manifest.digest)", manifest.bytes)
        try archive.bytes("blobs/sha256/\(config.digest)", config.bytes)
        try archive.copy("blobs/sha256/\(layer.digest)", from: layer.path)
        _ = try archive.finish()
        return "sha256:\(manifest.digest)"
    }

    private func layer(_ path: String) throws -> (digest: String, size: Int64) {
        var tar = try TarWriter(path: path)
        var folders: Set<String> = []
        func parents(of name: String) -> [String] {
            var (found, walked) = ([String](), "")
            for part in name.split(separator: "/").dropLast() {
                walked += walked.isEmpty ? String(part) : "/\(part)"
                if folders.insert(walked).inserted { found.append(walked) }
            }
            return found
        }
        let files: [(name: String, source: String, mode: Int)] =
            [("usr/bin/outport", self.program, 0o755)] + self.libraries.map { (String($0.dropFirst()), $0, 0o755) }
            + ["/etc/ssl/certs/ca-certificates.crt"].filter { FileManager.default.fileExists(atPath: $0) }.map {
                (String($0.dropFirst()), $0, 0o644)
            }
        for file in files {
            for folder in parents(of: file.name) { try tar.folder(folder) }
            try tar.copy(file.name, from: file.source, mode: file.mode)
        }
        // The loader is asked for under a path of its own, which on many systems leads through a link.
        let loader = self.architecture == "arm64" ? "lib/ld-linux-aarch64.so.1" : "lib64/ld-linux-x86-64.so.2"
        if !files.contains(where: { $0.name == loader }), FileManager.default.fileExists(atPath: "/\(loader)") {
            for folder in parents(of: loader) { try tar.folder(folder) }
            try tar.copy(loader, from: "/\(loader)", mode: 0o755)
        }
        for folder in parents(of: "etc/passwd") { try tar.folder(folder) }
        try tar.bytes("etc/passwd", Array("root:x:0:0::/:/\noutport:x:\(Self.user):\(Self.user)::/var/lib/outport:/\n".utf8))
        for folder in parents(of: "var/lib/outport/x").dropLast() { try tar.folder(folder) }
        try tar.folder("var/lib/outport", mode: 0o700, owner: Self.user)
        try tar.folder("tmp", mode: 0o1777)
        return try tar.finish()
    }

    private static func json(_ object: [String: Any]) throws -> (bytes: [UInt8], digest: String) {
        let bytes = Array(try JSONSerialization.data(withJSONObject: object, options: [.sortedKeys, .withoutEscapingSlashes]))
        return (bytes, SHA256.hash(data: bytes).map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined())
    }

    private static func descriptor(_ type: String, _ digest: String, _ size: Int64) -> [String: Any] {
        ["mediaType": type, "digest": "sha256:\(digest)", "size": size]
    }
}
