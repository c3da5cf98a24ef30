// Groups. A member of a group that is a member of another is a member of both.

internal import Persistence

extension Directory {
    static let selectGroup = "SELECT object_id, display_name, mail_nickname, description, created FROM directory_group"

    static func group(_ row: SQLRow) -> DirectoryGroup {
        DirectoryGroup(
            objectID: row.text(0), displayName: row.text(1), mailNickname: row.text(2), text: row.optionalText(3), created: row.integer(4))
    }

    /// Members of one group, at most.
    package static let maximumMembers = 10_000

    /// The object itself and every group it is in, directly or through other groups. Circles end by themselves.
    static func identities(of objectID: String, _ session: any SQLReader) throws -> Set<String> {
        Set(
            try session.rows(
                """
                WITH RECURSIVE identity (id) AS (
                    SELECT ? UNION SELECT group_id FROM directory_member JOIN identity ON member_id = identity.id)
                SELECT id FROM identity
                """, SQLValue(objectID)
            ).map { $0.text(0) })
    }

    package func createGroup(_ displayName: String, mailNickname: String, text: String?, owner: String?) async throws -> DirectoryGroup {
        let group = DirectoryGroup(
            objectID: Self.identifier(), displayName: displayName, mailNickname: mailNickname, text: text,
            created: self.clock.milliseconds())
        try await self.database.write { session in
            try session.execute(
                "INSERT INTO directory_group (object_id, display_name, mail_nickname, description, created) VALUES (?, ?, ?, ?, ?)",
                SQLValue(group.objectID), SQLValue(displayName), SQLValue(mailNickname), SQLValue(text), .integer(group.created))
            try Self.own(group.objectID, owner, session)
        }
        return group
    }

    package func group(_ objectID: String) async throws -> DirectoryGroup? {
        try await self.database.read {
            try $0.row("\(Self.selectGroup) WHERE object_id = ?", SQLValue(objectID.lowercased())).map(Self.group)
        }
    }

    package func updateGroup(_ objectID: String, displayName: String?, text: String?) async throws {
        try await self.database.write { session in
            guard
                try session.execute(
                    "UPDATE directory_group SET display_name = COALESCE(?, display_name), description = COALESCE(?, description) WHERE object_id = ?",
                    SQLValue(displayName), SQLValue(text), SQLValue(objectID)) > 0
            else { throw Self.notFound(objectID) }
        }
    }

    /// Deletes a group with its memberships and roles; its members stay.
    package func deleteGroup(_ objectID: String) async throws {
        try await self.database.write { session in
            try Self.forget(objectID, session)
            guard try session.execute("DELETE FROM directory_group WHERE object_id = ?", SQLValue(objectID)) > 0 else {
                throw Self.notFound(objectID)
            }
        }
    }

    package func members(of group: String) async throws -> [DirectoryObject] {
        try await self.database.read { session in
            try session.rows("SELECT member_id FROM directory_member WHERE group_id = ? ORDER BY member_id", SQLValue(group))
                .compactMap { try Self.find($0.text(0), session) }
        }
    }

    /// - Throws: ``IdentityError`` with code `notFound`, `alreadyExists` or `limitReached`.
    package func addMember(_ member: String, to group: String) async throws {
        try await self.database.write { session in
            guard try session.row("SELECT 1 FROM directory_group WHERE object_id = ?", SQLValue(group)) != nil else {
                throw Self.notFound(group)
            }
            guard let object = try Self.find(member, session), object.principalType != nil else { throw Self.notFound(member) }
            guard member != group else { throw IdentityError(.invalidName, "A group cannot be a member of itself (property members)") }
            let count = try session.row("SELECT COUNT(*) FROM directory_member WHERE group_id = ?", SQLValue(group))?.integer(0) ?? 0
            guard count < Self.maximumMembers else {
                throw IdentityError(.limitReached, "The group has \(count) members, which is the limit of \(Self.maximumMembers)")
            }
            guard
                try session.execute(
                    "INSERT OR IGNORE INTO directory_member (group_id, member_id) VALUES (?, ?)", SQLValue(group), SQLValue(member)) > 0
            else {
                throw IdentityError(
                    .alreadyExists,
                    "One or more added object references already exist for the following modified properties: 'members'")
            }
        }
    }

    package func removeMember(_ member: String, from group: String) async throws {
        try await self.database.write { session in
            guard
                try session.execute("DELETE FROM directory_member WHERE group_id = ? AND member_id = ?", SQLValue(group), SQLValue(member))
                    > 0
            else { throw Self.notFound(member) }
        }
    }

    /// Every group an object is in, directly or through other groups.
    package func memberGroups(of objectID: String) async throws -> [String] {
        try await self.database.read { try Self.identities(of: objectID, $0).subtracting([objectID]).sorted() }
    }
}
