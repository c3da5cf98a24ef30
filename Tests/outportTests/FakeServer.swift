// A resource manager in memory, so that the management commands can be tested down to the requests they send.

import ArgumentParser
import JSON

@testable import outport

/// Answers like the real thing where the commands look: documents by id, merge patches, lists, generated passwords.
actor FakeServer: ManagementTransport {
    struct Sent: Sendable {
        var method: String
        var path: String
        var query: String
        var body: JSONValue?
        var headers: [String: String]
        var text: String
    }

    static let origin = "https://parent.example:8443"
    static let subscription = "/subscriptions/sub-1"
    static let group = "/subscriptions/sub-1/resourceGroups/myGroup"
    static let registry = group + "/providers/Microsoft.ContainerRegistry/registries/myregistry"

    private(set) var sent: [Sent] = []
    private(set) var isShutDown = false
    /// By path in lower case.
    private(set) var documents: [String: JSONValue] = [:]
    /// Answers that come before all others, oldest first.
    private var scripted: [@Sendable (Sent) -> ManagementResponse?] = []
    private var passwords = 0

    init() {
        documents[Self.registry.lowercased()] = Self.document(
            Self.registry,
            [
                "location": "eastus", "sku": ["name": "Premium", "tier": "Premium"],
                "properties": [
                    "loginServer": "myregistry.outport.test:8443", "dataEndpointEnabled": true, "adminUserEnabled": false,
                    "dataEndpointHostNames": ["myregistry.eastus.data.outport.test:8443"], "creationDate": "2026-01-02T03:04:05.6789Z",
                ],
            ])
    }

    static func document(_ id: String, _ body: JSONValue) -> JSONValue {
        var document = body
        document["id"] = .string(id)
        document["name"] = .string(id.split(separator: "/").last.map(String.init) ?? "")
        return document
    }

    func set(_ id: String, _ body: JSONValue) { documents[id.lowercased()] = Self.document(id, body) }

    func document(_ id: String) -> JSONValue? { documents[id.lowercased()] }

    func script(_ answer: @escaping @Sendable (Sent) -> ManagementResponse?) { scripted.append(answer) }

    /// Methods and last path segments, without token requests: `GET myregistry`.
    var log: [String] {
        sent.filter { !$0.path.hasSuffix("/token") }.map { "\($0.method) \($0.path.split(separator: "/").last ?? "")" }
    }

    func shutdown() async { isShutDown = true }

    func send(_ request: ManagementRequest) async throws(ManagementError) -> ManagementResponse {
        let parts = request.url.dropFirst(Self.origin.count).split(separator: "?", maxSplits: 1)
        let text = String(decoding: request.body ?? [], as: UTF8.self)
        let sent = Sent(
            method: request.method.rawValue, path: parts.first.map(String.init) ?? "", query: parts.count > 1 ? String(parts[1]) : "",
            body: try? JSONValue(parsing: text), headers: Dictionary(request.headers.map { ($0.name, $0.value) }) { first, _ in first },
            text: text)
        self.sent.append(sent)
        for (index, answer) in scripted.enumerated() {
            if let response = answer(sent) {
                scripted.remove(at: index)
                return response
            }
        }
        return answer(sent)
    }

    private func answer(_ sent: Sent) -> ManagementResponse {
        let key = sent.path.lowercased()
        switch (sent.method, key) {
        case ("GET", "/metadata/endpoints"):
            return Self.ok([
                "name": "self",
                "authentication": ["loginEndpoint": "https://parent.example:8443/adfs", "audiences": ["https://parent.example:8443/"]],
                "suffixes": ["acrLoginServer": "outport.test:8443"],
            ])
        case ("GET", "/adfs/.well-known/openid-configuration"):
            return Self.ok(["token_endpoint": "https://parent.example:8443/adfs/oauth2/token"])
        case ("POST", "/adfs/oauth2/token"):
            return Self.ok(["token_type": "Bearer", "expires_in": 3600, "access_token": .string("token-\(self.sent.count)")])
        case ("GET", "/subscriptions"):
            return Self.ok([
                "value": [
                    ["subscriptionId": "sub-1", "displayName": "First", "state": "Enabled", "tenantId": "tenant-1"],
                    ["subscriptionId": "sub-2", "displayName": "Gone", "state": "Disabled", "tenantId": "tenant-1"],
                ]
            ])
        case ("GET", "/subscriptions/sub-1/resources"):
            return Self.ok(["value": .array(documents.filter { $0.key.split(separator: "/").count == 8 }.map(\.value))])
        case ("POST", _) where key.hasSuffix("/generatecredentials"): return generate(sent)
        case ("POST", _) where key.hasSuffix("/deactivate"): return ManagementResponse(status: 200)
        case ("GET", _):
            if let document = documents[key] { return Self.ok(document) }
            let depth = key.split(separator: "/").count
            if ["registries", "scopemaps", "tokens", "connectedregistries", "resourcegroups"].contains(key.split(separator: "/").last ?? "")
            {
                let items = documents.filter { $0.key.hasPrefix(key + "/") && $0.key.split(separator: "/").count == depth + 1 }
                return Self.ok(["value": .array(items.sorted { $0.key < $1.key }.map(\.value))])
            }
            return Self.refusal(404, "ResourceNotFound", "The resource '\(sent.path)' was not found.")
        case ("PUT", _):
            documents[key] = Self.document(sent.path, sent.body ?? .null)
            return Self.ok(documents[key] ?? .null, status: 201)
        case ("PATCH", _):
            guard var document = documents[key] else { return Self.refusal(404, "ResourceNotFound", "There is no \(sent.path).") }
            document.apply(mergePatch: sent.body ?? .null)
            documents[key] = document
            return Self.ok(document)
        case ("DELETE", _): return ManagementResponse(status: documents.removeValue(forKey: key) == nil ? 204 : 200)
        default: return Self.refusal(405, "MethodNotAllowed", sent.method)
        }
    }

    private func generate(_ sent: Sent) -> ManagementResponse {
        let names = sent.body?["name"]?.stringValue.map { [$0] } ?? ["password1", "password2"]
        let made = names.map { name -> JSONValue in
            passwords += 1
            return ["name": .string(name), "value": .string("secret\(passwords)=="), "creationTime": "2026-01-01T00:00:00Z"]
        }
        let token = sent.body?["tokenId"]?.stringValue?.split(separator: "/").last.map(String.init) ?? ""
        return Self.ok(["username": .string(token), "passwords": .array(made)])
    }

    static func ok(_ body: JSONValue, status: Int = 200, headers: [(name: String, value: String)] = []) -> ManagementResponse {
        ManagementResponse(status: status, headers: headers, body: Array(body.serialized().utf8))
    }

    static func refusal(_ status: Int, _ code: String, _ message: String) -> ManagementResponse {
        ok(["error": ["code": .string(code), "message": .string(message)]], status: status)
    }
}

