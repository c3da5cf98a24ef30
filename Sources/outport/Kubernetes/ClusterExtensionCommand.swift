// `outport k8s-extension …`: extensions of connected clusters, with the options of `az k8s-extension`.

import ArgumentParser
import Foundation
import JSON

/// Requests about extensions.
enum ClusterExtensions {
    static let type = "providers/Microsoft.KubernetesConfiguration/extensions"

    static let shape = ResourceShape(skeleton: [
        "id": nil, "name": nil, "type": nil, "identity": nil, "plan": nil, "systemData": nil, "aksAssignedIdentity": nil,
        "autoUpgradeMinorVersion": nil, "configurationProtectedSettings": nil, "configurationSettings": nil, "currentVersion": nil,
        "customLocationSettings": nil, "errorInfo": nil, "extensionType": nil, "isSystemExtension": nil, "packageUri": nil,
        "provisioningState": nil, "releaseTrain": nil, "scope": nil, "statuses": nil, "version": nil,
    ])
}

/// `-c`, `-g` and `-t`.
struct ExtensionCluster: ParsableArguments {
    @Option(name: [.customShort("c"), .long], help: "Name of the Kubernetes cluster.")
    var clusterName: String

    @Option(name: [.customShort("g"), .long], help: "Name of resource group.")
    var resourceGroup: String

    @Option(
        name: [.customShort("t"), .long],
        help: "The kind of cluster: connectedClusters, or managedClusters for a connected one with a record of AKS of the same name.")
    var clusterType = "connectedClusters"

    func path(_ session: ManagementSession) throws(ManagementError) -> String {
        let type: String
        switch clusterType.lowercased() {
        case "connectedclusters": type = ConnectedClusters.type
        case "managedclusters": type = GroupedResources.cluster
        default: throw .usage("argument --cluster-type: '\(clusterType)' has no extensions here; use connectedClusters or managedClusters.")
        }
        return "\(try session.subscriptionPath())/resourceGroups/\(URLText.segment(resourceGroup))/providers/\(type)/"
            + "\(URLText.segment(clusterName))/\(ClusterExtensions.type)"
    }
}

/// `-n` of an extension.
struct ExtensionName: ParsableArguments {
    @Option(name: [.customShort("n"), .long], help: "Name of the extension.")
    var name: String
    @OptionGroup var cluster: ExtensionCluster

    func path(_ session: ManagementSession) throws(ManagementError) -> String {
        "\(try cluster.path(session))/\(URLText.segment(name))"
    }
}

/// Settings, open and protected, as arguments and files.
struct ExtensionSettingOptions: ParsableArguments {
    @Option(
        name: [.customLong("config"), .customLong("configuration-settings")], parsing: .upToNextOption,
        help: "Settings as key=value pairs. Can be given again.")
    var config: [String] = []

    @Option(
        name: [.customLong("config-file"), .customLong("config-settings-file")], help: "JSON file with settings.")
    var configFile: String?

    @Option(
        name: [.customLong("config-protected"), .customLong("config-protected-settings"), .customLong("configuration-protected-settings")],
        parsing: .upToNextOption,
        help: "Protected settings as key=value pairs. Anyone who can list processes can read them: prefer the file.")
    var configProtected: [String] = []

    @Option(
        name: [.customLong("config-protected-file"), .customLong("config-protected-settings-file")],
        help: "JSON file with protected settings.")
    var configProtectedFile: String?

    @Option(help: "Version of the extension: the tag of its image. That of the agent by default.")
    var version: String?

    @Option(help: "Release train, for the record.")
    var releaseTrain: String?

    @Option(name: [.customLong("auto-upgrade-minor-version"), .customLong("auto-upgrade")], help: "For the record.")
    var autoUpgradeMinorVersion: ThreeState?

    /// Members of `properties` that were given.
    func properties() throws(ManagementError) -> JSONValue {
        var properties: [String: JSONValue] = [:]
        if let version { properties["version"] = .string(version) }
        if let releaseTrain { properties["releaseTrain"] = .string(releaseTrain) }
        if let autoUpgradeMinorVersion { properties["autoUpgradeMinorVersion"] = .bool(autoUpgradeMinorVersion.value) }
        let settings = try Self.settings(config, configFile, "--config")
        if !settings.isEmpty { properties["configurationSettings"] = .object(settings) }
        let protected = try Self.settings(configProtected, configProtectedFile, "--config-protected")
        if !protected.isEmpty { properties["configurationProtectedSettings"] = .object(protected) }
        return .object(properties)
    }

    private static func settings(_ pairs: [String], _ file: String?, _ option: String) throws(ManagementError) -> [String: JSONValue] {
        var settings: [String: JSONValue] = [:]
        if let file {
            guard pairs.isEmpty else { throw .usage("Error! Both \(option) and \(option)-file cannot be provided.") }
            let text: Data
            do {
                text = try Data(contentsOf: URL(filePath: file))
            } catch {
                throw ManagementError("The file '\(file)' cannot be read: \(error)", advice: "Check \(option)-file.")
            }
            guard case .object(let members)? = try? JSONValue(parsing: text) else {
                throw ManagementError("The file '\(file)' holds no JSON object.", advice: "It maps names of settings to their values.")
            }
            settings = members
        }
        for pair in pairs {
            let parts = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard parts.count == 2, !parts[0].isEmpty else { throw .usage("argument \(option): '\(parts[0])' is not key=value.") }
            settings[String(parts[0])] = .string(String(parts[1]))
        }
        return settings
    }
}

