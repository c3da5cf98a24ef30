// The messages of the sync protocol, gateway v1, as both ends encode them. Fields are only ever added; an unknown
// field is ignored, so that parent and child may differ in version.

package import OCI

/// Limits both ends keep.
package enum GatewayLimits {
    /// Seconds a long poll may wait at most.
    package static let maximumWait = 55
    /// Rows of a page.
    package static let maximumPage = 1000
    /// The largest request body, in bytes.
    package static let maximumBody = 1 << 20
    /// That of a heartbeat, which speaks for a whole tree.
    package static let maximumStatus = 16 << 20
}

/// `POST activate`
package struct ActivateRequest: Codable, Sendable, Hashable {
    package var instanceId: String
    /// The nonce of the last heartbeat; a copied disk gives itself away by an old one.
    package var nonce: String?
    package var version: String
    package var loginServer: String?
    package var caPin: String?
    package var gatewayAddress: String?
    /// How far the log has been followed: one that is ahead of it tells the parent that it has been restored from a backup.
    package var cursor: GatewayCursor?

    package init(
        instanceId: String, nonce: String?, version: String, loginServer: String?, caPin: String?, gatewayAddress: String?,
        cursor: GatewayCursor? = nil
    ) {
        self.cursor = cursor
        self.instanceId = instanceId
        self.nonce = nonce
        self.version = version
        self.loginServer = loginServer
        self.caPin = caPin
        self.gatewayAddress = gatewayAddress
    }
}

package struct ActivateResponse: Codable, Sendable, Hashable {
    package var epoch: Int64
    package var nonce: String
    /// Registry and name as the parent writes them.
    package var registry: String
    package var connectedRegistry: String

    package init(epoch: Int64, nonce: String, registry: String, connectedRegistry: String) {
        self.epoch = epoch
        self.nonce = nonce
        self.registry = registry
        self.connectedRegistry = connectedRegistry
    }
}

/// `GET settings`
package struct GatewaySettings: Codable, Sendable, Hashable {
    package struct GarbageCollection: Codable, Sendable, Hashable {
        package var enabled: Bool
        package var schedule: String

        package init(enabled: Bool, schedule: String) {
            self.enabled = enabled
            self.schedule = schedule
        }
    }

    package struct ClientToken: Codable, Sendable, Hashable {
        package struct Password: Codable, Sendable, Hashable {
            package var slot: String
            /// SHA-256 of the password; the value itself is known to nobody but its user.
            package var verifier: String
            package var created: Int64
            package var expiry: Int64?

            package init(slot: String, verifier: String, created: Int64, expiry: Int64?) {
                self.slot = slot
                self.verifier = verifier
                self.created = created
                self.expiry = expiry
            }
        }

        package var name: String
        package var enabled: Bool
        package var created: Int64
        package var scopeMap: String
        package var passwords: [Password]

        package init(name: String, enabled: Bool, created: Int64, scopeMap: String, passwords: [Password]) {
            self.name = name
            self.enabled = enabled
            self.created = created
            self.scopeMap = scopeMap
            self.passwords = passwords
        }
    }

    package struct ScopeMap: Codable, Sendable, Hashable {
        package var name: String
        package var system: Bool
        package var actions: [String]
        package var created: Int64

        package init(name: String, system: Bool, actions: [String], created: Int64) {
            self.name = name
            self.system = system
            self.actions = actions
            self.created = created
        }
    }

    package var mode: String
    /// Names and prefix wildcards.
    package var repositories: [String]
    package var schedule: String
    package var syncWindow: String?
    package var messageTtl: String
    package var garbageCollection: GarbageCollection
    package var logLevel: String
    package var notifications: [String]
    package var clientTokens: [ClientToken]
    package var scopeMaps: [ScopeMap]
    /// PEM certificates to trust for this gateway from now on, beside the pinned key.
    package var trustRoots: [String]
    package var parentEndpoints: [String]
    /// When the operator last asked for a comparison of whole state; another value than the last one is an order.
    package var resync: Int64?
    /// Connected registries below this one, parents before children.
    package var descendants: [Descendant]?
    /// How many bytes of content may come in an hour, a day, a month.
    package var budget: ByteBudget?
    /// Which repositories are fetched first: names and prefix wildcards.
    package var priorities: [String]?
    /// When the operator last asked what the next synchronisation would move; another value than the last one is an order.
    package var plan: Int64?
    /// Whether sign-ins, pushes, deletions and refusals are to be told; absent for no.
    package var auditLogs: Bool?
    /// Whether what clients pull before it has been synchronised is fetched while they wait; absent for no.
    package var onDemand: Bool?
    /// How long reads are served once the parent will not have this connected registry any more, as an ISO 8601 duration; absent for ever.
    package var serveAfterRemoval: String?

    package init(
        mode: String, repositories: [String], schedule: String, syncWindow: String?, messageTtl: String,
        garbageCollection: GarbageCollection,
        logLevel: String, notifications: [String], clientTokens: [ClientToken], scopeMaps: [ScopeMap], trustRoots: [String],
        parentEndpoints: [String], resync: Int64? = nil, descendants: [Descendant]? = nil, budget: ByteBudget? = nil,
        priorities: [String]? = nil, plan: Int64? = nil, auditLogs: Bool? = nil, onDemand: Bool? = nil,
        serveAfterRemoval: String? = nil
    ) {
        self.onDemand = onDemand
        self.serveAfterRemoval = serveAfterRemoval
        self.auditLogs = auditLogs
        self.budget = budget
        self.priorities = priorities
        self.plan = plan
        self.descendants = descendants
        self.resync = resync
        self.mode = mode
        self.repositories = repositories
        self.schedule = schedule
        self.syncWindow = syncWindow
        self.messageTtl = messageTtl
        self.garbageCollection = garbageCollection
        self.logLevel = logLevel
        self.notifications = notifications
        self.clientTokens = clientTokens
        self.scopeMaps = scopeMaps
        self.trustRoots = trustRoots
        self.parentEndpoints = parentEndpoints
    }
}

