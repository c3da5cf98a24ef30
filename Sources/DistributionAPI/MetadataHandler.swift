// `/acr/v1`: attributes and locks of repositories, tags and manifests, as Azure's registries tell them.

package import HTTPServing
internal import HTTPTypes
internal import Identity
internal import NIOCore
internal import OCI
internal import Persistence
package import RegistryCore

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// Serves the metadata API.
package struct MetadataHandler: RequestHandler {
    /// Entries of a page unless the client asks for fewer.
    private static let defaultPage = 100
    private static let maximumPage = 1000
    /// Configurations larger than this are not opened for the platform they name.
    private static let maximumConfig: Int64 = 1 << 20

    let store: RegistryStore
    private let access: AccessController
    private let directory: any RegistryDirectory

    package init(store: RegistryStore, access: AccessController, directory: any RegistryDirectory) {
        self.store = store
        self.access = access
        self.directory = directory
    }

    struct Call: Sendable {
        let request: ServerRequest
        let registry: DataPlaneRegistry
        let host: HostAndPort
        let caller: Caller
    }

    package func respond(to request: ServerRequest) async throws -> ServerResponse? {
        var methods: [HTTPRequest.Method] = []
        let response: ServerResponse
        do {
            guard let route = try MetadataRoute(path: request.path) else { return nil }
            methods = route.methods
            response = try await self.answer(route, request)
        } catch let error as Route.Refusal {
            response = try .refusal(error.code, error.message, detail: error.detail)
        } catch let error as RegistryError {
            if error.code.status >= 500 { request.logger.error("request refused", metadata: ["error": .string(error.description)]) }
            response = try .refusal(error)
        } catch let error as PersistenceError {
            request.logger.error("request failed", metadata: ["error": .string(error.description)])
            response = try .refusal(RegistryError(error))
        } catch let error as OCIParseError {
            response = try .refusal(error)
        } catch let error as IdentityError {
            response = try .refusal(.unauthorized, error.message)
        } catch let error as BodyTooLarge {
            response = try .refusal(.sizeInvalid, "the attributes are larger than \(error.limit) bytes", status: 413)
        }
        return response.allowing(methods, refused: request.method)
    }

    private func answer(_ route: MetadataRoute, _ request: ServerRequest) async throws -> ServerResponse {
        guard let (registry, host) = try await self.directory.registry(for: request.host) else {
            return try .refusal(.unknown, "there is no registry at \(request.host?.description ?? "this address")", status: 404)
        }
        let permission = route.permission(request.method)
        let scope = route.repository.map { "repository:\($0):\(permission.scopeAction)" } ?? "registry:\(route.catalog):*"
        func challenge(_ code: ErrorCode, _ message: String, _ error: String?) throws -> ServerResponse {
            // There is no blank after the commas: some clients split there.
            var text =
                "Bearer realm=\"\(request.isSecure ? "https" : "http")://\(host)/oauth2/token\",service=\"\(host)\",scope=\"\(scope)\""
            if let error { text += ",error=\"\(error)\"" }
            return try .refusal(
                code, message, detail: ["service": host.description, "scope": scope], status: 401, headers: [.wwwAuthenticate: text])
        }
        var caller: Caller
        do {
            guard let found = try await self.access.caller(of: request, registry: registry) else {
                return try challenge(.unauthorized, "authentication required", nil)
            }
            caller = found
        } catch let error as IdentityError {
            return try challenge(.unauthorized, error.message, "invalid_token")
        }
        if let name = route.repository {
            guard caller.may(permission, on: name) else {
                return try challenge(.denied, "\(permission.scopeAction) access to repository \(name) is denied", "insufficient_scope")
            }
        } else {
            guard caller.mayList(route.catalog) else {
                return try challenge(.denied, "the token does not cover the catalog", "insufficient_scope")
            }
            caller = try await self.access.caller(caller.subject, registry: registry)
        }
        if !permission.isRead {
            if let refusal = registry.writeRefusal ?? route.repository.flatMap({ registry.refusesWriting?($0) }) {
                return try .refusal(.unsupported, refusal, detail: ["method": request.method.rawValue])
            }
            if let lease = caller.lease, try await self.access.leases?.mayWrite(lease, registry: registry.id) != true {
                return try .refusal(
                    .denied,
                    "this instance of connected registry '\(lease.connectedRegistry)' is ReadOnly or no longer active at the parent")
            }
        }
        return try await self.dispatch(route, Call(request: request, registry: registry, host: host, caller: caller))
    }

    private func dispatch(_ route: MetadataRoute, _ call: Call) async throws -> ServerResponse {
        let (id, origin) = (call.registry.id, call.caller.origin)
        switch (route, call.request.method) {
        case (.catalog, .get), (.catalog, .head): return try await self.catalog(call)
        case (.repository(let name), .get), (.repository(let name), .head): return try await self.show(name, call)
        case (.repository(let name), .patch):
            try await self.store.setLocks(try await Self.change(call), of: .repository(name), in: id, origin: origin)
            return try await self.show(name, call)
        case (.repository(let name), .delete):
            let deleted = try await self.store.deleteRepository(name, of: id, origin: origin)
            return try .json(
                .accepted,
                DeletedDocument(
                    manifestsDeleted: deleted.manifests.map(\.description), tagsDeleted: deleted.tags.map(\.description)))
        case (.tags(let name), .get), (.tags(let name), .head): return try await self.tags(name, call)
        case (.tag(let name, let tag), .get), (.tag(let name, let tag), .head): return try await self.show(tag, name, call)
        case (.tag(let name, let tag), .patch):
            try await self.store.setLocks(try await Self.change(call), of: .tag(name, tag), in: id, origin: origin)
            return try await self.show(tag, name, call)
        case (.tag(let name, let tag), .delete):
            try await self.store.delete(tag, from: name, of: id, origin: origin)
            return ServerResponse(.accepted)
        case (.manifests(let name), .get), (.manifests(let name), .head): return try await self.manifests(name, call)
        case (.manifest(let name, let digest), .get), (.manifest(let name, let digest), .head):
            return try await self.show(digest, name, call)
        case (.manifest(let name, let digest), .patch):
            try await self.store.setLocks(try await Self.change(call), of: .manifest(name, digest), in: id, origin: origin)
            return try await self.show(digest, name, call)
        case (.manifest(let name, let digest), .delete):
            try await self.store.delete(digest, from: name, of: id, origin: origin)
            return ServerResponse(.accepted)
        case (.deletedCatalog, .get), (.deletedCatalog, .head): return try await self.deletedCatalog(call)
        case (.deletedTags(let name), .get), (.deletedTags(let name), .head): return try await self.deletedTags(name, call)
        case (.deletedManifests(let name), .get), (.deletedManifests(let name), .head):
            return try await self.deletedManifests(name, call)
        case (.deletedManifest(let name, let digest), .post): return try await self.restore(digest, name, call)
        default:
            return try .refusal(
                .unsupported, "\(call.request.method) is not a method of \(call.request.path)",
                detail: ["method": call.request.method.rawValue])
        }
    }

    /// The attributes that a PATCH changes.
    private static func change(_ call: Call) async throws -> LockChange {
        let body = try await call.request.collectBody(limit: 64 << 10)
        let attributes: ChangeableAttributes
        do {
            attributes = try JSONDecoder().decode(ChangeableAttributes.self, from: Data(body.readableBytesView))
        } catch {
            throw RegistryError(
                .unsupported,
                "the body must be an object with any of deleteEnabled, writeEnabled, listEnabled and readEnabled, each true or false",
                status: 400)
        }
        return attributes.change
    }

    // MARK: One

    private func show(_ name: RepositoryName, _ call: Call) async throws -> ServerResponse {
        try .json(
            .ok, RepositoryDocument(try await self.store.metadata(of: name, in: call.registry.id), registry: call.host.description))
    }

    private func show(_ tag: Tag, _ name: RepositoryName, _ call: Call) async throws -> ServerResponse {
        let metadata = try await self.store.metadata(of: tag, in: name, of: call.registry.id)
        return try .json(
            .ok, TagDocument(registry: call.host.description, imageName: name.description, tag: TagDocument.Attributes(metadata)))
    }

    private func show(_ digest: Digest, _ name: RepositoryName, _ call: Call) async throws -> ServerResponse {
        let metadata = try await self.store.metadata(of: digest, in: name, of: call.registry.id)
        return try .json(
            .ok,
            ManifestDocument(registry: call.host.description, imageName: name.description, manifest: await self.attributes(metadata)))
    }

    private func attributes(_ metadata: ManifestMetadata) async -> ManifestDocument.Attributes {
        let config = metadata.config
        var platform: ManifestDocument.Platform?
        // Content that is damaged or gone costs two members of the answer, not the answer.
        if let config, config.size <= Self.maximumConfig, let stored = try? await self.store.content(config.digest),
            let reader = try? await self.store.open(stored),
            let bytes = try? await reader.read(at: 0, count: Int(min(stored.size, Self.maximumConfig)))
        {
            platform = try? JSONDecoder().decode(ManifestDocument.Platform.self, from: Data(bytes.readableBytesView))
        }
        return ManifestDocument.Attributes(metadata, configMediaType: config?.mediaType.description, platform: platform)
    }

    // MARK: Lists

    struct Catalog: Encodable {
        let repositories: [String]
    }

    private func catalog(_ call: Call) async throws -> ServerResponse {
        let limit = try Self.limit(call.request)
        let page = try await VisibleRepositories(limit: limit, after: call.request.query("last"), isVisible: call.caller.maySee) {
            try await self.store.repositories(in: call.registry.id, after: $0, limit: $1)
        }
        let link = page.hasMore ? page.names.last.map { "/acr/v1/_catalog?last=\(PercentEncoding.encode($0))&n=\(limit)" } : nil
        return try .json(.ok, Catalog(repositories: page.names), headers: Self.link(link))
    }

    private func tags(_ name: RepositoryName, _ call: Call) async throws -> ServerResponse {
        let page = try Self.page(call.request)
        let digest = try call.request.query("digest").map { try Digest($0) }
        let found = try await self.store.tagMetadata(of: name, in: call.registry.id, page: page, digest: digest)
        let shown = Array(found.prefix(page.limit))
        var link: String?
        if found.count > shown.count, let last = shown.last {
            link = Self.next("/acr/v1/\(name)/_tags", page, last.tag.description, last.updated)
            if let digest { link? += "&digest=\(PercentEncoding.encode(digest.description))" }
        }
        return try .json(
            .ok,
            TagDocument(registry: call.host.description, imageName: name.description, tags: shown.map { TagDocument.Attributes($0) }),
            headers: Self.link(link))
    }

    private func manifests(_ name: RepositoryName, _ call: Call) async throws -> ServerResponse {
        let page = try Self.page(call.request)
        let found = try await self.store.manifestMetadata(of: name, in: call.registry.id, page: page)
        var attributes: [ManifestDocument.Attributes] = []
        for metadata in found.manifests { attributes.append(await self.attributes(metadata)) }
        var link: String?
        if found.hasMore, let last = found.manifests.last {
            link = Self.next("/acr/v1/\(name)/_manifests", page, last.digest.description, last.updated)
        }
        return try .json(
            .ok, ManifestDocument(registry: call.host.description, imageName: name.description, manifests: attributes),
            headers: Self.link(link))
    }

    static func limit(_ request: ServerRequest) throws -> Int {
        guard let text = request.query("n") else { return self.defaultPage }
        guard let number = Int(text), number > 0 else {
            throw RegistryError(.paginationNumberInvalid, "n must be a number of entries, at least 1, not '\(text.prefix(40))'")
        }
        return min(number, self.maximumPage)
    }

    private static func page(_ request: ServerRequest) throws -> MetadataPage {
        let text = request.query("orderby") ?? ""
        guard let order = MetadataOrder(rawValue: text.lowercased()) else {
            throw RegistryError(.unsupported, "orderby is timedesc or timeasc, not '\(text.prefix(40))'", status: 400)
        }
        let last = request.query("last").flatMap { $0.isEmpty ? nil : $0 }
        return MetadataPage(
            order: order, last: last, lastTime: request.query("lasttime").flatMap(Int64.init), limit: try self.limit(request))
    }

    private static func next(_ path: String, _ page: MetadataPage, _ last: String, _ time: Int64) -> String {
        var text = "\(path)?last=\(PercentEncoding.encode(last))&n=\(page.limit)"
        if page.order != .name { text += "&orderby=\(page.order.rawValue)&lasttime=\(time)" }
        return text
    }

    static func link(_ target: String?) -> HTTPFields { target.map { [.link: "<\($0)>; rel=\"next\""] } ?? [:] }
}
