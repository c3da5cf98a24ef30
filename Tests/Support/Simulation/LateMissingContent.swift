// What clients are given of content that is not here, before there is an agent that could fetch it.

internal import OCI
internal import Persistence
internal import RegistryCore
internal import Synchronization

/// Asks whoever has been named since.
final class LateMissingContent: MissingContent {
    private let source = Mutex<(any MissingContent)?>(nil)

    func set(_ source: any MissingContent) { self.source.withLock { $0 = source } }

    func manifest(_ reference: Reference, in name: RepositoryName) async throws -> MissingContentAnswer<StoredManifest> {
        try await self.source.withLock { $0 }?.manifest(reference, in: name) ?? .notOffered
    }

    func probe(_ reference: Reference, in name: RepositoryName) async throws -> MissingContentAnswer<AnnouncedManifest> {
        try await self.source.withLock { $0 }?.probe(reference, in: name) ?? .notOffered
    }

    func blob(_ digest: Digest, in name: RepositoryName) async throws -> MissingContentAnswer<any BlobReader> {
        try await self.source.withLock { $0 }?.blob(digest, in: name) ?? .notOffered
    }

    func size(ofBlob digest: Digest, in name: RepositoryName) async throws -> MissingContentAnswer<Int64> {
        try await self.source.withLock { $0 }?.size(ofBlob: digest, in: name) ?? .notOffered
    }
}
