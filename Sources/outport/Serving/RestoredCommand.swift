// `outport restored`: what a parent must be told after its data folder came back from a backup.

internal import ArgumentParser
internal import Gateway
internal import Identity
internal import RegistryCore
internal import ResourceManager

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
        let node = try await Node.opened(data: self.data)
        guard try await Bootstrap(database: node.database, directory: Directory(database: node.database)).load() != nil else {
            await node.close()
            throw ServingError("\(self.data) is no data folder of a parent: give the one that 'outport serve' uses")
        }
        try await node.store.renewLogIdentity()
        try await ConnectedRegistryStore(database: node.database, activity: node.activity).forgetNonces()
        await node.close()
        printResult("connected registries will compare state with \(self.data) when it is started")
    }
}
