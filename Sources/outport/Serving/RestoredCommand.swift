// `outport restored`: what a parent must be told after its data folder came back from a backup.

internal import ArgumentParser
internal import Gateway
internal import RegistryCore

/// Makes connected registries compare state instead of following a log that is not the one they know.
struct RestoredCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "restored", abstract: "Tell a parent that its data folder was restored from a backup.",
        discussion: """
            To be run once, before the restored parent is started. Connected registries then compare state with it and go on; without
            this they could miss changes, or be taken for copies of themselves.

            Example: outport restored --data /var/lib/outport
            """)

    @Option(help: "The data folder of the parent.")
    var data: String

    func run() async throws {
        let node = try await Node(data: self.data)
        try await node.store.renewLogIdentity()
        try await ConnectedRegistryStore(database: node.database, activity: node.activity).forgetNonces()
        await node.close()
        announce("connected registries will compare state with \(self.data) when it is started")
    }
}
