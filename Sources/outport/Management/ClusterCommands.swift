// Identities, and clusters as records that pull with one.

import ArgumentParser
import JSON

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

/// `-n` of a resource in a group.
struct GroupedName: ParsableArguments {
    @Option(name: [.customShort("n"), .long], help: "Name.")
    var name: String

    @Option(name: [.customShort("g"), .long], help: "Name of resource group.")
    var resourceGroup: String

    func path(_ type: String, _ session: ManagementSession) throws(ManagementError) -> String {
        "\(try session.subscriptionPath())/resourceGroups/\(URLText.segment(resourceGroup))/providers/\(type)/\(URLText.segment(name))"
    }
}

/// `-n` of an identity, which newer versions of `az` also write `--resource-name`.
struct IdentityName: ParsableArguments {
    @Option(name: [.customShort("n"), .long, .customLong("resource-name")], help: "The name of the identity.")
    var name: String

    @Option(name: [.customShort("g"), .long], help: "Name of resource group.")
    var resourceGroup: String

    func path(_ session: ManagementSession) throws(ManagementError) -> String {
        "\(try session.subscriptionPath())/resourceGroups/\(URLText.segment(resourceGroup))/providers/\(GroupedResources.identity)/"
            + URLText.segment(name)
    }
}

/// Requests that identities and clusters share.
enum GroupedResources {
    static let identity = "Microsoft.ManagedIdentity/userAssignedIdentities"
    static let cluster = "Microsoft.ContainerService/managedClusters"

    static func list(_ type: String, _ group: GroupOption, _ session: ManagementSession) async throws(ManagementError) -> [JSONValue] {
        let scope = try session.subscriptionPath() + (group.resourceGroup.map { "/resourceGroups/\(URLText.segment($0))" } ?? "")
        return try await session.client.list("\(scope)/providers/\(type)")
    }

    /// The location that was given, else the group's.
    static func location(_ given: String?, _ group: String, _ session: ManagementSession) async throws(ManagementError) -> String {
        if let given { return ResourceText.location(given) }
        return try await session.client.get(try session.groupPath(group))["location"]?.stringValue ?? ""
    }

    static let identityShape = ResourceShape(
        skeleton: [
            "id": nil, "name": nil, "type": nil, "location": nil, "tags": nil, "clientId": nil, "principalId": nil, "tenantId": nil,
        ], keepsTimes: true)
    static let clusterShape = ResourceShape(skeleton: ["id": nil, "name": nil, "type": nil, "location": nil, "tags": nil, "identity": nil])
}

/// `outport identity …`
struct IdentityCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "identity", abstract: "Manage user-assigned identities.",
        subcommands: [Create.self, Show.self, List.self, Update.self, Delete.self, FederatedCredentialCommand.self])

    struct Create: ManagementCommand {
        static let configuration = CommandConfiguration(
            commandName: "create", abstract: "Create an identity in a group.",
            discussion: "Example: outport identity create -n puller -g mygroup")
        @OptionGroup var place: IdentityName
        @Option(name: [.customShort("l"), .long], help: "Location. The group's by default.")
        var location: String?
        @Option(parsing: .upToNextOption, help: "Space-separated tags: key[=value] [key[=value] ...].")
        var tags: [String] = []
        @Option(help: "The region an identity may be used in. The server is in one: only None is taken.")
        var isolationScope: String?
        @OptionGroup var global: GlobalOptions
        func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
            let location = try await GroupedResources.location(location, place.resourceGroup, session)
            var body: JSONValue = ["location": .string(location), "tags": ResourceText.tags(tags)]
            if let isolationScope { body[path: "properties", "isolationScope"] = .string(isolationScope) }
            return GroupedResources.identityShape.shape(try await session.client.put(try place.path(session), body))
        }
    }

    struct Show: ManagementCommand {
        static let configuration = CommandConfiguration(
            commandName: "show", abstract: "Get the identity.",
            discussion: "Example: outport identity show -n myidentity -g mygroup")
        @OptionGroup var target: IdentityTarget
        @OptionGroup var global: GlobalOptions
        func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
            try await target.each(session) { (path) async throws(ManagementError) in
                GroupedResources.identityShape.shape(try await session.client.get(path))
            }
        }
    }

    struct List: ManagementCommand {
        static let configuration = CommandConfiguration(
            commandName: "list", abstract: "List identities.",
            discussion: "Example: outport identity list -g mygroup")
        @OptionGroup var group: GroupOption
        @OptionGroup var global: GlobalOptions
        func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
            GroupedResources.identityShape.shape(try await GroupedResources.list(GroupedResources.identity, group, session))
        }
    }

    struct Delete: ManagementCommand {
        static let configuration = CommandConfiguration(
            commandName: "delete", abstract: "Delete an identity with its roles.",
            discussion: "Example: outport identity delete -n myidentity -g mygroup")
        @OptionGroup var target: IdentityTarget
        @OptionGroup var global: GlobalOptions
        func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
            try await target.each(session) { (path) async throws(ManagementError) in
                try await session.client.delete(path)
                return nil
            }
        }
    }
}

