// Uploads: in one request, in two, in chunks, or not at all (mounts).

internal import HTTPServing
internal import HTTPTypes
internal import HummingbirdCore
internal import OCI
internal import Persistence
internal import RegistryCore

extension DistributionHandler {
    func beginUpload(_ name: RepositoryName, _ call: Call) async throws -> ServerResponse {
        try await self.store.requireWritable(name, in: call.registry.id)
        if let mount = call.request.query("mount") {
            let digest = try Digest(mount)
            let sources = try await self.mountSources(digest, into: name, call)
            if !sources.isEmpty, try await self.store.mount(digest, from: sources, into: name, of: call.registry.id) {
                return Self.created(name, digest)
            }
            // What cannot be mounted is uploaded (distribution specification, "Mounting a blob from another repository").
        } else if let text = call.request.query("digest") {
            let digest = try Digest(text)
            let length = call.request.contentLength
            try await self.makeRoom(for: length ?? 0, call, isAdded: true)
            let id = try await self.uploads.begin(in: name, of: call.registry.id)
            do {
                var body: RequestBody? = call.request.body
                if call.registry.quota != nil, length == nil {
                    // Of a length nobody announced: what has arrived is looked at before it is kept.
                    let size = try await self.uploads.append(
                        call.request.body, range: nil, length: nil, to: id, in: name, of: call.registry.id)
                    try await self.makeRoom(for: size, call, isAdded: true)
                    body = nil
                }
                let stored = try await self.uploads.finish(
                    body, range: nil, length: length, as: digest, upload: id, in: name,
                    of: call.registry.id)
                return Self.created(name, stored.digest)
            } catch {
                // The client never learned the identifier: nobody could go on with what arrived.
                try? await self.uploads.cancel(id, in: name, of: call.registry.id)
                throw error
            }
        }
        try await self.makeRoom(for: 0, call)
        let id = try await self.uploads.begin(in: name, of: call.registry.id)
        return Self.accepted(name, id, size: 0)
    }

    /// Repositories from which the caller may take the blob: the one it names, or any that holds it ("automatic content discovery").
    ///
    /// A bearer token lists the repository that is pushed to and rarely another, so what counts is what its subject may read now:
    /// a mount shows nothing of the source but that the subject could have read this very digest there.
    private func mountSources(_ digest: Digest, into name: RepositoryName, _ call: Call) async throws -> [RepositoryName] {
        let candidates: [RepositoryName] =
            if let from = call.request.query("from") {
                [try RepositoryName(from)]
            } else {
                try await self.store.repositories(holding: digest, in: call.registry.id)
            }
        if candidates.allSatisfy({ call.caller.may(.contentRead, on: $0) }) { return candidates }
        let full = call.caller.lease == nil ? try await self.access.caller(call.caller.subject, registry: call.registry) : call.caller
        return candidates.filter { call.caller.may(.contentRead, on: $0) || full.may(.contentRead, on: $0) }
    }

    func uploadStatus(_ name: RepositoryName, _ id: String, _ call: Call) async throws -> ServerResponse {
        let size = try await self.uploads.size(of: id, in: name, of: call.registry.id)
        var response = Self.accepted(name, id, size: size)
        response.status = .noContent
        return response
    }

    /// Refuses what the registry's quota has no room for.
    private func makeRoom(for bytes: Int64, _ call: Call, isAdded: Bool = false) async throws {
        guard let quota = call.registry.quota else { return }
        try await self.quotas.admit(max(0, bytes), to: call.registry.id, quota: quota, isAdded: isAdded)
    }

    func appendToUpload(_ name: RepositoryName, _ id: String, _ call: Call) async throws -> ServerResponse {
        do {
            if call.registry.quota != nil {
                let size = try await self.uploads.size(of: id, in: name, of: call.registry.id)
                try await self.makeRoom(for: size + (call.request.contentLength ?? 0), call)
            }
            let size = try await self.uploads.append(
                call.request.body, range: try call.request.headers[.contentRange].map { try Uploads.Range(parsing: $0) },
                length: call.request.contentLength, to: id, in: name, of: call.registry.id)
            return Self.accepted(name, id, size: size)
        } catch let error as RegistryError where error.code == .rangeInvalid {
            return try Self.outOfOrder(error, name, id)
        }
    }

    func finishUpload(_ name: RepositoryName, _ id: String, _ call: Call) async throws -> ServerResponse {
        guard let text = call.request.query("digest") else {
            throw RegistryError(.digestInvalid, "the request that ends an upload names the blob with ?digest=<digest>")
        }
        let digest = try Digest(text)
        do {
            if call.registry.quota != nil {
                let size = try await self.uploads.size(of: id, in: name, of: call.registry.id)
                try await self.makeRoom(for: size + (call.request.contentLength ?? 0), call, isAdded: true)
            }
            let stored = try await self.uploads.finish(
                call.request.body, range: try call.request.headers[.contentRange].map { try Uploads.Range(parsing: $0) },
                length: call.request.contentLength, as: digest, upload: id, in: name, of: call.registry.id)
            return Self.created(name, stored.digest)
        } catch let error as RegistryError where error.code == .rangeInvalid {
            return try Self.outOfOrder(error, name, id)
        }
    }

    private static func accepted(_ name: RepositoryName, _ id: String, size: Int64) -> ServerResponse {
        ServerResponse(
            .accepted,
            headers: [
                .location: "/v2/\(name)/blobs/uploads/\(id)", .range: "0-\(max(0, size - 1))", .dockerUploadUUID: id,
            ])
    }

    private static func created(_ name: RepositoryName, _ digest: Digest) -> ServerResponse {
        ServerResponse(.created, headers: [.location: "/v2/\(name)/blobs/\(digest)", .dockerContentDigest: digest.description])
    }

    /// 416 with the range so far, so that the client can go on.
    private static func outOfOrder(_ error: RegistryError, _ name: RepositoryName, _ id: String) throws -> ServerResponse {
        let size = error.detail["offset"].flatMap(Int64.init) ?? 0
        var response = try ServerResponse.refusal(error)
        response.headers.append(contentsOf: self.accepted(name, id, size: size).headers)
        return response
    }
}
