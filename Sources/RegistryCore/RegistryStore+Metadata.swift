// What is known of repositories, tags and manifests beside their content: for the metadata API.

package import OCI
package import Persistence

/// How a list is ordered.
package enum MetadataOrder: String, Sendable {
    case name = ""
    case newestFirst = "timedesc"
    case oldestFirst = "timeasc"
}

/// Where a page of a list begins and how long it is.
package struct MetadataPage: Sendable {
    package var order: MetadataOrder
    /// The name of the last entry of the page before, and its time where the list is ordered by time.
    package var last: String?
    package var lastTime: Int64?
    package var limit: Int

    package init(order: MetadataOrder, last: String?, lastTime: Int64?, limit: Int) {
        self.order = order
        self.last = last
        self.lastTime = lastTime
        self.limit = limit
    }
}

/// A repository's attributes. Times are milliseconds since 1970.
package struct RepositoryMetadata: Sendable {
    package let name: RepositoryName
    package let created: Int64
    package let updated: Int64
    package let manifests: Int64
    package let tags: Int64
    package let locks: ImageLocks
}

/// A tag's attributes.
package struct TagMetadata: Sendable {
    package let tag: Tag
    package let digest: Digest
    package let created: Int64
    package let updated: Int64
    package let locks: ImageLocks
}

/// A manifest's attributes.
package struct ManifestMetadata: Sendable {
    package let digest: Digest
    package let mediaType: MediaType
    package let artifactType: String?
    /// Bytes of what the manifest lists; of an index its own.
    package let imageSize: Int64
    package let created: Int64
    package let updated: Int64
    package let tags: [Tag]
    package let locks: ImageLocks
    /// An image's configuration.
    package let config: Descriptor?
}

extension RegistryStore {
    /// - Throws: `NAME_UNKNOWN`.
    package func metadata(of name: RepositoryName, in registry: RegistryID) async throws -> RepositoryMetadata {
        try await self.database.read { session in
            let repository = try Self.requireRepository(name, in: registry, session)
            guard
                let row = try session.row(
                    """
                    SELECT created, updated, locks, (SELECT count(*) FROM manifest WHERE manifest.repository = repository.id),
                        (SELECT count(*) FROM tag WHERE tag.repository = repository.id) FROM repository WHERE id = ?
                    """, .integer(repository))
            else { throw RegistryError.repositoryUnknown(name) }
            return RepositoryMetadata(
                name: name, created: row.integer(0), updated: row.integer(1), manifests: row.integer(3), tags: row.integer(4),
                locks: ImageLocks(rawValue: row.integer(2)))
        }
    }

    /// - Throws: `NAME_UNKNOWN`, `MANIFEST_UNKNOWN`.
    package func metadata(of tag: Tag, in name: RepositoryName, of registry: RegistryID) async throws -> TagMetadata {
        try await self.database.read { session in
            let repository = try Self.requireRepository(name, in: registry, session)
            guard let row = try session.row("\(Self.selectTag) WHERE repository = ? AND name = ?", .integer(repository), SQLValue(tag))
            else {
                throw RegistryError.manifestUnknown(name, .tag(tag))
            }
            return try Self.tag(row)
        }
    }

    /// Tags that are not hidden, one more than the page holds when there is another page.
    ///
    /// - Parameter digest: only those that name it.
    package func tagMetadata(
        of name: RepositoryName, in registry: RegistryID, page: MetadataPage, digest: Digest?
    ) async throws -> [TagMetadata] {
        try await self.database.read { session in
            let repository = try Self.requireRepository(name, in: registry, session)
            let (condition, order, arguments) = try Self.clauses(
                page, key: "name", time: "updated", lookup: "SELECT updated FROM tag WHERE repository = ? AND name = ?", repository, session
            )
            var all: [SQLValue] = [.integer(repository), .integer(ImageLocks.list.rawValue)]
            var (index, filter) = ("", "")
            if let digest {
                (index, filter) = ("INDEXED BY tag_digest", " AND digest = ?")
                all.append(SQLValue(digest))
            }
            return try session.rows(
                "\(Self.selectTag) \(index) WHERE repository = ? AND locks & ? = 0\(filter)\(condition) ORDER BY \(order) LIMIT ?",
                all + arguments + [.integer(Int64(page.limit) + 1)]
            ).map(Self.tag)
        }
    }

    /// - Throws: `NAME_UNKNOWN`, `MANIFEST_UNKNOWN`.
    package func metadata(of digest: Digest, in name: RepositoryName, of registry: RegistryID) async throws -> ManifestMetadata {
        try await self.database.read { session in
            let repository = try Self.requireRepository(name, in: registry, session)
            guard
                let row = try session.row(
                    "\(Self.selectManifest) WHERE manifest.repository = ? AND manifest.digest = ?", .integer(repository), SQLValue(digest))
            else { throw RegistryError.manifestUnknown(name, .digest(digest)) }
            return try Self.manifest(row, repository, session)
        }
    }

