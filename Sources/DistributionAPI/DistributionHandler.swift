// `/v2`: decides who may, then lets each end-point answer.

package import HTTPServing
internal import HTTPTypes
internal import Identity
internal import NIOCore
internal import OCI
internal import Persistence
package import RegistryCore

/// Serves the OCI distribution specification 1.1.
package struct DistributionHandler: RequestHandler {
    let store: RegistryStore
    let uploads: Uploads
    let access: AccessController
    private let directory: any RegistryDirectory
    /// Told what has been read, so that the next one need not come here.
    let hot: HotContent?
    /// Asked for manifests that are not here.
    let upstream: (any UpstreamContent)?
    /// Asked for content that is not here, at a connected registry.
    let missing: (any MissingContent)?

    package init(
        store: RegistryStore, uploads: Uploads, access: AccessController, directory: any RegistryDirectory, hot: HotContent? = nil,
        upstream: (any UpstreamContent)? = nil, missing: (any MissingContent)? = nil
    ) {
        self.missing = missing
        self.upstream = upstream
        self.store = store
        self.uploads = uploads
        self.access = access
        self.directory = directory
        self.hot = hot
    }

    /// A request that has been let in.
    struct Call: Sendable {
        let request: ServerRequest
        let registry: DataPlaneRegistry
        let caller: Caller
        /// Taken before anything was read, the registry's settings included: what changes meanwhile makes void what is remembered of the answer.
        let tagVersion: UInt64
        let removalVersion: UInt64
    }

    package func respond(to request: ServerRequest) async throws -> ServerResponse? {
        var response: ServerResponse
        var methods: [HTTPRequest.Method] = []
        do {
            guard let route = try Route(path: request.path) else { return nil }
            methods = route.methods
            response = try await self.answer(route, request)
        } catch let error as Route.Refusal {
            // Reading by a text that is no tag finds no manifest; writing to it is a mistake to be told.
            let code = error.code == .tagInvalid && request.method != .put ? .manifestUnknown : error.code
            response = try .refusal(code, error.message, detail: error.detail)
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
            response = try .refusal(
                .manifestInvalid, "the manifest is larger than \(error.limit) bytes", detail: ["limit": String(error.limit)], status: 413)
        }
        response.headers[.dockerDistributionAPIVersion] = "registry/2.0"
        return response.allowing(methods, refused: request.method)
    }

    private func answer(_ route: Route, _ request: ServerRequest) async throws -> ServerResponse {
        let (tagVersion, removalVersion) = (self.store.versions.tags, self.store.versions.removals)
        guard let (registry, host) = try await self.directory.registry(for: request.host) else {
            // Not NAME_UNKNOWN: that is said of repositories, and replicas act on it.
            return try .refusal(.unknown, "there is no registry at \(request.host?.description ?? "this address")", status: 404)
        }
        let method = request.method.rawValue
        let permission = Self.permission(route, request.method)
        let caller: Caller
        do {
            guard let found = try await self.access.caller(of: request, registry: registry) else {
                return try Self.challenge(route, permission, request, host, .unauthorized, "authentication required", error: nil)
            }
            caller = found
        } catch let error as IdentityError {
            return try Self.challenge(route, permission, request, host, .unauthorized, error.message, error: "invalid_token")
        }
        let isWrite = permission == .contentWrite || permission == .contentDelete
        if isWrite, let refusal = registry.writeRefusal ?? route.repository.flatMap({ registry.refusesWriting?($0) }) {
            return try .refusal(.unsupported, refusal, detail: ["method": method])
        }
        if route != .base, let refusal = registry.readRefusal { return try .refusal(.denied, refusal) }
        if route == .catalog {
            guard caller.mayList else {
                return try Self.challenge(
                    route, nil, request, host, .denied, "the token does not cover the catalog", error: "insufficient_scope")
            }
            let full = try await self.access.caller(caller.subject, registry: registry)
            return try await self.dispatch(
                route,
                Call(request: request, registry: registry, caller: full, tagVersion: tagVersion, removalVersion: removalVersion))
        }
        if let name = route.repository, let permission {
            guard caller.may(permission, on: name) else {
                return try Self.challenge(
                    route, permission, request, host, .denied, "\(permission.scopeAction) access to repository \(name) is denied",
                    error: "insufficient_scope")
            }
        }
        if isWrite, let lease = caller.lease, try await self.access.leases?.mayWrite(lease, registry: registry.id) != true {
            return try .refusal(
                .denied,
                "this instance of connected registry '\(lease.connectedRegistry)' is ReadOnly or no longer active at the parent",
                detail: ["connectedRegistry": lease.connectedRegistry])
        }
        return try await self.dispatch(
            route, Call(request: request, registry: registry, caller: caller, tagVersion: tagVersion, removalVersion: removalVersion))
    }

    private func dispatch(_ route: Route, _ call: Call) async throws -> ServerResponse {
        switch (route, call.request.method) {
        case (.base, .get), (.base, .head):
            return ServerResponse(.ok, headers: [.contentType: "application/json"], body: .bytes(ByteBuffer(string: "{}")))
        case (.catalog, .get), (.catalog, .head): return try await self.catalog(call)
        case (.tags(let name), .get), (.tags(let name), .head): return try await self.tags(name, call)
        case (.manifest(let name, let reference), .get), (.manifest(let name, let reference), .head):
            return try await self.manifest(name, reference, call)
        case (.manifest(let name, let reference), .put): return try await self.putManifest(name, reference, call)
        case (.manifest(let name, let reference), .delete): return try await self.deleteManifest(name, reference, call)
        case (.blob(let name, let digest), .get), (.blob(let name, let digest), .head): return try await self.blob(name, digest, call)
        case (.blob(let name, let digest), .delete):
            try await self.store.deleteBlob(digest, from: name, of: call.registry.id)
            return ServerResponse(.accepted)
        case (.uploads(let name), .post): return try await self.beginUpload(name, call)
        case (.upload(let name, let id), .get), (.upload(let name, let id), .head): return try await self.uploadStatus(name, id, call)
        case (.upload(let name, let id), .patch): return try await self.appendToUpload(name, id, call)
        case (.upload(let name, let id), .put): return try await self.finishUpload(name, id, call)
        case (.upload(let name, let id), .delete):
            try await self.uploads.cancel(id, in: name, of: call.registry.id)
            return ServerResponse(.noContent)
        case (.referrers(let name, let digest), .get), (.referrers(let name, let digest), .head):
            return try await self.referrers(name, digest, call)
        default:
            return try .refusal(
                .unsupported, "\(call.request.method) is not a method of \(call.request.path)",
                detail: ["method": call.request.method.rawValue])
        }
    }

    /// What a request needs on its repository.
    private static func permission(_ route: Route, _ method: HTTPRequest.Method) -> RepositoryPermission? {
        switch route {
        case .base, .catalog: nil
        case .uploads, .upload: .contentWrite
        case .tags: .contentRead
        case .manifest, .blob, .referrers:
            switch method {
            case .get, .head: .contentRead
            case .delete: .contentDelete
            default: .contentWrite
            }
        }
    }

    /// A 401 with the challenge that tells the client where to get which token.
    ///
    /// There is no blank after the commas: some clients split there.
    private static func challenge(
        _ route: Route, _ permission: RepositoryPermission?, _ request: ServerRequest, _ host: HostAndPort, _ code: ErrorCode,
        _ message: String, error: String?
    ) throws -> ServerResponse {
        var text = "Bearer realm=\"\(request.isSecure ? "https" : "http")://\(host)/oauth2/token\",service=\"\(host)\""
        // Where a token is to be had, and for what: what a client reads from the challenge, for who reads the message.
        var detail = ["service": host.description]
        if let name = route.repository, let permission {
            let actions = permission == .contentWrite ? "pull,push" : permission.scopeAction
            text += ",scope=\"repository:\(name):\(actions)\""
            (detail["name"], detail["action"]) = (name.description, actions)
        } else if route == .catalog {
            text += ",scope=\"registry:catalog:*\""
            (detail["name"], detail["action"]) = ("catalog", "*")
        }
        if let error { text += ",error=\"\(error)\"" }
        return try .refusal(code, message, detail: detail, status: 401, headers: [.wwwAuthenticate: text])
    }
}

// Literals that are valid field names; a mistake in one would end every test.
extension HTTPField.Name {
    static let dockerDistributionAPIVersion = HTTPField.Name("Docker-Distribution-Api-Version")!
    static let dockerContentDigest = HTTPField.Name("Docker-Content-Digest")!
    static let dockerUploadUUID = HTTPField.Name("Docker-Upload-UUID")!
    static let ociTag = HTTPField.Name("OCI-Tag")!
    static let ociSubject = HTTPField.Name("OCI-Subject")!
    static let ociFiltersApplied = HTTPField.Name("OCI-Filters-Applied")!
    static let link = HTTPField.Name("Link")!
}
