// Users and groups of the directory.

import ArgumentParser
import JSON

/// `--id` of a user.
struct UserIDOption: ParsableArguments {
    @Option(help: "User principal name or object ID.")
    var id: String

    var path: String { "/v1.0/users/\(URLText.segment(id))" }
}

/// A password that was given or is asked for.
enum PasswordPrompt {
    static func password(_ given: String?, _ session: ManagementSession) throws(ManagementError) -> String {
        if let given { return given }
        guard session.console.isInteractive, let typed = session.console.askSecret("Password: "), !typed.isEmpty else {
            throw .usage("No password is given.", advice: "Add --password PASSWORD.")
        }
        return typed
    }
}

/// `outport ad user create`
struct UserCreateCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "create", abstract: "Create a user.",
        discussion: """
            The account is locked for a while after ten wrong passwords in a row.

            Example: outport ad user create --display-name Ana --user-principal-name ana@example.com --password 'a long one'
            """)

    @Option(help: "Object's display name or its prefix.")
    var displayName: String

    @Option(help: "The user principal name (someuser@contoso.com).")
    var userPrincipalName: String

    @Option(parsing: .unconditional, help: "The password of the user; asked for when it is missing.")
    var password: String?

    @Option(help: "Mail alias. Default to user principal name.")
    var mailNickname: String?

    @Option(defaultAsFlag: ThreeState.yes, parsing: .next, help: "Refused with true: nobody is asked for a new password at sign-in here.")
    var forceChangePasswordNextSignIn: ThreeState?

    @Option(help: "Refused: the directory is not synchronised with another one.")
    var immutableId: String?

    @Flag(help: "May do everything.")
    var directoryAdministrator = false

    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        var body: JSONValue = [
            "userPrincipalName": .string(userPrincipalName), "displayName": .string(displayName), "accountEnabled": true,
            "mailNickname": .string(mailNickname ?? String(userPrincipalName.prefix { $0 != "@" })),
            "passwordProfile": [
                "password": .string(try PasswordPrompt.password(password, session)),
                "forceChangePasswordNextSignIn": .bool(forceChangePasswordNextSignIn?.value ?? false),
            ],
        ]
        if let immutableId { body["onPremisesImmutableId"] = .string(immutableId) }
        if directoryAdministrator { body["directoryAdministrator"] = true }
        return try await session.directory().post("/v1.0/users", body)
    }
}

/// `outport ad user list`
struct UserListCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List users.",
        discussion: "Example: outport ad user list -o table")

    @Option(help: "User principal name.")
    var upn: String?

    @Option(help: "Beginning of the display name.")
    var displayName: String?

    @Option(help: "OData filter.")
    var filter: String?

    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        var clauses = filter.map { [$0] } ?? []
        if let upn { clauses.append("userPrincipalName eq \(DirectoryLookup.quoted(upn))") }
        if let displayName { clauses.append("startswith(displayName,\(DirectoryLookup.quoted(displayName)))") }
        return .array(try await DirectoryLookup(session).list("users", clauses))
    }
}

/// `outport ad user show`
struct UserShowCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Get the details of a user.",
        discussion: "Example: outport ad user show --id ann@example.test")
    @OptionGroup var user: UserIDOption
    @OptionGroup var global: GlobalOptions
    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        try await session.directory().get(user.path)
    }
}

/// `outport ad user update`
struct UserUpdateCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "update", abstract: "Change a user.",
        discussion:
            "A new password, and disabling, end everything the user has been given.\n\nExample: outport ad user update --id ann@example.test --account-enabled false"
    )
    @OptionGroup var user: UserIDOption
    @Option(parsing: .unconditional, help: "The new password.")
    var password: String?
    @Option(help: "Display name.")
    var displayName: String?
    @Option(help: "Whether the user may sign in.")
    var accountEnabled: ThreeState?
    @Option(help: "Mail alias.")
    var mailNickname: String?
    @Option(defaultAsFlag: ThreeState.yes, parsing: .next, help: "Refused with true: nobody is asked for a new password at sign-in here.")
    var forceChangePasswordNextSignIn: ThreeState?
    @OptionGroup var global: GlobalOptions
    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        var body: JSONValue = [:]
        if let password { body["passwordProfile"] = ["password": .string(password)] }
        if let forceChangePasswordNextSignIn {
            body[path: "passwordProfile", "forceChangePasswordNextSignIn"] = .bool(forceChangePasswordNextSignIn.value)
        }
        if let mailNickname { body["mailNickname"] = .string(mailNickname) }
        if let displayName { body["displayName"] = .string(displayName) }
        if let accountEnabled { body["accountEnabled"] = .bool(accountEnabled.value) }
        guard body != [:] else { throw .usage("Nothing is to be changed.", advice: "Add --password, --display-name or --account-enabled.") }
        _ = try await session.directory().patch(user.path, body)
        return nil
    }
}

/// `outport ad user delete`
struct UserDeleteCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "delete", abstract: "Delete a user.",
        discussion: "Example: outport ad user delete --id ann@example.test")
    @OptionGroup var user: UserIDOption
    @OptionGroup var global: GlobalOptions
    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        try await session.directory().delete(user.path)
        return nil
    }
}

/// `outport ad user revoke`
struct UserRevokeCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "revoke", abstract: "End everything a user has been given; the password stays.",
        discussion: "Example: outport ad user revoke --id ana@example.com")
    @OptionGroup var user: UserIDOption
    @OptionGroup var global: GlobalOptions
    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        try await session.directory().post(user.path + "/revokeSignInSessions")
        return nil
    }
}

