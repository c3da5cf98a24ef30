// What travels through a connected registry for those below it: settings on the way down, status on the way up.

/// A connected registry below the one that is spoken to, as the operator set it.
package struct Descendant: Codable, Sendable, Hashable {
    /// The instance that was active when the ancestors last heard of it: a new instance of its parent goes on with that.
    package struct Lease: Codable, Sendable, Hashable {
        package var instance: String
        package var epoch: Int64

        package init(instance: String, epoch: Int64) {
            self.instance = instance
            self.epoch = epoch
        }
    }

    package var name: String
    /// The connected registry that is its parent.
    package var parent: String
    package var created: Int64
    package var mode: String
    package var schedule: String
    package var syncWindow: String?
    package var messageTtl: String
    package var garbageCollection: GatewaySettings.GarbageCollection
    package var logLevel: String
    package var auditLogs: Bool
    package var notifications: [String]
    package var resync: Int64?
    /// How often it has been deactivated by an operator: more often than its parent knows is an order.
    package var deactivations: Int64
    package var lease: Lease?
    /// With verifiers, never passwords.
    package var syncToken: GatewaySettings.ClientToken
    package var clientTokens: [GatewaySettings.ClientToken]
    package var scopeMaps: [GatewaySettings.ScopeMap]
    package var budget: ByteBudget?
    package var priorities: [String]?
    package var plan: Int64?
    package var onDemand: Bool?
    package var serveAfterRemoval: String?

    package init(
        name: String, parent: String, created: Int64, mode: String, schedule: String, syncWindow: String?, messageTtl: String,
        garbageCollection: GatewaySettings.GarbageCollection, logLevel: String, auditLogs: Bool, notifications: [String], resync: Int64?,
        deactivations: Int64, lease: Lease?, syncToken: GatewaySettings.ClientToken, clientTokens: [GatewaySettings.ClientToken],
        scopeMaps: [GatewaySettings.ScopeMap], budget: ByteBudget? = nil, priorities: [String]? = nil, plan: Int64? = nil,
        onDemand: Bool? = nil, serveAfterRemoval: String? = nil
    ) {
        self.onDemand = onDemand
        self.serveAfterRemoval = serveAfterRemoval
        self.budget = budget
        self.priorities = priorities
        self.plan = plan
        self.name = name
        self.parent = parent
        self.created = created
        self.mode = mode
        self.schedule = schedule
        self.syncWindow = syncWindow
        self.messageTtl = messageTtl
        self.garbageCollection = garbageCollection
        self.logLevel = logLevel
        self.auditLogs = auditLogs
        self.notifications = notifications
        self.resync = resync
        self.deactivations = deactivations
        self.lease = lease
        self.syncToken = syncToken
        self.clientTokens = clientTokens
        self.scopeMaps = scopeMaps
    }
}

/// A connected registry below the one that reports.
package struct DescendantStatus: Codable, Sendable, Hashable {
    package var name: String
    /// The instance that is active; absent when none is.
    package var instance: String?
    package var epoch: Int64
    /// The deactivations that its parent has carried out.
    package var deactivations: Int64
    package var version: String?
    package var loginServer: String?
    /// SHA-256 of its own CA's public key, which those below it pin.
    package var caPin: String?
    package var status: StatusReport?
    package var inStepSince: Int64?
    /// Milliseconds since its last sign of life: clocks on the way may be wrong.
    package var silence: Int64?

    package init(
        name: String, instance: String?, epoch: Int64, deactivations: Int64, version: String?, loginServer: String?, caPin: String?,
        status: StatusReport?, inStepSince: Int64?, silence: Int64?
    ) {
        self.name = name
        self.instance = instance
        self.epoch = epoch
        self.deactivations = deactivations
        self.version = version
        self.loginServer = loginServer
        self.caPin = caPin
        self.status = status
        self.inStepSince = inStepSince
        self.silence = silence
    }
}
