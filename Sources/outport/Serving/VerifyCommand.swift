// `outport verify`: whether everything in a data folder is still what was acknowledged.

internal import ArgumentParser
internal import Foundation
internal import JSON
internal import Persistence
internal import RegistryCore
internal import SyncAgent

/// How offline commands print their findings.
enum ReportFormat: String, CaseIterable, ExpressibleByArgument, Sendable {
    case table, json
}

/// Reads and hashes everything; exit status 1 when something is damaged.
struct VerifyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify", abstract: "Read and hash everything in a data folder that is not in use.",
        discussion: """
            Compares every file with its row, every manifest with its digest, and follows every reference. Ends with 0 when all is well and with
            1 when something is damaged.

            With --quarantine damaged files are moved to DATA/quarantine and their rows are removed: clients are told that the blob or manifest
            is unknown instead of getting bad bytes, and the next push or synchronisation brings it back.

            Example: outport verify --data /var/lib/outport --rate 50 -o json
            """)

    @Option(help: "The data folder.")
    var data: String

    @Option(name: [.customShort("o"), .long], help: "Output format: table or json.")
    var output: ReportFormat = .table

    @Option(help: ArgumentHelp("Read no more than this many MiB each second.", valueName: "mib"))
    var rate: Int?

    @Flag(help: "Move damaged files aside and remove their rows.")
    var quarantine = false

    func validate() throws {
        guard (1...1 << 20).contains(rate ?? 1) else { throw ValidationError("--rate takes a number of MiB from 1 to \(1 << 20)") }
    }

    func run() async throws {
        let node = try await Node.opened(data: self.data)
        let report: VerificationReport
        do {
            report = try await self.verify(node)
        } catch {
            await node.close()
            throw error
        }
        await node.close()
        printResult(self.output == .json ? report.json.serialized(pretty: true) : report.table)
        if !report.damage.isEmpty { throw ExitCode(1) }
    }

    private func verify(_ node: Node) async throws -> VerificationReport {
        let total = try await ContentVerifier(store: node.store).size()
        let pace = VerifyPace(total: total, bytesPerSecond: self.rate.map { Int64($0) << 20 }) { StandardConsole().note($0) }
        let verifier = ContentVerifier(store: node.store) { try await pace.add($0) }
        var report = try await verifier.verify()
        guard self.quarantine, !report.damage.isEmpty else { return report }
        let folder = node.folder.path + "/quarantine"
        let files = FileBlobStore(folder: node.folder, pool: node.pool)
        try await verifier.quarantine(&report) { blob in
            try await files.setAside(blob, to: folder)
        } keep: { name, bytes in
            try FileSystem.createFolder(folder)
            let path = "\(folder)/manifest-\(name)"
            try FileSystem.replace(path, with: bytes)
            return path
        }
        // A connected registry fetches what is missing when it compares state with its parent.
        try await SyncMemoryStore.forgetCursor(in: node.database)
        return report
    }
}

/// Tells how far a verification has come, and holds it back.
actor VerifyPace {
    private let total: Int64
    private let bytesPerSecond: Int64?
    private let tell: @Sendable (String) -> Void
    private let begin = ContinuousClock.now
    private var done: Int64 = 0
    private var told = ContinuousClock.now

    init(total: Int64, bytesPerSecond: Int64?, tell: @escaping @Sendable (String) -> Void) {
        self.total = total
        self.bytesPerSecond = bytesPerSecond
        self.tell = tell
    }

    func add(_ bytes: Int64) async throws {
        self.done += bytes
        if let bytesPerSecond {
            try await Task.sleep(until: self.begin + .milliseconds(self.done * 1000 / bytesPerSecond), clock: .continuous)
        }
        guard ContinuousClock.now - self.told > .seconds(2) else { return }
        self.told = .now
        let part = self.total > 0 ? min(100, self.done * 100 / self.total) : 100
        self.tell("\(self.done >> 20) of \(self.total >> 20) MiB verified (\(part) %)")
    }
}

extension Node {
    /// The layers over a data folder that is there: a misspelt path is refused and not made.
    static func opened(data: String) async throws -> Node {
        guard FileSystem.exists(data + "/outport.db") else {
            throw ServingError(
                "there is no data folder at \(data); give the folder that 'outport serve' or 'outport connect' uses with --data")
        }
        return try await Node(data: data)
    }
}

extension VerificationReport {
    var json: JSONValue {
        [
            "blobs": .integer(self.blobs), "manifests": .integer(self.manifests), "tags": .integer(self.tags),
            "bytes": .integer(self.bytes),
            "strayFiles": .integer(self.strayFiles), "clean": .bool(self.damage.isEmpty),
            "damage": .array(
                self.damage.map { damage in
                    [
                        "problem": .string(damage.problem.rawValue), "subject": .string(damage.subject),
                        "repository": .string(orNull: damage.repository), "message": .string(damage.message),
                    ]
                }), "quarantined": .strings(self.quarantined),
        ]
    }

    var table: String {
        var lines: [String] = []
        if !self.damage.isEmpty {
            lines.append(
                TableText.render(
                    self.damage.map { damage in
                        [
                            (header: "PROBLEM", cell: damage.problem.rawValue), (header: "SUBJECT", cell: damage.subject),
                            (header: "REPOSITORY", cell: damage.repository ?? ""), (header: "MESSAGE", cell: damage.message),
                        ]
                    }))
            lines.append("")
        }
        lines += self.quarantined.map { "moved to \($0)" }
        var summary = "\(self.blobs) blobs, \(self.manifests) manifests, \(self.tags) tags, \(self.bytes) bytes: "
        summary += self.damage.isEmpty ? "all as acknowledged" : "\(self.damage.count) damaged"
        if self.strayFiles > 0 { summary += "; \(self.strayFiles) files belong to nothing and go with the next 'outport gc'" }
        lines.append(summary)
        return lines.joined(separator: "\n")
    }
}
