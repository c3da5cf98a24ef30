// Connected registries over the database: configuration, activation and reports.

package import GatewayProtocol
package import Identity
package import Persistence
package import RegistryCore
internal import Schedule

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// Connected registries of every registry of this server.
package final class ConnectedRegistryStore: SyncLeaseAuthority {
    let database: any Database
    let clock: WallClock
    /// Moves when settings change, so that children's long polls look again.
    let activity: Activity
    /// Moves before ``activity`` does, and only when settings or leases may have changed; `nil` where nobody tells.
    let settings: Activity?
    /// Moves when one of them has something to tell that an operator would want to see.
    package let reports = Activity()
    let parents = ParentNames()
    let signs = SignsOfLife()

    /// The connected registry whose children these are; `nil` at the root.
    package let owner: String?

    private let maximumClientTokens: Int

    /// - Parameters:
    ///   - owner: the connected registry that is the parent here, where this is not the root.
    ///   - maximumClientTokens: that may be attached to one connected registry.
    ///   - settings: also moved whenever tokens or scope maps change, before `activity` is: long polls then look at settings only for that.
    package init(
        database: any Database, activity: Activity, owner: String? = nil, clock: WallClock = .system,
        maximumClientTokens: Int = ConnectedRegistryConfiguration.maximumClientTokens, settings: Activity? = nil
    ) {
        self.settings = settings
        self.maximumClientTokens = maximumClientTokens
        self.owner = owner
        self.database = database
        self.activity = activity
        self.clock = clock
    }

    static let select =
        "SELECT name, sync_token, configuration, created, instance, epoch, report, last_activity, resync, deactivations, plan FROM connected_registry"

    static func decode(_ row: SQLRow) throws -> ConnectedRegistry {
        let decoder = JSONDecoder()
        return ConnectedRegistry(
            name: row.text(0), syncToken: row.text(1),
            configuration: try decoder.decode(ConnectedRegistryConfiguration.self, from: Data(row.text(2).utf8)), created: row.integer(3),
            instance: row.optionalText(4), epoch: row.integer(5).within(MessageBounds.counts),
            report: try row.optionalText(6).map { try decoder.decode(ConnectedRegistry.Report.self, from: Data($0.utf8)) },
            lastActivity: row.optionalInteger(7)?.within(MessageBounds.times), resync: row.optionalInteger(8),
            deactivations: row.integer(9), plan: row.optionalInteger(10))
    }

    static func encode(_ value: some Encodable) throws -> String {
        String(decoding: try JSONEncoder().encode(value), as: UTF8.self)
    }

    static func find(_ name: String, in registry: RegistryID, _ session: any SQLReader) throws -> ConnectedRegistry? {
        try session.row("\(self.select) WHERE registry = ? AND name = ?", .integer(registry.value), SQLValue(name)).map(self.decode)
    }

    // MARK: Configuration

    package func list(in registry: RegistryID) async throws -> [ConnectedRegistry] {
        try await self.database.read {
            try $0.rows("\(Self.select) WHERE registry = ? ORDER BY name", .integer(registry.value)).map(Self.decode)
        }.map { self.signs.added(to: $0, in: registry) }
    }

    package func find(_ name: String, in registry: RegistryID) async throws -> ConnectedRegistry? {
        try await self.database.read { try Self.find(name, in: registry, $0) }.map { self.signs.added(to: $0, in: registry) }
    }

    /// The connected registry whose sync token is `token`.
    package func find(syncToken token: String, in registry: RegistryID) async throws -> ConnectedRegistry? {
        try await self.database.read {
            try $0.row("\(Self.select) WHERE registry = ? AND sync_token = ?", .integer(registry.value), SQLValue(token)).map(Self.decode)
        }.map { self.signs.added(to: $0, in: registry) }
    }

    /// Creates a connected registry or changes its configuration.
    ///
    /// Sync token, parent and mode are settled at creation and cannot be changed afterwards.
    /// - Returns: the connected registry, and whether it was created.
    /// - Throws: ``ConnectedRegistryError`` naming the field: name (C2), unknown tokens or parent, schedule and window,
    ///   a sync token that serves another connected registry or is a client token, a ReadWrite child of a ReadOnly parent.
    /// - Parameter also: runs in the same transaction.
    @discardableResult
    package func put(
        _ name: String, syncToken: String, configuration: ConnectedRegistryConfiguration, in registry: RegistryID,
        also: @escaping @Sendable (any SQLWriter) throws -> Void = { _ in }
    ) async throws -> (connectedRegistry: ConnectedRegistry, isNew: Bool) {
        guard ConnectedRegistry.isValidName(name) else {
            throw ConnectedRegistryError(
                .invalidName, field: "name",
                "connected registry name '\(name.prefix(60))' is not valid: use 5 to 40 characters, a letter first, then letters, digits, '-' and '_'"
            )
        }
        try configuration.validate(maximumClientTokens: self.maximumClientTokens)
        let now = self.clock.milliseconds()
        let result = try await self.database.write { session -> (ConnectedRegistry, Bool) in
            let existing = try Self.find(name, in: registry, session)
            try Self.check(name, syncToken: syncToken, configuration, existing: existing, in: registry, session)
            try session.execute(
                """
                INSERT INTO connected_registry (registry, name, sync_token, configuration, created) VALUES (?, ?, ?, ?, ?)
                ON CONFLICT (registry, name) DO UPDATE SET configuration = excluded.configuration, sync_token = excluded.sync_token
                """, .integer(registry.value), SQLValue(name), SQLValue(syncToken), SQLValue(try Self.encode(configuration)), .integer(now))
            try also(session)
            guard let stored = try Self.find(name, in: registry, session) else {
                throw ConnectedRegistryError(.notFound, "connected registry '\(name)' is gone")
            }
            return (stored, existing == nil)
        }
        self.parents.forget()
        self.settingsChanged()
        return (self.signs.added(to: result.0, in: registry), result.1)
    }

    private static func check(
        _ name: String, syncToken: String, _ configuration: ConnectedRegistryConfiguration, existing: ConnectedRegistry?,
        in registry: RegistryID,
        _ session: any SQLReader
    ) throws {
        func tokenExists(_ token: String) throws -> Bool {
            try session.row("SELECT 1 FROM token WHERE registry = ? AND name = ?", .integer(registry.value), SQLValue(token)) != nil
        }
        let tokenField = "properties.parent.syncProperties.tokenId"
        guard try configuration.identity != nil || tokenExists(syncToken) else {
            throw ConnectedRegistryError(
                .invalidField, field: tokenField, "sync token '\(syncToken)' is not in this registry; create it first")
        }
        if let existing {
            let changesToIdentity = configuration.identity != nil && existing.configuration.identity == nil
            guard existing.syncToken.lowercased() == syncToken.lowercased() || changesToIdentity else {
                throw ConnectedRegistryError(
                    .conflict, field: tokenField, "the sync token of connected registry '\(name)' cannot be changed")
            }
            if changesToIdentity { try self.requireUnused(existing, in: registry, session) }
            guard existing.configuration.mode == configuration.mode else {
                throw ConnectedRegistryError(
                    .conflict, field: "properties.mode", "the mode of connected registry '\(name)' cannot be changed")
            }
            guard existing.configuration.parent?.lowercased() == configuration.parent?.lowercased() else {
                throw ConnectedRegistryError(
                    .conflict, field: "properties.parent.id", "the parent of connected registry '\(name)' cannot be changed")
            }
        } else if let user = try session.row(
            "SELECT name FROM connected_registry WHERE registry = ? AND sync_token = ?", .integer(registry.value), SQLValue(syncToken))
        {
            throw ConnectedRegistryError(
                .conflict, field: tokenField,
                "sync token '\(syncToken)' already serves connected registry '\(user.text(0))'; each needs its own")
        }
        for token in configuration.clientTokens {
            guard try tokenExists(token) else {
                throw ConnectedRegistryError(
                    .invalidField, field: "properties.clientTokenIds", "client token '\(token)' is not in this registry; create it first")
            }
            guard token.lowercased() != syncToken.lowercased() else {
                throw ConnectedRegistryError(
                    .invalidField, field: "properties.clientTokenIds", "'\(token)' is the sync token and cannot be a client token too")
            }
        }
        if let parentName = configuration.parent {
            guard parentName.lowercased() != name.lowercased(), let parent = try self.find(parentName, in: registry, session) else {
                throw ConnectedRegistryError(
                    .invalidField, field: "properties.parent.id", "the parent connected registry '\(parentName)' could not be found")
            }
            guard parent.configuration.identity == nil else {
                throw ConnectedRegistryError(
                    .invalidField, field: "properties.parent.id",
                    "the connected registry '\(parent.name)' signs in with a managed identity and cannot have children")
            }
            guard parent.configuration.mode == .readWrite || configuration.mode == .readOnly else {
                throw ConnectedRegistryError(
                    .invalidField, field: "properties.mode",
                    "a ReadWrite connected registry cannot have the ReadOnly parent '\(parent.name)'")
            }
        }
    }

    /// One that changes to a managed identity cannot sign in with what it has, nor have children.
    private static func requireUnused(_ existing: ConnectedRegistry, in registry: RegistryID, _ session: any SQLReader) throws {
        let field = "properties.syncProperties.authType"
        guard !existing.isActive else {
            throw ConnectedRegistryError(
                .conflict, field: field,
                "connected registry '\(existing.name)' is activated: deactivate it before it changes to a managed identity")
        }
        for other in try session.rows("\(Self.select) WHERE registry = ?", .integer(registry.value)).map(Self.decode)
        where other.configuration.parent?.lowercased() == existing.name.lowercased() {
            throw ConnectedRegistryError(
                .conflict, field: field,
                "connected registry '\(existing.name)' is the parent of '\(other.name)', and one with a managed identity cannot have any")
        }
    }

    /// Removes a connected registry. Its tokens stay.
    ///
    /// - Returns: whether there was one.
    /// - Throws: ``ConnectedRegistryError`` with code `conflict` while it has children.
    @discardableResult
    package func delete(_ name: String, in registry: RegistryID) async throws -> Bool {
        let removed = try await self.database.write { session in
            for other in try session.rows("\(Self.select) WHERE registry = ?", .integer(registry.value)).map(Self.decode)
            where other.configuration.parent?.lowercased() == name.lowercased() {
                throw ConnectedRegistryError(
                    .conflict, "connected registry '\(name)' is the parent of '\(other.name)'; delete its children first")
            }
            // What it told goes with it.
            for table in ["site_event", "site_event_state"] {
                try session.execute(
                    "DELETE FROM \(table) WHERE registry = ? AND site = ?", .integer(registry.value), SQLValue(name))
            }
            // What was answered to it is nobody's any more.
            try session.execute("DELETE FROM proposal WHERE registry = ? AND child = ?", .integer(registry.value), SQLValue(name))
            return try session.execute(
                "DELETE FROM connected_registry WHERE registry = ? AND name = ?", .integer(registry.value), SQLValue(name)) > 0
        }
        self.parents.forget()
        self.signs.forget(name, in: registry)
        self.settingsChanged()
        return removed
    }

    /// Seconds for which changes are kept: as long as the most patient connected registry wants, and two days at least.
    package func longestMessageTTL() async throws -> Int64 {
        let all = try await self.database.read { try $0.rows(Self.select).map(Self.decode) }
        return Int64(all.map(\.configuration.messageTtl.seconds).reduce(MessageTTL.default.seconds, max))
    }

    /// Asks the connected registry to compare whole state: at once when it is there, else when it comes back.
    ///
    /// - Returns: `nil` when there is no such connected registry.
    package func resync(_ name: String, in registry: RegistryID) async throws -> ConnectedRegistry? {
        let now = self.clock.milliseconds()
        let result = try await self.database.write { session -> ConnectedRegistry? in
            // Two orders within one millisecond are still two.
            try session.execute(
                "UPDATE connected_registry SET resync = max(?, coalesce(resync, 0) + 1) WHERE registry = ? AND name = ?", .integer(now),
                .integer(registry.value), SQLValue(name))
            return try Self.find(name, in: registry, session)
        }
        self.settingsChanged()
        return result.map { self.signs.added(to: $0, in: registry) }
    }

    /// Wakes children whose settings may have changed (tokens, scope maps).
    package func settingsChanged() {
        self.settings?.signal()
        self.activity.signal()
    }

    // MARK: Activation

    /// Makes `instance` the active one, or confirms it.
    ///
    /// - Throws: ``LeaseRefusal``: `ALREADY_ACTIVATED` when another instance is active or the nonce is that of a copied
    ///   disk, `DEACTIVATED` when this instance was deactivated.
    package func activate(
        _ name: String, instance: String, nonce: String?, version: String, loginServer: String?, caPin: String? = nil,
        cursor: GatewayCursor? = nil, in registry: RegistryID
    ) async throws -> (connectedRegistry: ConnectedRegistry, nonce: String) {
        let now = self.clock.milliseconds()
        let offered = Secret.generate()
        defer {
            self.settings?.signal()
            self.reports.signal()
        }
        return try await self.database.write { session in
            guard let current = try Self.find(name, in: registry, session),
                let row = try session.row(
                    "SELECT \(LeaseNonces.columns), fenced FROM connected_registry WHERE registry = ? AND name = ?",
                    .integer(registry.value), SQLValue(name))
            else { throw Self.unknown(name) }
            if row.text(3).split(separator: "\n").contains(Substring(instance)) { throw Self.deactivated(name) }
            var report = current.report ?? ConnectedRegistry.Report(version: version, loginServer: loginServer, status: nil)
            report.version = version.cut(to: MessageBounds.name)
            report.loginServer = loginServer?.cut(to: MessageBounds.name)
            report.caPin = caPin
            var epoch = current.epoch
            var nonces = LeaseNonces(row)
            switch current.instance {
            case nil:
                epoch += 1
                nonces = LeaseNonces(confirmed: nil, offered: [offered])
            case instance:
                // Without any nonce the parent has been restored: the first to come is believed, as at the beginning.
                let isRestored = try nonces.isEmpty || Self.isAhead(cursor, session)
                guard isRestored || nonces.accept(nonce) else { throw Self.copied(name) }
                nonces = nonces.following(nonce, offering: offered)
            default:
                throw LeaseRefusal(
                    .alreadyActivated,
                    "connected registry '\(name)' is active in another instance: stop that one and run 'outport acr connected-registry deactivate --name \(name)' at the parent, or start that instance's data folder again"
                )
            }
            try session.execute(
                """
                UPDATE connected_registry SET instance = ?, epoch = ?, nonce = ?, offered_nonce = ?, earlier_nonces = ?, report = ?,
                    last_activity = ?
                WHERE registry = ? AND name = ?
                """,
                [SQLValue(instance), .integer(epoch)] + nonces.values + [
                    SQLValue(try Self.encode(report)), .integer(now), .integer(registry.value), SQLValue(name),
                ])
            guard let stored = try Self.find(name, in: registry, session) else { throw Self.unknown(name) }
            return (stored, offered)
        }
    }

    /// Frees the activation and fences the instance that had it.
    ///
    /// - Returns: `nil` when there is no such connected registry.
    @discardableResult
    package func deactivate(_ name: String, in registry: RegistryID) async throws -> ConnectedRegistry? {
        let result = try await self.database.write { session -> ConnectedRegistry? in
            guard let current = try Self.find(name, in: registry, session) else { return nil }
            if current.instance != nil {
                try Self.fence(current.name, in: registry, session)
                try session.execute(
                    "UPDATE connected_registry SET deactivations = deactivations + 1 WHERE registry = ? AND name = ?",
                    .integer(registry.value), SQLValue(name))
            }
            return try Self.find(name, in: registry, session)
        }
        self.settingsChanged()
        return result.map { self.signs.added(to: $0, in: registry) }
    }

    /// Takes the lease away from the instance that has it.
    static func fence(_ name: String, in registry: RegistryID, _ session: any SQLWriter) throws {
        guard
            let row = try session.row(
                "SELECT instance, fenced FROM connected_registry WHERE registry = ? AND name = ? AND instance IS NOT NULL",
                .integer(registry.value), SQLValue(name))
        else { return }
        // The newest fifty are remembered: an instance older than that has long lost its password.
        let list = (row.text(1).split(separator: "\n").map(String.init) + [row.text(0)]).suffix(50).joined(separator: "\n")
        try session.execute(
            """
            UPDATE connected_registry SET instance = NULL, epoch = min(epoch, \(MessageBounds.counts.upperBound)) + 1, nonce = NULL, offered_nonce = NULL, earlier_nonces = '',
                fenced = ?
            WHERE registry = ? AND name = ?
            """, SQLValue(list), .integer(registry.value), SQLValue(name))
    }

    /// Forgets all nonces after the database was restored from a backup: they are older than those of the children.
    package func forgetNonces() async throws {
        _ = try await self.database.write {
            try $0.execute("UPDATE connected_registry SET nonce = NULL, offered_nonce = NULL, earlier_nonces = ''")
        }
    }

    /// Whether somebody has seen changes that this log does not have yet: the database has been put back to an earlier time, and the nonces with it.
    /// A copy of a folder is behind its original, never ahead.
    private static func isAhead(_ cursor: GatewayCursor?, _ session: any SQLReader) throws -> Bool {
        guard let cursor else { return false }
        let head = try ChangeLog.head(in: session)
        return cursor.log == head.log && cursor.sequence > head.sequence
    }

    /// Records a heartbeat and offers the next nonce.
    ///
    /// An offered nonce counts once it comes back, so neither an answer that is lost nor a heartbeat that is late locks anybody out.
    /// - Throws: ``LeaseRefusal``.
    ///
    /// - Parameter isInStep: whether the child's content is the parent's at this moment.
    package func report(
        _ status: StatusReport, isInStep: Bool = false, lease: SyncLease, in registry: RegistryID
    ) async throws -> String {
        let status = status.bounded
        let now = self.clock.milliseconds()
        let offered = Secret.generate()
        let name = lease.connectedRegistry
        let isNews = try await self.database.write { session in
            guard let current = try Self.find(name, in: registry, session),
                let row = try session.row(
                    "SELECT \(LeaseNonces.columns) FROM connected_registry WHERE registry = ? AND name = ?", .integer(registry.value),
                    SQLValue(name))
            else { throw Self.unknown(name) }
            guard current.instance == lease.instance, current.epoch == lease.epoch else { throw Self.deactivated(name) }
            let nonces = LeaseNonces(row)
            let isRestored = try nonces.isEmpty || Self.isAhead(status.cursor, session)
            guard isRestored || nonces.accept(status.nonce) else { throw Self.copied(name) }
            var report = current.report ?? ConnectedRegistry.Report(version: status.version, loginServer: nil, status: nil)
            report.version = status.version
            report.take(status)
            report.inStepSince = isInStep ? report.inStepSince ?? now : nil
            try session.execute(
                """
                UPDATE connected_registry SET nonce = ?, offered_nonce = ?, earlier_nonces = ?, report = ?, last_activity = ?
                WHERE registry = ? AND name = ?
                """,
                nonces.following(status.nonce, offering: offered).values + [
                    SQLValue(try Self.encode(report)), .integer(now), .integer(registry.value), SQLValue(name),
                ])
            return report.isNews(to: current.report)
        }
        if isNews { self.reports.signal() }
        return offered
    }

    /// Notes a sign of life. Heartbeats write theirs down; between them it is enough that this process knows: after it the children connect
    /// anew, and that is one.
    package func touch(_ name: String, in registry: RegistryID) { self.signs.note(name, in: registry, at: self.clock.milliseconds()) }

    private static func unknown(_ name: String) -> LeaseRefusal {
        .init(.notFound, "there is no connected registry '\(name)' for this sync token; check the connection string, or create it again")
    }

    private static func deactivated(_ name: String) -> LeaseRefusal {
        .init(
            .deactivated,
            "this instance of connected registry '\(name)' was deactivated at the parent: start again with an empty data folder to activate anew"
        )
    }

    private static func copied(_ name: String) -> LeaseRefusal {
        .init(
            .alreadyActivated,
            "another copy of this data folder is active as connected registry '\(name)': stop one of the two; to move the connected registry, stop it before copying, or deactivate it at the parent and start with an empty folder"
        )
    }

    // MARK: SyncLeaseAuthority

    package func lease(
        connectedRegistry: String, token: String, instance: String?, epoch: Int64?, registry: RegistryID
    ) async throws -> SyncLease {
        guard let found = try await self.find(connectedRegistry, in: registry), found.syncToken.lowercased() == token.lowercased() else {
            throw Self.unknown(connectedRegistry)
        }
        guard self.isChild(found) else {
            throw LeaseRefusal(
                .notFound,
                "connected registry '\(found.name)' has another parent\(found.configuration.parent.map { ", '\($0)'" } ?? ""); get its connection string anew"
            )
        }
        guard let instance, let epoch else { return SyncLease(connectedRegistry: found.name, instance: nil, epoch: nil) }
        guard found.instance == instance, found.epoch == epoch else {
            if found.isUnheardOf {
                throw IdentityError(
                    .invalidToken, "this activation of connected registry '\(found.name)' is not known here any more; activate again")
            }
            throw found.instance == nil || found.instance == instance
                ? Self.deactivated(found.name)
                : LeaseRefusal(.alreadyActivated, "connected registry '\(found.name)' is active in another instance")
        }
        return SyncLease(connectedRegistry: found.name, instance: instance, epoch: epoch)
    }

    /// Whether it is to speak to us and not to another one of the tree.
    package func isChild(_ one: ConnectedRegistry) -> Bool { one.configuration.parent?.lowercased() == self.owner?.lowercased() }

    package func isSyncToken(_ name: String, registry: RegistryID) async throws -> Bool {
        try await self.database.read {
            try $0.row("SELECT 1 FROM connected_registry WHERE registry = ? AND sync_token = ?", .integer(registry.value), SQLValue(name))
                != nil
        }
    }

    package func isCurrent(_ lease: SyncLease, registry: RegistryID) async throws -> Bool {
        guard let epoch = lease.epoch, let instance = lease.instance else { return false }
        let found = try await self.find(lease.connectedRegistry, in: registry)
        return found?.epoch == epoch && found?.instance == instance
    }

    package func mayWrite(_ lease: SyncLease, registry: RegistryID) async throws -> Bool {
        guard try await self.isCurrent(lease, registry: registry) else { return false }
        return try await self.find(lease.connectedRegistry, in: registry)?.configuration.mode == .readWrite
    }
}
