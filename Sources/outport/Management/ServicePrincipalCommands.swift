// Service principals: made with a secret and a role, shown, reset, ended.

import ArgumentParser
import JSON

/// `--id`
struct ObjectIDOption: ParsableArguments {
    @Option(help: "Application ID or object ID.")
    var id: String
}

/// How long a credential lives.
enum CredentialPeriod {
    /// From now; one year where nothing is given, as `az` has it.
    static func text(years: Int?, end: String?, now: Int) throws(ManagementError) -> (start: String, end: String) {
        if let end {
            // A date alone is its beginning.
            let text = end.utf8.count == 10 ? end + "T00:00:00Z" : end
            guard UTCTime.isValid(text) else { throw .usage("'\(end)' is no date such as 2027-12-31 or 2027-12-31T12:59:59Z.") }
            return (UTCTime.text(ofSeconds: now), text)
        }
        let years = years ?? 1
        guard (1...100).contains(years) else { throw .usage("--years takes 1 to 100.") }
        return (UTCTime.text(ofSeconds: now), UTCTime.text(ofSeconds: now + years * 365 * 86_400))
    }
}

/// `outport ad sp create-for-rbac`
struct CreateForRBACCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "create-for-rbac", abstract: "Create a service principal and give it a role.",
        discussion: """
            A service principal of that name is used again and gets a new password.

            Example: outport ad sp create-for-rbac --name ci --role acrpush --scopes $(outport acr show -n myregistry --query id -o tsv)
            """)

    @Option(name: [.customShort("n"), .long, .customLong("display-name")], help: "Display name.")
    var name: String?

    @Option(help: "Role of the service principal.")
    var role: String?

    @Option(parsing: .upToNextOption, help: "Space-separated list of scopes the role applies to.")
    var scopes: [String] = []

    @Option(help: "Number of years for which the credentials will be valid. Default: 1 year.")
    var years: Int?

    @Option(help: "PEM file with a certificate to sign in with, instead of a password.")
    var cert: String?

    @Flag(help: "Make a certificate and its key, in a file that is named, instead of a password.")
    var createCert = false

    @Option(defaultAsFlag: ThreeState.yes, parsing: .next, help: "Whether to make a password. With false it gets no credential at all.")
    var createPassword: ThreeState?

    @Flag(name: [.customLong("json-auth"), .customLong("sdk-auth")], help: "Output JSON that lists the addresses of the server, too.")
    var jsonAuth = false

    @Option(help: "Refused: there is no key vault here.")
    var keyvault: String?

    @Flag(help: .hidden)
    var skipAssignment = false

    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        try CertificateOptions.check(cert: cert, creates: createCert, keyvault: keyvault)
        guard (role == nil) == scopes.isEmpty else {
            throw .usage("Usage error: To create role assignments, specify both --role and --scopes.")
        }
        let lookup = try DirectoryLookup(session)
        let (start, end) = try CredentialPeriod.text(years: years, end: nil, now: session.now())
        let name = name ?? "outport-\(UTCTime.text(ofSeconds: session.now()).replacing(":", with: "-"))"
        let file = createCert ? try CertificateOptions.make(name, end: end) : nil
        let keys = try (file ?? cert).map { (path) throws(ManagementError) in try Self.keys(path, start, end) }
        let same = try await lookup.list("applications", ["displayName eq \(DirectoryLookup.quoted(name))"])
        var application: JSONValue
        if let found = same.first {
            application = found
            session.warn("Found an existing application instance: (id) \(found["id"]?.stringValue ?? ""). We will patch it.")
            if let keys {
                _ = try await lookup.client.patch("/v1.0/applications/\(found["id"]?.stringValue ?? "")", ["keyCredentials": keys])
            }
        } else {
            application =
                try await lookup.client.post("/v1.0/applications", ["displayName": .string(name), "keyCredentials": keys ?? []]) ?? .null
        }
        let (id, appID) = (application["id"]?.stringValue ?? "", application["appId"]?.stringValue ?? "")
        for credential in application["passwordCredentials"]?.arrayValue ?? [] {
            try await lookup.client.post("/v1.0/applications/\(id)/removePassword", ["keyId": credential["keyId"] ?? .null])
        }
        var password: String?
        if keys == nil, createPassword?.value != false {
            password = try await lookup.client.post(
                "/v1.0/applications/\(id)/addPassword",
                [
                    "passwordCredential": [
                        "displayName": "rbac", "startDateTime": .string(start), "endDateTime": .string(end),
                    ]
                ])?["secretText"]?.stringValue
        }
        let principals = try await lookup.list("servicePrincipals", ["appId eq \(DirectoryLookup.quoted(appID))"])
        let principal: JSONValue
        if let found = principals.first {
            principal = found
        } else {
            principal = try await lookup.client.post("/v1.0/servicePrincipals", ["appId": .string(appID), "accountEnabled": true]) ?? .null
        }
        if let role {
            for scope in scopes {
                session.warn("Creating '\(role)' role assignment under scope '\(scope)'")
                _ = try await RoleAssignments(session).create(
                    role: role, scope: scope, principal: (principal["id"]?.stringValue ?? "", "ServicePrincipal"))
            }
        }
        if password != nil {
            session.warn("The output includes credentials that you must protect. They are shown once and end on \(end.prefix(10)).")
        }
        let profile = session.profile
        if jsonAuth {
            var result: JSONValue = [
                "clientId": .string(appID), "clientSecret": .string(orNull: password), "tenantId": .string(profile.tenantID),
                "subscriptionId": .string(orNull: session.subscription?.id), "resourceManagerEndpointUrl": .string(profile.server),
                "activeDirectoryEndpointUrl": .string(profile.tokenEndpoint.replacing("/oauth2/token", with: "")),
            ]
            if let file { result["clientCertificate"] = .string(file) }
            return result
        }
        var result: JSONValue = [
            "appId": .string(appID), "displayName": .string(name), "password": .string(orNull: password),
            "tenant": .string(profile.tenantID),
        ]
        if let file { result["fileWithCertAndPrivateKey"] = .string(file) }
        return result
    }

    static func keys(_ path: String, _ start: String, _ end: String) throws(ManagementError) -> JSONValue {
        let path = path.hasPrefix("@") ? String(path.dropFirst()) : path
        guard let certificate = try CertificateText.read(path) else {
            throw ManagementError("The file '\(path)' holds no certificate in PEM.", advice: "Check --cert.")
        }
        return [["type": "AsymmetricX509Cert", "usage": "Verify", "key": .string(certificate), "endDateTime": .string(end)]]
    }
}

