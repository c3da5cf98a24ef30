// Content that is not here and that somebody else may have: the seam between who serves clients and who can fetch.

package import OCI
package import Persistence

/// What became of a question for content that is not here.
package enum MissingContentAnswer<Value: Sendable>: Sendable {
    /// It is here now, or arrives while it is read.
    case found(Value)
    /// Who has everything that may be asked for does not have it either.
    case absent
    /// It may not or cannot be asked for now; a clause that says why.
    case unavailable(String)
    /// Nothing is fetched for clients here.
    case notOffered
}

/// A manifest as it is announced, without its bytes.
package struct AnnouncedManifest: Sendable, Hashable {
    package let digest: Digest
    package let size: Int64
    package let mediaType: MediaType

    package init(digest: Digest, size: Int64, mediaType: MediaType) {
        self.digest = digest
        self.size = size
        self.mediaType = mediaType
    }
}

/// Fetches what clients want and what is not here, while they wait.
package protocol MissingContent: Sendable {
    /// A manifest that is not here.
    func manifest(_ reference: Reference, in name: RepositoryName) async throws -> MissingContentAnswer<StoredManifest>

    /// What a manifest that is not here would be; nothing comes for it.
    func probe(_ reference: Reference, in name: RepositoryName) async throws -> MissingContentAnswer<AnnouncedManifest>

    /// A blob that is not in the repository here. Reading it waits for what has not arrived, and fails where that will not come.
    func blob(_ digest: Digest, in name: RepositoryName) async throws -> MissingContentAnswer<any BlobReader>

    /// How long a blob is that is not in the repository here.
    func size(ofBlob digest: Digest, in name: RepositoryName) async throws -> MissingContentAnswer<Int64>
}

extension MissingContentAnswer {
    /// The refusal that a client gets where nothing was found: the one that it would have got anyway, with the reason.
    package func refusal(instead error: RegistryError) -> RegistryError {
        let reason: String
        switch self {
        case .found, .notOffered: return error
        case .absent: reason = "its parent does not have it either"
        case .unavailable(let clause): reason = "it cannot be fetched from the parent now: \(clause)"
        }
        return RegistryError(error.code, "\(error.message); \(reason)", detail: error.detail, status: error.status)
    }
}
