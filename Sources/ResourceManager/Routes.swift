// The calls of the control plane as data: method, path, the action they are decided by, and what answers them.

internal import HTTPServing
internal import HTTPTypes
internal import Identity
internal import JSON

/// A call that has been routed, authenticated and decided.
struct Call: Sendable {
    let request: ServerRequest
    let caller: AuthorizedCaller
    /// Segments of the path by the names of the route.
    let parameters: [String: String]
    /// The body, if there is one.
    let body: JSONValue?

    var principal: Principal { self.caller.principal }

    subscript(parameter: String) -> String { self.parameters[parameter] ?? "" }

    /// The body as an object.
    func document() throws(ResourceError) -> BodyField {
        guard let body else { throw ResourceError(.badRequest, .invalidContent, "The request has no body. Send a JSON object.") }
        let field = BodyField(body: body)
        guard try field.object() != nil else { throw field.invalid("it must be a JSON object") }
        return field
    }

    var subscriptionID: ResourceID { ResourceID(subscription: self["subscription"]) }
    var groupID: ResourceID { ResourceID(subscription: self["subscription"], group: self["group"]) }
    var registryID: ResourceID { ResourceID(subscription: self["subscription"], group: self["group"], registry: self["registry"]) }
}

/// One row of the route table.
struct Route: Sendable {
    private enum Piece: Sendable {
        case word(String)
        case parameter(String)
    }

    let method: HTTPRequest.Method
    /// `nil` for calls that every principal may make and that filter what they show.
    let action: String?
    /// Whether the action is asked of each thing shown rather than of the whole scope.
    let isFiltered: Bool
    /// Leading segments that are the scope; the rest is the name of the operation.
    let scopeLength: Int
    let run: @Sendable (ResourceOperations, Call) async throws -> ServerResponse
    private let pieces: [Piece]
    /// As it is written in the table.
    let pattern: String
    /// Whether the call waits for other changes.
    let isExclusive: Bool
    /// Whether it waits only for those that have to be alone: it replaces one thing whole, in one transaction that checks its rules.
    let isShared: Bool

    /// - Parameters:
    ///   - pattern: segments in lower case, parameters in braces; what follows `:` is an operation on the resource before it.
    init(
        _ method: HTTPRequest.Method, _ pattern: String, _ action: String?, filtered: Bool = false, exclusive: Bool = true,
        shared: Bool = false,
        _ run: @escaping @Sendable (ResourceOperations, Call) async throws -> ServerResponse
    ) {
        self.method = method
        self.action = action
        self.isFiltered = filtered
        self.isExclusive = exclusive
        self.isShared = shared
        self.run = run
        self.pattern = pattern
        let halves = pattern.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        self.pieces = halves.flatMap { $0.split(separator: "/") }.map {
            $0.hasPrefix("{") ? .parameter(String($0.dropFirst().dropLast())) : .word(String($0))
        }
        self.scopeLength = halves.first.map { $0.split(separator: "/").count } ?? 0
    }

    /// The parameters, when the path is this route's. Words are compared in any letter case.
    func match(_ segments: [String], lowercased: [String]) -> [String: String]? {
        guard segments.count == self.pieces.count else { return nil }
        var parameters: [String: String] = [:]
        for (index, piece) in self.pieces.enumerated() {
            switch piece {
            case .word(let word): if lowercased[index] != word { return nil }
            case .parameter(let name): parameters[name] = segments[index]
            }
        }
        return parameters
    }

    /// Every call there is.
    static let all: [Route] =
        subscriptionRoutes + groupRoutes + registryRoutes + adminUserRoutes + garbageRoutes + scopeMapRoutes + tokenRoutes
        + connectedRegistryRoutes + webhookRoutes + importRoutes + replicationRoutes + cacheRuleRoutes + credentialSetRoutes
        + authorizationRoutes + subscriptionAliasRoutes + identityRoutes + managedClusterRoutes + connectedClusterRoutes
        + clusterExtensionRoutes + clusterAgentRoutes + federatedCredentialRoutes

    /// The path of a registry.
    static let registryPath =
        "subscriptions/{subscription}/resourcegroups/{group}/providers/microsoft.containerregistry/registries/{registry}"
}
