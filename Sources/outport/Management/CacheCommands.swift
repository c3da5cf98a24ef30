// `outport acr cache …` and `outport acr credential-set …`: repositories that are filled from elsewhere when somebody pulls.

import ArgumentParser
import JSON

/// `-r` and `-n` of a cache rule or credential set.
struct CachePartName: ParsableArguments {
    @Option(name: [.customShort("n"), .long], help: "The name of the cache rule or credential set.")
    var name: String

    @OptionGroup var registry: RegistryOption

    func path(_ kind: String, _ session: ManagementSession) async throws(ManagementError) -> String {
        "\(try await session.registryPath(registry))/\(kind)/\(URLText.segment(name))"
    }
}

private enum CacheShape {
    static let rule = ResourceShape(skeleton: [
        "id": nil, "name": nil, "type": nil, "systemData": ResourceShape.systemData, "identity": nil, "credentialSetResourceId": nil,
        "additionalAuthenticationProperties": nil, "sourceRepository": nil, "targetRepository": nil, "creationDate": nil,
        "provisioningState": nil,
    ])

    static let set = ResourceShape(skeleton: [
        "id": nil, "name": nil, "type": nil, "systemData": ResourceShape.systemData, "identity": nil, "loginServer": nil,
        "authCredentials": [
            [
                "name": nil, "usernameSecretIdentifier": nil, "passwordSecretIdentifier": nil,
                "credentialHealth": ["status": nil, "errorCode": nil, "errorMessage": nil],
            ]
        ], "creationDate": nil, "provisioningState": nil,
    ])

    static func identity(_ id: String) -> JSONValue {
        ["type": "UserAssigned", "userAssignedIdentities": .object([id: [:]])]
    }

    static let question = "Are you sure you want to perform this operation?"

    /// The id of a credential set, made of the registry's own.
    static func set(_ name: String, of registry: RegistryOption, _ session: ManagementSession) async throws(ManagementError) -> JSONValue {
        let (path, body) = try await session.registry(registry)
        return .string(ManagementSession.childID(body, path, "credentialSets", name))
    }
}

struct CacheCreateCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "create", abstract: "Create a cache rule.",
        discussion: """
            What is pulled from the target and not there is fetched from the source, stored and served. Both may end in '*'.

            Example: outport acr cache create -r myregistry -n hubrule -s docker.io/library/ubuntu -t ubuntu
            """)

    @OptionGroup var rule: CachePartName

    @Option(name: [.customShort("s"), .long], help: "The full source repository path such as 'docker.io/library/ubuntu'.")
    var sourceRepo: String

    @Option(name: [.customShort("t"), .long], help: "The target repository namespace such as 'ubuntu'.")
    var targetRepo: String

    @Option(name: [.customShort("c"), .long], help: "The name of the credential set.")
    var credSet: String?

    @Option(help: "Resource id of an identity to sign in to the source with. No source believes those of this server: it refuses.")
    var identity: String?

    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        var set = JSONValue.null
        if let credSet { set = try await CacheShape.set(credSet, of: rule.registry, session) }
        var body: JSONValue = [
            "properties": [
                "sourceRepository": .string(sourceRepo), "targetRepository": .string(targetRepo), "credentialSetResourceId": set,
            ]
        ]
        if let identity { body["identity"] = CacheShape.identity(identity) }
        return CacheShape.rule.shape(try await session.client.put(try await rule.path("cacheRules", session), body))
    }
}

struct CacheListCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List the cache rules of a registry.", discussion: "Example: outport acr cache list -r myregistry")

    @OptionGroup var registry: RegistryOption
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        CacheShape.rule.shape(try await session.client.list(try await session.registryPath(registry) + "/cacheRules"))
    }
}

struct CacheShowCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Show a cache rule.", discussion: "Example: outport acr cache show -r myregistry -n hubrule")

    @OptionGroup var rule: CachePartName
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        CacheShape.rule.shape(try await session.client.get(try await rule.path("cacheRules", session)))
    }
}

struct CacheUpdateCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "update", abstract: "Update the credential set of a cache rule.",
        discussion: "Example: outport acr cache update -r myregistry -n hubrule -c hubset")

    @OptionGroup var rule: CachePartName

    @Option(name: [.customShort("c"), .long], help: "The name of the credential set.")
    var credSet: String?

    @Flag(help: "Remove the credential set from the cache rule.")
    var removeCredSet = false

    @Option(help: "Resource id of an identity to sign in to the source with. No source believes those of this server: it refuses.")
    var identity: String?

    @OptionGroup var changes: GenericUpdate
    @OptionGroup var global: GlobalOptions

    func validate() throws {
        guard credSet == nil || !removeCredSet else { throw ValidationError("Give either --cred-set or --remove-cred-set.") }
        guard credSet != nil || removeCredSet || identity != nil || !changes.isEmpty else {
            throw ValidationError("Nothing is to be changed: give --cred-set or --remove-cred-set.")
        }
    }

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let path = try await rule.path("cacheRules", session)
        var body: JSONValue = [:]
        if let credSet {
            body[path: "properties", "credentialSetResourceId"] = try await CacheShape.set(credSet, of: rule.registry, session)
        }
        if removeCredSet { body["properties"] = ["credentialSetResourceId": nil] }
        if let identity { body["identity"] = CacheShape.identity(identity) }
        try await changes.apply(to: &body, in: path, session)
        return CacheShape.rule.shape(try await session.client.patch(path, body))
    }
}

