// What a connected registry keeps of those below it on behalf of its ancestors, and what it tells them.

package import GatewayProtocol
internal import Identity
package import Persistence
internal import RegistryCore
internal import Schedule

extension ConnectedRegistryStore {
    /// Every connected registry below `name`, parents before children.
    package func descendants(of name: String, in registry: RegistryID) async throws -> [ConnectedRegistry] {
        guard try await self.isParent(name, in: registry) else { return [] }
        return Self.below(name, among: try await self.list(in: registry))
    }

    /// Whether there are connected registries below it.
    func isParent(_ name: String, in registry: RegistryID) async throws -> Bool {
        try await self.parents.names(in: registry) {
            Set(try await self.list(in: registry).compactMap { $0.configuration.parent?.lowercased() })
        }.contains(name.lowercased())
    }

    /// - Parameter name: `nil` for everything.
    static func below(_ name: String?, among all: [ConnectedRegistry]) -> [ConnectedRegistry] {
        var found: [ConnectedRegistry] = []
        var level = [name?.lowercased()]
        // Each is a child of one: what has been taken is not met again, and a damaged circle ends.
        var rest = all
        while !level.isEmpty, !rest.isEmpty {
            let children = rest.filter { level.contains($0.configuration.parent?.lowercased()) }
            rest.removeAll { one in children.contains { $0.name == one.name } }
            found += children
            level = children.map { $0.name.lowercased() }
        }
        return found
    }

    /// Puts the connected registries below this one into force, as its parent names them; others are no longer known.
    ///
    /// What instances have told and which are active stays. One that is new here goes on with the lease its ancestors know of, so
    /// that an instance of the parent with an empty folder does not lock its children out.
    package func replace(descendants: [Descendant], in registry: RegistryID) async throws {
        let configurations = try descendants.map { ($0, try Self.configuration($0)) }
        try await self.database.write { session in
            let known = try session.rows(
                "SELECT name, deactivations, instance FROM connected_registry WHERE registry = ?", .integer(registry.value))
            let names = Set(descendants.map { $0.name.lowercased() })
            for row in known where !names.contains(row.text(0).lowercased()) {
                try session.execute("DELETE FROM connected_registry WHERE registry = ? AND name = ?", .integer(registry.value), row[0])
            }
            for (descendant, configuration) in configurations {
                let existing = known.first { $0.text(0).lowercased() == descendant.name.lowercased() }
                try session.execute(
                    """
                    INSERT INTO connected_registry (registry, name, sync_token, configuration, created, instance, epoch, resync, deactivations,
                        plan)
                    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                    ON CONFLICT (registry, name) DO UPDATE SET configuration = excluded.configuration, sync_token = excluded.sync_token,
                        resync = excluded.resync, plan = excluded.plan
                    """, .integer(registry.value), SQLValue(descendant.name), SQLValue(descendant.syncToken.name),
                    SQLValue(try Self.encode(configuration)), .integer(descendant.created), SQLValue(descendant.lease?.instance),
                    .integer(descendant.lease?.epoch ?? 0), SQLValue(descendant.resync), .integer(descendant.deactivations),
                    SQLValue(descendant.plan))
                guard let existing, existing.integer(1) < descendant.deactivations else { continue }
                try Self.fence(descendant.name, in: registry, session)
                try session.execute(
                    "UPDATE connected_registry SET deactivations = ? WHERE registry = ? AND name = ?", .integer(descendant.deactivations),
                    .integer(registry.value), SQLValue(descendant.name))
            }
        }
        self.parents.forget()
        self.settingsChanged()
    }

