// What the control plane and the agent of a cluster tell each other. The agent asks, the control plane answers: only the agent connects.
//
// This target holds values alone: the messages, and the settings of the extension, which both sides must read alike.

/// What an agent is to bring about in its cluster.
package struct DesiredState: Codable, Sendable, Hashable {
    /// Changes whenever anything here does; a long poll names the one it has.
    package var revision: String
    /// The resource id of the cluster.
    package var cluster: String
    package var extensions: [DesiredExtension]

    package init(revision: String, cluster: String, extensions: [DesiredExtension]) {
        self.revision = revision
        self.cluster = cluster
        self.extensions = extensions
    }
}

/// How an extension is to go.
package enum Removal: String, Codable, Sendable, Hashable {
    case everything
    /// All but the volume with the content.
    case keepingData
}

/// An extension as it should be.
package struct DesiredExtension: Codable, Sendable, Hashable {
    package var name: String
    /// Grows with each change; reports name the one they are about.
    package var generation: Int64
    package var type: String
    /// The version that was asked for; `nil` for that of the agent.
    package var version: String?
    package var settings: [String: String]
    package var protectedSettings: [String: String]
    package var removal: Removal?

    package init(
        name: String, generation: Int64, type: String, version: String?, settings: [String: String], protectedSettings: [String: String],
        removal: Removal? = nil
    ) {
        self.name = name
        self.generation = generation
        self.type = type
        self.version = version
        self.settings = settings
        self.protectedSettings = protectedSettings
        self.removal = removal
    }
}

/// What an agent says about its cluster and the extensions there.
package struct AgentReport: Codable, Sendable, Hashable {
    package var agentVersion: String
    package var cluster: ClusterFacts?
    package var extensions: [ExtensionReport]

    package init(agentVersion: String, cluster: ClusterFacts?, extensions: [ExtensionReport]) {
        self.agentVersion = agentVersion
        self.cluster = cluster
        self.extensions = extensions
    }
}

/// What an agent has found out about its cluster.
package struct ClusterFacts: Codable, Sendable, Hashable {
    package var kubernetesVersion: String?
    package var totalNodeCount: Int?
    /// Who signs the tokens of service accounts, and its public keys (a JSON Web Key Set, RFC 7517).
    package var issuer: String?
    package var keys: String?

    package init(kubernetesVersion: String?, totalNodeCount: Int?, issuer: String? = nil, keys: String? = nil) {
        self.kubernetesVersion = kubernetesVersion
        self.totalNodeCount = totalNodeCount
        self.issuer = issuer
        self.keys = keys
    }
}

/// How far an extension has come.
package struct ExtensionReport: Codable, Sendable, Hashable {
    package enum State: String, Codable, Sendable {
        case creating = "Creating"
        case updating = "Updating"
        case deleting = "Deleting"
        case succeeded = "Succeeded"
        case failed = "Failed"
    }

    package var name: String
    package var generation: Int64
    package var state: State
    /// Whether nothing of it is left, and the record may go.
    package var isRemoved: Bool
    package var currentVersion: String?
    package var statuses: [ExtensionStatus]
    package var error: ExtensionError?
    /// Settings that were found out in the cluster, such as the default storage class.
    package var settings: [String: String]

    package init(
        name: String, generation: Int64, state: State, isRemoved: Bool = false, currentVersion: String? = nil,
        statuses: [ExtensionStatus] = [], error: ExtensionError? = nil, settings: [String: String] = [:]
    ) {
        self.name = name
        self.generation = generation
        self.state = state
        self.isRemoved = isRemoved
        self.currentVersion = currentVersion
        self.statuses = statuses
        self.error = error
        self.settings = settings
    }
}

/// One thing an agent has to say, in the form of `properties.statuses`.
package struct ExtensionStatus: Codable, Sendable, Hashable {
    package enum Level: String, Codable, Sendable {
        case information = "Information"
        case warning = "Warning"
        case error = "Error"
    }

    package var code: String
    package var displayStatus: String
    package var level: Level
    package var message: String

    package init(code: String, displayStatus: String, level: Level, message: String) {
        self.code = code
        self.displayStatus = displayStatus
        self.level = level
        self.message = message
    }
}

/// Why an extension is not as it should be, and what to do next (`properties.errorInfo`).
package struct ExtensionError: Error, Codable, Sendable, Hashable {
    /// Codes scripts may act on.
    package enum Code: String, Codable, Sendable, CaseIterable {
        case invalidSettings = "InvalidSettings"
        case unsupportedType = "UnsupportedExtensionType"
        case addressTaken = "ClusterIPTaken"
        case addressOutOfRange = "ClusterIPOutOfRange"
        case noDefaultStorageClass = "NoDefaultStorageClass"
        case storageClassNotFound = "StorageClassNotFound"
        case storageRefused = "StorageRefused"
        case volumeNotBound = "VolumeNotBound"
        case certificateUnusable = "CertificateUnusable"
        case certManagerMissing = "CertManagerMissing"
        case secretMissing = "SecretMissing"
        case imageMissing = "ImageNotPulled"
        case parentRefused = "ParentRefused"
        case notHealthy = "NotHealthy"
        case rolledBack = "RolledBack"
        case nodesNotReady = "NodesNotReady"
        case forbidden = "AgentForbidden"
        case unreachable = "ClusterUnreachable"
        case refused = "ClusterRefused"
        case foreign = "ForeignObject"
    }

    package var code: Code
    /// What was tried, why it failed and what to do next.
    package var message: String

    package init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }
}