    /// Manifests that are not hidden: a page, which ends early where its manifests are large, and whether there is another.
    package func manifestMetadata(of name: RepositoryName, in registry: RegistryID, page: MetadataPage) async throws
        -> (manifests: [ManifestMetadata], hasMore: Bool)
    {
        try await self.database.read { session in
            let repository = try Self.requireRepository(name, in: registry, session)
            let (condition, order, arguments) = try Self.clauses(
                page, key: "manifest.digest", time: "coalesce(updated, created)",
                lookup: "SELECT coalesce(updated, created) FROM manifest WHERE repository = ? AND digest = ?", repository, session)
            let first: [SQLValue] = [.integer(repository), .integer(ImageLocks.list.rawValue)]
            let rows = try session.rows(
                "\(Self.selectManifest) WHERE manifest.repository = ? AND locks & ? = 0\(condition) ORDER BY \(order) LIMIT ?",
                first + arguments + [.integer(Int64(page.limit) + 1)])
            var (found, read) = ([ManifestMetadata](), Int64(0))
            for row in rows.prefix(page.limit) {
                read += row.integer(3)
                if !found.isEmpty, read > Self.maximumPageBytes { break }
                found.append(try Self.manifest(row, repository, session))
            }
            return (found, rows.count > found.count)
        }
    }

    private static let selectTag = "SELECT name, digest, created, updated, locks FROM tag"

    private static func tag(_ row: SQLRow) throws -> TagMetadata {
        TagMetadata(
            tag: try Tag(row.text(0)), digest: try Digest(row.text(1)), created: row.integer(2), updated: row.integer(3),
            locks: ImageLocks(rawValue: row.integer(4)))
    }

    private static let selectManifest = """
        SELECT manifest.digest, media_type, artifact_type, size, created, updated, locks, \(selectImageSize)
        FROM manifest
        """

    /// Bytes of what a row of `manifest` lists, NULL where it lists none.
    ///
    /// `sum` of whole numbers raises where they overflow, which sizes stored by earlier versions may do; `total` never does, and is exact
    /// up to what a manifest's sizes may add up to now.
    static let selectImageSize = """
        (SELECT CASE count(*) WHEN 0 THEN NULL ELSE CAST(total(size) AS INTEGER) END FROM manifest_entry
            WHERE manifest_entry.repository = manifest.repository AND manifest_entry.manifest = manifest.digest AND kind != 1)
        """

    private static func manifest(_ row: SQLRow, _ repository: Int64, _ session: any SQLReader) throws -> ManifestMetadata {
        let tags = try session.rows(
            "SELECT name FROM tag INDEXED BY tag_digest WHERE repository = ? AND digest = ? AND locks & ? = 0 ORDER BY name",
            .integer(repository), row[0], .integer(ImageLocks.list.rawValue))
        let mediaType = try MediaType(row.text(1))
        let manifest = try self.storedManifest(row[0], mediaType, session)
        return ManifestMetadata(
            digest: try Digest(row.text(0)), mediaType: mediaType, artifactType: self.artifactType(row.optionalText(2), manifest),
            imageSize: row.optionalInteger(7) ?? row.integer(3), created: row.integer(4),
            updated: row.optionalInteger(5) ?? row.integer(4), tags: try tags.map { try Tag($0.text(0)) },
            locks: ImageLocks(rawValue: row.integer(6)), config: manifest?.config)
    }

    /// Condition, order and arguments of a page. Names break ties between equal times, so that no entry is skipped or repeated.
    private static func clauses(
        _ page: MetadataPage, key: String, time: String, lookup: String, _ repository: Int64, _ session: any SQLReader
    ) throws -> (condition: String, order: String, arguments: [SQLValue]) {
        guard page.order != .name else {
            return page.last.map { (" AND \(key) > ?", key, [SQLValue($0)]) } ?? ("", key, [])
        }
        let sign = page.order == .newestFirst ? "<" : ">"
        let order = page.order == .newestFirst ? "\(time) DESC, \(key)" : "\(time), \(key)"
        guard let last = page.last else { return ("", order, []) }
        // A link carries the time; whoever gives only a name means the entry of now.
        guard let moment = try page.lastTime ?? session.row(lookup, .integer(repository), .text(last))?.integer(0) else {
            throw RegistryError(
                .paginationNumberInvalid,
                "'\(last.prefix(200))' after which the list should go on is not in the repository; begin again without 'last'")
        }
        return (" AND (\(time) \(sign) ? OR \(time) = ? AND \(key) > ?)", order, [.integer(moment), .integer(moment), .text(last)])
    }
}
