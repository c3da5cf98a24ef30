// Speaks to a registry's data plane in the name of whoever is signed in, as `az acr repository` does.

import ArgumentParser
import JSON

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

/// `-u` and `-p` of a registry, in place of the sign-in.
struct RegistryCredentialOptions: ParsableArguments {
    @Option(name: [.customShort("u"), .long], help: "The username used to log into a container registry.")
    var username: String?

    @Option(name: [.customShort("p"), .long], help: "The password used to log into a container registry.")
    var password: String?

    @Option(help: "Accepted; the names of this server's registries have no such suffix.")
    var suffix: String?
}

/// A registry's data plane with a token for one scope.
struct RegistryData: Sendable {
    let session: ManagementSession
    let loginServer: String
    private let token: String

    /// Finds the registry and gets a token.
    ///
    /// - Parameter scope: such as `repository:app:metadata_read`.
    static func open(
        _ session: ManagementSession, _ registry: String, _ group: GroupOption, _ credentials: RegistryCredentialOptions, scope: String
    ) async throws(ManagementError) -> RegistryData {
        let body = try await session.client.get(try await session.registryPath(registry, group))
        guard let server = body[path: "properties", "loginServer"]?.stringValue else {
            throw ManagementError("The registry '\(registry)' names no login server.")
        }
        var fields: [(name: String, value: String)] = [("service", server), ("scope", scope)]
        switch (credentials.username, credentials.password) {
        case (let user?, let password?): fields += [("grant_type", "password"), ("username", user), ("password", password)]
        case (nil, nil):
            fields += [("grant_type", "refresh_token"), ("refresh_token", try await self.refreshToken(session, server))]
        default: throw .usage("--username and --password go together.")
        }
        let token = try await self.form(session, "https://\(server)/oauth2/token", fields, "access_token")
        return RegistryData(session: session, loginServer: server, token: token)
    }

    /// What the sign-in is exchanged for at a registry.
    static func refreshToken(_ session: ManagementSession, _ server: String) async throws(ManagementError) -> String {
        let access = try await session.accessToken(for: "https://containerregistry.azure.net").value
        return try await self.form(
            session, "https://\(server)/oauth2/exchange",
            [("grant_type", "access_token"), ("service", server), ("tenant", session.profile.tenantID), ("access_token", access)],
            "refresh_token")
    }

    private static func form(
        _ session: ManagementSession, _ url: String, _ fields: [(name: String, value: String)], _ member: String
    ) async throws(ManagementError) -> String {
        let request = ManagementRequest(
            method: .post, url: url, headers: [("Content-Type", "application/x-www-form-urlencoded"), ("Accept", "application/json")],
            body: Array(URLText.form(fields).utf8))
        let response = try await session.transport.send(request)
        guard response.isSuccess, let text = (try? JSONValue(parsing: response.body))?[member]?.stringValue else {
            throw self.refusal(response, request)
        }
        return text
    }

    /// `{"errors":[{"code","message"}]}`
    private static func refusal(_ response: ManagementResponse, _ request: ManagementRequest) -> ManagementError {
        guard let error = (try? JSONValue(parsing: response.body))?["errors"]?[0], let message = error["message"]?.stringValue else {
            return ManagementError(refusal: response, of: request)
        }
        return ManagementError(code: error["code"]?.stringValue, message, exitCode: response.status == 404 ? 3 : 1)
    }

    /// What the token permits on the repository it was asked for.
    var grantedActions: [String] {
        let parts = token.split(separator: ".")
        guard parts.count == 3 else { return [] }
        var text = String(parts[1]).replacing("-", with: "+").replacing("_", with: "/")
        text += String(repeating: "=", count: (4 - text.utf8.count % 4) % 4)
        guard let bytes = Data(base64Encoded: text), let claims = try? JSONValue(parsing: [UInt8](bytes)) else { return [] }
        return claims["access"]?[0]?["actions"]?.arrayValue?.compactMap { $0.stringValue } ?? []
    }

    /// Sends a request.
    ///
    /// - Throws: whatever the registry refuses.
    func send(
        _ method: ManagementRequest.Method, _ path: String, _ body: JSONValue? = nil, accept: String = "application/json"
    ) async throws(ManagementError) -> ManagementResponse {
        var request = ManagementRequest(
            method: method, url: "https://\(loginServer)\(path)", headers: [("Authorization", "Bearer \(token)"), ("Accept", accept)])
        if let body {
            request.headers.append(("Content-Type", "application/json"))
            request.body = Array(body.serialized().utf8)
        }
        let response = try await session.transport.send(request)
        guard response.isSuccess else { throw Self.refusal(response, request) }
        return response
    }

