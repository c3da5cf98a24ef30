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

    static func uploadUnknown(_ name: RepositoryName) -> RegistryError {
        .init(.blobUploadUnknown, "this upload is not known in repository \(name); it ended, was cancelled or never began: begin a new one")
    }

    /// Translates what the store refuses.
    package init(_ error: PersistenceError) {
        switch error.code {
        case .digestMismatch: self.init(.digestInvalid, error.description)
        case .sizeMismatch: self.init(.sizeInvalid, error.description)
        case .noSpace: self.init(.unavailable, error.description)
        default: self.init(.unknown, error.description)
        }
    }
}
