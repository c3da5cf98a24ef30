// Applications without a role: made, renamed, their secrets, and the service principals that act for them.

import ArgumentParser
import JSON

/// Members of an application that can be set.
struct ApplicationOptions: ParsableArguments {
    @Option(help: "Who may sign in: AzureADMyOrg, those of this directory. There are no others.")
    var signInAudience: String?

    func body(_ displayName: String?) -> JSONValue {
        var body: JSONValue = [:]
        if let displayName { body["displayName"] = .string(displayName) }
        if let signInAudience { body["signInAudience"] = .string(signInAudience) }
        return body
    }
}

/// `outport ad app create`
struct AppCreateCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "create", abstract: "Create an application.",
        discussion: """
            One of that name is used again. What signs in is its service principal: 'ad sp create --id APP_ID' makes it, and
            'ad sp create-for-rbac' makes both with a role and a password.

            Example: outport ad app create --display-name builder
            """)

    @Option(help: "Display name.")
    var displayName: String

    @OptionGroup var options: ApplicationOptions
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let lookup = try DirectoryLookup(session)
        let same = try await lookup.list("applications", ["displayName eq \(DirectoryLookup.quoted(displayName))"])
        guard same.count <= 1 else {
            throw ManagementError(
                "More than one application have the same display name '\(displayName)': (id) "
                    + same.compactMap { $0["id"]?.stringValue }.joined(separator: ", ") + ", please remove them first.")
        }
        guard let found = same.first, let id = found["id"]?.stringValue else {
            return try await lookup.client.post("/v1.0/applications", options.body(displayName))
        }
        session.warn("Found an existing application instance: (id) \(id). We will patch it.")
        let path = "/v1.0/applications/\(id)"
        _ = try await lookup.client.patch(path, options.body(displayName))
        return try await lookup.client.get(path)
    }
}

/// `outport ad app update`
struct AppUpdateCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "update", abstract: "Rename an application.",
        discussion: "Example: outport ad app update --id 00000000-0000-0000-0000-000000000000 --display-name builder")
    @OptionGroup var object: ObjectIDOption
    @Option(help: "Display name.")
    var displayName: String?
    @OptionGroup var options: ApplicationOptions
    @OptionGroup var changes: GenericUpdate
    @OptionGroup var global: GlobalOptions
    func validate() throws {
        guard options.body(displayName) != [:] || !changes.isEmpty else {
            throw ValidationError("Nothing is to be changed: give --display-name, or --set displayName=NAME.")
        }
    }
    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let lookup = try DirectoryLookup(session)
        let path = "/v1.0/applications/\(try await lookup.application(object.id))"
        var body = options.body(displayName)
        if !changes.isEmpty { try changes.apply(to: &body, of: try await lookup.client.get(path), isFlat: true) }
        _ = try await lookup.client.patch(path, body)
        return nil
    }
}

/// `outport ad app credential reset`
struct AppCredentialResetCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "reset", abstract: "Append or overwrite an application's password or certificate.",
        discussion: "Example: outport ad app credential reset --id 00000000-0000-0000-0000-000000000000")
    @OptionGroup var object: ObjectIDOption
    @OptionGroup var reset: CredentialReset
    @OptionGroup var global: GlobalOptions
    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        try CertificateOptions.check(cert: reset.cert, creates: reset.createCert, keyvault: reset.keyvault)
        let lookup = try DirectoryLookup(session)
        return try await reset.perform(
            "/v1.0/applications/\(try await lookup.application(object.id))", named: object.id, lookup, session)
    }
}

/// `outport ad app credential list`
struct AppCredentialListCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List an application's passwords, or certificates with --cert, and when they end.",
        discussion: "Example: outport ad app credential list --id 00000000-0000-0000-0000-000000000000")
    @OptionGroup var object: ObjectIDOption
    @Flag(help: "List certificates.")
    var cert = false
    @OptionGroup var global: GlobalOptions
    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let lookup = try DirectoryLookup(session)
        return try await Credentials.list("/v1.0/applications/\(try await lookup.application(object.id))", certificates: cert, lookup)
    }
}

/// `outport ad app credential delete`
struct AppCredentialDeleteCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "delete", abstract: "Delete an application's password or certificate.",
        discussion:
            "Example: outport ad app credential delete --id 00000000-0000-0000-0000-000000000000 --key-id 11111111-1111-1111-1111-111111111111"
    )
    @OptionGroup var object: ObjectIDOption
    @Option(help: "The key ID.")
    var keyId: String
    @Flag(help: "Delete a certificate.")
    var cert = false
    @OptionGroup var global: GlobalOptions
    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let lookup = try DirectoryLookup(session)
        let path = "/v1.0/applications/\(try await lookup.application(object.id))"
        return try await Credentials.delete(path, keyId, isCertificate: cert, lookup)
    }
}

/// `outport ad sp create`
struct SPCreateCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "create", abstract: "Create the service principal of an application.",
        discussion: "Example: outport ad sp create --id 00000000-0000-0000-0000-000000000000")
    @Option(help: "Application ID of the application that it is to act for, or the application's object ID or display name.")
    var id: String
    @OptionGroup var global: GlobalOptions
    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let lookup = try DirectoryLookup(session)
        let application = try await lookup.client.get("/v1.0/applications/\(try await lookup.application(id))")
        return try await lookup.client.post(
            "/v1.0/servicePrincipals", ["appId": application["appId"] ?? .string(id), "accountEnabled": true])
    }
}
