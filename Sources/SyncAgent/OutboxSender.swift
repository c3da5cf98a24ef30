// Works through the outbox: content first, then the change itself, compared with what the parent has. See decision 0052.

internal import GatewayProtocol
internal import Logging
internal import OCI
internal import Persistence
internal import RegistryClient
internal import RegistryCore

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// Tells the parent what clients have changed here.
struct OutboxSender: Sendable {
    /// Entries read at a time.
    private static let batch = 200
    /// The first rest before something refused is tried again, in seconds.
    private static let firstRest: Int64 = 30
    /// Refusals and conflicts that the parent is told.
    private static let told = 20

    let store: RegistryStore
    let registry: RegistryID
    let gateway: GatewayClient
    let uploads: UploadEngine
    let downloads: TransferEngine
    let gate: TransferGate
    let clock: WallClock
    let logger: Logger

    var isDue: Bool {
        get async throws { try await self.store.isOutboxDue(of: self.registry, at: self.clock.seconds) }
    }

    /// Sends everything that is due.
    ///
    /// - Throws: what keeps all of it from being sent; what the parent refuses of it is noted, and the rest goes on.
    func send() async throws {
        while true {
            let entries = try await self.store.outbox(of: self.registry, dueAt: self.clock.seconds, limit: Self.batch)
            guard !entries.isEmpty else { return }
            for entry in entries {
                try self.gate.pass()
                try Task.checkCancellation()
                try await self.sendNoting(entry)
            }
        }
    }

    /// Returns when something is due, because a client has changed it or a refusal is to be tried again.
    func awaitDue() async throws {
        while true {
            let seen = self.store.activity.count
            if try await self.isDue { return }
            let rest = try await self.store.outboxRest(of: self.registry, at: self.clock.seconds)
            await self.store.activity.wait(beyond: seen, atMost: .seconds(max(1, rest ?? 3600)))
            try Task.checkCancellation()
        }
    }

    private func sendNoting(_ entry: OutboxEntry) async throws {
        do {
            try await self.send(entry)
        } catch let refusal as ServerRefusal where Self.concerns(refusal) {
            try await self.refuse(entry, refusal.code, refusal.message)
        } catch let error as SyncError where error.code == .content || error.code == .locked {
            try await self.refuse(entry, error.code.rawValue, error.message)
        } catch let error as SyncError where error.code == .budget {
            // What stands at the parent comes when there is budget; changes of other things cost nothing of it.
            let now = self.clock.seconds
            let latest = now + RegistryStore.longestRefusal
            let due = self.gate.budget?.spentUntil.map { Int64($0) } ?? now + Self.firstRest
            try await self.refuse(entry, error.code.rawValue, error.message, due: min(due, latest))
        } catch let error as PersistenceError where error.code == .digestMismatch || error.code == .sizeMismatch {
            try await self.refuse(entry, SyncError.Code.content.rawValue, error.description)
        }
    }

    /// Whether a refusal is about one change, and not about this connected registry or the parent as a whole.
    private static func concerns(_ refusal: ServerRefusal) -> Bool {
        guard (400..<500).contains(refusal.status), ![408, 425, 429].contains(refusal.status) else { return false }
        let general: [GatewayErrorCode] = [.alreadyActivated, .deactivated, .notFound, .noGateway, .unauthorized]
        return !general.contains { $0.rawValue == refusal.code }
    }

    /// - Parameter due: when it is tried again, in seconds since 1970; `nil` after a rest that grows.
    private func refuse(_ entry: OutboxEntry, _ code: String, _ reason: String, due: Int64? = nil) async throws {
        let rest = min(RegistryStore.longestRefusal, Self.firstRest << min(entry.attempts, 10))
        self.logger.warning(
            "the parent does not take a change",
            metadata: [
                "repository": .string(entry.repository.description), "subject": .string(entry.subject.description), "code": .string(code),
                "reason": .string(reason),
            ])
        try await self.store.refuse(entry, .init(code: code, reason: reason, due: due ?? self.clock.seconds + rest), of: self.registry)
    }

    private func send(_ given: OutboxEntry) async throws {
        var entry = given
        if entry.sent == nil {
            // Content first: what is named at the parent is there whole.
            if let digest = try Self.content(of: entry) { try await self.uploads.send(digest, in: entry.repository) }
            guard let marked = try await self.store.markSent(entry, as: UUID().uuidString.lowercased(), of: self.registry) else { return }
            entry = marked
        }
        guard let sent = entry.sent else { return }
        let answer: GatewayClient.OutboxAnswer
        do {
            answer = try await self.gateway.propose(OutboxRequest(opId: sent.operation, operation: try Self.operation(entry, sent.target)))
        } catch let refusal as ServerRefusal where refusal.status == 404 && Self.isMoot(entry, refusal) {
            // What carries them may wait itself, and take them along when it goes.
            guard case .locks(let target) = entry.subject, let due = try await self.store.outboxDue(ofCarrying: target, of: self.registry)
            else { return try await self.store.dropOutbox(entry, of: self.registry) }
            // What is to be opened is asked for before that, and not over and over.
            let isOpening = sent.target != entry.target
            return try await self.refuse(
                given, refusal.code, refusal.message, due: isOpening ? max(due, self.clock.seconds + Self.firstRest) : due)
        }
        switch answer {
        case .agreed(let cursor): try await self.store.settle(entry, confirmed: Self.cursor(cursor), of: self.registry)
        case .conflict(let conflict): try await self.concede(entry, conflict)
        }
    }

