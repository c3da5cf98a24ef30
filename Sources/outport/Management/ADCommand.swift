// The tree of `outport ad …`, which mirrors that of `az ad …`.

import ArgumentParser
import JSON

/// `outport ad …`
struct ADCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ad", abstract: "Manage users, groups, applications and service principals.",
        subcommands: [SP.self, App.self, User.self, Group.self, SignedInUser.self])

    struct SP: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "sp", abstract: "Manage service principals.",
            subcommands: [
                CreateForRBACCommand.self, SPListCommand.self, SPShowCommand.self, SPDeleteCommand.self, SPUpdateCommand.self,
                SPRevokeCommand.self, SPCreateCommand.self, SPOwnerCommand.self, Credential.self,
            ])

        struct Credential: AsyncParsableCommand {
            static let configuration = CommandConfiguration(
                commandName: "credential", abstract: "Manage a service principal's credentials.",
                subcommands: [SPCredentialResetCommand.self, SPCredentialListCommand.self, SPCredentialDeleteCommand.self])
        }
    }

    struct App: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "app", abstract: "Manage applications.",
            subcommands: [
                AppCreateCommand.self, AppListCommand.self, AppShowCommand.self, AppUpdateCommand.self, AppDeleteCommand.self,
                AppOwnerCommand.self, Credential.self,
            ])

        struct Credential: AsyncParsableCommand {
            static let configuration = CommandConfiguration(
                commandName: "credential", abstract: "Manage an application's credentials.",
                subcommands: [AppCredentialResetCommand.self, AppCredentialListCommand.self, AppCredentialDeleteCommand.self])
        }
    }

    struct User: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "user", abstract: "Manage users.",
            subcommands: [
                UserCreateCommand.self, UserListCommand.self, UserShowCommand.self, UserUpdateCommand.self, UserDeleteCommand.self,
                UserRevokeCommand.self, UserMemberGroupsCommand.self,
            ])
    }

    struct Group: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "group", abstract: "Manage groups.",
            subcommands: [
                ADGroupCreateCommand.self, ADGroupListCommand.self, ADGroupShowCommand.self, ADGroupDeleteCommand.self, Member.self,
                ADGroupOwnerCommand.self, ADGroupMemberGroupsCommand.self,
            ])

        struct Member: AsyncParsableCommand {
            static let configuration = CommandConfiguration(
                commandName: "member", abstract: "Manage group members.",
                subcommands: [MemberAddCommand.self, MemberRemoveCommand.self, MemberListCommand.self, MemberCheckCommand.self])
        }
    }

    struct SignedInUser: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "signed-in-user", abstract: "Show the user who is signed in.",
            subcommands: [Show.self, OwnedObjectsCommand.self])

        struct Show: ManagementCommand {
            static let configuration = CommandConfiguration(
                commandName: "show", abstract: "Get the user who is signed in.",
                discussion: "Example: outport ad signed-in-user show")
            @OptionGroup var global: GlobalOptions
            func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
                try await session.directory().get("/v1.0/me")
            }
        }
    }
}