/// `outport k8s-extension …`
struct ClusterExtensionCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "k8s-extension", abstract: "Manage extensions of connected clusters.",
        subcommands: [Create.self, Show.self, List.self, Update.self, Delete.self])

    private static let table = TableLayout { item in
        func text(_ name: String) -> String { item[name]?.stringValue ?? item[name]?.boolValue.map(String.init) ?? "" }
        return [
            ("Name", text("name")), ("ExtensionType", text("extensionType")), ("Version", text("currentVersion")),
            ("ProvisioningState", text("provisioningState")),
            ("LastModifiedAt", item[path: "systemData", "lastModifiedAt"]?.stringValue ?? ""),
            ("IsSystemExtension", text("isSystemExtension")),
        ]
    }

    struct Create: ManagementCommand {
        static let configuration = CommandConfiguration(
            commandName: "create", abstract: "Install an extension in a cluster.",
            discussion: """
                Example: outport k8s-extension create -n myconnectedregistry -g mygroup -c plant -t connectedClusters \
                --extension-type Microsoft.ContainerRegistry.ConnectedRegistry --config service.clusterIP=10.96.0.50 \
                --config-protected-file protected.json
                """)
        @OptionGroup var name: ExtensionName
        @Option(help: "The type: Microsoft.ContainerRegistry.ConnectedRegistry.")
        var extensionType: String
        @OptionGroup var settings: ExtensionSettingOptions
        @Option(help: "The scope: cluster.")
        var scope: String?
        @Option(help: "The namespace of the extension: connected-registry.")
        var releaseNamespace: String?
        @Flag(help: "Do not wait for the long-running operation to finish.")
        var noWait = false
        @OptionGroup var global: GlobalOptions
        static let table = ClusterExtensionCommand.table
        func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
            guard scope == nil || scope?.lowercased() == "cluster" else { throw .usage("argument --scope: use cluster.") }
            var properties = try settings.properties()
            properties["extensionType"] = .string(extensionType.lowercased())
            if let releaseNamespace { properties[path: "scope", "cluster", "releaseNamespace"] = .string(releaseNamespace) }
            return ClusterExtensions.shape.shape(
                try await session.client.put(
                    try name.path(session), ["identity": ["type": "SystemAssigned"], "properties": properties], wait: !noWait))
        }
    }

    struct Show: ManagementCommand {
        static let configuration = CommandConfiguration(
            commandName: "show", abstract: "Show an extension, with errorInfo where it has failed.",
            discussion: "Example: outport k8s-extension show --cluster-type connectedClusters -c mycluster -g mygroup -n myregistry")
        @OptionGroup var name: ExtensionName
        @OptionGroup var global: GlobalOptions
        static let table = ClusterExtensionCommand.table
        func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
            ClusterExtensions.shape.shape(try await session.client.get(try name.path(session)))
        }
    }

    struct List: ManagementCommand {
        static let configuration = CommandConfiguration(
            commandName: "list", abstract: "List the extensions of a cluster.",
            discussion: "Example: outport k8s-extension list --cluster-type connectedClusters -c mycluster -g mygroup")
        @OptionGroup var cluster: ExtensionCluster
        @OptionGroup var global: GlobalOptions
        static let table = ClusterExtensionCommand.table
        func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
            ClusterExtensions.shape.shape(try await session.client.list(try cluster.path(session)))
        }
    }

    struct Update: ManagementCommand {
        static let configuration = CommandConfiguration(
            commandName: "update", abstract: "Change settings or version; what does not become healthy is undone.",
            discussion: "Example: outport k8s-extension update -n myconnectedregistry -g mygroup -c plant --config pvc.storageRequest=500Gi"
        )
        @OptionGroup var name: ExtensionName
        @OptionGroup var settings: ExtensionSettingOptions
        @Flag(help: "Do not wait for the long-running operation to finish.")
        var noWait = false
        @OptionGroup var consent: YesOption
        @OptionGroup var global: GlobalOptions
        static let table = ClusterExtensionCommand.table
        func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
            let properties = try settings.properties()
            guard properties != [:] else { throw .usage("Nothing to change: give --config, --config-protected-file or --version.") }
            return ClusterExtensions.shape.shape(
                try await session.client.patch(try name.path(session), ["properties": properties], wait: !noWait))
        }
    }

    struct Delete: ManagementCommand {
        static let configuration = CommandConfiguration(
            commandName: "delete", abstract: "Take an extension out of its cluster, and put the nodes back.",
            discussion: "Example: outport k8s-extension delete --cluster-type connectedClusters -c mycluster -g mygroup -n myregistry --yes"
        )
        @OptionGroup var name: ExtensionName
        @Flag(help: "Keep the volume with the content.")
        var keepData = false
        @Flag(help: "Delete the record at once and leave what is in the cluster.")
        var force = false
        @Flag(help: "Do not wait for the long-running operation to finish.")
        var noWait = false
        @OptionGroup var consent: YesOption
        @OptionGroup var global: GlobalOptions
        func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
            try session.confirm("Are you sure you want to perform this operation?", consent)
            try await session.client.delete(
                try name.path(session), query: [("forceDelete", String(force)), ("keepData", String(keepData))], wait: !noWait)
            return nil
        }
    }
}
