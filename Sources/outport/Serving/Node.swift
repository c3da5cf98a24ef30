// What parent and child are both made of: a data folder with its database, content, identities and certificates.

internal import Foundation
internal import Gateway
internal import HTTPServing
internal import Identity
internal import Logging
internal import NIOPosix
internal import OCI
internal import Persistence
internal import RegistryCore
internal import ResourceManager
internal import ServiceLifecycle
internal import SyncAgent
internal import Webhooks

/// The version that is reported to parents and printed.
let outportVersion = "0.1.0"

/// The layers below a role.
struct Node: Sendable {
    /// Threads for blocking file operations: pushes wait for the disk, not for each other.
    private static let threads = 16

    let folder: DataFolder
    /// Whether the folder had a database before.
    let isKnown: Bool
    let pool: NIOThreadPool
    let database: SQLiteDatabase
    let activity: Activity
    /// Moves before `activity`, when tokens or scope maps have changed.
    let settings: Activity
    /// What large content that arrives is gathered in.
    let segments: SegmentPool
    let store: RegistryStore
    let uploads: Uploads
    let identities: IdentityStore

    init(data: String) async throws {
        FileSystem.raiseDescriptorLimit()
        self.folder = try DataFolder(data)
        self.isKnown = (FileSystem.status(self.folder.databasePath)?.size ?? 0) > 0
        guard self.isKnown || !self.folder.hasContent else {
            // A new one would know nothing of what lies here, and the collector would take it all for what a crash has left.
            throw ServingError(
                "the data folder \(self.folder.path) has keys or content, but its database \(self.folder.databasePath) is missing or empty: restore outport.db, and outport.db-wal where there is one, from the same backup, or give another folder"
            )
        }
        self.pool = NIOThreadPool(numberOfThreads: Self.threads)
        self.pool.start()
        self.database = try SQLiteDatabase(
            path: self.folder.databasePath,
            migrations: RegistrySchema.migrations + IdentitySchema.migrations + GatewaySchema.migrations + ResourceSchema.migrations
                + SyncSchema.migrations + WebhookSchema.migrations)
        let (activity, settings) = (Activity(), Activity())
        self.activity = activity
        self.settings = settings
        let blobs = FileBlobStore(folder: self.folder, pool: self.pool)
        self.segments = blobs.segments
        self.store = RegistryStore(database: self.database, blobs: blobs, activity: activity)
        self.uploads = Uploads(store: self.store)
        self.identities = IdentityStore(database: self.database) {
            settings.signal()
            activity.signal()
        }
    }

    /// Keeps the certificate to serve with: a given one, or one of the own CA, which is made when there is none.
    func certificates(
        given: (certificate: String, key: String)?, names: ServerNames, commonName: String, authority: String? = nil, logger: Logger
    ) throws -> CertificateKeeper {
        let source: CertificateSource
        if let given {
            source = .given(certificate: given.certificate, key: given.key)
        } else {
            let folder = self.folder.tlsPath
            let authority = try CertificateAuthority(folder: authority ?? folder, commonName: commonName, now: Date())
            if authority.isNew, self.isKnown {
                logger.warning(
                    "a new certificate authority was made: who trusts another one of this server does not reach it",
                    metadata: ["authority": .string(folder + "/ca.pem")])
            }
            source = .authority(authority, folder: folder)
        }
        return try CertificateKeeper(source: source, names: names.certificateNames(), logger: logger)
    }

    /// Runs until SIGTERM or SIGINT; services end in reverse order, what is under way is finished, but not for ever.
    static func run(_ services: [any Service]) async throws {
        var configuration = ServiceGroupConfiguration(
            services: services.map { .init(service: $0) }, gracefulShutdownSignals: [.sigterm, .sigint],
            logger: Self.logger("outport.services", level: .warning))
        configuration.maximumGracefulShutdownDuration = .seconds(120)
        try await ServiceGroup(configuration: configuration).run()
    }

    func close() async {
        try? await self.database.close()
        try? await self.pool.shutdownGracefully()
    }

    /// Logs to standard error, one line an event.
    static func logger(_ label: String, level: Logger.Level) -> Logger {
        var logger = Logger(label: label) { StreamLogHandler.standardError(label: $0) }
        logger.logLevel = level
        return logger
    }
}

/// An error of the command line's own: a sentence.
struct ServingError: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

/// Prints the result of a command, which has failed where that cannot be written.
func printResult(_ text: String) { StandardConsole().write(text + "\n") }

/// Tells who started a server how it does. Where nobody can be told it goes on all the same.
func announce(_ text: String) { StandardConsole().tell(text) }
