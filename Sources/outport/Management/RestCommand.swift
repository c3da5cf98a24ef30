// `outport rest`: any request to the server, with the sign-in's token.

import ArgumentParser
import JSON

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

struct RestCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "rest", abstract: "Invoke a custom request.",
        discussion: """
            A URL that begins with / is one of the server's. {subscriptionId} stands for the current subscription. The token goes to the
            server alone.

            Example: outport rest --method get --url /subscriptions/{subscriptionId}/resources?api-version=2024-11-01
            """)

    enum Method: String, Choice { case head, get, put, post, delete, options, patch }

    @Option(name: [.customShort("u"), .customLong("url"), .customLong("uri")], help: "Request URL.")
    var url: String

    @Option(name: [.customShort("m"), .long], help: "HTTP request method.")
    var method: Method = .get

    @Option(parsing: .upToNextOption, help: "Space-separated headers in KEY=VALUE format, or JSON, or @FILE with JSON.")
    var headers: [String] = []

    @Option(
        name: [.customLong("uri-parameters"), .customLong("url-parameters")], parsing: .upToNextOption,
        help: "Query parameters in the URL: KEY=VALUE …, or JSON, or @FILE with JSON.")
    var parameters: [String] = []

    @Option(name: [.customShort("b"), .long], help: "Request body, or @FILE to read it from.")
    var body: String?

    @Flag(help: "Do not send a token.")
    var skipAuthorizationHeader = false

    @Option(help: "What the token is for. Found out from the URL where it is missing.")
    var resource: String?

    @Option(help: "Save the response's payload to a file.")
    var outputFile: String?

    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let profile = session.profile
        var address = url.replacing("{subscriptionId}", with: session.subscription?.id ?? "")
        if address.hasPrefix("/") { address = profile.server + address }
        let isDirectory = profile.directory.map { address.hasPrefix($0 + "/") } ?? false
        let added = try Self.pairs(parameters, "--url-parameters")
        if !added.isEmpty { address += (address.contains("?") ? "&" : "?") + URLText.form(added) }
        var fields = try Self.pairs(headers, "--headers")
        func has(_ name: String) -> Bool { fields.contains { $0.name.lowercased() == name.lowercased() } }
        let content = try body.map { (text) throws(ManagementError) in try Self.text(text, "--body") }
        if content != nil, !has("Content-Type") { fields.append(("Content-Type", "application/json")) }
        if !skipAuthorizationHeader, !has("Authorization") {
            // A token is for the server that gave it, whatever a URL says.
            let isOurs = [profile.server, profile.directory ?? profile.server].contains { URLText.origin($0) == URLText.origin(address) }
            guard isOurs else {
                throw ManagementError(
                    "'\(URLText.origin(address))' is not the server that is signed in to; the token does not go there.",
                    advice: "Add --skip-authorization-header, or an Authorization header of your own.")
            }
            fields.append(("Authorization", "Bearer \(try await self.token(session, isDirectory))"))
        }
        let request = ManagementRequest(
            method: ManagementRequest.Method(rawValue: method.rawValue.uppercased()) ?? .get, url: address, headers: fields,
            body: content.map { Array($0.utf8) })
        let response = try await session.transport.send(request)
        guard response.isSuccess else {
            // The text alone is what scripts look into; the exit code is 1 whatever the status.
            throw ManagementError("\(response.status) (\(String(decoding: response.body, as: UTF8.self)))")
        }
        if let outputFile {
            do {
                try Data(response.body).write(to: URL(filePath: outputFile))
            } catch {
                throw ManagementError("'\(outputFile)' cannot be written: \(error)", advice: "Check --output-file.")
            }
            return nil
        }
        if response.body.isEmpty { return nil }
        if let document = try? JSONValue(parsing: response.body) { return document }
        session.console.write(String(decoding: response.body, as: UTF8.self) + "\n")
        return nil
    }

    private func token(_ session: ManagementSession, _ isDirectory: Bool) async throws(ManagementError) -> String {
        if let resource { return try await session.accessToken(for: resource).value }
        if isDirectory { return try await session.directory().accessToken().value }
        return try await session.client.accessToken().value
    }

    /// `KEY=VALUE …` or one JSON object.
    private static func pairs(_ items: [String], _ option: String) throws(ManagementError) -> [(name: String, value: String)] {
        var pairs: [(name: String, value: String)] = []
        for item in items {
            let text = try self.text(item, option)
            if text.hasPrefix("{") {
                guard let members = (try? JSONValue(parsing: text))?.objectValue else {
                    throw .usage("argument \(option): '\(text.prefix(100))' is not a JSON object.")
                }
                pairs += members.sorted { $0.key < $1.key }.map { ($0.key, $0.value.stringValue ?? $0.value.serialized()) }
                continue
            }
            guard let equals = text.firstIndex(of: "="), equals != text.startIndex else {
                throw .usage("argument \(option): '\(text.prefix(100))' is not KEY=VALUE.")
            }
            pairs.append((String(text[..<equals]), String(text[text.index(after: equals)...])))
        }
        return pairs
    }

    /// A text as it stands, or what is in the file it names.
    private static func text(_ text: String, _ option: String) throws(ManagementError) -> String {
        guard text.hasPrefix("@") else { return text }
        do {
            return String(decoding: try Data(contentsOf: URL(filePath: String(text.dropFirst()))), as: UTF8.self)
        } catch {
            throw ManagementError("The file '\(text.dropFirst())' cannot be read: \(error)", advice: "Check \(option).")
        }
    }
}

extension ManagementSession {
    /// A token for something else than the resource manager.
    func accessToken(for resource: String) async throws(ManagementError) -> Profile.AccessToken {
        var profile = profile
        var audience = resource
        if audience.hasSuffix("/.default") { audience.removeLast("/.default".count) }
        (profile.audience, profile.token) = (audience, nil)
        return try await ManagementClient(profile: profile, transport: transport, now: now).accessToken()
    }
}
