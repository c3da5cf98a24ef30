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

    /// Parses a request path; `nil` when it is not below `/acr/v1`.
    ///
    /// Repository names hold slashes and no segment of theirs begins with `_`, so the last marker divides the path.
    init?(path: String) throws(Route.Refusal) {
        guard path.hasPrefix("/acr/v1/") else { return nil }
        guard let decoded = PercentEncoding.decode(path.dropFirst("/acr/v1/".count)) else {
            throw Route.Refusal(code: .nameInvalid, message: "the path has a broken percent-escape")
        }
        let parts = decoded.split(separator: "/", omittingEmptySubsequences: false)
        if parts == ["_catalog"] {
            self = .catalog
            return
        }
        if parts.first == "_deleted" {
            throw Route.Refusal(
                code: .unsupported, message: "this registry keeps nothing that was deleted: soft delete is not available in this version")
        }
        let marker = parts.lastIndex { $0 == "_tags" || $0 == "_manifests" }
        let name: RepositoryName
        do {
            name = try RepositoryName(parts[..<(marker ?? parts.count)].joined(separator: "/"))
        } catch {
            throw Route.Refusal(code: .nameInvalid, message: error.description)
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

    var repository: RepositoryName? {
        switch self {
        case .catalog: nil
        case .repository(let name), .tags(let name), .tag(let name, _), .manifests(let name), .manifest(let name, _): name
        }
    }

    /// What a request needs on its repository.
    func permission(_ method: HTTPRequest.Method) -> RepositoryPermission {
        switch method {
        case .get, .head: .metadataRead
        case .delete: .contentDelete
        default: .metadataWrite
        }
    }
}
