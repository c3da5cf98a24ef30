// What tags named at the parent when somebody pulled them here before they were synchronised. Such a note is no tag: it is listed nowhere,
// is part of no hash and moves nothing; it keeps what was fetched from being collected, and answers while the parent is away. See decision 0070.

package import OCI
package import Persistence

/// The notes within a caller's transaction.
enum ProvisionalTags {
    static let migration = Migration(
        "registry-10-provisional-tags",
        [
            """
            CREATE TABLE provisional_tag (
                repository INTEGER NOT NULL, name TEXT NOT NULL, digest TEXT NOT NULL, seen INTEGER NOT NULL,
                PRIMARY KEY (repository, name),
                FOREIGN KEY (repository, digest) REFERENCES manifest ON DELETE CASCADE) WITHOUT ROWID
            """,
            "CREATE INDEX provisional_tag_digest ON provisional_tag (repository, digest)",
            // Whoever sets the tag, for good: what it was thought to be is over.
            """
            CREATE TRIGGER provisional_tag_set AFTER INSERT ON tag BEGIN
                DELETE FROM provisional_tag WHERE repository = new.repository AND name = new.name; END
            """,
        ])

    /// The tag is gone, or never was, as far as both ends know.
    static func forget(_ tag: Tag, in repository: Int64, _ session: any SQLWriter) throws {
        try session.execute("DELETE FROM provisional_tag WHERE repository = ? AND name = ?", .integer(repository), SQLValue(tag))
    }
}

extension RegistryStore {
    /// Notes what a tag names at the parent, where there is no such tag here and the manifest is.
    package func noteProvisional(_ tag: Tag, at digest: Digest, in name: RepositoryName, of registry: RegistryID) async throws {
        let now = self.clock.milliseconds()
        try await self.database.write { session in
            guard let repository = try Self.repository(name, in: registry, session),
                try session.row("SELECT 1 FROM tag WHERE repository = ? AND name = ?", .integer(repository), SQLValue(tag)) == nil,
                try session.row("SELECT 1 FROM manifest WHERE repository = ? AND digest = ?", .integer(repository), SQLValue(digest)) != nil
            else { return }
            try session.execute(
                """
                INSERT INTO provisional_tag (repository, name, digest, seen) VALUES (?, ?, ?, ?)
                ON CONFLICT (repository, name) DO UPDATE SET digest = excluded.digest, seen = excluded.seen
                """, .integer(repository), SQLValue(tag), SQLValue(digest), .integer(now))
        }
    }

    /// What a tag was last seen to name at the parent; `nil` where nobody has asked, or where it has been synchronised since.
    package func provisional(_ tag: Tag, in name: RepositoryName, of registry: RegistryID) async throws -> Digest? {
        try await self.database.read { session in
            guard let repository = try Self.repository(name, in: registry, session) else { return nil }
            return try session.row(
                "SELECT digest FROM provisional_tag WHERE repository = ? AND name = ?", .integer(repository), SQLValue(tag)
            ).map { try Digest($0.text(0)) }
        }
    }

    /// Forgets what was seen before whole state was compared: what there was has been set by that, and what is left is no more.
    package func forgetProvisional(seenBefore time: Int64, in registry: RegistryID) async throws {
        _ = try await self.database.write { session in
            try session.execute(
                "DELETE FROM provisional_tag WHERE seen < ? AND repository IN (SELECT id FROM repository WHERE registry = ?)",
                .integer(time), .integer(registry.value))
        }
    }

    /// Whether clients here have changed what a reference names and the parent has not judged it yet.
    package func isUnsent(_ reference: Reference, in name: RepositoryName, of registry: RegistryID) async throws -> Bool {
        try await self.database.read { session in
            switch reference {
            case .tag(let tag): try Outbox.isPending(.tag(tag), in: name, of: registry, session)
            case .digest(let digest): try Outbox.isPending(.manifest(digest), in: name, of: registry, session)
            }
        }
    }
}
