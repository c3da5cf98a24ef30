// Notifications and audit records: gathered here, told to the parent, those of connected registries below included.

internal import GatewayProtocol
internal import Logging
internal import OCI
internal import Persistence
internal import RegistryClient
internal import RegistryCore
internal import Synchronization

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// What this process knows of events that it has recorded and told.
struct EventState: Sendable {
    var recorded: ChangeCursor?
    var dropped: [DroppedEvents] = []
    /// Whether the parent takes no events: an older version, or one that was not permitted.
    var isRefused = false
}

extension SyncAgent {
    private struct Notification: Encodable {
        let action: String
        let repository: String
        let tag: String?
        let digest: String?
        /// `client` for what was changed here, `parent` for what came from above.
        let source: String
    }

    /// Looks through what has changed here since the last time, whether the parent can be reached or not. A disk that takes nothing keeps
    /// nothing else from being done; the log is looked through again.
    func noteNotifications() async {
        do {
            try await self.recordNotifications()
        } catch {
            self.logger.warning("notifications cannot be kept now", metadata: ["reason": .string("\(error)")])
        }
    }

    private func recordNotifications() async throws {
        let memory = await self.memory.memory
        let patterns = memory.settings?.notifications.compactMap { try? NotificationPattern($0) } ?? []
        guard !patterns.isEmpty else { return }
        let head = try await self.store.head()
        guard self.eventState.withLock({ $0.recorded }) != head else { return }
        while try await self.events.record(
            of: self.connection.connectedRegistry, body: { Self.notification($0, origin: $1, patterns) })
        {}
        self.eventState.withLock { $0.recorded = head }
    }

    /// The event for a row of the log; `nil` where no pattern is met.
    private static func notification(_ change: Change, origin: String, _ patterns: [NotificationPattern]) -> String? {
        let action: NotificationPattern.Action
        switch change.kind {
        case .tagSet, .manifestPut: action = .push
        case .tagDeleted, .manifestDeleted: action = .delete
        case .repositoryDeleted, .locksChanged: return nil
        }
        // Names that keep what lost a conflict are told as conflicts.
        if let tag = change.tag, ConflictTag.isReserved(tag.description) { return nil }
        guard patterns.contains(where: { $0.matches(change.repository, tag: change.tag, digest: change.digest, action) }) else {
            return nil
        }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        let body = Notification(
            action: action.rawValue, repository: change.repository.description, tag: change.tag?.description,
            digest: change.digest?.description, source: origin == ChangeOrigin.parent ? "parent" : "client")
        return (try? encoder.encode(body)).map { String(decoding: $0, as: UTF8.self) }
    }

    /// Tells the parent what waits; forgotten only when it has taken it.
    func tellEvents() async throws {
        guard !self.eventState.withLock({ $0.isRefused }) else { return }
        do {
            while try await self.tellSomeEvents() {}
        } catch let refusal as ServerRefusal
            where [400, 404, 413].contains(refusal.status) && refusal.code != "CONNECTED_REGISTRY_NOT_FOUND"
        {
            // It must not keep content from moving. They are kept, as many as there is room for, until this process starts anew.
            self.eventState.withLock { $0.isRefused = true }
            self.logger.warning(
                "the parent takes no events", metadata: ["code": .string(refusal.code), "reason": .string(refusal.message)])
        }
    }

    /// - Returns: whether there may be more.
    private func tellSomeEvents() async throws -> Bool {
        let waiting = try await self.events.waiting(limit: EventsRequest.maximumEvents)
        let dropped = try await self.events.dropped()
        let isNews = self.eventState.withLock { $0.dropped != dropped }
        guard !waiting.isEmpty || isNews else { return false }
        try self.gate.pass()
        _ = try await self.gateway.tell(
            EventsRequest(
                events: waiting.map {
                    .init(
                        id: $0.event.id, connectedRegistry: $0.event.site, kind: $0.event.kind.rawValue, time: $0.event.time,
                        body: $0.event.body)
                },
                dropped: dropped.isEmpty
                    ? nil : dropped.map { .init(connectedRegistry: $0.site, kind: $0.kind.rawValue, count: $0.count) }))
        try await self.events.remove(waiting.map(\.sequence))
        self.eventState.withLock { $0.dropped = dropped }
        return waiting.count == EventsRequest.maximumEvents
    }
}
