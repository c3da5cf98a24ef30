// The metadata API's documents.

internal import HTTPServing
internal import OCI
internal import Persistence
internal import RegistryCore

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// `changeableAttributes`: image locks, seen from the other side.
struct ChangeableAttributes: Codable, Sendable {
    var deleteEnabled: Bool?
    var writeEnabled: Bool?
    var listEnabled: Bool?
    var readEnabled: Bool?

    init(_ locks: ImageLocks) {
        self.deleteEnabled = !locks.contains(.delete)
        self.writeEnabled = !locks.contains(.write)
        self.listEnabled = !locks.contains(.list)
        self.readEnabled = !locks.contains(.read)
    }

    /// What a PATCH asks for; what it does not name stays.
    var change: LockChange {
        var change = LockChange()
        for (value, lock) in [
            (self.deleteEnabled, ImageLocks.delete), (self.writeEnabled, .write), (self.listEnabled, .list), (self.readEnabled, .read),
        ] {
            switch value {
            case true?: change.cleared.insert(lock)
            case false?: change.set.insert(lock)
            case nil: break
            }
        }
        return change
    }
}

struct RepositoryDocument: Encodable {
    let registry: String
    let imageName: String
    let createdTime: String
    let lastUpdateTime: String
    let manifestCount: Int64
    let tagCount: Int64
    let changeableAttributes: ChangeableAttributes

    init(_ metadata: RepositoryMetadata, registry: String) {
        self.registry = registry
        self.imageName = metadata.name.description
        self.createdTime = Timestamp.text(milliseconds: metadata.created)
        self.lastUpdateTime = Timestamp.text(milliseconds: metadata.updated)
        self.manifestCount = metadata.manifests
        self.tagCount = metadata.tags
        self.changeableAttributes = ChangeableAttributes(metadata.locks)
    }
}

struct TagDocument: Encodable {
    struct Attributes: Encodable {
        let name: String
        let digest: String
        let createdTime: String
        let lastUpdateTime: String
        let signed = false
        let changeableAttributes: ChangeableAttributes

        init(_ metadata: TagMetadata) {
            self.name = metadata.tag.description
            self.digest = metadata.digest.description
            self.createdTime = Timestamp.text(milliseconds: metadata.created)
            self.lastUpdateTime = Timestamp.text(milliseconds: metadata.updated)
            self.changeableAttributes = ChangeableAttributes(metadata.locks)
        }
    }

    let registry: String
    let imageName: String
    var tag: Attributes?
    var tags: [Attributes]?
}

struct ManifestDocument: Encodable {
    struct Attributes: Encodable {
        let digest: String
        let imageSize: Int64
        let createdTime: String
        let lastUpdateTime: String
        let architecture: String?
        let os: String?
        let mediaType: String
        let configMediaType: String?
        let artifactType: String?
        let tags: [String]?
        let changeableAttributes: ChangeableAttributes

        init(_ metadata: ManifestMetadata, configMediaType: String?, platform: Platform?) {
            self.digest = metadata.digest.description
            self.imageSize = metadata.imageSize
            self.createdTime = Timestamp.text(milliseconds: metadata.created)
            self.lastUpdateTime = Timestamp.text(milliseconds: metadata.updated)
            self.architecture = platform?.architecture
            self.os = platform?.os
            self.mediaType = metadata.mediaType.description
            self.configMediaType = configMediaType
            self.artifactType = metadata.artifactType
            self.tags = metadata.tags.isEmpty ? nil : metadata.tags.map(\.description)
            self.changeableAttributes = ChangeableAttributes(metadata.locks)
        }
    }

    /// The two members of an image's configuration that are shown.
    struct Platform: Decodable {
        let architecture: String?
        let os: String?
    }

    let registry: String
    let imageName: String
    var manifest: Attributes?
    var manifests: [Attributes]?
}

struct DeletedDocument: Encodable {
    let manifestsDeleted: [String]
    let tagsDeleted: [String]
}
