// Delivers events: at least once, those of one repository in their order, and for a day if need be.

internal import JSON
package import Logging
package import Persistence
package import RegistryClient
package import RegistryCore
internal import Synchronization

/// Turns the change log into events and sends them.
///
/// What is to be sent lies in the database, so a restart goes on where it stood. An event whose answer was lost is sent again.
package struct WebhookSender: Sendable {
    /// Events on their way at a time, in all and for one webhook, so that a receiver that hangs keeps nobody else waiting.
    private static let maximumAtOnce = 16
    private static let maximumForOne = 4
    /// Of these for all webhooks together whose last event was not taken: each of them has one at a time then.
    private static let maximumFailing = 8
    /// How long a receiver may take.
    private static let timeout = Duration.seconds(10)
    /// Milliseconds: the first rest after a failure, which doubles, and the longest.
    private static let firstRest: Int64 = 1000
    private static let longestRest: Int64 = 300_000
    /// Milliseconds after which an event is given up.
    static let patience: Int64 = 24 * 3_600_000
    /// What is kept of an answer.
    private static let longestAnswer = 4096

    private let store: WebhookStore
    /// Moves with every change of content.
    private let changes: Activity
    private let transport: any Transport
    private let userAgent: String
    private let host: @Sendable (RegistryID) -> String?
    private let logger: Logger

    /// - Parameters:
    ///   - changes: moves with every change of content.
    ///   - transport: with the rules for addresses that users give.
    ///   - host: the login server of a registry.
    package init(
        store: WebhookStore, changes: Activity, transport: any Transport, version: String, logger: Logger,
        host: @escaping @Sendable (RegistryID) -> String?
    ) {
        self.store = store
        self.changes = changes
        self.transport = transport
        self.userAgent = "Outport/\(version)"
        self.host = host
        self.logger = logger
    }

    /// Runs until the task is cancelled.
    package func run() async {
        await withDiscardingTaskGroup { group in
            group.addTask { await self.publish() }
            group.addTask { await self.send() }
        }
    }

    // MARK: From the log

    private func publish() async {
        while !Task.isCancelled {
            let (seen, known) = (self.changes.count, self.store.activity.count)
            do {
                guard let count = try await self.store.publish(host: self.host) else {
                    // Until there is a webhook nobody needs to look at what is pushed.
                    await self.store.activity.wait(beyond: known, atMost: .seconds(60))
                    continue
                }
                if count > 0 {
                    self.store.activity.signal()
                    continue
                }
            } catch {
                self.logger.error("webhook events could not be made; tried again in a minute", metadata: ["error": "\(error)"])
            }
            await self.changes.wait(beyond: seen, atMost: .seconds(60))
        }
    }

    // MARK: Sending

    /// Who is on the way: webhook and repository.
    private struct Lane: Hashable, Sendable {
        let webhook: Int64
        let name: String
    }

    private struct Delivery: Sendable {
        let webhook: Webhook
        let sealedTarget: [UInt8]
        let event: WebhookEvent
        var lane: Lane { Lane(webhook: self.webhook.id, name: self.event.lane) }
    }

    /// The lanes that are being served.
    private final class Lanes: Sendable {
        private struct State {
            var busy: Set<Lane> = []
            /// Webhooks whose last event was not taken.
            var failing: Set<Int64> = []
            /// When each webhook was served last, by count.
            var served: [Int64: Int] = [:]
            var count = 0
        }

        private let state = Mutex(State())

        var all: Set<Lane> { self.state.withLock { $0.busy } }

        /// Whose turn it is: who was served longest ago first, and nobody a second time before all have had their first.
        func inTurn(_ due: [Delivery]) -> [Delivery] {
            let served = self.state.withLock { $0.served }
            var places: [Int64: Int] = [:]
            let numbered = due.map { delivery in
                let place = places[delivery.webhook.id, default: 0]
                places[delivery.webhook.id] = place + 1
                return (delivery, place, served[delivery.webhook.id] ?? 0)
            }
            return numbered.sorted { ($0.1, $0.2, $0.0.webhook.id) < ($1.1, $1.2, $1.0.webhook.id) }.map(\.0)
        }

        func enter(_ lane: Lane) -> Bool {
            self.state.withLock { state in
                let isFailing = state.failing.contains(lane.webhook)
                guard state.busy.count < maximumAtOnce,
                    state.busy.count(where: { $0.webhook == lane.webhook }) < (isFailing ? 1 : maximumForOne),
                    !isFailing || state.busy.count(where: { state.failing.contains($0.webhook) }) < maximumFailing,
                    state.busy.insert(lane).inserted
                else { return false }
                state.count += 1
                state.served[lane.webhook] = state.count
                return true
            }
        }

        func leave(_ lane: Lane, isAccepted: Bool) {
            self.state.withLock { state in
                state.busy.remove(lane)
                if isAccepted { state.failing.remove(lane.webhook) } else { state.failing.insert(lane.webhook) }
            }
        }
    }

    private func send() async {
        let lanes = Lanes()
        await withDiscardingTaskGroup { group in
            while !Task.isCancelled {
                let seen = self.store.activity.count
                var rest: Duration = .seconds(60)
                do {
                    let now = self.store.clock.milliseconds()
                    let (due, next) = try await self.due(now: now, except: lanes.all)
                    for delivery in lanes.inTurn(due) where lanes.enter(delivery.lane) {
                        group.addTask {
                            let isAccepted = await self.deliver(delivery)
                            lanes.leave(delivery.lane, isAccepted: isAccepted)
                            self.store.activity.signal()
                        }
                    }
                    if let next { rest = min(rest, .milliseconds(max(10, next - now))) }
                } catch {
                    self.logger.error("webhook events could not be read; tried again in a minute", metadata: ["error": "\(error)"])
                }
                await self.store.activity.wait(beyond: seen, atMost: rest)
            }
        }
    }

    /// The oldest event of each lane that is due, and when the next one will be.
    private func due(now: Int64, except busy: Set<Lane>) async throws -> (due: [Delivery], next: Int64?) {
        try await self.store.database.read { session in
            var due: [Delivery] = []
            var next: Int64?
            let webhooks = try session.rows("\(WebhookStore.select) WHERE enabled = 1").map(WebhookStore.decode)
            for webhook in webhooks {
                let rows = try session.rows(
                    """
                    SELECT \(WebhookEvent.columns), due FROM webhook_event WHERE sequence IN (
                        SELECT min(sequence) FROM webhook_event WHERE webhook = ? AND state = 0 GROUP BY lane) ORDER BY sequence
                    """, .integer(webhook.id))
                guard !rows.isEmpty else { continue }
                let target = try session.row("SELECT target FROM webhook WHERE id = ?", .integer(webhook.id))?.blob(0) ?? []
                for row in rows {
                    let time = row.integer(8)
                    // Nothing rests for longer: a time beyond was written by a clock that was ahead.
                    if time > now, time - now <= Self.longestRest {
                        next = min(next ?? time, time)
                    } else {
                        let delivery = Delivery(webhook: webhook, sealedTarget: target, event: try WebhookEvent(row))
                        if !busy.contains(delivery.lane) { due.append(delivery) }
                    }
                }
            }
            return (due, next)
        }
    }

    /// - Returns: whether the receiver has taken it.
    private func deliver(_ delivery: Delivery) async -> Bool {
        let event = delivery.event
        let (answer, isAccepted) = await self.attempt(delivery)
        let now = self.store.clock.milliseconds()
        let attempts = event.attempts + 1
        let state: WebhookEvent.State =
            isAccepted ? .delivered : now - event.created >= Self.patience ? .failed : .pending
        let rest = min(Self.longestRest, Self.firstRest << Int64(min(attempts - 1, 20)))
        if state == .failed {
            self.logger.warning(
                "webhook event given up",
                metadata: ["webhook": "\(delivery.webhook.name)", "event": "\(event.id)", "attempts": "\(attempts)"])
        }
        do {
            _ = try await self.store.database.write { session in
                try session.execute(
                    "UPDATE webhook_event SET state = ?, attempts = ?, due = ?, answer = ? WHERE sequence = ?", .integer(state.rawValue),
                    .integer(Int64(attempts)), .integer(now + rest), SQLValue(answer.serialized()), .integer(event.sequence))
                // What has ended long ago goes.
                try session.execute(
                    """
                    DELETE FROM webhook_event WHERE webhook = ?1 AND state <> 0 AND sequence <= (
                        SELECT sequence FROM webhook_event WHERE webhook = ?1 ORDER BY sequence DESC LIMIT 1 OFFSET ?2)
                    """, .integer(delivery.webhook.id), .integer(Int64(WebhookStore.history)))
            }
        } catch {
            // It is sent again: at least once.
            self.logger.error("the delivery of a webhook event could not be noted", metadata: ["error": "\(error)"])
            try? await Task.sleep(for: .seconds(1))
        }
        return isAccepted
    }

    /// - Returns: the answer in the form of `listEvents`, and whether it was a 2xx.
    private func attempt(_ delivery: Delivery) async -> (answer: JSONValue, isAccepted: Bool) {
        do {
            let target = try self.store.open(delivery.sealedTarget, delivery.webhook.name, delivery.webhook.registry)
            guard let url = SourceURL(target.serviceURI) else { return (["content": "the service URI cannot be read"], false) }
            let headers = [("Content-Type", "application/json; charset=utf-8"), ("User-Agent", self.userAgent)]
            let named = Set(target.customHeaders.keys.map { $0.lowercased() })
            let request = ClientRequest(
                "POST", url.endpoint, url.target,
                headers: headers.filter { !named.contains($0.0.lowercased()) } + target.customHeaders.map { ($0.key, $0.value) },
                body: Array(delivery.event.body.serialized().utf8), responseTimeout: Self.timeout)
            let response = try await self.transport.send(request)
            // A long answer gives its connection up; it is an answer all the same.
            let content = (try? await response.collect(limit: Self.longestAnswer)) ?? []
            var fields: [String: JSONValue] = [:]
            for (name, value) in response.headers.prefix(50) { fields[name] = .string(String(value.prefix(1024))) }
            let answer: JSONValue = [
                "content": .string(String(decoding: content, as: UTF8.self)), "headers": .object(fields),
                "statusCode": .string("\(response.status)"), "version": "1.1",
            ]
            return (answer, (200..<300).contains(response.status))
        } catch WebhookError.sealed {
            return (["content": "the service URI was sealed with another key: set it again"], false)
        } catch {
            return (["content": .string("no answer: \(error)")], false)
        }
    }
}
