// The one error of this target.

/// A refusal about who someone is or what they are called.
package struct IdentityError: Error, Sendable, CustomStringConvertible {
    package enum Code: String, Sendable {
        case invalidName
        case invalidAction
        case limitReached
        case notFound
        case alreadyExists
        case inUse
        case readOnly
        case invalidCredentials
        case invalidToken
        /// Too many attempts with wrong passwords.
        case locked
        /// The caller may not do this.
        case denied
        /// More is asked for than can be done at a time.
        case busy
    }

    package let code: Code
    package let message: String

    package init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    package var description: String { self.message }
}
