// From a request to an answer: route, authenticate, decide, read the body, run, and put every refusal in ARM's form.

package import HTTPServing
internal import HTTPTypes
internal import Identity
internal import JSON
internal import NIOCore
internal import OCI
internal import RegistryCore

/// Answers the control plane's paths on every host of the server.
package final class ResourceManagerHandler: RequestHandler {
    /// Bytes of a body read at most.
    package static let maximumBody = 4 << 20
    /// What data-plane tokens are requested for; a literal name, no host.
    package static let registryAudience = "https://containerregistry.azure.net"

    private let operations: ResourceOperations
    private let authority: TokenAuthority
    private let directory: Directory
    private let signIn: SignInEndpoint
    private let metadata: CloudMetadata
    /// Changes run one after the other: rules that span several stores (a data endpoint stays on while connected registries
    /// exist) hold only when nothing else changes between the check and the change.
    private let gate = AsyncMutex()

    package init(_ services: ResourceManagerServices) {
        self.operations = ResourceOperations(services: services, policy: AccessPolicy())
        self.authority = services.authority
        self.directory = services.directory
        self.metadata = CloudMetadata(names: services.names)
        self.signIn = SignInEndpoint(names: services.names, directory: services.directory, authority: services.authority)
    }

    private static let ours: Set<String> = ["metadata", "adfs", "subscriptions", "tenants", "providers", "graph", "v1.0"]

    package func respond(to request: ServerRequest) async throws -> ServerResponse? {
        let raw = request.path.split(separator: "/")
        guard let first = raw.first?.lowercased(), Self.ours.contains(first) else { return nil }
        do {
            var segments: [String] = []
            for segment in raw {
                guard let decoded = PercentEncoding.decode(segment), !decoded.contains("/") else {
                    throw ResourceError(.badRequest, .invalidPath, "The path segment '\(segment.prefix(60))' is not well formed.")
                }
                segments.append(decoded)
            }
            switch first {
            case "metadata": return try self.metadata.answer(request, segments)
            case "adfs": return try await self.signIn.answer(request, segments)
            default: return try await self.answer(request, segments)
            }
        } catch let error as CancellationError {
            throw error
        } catch {
            if let refusal = ResourceError(translating: error) { return refusal.response }
            request.logger.error("management call failed", metadata: ["path": .string(request.path), "error": .string("\(error)")])
            return ResourceError(
                .internalServerError, .internalError,
                "The server could not do this; its log has the cause under the request id \(request.correlationID)."
            ).response
        }
    }

    private func answer(_ request: ServerRequest, _ segments: [String]) async throws -> ServerResponse {
        let principal: ServicePrincipal
        do {
            principal = try await self.authenticate(request)
        } catch let error as ResourceError where error.status == .unauthorized {
            var response = error.response
            response.headers[.wwwAuthenticate] =
                "Bearer authorization_uri=\"\(self.metadata.base(for: request))/adfs\", error=\"invalid_token\""
            return response
        }
        let (route, parameters) = try Self.route(request.method, segments)
        if let action = route.action {
            let scope = "/" + segments.prefix(route.scopeLength).joined(separator: "/").lowercased()
            try await self.operations.policy.require(action, at: scope, for: principal)
        }
        let call = Call(request: request, principal: principal, parameters: parameters, body: try await Self.body(of: request))
        switch request.method {
        case .get, .head: return try await route.run(self.operations, call)
        default: return try await self.gate.withLock { [operations] in try await route.run(operations, call) }
        }
    }

    private static func route(_ method: HTTPRequest.Method, _ segments: [String]) throws -> (Route, [String: String]) {
        let lowercased = segments.map { $0.lowercased() }
        var isKnownPath = false
        for route in Route.all {
            guard let parameters = route.match(segments, lowercased: lowercased) else { continue }
            if route.method == method { return (route, parameters) }
            isKnownPath = true
        }
        if isKnownPath {
            throw ResourceError(
                .methodNotAllowed, .methodNotAllowed, "The requested resource does not support the method '\(method.rawValue.prefix(20))'.")
        }
        if lowercased.first == "v1.0" || lowercased.first == "graph" {
            throw ResourceError(.notFound, .invalidType, "Directory calls (Microsoft Graph) are not available in this version of outport.")
        }
        if let index = lowercased.lastIndex(of: "providers"), index + 1 < segments.count, !ResourceProviders.isKnown(segments[index + 1]) {
            throw ResourceError(
                .notFound, .invalidNamespace, "The resource namespace '\(segments[index + 1].prefix(60))' is not known to this server.")
        }
        throw ResourceError(
            .notFound, .invalidType,
            "The path '/\(segments.joined(separator: "/").prefix(300))' is none of this server's resources or operations.")
    }

    private func authenticate(_ request: ServerRequest) async throws -> ServicePrincipal {
        guard case .bearer(let token)? = request.authorization else {
            throw ResourceError(
                .unauthorized, .authenticationFailed,
                "The request carries no bearer token. Sign in and send one in the 'Authorization' header.")
        }
        let verified: VerifiedToken
        do {
            verified = try await self.authority.verify(token, as: [.management], audience: nil)
        } catch let error as IdentityError {
            throw ResourceError(.unauthorized, .invalidToken, "The access token is not valid: \(error.message).")
        }
        guard verified.audience != Self.registryAudience else {
            throw ResourceError(
                .unauthorized, .invalidTokenAudience,
                "The access token was issued for registries (\(verified.audience)); request one for the resource manager.")
        }
        guard case .servicePrincipal(let id) = verified.subject, let principal = try await self.directory.principal(objectID: id) else {
            throw ResourceError(
                .unauthorized, .invalidToken, "The access token belongs to a principal that is no longer in the directory. Sign in again.")
        }
        return principal
    }

    private static func body(of request: ServerRequest) async throws -> JSONValue? {
        guard [.put, .patch, .post].contains(request.method) else { return nil }
        let buffer = try await request.collectBody(limit: self.maximumBody)
        guard buffer.readableBytes > 0 else { return nil }
        do {
            return try JSONValue(parsing: buffer.readableBytesView)
        } catch {
            throw ResourceError(.badRequest, .invalidContent, "The request content was invalid and could not be read. \(error.description)")
        }
    }
}