/// A terminal in memory.
final class FakeConsole: Console, @unchecked Sendable {
    let isInteractive: Bool
    let showsColor = false
    // Commands under test write from one task at a time.
    private(set) var output = ""
    private(set) var notes: [String] = []
    private var answers: [String]

    init(answers: [String] = []) {
        isInteractive = !answers.isEmpty
        self.answers = answers
    }

    func write(_ text: String) { output += text }
    func note(_ text: String) { notes.append(text) }

    func ask(_ question: String) -> String? {
        notes.append(question)
        return answers.isEmpty ? nil : answers.removeFirst()
    }
}

/// Runs command lines against a ``FakeServer``.
struct Harness {
    let server: FakeServer
    let console: FakeConsole

    init(answers: [String] = []) { self.init(server: FakeServer(), console: FakeConsole(answers: answers)) }

    init(server: FakeServer, console: FakeConsole) {
        self.server = server
        self.console = console
    }

    static var profile: Profile {
        Profile(
            server: FakeServer.origin, cloudName: "self", audience: "https://parent.example:8443/",
            tokenEndpoint: FakeServer.origin + "/adfs/oauth2/token", loginServerSuffix: ".outport.test:8443", tenantID: "tenant-1",
            clientID: "app-1", clientSecret: "s3cret",
            subscriptions: [.init(id: "sub-1", name: "First", state: "Enabled", tenantID: "tenant-1")],
            defaultSubscription: "sub-1", token: .init(value: "kept", expires: 2_000_000_000))
    }

    func client(_ profile: Profile = profile, sleep: @escaping @Sendable (Duration) -> Void = { _ in }) -> ManagementClient {
        ManagementClient(profile: profile, transport: server, now: { 1_767_225_600 }, sleep: { sleep($0) })
    }

    /// - Returns: the exit code.
    @discardableResult
    func run(_ arguments: String...) async -> Int32 { await run(list: arguments) }

    func run(list arguments: [String]) async -> Int32 {
        let command: any ParsableCommand
        do {
            command = try await TestRoot.asyncParseAsRoot(arguments)
        } catch {
            console.note(TestRoot.fullMessage(for: error))
            return 2
        }
        guard let command = command as? any ManagementCommand else { return 99 }
        do {
            try await command.run(console: console) { global, console throws(ManagementError) in
                ManagementSession(
                    client: client(), profile: Self.profile, subscription: try Self.profile.subscription(global.subscription),
                    console: console, transport: server, showsWarnings: !global.onlyShowErrors, now: { 1_767_225_600 })
            }
            return 0
        } catch {
            return error.rawValue
        }
    }
}

struct TestRoot: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "outport",
        subcommands: [
            LoginCommand.self, LogoutCommand.self, AccountCommand.self, GroupCommand.self, ACRCommand.self, RoleCommand.self,
            ADCommand.self, ConnectedClusterCommand.self, ClusterExtensionCommand.self, KubernetesCommand.self,
        ])
}
