// People, programs and their tokens in a control plane under test.

import HTTPServing
import HTTPTypes
import Identity
import JSON
import Logging
import NIOCore
import ResourceManager
import Testing

/// Somebody who sends requests.
struct Actor: Sendable {
    let objectID: String
    let appID: String
    let secret: String
    let management: String
    let directory: String
}

extension World {
    static let client = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"
    static let arm = "https://localhost:8443/"
    static let graph = "https://localhost:8443/graph/"

    var directory: Directory { self.services.directory }
    var roles: RoleStore { self.services.directory.roles }

    /// A form to the token endpoint.
    func token(_ fields: [(String, String)]) async throws -> Answer {
        try await self.send(.post, "/adfs/oauth2/token", text: Self.form(fields), headers: [:])
    }

    static func form(_ fields: [(String, String)]) -> String {
        fields.map { "\($0.0)=\(self.encoded($0.1))" }.joined(separator: "&")
    }

    static func encoded(_ text: String) -> String {
        text.utf8.map { byte in
            (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte) || "-._~".utf8.contains(byte)
                ? String(decoding: [byte], as: UTF8.self)
                : "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true)
        }.joined()
    }

    /// A page of the sign-in.
    func page(_ method: HTTPRequest.Method, _ path: String, _ form: String, from address: String = "127.0.0.1") async throws -> (
        status: Int, headers: HTTPFields, text: String
    ) {
        let request = ServerRequest(
            method: method, path: path, headers: [:], host: HostAndPort("localhost:8443"), body: .init(buffer: ByteBuffer(string: form)),
            isSecure: true, remoteAddress: address, correlationID: "c0ffee",
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        let response = try #require(try await self.handler.respond(to: request))
        var text = ""
        if case .bytes(let buffer) = response.body { text = String(buffer: buffer) }
        return (response.status.code, response.headers, text)
    }

    func accessToken(_ appID: String, _ secret: String, _ resource: String) async throws -> String {
        let answer = try await self.token([
            ("client_id", appID), ("grant_type", "client_credentials"), ("client_secret", secret), ("scope", resource + "/.default"),
        ])
        return try #require(answer.body["access_token"]?.stringValue, "\(answer.body)")
    }

    /// The bootstrap principal.
    func administrator() async throws -> Actor {
        let principal = try #require(try await self.directory.administrator())
        return try await self.actor(principal, self.secret)
    }

    private func actor(_ principal: ServicePrincipal, _ secret: String) async throws -> Actor {
        Actor(
            objectID: principal.objectID, appID: principal.appID, secret: secret,
            management: try await self.accessToken(principal.appID, secret, Self.arm),
            directory: try await self.accessToken(principal.appID, secret, Self.graph))
    }

    /// A service principal with a secret, a role where one is given, and tokens it has signed in for.
    func actor(_ name: String, role: String? = nil, at scope: String? = nil) async throws -> Actor {
        let application = try await self.directory.createApplication(name, owner: nil)
        let principal = try await self.directory.createServicePrincipal(appID: application.appID, isEnabled: true, owner: nil)
        let (_, secret) = try await self.directory.addSecret(to: application.objectID, displayName: "test", start: nil, expiry: nil)
        if let role, let definition = RoleDefinition.all.first(where: { $0.name == role }) {
            _ = try await self.roles.assign(
                definition, to: principal.objectID, at: scope ?? self.subscription, name: Directory.identifier(), text: nil, by: "test")
        }
        return try await self.actor(principal, secret)
    }

    func send(_ method: HTTPRequest.Method, _ path: String, _ body: JSONValue? = nil, as actor: Actor) async throws -> Answer {
        let isDirectory = path.hasPrefix("/graph") || path.hasPrefix("/v1.0")
        return try await self.send(
            method, path, text: body?.serialized() ?? "",
            headers: [.authorization: "Bearer \(isDirectory ? actor.directory : actor.management)"])
    }

    /// A call to the directory; of the administrator unless somebody else is named.
    func graph(_ method: HTTPRequest.Method, _ path: String, _ body: JSONValue? = nil, as actor: Actor? = nil) async throws -> Answer {
        let caller: Actor
        if let actor { caller = actor } else { caller = try await self.administrator() }
        return try await self.send(method, "/graph/v1.0" + path, body, as: caller)
    }
}
