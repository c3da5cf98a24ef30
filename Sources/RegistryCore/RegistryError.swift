// The one error of this target: a refusal in the terms of the distribution specification.

package import OCI
package import Persistence

/// A refusal: the specification's code, a sentence, and facts for the `detail` member.
package struct RegistryError: Error, Sendable, CustomStringConvertible {
    package let code: ErrorCode
    package let message: String
    package let detail: [String: String]
    /// Where the status differs from the code's usual one.
    package let status: Int

    package init(_ code: ErrorCode, _ message: String, detail: [String: String] = [:], status: Int? = nil) {
        self.code = code
        self.message = message
        self.detail = detail
        self.status = status ?? code.status
    }

    package var description: String { "\(self.code.rawValue): \(self.message)" }

    static func repositoryUnknown(_ name: RepositoryName) -> RegistryError {
        .init(.nameUnknown, "repository \(name) is not known to this registry; push to it first", detail: ["name": name.description])
    }

    static func manifestUnknown(_ name: RepositoryName, _ reference: Reference) -> RegistryError {
        .init(
            .manifestUnknown, "manifest \(reference) is not in repository \(name)",
            detail: ["name": name.description, "reference": reference.description])
    }

    static func blobUnknown(_ name: RepositoryName, _ digest: Digest) -> RegistryError {
        .init(
            .blobUnknown, "blob \(digest) is not in repository \(name)", detail: ["name": name.description, "digest": digest.description])
    }

    /// - Parameter identifier: as the client gave it.
    static func uploadUnknown(_ name: RepositoryName, _ identifier: String) -> RegistryError {
        .init(
            .blobUploadUnknown, "this upload is not known in repository \(name); it ended, was cancelled or never began: begin a new one",
            detail: ["name": name.description, "upload": String(identifier.prefix(128))])
    }

    /// Translates what the store refuses.
    package init(_ error: PersistenceError, detail: [String: String] = [:]) {
        let code: ErrorCode =
            switch error.code {
            case .digestMismatch: .digestInvalid
            case .sizeMismatch: .sizeInvalid
            case .noSpace: .unavailable
            default: .unknown
            }
        self.init(code, error.description, detail: detail)
    }
}