    /// The document that answers a request; null for none.
    func document(
        _ method: ManagementRequest.Method, _ path: String, _ body: JSONValue? = nil, accept: String = "application/json"
    ) async throws(ManagementError) -> JSONValue {
        let response = try await send(method, path, body, accept: accept)
        if response.body.isEmpty { return .null }
        do {
            return try JSONValue(parsing: response.body)
        } catch {
            throw ManagementError("The registry's answer for \(path) cannot be read: \(error)")
        }
    }

    /// Entries of every page, `top` at most.
    func list(_ path: String, _ member: String, _ page: PageOptions) async throws(ManagementError) -> [JSONValue] {
        try await list(
            from: "\(path)?n=\(min(page.top ?? 100, 100))\(page.orderby.map { "&orderby=\($0.wire)" } ?? "")", member, top: page.top)
    }

    /// Entries of a page and of those its links lead to, `top` at most.
    func list(from target: String, _ member: String, top: Int? = nil) async throws(ManagementError) -> [JSONValue] {
        var entries: [JSONValue] = []
        var next: String? = target
        while let target = next {
            let response = try await send(.get, target)
            entries += (try? JSONValue(parsing: response.body))?[member]?.arrayValue ?? []
            if let top, entries.count >= top { return Array(entries.prefix(top)) }
            let link = response.header("Link").map { String($0.dropFirst().prefix { $0 != ">" }) }
            // Only paths of this registry: the token goes along.
            next = link.flatMap { $0.hasPrefix("/") && $0 != target ? $0 : nil }
        }
        return entries
    }
}

/// `--top` and `--orderby`.
struct PageOptions: ParsableArguments {
    enum Order: String, Choice {
        case oldestFirst = "time_asc"
        case newestFirst = "time_desc"

        var wire: String { rawValue.replacing("_", with: "") }
    }

    @Option(help: "Limit the number of items in the results.")
    var top: Int?

    @Option(help: "Order the items in the results. Default to alphabetical order of names.")
    var orderby: Order?
}

/// The four attributes.
struct LockOptions: ParsableArguments {
    @Option(help: "Indicates whether delete operation is allowed.")
    var deleteEnabled: ThreeState?

    @Option(help: "Indicates whether this item shows in list operation results.")
    var listEnabled: ThreeState?

    @Option(help: "Indicates whether read operation is allowed.")
    var readEnabled: ThreeState?

    @Option(help: "Indicates whether write or delete operation is allowed.")
    var writeEnabled: ThreeState?

    var body: JSONValue {
        var body: JSONValue = [:]
        for (name, value) in [
            ("deleteEnabled", deleteEnabled), ("listEnabled", listEnabled), ("readEnabled", readEnabled), ("writeEnabled", writeEnabled),
        ] {
            if let value { body[path: name] = .bool(value.value) }
        }
        return body
    }
}

/// `repository`, `repository:tag` or `repository@digest`.
struct ImageName: Sendable {
    let repository: String
    let tag: String?
    let digest: String?

    init(_ text: String, defaultTag: String? = "latest") throws(ManagementError) {
        if let at = text.firstIndex(of: "@") {
            repository = String(text[..<at].split(separator: ":").first ?? "")
            (tag, digest) = (nil, String(text[text.index(after: at)...]))
        } else {
            let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            repository = String(parts.first ?? "")
            (tag, digest) = (parts.count == 2 ? String(parts[1]) : defaultTag, nil)
        }
        if repository.isEmpty { throw .usage("'\(text)' is no image: write REPOSITORY:TAG or REPOSITORY@DIGEST.") }
    }

    /// Where its attributes are.
    var path: String {
        let base = ImageName.path(repository)
        if let digest { return "\(base)/_manifests/\(digest)" }
        return tag.map { "\(base)/_tags/\(URLText.segment($0))" } ?? base
    }

    /// The member of the answer that holds them.
    var member: String? { digest != nil ? "manifest" : tag != nil ? "tag" : nil }

    static func path(_ repository: String) -> String {
        "/acr/v1/" + repository.split(separator: "/", omittingEmptySubsequences: false).map { URLText.segment($0) }.joined(separator: "/")
    }
}