    /// What must be at the parent before the change is.
    private static func content(of entry: OutboxEntry) throws -> Digest? {
        switch (entry.subject, entry.target) {
        case (.tag, let target?): try Digest(target)
        case (.manifest(let digest), .some): digest
        default: nil
        }
    }

    private static func operation(_ entry: OutboxEntry, _ target: String?) throws -> OutboxOperation {
        switch (entry.subject, target) {
        case (.tag(let tag), let target?):
            OutboxOperation(
                .tagSet, entry.repository, tag: tag, digest: try Digest(target), expected: try entry.expected.map { try Digest($0) })
        case (.tag(let tag), nil):
            OutboxOperation(.tagDelete, entry.repository, tag: tag, expected: try entry.expected.map { try Digest($0) })
        case (.manifest(let digest), .some): OutboxOperation(.manifestPut, entry.repository, digest: digest)
        case (.manifest(let digest), nil): OutboxOperation(.manifestDelete, entry.repository, digest: digest)
        case (.locks(let place), let target):
            OutboxOperation(
                .lock, entry.repository, tag: place.tag, digest: place.digest, locks: target.flatMap { Int64($0) } ?? 0,
                expectedLocks: entry.expected.flatMap { Int64($0) } ?? 0)
        }
    }

    /// Locks of something that the parent does not have.
    private static func isMoot(_ entry: OutboxEntry, _ refusal: ServerRefusal) -> Bool {
        guard case .locks = entry.subject else { return false }
        return ["NAME_UNKNOWN", "MANIFEST_UNKNOWN"].contains(refusal.code)
    }

    private static func cursor(_ cursor: GatewayCursor) -> ChangeCursor { ChangeCursor(log: cursor.log, sequence: cursor.sequence) }

    /// The parent's value stands: it is fetched, and takes the place of ours, which stays reachable.
    private func concede(_ entry: OutboxEntry, _ conflict: OutboxConflictBody) async throws {
        self.logger.warning(
            "conflict with the parent, whose value stands",
            metadata: [
                "repository": .string(entry.repository.description), "subject": .string(entry.subject.description),
                "saved": .string(conflict.saved?.description ?? "nothing"), "reason": .string(conflict.error.message),
            ])
        let confirmed = Self.cursor(conflict.cursor)
        switch entry.subject {
        case .tag(let tag):
            if let current = conflict.current, try await !self.downloads.replicate(current, tags: [], in: entry.repository) {
                // The parent has moved on meanwhile: asked anew, it tells its value of now.
                let due = OutboxEntry.Refusal(code: SyncError.Code.content.rawValue, reason: conflict.error.message, due: 0)
                return try await self.store.refuse(entry, due, of: self.registry)
            }
            // A name that is not one of ours would be taken for a tag of somebody's.
            let saved = conflict.saved.flatMap { ConflictTag.isReserved($0.description) ? $0 : nil }
            try await self.store.concede(
                entry, tag: tag, to: conflict.current, saved: saved, confirmed: confirmed, of: self.registry)
        case .locks(let place):
            try await self.store.concede(
                entry, locks: place, to: ImageLocks(rawValue: (conflict.locks ?? 0) & 15), confirmed: confirmed, of: self.registry)
        case .manifest(let digest):
            // Deleted here, and named there by a tag that was set there: it comes back with that tag.
            _ = try await self.downloads.replicate(digest, tags: [], in: entry.repository)
            try await self.store.settle(entry, confirmed: confirmed, of: self.registry)
        }
    }

    // MARK: Reports

    /// What the parent is told of refusals and conflicts.
    func details() async throws -> [StatusDetail] {
        let refused = try await self.store.outboxRefusals(of: self.registry, limit: Self.told).compactMap { entry -> StatusDetail? in
            guard let refusal = entry.refusal else { return nil }
            return StatusDetail(
                type: refusal.code == SyncError.Code.budget.rawValue ? "Warning" : "Error", code: "OutboxRefused",
                description:
                    "\(entry.subject) of repository \(entry.repository) cannot be changed at the parent (\(refusal.code)): \(refusal.reason); it is kept at the connected registry and tried again at \(Timestamp.text(seconds: refusal.due))",
                timestamp: entry.since)
        }
        let conflicts = try await self.store.outboxConflicts(of: self.registry, limit: Self.told).map { conflict in
            let ours = conflict.digest.map { "\($0)" } ?? "its deletion"
            let kept =
                conflict.saved.map {
                    "; what was pushed here is kept as \(conflict.repository):\($0), delete that tag when it is not needed"
                } ?? ""
            return StatusDetail(
                type: "Warning", code: "Conflict",
                description:
                    "tag \(conflict.repository):\(conflict.tag) was changed at both ends: \(conflict.parent.map { "\($0)" } ?? "the deletion") of the parent stands against \(ours)\(kept)",
                timestamp: conflict.time)
        }
        return refused + conflicts
    }
}

extension LockTarget {
    fileprivate var tag: Tag? { if case .tag(_, let tag) = self { tag } else { nil } }
    fileprivate var digest: Digest? { if case .manifest(_, let digest) = self { digest } else { nil } }
}
