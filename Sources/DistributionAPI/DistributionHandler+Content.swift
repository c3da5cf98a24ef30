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
        var isFollowed = false
        if case .tag(let tag) = reference, let upstream {
            isFollowed = await upstream.refresh(tag, in: name, of: call.registry, asks: self.mayFetch(call), logger: call.request.logger)
        }
        // As for blobs: who may push asks because he is about to rely on it.
        if case .digest(let digest) = reference, call.request.method == .head, call.caller.may(.contentWrite, on: name) {
            try await self.store.renewLease(of: digest, in: name, of: call.registry.id)
        }
        let version = isTag ? call.tagVersion : call.removalVersion
        let manifest: StoredManifest
        do {
            manifest = try await self.found(reference, name, call)
        } catch let error as RegistryError where error.code == .manifestUnknown || error.code == .nameUnknown {
            return try await self.missingManifest(reference, name, call, instead: error)
        }
        try Self.requireAccepted(manifest.mediaType, reference, name, call)
        if !isFollowed { self.hot?.remember(manifest, isTag: isTag, version: version, repository: name, call) }
        return Self.answer(manifest.digest, manifest.mediaType, .bytes(ByteBuffer(bytes: manifest.bytes)), call)
    }

    static func requireAccepted(_ mediaType: MediaType, _ reference: Reference, _ name: RepositoryName, _ call: Call) throws {
        let accept = call.request.headers[values: .accept].joined(separator: ",")
        guard Accept.allows(accept, mediaType.description) else {
            throw RegistryError(
                .manifestUnknown,
                "manifest \(reference) of repository \(name) is a \(mediaType), which the request's Accept header does not list; manifests are not converted",
                detail: ["name": name.description, "reference": reference.description, "mediaType": mediaType.description])
        }
    }

    static func answer(_ digest: Digest, _ mediaType: MediaType, _ body: ServerResponse.Body, _ call: Call) -> ServerResponse {
        let etag = "\"\(digest)\""
        let headers: HTTPFields = [
            .contentType: mediaType.description, .dockerContentDigest: digest.description, .eTag: etag, .vary: "Accept",
        ]
        if Self.matches(call.request.headers[.ifNoneMatch], etag) { return ServerResponse(.notModified, headers: headers) }
        return ServerResponse(.ok, headers: headers, body: body)
    }

    /// The manifest as it is here, or as it is fetched now.
    ///
    /// Neither those who have not signed in nor connected registries set off a fetch, and nothing is fetched into a registry that
    /// is not written to.
    private func found(_ reference: Reference, _ name: RepositoryName, _ call: Call) async throws -> StoredManifest {
        do {
            return try await self.store.manifest(reference, in: name, of: call.registry.id)
        } catch let error as RegistryError where error.code == .manifestUnknown || error.code == .nameUnknown {
            guard let upstream, self.mayFetch(call),
                try await upstream.fetch(reference, in: name, of: call.registry, logger: call.request.logger)
            else { throw error }
            return try await self.store.manifest(reference, in: name, of: call.registry.id)
        }
    }

    private func mayFetch(_ call: Call) -> Bool {
        call.caller.subject != .anonymous && call.caller.lease == nil && call.registry.writeRefusal == nil
    }

    func putManifest(_ name: RepositoryName, _ reference: Reference, _ call: Call) async throws -> ServerResponse {
        let type = call.request.headers[.contentType].map { $0.split(separator: ";").first.map { $0.trimmingBlanks() } ?? "" }
        let declared: MediaType?
        do {
            declared = try type.map { try MediaType($0) }
        } catch let error as OCIParseError {
            throw RegistryError(.manifestInvalid, "Content-Type: \(error.description)", detail: ["mediaType": error.text])
        }
        let body = try await call.request.collectBody(limit: Manifest.maximumSize)
        let new = try Self.parse(body, declared, reference, name)
        var tags: [Tag] = if case .tag(let tag) = reference { [tag] } else { [] }
        let named = try Self.tags(in: call.request)
        tags += named.filter { !tags.contains($0) }
        // Tags of a connected registry are compared with what stands here: the gateway moves them.
        guard tags.isEmpty || call.caller.lease == nil else {
            throw RegistryError(
                .denied, "a connected registry pushes manifests by digest; its tags go through the gateway's outbox",
                detail: ["name": name.description, "reference": reference.description])
        }
        let room = self.store.room(in: call.registry.id, quota: call.registry.quota)
        defer { room.end() }
        try await room.take(new)
        try await self.store.put(new, tags: tags, into: name, of: call.registry.id, origin: call.caller.origin)
        room.keep()
        var headers: HTTPFields = [.location: "/v2/\(name)/manifests/\(new.digest)", .dockerContentDigest: new.digest.description]
        if let subject = new.manifest.subject { headers[.ociSubject] = subject.digest.description }
        for tag in named { headers.append(HTTPField(name: .ociTag, value: tag.description)) }
        return ServerResponse(.created, headers: headers)
    }

    /// - Throws: what the manifest is refused for, with what arrived: that may not be what the client believes to have sent.
    private static func parse(
        _ body: ByteBuffer, _ declared: MediaType?, _ reference: Reference, _ name: RepositoryName
    ) throws(RegistryError) -> NewManifest {
        let expected: Digest? = if case .digest(let digest) = reference { digest } else { nil }
        do {
            return try NewManifest(Array(body.readableBytesView), declared: declared, expected: expected, isNew: true)
        } catch {
            guard error.code == .manifestInvalid else { throw error }
            var detail = ["name": name.description, "reference": reference.description, "size": String(body.readableBytes)]
            detail["mediaType"] = declared?.description
            throw RegistryError(error.code, error.message, detail: detail)
        }
    }

    /// Tags that one push may set; the specification wants ten at least.
    private static let maximumTags = 64

    /// The tags that are set besides the reference: `?tag=a&tag=b` (distribution specification after 1.1, "Pushing Manifests").
    private static func tags(in request: ServerRequest) throws -> [Tag] {
        let values = request.query.filter { $0.name == "tag" }
        guard values.count <= self.maximumTags else {
            throw RegistryError(
                .tagInvalid, "one push sets at most \(self.maximumTags) tags, not \(values.count); push the manifest again for the others",
                status: 414)
        }
        var tags: [Tag] = []
        for value in values {
            let tag: Tag
            do {
                tag = try Tag(value.value)
            } catch {
                throw RegistryError(.tagInvalid, error.description)
            }
            if !tags.contains(tag) { tags.append(tag) }
        }
        return tags
    }

    func deleteManifest(_ name: RepositoryName, _ reference: Reference, _ call: Call) async throws -> ServerResponse {
        guard call.caller.lease == nil else {
            throw RegistryError(
                .denied, "a connected registry deletes through the gateway's outbox",
                detail: ["name": name.description, "reference": reference.description])
        }
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
        let version = call.removalVersion
        let stored: StoredBlob
        do {
            stored = try await self.store.blob(digest, in: name, of: call.registry.id)
        } catch let error as RegistryError where error.code == .blobUnknown {
            let (size, reader) = try await self.missingBlob(digest, name, call, instead: error)
            return try await self.answer(digest, size: size, call) {
                guard let reader else { throw error }
                return reader
            }
        }
        return try await self.answer(digest, size: stored.size, call) { try await self.open(stored, version, name, call) }
    }

    /// A blob, or the parts of it that are asked for.
    private func answer(
        _ digest: Digest, size: Int64, _ call: Call, open: () async throws -> any BlobReader
    ) async throws -> ServerResponse {
        let etag = "\"\(digest)\""
        var headers: HTTPFields = [
            .contentType: "application/octet-stream", .dockerContentDigest: digest.description, .eTag: etag, .acceptRanges: "bytes",
            .cacheControl: Self.immutable,
        ]
        if Self.matches(call.request.headers[.ifNoneMatch], etag) { return ServerResponse(.notModified, headers: headers) }
        // A range with an If-Range that is not this content means the whole (RFC 9110, section 13.1.5).
        let ifRange = call.request.headers[.ifRange]
        // Only GET has ranges (RFC 9110, section 14.2).
        let hasRange = call.request.method == .get && (ifRange == nil || ifRange == etag)
        let range = hasRange ? call.request.headers[.range] : nil
        switch ByteRange.parse(range, size: size) {
        case .unsatisfiable:
            return try .refusal(
                .rangeInvalid, "the blob has \(size) bytes, which the range does not meet",
                headers: [.contentRange: "bytes */\(size)"])
        case .part(let part):
            headers[.contentRange] = "bytes \(part.lowerBound)-\(part.upperBound - 1)/\(size)"
            return ServerResponse(
                .partialContent, headers: headers, body: .blob(try await open(), part))
        case .parts(let parts):
            let multipart = Multipart(parts, size: size)
            headers[.contentType] = multipart.contentType
            return ServerResponse(
                .partialContent, headers: headers, body: .pieces(try await open(), multipart.pieces))
        case .whole where call.request.method == .head: return ServerResponse(.ok, headers: headers, body: .announced(size))
        case .whole:
            return ServerResponse(
                .ok, headers: headers, body: .blob(try await open(), 0..<size))
        }
    }

    private func open(_ stored: StoredBlob, _ version: UInt64, _ name: RepositoryName, _ call: Call) async throws -> any BlobReader {
        do {
            let reader = try await self.store.open(stored)
            if let file = reader.file { self.hot?.remember(file, stored, version: version, repository: name, call) }
            if let bytes = reader.bytes { self.hot?.remember(bytes, stored, version: version, repository: name, call) }
            return reader
        } catch let error as PersistenceError {
            throw RegistryError(.unknown, "blob \(stored.digest) of repository \(name) cannot be read: \(error.description)")
        }
    }

    /// Whether an `If-None-Match` list names the tag.
    private static func matches(_ header: String?, _ etag: String) -> Bool {
        header?.split(separator: ",").contains { item in
            let item = item.trimmingBlanks()
            // Weak comparison (RFC 9110, section 13.1.2).
            return item == "*" || item == etag || item.hasPrefix("W/") && item.dropFirst(2) == etag
        } ?? false
    }
}

extension Substring {
    /// Without the blanks around it (RFC 9110, section 5.6.3).
    func trimmingBlanks() -> String {
        func isBlank(_ byte: UInt8) -> Bool { byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") }
        let start = self.utf8.firstIndex { !isBlank($0) } ?? self.endIndex
        let end = self.utf8.lastIndex { !isBlank($0) }.map { self.utf8.index(after: $0) } ?? start
        return String(self[start..<end])
    }
}
