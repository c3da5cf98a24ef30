// Uploads: in one request, in two, in chunks, or not at all (mounts).

internal import HTTPServing
internal import HTTPTypes
internal import HummingbirdCore
internal import OCI
internal import Persistence
internal import RegistryCore

extension DistributionHandler {
    func beginUpload(_ name: RepositoryName, _ call: Call) async throws -> ServerResponse {
        let algorithm = try Self.algorithm(call)
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
            let room = self.store.room(in: call.registry.id, quota: call.registry.quota)
            defer { room.end() }
            try await self.makeRoom(room, for: nil, in: name, call)
            let id = try await self.uploads.begin(in: name, of: call.registry.id)
            do {
                let stored = try await self.uploads.finish(
                    Self.body(call, room), range: nil, length: call.request.contentLength, as: digest, upload: id, in: name,
                    of: call.registry.id)
                room.keep()
                return Self.created(name, stored.digest)
            } catch {
                // The client never learned the identifier: nobody could go on with what arrived.
                try? await self.uploads.cancel(id, in: name, of: call.registry.id)
                throw error
            }
        }
        try await self.store.room(in: call.registry.id, quota: call.registry.quota).take(0)
        let id = try await self.uploads.begin(in: name, of: call.registry.id, hashing: algorithm)
        return Self.accepted(name, id, size: 0)
    }

    /// What the digest of an upload will be of. One that is not available is told now, not when all of the content has come.
    private static func algorithm(_ call: Call) throws -> Digest.Algorithm {
        guard let text = call.request.query("digest-algorithm") else { return .sha256 }
        guard let algorithm = Digest.Algorithm(rawValue: text) else {
            throw RegistryError(
                .digestInvalid,
                "digest algorithm '\(text.prefix(40))' is not available here; use \(Digest.Algorithm.allCases.map(\.rawValue).joined(separator: " or "))",
                detail: ["digest-algorithm": String(text.prefix(40))])
        }
        return algorithm
    }

    /// Repositories from which the caller may take the blob: the one it names, or any that holds it ("automatic content discovery").
    ///
    /// A bearer token lists the repository that is pushed to and rarely another, so what counts is what its subject may read now:
    /// a mount shows nothing of the source but that the subject could have read this very digest there.
    private func mountSources(_ digest: Digest, into name: RepositoryName, _ call: Call) async throws -> [RepositoryName] {
        var full: Caller?
        func readable(_ candidates: [RepositoryName]) async throws -> [RepositoryName] {
            if candidates.allSatisfy({ call.caller.may(.contentRead, on: $0) }) { return candidates }
            if full == nil, call.caller.lease == nil { full = try await self.access.caller(call.caller.subject, registry: call.registry) }
            return candidates.filter { call.caller.may(.contentRead, on: $0) || full?.may(.contentRead, on: $0) == true }
        }
        if let from = call.request.query("from") { return try await readable([try RepositoryName(from)]) }
        // Many may hold what everybody builds on, and the caller may read the last of them. Other readers get on between the pages.
        var place: Int64? = 0
        for _ in 0..<Self.mountPages {
            guard let start = place else { break }
            let page = try await self.store.repositories(
                holding: digest, in: call.registry.id, after: start, limit: Self.mountPage)
            let found = try await readable(page.names)
            if !found.isEmpty { return found }
            place = page.next
        }
        return []
    }

    /// Repositories looked at for a mount without `from`: so many at a time, and so many times. Behind these the blob is uploaded.
    private static let mountPage = 1000
    private static let mountPages = 50

    func uploadStatus(_ name: RepositoryName, _ id: String, _ call: Call) async throws -> ServerResponse {
        let size = try await self.uploads.size(of: id, in: name, of: call.registry.id)
        var response = Self.accepted(name, id, size: size)
        response.status = .noContent
        return response
    }

    /// Takes room for what is here of an upload, and for what the request says that it brings.
    ///
    /// - Parameter id: the upload; `nil` for one that begins.
    private func makeRoom(_ room: QuotaRoom, for id: String?, in name: RepositoryName, _ call: Call) async throws {
        var size: Int64 = 0
        if let id, call.registry.quota != nil { size = try await self.uploads.size(of: id, in: name, of: call.registry.id) }
        // A length is what its sender says: a sum that does not fit into 64 bits fits into no quota either.
        let (sum, overflows) = size.addingReportingOverflow(max(0, call.request.contentLength ?? 0))
        try await room.take(overflows ? .max : sum)
    }

    /// The request's body, which asks for room as it arrives where its length was not announced.
    private static func body(_ call: Call, _ room: QuotaRoom) -> MeteredBody {
        MeteredBody(call.request.body, room: call.registry.quota == nil || call.request.contentLength != nil ? nil : room)
    }

    func appendToUpload(_ name: RepositoryName, _ id: String, _ call: Call) async throws -> ServerResponse {
        // Counted for good with the request that ends the upload.
        let room = self.store.room(in: call.registry.id, quota: call.registry.quota)
        defer { room.end() }
        do {
            try await self.makeRoom(room, for: id, in: name, call)
            let size = try await self.uploads.append(
                Self.body(call, room), range: try call.request.headers[.contentRange].map { try Uploads.Range(parsing: $0) },
                length: call.request.contentLength, to: id, in: name, of: call.registry.id)
            return Self.accepted(name, id, size: size)
        } catch let error as RegistryError where error.code == .rangeInvalid {
            return try Self.outOfOrder(error, name, id)
        } catch let error as RegistryError where room.isRefused {
            await self.giveUp(id, in: name, call)
            throw error
        }
    }

    func finishUpload(_ name: RepositoryName, _ id: String, _ call: Call) async throws -> ServerResponse {
        guard let text = call.request.query("digest") else {
            throw RegistryError(
                .digestInvalid, "the request that ends an upload names the blob with ?digest=<digest>", detail: ["upload": id])
        }
        let digest = try Digest(text)
        let room = self.store.room(in: call.registry.id, quota: call.registry.quota)
        defer { room.end() }
        do {
            try await self.makeRoom(room, for: id, in: name, call)
            let stored = try await self.uploads.finish(
                Self.body(call, room), range: try call.request.headers[.contentRange].map { try Uploads.Range(parsing: $0) },
                length: call.request.contentLength, as: digest, upload: id, in: name, of: call.registry.id)
            room.keep()
            return Self.created(name, stored.digest)
        } catch let error as RegistryError where error.code == .rangeInvalid {
            return try Self.outOfOrder(error, name, id)
        } catch let error as RegistryError where room.isRefused {
            await self.giveUp(id, in: name, call)
            throw error
        }
    }

    /// What has arrived would lie beside the quota for days: a client that is told that its content has no room begins anew.
    private func giveUp(_ id: String, in name: RepositoryName, _ call: Call) async {
        try? await self.uploads.cancel(id, in: name, of: call.registry.id)
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
