// A whole registry server in this process: handlers answer requests as values, without a socket.

package import DistributionAPI
package import Gateway
package import HTTPServing
package import HTTPTypes
package import HummingbirdCore
package import Identity
internal import Logging
internal import NIOCore
internal import OCI
internal import Persistence
package import RegistryCore
internal import Synchronization

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// A response read to its end.
package struct Answer: Sendable {
    package let status: Int
    package let headers: HTTPFields
    package let body: [UInt8]

    package func header(_ name: String) -> String? { HTTPField.Name(name).flatMap { self.headers[$0] } }
    package var text: String { String(decoding: self.body, as: UTF8.self) }

    private struct Errors: Decodable {
        struct Entry: Decodable {
            let code: String
            let message: String
            let detail: [String: String]?
        }
        let errors: [Entry]
    }

    /// The code of the first error, where the body has the form of the specification.
    package var code: String? { (try? JSONDecoder().decode(Errors.self, from: Data(self.body)))?.errors.first?.code }
    package var message: String? { (try? JSONDecoder().decode(Errors.self, from: Data(self.body)))?.errors.first?.message }
    package var detail: [String: String]? { (try? JSONDecoder().decode(Errors.self, from: Data(self.body)))?.errors.first?.detail }

    package func decode<Value: Decodable>(_ type: Value.Type = Value.self) throws -> Value {
        try JSONDecoder().decode(Value.self, from: Data(self.body))
    }

    /// Where the next request goes, without host.
    package var location: String { self.header("Location") ?? "" }
}

/// Knows one registry, whatever the host, except `foreign.test`.
private struct OneRegistry: RegistryDirectory {
    let registry: DataPlaneRegistry

    func registry(for host: HostAndPort?) async throws -> (registry: DataPlaneRegistry, host: HostAndPort)? {
        host?.host == "foreign.test" ? nil : (self.registry, host ?? HostAndPort(host: "harbour.test", port: nil))
    }
}