/// A place in the parent's log.
package struct GatewayCursor: Codable, Sendable, Hashable {
    package var log: String
    package var sequence: Int64

    package init(log: String, sequence: Int64) {
        self.log = log
        self.sequence = sequence
    }
}

/// `GET changes`
package struct ChangesPage: Codable, Sendable, Hashable {
    package struct Change: Codable, Sendable, Hashable {
        package var sequence: Int64
        package var repository: RepositoryName
        package var kind: String
        package var tag: Tag?
        package var digest: Digest?
        /// Milliseconds since 1970, by the parent's clock.
        package var time: Int64
        /// What is locked now of the tag, manifest or repository; absent for nothing.
        package var locks: Int64?

        package init(
            sequence: Int64, repository: RepositoryName, kind: String, tag: Tag?, digest: Digest?, time: Int64, locks: Int64? = nil
        ) {
            self.locks = locks
            self.sequence = sequence
            self.repository = repository
            self.kind = kind
            self.tag = tag
            self.digest = digest
            self.time = time
        }
    }

    package var changes: [Change]
    package var next: GatewayCursor
    package var atHead: Bool
    /// ETag of the settings: another one than the child has means fetch them first.
    package var settings: String
    /// With the page that reaches the head: the root of the parent's state at that moment.
    package var root: String?

    package init(changes: [Change], next: GatewayCursor, atHead: Bool, settings: String, root: String? = nil) {
        self.root = root
        self.changes = changes
        self.next = next
        self.atHead = atHead
        self.settings = settings
    }
}

/// `GET state`: the selected repositories that exist, and where the log stood.
package struct StateSummary: Codable, Sendable, Hashable {
    /// What is known of one repository without listing it.
    package struct Hash: Codable, Sendable, Hashable {
        /// SHA-256 of its buckets' hashes; absent without entries.
        package var hash: String?
        /// Tags and referrers.
        package var entries: Int

        package init(hash: String?, entries: Int) {
            self.hash = hash
            self.entries = entries
        }
    }

    package var repositories: [RepositoryName]
    package var cursor: GatewayCursor
    /// SHA-256 over names and hashes of the repositories that have entries.
    package var root: String?
    /// In the order of `repositories`.
    package var hashes: [Hash]?
    /// The child's root is the parent's: there is nothing to list.
    package var unchanged: Bool?

    package init(
        repositories: [RepositoryName], cursor: GatewayCursor, root: String? = nil, hashes: [Hash]? = nil, unchanged: Bool? = nil
    ) {
        self.repositories = repositories
        self.cursor = cursor
        self.root = root
        self.hashes = hashes
        self.unchanged = unchanged
    }
}

/// `GET state/{repository}`
package struct RepositoryStatePage: Codable, Sendable, Hashable {
    package struct Entry: Codable, Sendable, Hashable {
        package var tag: Tag
        package var digest: Digest

        package init(tag: Tag, digest: Digest) {
            self.tag = tag
            self.digest = digest
        }
    }

    package var tags: [Entry]
    /// With the first page: manifests that refer to a subject.
    package var referrers: [Digest]
    /// Ask again after this tag; absent on the last page.
    package var next: Tag?
    /// With the first page: manifests that are listed below an entry and that the parent does not hold.
    package var absent: [Digest]?
    /// With the first page: everything in the repository that is locked, itself included.
    package var locks: [LockEntry]?

    package init(tags: [Entry], referrers: [Digest], next: Tag?, absent: [Digest]? = nil, locks: [LockEntry]? = nil) {
        self.locks = locks
        self.absent = absent
        self.tags = tags
        self.referrers = referrers
        self.next = next
    }
}

