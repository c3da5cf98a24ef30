// Changing any resource by its members, and waiting for it.

import ArgumentParser
import JSON

extension ResourceCommand {
    /// `outport resource patch`
    struct Patch: ManagementCommand {
        static let configuration = CommandConfiguration(
            commandName: "patch", abstract: "Update a resource by merging JSON into it.",
            discussion: "Example: outport resource patch --ids $ID --properties '{\"status\": \"disabled\"}'")
        @Option(name: [.customShort("p"), .long], help: "JSON of properties, or with --is-full-object of the whole resource.")
        var properties: String
        @Flag(help: "The JSON has location, tags, sku and properties themselves.")
        var isFullObject = false
        @OptionGroup var target: Target
        @OptionGroup var global: GlobalOptions

        func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
            let document = try JSONText.document(properties, option: "--properties")
            let body: JSONValue = isFullObject ? document : ["properties": document]
            return try await target.each(session) { (path) async throws(ManagementError) in
                ResourceCommand.shape(try await session.client.patch(path, body))
            }
        }
    }

    /// `outport resource update`
    struct Update: ManagementCommand {
        static let configuration = CommandConfiguration(
            commandName: "update", abstract: "Update a resource by its members.",
            discussion: "Example: outport resource update --ids $ID --set properties.status=disabled")
        @Flag(help: "Accepted; the answer's headers are not printed.")
        var includeResponseBody = false
        @OptionGroup var changes: GenericUpdate
        @OptionGroup var target: Target
        @OptionGroup var global: GlobalOptions

        func validate() throws {
            guard !changes.isEmpty else { throw ValidationError("Nothing is to be changed: give --set, --add or --remove.") }
        }

        func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
            try await target.each(session) { (path) async throws(ManagementError) in
                var body: JSONValue = [:]
                try changes.apply(to: &body, of: try await session.client.get(path))
                return ResourceCommand.shape(try await session.client.patch(path, body))
            }
        }
    }

    /// `outport resource wait`
    struct Wait: ManagementCommand {
        static let configuration = CommandConfiguration(
            commandName: "wait", abstract: "Wait until a resource is there, as it should be, or gone.",
            discussion: "Example: outport resource wait --ids $ID --custom \"properties.connectionState=='Online'\" --interval 5")
        @Flag(help: "Accepted; the answer's headers are not part of what is looked at.")
        var includeResponseBody = false
        @OptionGroup var target: Target
        @OptionGroup var wait: WaitOptions
        @OptionGroup var global: GlobalOptions

        func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
            for path in try target.paths(session) {
                try await wait.wait { () async throws(ManagementError) in try await session.client.get(path) }
            }
            return nil
        }
    }
}

extension AKSCommand {
    /// `outport aks wait`
    struct Wait: ManagementCommand {
        static let configuration = CommandConfiguration(
            commandName: "wait", abstract: "Wait until the record of a cluster is there, or gone.",
            discussion: "Example: outport aks wait -n mycluster -g mygroup --created")
        @OptionGroup var place: GroupedName
        @OptionGroup var wait: WaitOptions
        @OptionGroup var global: GlobalOptions

        func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
            let path = try place.path(GroupedResources.cluster, session)
            try await wait.wait { () async throws(ManagementError) in try await session.client.get(path) }
            return nil
        }
    }
}

/// `outport group wait`
struct GroupWaitCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "wait", abstract: "Wait until a resource group is there, or gone.",
        discussion: "Example: outport group wait --name edge --created")
    @OptionGroup var group: GroupName
    @OptionGroup var wait: WaitOptions
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let path = try session.groupPath(group.name)
        try await wait.wait { () async throws(ManagementError) in try await session.client.get(path) }
        return nil
    }
}
