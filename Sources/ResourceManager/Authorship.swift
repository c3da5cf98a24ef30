// Who made a resource and who changed it last: `systemData` of everything that has an id, written in the transaction of the change.

internal import HTTPServing
internal import Identity
internal import JSON
internal import Persistence

/// What is known of the hands a resource has gone through; nothing is for what was made before this was kept.
struct Authorship: Sendable, Hashable {
    /// Somebody as resources name them: an application by its id, a user by the account's name.
    struct Author: Sendable, Hashable {
        let name: String
        /// `User`, `Application` or `ManagedIdentity`.
        let kind: String
    }

    var creator: Author?
    var modifier: Author?
    /// Milliseconds since 1970.
    var modified: Int64?

    static let migration = Migration(
        "resource-6-authorship",
        [
            """
            CREATE TABLE authorship (
                key TEXT PRIMARY KEY, creator TEXT, creator_kind TEXT, modifier TEXT NOT NULL, modifier_kind TEXT NOT NULL,
                modified INTEGER NOT NULL) WITHOUT ROWID
            """,
            // What is deleted and made anew has another creator, whoever deletes it and by whatever way.
            """
            CREATE TRIGGER authorship_resource AFTER DELETE ON resource
            BEGIN DELETE FROM authorship WHERE key = OLD.key OR (key > OLD.key || '/' AND key < OLD.key || '0'); END
            """,
            trigger("token", "tokens"), trigger("scope_map", "scopemaps"), trigger("connected_registry", "connectedregistries"),
        ], isAdditive: true)

    private static func trigger(_ table: String, _ kind: String) -> String {
        """
        CREATE TRIGGER authorship_\(table) AFTER DELETE ON \(table)
        BEGIN
            DELETE FROM authorship
                WHERE key = (SELECT key FROM resource WHERE registry = OLD.registry) || '/\(kind)/' || lower(OLD.name);
        END
        """
    }

    /// Notes who changes a resource now.
    ///
    /// - Parameter isNew: whether the change makes it. Of what was there already the creator stays as unknown as it is.
    static func sign(_ key: String, by principal: Principal, isNew: Bool, now: Int64, _ session: any SQLWriter) throws {
        let kind = try principal.kind == .user ? "User" : Directory.kind(ofServicePrincipal: principal.objectID, session).rawValue
        let creator: SQLValue = isNew ? SQLValue(principal.name) : .null
        try session.execute(
            """
            INSERT INTO authorship (key, creator, creator_kind, modifier, modifier_kind, modified) VALUES (?, ?, ?, ?, ?, ?)
            ON CONFLICT (key) DO UPDATE SET modifier = excluded.modifier, modifier_kind = excluded.modifier_kind,
                modified = excluded.modified
            """, SQLValue(key), creator, isNew ? SQLValue(kind) : .null, SQLValue(principal.name), SQLValue(kind), .integer(now))
    }

    static func forget(_ key: String, _ session: any SQLWriter) throws {
        try session.execute("DELETE FROM authorship WHERE key = ?", SQLValue(key))
    }

    private static let select = "SELECT creator, creator_kind, modifier, modifier_kind, modified, key FROM authorship"

    private static func decode(_ row: SQLRow) -> Authorship {
        Authorship(
            creator: row.optionalText(0).map { Author(name: $0, kind: row.optionalText(1) ?? "Application") },
            modifier: Author(name: row.text(2), kind: row.text(3)), modified: row.integer(4))
    }

    static func find(_ key: String, _ session: any SQLReader) throws -> Authorship? {
        try session.row("\(self.select) WHERE key = ?", SQLValue(key)).map(self.decode)
    }

    /// Those of everything right below a key, such as all tokens of a registry.
    static func all(below prefix: String, _ session: any SQLReader) throws -> [String: Authorship] {
        let rows = try session.rows("\(self.select) WHERE key > ?1 || '/' AND key < ?1 || '0'", SQLValue(prefix))
        return Dictionary(rows.map { ($0.text(5), self.decode($0)) }) { first, _ in first }
    }

    /// The member of an answer: what is not known is left out.
    ///
    /// - Parameters:
    ///   - created: when it was made, which every resource knows.
    ///   - updated: when it was changed last, where the resource itself knows.
    func value(created: Int64, updated: Int64?) -> JSONValue {
        var value: JSONValue = ["createdAt": .string(Timestamp.text(milliseconds: created))]
        if let creator {
            value["createdBy"] = .string(creator.name)
            value["createdByType"] = .string(creator.kind)
        }
        if let modifier {
            value["lastModifiedBy"] = .string(modifier.name)
            value["lastModifiedByType"] = .string(modifier.kind)
        }
        if let modified = self.modified ?? updated { value["lastModifiedAt"] = .string(Timestamp.text(milliseconds: modified)) }
        return value
    }
}

extension ResourceOperations {
    /// What a store is to do in the transaction of a change by this call.
    func signature(_ call: Call, on id: ResourceID, isNew: Bool) -> @Sendable (any SQLWriter) throws -> Void {
        self.signature(call, onKey: id.key, isNew: isNew)
    }

    func signature(_ call: Call, onKey key: String, isNew: Bool) -> @Sendable (any SQLWriter) throws -> Void {
        let (principal, now) = (call.principal, self.services.clock.milliseconds())
        return { try Authorship.sign(key, by: principal, isNew: isNew, now: now, $0) }
    }

    /// Adds `systemData` to an answer about one resource.
    func signed(_ value: JSONValue, created: Int64, updated: Int64? = nil) async throws -> JSONValue {
        let key = value["id"]?.stringValue?.lowercased() ?? ""
        let known = try await self.resources.database.read { try Authorship.find(key, $0) }
        var value = value
        value["systemData"] = (known ?? Authorship()).value(created: created, updated: updated)
        return value
    }

    /// Adds `systemData` to those of one kind in a registry.
    func signed(
        _ values: [(value: JSONValue, created: Int64, updated: Int64?)], _ kind: ResourceID.ChildKind, in registry: RegistryInCall
    ) async throws -> [JSONValue] {
        let prefix = "\(registry.id.key)/\(kind.rawValue.lowercased())"
        let known = try await self.resources.database.read { try Authorship.all(below: prefix, $0) }
        return values.map { item in
            var value = item.value
            value["systemData"] = (known[value["id"]?.stringValue?.lowercased() ?? ""] ?? Authorship()).value(
                created: item.created, updated: item.updated)
            return value
        }
    }
}
