// Speaks to the resource manager: tokens, retries, pages and operations that take their time.

import JSON

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

/// A signed-in client of one server.
///
/// A token is fetched when there is none or it has run out, and once more when the server refuses it with 401; the claims
/// of the refusal are sent along, so that a server may revoke tokens early. Every address the server hands out (next
/// pages, operations) must be on the server itself, because the token goes with the request.
actor ManagementClient {
    private var profile: Profile
    private let transport: any ManagementTransport
    private let signIn: SignIn
    /// Told of each new token, so that the next command need not fetch one.
    private let keep: @Sendable (Profile) -> Void
    private let sleep: @Sendable (Duration) async throws -> Void
    private let trace: @Sendable (String) -> Void
    /// Seconds for the whole answer to a request to come.
    private var patience: Int64 = 120

    /// How often a request is repeated. `az` has ten, which is minutes of silence; these are half a minute.
    private static let maximumRetries = 5
    /// The pause between polls when the server does not say.
    private static let defaultPollInterval = 5.0

    init(
        profile: Profile, transport: any ManagementTransport, now: @escaping @Sendable () -> Int,
        keep: @escaping @Sendable (Profile) -> Void = { _ in },
        sleep: @escaping @Sendable (Duration) async throws -> Void = { try await Task.sleep(for: $0) },
        trace: @escaping @Sendable (String) -> Void = { _ in }
    ) {
        self.profile = profile
        self.transport = transport
        self.keep = keep
        self.sleep = sleep
        self.trace = trace
        signIn = SignIn(transport: transport, now: now)
    }

    // MARK: - Operations

    /// Waits longer for answers than is usual, for what takes its time at the server.
    func wait(seconds: Int64) { patience = seconds }

    /// The document at a path.
    func get(_ path: String, query: [(String, String)] = []) async throws(ManagementError) -> JSONValue {
        try document(of: try await send(.get, url(path, query)), of: path)
    }

    /// The document at a path, nil when there is none.
    func find(_ path: String) async throws(ManagementError) -> JSONValue? {
        do {
            return try await get(path)
        } catch {
            if error.exitCode == 3 { return nil }
            throw error
        }
    }

    func exists(_ path: String) async throws(ManagementError) -> Bool {
        do {
            return try await send(.head, url(path)).isSuccess
        } catch {
            if error.exitCode == 3 { return false }
            throw error
        }
    }

    /// Every page of a list.
    func list(_ path: String, query: [(String, String)] = []) async throws(ManagementError) -> [JSONValue] {
        var items: [JSONValue] = []
        var next: String? = url(path, query)
        var visited: Set<String> = []
        while let page = next {
            guard visited.insert(page).inserted else {
                throw ManagementError("The server's list at \(path) leads back to a page already read.")
            }
            let document = try document(of: try await send(.get, page), of: path)
            items += document["value"]?.arrayValue ?? []
            next = try (document["nextLink"] ?? document["@odata.nextLink"])?.stringValue.flatMap { $0.isEmpty ? nil : $0 }.map(own)
        }
        return items
    }

    /// Creates or replaces, and waits until that is done unless told otherwise.
    func put(_ path: String, _ body: JSONValue, wait: Bool = true) async throws(ManagementError) -> JSONValue {
        if !wait { return try optionalDocument(of: try await send(.put, url(path), body), of: path) ?? .null }
        return try await operate(.put, path, body) ?? .null
    }

    /// Changes, and waits until that is done unless told otherwise.
    func patch(_ path: String, _ body: JSONValue, wait: Bool = true) async throws(ManagementError) -> JSONValue {
        if !wait { return try optionalDocument(of: try await send(.patch, url(path), body), of: path) ?? .null }
        return try await operate(.patch, path, body) ?? .null
    }

    /// Starts an action, waits until it is done and returns its result, if it has one.
    @discardableResult
    ///
    /// - Parameter progress: told of what the server says while it is not done.
    func post(
        _ path: String, _ body: JSONValue? = nil, progress: (JSONValue) -> Void = { _ in }
    ) async throws(ManagementError) -> JSONValue? {
        try await operate(.post, path, body, progress: progress)
    }

    /// Starts an action and leaves it.
    func start(_ path: String, _ body: JSONValue?) async throws(ManagementError) { _ = try await send(.post, url(path), body) }

    /// Deletes, and waits until that is done unless told otherwise.
    func delete(_ path: String, query: [(String, String)] = [], wait: Bool = true) async throws(ManagementError) {
        if wait {
            _ = try await operate(.delete, path, nil, query: query)
        } else {
            _ = try await send(.delete, url(path, query))
        }
    }

    // MARK: - Long-running operations

    /// Sends a change and follows it in whichever of ARM's styles the server answers: at once, by the state in the body,
    /// by `Azure-AsyncOperation` or by `Location`.
    private func operate(
        _ method: ManagementRequest.Method, _ path: String, _ body: JSONValue?, query: [(String, String)] = [],
        progress: (JSONValue) -> Void = { _ in }
    ) async throws(ManagementError) -> JSONValue? {
        let target = url(path, query)
        let first = try await send(method, target, body)
        let location = try first.header("Location").map(own)
        if let operation = try first.header("Azure-AsyncOperation").map(own) {
            var delay = first.retryAfter
            while true {
                let answer = try await send(.get, operation)
                let state = try document(of: answer, of: path)
                switch state["status"]?.stringValue?.lowercased() {
                case "succeeded":
                    switch method {
                    case .put, .patch: return try document(of: try await send(.get, target), of: path)
                    case .post:
                        guard let location else { return nil }
                        return try optionalDocument(of: try await send(.get, location), of: path)
                    default: return nil
                    }
                case "failed", "canceled": throw failure(state, path)
                default:
                    delay = answer.retryAfter ?? delay
                    try await pause(delay ?? Self.defaultPollInterval)
                }
            }
        }
        if first.status == 202, let location {
            var answer = first
            repeat {
                if let said = try? optionalDocument(of: answer, of: path) { progress(said) }
                try await pause(answer.retryAfter ?? Self.defaultPollInterval)
                answer = try await send(.get, location)
            } while answer.status == 202
            return try optionalDocument(of: answer, of: path)
        }
        var document = try optionalDocument(of: first, of: path)
        guard method == .put || method == .patch else { return document }
        var delay = first.retryAfter ?? 1
        while let state = document?[path: "properties", "provisioningState"]?.stringValue, !Self.isTerminal(state) {
            try await pause(delay)
            let answer = try await send(.get, target)
            delay = answer.retryAfter ?? Self.defaultPollInterval
            document = try optionalDocument(of: answer, of: path)
        }
        if let document, let state = document[path: "properties", "provisioningState"]?.stringValue?.lowercased(),
            state == "failed" || state == "canceled"
        {
            throw failure(document["properties"] ?? .null, path)
        }
        return document
    }

    private static func isTerminal(_ state: String) -> Bool { ["succeeded", "failed", "canceled"].contains(state.lowercased()) }

    private func failure(_ state: JSONValue, _ path: String) -> ManagementError {
        ManagementError(
            code: state[path: "error", "code"]?.stringValue,
            state[path: "error", "message"]?.stringValue ?? "The operation on \(path) did not succeed and the server does not say why.")
    }

    func pause(_ seconds: Double) async throws(ManagementError) {
        do {
            try await sleep(.milliseconds(Int64(seconds * 1000)))
        } catch {
            throw ManagementError("The command was interrupted while it waited for the server.")
        }
    }

    // MARK: - Requests

    private func url(_ path: String, _ query: [(String, String)] = []) -> String {
        // The `$` of `$filter` stays as it is, as azure-core sends it.
        let items = ([("api-version", Self.version(of: path))] + query).map { "\($0.0)=\(URLText.encoded($0.1))" }
        return profile.server + path + "?" + items.joined(separator: "&")
    }

    private static func version(of path: String) -> String {
        if path.contains("Microsoft.Authorization/roleAssignments") { return "2022-04-01" }
        if path.contains("Microsoft.ContainerRegistry") { return "2026-09-01-preview" }
        let isSubscription = path.split(separator: "/").count <= 2
        return isSubscription ? "2022-12-01" : "2024-11-01"
    }

    /// An address from the server, refused when it is not on the server.
    private func own(_ url: String) throws(ManagementError) -> String {
        let absolute = url.hasPrefix("/") ? URLText.origin(profile.server) + url : url
        guard URLText.origin(absolute) == URLText.origin(profile.server) else {
            throw ManagementError(
                "The server sent this command on to \(URLText.origin(absolute)), where its token must not go.",
                advice: "Check the server's public address.")
        }
        return absolute
    }

    /// Sends a request with a token, repeats it where that may help, and throws when it is refused.
    private func send(
        _ method: ManagementRequest.Method, _ url: String, _ body: JSONValue? = nil
    ) async throws(ManagementError) -> ManagementResponse {
        var request = ManagementRequest(method: method, url: url, body: body.map { Array($0.serialized().utf8) })
        request.patience = patience
        let identifier = UUID().uuidString.lowercased()
        var retries = 0
        var isTokenFresh = false
        var challenge: JSONValue?
        while true {
            let token = try await token(renewing: isTokenFresh, challenge)
            request.headers = [
                ("Authorization", "Bearer \(token)"), ("Accept", "application/json"), ("User-Agent", "outport"),
                ("x-ms-client-request-id", identifier),
            ]
            if body != nil { request.headers.append(("Content-Type", "application/json")) }
            let response = try await transport.send(request)
            trace("\(request.summary) → \(response.status)")
            if response.isSuccess { return response }
            if response.status == 401, !isTokenFresh {
                isTokenFresh = true
                challenge = response.header("WWW-Authenticate").flatMap(Self.claims)
                continue
            }
            guard retries < Self.maximumRetries, Self.mayRepeat(method, response) else {
                throw ManagementError(refusal: response, of: request)
            }
            let delay = response.retryAfter ?? 0.8 * Double(1 << retries)
            retries += 1
            isTokenFresh = false
            try await pause(delay)
        }
    }

    private static func mayRepeat(_ method: ManagementRequest.Method, _ response: ManagementResponse) -> Bool {
        if response.retryAfter != nil { return true }
        switch method {
        case .post, .patch: return [500, 503, 504].contains(response.status)
        default: return [408, 429, 500, 502, 503, 504].contains(response.status)
        }
    }

    /// A token for somebody else to use, and when it ends.
    func accessToken() async throws(ManagementError) -> Profile.AccessToken {
        _ = try await token(renewing: false, nil)
        return profile.token ?? Profile.AccessToken(value: "", expires: 0)
    }

    private func token(renewing: Bool, _ challenge: JSONValue?) async throws(ManagementError) -> String {
        if !renewing, let token = profile.token, token.expires > signIn.now() + 60 { return token.value }
        let grant = try await signIn.token(for: profile, challenge: challenge)
        profile.token = grant.token
        if let refreshToken = grant.refreshToken { profile.refreshToken = refreshToken }
        keep(profile)
        return grant.token.value
    }

    /// The claims of `WWW-Authenticate: Bearer error="insufficient_claims", claims="<base64 of JSON>"`.
    static func claims(in header: String) -> JSONValue? {
        guard let start = header.firstRange(of: "claims=\"")?.upperBound else { return nil }
        var text = String(header[start...].prefix { $0 != "\"" }).replacing("-", with: "+").replacing("_", with: "/")
        while text.utf8.count % 4 != 0 { text += "=" }
        return Data(base64Encoded: text).flatMap { try? JSONValue(parsing: $0) }
    }

    private func document(of response: ManagementResponse, of path: String) throws(ManagementError) -> JSONValue {
        do {
            return try JSONValue(parsing: response.body)
        } catch {
            throw ManagementError("The server's answer for \(path) cannot be read: \(error)")
        }
    }

    private func optionalDocument(of response: ManagementResponse, of path: String) throws(ManagementError) -> JSONValue? {
        response.body.isEmpty ? nil : try document(of: response, of: path)
    }
}
