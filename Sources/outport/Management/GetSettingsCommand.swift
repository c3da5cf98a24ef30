// Prints what a connected registry needs to start: its connection string.

import ArgumentParser
import JSON

/// The one string that starts a connected registry anywhere, composed as `az` composes it.
struct ConnectionStringText: Sendable {
    var connectedRegistry: String
    var syncToken: String
    var password: String
    var gatewayEndpoint: String
    var gatewayProtocol: ParentProtocol

    /// Stands for the password when none was generated. Whoever reads the string recognises it.
    static let passwordPlaceholder = "<use --generate-password to generate a new password>"
    static let gatewayPlaceholder = "<parent gateway endpoint>"

    var text: String {
        "ConnectedRegistryName=\(connectedRegistry);SyncTokenName=\(syncToken);SyncTokenPassword=\(password);"
            + "ParentGatewayEndpoint=\(gatewayEndpoint);ParentEndpointProtocol=\(gatewayProtocol.rawValue)"
    }

    /// The environment of an instance.
    var settings: JSONValue {
        [
            "ACR_REGISTRY_CERTIFICATE_VOLUME": "/var/acr/certs", "ACR_REGISTRY_CONNECTION_STRING": .string(text),
            "ACR_REGISTRY_DATA_VOLUME": "/var/acr/data",
            "ACR_REGISTRY_LOGIN_SERVER":
                "<Optional: connected registry login server. More info at https://aka.ms/acr/connected-registry>",
            "SYNC_TOKEN_PASSWORD": .string(password), "SYNC_TOKEN_USER": .string(syncToken),
        ]
    }
}

/// What `get-settings` and the older commands for the same do.
enum ConnectedRegistrySettings {
    static func settings(
        of name: ConnectedRegistryName, parentProtocol: ParentProtocol, generating slot: PasswordSlot?, _ consent: YesOption,
        _ session: ManagementSession
    ) async throws(ManagementError) -> JSONValue {
        let (registry, path) = try await name.path(session)
        let item = try await session.client.get(path)
        if ConnectedRegistries.hasIdentity(item) {
            guard slot == nil else {
                throw ManagementError(
                    "argument error: --generate-password is not applicable for a connected registry configured with ManagedIdentity "
                        + "authentication.")
            }
            return try self.identitySettings(of: item, name.name)
        }
        guard let tokenID = ConnectedRegistries.property(item, "parent", "syncProperties", "tokenId")?.stringValue,
            let tokenName = tokenID.split(separator: "/").last.map(String.init)
        else {
            throw ManagementError("The connected registry '\(name.name)' has no sync token, so it has no connection string.")
        }
        var string = ConnectionStringText(
            connectedRegistry: name.name, syncToken: tokenName, password: ConnectionStringText.passwordPlaceholder,
            gatewayEndpoint: ConnectionStringText.gatewayPlaceholder, gatewayProtocol: parentProtocol)
        if let endpoint = ConnectedRegistries.property(item, "parent", "syncProperties", "gatewayEndpoint")?.stringValue, !endpoint.isEmpty
        {
            string.gatewayEndpoint = endpoint
        }
        if ConnectedRegistryTree.parentKey(item) == nil {
            if parentProtocol != .https { session.warn("Parent endpoint protocol must be 'https' when parent is a cloud registry.") }
            string.gatewayProtocol = .https
        }
        if let slot {
            try session.confirm(
                "Are you sure you want to generate a new sync token '\(tokenName)' password\(slot.rawValue)?", consent)
            let credentials = try await TokenPasswords.generate(session, registry: registry, tokenID: tokenID, slot: slot, expiry: nil)
            string.syncToken = credentials["username"]?.stringValue ?? tokenName
            string.password = try password(in: credentials, slot)
            session.warn("Please store your generated credentials safely.")
        }
        return string.settings
    }