/// `outport aks …`
struct AKSCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "aks", abstract: "Keep records of clusters and let them pull.",
        discussion: "A record has an identity with which the nodes of a cluster pull. The cluster itself runs elsewhere.",
        subcommands: [
            Create.self, Show.self, List.self, Update.self, Delete.self, GetCredentials.self, RecordCredentials.self,
            RegisterClusterCommand.self, Wait.self,
        ])

    /// `--attach-acr` and `--detach-acr`
    private static func registry(_ text: String, _ session: ManagementSession) async throws(ManagementError) -> String {
        if text.hasPrefix("/") { return try await session.client.get(text)["id"]?.stringValue ?? text }
        return try await session.registryID(try session.registryName(text))
    }

    fileprivate static func kubelet(_ cluster: JSONValue) throws(ManagementError) -> String {
        guard let id = cluster[path: "properties", "identityProfile", "kubeletidentity", "objectId"]?.stringValue else {
            throw ManagementError("The cluster has no kubelet identity.")
        }
        return id
    }

    static func attach(_ text: String, _ cluster: JSONValue, _ session: ManagementSession) async throws(ManagementError) {
        let registry = try await registry(text, session)
        _ = try await RoleAssignments(session).create(
            role: "AcrPull", scope: registry, principal: (try kubelet(cluster), "ServicePrincipal"))
    }

    fileprivate static func detach(_ text: String, _ cluster: JSONValue, _ session: ManagementSession) async throws(ManagementError) {
        let registry = try await registry(text, session)
        let found = try await RoleAssignments(session).search(
            scope: registry, assignee: try kubelet(cluster), role: "AcrPull", includesInherited: false, includesGroups: false)
        for id in found.compactMap({ $0["id"]?.stringValue }) { try await session.client.delete(id) }
    }

    struct Create: ManagementCommand {
        static let configuration = CommandConfiguration(
            commandName: "create", abstract: "Record a cluster, with an identity for its nodes.",
            discussion: "Example: outport aks create -n plant -g mygroup --attach-acr myregistry")
        @OptionGroup var place: GroupedName
        @Option(name: [.customShort("l"), .long], help: "Location. The group's by default.")
        var location: String?
        @Option(help: "Name or resource ID of the registry that the nodes may pull from.")
        var attachAcr: String?
        @Option(help: "Resource ID of an existing identity for the nodes.")
        var assignKubeletIdentity: String?
        @Flag(help: "Accepted; no machines are made.")
        var generateSshKeys = false
        @Flag(help: "Accepted; no machines are made.")
        var noSshKey = false
        @Option(name: [.customShort("c"), .long], help: "Accepted; no machines are made, and the record says what is there.")
        var nodeCount: Int?
        @Option(parsing: .upToNextOption, help: "Space-separated tags: key[=value] [key[=value] ...].")
        var tags: [String] = []
        @Flag(help: "Do not wait; the record is there at once.")
        var noWait = false
        @OptionGroup var consent: YesOption
        @OptionGroup var global: GlobalOptions
        func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
            let location = try await GroupedResources.location(location, place.resourceGroup, session)
            var body: JSONValue = [
                "location": .string(location), "identity": ["type": "SystemAssigned"],
                "properties": ["dnsPrefix": .string(place.name), "agentPoolProfiles": []],
            ]
            if !tags.isEmpty { body["tags"] = ResourceText.tags(tags) }
            if let assignKubeletIdentity {
                body[path: "properties", "identityProfile", "kubeletidentity", "resourceId"] = .string(assignKubeletIdentity)
            }
            let cluster = try await session.client.put(try place.path(GroupedResources.cluster, session), body)
            if let attachAcr { try await AKSCommand.attach(attachAcr, cluster, session) }
            return GroupedResources.clusterShape.shape(cluster)
        }
    }

    struct Show: ManagementCommand {
        static let configuration = CommandConfiguration(
            commandName: "show", abstract: "Show the record of a cluster.",
            discussion: "Example: outport aks show -n mycluster -g mygroup")
        @OptionGroup var place: GroupedName
        @OptionGroup var global: GlobalOptions
        func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
            GroupedResources.clusterShape.shape(try await session.client.get(try place.path(GroupedResources.cluster, session)))
        }
    }

    struct List: ManagementCommand {
        static let configuration = CommandConfiguration(
            commandName: "list", abstract: "List records of clusters.",
            discussion: "Example: outport aks list -g mygroup -o table")
        @OptionGroup var group: GroupOption
        @OptionGroup var global: GlobalOptions
        func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
            GroupedResources.clusterShape.shape(try await GroupedResources.list(GroupedResources.cluster, group, session))
        }
    }

    struct Update: ManagementCommand {
        static let configuration = CommandConfiguration(
            commandName: "update", abstract: "Let a cluster pull from a registry, or no more.",
            discussion: "Example: outport aks update -n plant -g mygroup --detach-acr myregistry")
        @OptionGroup var place: GroupedName
        @Option(help: "Name or resource ID of the registry that the nodes may pull from.")
        var attachAcr: String?
        @Option(help: "Name or resource ID of the registry that the nodes may no longer pull from.")
        var detachAcr: String?
        @Option(parsing: .upToNextOption, help: "Space-separated tags: key[=value] [key[=value] ...]. Use \"\" to clear existing tags.")
        var tags: [String] = []
        @Flag(help: "Do not wait; it is done at once.")
        var noWait = false
        @OptionGroup var consent: YesOption
        @OptionGroup var global: GlobalOptions
        func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
            guard attachAcr != nil || detachAcr != nil || !tags.isEmpty else {
                throw .usage("Please specify --attach-acr, --detach-acr or --tags.")
            }
            let path = try place.path(GroupedResources.cluster, session)
            var cluster = try await session.client.get(path)
            if !tags.isEmpty { cluster = try await session.client.patch(path, ["tags": ResourceText.tags(tags)]) }
            if let attachAcr { try await AKSCommand.attach(attachAcr, cluster, session) }
            if let detachAcr { try await AKSCommand.detach(detachAcr, cluster, session) }
            return GroupedResources.clusterShape.shape(cluster)
        }
    }

    struct Delete: ManagementCommand {
        static let configuration = CommandConfiguration(
            commandName: "delete", abstract: "Delete the record of a cluster with its identities and their roles.",
            discussion: "Example: outport aks delete -n mycluster -g mygroup --yes")
        @OptionGroup var place: GroupedName
        @Flag(help: "Do not wait for the long-running operation to finish.")
        var noWait = false
        @OptionGroup var consent: YesOption
        @OptionGroup var global: GlobalOptions
        func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
            try session.confirm("Are you sure you want to perform this operation?", consent)
            try await session.client.delete(try place.path(GroupedResources.cluster, session), wait: !noWait)
            return nil
        }
    }

    struct GetCredentials: ManagementCommand {
        static let configuration = CommandConfiguration(
            commandName: "get-credentials", abstract: "Get the recorded kubeconfig of a cluster, and merge it into one's own.",
            discussion: """
                Without -f it is merged into $KUBECONFIG or ~/.kube/config, and becomes the current context.

                Example: outport aks get-credentials -n mycluster -g mygroup --overwrite-existing
                """)
        @OptionGroup var place: GroupedName
        @Flag(name: [.customShort("a"), .long], help: "Get those of an administrator.")
        var admin = false
        @Option(name: [.customShort("f"), .long], help: "The kubeconfig to merge into; - for standard output.")
        var file: String?
        @Flag(help: "Overwrite any existing cluster entry with the same name.")
        var overwriteExisting = false
        @Option(help: "If specified, overwrite the default context name.")
        var context: String?
        @Flag(help: "Accepted; a cluster has the address that its agent reported.")
        var publicFqdn = false
        @OptionGroup var global: GlobalOptions
        func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
            let operation = admin ? "listClusterAdminCredential" : "listClusterUserCredential"
            let answer = try await session.client.post(try place.path(GroupedResources.cluster, session) + "/\(operation)")
            guard let text = answer?["kubeconfigs"]?[0]?["value"]?.stringValue, let content = Data(base64Encoded: text) else {
                throw ManagementError("The server gave no kubeconfig.")
            }
            let added = String(decoding: content, as: UTF8.self)
            guard file != "-" else {
                session.console.write(added)
                return nil
            }
            let environment = ProcessInfo.processInfo.environment
            // The first of several, as kubectl writes to it.
            let own = environment["KUBECONFIG"]?.split(separator: ":").first.map(String.init)
            let path = file ?? own ?? "\(environment["HOME"] ?? ".")/.kube/config"
            let name = try KubeconfigFile(path: path).merge(added, context: context, overwrites: overwriteExisting)
            session.warn("Merged \"\(name)\" as current context in \(path)")
            return nil
        }
    }

    struct RecordCredentials: ManagementCommand {
        static let configuration = CommandConfiguration(
            commandName: "record-credentials", abstract: "Keep the kubeconfig of a cluster, for get-credentials.",
            discussion: "Example: outport aks record-credentials -n plant -g mygroup --file plant.kubeconfig")
        @OptionGroup var place: GroupedName
        @Option(name: [.customShort("f"), .long], help: "The kubeconfig.")
        var file: String
        @OptionGroup var global: GlobalOptions
        func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
            let content: Data
            do {
                content = try Data(contentsOf: URL(filePath: file))
            } catch {
                throw ManagementError("The file '\(file)' cannot be read: \(error)", advice: "Check --file.")
            }
            try await session.client.post(
                try place.path(GroupedResources.cluster, session) + "/recordClusterCredential",
                ["kubeconfig": .string(content.base64EncodedString())])
            return nil
        }
    }
}
