// Referrers: a page at a time, for a manifest may have any number of them, each with annotations of megabytes.

package import OCI
package import Persistence

/// The place in a list of referrers behind one of them; its text is opaque to clients.
package struct ReferrerPosition: Sendable, Hashable, CustomStringConvertible {
    fileprivate let created: Int64
    fileprivate let digest: Digest

    fileprivate init(created: Int64, digest: Digest) {
        self.created = created
        self.digest = digest
    }

    /// Reads what ``description`` has written; `nil` for anything else.
    package init?(_ text: String) {
        let parts = text.split(separator: "-", maxSplits: 1)
        guard parts.count == 2, let created = Int64(parts[0]), let digest = try? Digest(parts[1]) else { return nil }
        self.init(created: created, digest: digest)
    }

    package var description: String { "\(self.created)-\(self.digest)" }
}

/// A page of referrers.
package struct ReferrerPage: Sendable {
    package let descriptors: [Descriptor]
    /// Where the next page begins; `nil` for the last one.
    package let next: ReferrerPosition?
}

extension RegistryStore {
    /// Bytes of annotations on one page, about: what the specification lets clients expect of a manifest.
    static let maximumAnnotations = 4 << 20
    /// Bytes of manifests that are read for one page of any list.
    static let maximumPageBytes: Int64 = 32 << 20

    /// Descriptors of manifests whose subject is `digest`, oldest first (distribution specification, "Listing Referrers").
    ///
    /// A page ends where its entries or their annotations are many; it has one entry at least.
    ///
    /// - Parameters:
    ///   - artifactType: only referrers of this type.
    ///   - position: where the page before has ended.
    package func referrers(
        of digest: Digest, in name: RepositoryName, of registry: RegistryID, artifactType: String?, after position: ReferrerPosition? = nil,
        limit: Int
    ) async throws -> ReferrerPage {
        try await self.database.read { session in
            guard let repository = try Self.repository(name, in: registry, session) else {
                return ReferrerPage(descriptors: [], next: nil)
            }
            var arguments: [SQLValue] = [.integer(repository), SQLValue(digest)]
            var conditions = ""
            if let artifactType {
                // Where it was stored as empty, the manifest itself has to be asked.
                conditions += " AND artifact_type IN (?, '')"
                arguments.append(.text(artifactType))
            }
            if let position {
                conditions += " AND (created, digest) > (?, ?)"
                arguments += [.integer(position.created), SQLValue(position.digest)]
            }
            let rows = try session.rows(
                """
                SELECT digest, media_type, size, artifact_type, created FROM manifest INDEXED BY manifest_subject
                WHERE repository = ? AND subject = ?\(conditions) ORDER BY created, digest LIMIT ?
                """, arguments + [.integer(Int64(limit) + 1)])
            var (found, last, read, annotated) = ([Descriptor](), ReferrerPosition?.none, Int64(0), 0)
            for row in rows.prefix(limit) {
                read += row.integer(2)
                if last != nil, read > Self.maximumPageBytes { return ReferrerPage(descriptors: found, next: last) }
                let descriptor = try Self.referrer(row, session)
                annotated += descriptor.annotations?.reduce(0) { $0 + $1.key.utf8.count + $1.value.utf8.count } ?? 0
                if last != nil, annotated > Self.maximumAnnotations { return ReferrerPage(descriptors: found, next: last) }
                last = ReferrerPosition(created: row.integer(4), digest: descriptor.digest)
                if artifactType == nil || descriptor.artifactType == artifactType { found.append(descriptor) }
            }
            return ReferrerPage(descriptors: found, next: rows.count > limit ? last : nil)
        }
    }

    private static func referrer(_ row: SQLRow, _ session: any SQLReader) throws -> Descriptor {
        let mediaType = try MediaType(row.text(1))
        let manifest = try self.storedManifest(row[0], mediaType, session)
        return Descriptor(
            mediaType: mediaType, digest: try Digest(row.text(0)), size: row.integer(2),
            artifactType: self.artifactType(row.optionalText(3), manifest),
            annotations: manifest.flatMap { $0.annotations.isEmpty ? nil : $0.annotations })
    }

    /// A manifest that is here, read by itself: the bytes of a whole list may be more than fits into memory.
    ///
    /// - Returns: `nil` for one that an earlier version took and this one would not: it costs some members of an answer, not the answer.
    static func storedManifest(_ digest: SQLValue, _ mediaType: MediaType, _ session: any SQLReader) throws -> Manifest? {
        guard let bytes = try session.row("SELECT bytes FROM manifest_content WHERE digest = ?", digest)?.blob(0) else { return nil }
        return try? Manifest(parsing: bytes, declared: mediaType)
    }

    /// The type in a row of `manifest`: earlier versions stored an empty one as it came.
    static func artifactType(_ column: String?, _ manifest: Manifest?) -> String? { column == "" ? manifest?.artifactType : column }
}
