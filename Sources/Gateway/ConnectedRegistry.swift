// A connected registry as its parent knows it: what was configured, and what its instance reported.

package import GatewayProtocol
internal import OCI
package import Schedule

/// A refusal of a change to a connected registry.
package struct ConnectedRegistryError: Error, Sendable, CustomStringConvertible {
    package enum Code: String, Sendable {
        case invalidName
        case invalidField
        case notFound
        case conflict
        case limitReached
    }

    package let code: Code
    /// The member of the resource that is wrong, as ARM names it.
    package let field: String?
    package let message: String

    package init(_ code: Code, field: String? = nil, _ message: String) {
        self.code = code
        self.field = field
        self.message = message
    }

    package var description: String { self.message }
}

/// Whether clients of a connected registry may write.
package enum ConnectedRegistryMode: String, Sendable, Codable, CaseIterable {
    case readOnly = "ReadOnly"
    case readWrite = "ReadWrite"

    /// Any letter case, as `az` sends it.
    package init?(_ text: String) {
        guard let match = Self.allCases.first(where: { $0.rawValue.lowercased() == text.lowercased() }) else { return nil }
        self = match
    }
}

/// What an operator has set.
package struct ConnectedRegistryConfiguration: Sendable, Hashable, Codable {
    /// Client tokens that may be attached unless the server is told otherwise.
    package static let maximumClientTokens = 20

    package var mode: ConnectedRegistryMode
    /// The name of the parent connected registry; `nil` below the root.
    package var parent: String?
    package var schedule: CronSchedule
    package var syncWindow: ISODuration?
    package var messageTtl: MessageTTL
    /// Names of attached client tokens.
    package var clientTokens: [String]
    package var notifications: [String]
    package var logLevel: String
    package var auditLogsEnabled: Bool
    package var garbageCollectionEnabled: Bool
    package var garbageCollectionSchedule: CronSchedule
    /// Bytes of content it may receive in an hour, a day, a month.
    package var budget: ByteBudget?
    /// Repositories and prefix wildcards in the order in which they are fetched; others come after them.
    package var priorities: [String]?
    /// Whether what clients pull before it has been synchronised is fetched while they wait; off unless it is set.
    package var onDemand: Bool?
    /// How long it serves reads once it has been removed, deactivated or locked out; `nil` for ever.
    package var serveAfterRemoval: ISODuration?
    /// With what it is to sign in at its parent, where that is no sync token.
    package var identity: Identity?

    /// A user-assigned identity of the control plane.
    package struct Identity: Sendable, Hashable, Codable {
        package let resource: String
        package let client: String
        package let principal: String

        package init(resource: String, client: String, principal: String) {
            self.resource = resource
            self.client = client
            self.principal = principal
        }

        /// What stands in place of a sync token's name: no token can be called so.
        package static func placeholder(_ name: String) -> String { "identity:\(name.lowercased())" }
    }

    package static let maximumPriorities = 100

    package static let logLevels = ["Debug", "Information", "Warning", "Error", "None"]

    package init(
        mode: ConnectedRegistryMode = .readOnly, parent: String? = nil, schedule: CronSchedule = .continuous,
        syncWindow: ISODuration? = nil,
        messageTtl: MessageTTL = .default, clientTokens: [String] = [], notifications: [String] = [], logLevel: String = "Information",
        auditLogsEnabled: Bool = false, garbageCollectionEnabled: Bool = true, garbageCollectionSchedule: CronSchedule,
        budget: ByteBudget? = nil, priorities: [String]? = nil, onDemand: Bool? = nil, serveAfterRemoval: ISODuration? = nil
    ) {
        self.onDemand = onDemand
        self.serveAfterRemoval = serveAfterRemoval
        self.budget = budget
        self.priorities = priorities
        self.mode = mode
        self.parent = parent
        self.schedule = schedule
        self.syncWindow = syncWindow
        self.messageTtl = messageTtl
        self.clientTokens = clientTokens
        self.notifications = notifications
        self.logLevel = logLevel
        self.auditLogsEnabled = auditLogsEnabled
        self.garbageCollectionEnabled = garbageCollectionEnabled
        self.garbageCollectionSchedule = garbageCollectionSchedule
    }

    /// - Throws: ``ConnectedRegistryError`` naming the field.
    func validate(maximumClientTokens: Int = Self.maximumClientTokens) throws(ConnectedRegistryError) {
        do {
            // Also checks that a window is there exactly where the schedule is not continuous.
            _ = try SyncWindow(schedule: self.schedule, duration: self.syncWindow)
        } catch {
            throw .init(.invalidField, field: "properties.parent.syncProperties.syncWindow", error.description)
        }
        guard self.clientTokens.count <= maximumClientTokens else {
            throw .init(
                .limitReached, field: "properties.clientTokenIds",
                "\(self.clientTokens.count) client tokens are attached; the limit is \(maximumClientTokens)")
        }
        guard Self.logLevels.contains(self.logLevel) else {
            throw .init(
                .invalidField, field: "properties.logging.logLevel",
                "log level '\(self.logLevel)' is none of \(Self.logLevels.joined(separator: ", "))")
        }
        try self.validateTraffic()
        for pattern in self.notifications {
            do {
                _ = try NotificationPattern(pattern)
            } catch {
                throw .init(.invalidField, field: "properties.notificationsList", error.description)
            }
        }
    }
}

