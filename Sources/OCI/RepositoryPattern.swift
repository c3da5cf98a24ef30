// Which repositories a rule speaks of: one by name, or all below a prefix.

/// A repository name or a prefix wildcard, as scope maps and connected registries use them: `app`, `team/*`, `*`.
package struct RepositoryPattern: Hashable, Sendable, CustomStringConvertible {
    private enum Kind: Hashable { case exact(RepositoryName), prefix(String) }

    private let kind: Kind

    /// - Throws: ``OCIParseError`` when the text is neither a name nor a name followed by one final `*`.
    package init(_ text: some StringProtocol) throws(OCIParseError) {
        guard text.hasSuffix("*") else {
            self.kind = .exact(try RepositoryName(text))
            return
        }
        let prefix = text.dropLast()
        // A prefix must be the beginning of some valid name: completing it with a letter tells.
        guard prefix.isEmpty || (try? RepositoryName(prefix + "a")) != nil else {
            throw OCIParseError(.repositoryName, String(text), "a wildcard is a name's beginning followed by one final '*'")
        }
        self.kind = .prefix(String(prefix))
    }

    package init(_ name: RepositoryName) { self.kind = .exact(name) }

    package func matches(_ name: RepositoryName) -> Bool {
        switch self.kind {
        case .exact(let exact): exact == name
        case .prefix(let prefix): name.description.hasPrefix(prefix)
        }
    }

    package var description: String {
        switch self.kind {
        case .exact(let name): name.description
        case .prefix(let prefix): prefix + "*"
        }
    }
}

extension RepositoryPattern: Codable {
    package init(from decoder: any Decoder) throws {
        try self.init(decoder.singleValueContainer().decode(String.self))
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(self.description)
    }
}
