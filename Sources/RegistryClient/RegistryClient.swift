// The client side of the distribution specification, as far as a connected registry needs it.

internal import NIOCore
package import OCI

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// A refusal by a server.
package struct ServerRefusal: Error, Sendable, CustomStringConvertible {
    package let status: Int
    /// The code of the distribution specification, or of the gateway protocol.
    package let code: String
    package let message: String

    package init(status: Int, code: String, message: String) {
        self.status = status
        self.code = code
        self.message = message
    }

    package var description: String { "\(self.code) (\(self.status)): \(self.message)" }

    private struct Document: Decodable {
        struct Entry: Decodable {
            let code: String
            let message: String?
        }
        let errors: [Entry]?
        let error: Entry?
    }

    /// Reads the refusal out of a response.
    package init(_ response: ClientResponse) async throws {
        let body = try await response.collect(limit: 64 << 10)
        let document = try? JSONDecoder().decode(Document.self, from: Data(body))
        let entry = document?.error ?? document?.errors?.first
        self.init(
            status: response.status, code: entry?.code ?? "HTTP_\(response.status)",
            message: entry?.message ?? "the server answered with status \(response.status)")
    }
}

/// What a registry says of a manifest without giving it.
package struct ManifestProbe: Sendable, Hashable {
    package let digest: Digest
    package let size: Int64
    package let mediaType: MediaType
}

