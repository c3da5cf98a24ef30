// Images that come from elsewhere at a user's wish: visible in one transaction, under the rules that a push has.

package import OCI
package import Persistence

/// An image to be placed into a registry, whose content is here.
package struct ImportedImage: Sendable {
    package struct Target: Sendable, Hashable {
        package let repository: RepositoryName
        /// `nil` for a repository that gets the manifest alone.
        package let tag: Tag?

        package init(repository: RepositoryName, tag: Tag?) {
            self.repository = repository
            self.tag = tag
        }
    }

    /// Children before parents; the last is what tags name.
    package let manifests: [NewManifest]
    /// Blobs that the manifests need not have and that their source has.
    package let optionalBlobs: [Digest]
    package let targets: [Target]
    /// Whether tags may be moved that are there.
    package let replacesTags: Bool
    /// What the tags that are moved must name still: who has moved or removed one meanwhile meant to. `nil` for anything.
    package let replaced: Digest?

    package init(
        manifests: [NewManifest], optionalBlobs: [Digest] = [], targets: [Target], replacesTags: Bool, replaced: Digest? = nil
    ) {
        self.replaced = replaced
        self.manifests = manifests
        self.optionalBlobs = optionalBlobs
        self.targets = targets
        self.replacesTags = replacesTags
    }
}

extension RegistryStore {
    /// Refuses before anything is fetched what would be refused at the end.
    ///
    /// - Throws: `DENIED` with 409 for a tag that is there, a lock's refusal.
    package func requirePlaceable(_ targets: [ImportedImage.Target], replacesTags: Bool, in registry: RegistryID) async throws {
        try await self.database.read { session in
            for target in targets {
                guard let repository = try Self.repository(target.repository, in: registry, session) else { continue }
                try Self.requirePlaceable(target, repository, replacesTags: replacesTags, session)
            }
        }
    }

    private static func requirePlaceable(
        _ target: ImportedImage.Target, _ repository: Int64, replacesTags: Bool, _ session: any SQLReader
    ) throws {
        if let tag = target.tag { try ConflictTag.refuse(tag) }
        try self.requireWritable(target.repository, repository, session)
        guard let tag = target.tag,
            let row = try session.row("SELECT locks FROM tag WHERE repository = ? AND name = ?", .integer(repository), SQLValue(tag))
        else { return }
        guard replacesTags else {
            throw RegistryError(
                .denied,
                "tag \(target.repository):\(tag) already exists in the target registry; import with --force (mode Force) to move it",
                detail: ["name": target.repository.description, "tag": tag.description], status: 409)
        }
        if ImageLocks(rawValue: row.integer(0)).contains(.write) {
            throw RegistryError.locked(.tag(target.repository, tag), "writeEnabled", "overwriting")
        }
    }

    private static func require(
        _ target: ImportedImage.Target, in repository: Int64, toName digest: Digest, _ session: any SQLReader
    ) throws {
        guard let tag = target.tag else { return }
        let row = try session.row("SELECT digest FROM tag WHERE repository = ? AND name = ?", .integer(repository), SQLValue(tag))
        guard row?.text(0) != digest.description else { return }
        throw RegistryError(
            .denied, "tag \(target.repository):\(tag) has been \(row == nil ? "removed" : "moved") meanwhile and stays as it is",
            detail: ["name": target.repository.description, "tag": tag.description], status: 409)
    }

    /// Places an image: links, manifests and tags of every target in one transaction.
    ///
    /// - Throws: `MANIFEST_BLOB_UNKNOWN` when content is missing; nothing is then visible.
    package func place(_ image: ImportedImage, in registry: RegistryID, origin: String) async throws {
        guard let digest = image.manifests.last?.digest else { return }
        let now = self.clock.milliseconds()
        let isRetyped = try await self.database.write { session in
            var isRetyped = false
            for target in image.targets {
                let name = target.repository
                let repository = try Self.ensureRepository(name, in: registry, now: now, session)
                try Self.requirePlaceable(target, repository, replacesTags: image.replacesTags, session)
                if let replaced = image.replaced { try Self.require(target, in: repository, toName: replaced, session) }
                for digest in image.optionalBlobs {
                    guard try session.row("SELECT 1 FROM blob WHERE digest = ?", SQLValue(digest)) != nil else {
                        throw RegistryError(.manifestBlobUnknown, "blob \(digest) has not arrived")
                    }
                    try Self.link(digest, into: repository, now: now, session)
                }
                for new in image.manifests {
                    for blob in new.manifest.requiredBlobs {
                        let size = try session.row("SELECT size FROM blob WHERE digest = ?", SQLValue(blob.digest))?.integer(0)
                        guard let size else {
                            throw RegistryError(.manifestBlobUnknown, "blob \(blob.digest) of manifest \(new.digest) has not arrived")
                        }
                        guard size == blob.size else {
                            throw RegistryError(
                                .sizeInvalid, "the manifest gives blob \(blob.digest) \(blob.size) bytes, it has \(size)",
                                detail: ["digest": blob.digest.description])
                        }
                        try Self.link(blob.digest, into: repository, now: now, session)
                    }
                    let wasOther = try Self.store(
                        new, repository: repository, name: name, registry: registry, origin: origin, now: now, session)
                    isRetyped = isRetyped || wasOther
                }
                if let tag = target.tag {
                    try Self.move(
                        tag, to: digest, repository: repository, name: name, registry: registry, origin: origin, now: now, session)
                }
            }
            return isRetyped
        }
        if isRetyped { self.versions.contentRemoved() } else { self.versions.tagsMoved() }
        self.activity.signal()
    }
}
