// The end-points of the metadata API as values.

internal import HTTPTypes
internal import Identity
internal import OCI

/// What a path below `/acr/v1` names.
enum MetadataRoute: Sendable, Hashable {
    case catalog
    case repository(RepositoryName)
    case tags(RepositoryName)
    case tag(RepositoryName, Tag)
    case manifests(RepositoryName)
    case manifest(RepositoryName, Digest)
    /// What was deleted and is kept.
    case deletedCatalog
    case deletedTags(RepositoryName)
    case deletedManifests(RepositoryName)
    case deletedManifest(RepositoryName, Digest)

    /// Parses a request path; `nil` when it is not below `/acr/v1`.
    ///
    /// Repository names hold slashes and no segment of theirs begins with `_`, so the last marker divides the path.
    init?(path: String) throws(Route.Refusal) {
        guard path.hasPrefix("/acr/v1/") else { return nil }
        guard let decoded = PercentEncoding.decode(path.dropFirst("/acr/v1/".count)) else {
            throw Route.Refusal(
                code: .nameInvalid, message: "the path has a broken percent-escape", detail: ["path": String(path.prefix(300))])
        }
        let parts = decoded.split(separator: "/", omittingEmptySubsequences: false)
        if parts == ["_catalog"] {
            self = .catalog
            return
        }
        if parts.first == "_deleted" {
            self = try Self.deleted(Array(parts.dropFirst()), path)
            return
        }
        let marker = parts.lastIndex { $0 == "_tags" || $0 == "_manifests" }
        let name: RepositoryName
        do {
            name = try RepositoryName(parts[..<(marker ?? parts.count)].joined(separator: "/"))
        } catch {
            throw Route.Refusal(code: .nameInvalid, message: error.description, detail: ["name": error.text])
        }
        guard let marker else {
            self = .repository(name)
            return
        }
        let rest = parts[(marker + 1)...]
        guard rest.count <= 1 else {
            throw Route.Refusal(code: .nameUnknown, message: "there is no end-point at \(path.prefix(300))")
        }
        let isTags = parts[marker] == "_tags"
        guard let last = rest.first, !last.isEmpty else {
            self = isTags ? .tags(name) : .manifests(name)
            return
        }
        do {
            self = isTags ? .tag(name, try Tag(String(last))) : .manifest(name, try Digest(last))
        } catch {
            // A text that is no tag or digest names nothing that is here.
            throw Route.Refusal(code: .manifestUnknown, message: error.description)
        }
    }

    /// What a path below `/acr/v1/_deleted` names.
    private static func deleted(_ parts: [Substring], _ path: String) throws(Route.Refusal) -> MetadataRoute {
        if parts == ["_catalog"] { return .deletedCatalog }
        guard let marker = parts.lastIndex(where: { $0 == "_tags" || $0 == "_manifests" }) else {
            throw Route.Refusal(
                code: .nameUnknown,
                message:
                    "there is no end-point at \(path.prefix(300)): deleted are _catalog, <repository>/_tags and <repository>/_manifests")
        }
        let name: RepositoryName
        do {
            name = try RepositoryName(parts[..<marker].joined(separator: "/"))
        } catch {
            throw Route.Refusal(code: .nameInvalid, message: error.description, detail: ["name": error.text])
        }
        let rest = parts[(marker + 1)...].filter { !$0.isEmpty }
        switch (parts[marker], rest.count) {
        case ("_tags", 0): return .deletedTags(name)
        case ("_manifests", 0): return .deletedManifests(name)
        case ("_manifests", 1):
            guard let digest = try? Digest(rest[0]) else {
                throw Route.Refusal(code: .manifestUnknown, message: "'\(rest[0].prefix(150))' is no digest")
            }
            return .deletedManifest(name, digest)
        default: throw Route.Refusal(code: .nameUnknown, message: "there is no end-point at \(path.prefix(300))")
        }
    }

    var repository: RepositoryName? {
        switch self {
        case .catalog, .deletedCatalog: nil
        case .repository(let name), .tags(let name), .tag(let name, _), .manifests(let name), .manifest(let name, _): name
        case .deletedTags(let name), .deletedManifests(let name), .deletedManifest(let name, _): name
        }
    }

    /// The catalog that a token must cover where no repository is named.
    var catalog: String { self == .deletedCatalog ? "deleted_catalog" : "catalog" }

    /// What a request needs on its repository.
    func permission(_ method: HTTPRequest.Method) -> RepositoryPermission {
        switch self {
        case .deletedCatalog, .deletedTags, .deletedManifests, .deletedManifest:
            return method == .get || method == .head ? .deletedRead : .deletedRestore
        case .catalog, .repository, .tags, .tag, .manifests, .manifest: break
        }
        return switch method {
        case .get, .head: .metadataRead
        case .delete: .contentDelete
        default: .metadataWrite
        }
    }
}
