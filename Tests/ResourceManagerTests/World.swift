// A whole control plane over a temporary folder, driven with requests as values.

import Gateway
import HTTPServing
import HTTPTypes
import Identity
import Import
import JSON
import Logging
import NIOCore
import NIOPosix
import Persistence
import RegistryClient
import RegistryCore
import ResourceManager
import Synchronization
import Testing
import Webhooks

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

/// A clock that stands still until it is told otherwise.
final class TestClock: Sendable {
    private let now = Mutex<Int64>(1_790_000_000_000)
    var wall: WallClock { WallClock { self.now.withLock { $0 } } }
    func advance(seconds: Int64) { self.now.withLock { $0 += seconds * 1000 } }
}

struct Answer: Sendable {
    let status: Int
    let headers: HTTPFields
    let body: JSONValue

    var code: String? { self.body[path: "error", "code"]?.stringValue }
    var target: String? { self.body[path: "error", "target"]?.stringValue }
    var message: String? { self.body[path: "error", "message"]?.stringValue }
    var values: [JSONValue] { self.body["value"]?.arrayValue ?? [] }
    var names: [String] { self.values.compactMap { $0["name"]?.stringValue } }
}

final class World: Sendable {
    static let pin = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

    let path: String
    let folder: DataFolder
    let database: SQLiteDatabase
    let clock: TestClock
    let services: ResourceManagerServices
    let lookup: RegistryLookup
    let bootstrap: Bootstrap
    let installation: Installation
    let secret: String
    let handler: ResourceManagerHandler
    private let token = Mutex<String>("")

    /// - Parameters:
    ///   - limits: tokens and scope maps of a registry.
    ///   - source: where imports reach; `nil` for a server without them.
    ///   - wrap: what stands between the stores and the database.
    init(
        suffix: String? = "registry.test:8443", pin: String? = World.pin,
        limits: (tokens: Int, scopeMaps: Int) = (IdentityStore.maximumTokens, IdentityStore.maximumScopeMaps),
        source: (any Transport)? = nil, through wrap: (any Database) -> any Database = { $0 }
    ) async throws {
        self.path = FileManager.default.temporaryDirectory.path + "/outport-rm-" + UUID().uuidString
        self.folder = try DataFolder(self.path)
        self.database = try SQLiteDatabase(
            path: self.folder.databasePath,
            migrations: RegistrySchema.migrations + IdentitySchema.migrations + GatewaySchema.migrations + ResourceSchema.migrations
                + WebhookSchema.migrations)
        let database = wrap(self.database)
        self.clock = TestClock()
        let wall = self.clock.wall
        let activity = Activity()
        let names = ServerNames(
            publicAddress: try #require(HostAndPort("127.0.0.1:8443")), aliases: [try #require(HostAndPort("localhost:8443"))],
            suffix: suffix.flatMap { HostAndPort($0) }, region: "eastus")
        let registries = RegistryStore(
            database: database, blobs: FileBlobStore(folder: self.folder, pool: .singleton), activity: activity, clock: wall)
        let identities = IdentityStore(database: database, clock: wall, limits: limits)
        let directory = Directory(database: database, clock: wall, passwords: PasswordHasher(logRounds: 4))
        self.lookup = RegistryLookup(names: names)
        let resources = ResourceStore(
            database: database, registries: registries, identities: identities, lookup: self.lookup, clock: wall)
        self.bootstrap = Bootstrap(database: database, directory: directory, clock: wall)
        var told = ""
        self.installation = try await self.bootstrap.create { told = $1 }
        self.secret = told
        let authority = try await TokenAuthority(folder: self.folder.keysPath, tenantID: self.installation.tenantID, clock: wall)
        var services = ResourceManagerServices(
            names: names, resources: resources, registries: registries, identities: identities, directory: directory, authority: authority,
            connectedRegistries: ConnectedRegistryStore(database: database, activity: activity, clock: wall),
            admins: try AdminUsers(database: database, folder: self.folder.keysPath, clock: wall),
            garbage: GarbageCollector(store: registries, uploads: Uploads(store: registries)), trustPin: pin,
            clock: wall)
        services.webhooks = try WebhookStore(database: database, folder: self.folder.keysPath, clock: wall)
        services.extensions = try ClusterExtensionStore(database: database, folder: self.folder.keysPath, clock: wall)
        if let source {
            services.importer = ImageImporter(store: registries, transport: source)
            services.imports = try ImportJobs(database: database, folder: self.folder.keysPath, clock: wall)
        }
        self.services = services
        try await resources.load()
        self.handler = ResourceManagerHandler(self.services)
        let principal = try #require(try await directory.administrator())
        let issued = try await authority.issue(
            .management, subject: .servicePrincipal(principal.objectID), audience: "https://localhost:8443")
        self.token.withLock { $0 = issued.token }
    }