/// A server over a ``Site``.
package final class DataPlane: Sendable {
    package let site: Site
    package let authority: TokenAuthority
    package let directory: Directory
    package let admins: AdminUsers
    package let connectedRegistries: ConnectedRegistryStore
    package let gateway: GatewayHandler
    package let audience: String
    package let handlers: [any RequestHandler]
    private let makeHandlers: @Sendable (HotContent?) -> [any RequestHandler]

    /// What an owner may switch on.
    package struct Options: Sendable {
        package var isAdminUserEnabled = false
        package var allowsAnonymousPull = false
        package var quota: Int64?

        package init(isAdminUserEnabled: Bool = false, allowsAnonymousPull: Bool = false, quota: Int64? = nil) {
            self.isAdminUserEnabled = isAdminUserEnabled
            self.allowsAnonymousPull = allowsAnonymousPull
            self.quota = quota
        }
    }

    /// - Parameters:
    ///   - writeRefusal: makes the registry read-only.
    ///   - scope: the id at which roles are looked up.
    ///   - options: what the registry's owner has switched on.
    ///   - owner: the connected registry that this is; `nil` for the root.
    ///   - missing: asked for content that is not here.
    ///   - isReady: whether its gateway has content to compare with.
    package init(
        _ site: Site, audience: String = "registry/harbour", writeRefusal: String? = nil, scope: String? = nil,
        options: Options = Options(), owner: String? = nil, missing: (any MissingContent)? = nil, readRefusal: String? = nil,
        isReady: @escaping @Sendable () async -> Bool = { true }
    ) async throws {
        self.site = site
        self.audience = audience
        let wall = site.clock.wall
        self.authority = try await TokenAuthority(folder: site.folder.keysPath, tenantID: "tenant", clock: wall)
        self.admins = try AdminUsers(database: site.database, folder: site.folder.keysPath, clock: wall)
        self.directory = Directory(database: site.database, clock: wall, passwords: PasswordHasher(logRounds: 4))
        self.connectedRegistries = ConnectedRegistryStore(
            database: site.database, activity: site.activity, owner: owner, clock: wall, settings: site.settings)
        let access = AccessController(
            identities: site.identities, directory: self.directory, tokens: self.authority, leases: self.connectedRegistries,
            admins: self.admins)
        let registry = OneRegistry(
            registry: DataPlaneRegistry(
                id: site.registry, name: "harbour", audience: audience, writeRefusal: writeRefusal, scope: scope,
                isAdminUserEnabled: options.isAdminUserEnabled, allowsAnonymousPull: options.allowsAnonymousPull, quota: options.quota,
                readRefusal: readRefusal))
        let id = site.registry
        self.gateway = GatewayHandler(
            connectedRegistries: self.connectedRegistries, registries: site.store, identities: site.identities, tokens: self.authority,
            trustRoot: nil
        ) { _ in
            GatewayRegistry(
                id: id, name: "harbour", audience: audience, endpoints: ["harbour.test"], isReady: await isReady(),
                servesContent: readRefusal == nil)
        }
        let gateway = self.gateway
        self.makeHandlers = { hot in
            [
                DistributionHandler(
                    store: site.store, uploads: site.uploads, access: access, directory: registry, hot: hot, missing: missing),
                gateway,
                TokenEndpoint(access: access, directory: registry),
                MetadataHandler(store: site.store, access: access, directory: registry),
            ]
        }
        self.handlers = self.makeHandlers(nil)
        if owner == nil { try await site.identities.createSystemScopeMaps(in: site.registry) }
    }

    /// The handlers, the first of which tells `hot` what it has read.
    package func handlers(hot: HotContent?) -> [any RequestHandler] { self.makeHandlers(hot) }

    package func respond(
        _ method: HTTPRequest.Method, _ target: String, headers: HTTPFields = [:], body: RequestBody = RequestBody(buffer: ByteBuffer()),
        host: String = "harbour.test", isSecure: Bool = true
    ) async throws -> ServerResponse? {
        let request = ServerRequest(
            method: method, path: target, headers: headers, host: HostAndPort(host), body: body, isSecure: isSecure,
            remoteAddress: "127.0.0.1",
            correlationID: "c0ffee", logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        for handler in self.handlers {
            if let response = try await handler.respond(to: request) { return response }
        }
        return nil
    }

    /// Sends a request and reads the answer to its end.
    ///
    /// - Parameter body: sent with its length, unless `headers` say otherwise.
    package func send(
        _ method: HTTPRequest.Method, _ target: String, headers: HTTPFields = [:], body: [UInt8]? = nil, parts: Parts? = nil,
        host: String = "harbour.test", isSecure: Bool = true
    ) async throws -> Answer {
        var headers = headers
        if let body, headers[.contentLength] == nil { headers[.contentLength] = String(body.count) }
        let requestBody = parts.map { RequestBody(asyncSequence: $0) } ?? RequestBody(buffer: ByteBuffer(bytes: body ?? []))
        guard let response = try await self.respond(method, target, headers: headers, body: requestBody, host: host, isSecure: isSecure)
        else {
            return Answer(status: -1, headers: [:], body: [])
        }
        var bytes: [UInt8] = []
        switch response.body {
        case .none, .announced: break
        case .bytes(let buffer): bytes = Array(buffer.readableBytesView)
        case .blob(let reader, let range): bytes = Array(try await reader.read(at: range.lowerBound, count: range.count).readableBytesView)
        case .pieces(let reader, let pieces):
            for piece in pieces {
                switch piece {
                case .bytes(let buffer): bytes += buffer.readableBytesView
                case .range(let range): bytes += try await reader.read(at: range.lowerBound, count: range.count).readableBytesView
                }
            }
        }
        return Answer(status: response.status.code, headers: response.headers, body: method == .head ? [] : bytes)
    }

    // MARK: Credentials

    package static func basic(_ user: String, _ password: String) -> HTTPFields {
        [.authorization: "Basic " + Data("\(user):\(password)".utf8).base64EncodedString()]
    }

    package static func bearer(_ token: String) -> HTTPFields { [.authorization: "Bearer \(token)"] }

    /// A token with a password and a scope map of its own, where `actions` are given.
    package func client(_ name: String, actions: [String]? = nil, map: String = "_repositories_admin") async throws -> String {
        if let actions {
            try await self.site.identities.put(
                ScopeMap(name: "map-\(name)", text: nil, actions: try actions.map { try ScopeMapAction($0) }, created: 0),
                in: self.site.registry)
        }
        try await self.site.identities.putToken(
            name, scopeMap: actions == nil ? map : "map-\(name)", isEnabled: true, in: self.site.registry)
        let passwords = try await self.site.identities.generatePasswords([.password1], expiry: nil, token: name, in: self.site.registry)
        return passwords.values[.password1] ?? ""
    }

    /// Headers of a client with these actions.
    package func credentials(_ name: String, actions: [String]? = nil, map: String = "_repositories_admin") async throws -> HTTPFields {
        Self.basic(name, try await self.client(name, actions: actions, map: map))
    }
}