/// `outport ad sp list`
struct SPListCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List service principals.",
        discussion: "Example: outport ad sp list --display-name builder")

    @Option(help: "Beginning of the display name.")
    var displayName: String?

    @Option(help: "Application ID.")
    var spn: String?

    @Option(help: "OData filter, e.g. --filter \"displayname eq 'test'\".")
    var filter: String?

    @Flag(help: "List all entities.")
    var all = false

    @Flag(help: "List those that whoever is signed in owns.")
    var showMine = false

    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        if showMine { return .array(try await DirectoryLookup(session).owned("servicePrincipals")) }
        var clauses = filter.map { [$0] } ?? []
        if let displayName { clauses.append("startswith(displayName,\(DirectoryLookup.quoted(displayName)))") }
        if let spn { clauses.append("servicePrincipalNames/any(c:c eq \(DirectoryLookup.quoted(spn)))") }
        return .array(try await DirectoryLookup(session).list("servicePrincipals", clauses))
    }
}

/// `outport ad sp show`
struct SPShowCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Get the details of a service principal.",
        discussion: "Example: outport ad sp show --id 00000000-0000-0000-0000-000000000000")
    @OptionGroup var object: ObjectIDOption
    @OptionGroup var global: GlobalOptions
    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let lookup = try DirectoryLookup(session)
        return try await lookup.client.get("/v1.0/servicePrincipals/\(try await lookup.servicePrincipal(object.id))")
    }
}

/// `outport ad sp delete`
struct SPDeleteCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "delete", abstract: "Delete a service principal and its role assignments.",
        discussion: "Example: outport ad sp delete --id 00000000-0000-0000-0000-000000000000")
    @OptionGroup var object: ObjectIDOption
    @OptionGroup var global: GlobalOptions
    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let lookup = try DirectoryLookup(session)
        try await lookup.client.delete("/v1.0/servicePrincipals/\(try await lookup.servicePrincipal(object.id))")
        return nil
    }
}

/// `outport ad sp update`
struct SPUpdateCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "update", abstract: "Let a service principal sign in, or no more.",
        discussion: "Disabling ends everything it has been given.\n\nExample: outport ad sp update --id APP_ID --account-enabled false")
    @OptionGroup var object: ObjectIDOption
    @Option(help: "Whether it may sign in.")
    var accountEnabled: ThreeState?
    @OptionGroup var changes: GenericUpdate
    @OptionGroup var global: GlobalOptions
    func validate() throws {
        guard accountEnabled != nil || !changes.isEmpty else {
            throw ValidationError("Nothing is to be changed: give --account-enabled, or --set accountEnabled=false.")
        }
    }
    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let lookup = try DirectoryLookup(session)
        let path = "/v1.0/servicePrincipals/\(try await lookup.servicePrincipal(object.id))"
        var body: JSONValue = [:]
        if let accountEnabled { body["accountEnabled"] = .bool(accountEnabled.value) }
        if !changes.isEmpty { try changes.apply(to: &body, of: try await lookup.client.get(path), isFlat: true) }
        _ = try await lookup.client.patch(path, body)
        return nil
    }
}

