// Extensions of clusters and the agents that bring them about: what was asked for, and what was reported.

internal import ClusterProtocol
internal import Identity
internal import JSON
package import Persistence
internal import RegistryCore
internal import Synchronization

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// What is stored of an extension as it was asked for.
struct ExtensionDocument: Codable, Sendable, Hashable {
    var type: String
    var version: String?
    var releaseTrain: String?
    var upgradesMinorVersions: Bool
    /// As they were sent, without what is secret.
    var settings: [String: String]
    /// Names of the protected settings; their values are sealed elsewhere.
    var protectedNames: [String]
    var createdBy: String
    var createdByKind: String
    var modifiedBy: String
    var modifiedByKind: String
}

/// An extension with all that is known of it.
struct StoredExtension: Sendable {
    let cluster: String
    let name: String
    let id: String
    let document: ExtensionDocument
    let generation: Int64
    let removal: Removal?
    /// The last one, which may be about an earlier generation.
    let report: ExtensionReport?
    let created: Int64
    let updated: Int64

    /// Where it stands, in ARM's words.
    var state: ExtensionReport.State {
        if let report, report.generation == self.generation { return report.state }
        if self.removal != nil { return .deleting }
        return self.report == nil ? .creating : .updating
    }
}

/// What is known of the agent of a cluster.
struct StoredAgent: Sendable {
    let cluster: String
    /// When it last asked or reported, milliseconds since 1970; `nil` when it never has.
    let seen: Int64?
    let report: AgentReport?

    /// Milliseconds without a word after which an agent counts as away.
    static let patience: Int64 = 180_000

    func isConnected(at now: Int64) -> Bool { self.seen.map { now - $0 < Self.patience } ?? false }
}

