// The sync agent's durable memory: who we are to the parent, what we were told, how far we have come.

package import GatewayProtocol
package import OCI
package import Persistence
internal import RegistryClient
internal import RegistryCore
internal import Schedule

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// What is remembered across restarts.
package struct SyncMemory: Sendable, Equatable {
    package var connectedRegistry: String
    package var parent: String
    package var pin: String?
    package var instance: String
    package var epoch: Int64?
    package var nonce: String?
    /// The registry's name, as the parent told at activation.
    package var registry: String?
    /// The parent's authority in PEM, accepted by its pin.
    package var trust: String?
    package var settings: GatewaySettings?
    package var settingsTag: String?
    package var cursor: GatewayCursor?
    package var bytesReceived: Int64 = 0
    package var result: SyncResult?
    /// The resynchronisation by hand that was done last.
    package var resynced: Int64?
    package var bytesSent: Int64 = 0
    /// Why the parent will not have this instance any more; what clients wrote would never leave it.
    package var stopped: String?
    /// The last order to tell what the next synchronisation would move that was carried out.
    package var planned: Int64?
    /// Since when the parent does not let us in any more: deleted, deactivated, or its sync token disabled; seconds since 1970.
    package var lockedOut: Int64?
    /// Why whole state is to be compared, as `registrySyncResult` names it, where that is known beforehand.
    package var comparison: String?

    /// Until when reads are served although the parent does not let us in any more, in seconds since 1970; `nil` for ever.
    package var servesUntil: Int64? {
        guard let lockedOut, let text = self.settings?.serveAfterRemoval, let limit = try? ISODuration(parsing: text) else { return nil }
        return lockedOut + Int64(limit.seconds)
    }

    /// Whether clients may write.
    package var isReadWrite: Bool { self.settings?.mode == "ReadWrite" }

    /// The repositories that are synchronised.
    package var selection: [RepositoryPattern] { self.settings?.repositories.compactMap { try? RepositoryPattern($0) } ?? [] }

    /// The repositories that are fetched first, the very first at the beginning.
    package var priorities: [RepositoryPattern] { self.settings?.priorities?.compactMap { try? RepositoryPattern($0) } ?? [] }
}