/// How a synchronisation went; values are those of `registrySyncResult` of the resource.
package struct SyncResult: Codable, Sendable, Hashable {
    /// `InitialSync`, `ManualResync`, `RecoveryService`, `SyncTokenUpdate`.
    package var trigger: String
    /// `Syncing`, `Succeeded`, `Failed`, `Pending`.
    package var state: String
    /// Milliseconds since 1970.
    package var started: Int64
    package var ended: Int64?
    package var lastSuccess: Int64?

    package init(trigger: String, state: String, started: Int64, ended: Int64?, lastSuccess: Int64?) {
        self.trigger = trigger
        self.state = state
        self.started = started
        self.ended = ended
        self.lastSuccess = lastSuccess
    }
}

/// One entry of `statusDetails`.
package struct StatusDetail: Codable, Sendable, Hashable {
    package var type: String
    package var code: String
    package var description: String
    /// Milliseconds since 1970.
    package var timestamp: Int64

    package init(type: String, code: String, description: String, timestamp: Int64) {
        self.type = type
        self.code = code
        self.description = description
        self.timestamp = timestamp
    }
}

/// `POST status`: a heartbeat.
package struct StatusReport: Codable, Sendable, Hashable {
    package enum Phase: String, Codable, Sendable {
        case idle, syncing
        /// The child is about to end.
        case stopping
    }

    package var nonce: String
    package var phase: Phase
    package var version: String
    package var cursor: GatewayCursor?
    package var result: SyncResult?
    package var details: [StatusDetail]
    /// Bytes of content received from the parent since activation.
    package var bytesReceived: Int64
    package var diskFree: Int64?
    package var diskTotal: Int64?
    /// The root of the child's state.
    package var root: String?
    /// The resynchronisation by hand that was done last.
    package var resynced: Int64?
    /// Changes of the child's clients that the parent does not have yet; absent where the child is ReadOnly.
    package var outboxPending: Int64?
    /// Bytes of content sent to the parent since activation.
    package var bytesSent: Int64?
    /// What is known of the connected registries below.
    package var descendants: [DescendantStatus]?
    /// Bytes of the image under way that have not arrived; also while the window is closed.
    package var bytesLeft: Int64?
    /// What is spent of each budget there is.
    package var budget: [BudgetUse]?
    /// What the next synchronisation would move; told once for each order.
    package var plan: SyncPlan?

    package init(
        nonce: String, phase: Phase, version: String, cursor: GatewayCursor?, result: SyncResult?, details: [StatusDetail],
        bytesReceived: Int64,
        diskFree: Int64?, diskTotal: Int64?, root: String? = nil, resynced: Int64? = nil, outboxPending: Int64? = nil,
        bytesSent: Int64? = nil, descendants: [DescendantStatus]? = nil, bytesLeft: Int64? = nil, budget: [BudgetUse]? = nil,
        plan: SyncPlan? = nil
    ) {
        self.budget = budget
        self.plan = plan
        self.bytesLeft = bytesLeft
        self.descendants = descendants
        self.outboxPending = outboxPending
        self.bytesSent = bytesSent
        self.resynced = resynced
        self.root = root
        self.nonce = nonce
        self.phase = phase
        self.version = version
        self.cursor = cursor
        self.result = result
        self.details = details
        self.bytesReceived = bytesReceived
        self.diskFree = diskFree
        self.diskTotal = diskTotal
    }
}

package struct StatusResponse: Codable, Sendable, Hashable {
    /// To be kept and sent with the next heartbeat.
    package var nonce: String
    package var settings: String

    package init(nonce: String, settings: String) {
        self.nonce = nonce
        self.settings = settings
    }
}

/// A refusal.
package struct GatewayErrorBody: Codable, Sendable, Hashable {
    package struct Content: Codable, Sendable, Hashable {
        package var code: String
        package var message: String

        package init(code: String, message: String) {
            self.code = code
            self.message = message
        }
    }

    package var error: Content

    package init(code: String, message: String) { self.error = Content(code: code, message: message) }
}

/// Codes of ``GatewayErrorBody``.
package enum GatewayErrorCode: String, Sendable {
    case alreadyActivated = "ALREADY_ACTIVATED"
    case deactivated = "DEACTIVATED"
    case notFound = "CONNECTED_REGISTRY_NOT_FOUND"
    /// The gateway has nothing to give yet: its own first synchronisation is not over.
    case notReady = "NOT_READY"
    /// No gateway here now: another host name, or the data endpoint is off. A child tries again.
    case noGateway = "GATEWAY_NOT_FOUND"
    case unauthorized = "UNAUTHORIZED"
    case denied = "DENIED"
    case cursorGone = "COMPARE_STATE"
    case invalid = "INVALID_REQUEST"
    /// Something else stands at the parent.
    case conflict = "CONFLICT"
    /// The parent takes no changes now.
    case readOnly = "READ_ONLY"
}

/// The scope with which a child asks the token endpoint for a sync token.
package enum GatewayScope {
    package static func text(_ connectedRegistry: String) -> String { "gateway:\(connectedRegistry):sync" }
}
