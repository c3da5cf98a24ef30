// Which methods each end-point has: what is answered with 405 says which others there are (RFC 9110, section 15.5.6).

internal import HTTPServing
internal import HTTPTypes

extension Route {
    /// Methods of the end-point.
    var methods: [HTTPRequest.Method] {
        switch self {
        case .base, .catalog, .tags, .referrers: [.get, .head]
        case .manifest: [.get, .head, .put, .delete]
        case .blob: [.get, .head, .delete]
        case .uploads: [.post]
        case .upload: [.get, .head, .patch, .put, .delete]
        }
    }
}

extension MetadataRoute {
    /// Methods of the end-point.
    var methods: [HTTPRequest.Method] {
        switch self {
        case .catalog, .tags, .manifests, .deletedCatalog, .deletedTags, .deletedManifests: [.get, .head]
        case .repository, .tag, .manifest: [.get, .head, .patch, .delete]
        case .deletedManifest: [.post]
        }
    }
}

extension ServerResponse {
    /// The response with `Allow` where it is a 405.
    ///
    /// - Parameters:
    ///   - methods: those of the end-point.
    ///   - refused: the request's. One that the end-point has is refused for what it would do, by a lock or because the registry is only
    ///     read: then those that read are left.
    func allowing(_ methods: [HTTPRequest.Method], refused: HTTPRequest.Method) -> ServerResponse {
        guard self.status == .methodNotAllowed, self.headers[.allow] == nil else { return self }
        let readers: [HTTPRequest.Method] = [.get, .head]
        var allowed = methods
        if methods.contains(refused) { allowed = readers.contains(refused) ? [] : methods.filter(readers.contains) }
        var response = self
        response.headers[.allow] = allowed.map(\.rawValue).joined(separator: ", ")
        return response
    }
}