/// Reads and writes content of one registry with a bearer token.
package struct RegistryClient: Sendable {
    private let transport: any Transport
    private let endpoint: ServerEndpoint
    private let token: @Sendable () async throws -> String
    private let isOnDemand: Bool

    /// With which a connected registry says that somebody waits for what it asks for: its parent may then fetch it, too.
    package static let onDemandHeader = "Outport-On-Demand"

    /// - Parameters:
    ///   - token: asked before each request; keeps the token until it nears its end.
    ///   - isOnDemand: whether somebody waits for what is asked for.
    package init(
        transport: any Transport, endpoint: ServerEndpoint, isOnDemand: Bool = false, token: @escaping @Sendable () async throws -> String
    ) {
        self.isOnDemand = isOnDemand
        self.transport = transport
        self.endpoint = endpoint
        self.token = token
    }

    /// A manifest by digest: its bytes, checked, and its type.
    ///
    /// - Returns: `nil` when the registry does not have it.
    package func manifest(_ digest: Digest, in name: RepositoryName) async throws -> (bytes: [UInt8], mediaType: MediaType)? {
        let accept = MediaType.manifests.map(\.description).joined(separator: ", ")
        let response = try await self.send("GET", "/v2/\(name)/manifests/\(digest)", [("Accept", accept)])
        switch response.status {
        case 200:
            let bytes = try await response.collect(limit: Manifest.maximumSize)
            guard Digest.of(bytes, algorithm: digest.algorithm) == digest else {
                throw ServerRefusal(status: 200, code: "DIGEST_INVALID", message: "manifest \(digest) arrived with other content")
            }
            let type = response.header("Content-Type")?.split(separator: ";").first.map(String.init) ?? ""
            return (bytes, try MediaType(type))
        default: try await Self.mustBeUnknown(response, "MANIFEST_UNKNOWN", "NAME_UNKNOWN")
        }
        return nil
    }

    /// How long a manifest is, without fetching it.
    ///
    /// - Returns: `nil` when the registry does not have it.
    package func size(ofManifest digest: Digest, in name: RepositoryName) async throws -> Int64? {
        let accept = MediaType.manifests.map(\.description).joined(separator: ", ")
        let response = try await self.send("HEAD", "/v2/\(name)/manifests/\(digest)", [("Accept", accept)])
        _ = try await response.collect(limit: 64 << 10)
        switch response.status {
        case 200:
            guard let size = response.header("Content-Length").flatMap({ Int64($0) }), (0...Int64(Manifest.maximumSize)).contains(size)
            else {
                throw ServerRefusal(status: 200, code: "SIZE_INVALID", message: "the registry does not say how long manifest \(digest) is")
            }
            return size
        // Answers to HEAD have no body that would say more.
        case 404: return nil
        case 405: throw ServerRefusal(status: 405, code: "UNSUPPORTED", message: "manifest \(digest) is locked against reading")
        default:
            throw ServerRefusal(
                status: response.status, code: "HTTP_\(response.status)", message: "the server answered with status \(response.status)")
        }
    }

    /// What a reference names, without fetching it.
    ///
    /// - Returns: `nil` when the registry does not have it.
    package func probe(_ reference: Reference, in name: RepositoryName) async throws -> ManifestProbe? {
        let accept = MediaType.manifests.map(\.description).joined(separator: ", ")
        let response = try await self.send("HEAD", "/v2/\(name)/manifests/\(reference)", [("Accept", accept)])
        _ = try await response.collect(limit: 64 << 10)
        guard response.status == 200 else { return try Self.absent(response, "manifest \(reference)") }
        guard let digest = response.header("Docker-Content-Digest").flatMap({ try? Digest($0) }),
            let size = response.header("Content-Length").flatMap({ Int64($0) }), (0...Int64(Manifest.maximumSize)).contains(size),
            let type = response.header("Content-Type").flatMap({ try? MediaType(String($0.split(separator: ";").first ?? "")) })
        else {
            throw ServerRefusal(
                status: 200, code: "MANIFEST_INVALID", message: "the registry does not say what manifest \(reference) is")
        }
        return ManifestProbe(digest: digest, size: size, mediaType: type)
    }

    /// How long a blob is, without fetching it.
    ///
    /// - Returns: `nil` when the registry does not have it.
    package func size(ofBlob digest: Digest, in name: RepositoryName) async throws -> Int64? {
        let response = try await self.send("HEAD", "/v2/\(name)/blobs/\(digest)", [])
        _ = try await response.collect(limit: 64 << 10)
        guard response.status == 200 else { return try Self.absent(response, "blob \(digest)") }
        guard let size = response.header("Content-Length").flatMap({ Int64($0) }), size >= 0 else {
            throw ServerRefusal(status: 200, code: "SIZE_INVALID", message: "the registry does not say how long blob \(digest) is")
        }
        return size
    }

    /// Answers to HEAD have no body that would say more than the status.
    private static func absent<Value>(_ response: ClientResponse, _ what: String) throws -> Value? {
        switch response.status {
        case 404: return nil
        case 405: throw ServerRefusal(status: 405, code: "UNSUPPORTED", message: "\(what) is locked against reading")
        default:
            throw ServerRefusal(
                status: response.status, code: "HTTP_\(response.status)", message: "the server answered with status \(response.status)")
        }
    }

    /// Ends quietly when the registry says that it does not have what was asked for. Any other answer, also a 404 of something
    /// that stands between, says nothing about the content.
    private static func mustBeUnknown(_ response: ClientResponse, _ codes: String...) async throws {
        let refusal = try await ServerRefusal(response)
        guard response.status == 404, codes.contains(refusal.code) else { throw refusal }
    }

    /// A blob from byte `offset` on.
    ///
    /// - Parameter count: how much of it at most; `nil` for all.
    /// - Returns: the body, which begins at the returned offset (0 when the server does not know ranges); `nil` when
    ///   the registry does not have the blob.
    package func blob(_ digest: Digest, in name: RepositoryName, from offset: Int64, count: Int64? = nil) async throws -> (
        body: ClientResponseBody, offset: Int64
    )? {
        let end = count.map { String(offset + $0 - 1) } ?? ""
        let isPart = offset > 0 || count != nil
        let response = try await self.send("GET", "/v2/\(name)/blobs/\(digest)", isPart ? [("Range", "bytes=\(offset)-\(end)")] : [])
        switch response.status {
        case 200: return (response.body, 0)
        case 206: return (response.body, offset)
        default: try await Self.mustBeUnknown(response, "BLOB_UNKNOWN")
        }
        return nil
    }

    func send(
        _ method: String, _ target: String, _ headers: [(String, String)], body: [UInt8] = [], timeout: Duration = .seconds(30)
    ) async throws -> ClientResponse {
        try await self.transport.send(
            ClientRequest(
                method, self.endpoint, target,
                headers: headers + (self.isOnDemand ? [(Self.onDemandHeader, "true")] : [])
                    + [("Authorization", "Bearer \(try await self.token())")],
                body: body, responseTimeout: timeout))
    }
}
