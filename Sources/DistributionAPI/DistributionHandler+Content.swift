// Manifests and blobs: reading, pushing manifests, deleting.

internal import HTTPServing
internal import HTTPTypes
internal import NIOCore
internal import OCI
internal import Persistence
internal import RegistryCore

extension DistributionHandler {
    func manifest(_ name: RepositoryName, _ reference: Reference, _ call: Call) async throws -> ServerResponse {
        let isTag: Bool = if case .tag = reference { true } else { false }
        // Taken before the read: what changes meanwhile makes the remembered answer void.
        let version = isTag ? self.store.versions.tags : self.store.versions.removals
        let manifest = try await self.store.manifest(reference, in: name, of: call.registry.id)
        self.hot?.remember(manifest, isTag: isTag, version: version, repository: name, call)
        let etag = "\"\(manifest.digest)\""
        let headers: HTTPFields = [
            .contentType: manifest.mediaType.description, .dockerContentDigest: manifest.digest.description, .eTag: etag,
        ]
        if Self.matches(call.request.headers[.ifNoneMatch], etag) { return ServerResponse(.notModified, headers: headers) }
        return ServerResponse(.ok, headers: headers, body: .bytes(ByteBuffer(bytes: manifest.bytes)))
    }

    func putManifest(_ name: RepositoryName, _ reference: Reference, _ call: Call) async throws -> ServerResponse {
        let type = call.request.headers[.contentType].map { $0.split(separator: ";").first.map { $0.trimmingBlanks() } ?? "" }
        let declared: MediaType?
        do {
            declared = try type.map { try MediaType($0) }
        } catch let error as OCIParseError {
            throw RegistryError(.manifestInvalid, "Content-Type: \(error.description)")
        }
        let body = try await call.request.collectBody(limit: Manifest.maximumSize)
        let expected: Digest? = if case .digest(let digest) = reference { digest } else { nil }
        let new = try NewManifest(Array(body.readableBytesView), declared: declared, expected: expected)
        let tags: [Tag] = if case .tag(let tag) = reference { [tag] } else { [] }
        try await self.store.put(new, tags: tags, into: name, of: call.registry.id, origin: call.caller.origin)
        var headers: HTTPFields = [.location: "/v2/\(name)/manifests/\(new.digest)", .dockerContentDigest: new.digest.description]
        if let subject = new.manifest.subject { headers[.ociSubject] = subject.digest.description }
        return ServerResponse(.created, headers: headers)
    }

    func deleteManifest(_ name: RepositoryName, _ reference: Reference, _ call: Call) async throws -> ServerResponse {
        switch reference {
        case .tag(let tag): try await self.store.delete(tag, from: name, of: call.registry.id, origin: call.caller.origin)
        case .digest(let digest): try await self.store.delete(digest, from: name, of: call.registry.id, origin: call.caller.origin)
        }
        return ServerResponse(.accepted)
    }

    /// Content never changes under its digest.
    static let immutable = "max-age=31536000, immutable"

    func blob(_ name: RepositoryName, _ digest: Digest, _ call: Call) async throws -> ServerResponse {
        // Renewed before it is looked for: what is found afterwards cannot be collected under the client's hands.
        if call.request.method == .head { try await self.store.renewLease(of: digest) }
        let version = self.store.versions.removals
        let stored = try await self.store.blob(digest, in: name, of: call.registry.id)
        let etag = "\"\(digest)\""
        var headers: HTTPFields = [
            .contentType: "application/octet-stream", .dockerContentDigest: digest.description, .eTag: etag, .acceptRanges: "bytes",
            .cacheControl: Self.immutable,
        ]
        if Self.matches(call.request.headers[.ifNoneMatch], etag) { return ServerResponse(.notModified, headers: headers) }
        // A range with an If-Range that is not this content means the whole (RFC 9110, section 13.1.5).
        let ifRange = call.request.headers[.ifRange]
        let range = ifRange == nil || ifRange == etag ? call.request.headers[.range] : nil
        switch ByteRange.parse(range, size: stored.size) {
        case .unsatisfiable:
            return try .refusal(
                .rangeInvalid, "the blob has \(stored.size) bytes, which the range does not meet",
                headers: [.contentRange: "bytes */\(stored.size)"])
        case .part(let part):
            headers[.contentRange] = "bytes \(part.lowerBound)-\(part.upperBound - 1)/\(stored.size)"
            return ServerResponse(.partialContent, headers: headers, body: try await self.body(stored, part, version, name, call))
        case .whole:
            return ServerResponse(.ok, headers: headers, body: try await self.body(stored, 0..<stored.size, version, name, call))
        }
    }

    private func body(_ stored: StoredBlob, _ range: Range<Int64>, _ version: UInt64, _ name: RepositoryName, _ call: Call) async throws
        -> ServerResponse.Body
    {
        if call.request.method == .head { return .announced(Int64(range.count)) }
        do {
            let reader = try await self.store.blobs.open(stored)
            if let file = reader.file { self.hot?.remember(file, stored, version: version, repository: name, call) }
            return .blob(reader, range)
        } catch let error as PersistenceError {
            throw RegistryError(.unknown, "blob \(stored.digest) of repository \(name) cannot be read: \(error.description)")
        }
    }

    /// Whether an `If-None-Match` list names the tag.
    private static func matches(_ header: String?, _ etag: String) -> Bool {
        header?.split(separator: ",").contains { $0.trimmingBlanks() == etag || $0.trimmingBlanks() == "*" } ?? false
    }
}

extension Substring {
    func trimmingBlanks() -> String {
        String(self.drop { $0 == " " || $0 == "\t" }.reversed().drop { $0 == " " || $0 == "\t" }.reversed())
    }
}