    private static func configuration(_ descendant: Descendant) throws -> ConnectedRegistryConfiguration {
        ConnectedRegistryConfiguration(
            mode: ConnectedRegistryMode(descendant.mode) ?? .readOnly, parent: descendant.parent,
            schedule: try CronSchedule(parsing: descendant.schedule),
            syncWindow: try descendant.syncWindow.map { try ISODuration(parsing: $0) },
            messageTtl: try MessageTTL(parsing: descendant.messageTtl), clientTokens: descendant.clientTokens.map(\.name),
            notifications: descendant.notifications, logLevel: descendant.logLevel, auditLogsEnabled: descendant.auditLogs,
            garbageCollectionEnabled: descendant.garbageCollection.enabled,
            garbageCollectionSchedule: try CronSchedule(parsing: descendant.garbageCollection.schedule), budget: descendant.budget,
            priorities: descendant.priorities, onDemand: descendant.onDemand,
            serveAfterRemoval: try descendant.serveAfterRemoval.map { try ISODuration(parsing: $0) })
    }

    /// What is known of all connected registries here, for the parent of this one.
    package func descendantStatuses(in registry: RegistryID) async throws -> [DescendantStatus] {
        let now = self.clock.milliseconds()
        return try await self.list(in: registry).map { one in
            var status = one.report?.status
            // The nonce is between it and its parent; what it says of others comes from their own rows.
            status?.nonce = ""
            status?.descendants = nil
            status?.plan = one.report?.plan
            if let details = status?.details { status?.details = Array(details.prefix(Self.forwardedDetails)) }
            return DescendantStatus(
                name: one.name, instance: one.instance, epoch: one.epoch, deactivations: one.deactivations, version: one.report?.version,
                loginServer: one.report?.loginServer, caPin: one.report?.caPin, status: status, inStepSince: one.report?.inStepSince,
                silence: one.lastActivity.map { max(0, now - $0) })
        }
    }

    /// Details of one connected registry that travel on.
    private static let forwardedDetails = 10

    /// Takes over what a connected registry says of those below it.
    ///
    /// - Parameter isAllowed: whether its sync token may speak for the one of that name.
    package func record(
        _ statuses: [DescendantStatus], below name: String, in registry: RegistryID, isAllowed: @escaping @Sendable (String) -> Bool
    ) async throws {
        let statuses = statuses.map(\.bounded)
        let now = self.clock.milliseconds()
        let changed = try await self.database.write { session -> Bool in
            let all = try session.rows("\(Self.select) WHERE registry = ?", .integer(registry.value)).map(Self.decode)
            var changed = false
            for one in Self.below(name, among: all) where isAllowed(one.name) {
                guard let status = statuses.first(where: { $0.name.lowercased() == one.name.lowercased() }) else { continue }
                var report = one.report ?? ConnectedRegistry.Report(version: status.version ?? "", loginServer: nil, status: nil)
                report.version = status.version ?? report.version
                report.loginServer = status.loginServer ?? report.loginServer
                report.caPin = status.caPin ?? report.caPin
                if let status = status.status { report.take(status) }
                report.inStepSince = status.inStepSince
                // Who has not heard of the last deactivation yet speaks of an instance that is active no more.
                let isCurrent = status.deactivations >= one.deactivations
                let instance = isCurrent ? status.instance : one.instance
                changed = changed || instance != one.instance || report.isNews(to: one.report)
                try session.execute(
                    """
                    UPDATE connected_registry SET instance = ?, epoch = max(epoch, ?), report = ?, last_activity = ?
                    WHERE registry = ? AND name = ?
                    """, SQLValue(instance), .integer(status.epoch), SQLValue(try Self.encode(report)),
                    SQLValue(status.silence.map { max(0, now - $0) }), .integer(registry.value), SQLValue(one.name))
            }
            return changed
        }
        self.settings?.signal()
        if changed { self.reports.signal() }
    }
}

extension ConnectedRegistry.Report {
    /// Whether an operator would see the difference.
    func isNews(to old: Self?) -> Bool {
        guard let old else { return true }
        return self.version != old.version || self.loginServer != old.loginServer || self.status?.phase != old.status?.phase
            || self.status?.details.map(\.code) != old.status?.details.map(\.code)
            || (self.inStepSince == nil) != (old.inStepSince == nil) || self.status?.outboxPending != old.status?.outboxPending
            || self.plan?.order != old.plan?.order || self.status?.resynced != old.status?.resynced
            || self.status?.result?.state != old.status?.result?.state
    }
}