/// The tables of extensions and agents.
package final class ClusterExtensionStore: Sendable {
    private let database: any Database
    private let secrets: SecretBox
    private let clock: WallClock
    /// Moves with each change, so that long polls look again.
    let activity = Activity()
    private let stopping = Mutex(false)

    /// - Parameter folder: where the key lies under which protected settings are sealed.
    package init(database: any Database, folder: String, clock: WallClock = .system) throws {
        self.database = database
        self.secrets = try SecretBox(
            path: "\(folder)/extension-settings.key", lost: "set the protected settings of each extension again")
        self.clock = clock
    }

    var isStopping: Bool { self.stopping.withLock { $0 } }

    /// Ends long polls.
    package func stop() {
        self.stopping.withLock { $0 = true }
        self.activity.signal()
    }

    // MARK: Reading

    private static let select =
        "SELECT cluster, name, id, document, generation, removal, report, created, updated FROM cluster_extension"

    private static func decode(_ row: SQLRow) throws -> StoredExtension {
        let decoder = JSONDecoder()
        return StoredExtension(
            cluster: row.text(0), name: row.text(1), id: row.text(2),
            document: try decoder.decode(ExtensionDocument.self, from: Data(row.text(3).utf8)), generation: row.integer(4),
            removal: row.optionalText(5).flatMap(Removal.init(rawValue:)),
            report: try row.optionalText(6).map { try decoder.decode(ExtensionReport.self, from: Data($0.utf8)) }, created: row.integer(7),
            updated: row.integer(8))
    }

    func extensions(of cluster: ResourceID) async throws -> [StoredExtension] {
        try await self.database.read {
            try $0.rows("\(Self.select) WHERE cluster = ? ORDER BY name", SQLValue(cluster.key)).map(Self.decode)
        }
    }

    func find(_ name: String, of cluster: ResourceID) async throws -> StoredExtension? {
        try await self.database.read {
            try $0.row("\(Self.select) WHERE cluster = ? AND name = ?", SQLValue(cluster.key), SQLValue(name)).map(Self.decode)
        }
    }

    /// - Returns: `nil` where they cannot be opened, because the key is another one than when they were set.
    func protectedSettings(of found: StoredExtension) async throws -> [String: String]? {
        let sealed = try await self.database.read {
            try $0.row(
                "SELECT sealed FROM cluster_extension WHERE cluster = ? AND name = ?", SQLValue(found.cluster), SQLValue(found.name))?
                .blob(0)
        }
        return try self.open(sealed ?? [], of: found)
    }

    private func open(_ sealed: [UInt8], of found: StoredExtension) throws -> [String: String]? {
        guard let bytes = self.secrets.open(sealed, for: Self.context(found.cluster, found.name)) else { return nil }
        return try JSONDecoder().decode([String: String].self, from: Data(bytes))
    }

    private static func context(_ cluster: String, _ name: String) -> String { "\(cluster)/\(name.lowercased())" }

    /// What the agent of a cluster is to bring about.
    func desired(of cluster: ResourceID) async throws -> DesiredState {
        let rows = try await self.database.read { session in
            try session.rows(
                """
                SELECT cluster, name, id, document, generation, removal, report, created, updated, sealed FROM cluster_extension
                    WHERE cluster = ? ORDER BY name
                """, SQLValue(cluster.key)
            ).map { (try Self.decode($0), $0.blob(9)) }
        }
        var wanted: [DesiredExtension] = []
        for (found, sealed) in rows {
            // What is to be removed is, whatever it was set to.
            guard let protected = try self.open(sealed, of: found) ?? (found.removal == nil ? nil : [:]) else {
                throw ResourceError(
                    .conflict, .conflict,
                    "The protected settings of '\(found.name)' cannot be opened: the key in the server's keys folder is another one than when "
                        + "they were set. Set them again with 'outport k8s-extension update --config-protected-file'.")
            }
            wanted.append(
                DesiredExtension(
                    name: found.name, generation: found.generation, type: found.document.type, version: found.document.version,
                    settings: found.document.settings, protectedSettings: protected, removal: found.removal))
        }
        let revision = wanted.map { "\($0.name.lowercased())=\($0.generation)" }.joined(separator: ",")
        return DesiredState(revision: revision.isEmpty ? "none" : revision, cluster: cluster.description, extensions: wanted)
    }

    // MARK: Changing

    /// Stores what is asked for, under a generation of its own.
    func put(
        _ document: ExtensionDocument, protected: [String: String], as name: String, id: String, of cluster: ResourceID
    ) async throws -> StoredExtension {
        let now = self.clock.milliseconds()
        let sealed = try self.secrets.seal(Array(try JSONEncoder().encode(protected)), for: Self.context(cluster.key, name))
        let text = String(decoding: try JSONEncoder().encode(document), as: UTF8.self)
        _ = try await self.database.write { session in
            try session.execute(
                """
                INSERT INTO cluster_extension (cluster, name, id, document, sealed, generation, created, updated)
                    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?6)
                ON CONFLICT (cluster, name) DO UPDATE SET document = excluded.document, sealed = excluded.sealed,
                    generation = max(excluded.generation, generation + 1), updated = excluded.updated
                """, SQLValue(cluster.key), SQLValue(name), SQLValue(id), SQLValue(text), .blob(sealed), .integer(now))
        }
        self.activity.signal()
        guard let stored = try await self.find(name, of: cluster) else {
            throw ResourceError(.notFound, .resourceNotFound, "The extension '\(name)' was removed while it was changed. Try again.")
        }
        return stored
    }

    /// Asks the agent to take an extension out.
    func markRemoved(_ found: StoredExtension, _ removal: Removal, of cluster: ResourceID) async throws -> StoredExtension? {
        let now = self.clock.milliseconds()
        _ = try await self.database.write { session in
            try session.execute(
                "UPDATE cluster_extension SET removal = ?, generation = max(?, generation + 1), updated = ? WHERE cluster = ? AND name = ?",
                SQLValue(removal.rawValue), .integer(now), .integer(now), SQLValue(found.cluster), SQLValue(found.name))
        }
        self.activity.signal()
        return try await self.find(found.name, of: cluster)
    }

    /// Forgets an extension, whatever is left of it in the cluster.
    func forget(_ found: StoredExtension) async throws {
        _ = try await self.database.write { session in
            try session.execute(
                "DELETE FROM cluster_extension WHERE cluster = ? AND name = ?", SQLValue(found.cluster), SQLValue(found.name))
        }
        self.activity.signal()
    }

    // MARK: Agents

    private static func agent(_ row: SQLRow) throws -> StoredAgent {
        StoredAgent(
            cluster: row.text(0), seen: row.optionalInteger(1),
            report: try row.optionalText(2).map { try JSONDecoder().decode(AgentReport.self, from: Data($0.utf8)) })
    }

    func agent(of cluster: ResourceID) async throws -> StoredAgent? {
        try await self.database.read {
            try $0.row("SELECT cluster, seen, report FROM cluster_agent WHERE cluster = ?", SQLValue(cluster.key)).map(Self.agent)
        }
    }

    /// Every agent, by the key of its cluster.
    func agents() async throws -> [String: StoredAgent] {
        let all = try await self.database.read { try $0.rows("SELECT cluster, seen, report FROM cluster_agent").map(Self.agent) }
        return Dictionary(all.map { ($0.cluster, $0) }) { first, _ in first }
    }

    /// Notes within another change that the cluster has an agent, with a new secret.
    static func registerAgent(of cluster: ResourceID, _ session: any SQLWriter) throws {
        try session.execute("INSERT INTO cluster_agent (cluster) VALUES (?) ON CONFLICT (cluster) DO NOTHING", SQLValue(cluster.key))
    }

    func sawAgent(of cluster: ResourceID) async throws {
        let now = self.clock.milliseconds()
        _ = try await self.database.write {
            try $0.execute("UPDATE cluster_agent SET seen = ? WHERE cluster = ?", .integer(now), SQLValue(cluster.key))
        }
    }

    /// Takes a report in. What is said of another generation than the current one is passed over.
    func take(_ report: AgentReport, of cluster: ResourceID) async throws {
        let now = self.clock.milliseconds()
        var kept = report
        kept.extensions = []
        let text = String(decoding: try JSONEncoder().encode(kept), as: UTF8.self)
        try await self.database.write { session in
            try session.execute(
                """
                UPDATE cluster_agent SET seen = ?, report = CASE WHEN ? THEN ? ELSE report END WHERE cluster = ?
                """, .integer(now), .integer(report.cluster == nil ? 0 : 1), SQLValue(text), SQLValue(cluster.key))
            for entry in report.extensions {
                let text = String(decoding: try JSONEncoder().encode(entry), as: UTF8.self)
                if entry.isRemoved {
                    try session.execute(
                        "DELETE FROM cluster_extension WHERE cluster = ? AND name = ? AND generation = ? AND removal IS NOT NULL",
                        SQLValue(cluster.key), SQLValue(entry.name), .integer(entry.generation))
                } else {
                    try session.execute(
                        "UPDATE cluster_extension SET report = ? WHERE cluster = ? AND name = ? AND generation = ?", SQLValue(text),
                        SQLValue(cluster.key), SQLValue(entry.name), .integer(entry.generation))
                }
            }
        }
        self.activity.signal()
    }
}

extension ResourceSchema {
    static let clusterExtensions = Migration(
        "resource-3-extensions",
        [
            """
            CREATE TABLE cluster_extension (
                cluster TEXT NOT NULL REFERENCES resource ON DELETE CASCADE, name TEXT NOT NULL COLLATE NOCASE, id TEXT NOT NULL,
                document TEXT NOT NULL, sealed BLOB NOT NULL, generation INTEGER NOT NULL, removal TEXT, report TEXT,
                created INTEGER NOT NULL, updated INTEGER NOT NULL, PRIMARY KEY (cluster, name)) WITHOUT ROWID
            """,
            """
            CREATE TABLE cluster_agent (
                cluster TEXT PRIMARY KEY REFERENCES resource ON DELETE CASCADE, seen INTEGER, report TEXT) WITHOUT ROWID
            """,
        ])
}
