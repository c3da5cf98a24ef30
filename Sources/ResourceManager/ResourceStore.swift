// Resources as documents by id, in one table whatever their kind.

internal import HTTPServing
package import Identity
package import Persistence
package import RegistryCore

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// A stored resource.
package struct StoredResource<Document: Codable & Sendable>: Sendable {
    package let id: ResourceID
    package var document: Document
    /// Where a registry's content is.
    package let registry: RegistryID?
    /// Milliseconds since 1970.
    package let created: Int64
    package let updated: Int64
}

/// Subscriptions, resource groups and registries.
package final class ResourceStore: Sendable {
    let database: any Database
    private let registries: RegistryStore
    private let identities: IdentityStore
    let lookup: RegistryLookup
    let clock: WallClock

    package init(
        database: any Database, registries: RegistryStore, identities: IdentityStore, lookup: RegistryLookup, clock: WallClock = .system
    ) {
        self.database = database
        self.registries = registries
        self.identities = identities
        self.lookup = lookup
        self.clock = clock
    }

    /// Fills the lookup of the data plane. To be called before the first request.
    package func load() async throws {
        self.lookup.replace(with: try await self.allRegistries())
    }

    // MARK: Reading

    static let select = "SELECT id, document, registry, created, updated FROM resource"

    static func decode<Document>(_ row: SQLRow) throws -> StoredResource<Document> {
        guard let id = ResourceID(row.text(0)) else {
            throw ResourceError(.internalServerError, .internalError, "The stored id '\(row.text(0))' is not one this version knows.")
        }
        return StoredResource(
            id: id, document: try JSONDecoder().decode(Document.self, from: Data(row.text(1).utf8)),
            registry: row.optionalInteger(2).map { RegistryID($0) }, created: row.integer(3), updated: row.integer(4))
    }

    func find<Document: Codable & Sendable>(_ id: ResourceID, _ kind: ResourceKind) async throws -> StoredResource<Document>? {
        try await self.database.read {
            try $0.row("\(Self.select) WHERE key = ? AND type = ?", SQLValue(id.key), SQLValue(kind.rawValue)).map(Self.decode)
        }
    }

    func list<Document: Codable & Sendable>(_ kind: ResourceKind, in parent: ResourceID?) async throws -> [StoredResource<Document>] {
        try await self.database.read { session in
            try session.rows(
                "\(Self.select) WHERE type = ? AND parent = ? ORDER BY key", SQLValue(kind.rawValue), SQLValue(parent?.key ?? "")
            )
            .map(Self.decode)
        }
    }

    package func subscriptions() async throws -> [StoredResource<SubscriptionDocument>] { try await self.list(.subscription, in: nil) }

    package func subscription(_ id: ResourceID) async throws -> StoredResource<SubscriptionDocument>? {
        try await self.find(id, .subscription)
    }

    package func groups(in subscription: ResourceID) async throws -> [StoredResource<GroupDocument>] {
        try await self.list(.group, in: subscription)
    }

    package func group(_ id: ResourceID) async throws -> StoredResource<GroupDocument>? { try await self.find(id, .group) }

    package func registry(_ id: ResourceID) async throws -> StoredResource<RegistryDocument>? { try await self.find(id, .registry) }

    /// Registries of a group, or of a whole subscription.
    package func registries(in scope: ResourceID) async throws -> [StoredResource<RegistryDocument>] {
        if scope.group != nil { return try await self.list(.registry, in: scope) }
        return try await self.allRegistries().filter { $0.id.subscription == scope.subscription }
    }

    /// The registries of this server.
    package func allRegistries() async throws -> [StoredResource<RegistryDocument>] {
        try await self.database.read {
            try $0.rows("\(Self.select) WHERE type = ? ORDER BY key", SQLValue(ResourceKind.registry.rawValue)).map(Self.decode)
        }
    }

    // MARK: Groups

    /// Creates or replaces a resource group.
    package func put(_ document: GroupDocument, as id: ResourceID) async throws -> (group: StoredResource<GroupDocument>, isNew: Bool) {
        let isNew = try await self.group(id) == nil
        try await self.write(document, as: id, registry: nil)
        guard let stored = try await self.group(id) else { throw Self.gone(id) }
        return (stored, isNew)
    }

    /// Deletes a resource group and what is in it.
    ///
    /// - Returns: whether there was one.
    package func deleteGroup(_ id: ResourceID) async throws -> Bool {
        guard try await self.group(id) != nil else { return false }
        for registry in try await self.registries(in: id) { try await self.deleteRegistry(registry.id) }
        for record in try await self.records(in: id) { try await self.deleteRecord(record.id) }
        try await self.database.write { try Self.remove(id, $0) }
        return true
    }

    // MARK: Registries

    /// Why a registry of that name cannot be created; `nil` when it can.
    package func refusal(ofNew name: String) async throws -> ResourceError? {
        guard Self.isValidRegistryName(name) else {
            return ResourceError(
                .badRequest, .invalidName,
                "The registry name '\(name.prefix(60))' is not valid: use 5 to 50 lower-case letters and digits.", target: "name")
        }
        let existing = try await self.allRegistries()
        if existing.contains(where: { $0.id.name.lowercased() == name.lowercased() }) {
            return ResourceError(.conflict, .nameInUse, "The registry name '\(name)' is already in use. Choose another.", target: "name")
        }
        if self.lookup.names.suffix == nil, let only = existing.first {
            return ResourceError(
                .conflict, .singleRegistry,
                "This server has no names for a second registry beside '\(only.id.name)': it answers on the bare address "
                    + "\(self.lookup.names.publicAddress). "
                    + "Start it with --suffix HOST[:PORT], so that every registry gets a name of its own.")
        }
        return nil
    }

    /// 5 to 50 lower-case letters and digits; `az` itself cannot address any other.
    package static func isValidRegistryName(_ name: String) -> Bool {
        (5...50).contains(name.utf8.count) && name.utf8.allSatisfy { (0x61...0x7a).contains($0) || (0x30...0x39).contains($0) }
    }

    /// Creates a registry with its content's place and its system scope maps.
    package func createRegistry(_ document: RegistryDocument, as id: ResourceID) async throws -> StoredResource<RegistryDocument> {
        let name = id.name
        if let refusal = try await self.refusal(ofNew: name) { throw refusal }
        // What an interrupted deletion or creation has left must not come back under a new registry.
        try await self.registries.deleteRegistry(self.registries.registry(named: name))
        let registry = try await self.registries.registry(named: name)
        try await self.identities.createSystemScopeMaps(in: registry)
        // The resource comes last: what it names is there.
        try await self.write(registry: document, as: id, content: registry)
        return try await self.reload(id)
    }

    package func updateRegistry(_ document: RegistryDocument, as id: ResourceID) async throws -> StoredResource<RegistryDocument> {
        try await self.write(registry: document, as: id, content: nil)
        let stored = try await self.reload(id)
        // Answers kept in memory may be such as are no longer given.
        self.registries.forgetAnswers()
        return stored
    }

    /// Deletes a registry with its content, tokens, scope maps and connected registries.
    ///
    /// - Returns: whether there was one.
    @discardableResult
    package func deleteRegistry(_ id: ResourceID) async throws -> Bool {
        guard let stored = try await self.registry(id) else { return false }
        // Nothing is asked of it while it goes.
        self.lookup.remove(stored.id.name)
        do {
            // At once: content whose registry is gone would be kept for ever, named by nobody.
            try await self.database.write { session in
                try Self.remove(id, session)
                if let registry = stored.registry { try RegistryStore.delete(registry: registry, session) }
            }
        } catch {
            self.lookup.put(stored)
            throw error
        }
        self.registries.registryDeleted()
        return true
    }

    private func reload(_ id: ResourceID) async throws -> StoredResource<RegistryDocument> {
        guard let stored = try await self.registry(id) else { throw Self.gone(id) }
        self.lookup.put(stored)
        return stored
    }

    // MARK: Writing

    private func write(_ document: some Codable & Sendable, as id: ResourceID, registry: RegistryID?) async throws {
        let now = self.clock.milliseconds()
        let text = String(decoding: try JSONEncoder().encode(document), as: UTF8.self)
        _ = try await self.database.write { session in
            try Self.write(text, as: id, registry: registry, now: now, session)
        }
    }

    /// Stores a registry's document and, in the same transaction, that policy which deletions look at in theirs.
    private func write(registry document: RegistryDocument, as id: ResourceID, content: RegistryID?) async throws {
        let now = self.clock.milliseconds()
        let policy = document.softDelete
        try await self.database.write { session in
            var document = document
            // Its own principal is there with the document that names it, and goes with it.
            if document.identity?.hasOwn != true {
                try Directory.removeManagedIdentities(ofResource: id.description, session)
            } else if document.identity?.principalID == nil {
                document.identity?.principalID = try Directory.createManagedIdentity(
                    id.name, resource: id.description, now: now, session
                ).objectID
            }
            let text = String(decoding: try JSONEncoder().encode(document), as: UTF8.self)
            try Self.write(text, as: id, registry: content, now: now, session)
            guard let row = try session.row("SELECT registry FROM resource WHERE key = ?", SQLValue(id.key)) else { return }
            try SoftDelete.set(isOn: policy.isOn, age: policy.age, of: RegistryID(row.integer(0)), session)
        }
    }

    static func write(_ document: String, as id: ResourceID, registry: RegistryID?, now: Int64, _ session: any SQLWriter) throws {
        try session.execute(
            """
            INSERT INTO resource (key, id, type, parent, name, document, registry, created, updated) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
            ON CONFLICT (key) DO UPDATE SET document = excluded.document, updated = excluded.updated
            """, SQLValue(id.key), SQLValue(id.description), SQLValue(id.type), SQLValue(id.parent?.key ?? ""), SQLValue(id.name),
            SQLValue(document), SQLValue(registry?.value), .integer(now), .integer(now))
    }

    private static func remove(_ id: ResourceID, _ session: any SQLWriter) throws {
        try session.execute("DELETE FROM resource WHERE key = ?", SQLValue(id.key))
        try Directory.removeManagedIdentities(ofResource: id.description, session)
        for part in ResourceKind.parts {
            try session.execute("DELETE FROM resource WHERE type = ? AND parent = ?", SQLValue(part.rawValue), SQLValue(id.key))
        }
        try RoleStore.removeAssignments(within: id.key, session)
    }

    static func gone(_ id: ResourceID) -> ResourceError {
        ResourceError(.notFound, .resourceNotFound, "The resource '\(id)' was removed while it was changed. Try again.")
    }
}