    deinit { try? FileManager.default.removeItem(atPath: self.path) }

    var subscription: String { "/subscriptions/\(self.installation.subscriptionID)" }
    var group: String { self.subscription + "/resourceGroups/Edge" }
    func registry(_ name: String = "harbour") -> String { "\(self.group)/providers/Microsoft.ContainerRegistry/registries/\(name)" }

    /// The administrator's token, with one more header.
    func headers(_ name: HTTPField.Name?, _ value: String) -> HTTPFields {
        var fields: HTTPFields = [.authorization: "Bearer \(self.token.withLock { $0 })"]
        if let name { fields[name] = value }
        return fields
    }

    /// Sends a request with the administrator's token.
    func send(_ method: HTTPRequest.Method, _ path: String, _ body: JSONValue? = nil) async throws -> Answer {
        try await self.send(method, path, text: body?.serialized() ?? "")
    }

    func send(
        _ method: HTTPRequest.Method, _ path: String, text: String, headers: HTTPFields? = nil, host: String = "localhost:8443"
    ) async throws -> Answer {
        let fields: HTTPFields = headers ?? [.authorization: "Bearer \(self.token.withLock { $0 })"]
        let request = ServerRequest(
            method: method, path: path, headers: fields, host: HostAndPort(host), body: .init(buffer: ByteBuffer(string: text)),
            isSecure: true,
            remoteAddress: "127.0.0.1", correlationID: "c0ffee", logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        let response = try #require(try await self.handler.respond(to: request), "\(path) was not answered")
        var body = JSONValue.null
        if case .bytes(let buffer) = response.body, buffer.readableBytes > 0 { body = try JSONValue(parsing: buffer.readableBytesView) }
        return Answer(status: response.status.code, headers: response.headers, body: body)
    }

    /// A resource group and a Premium registry with its data endpoint on.
    @discardableResult
    func withRegistry(_ name: String = "harbour", sku: String = "Premium", dataEndpoint: Bool = true) async throws -> World {
        #expect([200, 201].contains(try await self.send(.put, self.group, ["location": "eastus"]).status))
        let answer = try await self.send(
            .put, self.registry(name),
            ["location": "eastus", "sku": ["name": .string(sku)], "properties": ["dataEndpointEnabled": .bool(dataEndpoint)]])
        #expect(answer.status == 201)
        return self
    }

    /// A token with a scope map that pulls everything.
    func withToken(_ name: String, registry: String = "harbour") async throws {
        let answer = try await self.send(
            .put, "\(self.registry(registry))/tokens/\(name)",
            ["properties": ["scopeMapId": .string("\(self.registry(registry))/scopeMaps/_repositories_pull")]])
        #expect(answer.status == 201)
    }

    /// The body of a connected registry whose sync token has its name.
    func connectedRegistryBody(_ token: String, parent: String? = nil, mode: String = "readonly") -> JSONValue {
        var body: JSONValue = [
            "properties": [
                "mode": .string(mode),
                "parent": [
                    "syncProperties": [
                        "tokenId": .string("\(self.registry())/tokens/\(token)"), "schedule": "* * * * *", "messageTtl": "P2D",
                        "authType": "SyncToken",
                    ]
                ],
                "logging": ["logLevel": "Information", "auditLogStatus": "Disabled"],
                "garbageCollection": ["enabled": "true", "schedule": "0 0 * * *"],
            ]
        ]
        if let parent { body[path: "properties", "parent", "id"] = .string("\(self.registry())/connectedRegistries/\(parent)") }
        return body
    }

    func withConnectedRegistry(_ name: String, parent: String? = nil, mode: String = "readonly") async throws {
        try await self.withToken(name)
        let answer = try await self.send(
            .put, "\(self.registry())/connectedRegistries/\(name)", self.connectedRegistryBody(name, parent: parent, mode: mode))
        #expect(answer.status == 201, "\(answer.body)")
    }
}