/// A connected registry with what its instance last reported.
package struct ConnectedRegistry: Sendable {
    package let name: String
    package let syncToken: String
    package let configuration: ConnectedRegistryConfiguration
    /// Milliseconds since 1970.
    package let created: Int64
    /// The instance that is active.
    package let instance: String?
    package let epoch: Int64
    package let report: Report?
    package var lastActivity: Int64?
    /// When a comparison of whole state was last asked for; milliseconds since 1970.
    package let resync: Int64?
    /// How often it has been deactivated.
    package let deactivations: Int64
    /// When it was last asked what its next synchronisation would move; milliseconds since 1970.
    package let plan: Int64?

    /// The last heartbeat and what was said at activation.
    package struct Report: Sendable, Hashable, Codable {
        package var version: String
        package var loginServer: String?
        package var status: StatusReport?
        /// Milliseconds since 1970 from when on every heartbeat told of the content that is here too; `nil` while it differs.
        package var inStepSince: Int64?
        /// SHA-256 of its own CA's public key; `nil` where its certificate is of another authority.
        package var caPin: String?
        /// Synchronisations that have ended, the last one first.
        package var history: [SyncResult]?
        /// What its next synchronisation would have moved when that was last asked.
        package var plan: SyncPlan?

        private static let historyLength = 20

        /// Takes a heartbeat in.
        package mutating func take(_ status: StatusReport) {
            self.status = status
            if let plan = status.plan {
                self.plan = plan
                self.status?.plan = nil
            }
            guard let result = status.result, result.ended != nil || result.state == "Pending" else { return }
            var history = self.history ?? []
            // Another attempt at the same one takes its place.
            if history.first?.started == result.started, history.first?.trigger == result.trigger { history.removeFirst() }
            self.history = Array(([result] + history).prefix(Self.historyLength))
        }
    }

    /// Whether a resynchronisation was asked for that the instance has not finished.
    package var isResyncPending: Bool { self.resync != nil && self.resync != self.report?.status?.resynced }

    package var isActive: Bool { self.instance != nil }

    /// Whether nobody has ever been active here, and nobody has been deactivated: what is known here is older than any activation. A parent
    /// that was replaced before it could tell its own of its child, or was restored, must not end the child for good.
    var isUnheardOf: Bool { self.instance == nil && self.deactivations == 0 }

    /// Connection states as `az` prints them.
    package enum ConnectionState: String, Sendable {
        case online = "Online"
        case offline = "Offline"
        case syncing = "Syncing"
        case unhealthy = "Unhealthy"
    }

    /// Milliseconds without a sign of life after which a connected registry counts as offline: three missed long polls,
    /// or, where a schedule allows heartbeats only every five minutes, two of those and a bit.
    package var offlineAfter: Int64 { self.configuration.schedule.isContinuous ? 90_000 : 660_000 }

    /// Derived from the last sign of life and the last report, never stored.
    package func connectionState(now: Int64) -> ConnectionState {
        guard self.isActive, let lastActivity, now - lastActivity <= self.offlineAfter, let status = self.report?.status,
            status.phase != .stopping
        else {
            return .offline
        }
        if status.details.contains(where: { $0.type == "Error" }) { return .unhealthy }
        return status.phase == .syncing ? .syncing : .online
    }

    /// 5 to 40 characters: a letter, then letters, digits, `-` and `_`.
    package static func isValidName(_ name: String) -> Bool {
        guard (5...40).contains(name.utf8.count), let first = name.utf8.first, ASCII.isLetter(first) else { return false }
        return name.utf8.allSatisfy { ASCII.isLetter($0) || ASCII.isDigit($0) || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: "_") }
    }
}
