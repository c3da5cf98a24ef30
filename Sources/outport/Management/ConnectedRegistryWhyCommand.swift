// Outport's own: the one thing that keeps an image from a site.

import ArgumentParser
import JSON

struct ConnectedRegistryWhyCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "why", abstract: "Name the one thing that keeps an image from a connected registry.",
        discussion: """
            Looks from the registry down: is the image there, selected, allowed, unlocked; is the connected registry active, online, in its
            window, with room on its disk; how far it has come. A connected registry above it is named where the image stops there.

            Example: outport acr connected-registry why -r myregistry -n factory --image app:v1
            """)

    @OptionGroup var connectedRegistry: ConnectedRegistryName

    @Option(name: [.customShort("t"), .long], help: "REPOSITORY or REPOSITORY:TAG.")
    var image: String

    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let path = try await connectedRegistry.path(session).connectedRegistry
        return try await session.client.post(path + "/why", ["image": .string(image)])
    }
}
