// The two passwords of a token.

import ArgumentParser
import JSON

struct TokenCredentialGenerateCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "generate", abstract: "Generate or replace one or both passwords of a token.",
        discussion: "Example: outport acr token credential generate -n builder -r myregistry --password1 --expiration-in-days 30")
    static let table = TableLayout.tokenPasswords

    @OptionGroup var token: TokenName

    @Flag(help: "Flag indicating if password1 should be generated.")
    var password1 = false

    @Flag(help: "Flag indicating if password2 should be generated.")
    var password2 = false

    @OptionGroup var expiration: Expiration
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let expiry = try expiration.end(now: session.now())
        let path = try await session.registryPath(token.registry)
        let registry = try await session.registryID(try session.registryName(token.registry.registry))
        // Only one slot is named when only one is wanted.
        let slot: PasswordSlot? = password1 == password2 ? nil : password1 ? .first : .second
        let credentials = try await TokenPasswords.generate(
            session, registry: path, tokenID: "\(registry)/tokens/\(token.name)", slot: slot, expiry: expiry)
        return ResourceShape.passwords.shape(credentials)
    }
}

struct TokenCredentialDeleteCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "delete", abstract: "Delete a token credential.",
        discussion: "Example: outport acr token credential delete -n builder -r myregistry --password1")
    static let table = TableLayout.tokens

    @OptionGroup var token: TokenName

    @Flag(help: "Flag indicating if first password should be deleted.")
    var password1 = false

    @Flag(help: "Flag indicating if second password should be deleted.")
    var password2 = false

    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        guard password1 || password2 else { throw ManagementError("No credentials to delete.") }
        let path = try await token.path(session)
        let body = try await session.client.get(path)
        var names = body[path: "properties", "credentials", "passwords"]?.arrayValue?.compactMap { $0["name"]?.stringValue } ?? []
        for (isWanted, name) in [(password1, "password1"), (password2, "password2")] where isWanted {
            guard names.contains(name) else {
                throw ManagementError(
                    "Unable to perform operation. \(name.prefix(1).uppercased() + name.dropFirst()) credential doesn't exist.")
            }
            names.removeAll { $0 == name }
        }
        let kept = JSONValue.array(names.map { ["name": .string($0)] })
        return ResourceShape.token.shape(try await session.client.patch(path, ["properties": ["credentials": ["passwords": kept]]]))
    }
}
