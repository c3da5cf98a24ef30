// Tokens: identities that belong to one registry.

import ArgumentParser
import JSON

/// `-r` and `-n` of a token.
struct TokenName: ParsableArguments {
    @Option(name: [.customShort("n"), .long], help: "The name of the token.")
    var name: String

    @OptionGroup var registry: RegistryOption

    func path(_ session: ManagementSession) async throws(ManagementError) -> String {
        "\(try await session.registryPath(registry))/tokens/\(URLText.segment(name))"
    }
}

/// How long passwords are valid.
struct Expiration: ParsableArguments {
    @Option(
        name: [.long, .customLong("days")],
        help: "Number of days for which the credentials will be valid. For ever by default.")
    var expirationInDays: Int?

    @Option(help: "UTC time for which the credentials will be valid, in the format 2027-12-31T12:59:59Z.")
    var expiration: String?

    var isGiven: Bool { expirationInDays != nil || expiration != nil }

    /// The end in the form of the wire; nil when there is none.
    func end(now: Int) throws(ManagementError) -> String? {
        if let days = expirationInDays {
            guard days > 0 else { throw ManagementError("Days must be positive.") }
            return UTCTime.text(ofSeconds: now + min(days, 2_000_000) * 86_400)
        }
        guard let expiration else { return nil }
        guard UTCTime.isValid(expiration) else {
            throw ManagementError("Input '\(expiration)' is not valid datetime. Valid example: 2027-12-31T12:59:59Z")
        }
        return expiration
    }
}

/// Passwords of tokens.
enum TokenPasswords {
    /// Makes new passwords: the slot that is named, or both.
    static func generate(
        _ session: ManagementSession, registry path: String, tokenID: String, slot: PasswordSlot?, expiry: String?
    ) async throws(ManagementError) -> JSONValue {
        var body: JSONValue = ["tokenId": .string(tokenID)]
        if let slot { body["name"] = .string("password\(slot.rawValue)") }
        if let expiry { body["expiry"] = .string(expiry) }
        return try await session.client.post(path + "/generateCredentials", body) ?? .null
    }
}

struct TokenCreateCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "create", abstract: "Create a token associated with a scope map.",
        discussion: "Example: outport acr token create -n builder -r myregistry --scope-map _repositories_admin")
    static let table = TableLayout.tokens

    @OptionGroup var token: TokenName

    @Option(help: "The name of the scope map with pre-configured repository permissions.")
    var scopeMap: String?

    @Option(parsing: .upToNextOption, help: "Repository permissions: --repository REPO [ACTION1 ACTION2 ...], once for each repository.")
    var repository: [String] = []

    @Option(parsing: .upToNextOption, help: "Gateway permissions: --gateway GATEWAY [ACTION1 ACTION2 ...], once for each gateway.")
    var gateway: [String] = []

    @Option(help: "The status of the token.")
    var status: TokenStatus = .enabled

    @Option(defaultAsFlag: ThreeState.yes, parsing: .next, help: "Do not generate passwords during token creation.")
    var noPasswords: ThreeState?

    @OptionGroup var expiration: Expiration
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let withoutPasswords = noPasswords?.value == true
        if (repository.isEmpty && gateway.isEmpty) == (scopeMap == nil) {
            throw ManagementError("usage error: can't use --scope-map and --repository | --gateway")
        }
        if withoutPasswords, expiration.isGiven {
            throw ManagementError("usage error: --no-passwords and expiration arguments are mutually exclusive.")
        }
        if expiration.expiration != nil, expiration.expirationInDays != nil {
            throw ManagementError("usage error: --expiration and --expiration-in-days are mutually exclusive.")
        }
        let expiry = try expiration.end(now: session.now())
        let actions = try ScopeMapActions.parse(repositories: repository, gateways: gateway)
        let path = try await session.registryPath(token.registry)
        let scopeMapID: String
        if let scopeMap {
            scopeMapID = "\(try await session.registryID(try session.registryName(token.registry.registry)))/scopeMaps/\(scopeMap)"
        } else {
            scopeMapID = try await DefaultScopeMap.ensure(
                session, path, name: "\(token.name)-scope-map", actions, description: "Created by token: \(token.name)", replaces: false)
        }
        var created = try await session.client.put(
            "\(path)/tokens/\(URLText.segment(token.name))",
            ["properties": ["scopeMapId": .string(scopeMapID), "status": .string(status.rawValue)]])
        if withoutPasswords { return ResourceShape.token.shape(created) }
        let tokenID = created["id"]?.stringValue ?? "\(path)/tokens/\(token.name)"
        let credentials = try await TokenPasswords.generate(session, registry: path, tokenID: tokenID, slot: nil, expiry: expiry)
        created[path: "properties", "credentials"] = credentials
        let loginServer = try await session.client.get(path)[path: "properties", "loginServer"]?.stringValue ?? ""
        session.warn(
            "Please store your generated credentials safely. Meanwhile you can use it through \"docker login \(loginServer)"
                + " -u \(credentials["username"]?.stringValue ?? token.name) -p"
                + " \(credentials["passwords"]?[0]?["value"]?.stringValue ?? "")\".")
        return ResourceShape.token.shape(created)
    }
}

struct TokenListCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List all tokens for a container registry.",
        discussion: "Example: outport acr token list -r myregistry -o table")
    static let table = TableLayout.tokens

    @OptionGroup var registry: RegistryOption
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        ResourceShape.token.shape(try await session.client.list(try await session.registryPath(registry) + "/tokens"))
    }
}

struct TokenShowCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Show details and attributes of a token for a container registry.",
        discussion: "Example: outport acr token show -n builder -r myregistry")
    static let table = TableLayout.tokens

    @OptionGroup var token: TokenName
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        ResourceShape.token.shape(try await session.client.get(try await token.path(session)))
    }
}

struct TokenUpdateCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "update", abstract: "Update a token for a container registry.",
        discussion: "Example: outport acr token update -n builder -r myregistry --status disabled")
    static let table = TableLayout.tokens

    @OptionGroup var token: TokenName

    @Option(help: "The name of the scope map associated with the token.")
    var scopeMap: String?

    @Option(help: "The status of the token.")
    var status: TokenStatus = .enabled

    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let path = try await session.registryPath(token.registry)
        // The status is sent even when it was not given: `az` does so.
        var body: JSONValue = ["properties": ["status": .string(status.rawValue)]]
        if let scopeMap {
            let registry = try await session.registryID(try session.registryName(token.registry.registry))
            body[path: "properties", "scopeMapId"] = .string("\(registry)/scopeMaps/\(scopeMap)")
        }
        return ResourceShape.token.shape(try await session.client.patch("\(path)/tokens/\(URLText.segment(token.name))", body))
    }
}

struct TokenDeleteCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "delete", abstract: "Delete a token for a container registry.",
        discussion: "Example: outport acr token delete -n builder -r myregistry --yes")

    @OptionGroup var token: TokenName
    @OptionGroup var consent: YesOption
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        try session.confirm(
            "Deleting the token '\(token.name)' will invalidate access to anyone using its credentials. Proceed?", consent)
        try await session.client.delete(try await token.path(session))
        return nil
    }
}
