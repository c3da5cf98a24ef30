// From a request to an answer: route, authenticate, decide, read the body, run, and put every refusal in ARM's form.

package import HTTPServing
internal import HTTPTypes
internal import Identity
internal import JSON
package import Logging
internal import NIOCore
internal import OCI

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// Answers the control plane's paths on every host of the server.
package final class ResourceManagerHandler: RequestHandler {
    /// Bytes of a body read at most.
    package static let maximumBody = 4 << 20
    /// What data-plane tokens are requested for.
    package static let registryAudience = TokenAuthority.registryAudience

    private let operations: ResourceOperations
    private let authority: TokenAuthority
    private let directory: Directory
    private let signIn: SignInEndpoint
    private let metadata: CloudMetadata
    private let mirror: ExtensionMirror?
    private let policy: AccessPolicy
    private let graph: GraphHandler
    /// Changes run one after the other, but for those that keep their rules in one transaction: rules that span several stores (a data endpoint stays on while connected registries
    /// exist) hold only when nothing else changes between the check and the change.
    private let gate = ChangeGate()

    package init(_ services: ResourceManagerServices) {
        self.operations = ResourceOperations(services: services)
        self.policy = AccessPolicy(directory: services.directory)
        self.graph = GraphHandler(directory: services.directory, policy: self.policy, tenantID: services.authority.tenantID)
        self.authority = services.authority
        self.directory = services.directory
        self.metadata = CloudMetadata(names: services.names, hasMirror: services.mirror != nil)
        self.mirror = services.mirror
        self.signIn = SignInEndpoint(
            names: services.names, directory: services.directory, authority: services.authority, clock: services.clock,
            issuerKeys: { [extensions = services.extensions] cluster in
                try await extensions?.agents()[cluster]?.report?.cluster?.keys
            })
    }

    /// Goes on with the imports that the last process left under way.
    package func resume(_ logger: Logger) async throws { try await self.operations.resumeImports(logger) }

    private static let ours: Set<String> = ["metadata", "adfs", "subscriptions", "tenants", "providers", "graph", "v1.0", "mirror"]

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
            case "mirror": return try await self.answerMirror(request, segments)
            case "adfs": return try await self.signIn.answer(request, segments)
            case "graph", "v1.0": return try await self.answerDirectory(request, segments)
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
        let principal: Principal
        switch try await self.authenticate(request, as: .management) {
        case .success(let found): principal = found
        case .failure(let refusal): return self.challenge(refusal, refusal.error.response, request)
        }
        let caller = try await self.policy.caller(principal)
        let (route, parameters) = try Self.route(request.method, segments)
        if let action = route.action {
            let scope = "/" + segments.prefix(route.scopeLength).joined(separator: "/").lowercased()
            try self.policy.require(action, at: scope, filtered: route.isFiltered, for: caller)
        }
        let call = Call(request: request, caller: caller, parameters: parameters, body: try await Self.body(of: request))
        if request.method == .put { try await self.operations.requireRegistration(segments) }
        let conditions = Conditions(request.headers)
        switch request.method {
        case .get, .head:
            let answer = try await route.run(self.operations, call)
            return try ListPage.page(answer, request, base: self.metadata.base(for: request)).tagged(conditions, isRead: true)
        // What is to be compared first must not change between.
        case _ where !conditions.isEmpty && [.put, .patch, .delete].contains(request.method):
            return try await self.gate.withLock { [operations] in
                try conditions.check(try await self.currentTag(segments, call))
                return try await route.run(operations, call).tagged(conditions, isRead: false)
            }
        case _ where !route.isExclusive: return try await route.run(self.operations, call)
        case _ where route.isShared:
            return try await self.gate.shared { [operations] in try await route.run(operations, call) }.tagged(conditions, isRead: false)
        default:
            return try await self.gate.withLock { [operations] in try await route.run(operations, call) }.tagged(conditions, isRead: false)
        }
    }

    /// The tag of what is at a path; `nil` for nothing.
    private func currentTag(_ segments: [String], _ call: Call) async throws -> String? {
        let (route, parameters) = try Self.route(.get, segments)
        if let action = route.action {
            let scope = "/" + segments.prefix(route.scopeLength).joined(separator: "/").lowercased()
            try self.policy.require(action, at: scope, filtered: route.isFiltered, for: call.caller)
        }
        do {
            return try await route.run(
                self.operations, Call(request: call.request, caller: call.caller, parameters: parameters, body: nil)
            ).resourceTag
        } catch let error as ResourceError where error.status == .notFound { return nil }
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
        if let index = lowercased.lastIndex(of: "providers"), index + 1 < segments.count, !ResourceProviders.isKnown(segments[index + 1]) {
            throw ResourceError(
                .notFound, .invalidNamespace, "The resource namespace '\(segments[index + 1].prefix(60))' is not known to this server.")
        }
        throw ResourceError(
            .notFound, .invalidType,
            "The path '/\(segments.joined(separator: "/").prefix(300))' is none of this server's resources or operations.")
    }

    // MARK: Extensions

    private func answerMirror(_ request: ServerRequest, _ segments: [String]) async throws -> ServerResponse {
        guard let mirror else {
            throw ResourceError(
                .notFound, .invalidType, "This server mirrors no extensions: its operator starts it with --extension-mirror FOLDER.")
        }
        guard request.method == .get || request.method == .head else {
            throw ResourceError(.methodNotAllowed, .methodNotAllowed, "Extensions can only be read; use GET.")
        }
        guard let answer = try await mirror.answer(segments, base: self.metadata.base(for: request)) else {
            throw ResourceError(
                .notFound, .resourceNotFound,
                "There is no '\(request.path.prefix(300))' here; the list is at /mirror/extensions/index.json.")
        }
        return answer
    }

    // MARK: The directory

    /// The directory is announced below `/graph`; `/v1.0` alone is for those who configure it by hand.
    private func answerDirectory(_ request: ServerRequest, _ segments: [String]) async throws -> ServerResponse {
        let words = segments.map { $0.lowercased() }
        let prefix = words.starts(with: ["graph", "v1.0"]) ? 2 : 1
        guard words[prefix - 1] == "v1.0", segments.count > prefix else {
            throw ResourceError(
                .notFound, .invalidType, "The path '\(request.path.prefix(300))' is not known; the directory is at /graph/v1.0/.")
        }
        let principal: Principal
        switch try await self.authenticate(request, as: .directory) {
        case .success(let found): principal = found
        case .failure(let refusal):
            let form = GraphHandler.Refusal(
                status: .unauthorized, code: "InvalidAuthenticationToken", message: refusal.error.message)
            return self.challenge(refusal, form.response, request)
        }
        let call = GraphCall(
            request: request, caller: try await self.policy.caller(principal), segments: Array(segments.dropFirst(prefix)),
            body: try await Self.body(of: request), base: self.metadata.base(for: request) + (prefix == 2 ? "/graph/v1.0" : "/v1.0"))
        switch request.method {
        case .get, .head: return await self.graph.answer(call)
        default: return await self.gate.withLock { [graph] in await graph.answer(call) }
        }
    }

    // MARK: Who calls

    /// A refusal of whoever calls.
    private struct Unauthenticated: Error {
        let error: ResourceError
        /// Whether a new token may help: clients then ask for one and repeat the request.
        var isRevoked = false
    }

    /// Adds the challenge. Where a sign-in was revoked it carries claims, on which clients drop the token they hold.
    private func challenge(_ refusal: Unauthenticated, _ response: ServerResponse, _ request: ServerRequest) -> ServerResponse {
        var response = response
        let authority = "Bearer authorization_uri=\"\(self.metadata.base(for: request))/adfs\""
        guard refusal.isRevoked else {
            response.headers[.wwwAuthenticate] = authority + ", error=\"invalid_token\""
            return response
        }
        let claims: JSONValue = [
            "access_token": ["nbf": ["essential": true, "value": .string("\(self.operations.services.clock.seconds)")]]
        ]
        response.headers[.wwwAuthenticate] =
            authority
            + ", error=\"insufficient_claims\", claims=\"\(Data(claims.serialized().utf8).base64EncodedString())\""
        return response
    }

    private func authenticate(_ request: ServerRequest, as kind: TokenKind) async throws -> Result<Principal, Unauthenticated> {
        func refuse(_ code: ResourceError.Code, _ message: String, isRevoked: Bool = false) -> Result<Principal, Unauthenticated> {
            .failure(Unauthenticated(error: ResourceError(.unauthorized, code, message), isRevoked: isRevoked))
        }
        guard case .bearer(let token)? = request.authorization else {
            return refuse(
                .authenticationFailed, "The request carries no bearer token. Sign in and send one in the 'Authorization' header.")
        }
        let verified: VerifiedToken
        do {
            verified = try await self.authority.verify(token, as: [kind], audience: nil)
        } catch let error as IdentityError {
            return refuse(.invalidToken, "The access token is not valid: \(error.message).")
        }
        guard verified.audience != Self.registryAudience else {
            return refuse(
                .invalidTokenAudience,
                "The access token was issued for registries (\(verified.audience)); request one for the resource manager.")
        }
        guard let standing = try await self.directory.standing(of: verified.subject, credential: verified.credential) else {
            return refuse(
                .invalidToken, "The access token belongs to a principal that is no longer in the directory. Sign in again.",
                isRevoked: true)
        }
        guard !standing.isRevoked else {
            return refuse(
                .invalidToken,
                "The access token has been revoked: the account is disabled, or its secret, password or sessions have ended. Sign in again.",
                isRevoked: true)
        }
        return .success(standing.principal)
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