/// `outport ad sp revoke`
struct SPRevokeCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "revoke", abstract: "End everything a service principal has been given; it may sign in again.",
        discussion: "Example: outport ad sp revoke --id APP_ID")
    @OptionGroup var object: ObjectIDOption
    @OptionGroup var global: GlobalOptions
    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let lookup = try DirectoryLookup(session)
        try await lookup.client.post("/v1.0/servicePrincipals/\(try await lookup.servicePrincipal(object.id))/revokeSignInSessions")
        return nil
    }
}

/// `outport ad sp credential reset`
struct SPCredentialResetCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "reset", abstract: "Reset the password of a service principal.",
        discussion: "Example: outport ad sp credential reset --name http://ci")

    @Option(help: "Application ID or object ID.")
    var id: String?

    @Option(name: [.customShort("n"), .long], help: "Display name or application ID, as older versions of az took it.")
    var name: String?

    @OptionGroup var reset: CredentialReset
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        try CertificateOptions.check(cert: reset.cert, creates: reset.createCert, keyvault: reset.keyvault)
        guard let wanted = id ?? name, id == nil || name == nil else { throw .usage("Give one of --id and --name.") }
        let lookup = try DirectoryLookup(session)
        return try await reset.perform(
            "/v1.0/servicePrincipals/\(try await lookup.servicePrincipal(wanted, allowsName: id == nil))", named: wanted, lookup, session)
    }
}

/// `outport ad sp credential list`
struct SPCredentialListCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List a service principal's passwords, or certificates with --cert, and when they end.",
        discussion: "Example: outport ad sp credential list --id 00000000-0000-0000-0000-000000000000")
    @OptionGroup var object: ObjectIDOption
    @Flag(help: "List certificates.")
    var cert = false
    @OptionGroup var global: GlobalOptions
    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let lookup = try DirectoryLookup(session)
        return try await Credentials.list(
            "/v1.0/servicePrincipals/\(try await lookup.servicePrincipal(object.id))", certificates: cert, lookup)
    }
}

/// `outport ad sp credential delete`
struct SPCredentialDeleteCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "delete", abstract: "Delete a service principal's password.",
        discussion:
            "Example: outport ad sp credential delete --id 00000000-0000-0000-0000-000000000000 --key-id 11111111-1111-1111-1111-111111111111"
    )
    @OptionGroup var object: ObjectIDOption
    @Option(help: "The key ID.")
    var keyId: String
    @Flag(help: "Delete a certificate.")
    var cert = false
    @OptionGroup var global: GlobalOptions
    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let lookup = try DirectoryLookup(session)
        let path = "/v1.0/servicePrincipals/\(try await lookup.servicePrincipal(object.id))"
        return try await Credentials.delete(path, keyId, isCertificate: cert, lookup)
    }
}

/// `outport ad app list`
struct AppListCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List applications.",
        discussion: "Example: outport ad app list --display-name builder")

    @Option(help: "Beginning of the display name.")
    var displayName: String?

    @Option(help: "Application ID.")
    var appId: String?

    @Option(help: "OData filter.")
    var filter: String?

    @Flag(help: "List all entities.")
    var all = false

    @Option(help: "Identifier of an application; they have none here, so nothing is found.")
    var identifierUri: String?

    @Flag(help: "List those that whoever is signed in owns.")
    var showMine = false

    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        if identifierUri != nil { return [] }
        if showMine { return .array(try await DirectoryLookup(session).owned("applications")) }
        var clauses = filter.map { [$0] } ?? []
        if let displayName { clauses.append("startswith(displayName,\(DirectoryLookup.quoted(displayName)))") }
        if let appId { clauses.append("appId eq \(DirectoryLookup.quoted(appId))") }
        return .array(try await DirectoryLookup(session).list("applications", clauses))
    }
}

/// `outport ad app show`
struct AppShowCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Get the details of an application.",
        discussion: "Example: outport ad app show --id 00000000-0000-0000-0000-000000000000")
    @OptionGroup var object: ObjectIDOption
    @OptionGroup var global: GlobalOptions
    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let lookup = try DirectoryLookup(session)
        return try await lookup.client.get("/v1.0/applications/\(try await lookup.application(object.id))")
    }
}

/// `outport ad app delete`
struct AppDeleteCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "delete", abstract: "Delete an application with its service principal and their secrets.",
        discussion: "Example: outport ad app delete --id 00000000-0000-0000-0000-000000000000")
    @OptionGroup var object: ObjectIDOption
    @OptionGroup var global: GlobalOptions
    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let lookup = try DirectoryLookup(session)
        try await lookup.client.delete("/v1.0/applications/\(try await lookup.application(object.id))")
        return nil
    }
}