/// Keeps ``SyncMemory`` in the database.
package actor SyncMemoryStore {
    private let database: any Database
    /// Changes go one after another: a heartbeat and a transfer may both have something to keep.
    private let saving = AsyncMutex()
    package private(set) var memory: SyncMemory

    /// Opens the memory of a data folder, or begins it.
    ///
    /// - Throws: ``SyncError`` with code `wrongFolder` when the folder belongs to another connected registry. Another
    ///   string of the same one (a new password) is welcome; so is a parent that moved but has the same pinned key.
    package init(database: any Database, connection: ConnectionString) async throws {
        self.database = database
        let stored = try await database.read { session -> SyncMemory? in
            try session.row(
                """
                SELECT connected_registry, parent, pin, instance, epoch, nonce, registry, trust, settings, settings_tag, log, sequence,
                    bytes_received, result, resynced, bytes_sent, stopped, planned, locked_out, comparison
                FROM sync_state WHERE id = 1
                """
            ).map(Self.decode)
        }
        let parent = connection.parent.description
        if var stored {
            let isSame =
                stored.connectedRegistry.lowercased() == connection.connectedRegistry.lowercased()
                && (connection.endpoints.contains { $0.description == stored.parent }
                    || (stored.pin != nil && stored.pin == connection.pin))
            guard isSame else {
                throw SyncError(
                    .wrongFolder,
                    "the data folder belongs to connected registry '\(stored.connectedRegistry)' of \(stored.parent), the connection string is for '\(connection.connectedRegistry)' of \(parent): use another folder with --data"
                )
            }
            stored.parent = parent
            stored.pin = connection.pin
            self.memory = stored
        } else {
            self.memory = SyncMemory(
                connectedRegistry: connection.connectedRegistry, parent: parent, pin: connection.pin,
                instance: UUID().uuidString.lowercased())
        }
        try await Self.write(self.memory, to: database)
    }

    /// Changes the memory, durably.
    ///
    /// What cannot be saved is not remembered either: a nonce that only this process knew would lock its folder out after a restart.
    package func update(_ change: @escaping @Sendable (inout SyncMemory) -> Void) async throws {
        try await self.saving.withLock { try await self.apply(change) }
    }

    private func apply(_ change: @Sendable (inout SyncMemory) -> Void) async throws {
        var next = self.memory
        change(&next)
        try await Self.write(next, to: self.database)
        self.memory = next
    }

    /// Forgets how far a data folder has followed its parent, so that whole state is compared at the next start and what is missing is
    /// fetched. A folder that is no connected registry's has nothing to forget.
    package static func forgetCursor(in database: any Database) async throws {
        _ = try await database.write { try $0.execute("UPDATE sync_state SET log = NULL, sequence = NULL") }
    }

    private static func write(_ memory: SyncMemory, to database: any Database) async throws {
        let settings = try memory.settings.map(Self.encode)
        let result = try memory.result.map(Self.encode)
        try await database.write { session in
            _ = try session.execute(
                """
                INSERT INTO sync_state (id, connected_registry, parent, pin, instance, epoch, nonce, registry, trust, settings, settings_tag, log,
                    sequence, bytes_received, result, resynced, bytes_sent, stopped, planned, locked_out, comparison)
                VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                ON CONFLICT (id) DO UPDATE SET parent = excluded.parent, pin = excluded.pin, epoch = excluded.epoch, nonce = excluded.nonce,
                    registry = excluded.registry, trust = excluded.trust, settings = excluded.settings, settings_tag = excluded.settings_tag,
                    log = excluded.log, sequence = excluded.sequence, bytes_received = excluded.bytes_received, result = excluded.result, resynced = excluded.resynced,
                    bytes_sent = excluded.bytes_sent, stopped = excluded.stopped, planned = excluded.planned,
                    locked_out = excluded.locked_out, comparison = excluded.comparison
                """, SQLValue(memory.connectedRegistry), SQLValue(memory.parent), SQLValue(memory.pin), SQLValue(memory.instance),
                SQLValue(memory.epoch),
                SQLValue(memory.nonce), SQLValue(memory.registry), SQLValue(memory.trust), SQLValue(settings), SQLValue(memory.settingsTag),
                SQLValue(memory.cursor?.log), SQLValue(memory.cursor?.sequence), .integer(memory.bytesReceived), SQLValue(result),
                SQLValue(memory.resynced), .integer(memory.bytesSent), SQLValue(memory.stopped), SQLValue(memory.planned),
                SQLValue(memory.lockedOut), SQLValue(memory.comparison))
        }
    }

    private static func encode(_ value: some Encodable) throws -> String {
        String(decoding: try JSONEncoder().encode(value), as: UTF8.self)
    }

    private static func decode(_ row: SQLRow) throws -> SyncMemory {
        let decoder = JSONDecoder()
        return SyncMemory(
            connectedRegistry: row.text(0), parent: row.text(1), pin: row.optionalText(2), instance: row.text(3),
            epoch: row.optionalInteger(4),
            nonce: row.optionalText(5), registry: row.optionalText(6), trust: row.optionalText(7),
            settings: try row.optionalText(8).map { try decoder.decode(GatewaySettings.self, from: Data($0.utf8)).bounded },
            settingsTag: row.optionalText(9),
            cursor: row.optionalText(10).map { GatewayCursor(log: $0, sequence: row.integer(11)) }, bytesReceived: row.integer(12),
            result: try row.optionalText(13).map { try decoder.decode(SyncResult.self, from: Data($0.utf8)) },
            resynced: row.optionalInteger(14), bytesSent: row.integer(15), stopped: row.optionalText(16), planned: row.optionalInteger(17),
            lockedOut: row.optionalInteger(18), comparison: row.optionalText(19))
    }
}
