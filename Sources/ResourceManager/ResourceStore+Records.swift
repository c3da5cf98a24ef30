// Identities and clusters: records in a group, with principals of their own in the directory.

internal import Identity
internal import Persistence

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

typealias StoredRecord = StoredResource<RecordDocument>

extension ResourceStore {
    func record(_ id: ResourceID) async throws -> StoredRecord? {
        guard let kind = id.recordKind else { return nil }
        return try await self.find(id, kind)
    }

    /// Records of a kind in a group or a whole subscription; of every kind when none is named.
    func records(_ kind: ResourceKind? = nil, in scope: ResourceID) async throws -> [StoredRecord] {
        let kinds = kind.map { [$0] } ?? ResourceKind.records
        return try await self.database.read { session in
            try kinds.flatMap { kind -> [StoredRecord] in
                try session.rows(
                    "\(Self.select) WHERE type = ? AND (parent = ? OR substr(parent, 1, length(?) + 1) = ? || '/') ORDER BY key",
                    SQLValue(kind.rawValue), SQLValue(scope.key), SQLValue(scope.key), SQLValue(scope.key)
                ).map(Self.decode)
            }
        }
    }

    /// Stores a record.
    ///
    /// - Parameters:
    ///   - prepare: runs in the same transaction: what it makes in the directory is there with the record or not at all.
    ///   - also: runs behind it.
    func put(
        _ document: RecordDocument, as id: ResourceID, also: @escaping @Sendable (any SQLWriter) throws -> Void,
        prepare: @escaping @Sendable (inout RecordDocument, any SQLWriter) throws -> Void = { _, _ in }
    ) async throws -> StoredRecord {
        let now = self.clock.milliseconds()
        try await self.database.write { session in
            var document = document
            try prepare(&document, session)
            try Self.write(
                String(decoding: try JSONEncoder().encode(document), as: UTF8.self), as: id, registry: nil, now: now, session)
            try also(session)
        }
        guard let stored = try await self.record(id) else { throw Self.gone(id) }
        return stored
    }

    /// Deletes a record with its principals, their roles, roles at it, and what it keeps secret.
    ///
    /// - Parameter others: records that belong to this one.
    @discardableResult
    func deleteRecord(_ id: ResourceID, with others: [ResourceID] = []) async throws -> Bool {
        try await self.database.write { session in
            var found = false
            for id in [id] + others {
                let count = try session.execute("DELETE FROM resource WHERE key = ?", SQLValue(id.key))
                found = found || count > 0
                try RoleStore.removeAssignments(within: id.key, session)
                try Directory.removeManagedIdentities(ofResource: id.description, session)
                try session.execute("DELETE FROM resource_secret WHERE key = ?", SQLValue(id.key))
            }
            return found
        }
    }

    // MARK: Secrets

    /// Something about a resource that is told only to those who may have it, and stands in no document.
    func secret(_ name: String, of id: ResourceID) async throws -> [UInt8]? {
        try await self.database.read {
            try $0.row("SELECT content FROM resource_secret WHERE key = ? AND name = ?", SQLValue(id.key), SQLValue(name)).map {
                $0.blob(0)
            }
        }
    }

    func keep(secret content: [UInt8], _ name: String, of id: ResourceID) async throws {
        let now = self.clock.milliseconds()
        _ = try await self.database.write {
            try $0.execute(
                "INSERT OR REPLACE INTO resource_secret (key, name, content, created) VALUES (?, ?, ?, ?)", SQLValue(id.key),
                SQLValue(name), .blob(content), .integer(now))
        }
    }

    // MARK: Subscriptions

    /// Makes a subscription, of which its creator is Owner.
    func createSubscription(_ document: SubscriptionDocument, owner: Principal) async throws -> StoredResource<SubscriptionDocument> {
        let now = self.clock.milliseconds()
        let id = ResourceID(subscription: Directory.identifier())
        try await self.database.write { session in
            try Self.write(
                String(decoding: try JSONEncoder().encode(document), as: UTF8.self), as: id, registry: nil, now: now, session)
            try RoleStore.insert(
                name: Directory.identifier(), scope: id.description, principal: owner.objectID, type: owner.kind.rawValue, role: .owner,
                by: owner.objectID, now: now, session)
        }
        guard let stored = try await self.subscription(id) else { throw Self.gone(id) }
        return stored
    }

    func update(_ document: SubscriptionDocument, as id: ResourceID) async throws {
        let now = self.clock.milliseconds()
        try await self.database.write { session in
            try Self.write(
                String(decoding: try JSONEncoder().encode(document), as: UTF8.self), as: id, registry: nil, now: now, session)
        }
    }

    /// Deletes an empty subscription with the roles in it.
    func deleteSubscription(_ id: ResourceID) async throws {
        try await self.database.write { session in
            guard try session.row("SELECT 1 FROM resource WHERE parent = ?", SQLValue(id.key)) == nil else {
                throw ResourceError(
                    .conflict, .conflict, "The subscription has resource groups. Delete them first: nothing is deleted with it.")
            }
            try session.execute("DELETE FROM resource WHERE key = ?", SQLValue(id.key))
            try RoleStore.removeAssignments(within: id.key, session)
        }
    }
}
