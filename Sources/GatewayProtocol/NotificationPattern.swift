// Which changes somebody wants to hear of: `artifact:action`, as `--notifications` takes them.

package import OCI

/// A pattern such as `hello-world:tag:push`, `app:v1*:*`, `sample/repo/*:*` or `app:sha256:…:delete`.
///
/// The repository is a name or a prefix with `*`. Behind it may stand a tag (which may end in `*`), a digest, `tag` for any tag, `digest` for any
/// manifest, or `*` for both; left out, it is both. The action is `push`, `delete` or `*`; left out, it is any.
package struct NotificationPattern: Sendable, Hashable {
    package enum Action: String, Sendable, CaseIterable {
        case push, delete
    }

    private enum Reference: Hashable {
        case any, anyTag, anyDigest
        case tag(String)
        case tags(prefix: String)
        case digest(Digest)
    }

    private let repository: RepositoryPattern
    private let reference: Reference
    /// `nil` for any.
    private let action: Action?

    /// - Throws: ``OCIParseError`` saying what is wrong.
    package init(_ text: String) throws(OCIParseError) {
        func refuse(_ reason: String) -> OCIParseError { OCIParseError(.reference, text, reason) }
        var parts = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
        guard parts.count >= 2, text.utf8.count <= 512 else {
            throw refuse("a notification is REPOSITORY[:REFERENCE]:ACTION, such as hello-world:tag:push or sample/repo/*:*")
        }
        self.repository = try RepositoryPattern(parts.removeFirst())
        let last = parts[parts.count - 1].lowercased()
        if last == "pull" { throw refuse("pulls are not told; use push, delete or *") }
        if last == "*" || Action(rawValue: last) != nil {
            self.action = Action(rawValue: last)
            parts.removeLast()
        } else if parts.count == 1 {
            self.action = nil
        } else {
            throw refuse("'\(last)' is no action; use push, delete or *")
        }
        let reference = parts.joined(separator: ":")
        switch reference {
        case "", "*": self.reference = .any
        case "tag": self.reference = .anyTag
        case "digest": self.reference = .anyDigest
        default:
            if reference.contains(":") {
                self.reference = .digest(try Digest(reference))
            } else if reference.hasSuffix("*") {
                // Completed by a letter it must be a tag.
                _ = try Tag(reference.dropLast() + "a")
                self.reference = .tags(prefix: String(reference.dropLast()))
            } else {
                self.reference = .tag(try Tag(reference).description)
            }
        }
    }

    /// - Parameter tag: `nil` where a manifest was pushed or deleted by itself.
    package func matches(_ repository: RepositoryName, tag: Tag?, digest: Digest?, _ action: Action) -> Bool {
        guard self.action == nil || self.action == action, self.repository.matches(repository) else { return false }
        return switch self.reference {
        case .any: true
        case .anyTag: tag != nil
        case .anyDigest: tag == nil
        case .tag(let name): tag?.description == name
        case .tags(let prefix): tag?.description.hasPrefix(prefix) ?? false
        case .digest(let wanted): digest == wanted
        }
    }
}
