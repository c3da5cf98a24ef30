// What is below a manifest, as the database knows it: names and sizes, no content.

package import OCI
package import Persistence

/// A manifest with what it needs.
package struct ManifestContents: Sendable, Hashable {
    package let digest: Digest
    package let size: Int64
    /// Manifests it lists, whether they are here or not.
    package let manifests: [Digest]
    /// Blobs it needs, and those that are here although it does not.
    package let blobs: [Descriptor]

    package struct Descriptor: Sendable, Hashable {
        package let digest: Digest
        package let size: Int64
    }
}

extension RegistryStore {
    /// A manifest and those below it that are here and may be read; empty when it is not.
    package func contents(below root: Digest, in name: RepositoryName, of registry: RegistryID) async throws -> [ManifestContents] {
        try await self.database.read { session in
            guard let repository = try Self.repository(name, in: registry, session),
                try !Self.locks(of: .repository(name), repository, session).contains(.read)
            else { return [] }
            var found: [ManifestContents] = []
            var seen: Set<Digest> = [root]
            var next = [root]
            while let digest = next.popLast() {
                guard
                    let row = try session.row(
                        "SELECT size, locks FROM manifest WHERE repository = ? AND digest = ?", .integer(repository), SQLValue(digest)),
                    !ImageLocks(rawValue: row.integer(1)).contains(.read)
                else { continue }
                let entries = try session.rows(
                    """
                    SELECT kind, digest, coalesce((SELECT size FROM blob WHERE kind = 2 AND blob.digest = entry.digest), size)
                    FROM manifest_entry AS entry WHERE repository = ?1 AND manifest = ?2 AND (kind < 2 OR EXISTS (
                        SELECT 1 FROM repository_blob AS link WHERE link.repository = ?1 AND link.digest = entry.digest))
                    """, .integer(repository), SQLValue(digest))
                let manifests = try entries.filter { $0.integer(0) == 1 }.map { try Digest($0.text(1)) }
                found.append(
                    ManifestContents(
                        digest: digest, size: row.integer(0), manifests: manifests,
                        blobs: try entries.filter { $0.integer(0) != 1 }.map {
                            ManifestContents.Descriptor(digest: try Digest($0.text(1)), size: $0.integer(2))
                        }))
                next += manifests.filter { seen.insert($0).inserted }
            }
            return found
        }
    }
}
