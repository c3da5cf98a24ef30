// The tree of `outport acr …`, which mirrors that of `az acr …`.

import ArgumentParser

/// `outport acr …`
struct ACRCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "acr", abstract: "Manage registries, tokens, scope maps and connected registries.",
        subcommands: [
            RegistryCreateCommand.self, RegistryShowCommand.self, RegistryListCommand.self, RegistryUpdateCommand.self,
            RegistryDeleteCommand.self, CheckNameCommand.self, ShowUsageCommand.self, ShowEndpointsCommand.self, CollectGarbageCommand.self,
            RegistryLoginCommand.self, Identity.self, Encryption.self, ImportCommand.self, Credential.self, Repository.self,
            ManifestTree.self,
            Token.self, ScopeMap.self, ConnectedRegistry.self, Webhook.self, NetworkRule.self, Config.self,
            Replication.self, Cache.self, CredentialSet.self, CheckHealthCommand.self,
        ])

    struct Credential: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "credential", abstract: "Manage login credentials of the admin user.",
            subcommands: [CredentialShowCommand.self, CredentialRenewCommand.self])
    }

    struct Identity: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "identity", abstract: "Managed identities of a registry.",
            subcommands: [RegistryIdentityShowCommand.self, RegistryIdentityAssignCommand.self, RegistryIdentityRemoveCommand.self])
    }

    struct Encryption: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "encryption", abstract: "Whether a registry is encrypted with a key of its owner's.",
            subcommands: [EncryptionShowCommand.self])
    }

    struct NetworkRule: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "network-rule", abstract: "Manage network rules for Azure Container Registries.",
            subcommands: [NetworkRuleListCommand.self, NetworkRuleAddCommand.self, NetworkRuleRemoveCommand.self])
    }

    struct Replication: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "replication", abstract: "Manage geo-replicated regions of Azure Container Registries.",
            subcommands: [
                ReplicationListCommand.self, ReplicationShowCommand.self, ReplicationCreateCommand.self, ReplicationUpdateCommand.self,
                ReplicationDeleteCommand.self,
            ])
    }

    struct Cache: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "cache", abstract: "Manage cache rules: repositories that are filled from elsewhere when somebody pulls.",
            subcommands: [
                CacheCreateCommand.self, CacheListCommand.self, CacheShowCommand.self, CacheUpdateCommand.self, CacheDeleteCommand.self,
            ])
    }

    struct CredentialSet: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "credential-set", abstract: "Manage what cache rules sign in with.",
            subcommands: [
                CredentialSetCreateCommand.self, CredentialSetListCommand.self, CredentialSetShowCommand.self,
                CredentialSetUpdateCommand.self, CredentialSetDeleteCommand.self,
            ])
    }

    struct Config: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "config", abstract: "Configure policies for Azure Container Registries.",
            subcommands: [Retention.self, ArmAuthentication.self, SoftDelete.self, ContentTrust.self])

        struct ContentTrust: AsyncParsableCommand {
            static let configuration = CommandConfiguration(
                commandName: "content-trust", abstract: "Manage the content-trust policy.",
                subcommands: [ContentTrustShowCommand.self, ContentTrustUpdateCommand.self])
        }

        struct Retention: AsyncParsableCommand {
            static let configuration = CommandConfiguration(
                commandName: "retention", abstract: "Manage the retention policy.",
                subcommands: [RetentionShowCommand.self, RetentionUpdateCommand.self])
        }

        struct ArmAuthentication: AsyncParsableCommand {
            static let configuration = CommandConfiguration(
                commandName: "authentication-as-arm", abstract: "Manage whether tokens of the resource manager open the registry.",
                subcommands: [ArmAuthenticationShowCommand.self, ArmAuthenticationUpdateCommand.self])
        }

        struct SoftDelete: AsyncParsableCommand {
            static let configuration = CommandConfiguration(
                commandName: "soft-delete", abstract: "Manage the soft-delete policy.",
                subcommands: [SoftDeleteShowCommand.self, SoftDeleteUpdateCommand.self])
        }
    }

    struct Webhook: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "webhook", abstract: "Manage webhooks for Azure Container Registries.",
            subcommands: [
                WebhookCreateCommand.self, WebhookListCommand.self, WebhookShowCommand.self, WebhookUpdateCommand.self,
                WebhookDeleteCommand.self, WebhookPingCommand.self, WebhookGetConfigCommand.self, WebhookListEventsCommand.self,
            ])
    }

    struct Repository: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "repository", abstract: "Manage repositories (image names) for Azure Container Registries.",
            subcommands: [
                RepositoryListCommand.self, RepositoryShowTagsCommand.self, RepositoryShowManifestsCommand.self,
                RepositoryShowCommand.self, RepositoryUpdateCommand.self, RepositoryUntagCommand.self, RepositoryDeleteCommand.self,
                RepositoryListDeletedCommand.self,
            ])
    }

    struct ManifestTree: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "manifest", abstract: "Manage artifact manifests in Azure Container Registries.",
            subcommands: [
                ManifestShowCommand.self, ManifestListCommand.self, ManifestDeleteCommand.self, ManifestListReferrersCommand.self,
                ManifestShowMetadataCommand.self, ManifestListMetadataCommand.self, ManifestUpdateMetadataCommand.self,
                ManifestListDeletedCommand.self, ManifestListDeletedTagsCommand.self, ManifestRestoreCommand.self, Metadata.self,
            ])

        /// Names that `az` keeps for what is `…-metadata` now.
        struct Metadata: AsyncParsableCommand {
            static let configuration = CommandConfiguration(
                commandName: "metadata", abstract: "Deprecated: use list-metadata, show-metadata and update-metadata.",
                shouldDisplay: false,
                subcommands: [MetadataListCommand.self, MetadataShowCommand.self, MetadataUpdateCommand.self])
        }
    }

    struct Token: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "token", abstract: "Manage tokens for a container registry.",
            subcommands: [
                TokenCreateCommand.self, TokenListCommand.self, TokenShowCommand.self, TokenUpdateCommand.self, TokenDeleteCommand.self,
                Credential.self,
            ])

        struct Credential: AsyncParsableCommand {
            static let configuration = CommandConfiguration(
                commandName: "credential", abstract: "Manage credentials of a token.",
                subcommands: [TokenCredentialGenerateCommand.self, TokenCredentialDeleteCommand.self])
        }
    }

    struct ScopeMap: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "scope-map", abstract: "Manage scope access maps for a container registry.",
            subcommands: [
                ScopeMapCreateCommand.self, ScopeMapListCommand.self, ScopeMapShowCommand.self, ScopeMapUpdateCommand.self,
                ScopeMapDeleteCommand.self,
            ])
    }

    struct ConnectedRegistry: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "connected-registry", abstract: "Manage connected registry resources.",
            subcommands: [
                ConnectedRegistryCreateCommand.self, ConnectedRegistryShowCommand.self, ConnectedRegistryListCommand.self,
                ConnectedRegistryUpdateCommand.self, ConnectedRegistryGetSettingsCommand.self, ConnectedRegistryDeactivateCommand.self,
                ConnectedRegistryResyncCommand.self, ConnectedRegistryWhyCommand.self, ConnectedRegistryPlanCommand.self,
                ConnectedRegistryEventsCommand.self, ConnectedRegistryLogsCommand.self,
                ConnectedRegistryDeleteCommand.self,
                ConnectedRegistryListClientTokensCommand.self,
                Permissions.self, Install.self, ConnectedRegistryRepoCommand.self,
            ])

        struct Permissions: AsyncParsableCommand {
            static let configuration = CommandConfiguration(
                commandName: "permissions", abstract: "Manage the repository permissions of a connected registry across its hierarchy.",
                subcommands: [PermissionsShowCommand.self, PermissionsUpdateCommand.self])
        }

        /// Names that Azure's documents still print for what is `get-settings` now.
        struct Install: AsyncParsableCommand {
            static let configuration = CommandConfiguration(
                commandName: "install", abstract: "Deprecated: use get-settings.", shouldDisplay: false,
                subcommands: [InstallInfoCommand.self, InstallRenewCredentialsCommand.self])
        }
    }
}