struct CacheDeleteCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "delete", abstract: "Delete a cache rule. What was fetched by it stays.",
        discussion: "Example: outport acr cache delete -r myregistry -n hubrule --yes")

    @OptionGroup var rule: CachePartName
    @OptionGroup var consent: YesOption
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        try session.confirm(CacheShape.question, consent)
        try await session.client.delete(try await rule.path("cacheRules", session))
        return nil
    }
}

struct CredentialSetCreateCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "create", abstract: "Create a credential set: with what cache rules sign in to a registry.",
        discussion: """
            Secrets are named as in a key vault and lie in the folder the server was given with --secrets, in the files
            <registry>/<login server>/<name of the secret>.

            Example: outport acr credential-set create -r myregistry -n hubset -l docker.io \\
              -u https://myvault.vault.azure.net/secrets/hubuser -p https://myvault.vault.azure.net/secrets/hubpassword
            """)

    @OptionGroup var set: CachePartName

    @Option(name: [.customShort("l"), .long], help: "The login server address of the upstream registry such as 'docker.io'.")
    var loginServer: String

    @Option(name: [.customShort("u"), .long], help: "The ID of the secret containing the username to the upstream registry.")
    var usernameId: String

    @Option(name: [.customShort("p"), .long], help: "The ID of the secret containing the password to the upstream registry.")
    var passwordId: String

    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        CacheShape.set.shape(
            try await session.client.put(
                try await set.path("credentialSets", session),
                [
                    "properties": [
                        "loginServer": .string(loginServer),
                        "authCredentials": [
                            [
                                "name": "Credential1", "usernameSecretIdentifier": .string(usernameId),
                                "passwordSecretIdentifier": .string(passwordId),
                            ]
                        ],
                    ]
                ]))
    }
}

struct CredentialSetListCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List the credential sets of a registry.",
        discussion: "Example: outport acr credential-set list -r myregistry")

    @OptionGroup var registry: RegistryOption
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        CacheShape.set.shape(try await session.client.list(try await session.registryPath(registry) + "/credentialSets"))
    }
}

struct CredentialSetShowCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Show a credential set, and whether its secrets are there.",
        discussion: "Example: outport acr credential-set show -r myregistry -n hubset")

    @OptionGroup var set: CachePartName
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        CacheShape.set.shape(try await session.client.get(try await set.path("credentialSets", session)))
    }
}

struct CredentialSetUpdateCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "update", abstract: "Update the secrets that a credential set names.",
        discussion:
            "Example: outport acr credential-set update -r myregistry -n hubset -p https://myvault.vault.azure.net/secrets/newpassword")

    @OptionGroup var set: CachePartName

    @Option(name: [.customShort("u"), .long], help: "The ID of the secret containing the username to the upstream registry.")
    var usernameId: String?

    @Option(name: [.customShort("p"), .long], help: "The ID of the secret containing the password to the upstream registry.")
    var passwordId: String?

    @OptionGroup var global: GlobalOptions

    @OptionGroup var changes: GenericUpdate

    func validate() throws {
        guard usernameId != nil || passwordId != nil || !changes.isEmpty else {
            throw ValidationError("You must update either the username secret ID, password secret ID, or both.")
        }
    }

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let path = try await set.path("credentialSets", session)
        let current = try await session.client.get(path)[path: "properties", "authCredentials"]?[0] ?? [:]
        var credential: JSONValue = [
            "name": "Credential1", "usernameSecretIdentifier": current["usernameSecretIdentifier"] ?? .null,
            "passwordSecretIdentifier": current["passwordSecretIdentifier"] ?? .null,
        ]
        if let usernameId { credential["usernameSecretIdentifier"] = .string(usernameId) }
        if let passwordId { credential["passwordSecretIdentifier"] = .string(passwordId) }
        var body: JSONValue = ["properties": ["authCredentials": .array([credential])]]
        try await changes.apply(to: &body, in: path, session)
        return CacheShape.set.shape(try await session.client.patch(path, body))
    }
}

struct CredentialSetDeleteCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "delete", abstract: "Delete a credential set.",
        discussion: "Example: outport acr credential-set delete -r myregistry -n hubset --yes")

    @OptionGroup var set: CachePartName
    @OptionGroup var consent: YesOption
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        try session.confirm(CacheShape.question, consent)
        try await session.client.delete(try await set.path("credentialSets", session))
        return nil
    }
}