    /// Those of one that signs in with an identity. Its parent is the registry itself.
    private static func identitySettings(of item: JSONValue, _ name: String) throws(ManagementError) -> JSONValue {
        guard let (id, identity) = item[path: "identity", "userAssignedIdentities"]?.objectValue?.first,
            let clientID = identity["clientId"]?.stringValue
        else {
            throw ManagementError("Connected registry '\(name)' is in ManagedIdentity mode but no user-assigned identity is attached.")
        }
        let endpoint = ConnectedRegistries.property(item, "parent", "syncProperties", "gatewayEndpoint")?.stringValue
        let string = ConnectionStringText(
            connectedRegistry: name, syncToken: "", password: "", gatewayEndpoint: endpoint ?? ConnectionStringText.gatewayPlaceholder,
            gatewayProtocol: .https)
        var settings = string.settings
        settings["ACR_REGISTRY_CONNECTION_STRING"] = .string(
            "ConnectedRegistryName=\(name);ManagedIdentityClientId=\(clientID);ParentGatewayEndpoint=\(string.gatewayEndpoint);"
                + "ParentEndpointProtocol=https")
        settings["ACR_MANAGED_IDENTITY_RESOURCE_ID"] = .string(id)
        if case .object(var members) = settings {
            (members["SYNC_TOKEN_USER"], members["SYNC_TOKEN_PASSWORD"]) = (nil, nil)
            settings = .object(members)
        }
        return settings
    }

    /// The password of a slot. The server may list those of other slots as well, without their values.
    static func password(in credentials: JSONValue, _ slot: PasswordSlot) throws(ManagementError) -> String {
        let passwords = credentials["passwords"]?.arrayValue ?? []
        let match = passwords.first { $0["name"]?.stringValue?.hasSuffix(slot.rawValue) == true && $0["value"]?.stringValue != nil }
        guard let value = match?["value"]?.stringValue else {
            throw ManagementError(
                "The server did not return the new password\(slot.rawValue).",
                advice: "Run the command again: each run makes a new password for that slot.")
        }
        return value
    }
}

struct ConnectedRegistryGetSettingsCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "get-settings", abstract: "Retrieves information required to activate a connected registry.",
        discussion:
            "Example: outport acr connected-registry get-settings -n factory -r myregistry --parent-protocol https --generate-password 1")

    @OptionGroup var connectedRegistry: ConnectedRegistryName

    @Option(help: "Specify the protocol used to communicate with its parent.")
    var parentProtocol: ParentProtocol

    @Option(help: "Select which password you want to generate, and it is required to retrieve the password from the sync token.")
    var generatePassword: PasswordSlot?

    @OptionGroup var consent: YesOption
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        try await ConnectedRegistrySettings.settings(
            of: connectedRegistry, parentProtocol: parentProtocol, generating: generatePassword, consent, session)
    }
}

/// `install info`, which Azure's documents printed before there was `get-settings`.
struct InstallInfoCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "info", abstract: "Deprecated: use get-settings.",
        discussion: "Example: outport acr connected-registry install info -n factory -r myregistry --parent-protocol https")

    @OptionGroup var connectedRegistry: ConnectedRegistryName

    @Option(help: "Specify the protocol used to communicate with its parent.")
    var parentProtocol: ParentProtocol = .https

    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        try await ConnectedRegistrySettings.settings(
            of: connectedRegistry, parentProtocol: parentProtocol, generating: nil, YesOption(), session)
    }
}

/// `install renew-credentials`, likewise: it generates password 1.
struct InstallRenewCredentialsCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "renew-credentials", abstract: "Deprecated: use get-settings --generate-password 1.",
        discussion: "Example: outport acr connected-registry install renew-credentials -n factory -r myregistry --parent-protocol https")

    @OptionGroup var connectedRegistry: ConnectedRegistryName

    @Option(help: "Specify the protocol used to communicate with its parent.")
    var parentProtocol: ParentProtocol = .https

    @OptionGroup var consent: YesOption
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        try await ConnectedRegistrySettings.settings(
            of: connectedRegistry, parentProtocol: parentProtocol, generating: .first, consent, session)
    }
}
