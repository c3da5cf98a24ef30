// `/acr/v1/_deleted`: what was deleted and is kept, and putting it back.

internal import HTTPServing
internal import HTTPTypes
internal import NIOCore
internal import OCI
internal import Persistence
internal import RegistryCore

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

extension MetadataHandler {
    private struct DeletedManifests: Encodable {
        struct Entry: Encodable {
            let digest: String
            let mediaType: String
            let artifactType: String?
            let imageSize: Int64
            let createdTime: String
            let deletedAt: String
            let tags: [String]
        }

        let registry: String
        let imageName: String
        let manifests: [Entry]
    }

    private struct DeletedTags: Encodable {
        struct Entry: Encodable {
            let tag: String
            let digest: String
            let deletedAt: String
        }

        let registry: String
        let imageName: String
        let tags: [Entry]
    }

    /// `{"tag": …}`, all of it optional.
    private struct RestoreBody: Decodable {
        let tag: String?
    }

    private struct Restored: Encodable {
        let registry: String
        let imageName: String
        let digest: String
        let manifestsRestored: [String]
        let tagsRestored: [String]
    }

    func deletedCatalog(_ call: Call) async throws -> ServerResponse {
        let limit = try Self.limit(call.request)
        func isVisible(_ name: RepositoryName) -> Bool { call.caller.may(.deletedRead, on: name) }
        let page = try await VisibleRepositories(limit: limit, after: call.request.query("last"), isVisible: isVisible) {
            try await self.store.deletedRepositories(in: call.registry.id, after: $0, limit: $1)
        }
        let link = page.hasMore ? page.names.last.map { "/acr/v1/_deleted/_catalog?last=\(PercentEncoding.encode($0))&n=\(limit)" } : nil
        return try .json(.ok, Catalog(repositories: page.names), headers: Self.link(link))
    }

    func deletedManifests(_ name: RepositoryName, _ call: Call) async throws -> ServerResponse {
        let (last, limit) = try Self.place(call.request)
        let found = try await self.store.deletedManifests(of: name, in: call.registry.id, after: last, limit: limit)
        let shown = found.prefix(limit)
        let entries = shown.map {
            DeletedManifests.Entry(
                digest: $0.digest.description, mediaType: $0.mediaType.description, artifactType: $0.artifactType, imageSize: $0.imageSize,
                createdTime: Timestamp.text(milliseconds: $0.created), deletedAt: Timestamp.text(milliseconds: $0.deleted),
                tags: $0.tags.map(\.description))
        }
        return try .json(
            .ok, DeletedManifests(registry: call.host.description, imageName: name.description, manifests: entries),
            headers: Self.link(found.count > shown.count ? shown.last.map { Self.next(name, "_manifests", $0.id, limit) } : nil))
    }

    func deletedTags(_ name: RepositoryName, _ call: Call) async throws -> ServerResponse {
        let (last, limit) = try Self.place(call.request)
        let found = try await self.store.deletedTags(of: name, in: call.registry.id, after: last, limit: limit)
        let shown = found.prefix(limit)
        let entries = shown.map {
            DeletedTags.Entry(
                tag: $0.tag.description, digest: $0.digest.description, deletedAt: Timestamp.text(milliseconds: $0.deleted))
        }
        return try .json(
            .ok, DeletedTags(registry: call.host.description, imageName: name.description, tags: entries),
            headers: Self.link(found.count > shown.count ? shown.last.map { Self.next(name, "_tags", $0.id, limit) } : nil))
    }

    func restore(_ digest: Digest, _ name: RepositoryName, _ call: Call) async throws -> ServerResponse {
        let body = try await call.request.collectBody(limit: 64 << 10)
        var tag: Tag?
        if body.readableBytes > 0 {
            do {
                tag = try JSONDecoder().decode(RestoreBody.self, from: Data(body.readableBytesView)).tag.map { try Tag($0) }
            } catch let error as OCIParseError {
                throw RegistryError(.tagInvalid, error.description)
            } catch {
                throw RegistryError(.unsupported, "the body must be an object whose 'tag' is a tag or null", status: 400)
            }
        }
        let force = call.request.query("force")?.lowercased() ?? "false"
        guard ["true", "false"].contains(force) else {
            throw RegistryError(.unsupported, "'force' is true or false, not '\(force.prefix(40))'", status: 400)
        }
        let restored = try await self.store.restore(
            digest, tag: tag, replacing: force == "true", in: name, of: call.registry.id, origin: call.caller.origin)
        return try .json(
            .ok,
            Restored(
                registry: call.host.description, imageName: name.description, digest: digest.description,
                manifestsRestored: restored.manifests.map(\.description), tagsRestored: restored.tags.map(\.description)))
    }

    /// Where a page begins: entries have numbers, since a tag may be listed more than once.
    private static func place(_ request: ServerRequest) throws -> (last: Int64, limit: Int) {
        let text = request.query("last") ?? ""
        guard let last = text.isEmpty ? 0 : Int64(text), last >= 0 else {
            throw RegistryError(
                .paginationNumberInvalid, "'last' is what the link to the next page says, not '\(text.prefix(40))'; begin again without it")
        }
        return (last, try self.limit(request))
    }

    private static func next(_ name: RepositoryName, _ list: String, _ last: Int64, _ limit: Int) -> String {
        "/acr/v1/_deleted/\(name)/\(list)?last=\(last)&n=\(limit)"
    }
}
