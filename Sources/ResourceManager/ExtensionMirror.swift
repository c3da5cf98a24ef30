// Extensions of `az` from a folder of the operator's: where there is no internet, `az extension add --name …` finds them here.

internal import Crypto
internal import HTTPServing
internal import JSON
internal import NIOCore
package import NIOPosix
internal import OCI
internal import Persistence
internal import Synchronization

/// Serves wheels and the index that `az` reads.
///
/// The folder is read with each request, so a wheel that is put there is offered at once. Nothing else of the machine can be
/// reached: only names that the folder lists and that are those of wheels are opened.
package final class ExtensionMirror: Sendable {
    /// Bytes of a wheel; those of Azure have some hundred thousand.
    private static let largest = 64 << 20

    private struct Known: Sendable {
        let size: Int64
        let modified: Int64
        let digest: String
    }

    private let folder: String
    private let pool: NIOThreadPool
    /// Digests of wheels, so that the index costs no reading.
    private let known = Mutex<[String: Known]>([:])

    /// - Parameters:
    ///   - folder: with wheels, such as `k8s_extension-1.7.0-py3-none-any.whl`.
    ///   - pool: threads for reading it.
    package init(folder: String, pool: NIOThreadPool) {
        self.folder = folder
        self.pool = pool
    }

    /// `nil` for a path that leads nowhere.
    func answer(_ segments: [String], base: String) async throws -> ServerResponse? {
        guard segments.count == 3, segments[1].lowercased() == "extensions" else { return nil }
        let name = segments[2]
        if name == "index.json" { return .document(try await self.index(base: base)) }
        guard Wheel(name) != nil, try await self.names().contains(name) else { return nil }
        let bytes = try await self.read(name)
        return ServerResponse(
            .ok, headers: [.contentType: "application/octet-stream"], body: .bytes(ByteBuffer(bytes: bytes)))
    }

    private func names() async throws -> [String] {
        try await self.pool.runIfActive { [folder] in try FileSystem.names(in: folder).sorted() }
    }

    private func read(_ name: String) async throws -> [UInt8] {
        try await self.pool.runIfActive { [folder] in try FileSystem.read("\(folder)/\(name)", limit: Self.largest) }
    }

    /// The index in the form of the public one, with what the names of the wheels and their content tell.
    private func index(base: String) async throws -> JSONValue {
        var extensions: [String: [JSONValue]] = [:]
        for name in try await self.names() {
            guard let wheel = Wheel(name), let digest = try await self.digest(name) else { continue }
            extensions[wheel.name, default: []].append([
                "filename": .string(name), "downloadUrl": .string("\(base)/mirror/extensions/\(PercentEncoding.encode(name))"),
                "sha256Digest": .string(digest), "metadata": ["name": .string(wheel.name), "version": .string(wheel.version)],
            ])
        }
        return ["formatVersion": "1", "extensions": .object(extensions.mapValues { .array($0) })]
    }

    private func digest(_ name: String) async throws -> String? {
        guard let status = FileSystem.status("\(self.folder)/\(name)"), status.size <= Self.largest else { return nil }
        if let known = self.known.withLock({ $0[name] }), known.size == status.size, known.modified == status.modified {
            return known.digest
        }
        let digest = ASCII.hex(SHA256.hash(data: try await self.read(name)))
        self.known.withLock { $0[name] = Known(size: status.size, modified: status.modified, digest: digest) }
        return digest
    }
}

/// The name of a wheel (PEP 427): `distribution-version(-build)?-python-abi-platform.whl`.
struct Wheel: Hashable {
    /// As `az` calls the extension.
    let name: String
    let version: String

    init?(_ file: String) {
        guard file.hasSuffix(".whl"), file.utf8.count <= 255, !file.contains("/") else { return nil }
        let parts = file.dropLast(4).split(separator: "-", omittingEmptySubsequences: false)
        guard (5...6).contains(parts.count), parts.allSatisfy({ !$0.isEmpty }) else { return nil }
        self.name = parts[0].replacing("_", with: "-").lowercased()
        self.version = String(parts[1])
    }
}
