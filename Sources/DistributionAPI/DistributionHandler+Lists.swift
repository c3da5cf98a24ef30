// Lists: catalog, tags and referrers, each a page at a time.

internal import HTTPServing
internal import HTTPTypes
internal import NIOCore
internal import OCI
internal import RegistryCore

extension DistributionHandler {
    /// Entries of a page unless the client asks for fewer.
    private static let defaultPage = 1000
    private static let maximumPage = 10_000

    private struct TagList: Encodable {
        let name: String
        let tags: [String]
    }

    private struct Catalog: Encodable {
        let repositories: [String]
    }

    private struct ReferrersIndex: Encodable {
        let schemaVersion = 2
        let mediaType = MediaType.ociIndex
        let manifests: [Descriptor]
    }

    func tags(_ name: RepositoryName, _ call: Call) async throws -> ServerResponse {
        let limit = try Self.limit(call.request)
        // One more than asked tells whether there is another page, and for none whether there is a repository.
        let tags = try await self.store.tags(of: name, in: call.registry.id, after: call.request.query("last"), limit: limit + 1)
        let page = tags.prefix(limit).map(\.description)
        return try .json(
            .ok, TagList(name: name.description, tags: page),
            headers: Self.link(tags.count > limit ? page.last : nil, "/v2/\(name)/tags/list", limit))
    }

    func catalog(_ call: Call) async throws -> ServerResponse {
        let limit = try Self.limit(call.request)
        let page = try await VisibleRepositories(limit: limit, after: call.request.query("last"), isVisible: call.caller.maySee) {
            try await self.store.repositories(in: call.registry.id, after: $0, limit: $1)
        }
        return try .json(
            .ok, Catalog(repositories: page.names), headers: Self.link(page.hasMore ? page.names.last : nil, "/v2/_catalog", limit))
    }

    /// A page is as long as it can be: clients that do not follow its `Link` see the most of it.
    func referrers(_ name: RepositoryName, _ digest: Digest, _ call: Call) async throws -> ServerResponse {
        let filter = call.request.query("artifactType")
        let limit = min(try Self.limit(call.request), Self.defaultPage)
        var position: ReferrerPosition?
        if let last = call.request.query("last") {
            position = ReferrerPosition(last)
            guard position != nil else {
                throw RegistryError(
                    .paginationNumberInvalid, "'\(last.prefix(200))' is no place in a list of referrers; follow the Link of an answer",
                    detail: ["last": String(last.prefix(200))])
            }
        }
        var headers: HTTPFields = filter == nil ? [:] : [.ociFiltersApplied: "artifactType"]
        let page =
            limit == 0
            ? nil
            : try await self.store.referrers(
                of: digest, in: name, of: call.registry.id, artifactType: filter, after: position, limit: limit)
        if let next = page?.next {
            let type = filter.map { "&artifactType=\(PercentEncoding.encode($0))" } ?? ""
            headers.append(contentsOf: Self.link(next.description, "/v2/\(name)/referrers/\(digest)", limit, type))
        }
        return try .json(
            .ok, ReferrersIndex(manifests: page?.descriptors ?? []), headers: headers, type: MediaType.ociIndex.description)
    }

    private static func limit(_ request: ServerRequest) throws -> Int {
        guard let text = request.query("n") else { return self.defaultPage }
        guard let number = Int(text), number >= 0 else {
            throw RegistryError(.paginationNumberInvalid, "n must be a number of entries, not '\(text.prefix(40))'")
        }
        return min(number, self.maximumPage)
    }

    /// The `Link` to the next page (RFC 8288); relative, every item with a value.
    private static func link(_ last: String?, _ path: String, _ limit: Int, _ more: String = "") -> HTTPFields {
        guard let last else { return [:] }
        return [.link: "<\(path)?last=\(PercentEncoding.encode(last))&n=\(limit)\(more)>; rel=\"next\""]
    }
}
