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

    /// Bytes of the events of one request: what goes with them has room beside.
    private static let largestBatch = GatewayLimits.maximumBody - (128 << 10)

    /// Tells the parent what waits; forgotten only when it has taken it.
    func tellEvents() async throws {
        guard !self.eventState.withLock({ $0.isRefused }) else { return }
        do {
            var most = EventsRequest.maximumEvents
            while let batch = try await self.eventBatch(atMost: most) {
                do {
                    _ = try await self.gateway.tell(batch.request)
                } catch let refusal as ServerRefusal where refusal.status == 413 && !batch.sequences.isEmpty {
                    // It takes less at a time than we thought; what it does not even take alone must not keep the others waiting.
                    if batch.sequences.count > 1 {
                        most = batch.sequences.count / 2
                    } else {
                        try await self.events.giveUp(batch.sequences[0])
                        self.logger.warning("an event is larger than the parent takes", metadata: ["reason": .string(refusal.message)])
                    }
                    continue
                }
                try await self.events.remove(batch.sequences)
                self.eventState.withLock { $0.dropped = batch.dropped }
                guard batch.hasMore else { return }
            }
        } catch let refusal as ServerRefusal
            where [400, 404, 413].contains(refusal.status) && refusal.code != "CONNECTED_REGISTRY_NOT_FOUND"
        {
            // It must not keep content from moving. They are kept, as many as there is room for, until this process starts anew.
            self.eventState.withLock { $0.isRefused = true }
            self.logger.warning(
                "the parent takes no events", metadata: ["code": .string(refusal.code), "reason": .string(refusal.message)])
        }
    }

    /// What is told at once.
    private struct EventBatch {
        let request: EventsRequest
        let sequences: [Int64]
        let dropped: [DroppedEvents]
        let hasMore: Bool
    }

    /// The oldest of what waits; `nil` where the parent knows everything.
    private func eventBatch(atMost limit: Int) async throws -> EventBatch? {
        let waiting = try await self.events.waiting(limit: limit)
        let dropped = try await self.events.dropped()
        let isNews = self.eventState.withLock { $0.dropped != dropped }
        guard !waiting.isEmpty || isNews else { return nil }
        try self.gate.pass()
        let encoder = JSONEncoder()
        var events: [EventsRequest.Event] = []
        var bytes = 0
        for (_, event) in waiting {
            let next = EventsRequest.Event(
                id: event.id, connectedRegistry: event.site, kind: event.kind.rawValue, time: event.time, body: event.body)
            bytes += try encoder.encode(next).count + 1
            guard events.isEmpty || bytes <= Self.largestBatch else { break }
            events.append(next)
        }
        let counts = dropped.prefix(EventsRequest.maximumEvents).map {
            EventsRequest.Dropped(connectedRegistry: $0.site, kind: $0.kind.rawValue, count: $0.count)
        }
        return EventBatch(
            request: EventsRequest(events: events, dropped: counts.isEmpty ? nil : counts),
            sequences: waiting.prefix(events.count).map(\.sequence), dropped: dropped,
            hasMore: events.count < waiting.count || waiting.count == limit)
    }
}