/// `-g` of a group of the directory.
struct DirectoryGroupOption: ParsableArguments {
    @Option(name: [.customShort("g"), .long], help: "Group's object id or display name.")
    var group: String
}

/// `--member-id`
struct MemberOption: ParsableArguments {
    @Option(help: "The object ID of the contact, group, user, or service principal.")
    var memberId: String
}

/// `outport ad group create`
struct ADGroupCreateCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "create", abstract: "Create a group.",
        discussion: "Example: outport ad group create --display-name builders --mail-nickname builders")

    @Option(help: "Object's display name or its prefix.")
    var displayName: String

    @Option(help: "Mail nickname.")
    var mailNickname: String

    @Option(help: "Group description.")
    var description: String?

    @Flag(help: "Always create a new group instead of updating the one with same display and mail nickname.")
    var force = false

    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let lookup = try DirectoryLookup(session)
        if !force {
            let same = try await lookup.list(
                "groups",
                ["displayName eq \(DirectoryLookup.quoted(displayName))", "mailNickname eq \(DirectoryLookup.quoted(mailNickname))"])
            if let first = same.first {
                session.warn("A group with the same display name and mail nickname already exists, returning.")
                return first
            }
        }
        var body: JSONValue = [
            "displayName": .string(displayName), "mailNickname": .string(mailNickname), "mailEnabled": false, "securityEnabled": true,
        ]
        if let description { body["description"] = .string(description) }
        return try await lookup.client.post("/v1.0/groups", body)
    }
}

/// `outport ad group list`
struct ADGroupListCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List groups in the directory.",
        discussion: "Example: outport ad group list -o table")

    @Option(help: "Beginning of the display name.")
    var displayName: String?

    @Option(help: "OData filter.")
    var filter: String?

    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        var clauses = filter.map { [$0] } ?? []
        if let displayName { clauses.append("startswith(displayName,\(DirectoryLookup.quoted(displayName)))") }
        return .array(try await DirectoryLookup(session).list("groups", clauses))
    }
}

/// `outport ad group show`
struct ADGroupShowCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Get the details of a group.",
        discussion: "Example: outport ad group show -g builders")
    @OptionGroup var group: DirectoryGroupOption
    @OptionGroup var global: GlobalOptions
    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let lookup = try DirectoryLookup(session)
        return try await lookup.client.get("/v1.0/groups/\(try await lookup.group(group.group))")
    }
}

/// `outport ad group delete`
struct ADGroupDeleteCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "delete", abstract: "Delete a group from the directory.",
        discussion: "Example: outport ad group delete -g builders")
    @OptionGroup var group: DirectoryGroupOption
    @OptionGroup var global: GlobalOptions
    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let lookup = try DirectoryLookup(session)
        try await lookup.client.delete("/v1.0/groups/\(try await lookup.group(group.group))")
        return nil
    }
}

/// `outport ad group member add`
struct MemberAddCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "add", abstract: "Add a member to a group.",
        discussion: "Example: outport ad group member add -g builders --member-id 00000000-0000-0000-0000-000000000000")
    @OptionGroup var group: DirectoryGroupOption
    @OptionGroup var member: MemberOption
    @OptionGroup var global: GlobalOptions
    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let lookup = try DirectoryLookup(session)
        let path = "/v1.0/groups/\(try await lookup.group(group.group))/members/$ref"
        try await lookup.client.post(path, lookup.reference(member.memberId, session.profile))
        return nil
    }
}

/// `outport ad group member remove`
struct MemberRemoveCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "remove", abstract: "Remove a member from a group.",
        discussion: "Example: outport ad group member remove -g builders --member-id 00000000-0000-0000-0000-000000000000")
    @OptionGroup var group: DirectoryGroupOption
    @OptionGroup var member: MemberOption
    @OptionGroup var global: GlobalOptions
    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let lookup = try DirectoryLookup(session)
        let group = try await lookup.group(group.group)
        try await lookup.client.delete("/v1.0/groups/\(group)/members/\(URLText.segment(member.memberId))/$ref")
        return nil
    }
}

/// `outport ad group member list`
struct MemberListCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "Get the members of a group.",
        discussion: "Example: outport ad group member list -g builders")
    @OptionGroup var group: DirectoryGroupOption
    @OptionGroup var global: GlobalOptions
    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let lookup = try DirectoryLookup(session)
        return .array(try await lookup.client.list("/v1.0/groups/\(try await lookup.group(group.group))/members"))
    }
}

/// `outport ad group member check`
struct MemberCheckCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "check", abstract: "Check if a member is in a group, directly or through other groups.",
        discussion: "Example: outport ad group member check -g builders --member-id 00000000-0000-0000-0000-000000000000")
    @OptionGroup var group: DirectoryGroupOption
    @OptionGroup var member: MemberOption
    @OptionGroup var global: GlobalOptions
    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let lookup = try DirectoryLookup(session)
        let group = try await lookup.group(group.group)
        let answer = try await lookup.client.post(
            "/v1.0/directoryObjects/\(URLText.segment(member.memberId))/checkMemberGroups", ["groupIds": [.string(group)]])
        return ["value": .bool(answer?["value"]?.arrayValue?.contains(.string(group)) ?? false)]
    }
}
