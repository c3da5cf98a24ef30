// Scope maps that commands make for a token of their own.

import JSON

enum DefaultScopeMap {
    /// Makes a scope map with the given actions, or takes the one there is when it has the same ones.
    ///
    /// - Parameter replaces: whether a scope map with other actions is overwritten; otherwise it is an error.
    /// - Returns: its id.
    static func ensure(
        _ session: ManagementSession, _ registry: String, name: String, _ actions: [String], description: String, replaces: Bool
    ) async throws(ManagementError) -> String {
        let path = "\(registry)/scopeMaps/\(URLText.segment(name))"
        if let existing = try await session.client.find(path) {
            if ScopeMapActions.list(existing).sorted() == actions.sorted() { return existing["id"]?.stringValue ?? path }
            guard replaces else {
                throw ManagementError(
                    "The default scope map was already configured with different repository permissions.",
                    advice:
                        "Please use \"outport acr scope-map update -n \(name) --add-repository <REPO> --remove-repository <REPO>\" to update."
                )
            }
            session.warn("Overriding scope map '\(name)' properties")
        }
        let body: JSONValue = ["properties": ["actions": .strings(actions), "description": .string(description)]]
        return try await session.client.put(path, body)["id"]?.stringValue ?? path
    }
}
