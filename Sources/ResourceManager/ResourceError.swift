// The one error of this target: a refusal in ARM's form.

internal import Gateway
internal import HTTPServing
package import HTTPTypes
internal import Identity
internal import JSON
internal import Persistence

/// A refusal: status, code, a sentence, and the member of the request it is about.
package struct ResourceError: Error, Sendable, CustomStringConvertible {
    /// Codes clients act on; the spelling is Azure's where Azure has one.
    package enum Code: String, Sendable, CaseIterable {
        case authenticationFailed = "AuthenticationFailed"
        case invalidToken = "InvalidAuthenticationToken"
        case invalidTokenAudience = "InvalidAuthenticationTokenAudience"
        case authorizationFailed = "AuthorizationFailed"
        case roleAssignmentExists = "RoleAssignmentExists"
        case roleAssignmentUpdate = "RoleAssignmentUpdateNotPermitted"
        case principalNotFound = "PrincipalNotFound"
        case roleDefinitionNotFound = "RoleDefinitionDoesNotExist"
        case conditionsNotSupported = "RoleAssignmentConditionsNotSupported"
        case subscriptionNotFound = "SubscriptionNotFound"
        case groupNotFound = "ResourceGroupNotFound"
        case resourceNotFound = "ResourceNotFound"
        case invalidNamespace = "InvalidResourceNamespace"
        case invalidType = "InvalidResourceType"
        case methodNotAllowed = "MethodNotAllowed"
        case invalidContent = "InvalidRequestContent"
        case tooLarge = "RequestEntityTooLarge"
        case invalidPath = "InvalidRequestUri"
        case invalidParameter = "InvalidParameter"
        case invalidName = "InvalidResourceName"
        case locationChanged = "InvalidResourceLocation"
        case nameInUse = "AlreadyInUse"
        case conflict = "Conflict"
        case limitExceeded = "LimitExceeded"
        case notAvailable = "FeatureNotAvailable"
        case adminUserDisabled = "AdminUserDisabled"
        case skuTooSmall = "SkuNotSupported"
        case dataEndpointRequired = "DataEndpointRequired"
        case singleRegistry = "SuffixRequired"
        case preconditionFailed = "PreconditionFailed"
        case missingRegistration = "MissingSubscriptionRegistration"
        case busy = "ServerBusy"
        case noSpace = "InsufficientStorage"
        case importFailed = "ImportFailed"
        case internalError = "InternalServerError"
    }

    package let status: HTTPResponse.Status
    package let code: Code
    package let message: String
    /// The member of the request that is wrong, as ARM names it.
    package let target: String?

    package init(_ status: HTTPResponse.Status, _ code: Code, _ message: String, target: String? = nil) {
        self.status = status
        self.code = code
        self.message = message
        self.target = target
    }

    package var description: String { "\(self.code.rawValue): \(self.message)" }

    /// A member of the body that cannot stand.
    static func invalid(_ field: String, _ reason: String) -> ResourceError {
        .init(.badRequest, .invalidParameter, "The value of '\(field)' cannot be used: \(reason).", target: field)
    }

    /// Something Azure has and this server has not, refused rather than pretended.
    static func notAvailable(_ what: String, target: String? = nil) -> ResourceError {
        .init(.badRequest, .notAvailable, "\(what) is not available in this version of outport; nothing was changed.", target: target)
    }

    var response: ServerResponse {
        var error: [String: JSONValue] = ["code": .string(self.code.rawValue), "message": .string(self.message)]
        if let target = self.target { error["target"] = .string(target) }
        return .document(self.status, ["error": .object(error)])
    }
}

extension ResourceError {
    /// What other targets refuse, in ARM's terms; `nil` for what is no client's business.
    init?(translating error: any Error) {
        switch error {
        case let error as ResourceError: self = error
        case let error as IdentityError: self.init(error)
        case let error as ConnectedRegistryError: self.init(error)
        case let error as BodyTooLarge:
            self.init(.contentTooLarge, .tooLarge, "The request body is larger than \(error.limit) bytes. Send a smaller one.")
        case let error as PersistenceError where error.code == .busy:
            self.init(.serviceUnavailable, .busy, "The server is busy. Try again.")
        case let error as PersistenceError where error.code == .noSpace:
            self.init(
                .init(code: 507, reasonPhrase: "Insufficient Storage"), .noSpace,
                "The disk of the server is full. Free space on it, then repeat the request.")
        default: return nil
        }
    }

    private init(_ error: IdentityError) {
        let sentence = Self.sentence(error.message)
        switch error.code {
        case .invalidName: self.init(.badRequest, .invalidName, sentence, target: "name")
        case .invalidAction: self.init(.badRequest, .invalidParameter, sentence, target: "properties.actions")
        case .limitReached: self.init(.badRequest, .limitExceeded, sentence)
        case .notFound: self.init(.badRequest, .invalidParameter, sentence)
        case .alreadyExists, .inUse, .readOnly: self.init(.conflict, .conflict, sentence)
        case .locked, .denied: self.init(.forbidden, .authorizationFailed, sentence)
        case .busy: self.init(.serviceUnavailable, .busy, sentence)
        case .invalidCredentials, .invalidToken: self.init(.unauthorized, .invalidToken, sentence)
        }
    }

    private init(_ error: ConnectedRegistryError) {
        let sentence = Self.sentence(error.message)
        switch error.code {
        case .invalidName: self.init(.badRequest, .invalidName, sentence, target: error.field)
        case .invalidField: self.init(.badRequest, .invalidParameter, sentence, target: error.field)
        case .notFound: self.init(.notFound, .resourceNotFound, sentence, target: error.field)
        case .conflict: self.init(.conflict, .conflict, sentence, target: error.field)
        case .limitReached: self.init(.badRequest, .limitExceeded, sentence, target: error.field)
        }
    }

    /// A message of another target as a sentence of its own.
    private static func sentence(_ message: String) -> String {
        let text = message.prefix(1).uppercased() + message.dropFirst()
        return text.hasSuffix(".") ? text : text + "."
    }
}
