// Scopes as clients ask for them and access as tokens grant it (distribution token specification, "Requesting a Token").

package import OCI

/// One requested or granted resource with its actions: `repository:app:pull,push`, `registry:catalog:*`.
package struct AccessEntry: Sendable, Hashable, Codable {
    package var type: String
    package var name: String
    package var actions: [String]

    package init(type: String, name: String, actions: [String]) {
        self.type = type
        self.name = name
        self.actions = actions
    }

    /// Parses the scopes of a request, several in one text separated by blanks.
    ///
    /// - Throws: ``OCIParseError``; at most 64 scopes of at most 16 actions each are accepted.
    package static func parse(_ texts: [String]) throws(OCIParseError) -> [AccessEntry] {
        var entries: [AccessEntry] = []
        for text in texts.flatMap({ $0.split(separator: " ") }) {
            guard let first = text.firstIndex(of: ":"), let last = text.lastIndex(of: ":"), first < last else {
                throw OCIParseError(.scope, String(text), "it has the form '<type>:<name>:<action>[,<action>…]'")
            }
            let actions = text[text.index(after: last)...].split(separator: ",").map(String.init)
            guard actions.count <= 16, entries.count < 64 else {
                throw OCIParseError(.scope, String(text), "too many scopes or actions in one request")
            }
            // A resource type may carry a class, `repository(plugin)`, which means the type itself.
            let type = text[..<first].split(separator: "(").first.map(String.init) ?? ""
            entries.append(AccessEntry(type: type, name: String(text[text.index(after: first)..<last]), actions: actions))
        }
        return entries
    }
}
